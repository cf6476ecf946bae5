//! What the operating system knows about this process.

use procfs::process::Process;

/// The process at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct ProcessStats {
    /// Resident memory, in bytes.
    pub(super) resident_bytes: u64,
    /// Open file descriptors.
    pub(super) descriptors: usize,
    /// How many threads the process has.
    pub(super) threads: i64,
    /// Processor time of user and system, in seconds.
    pub(super) cpu_seconds: f64,
    /// When the process started, in seconds since the Unix epoch.
    pub(super) started: f64,
}

/// Reads the numbers from `/proc`; `None` where there is none.
pub(super) fn read_process_stats() -> Option<ProcessStats> {
    let process = Process::myself().ok()?;
    let stat = process.stat().ok()?;
    let ticks = procfs::ticks_per_second() as f64;
    Some(ProcessStats {
        resident_bytes: stat.rss.saturating_mul(procfs::page_size()),
        descriptors: process.fd_count().ok()?,
        threads: stat.num_threads,
        cpu_seconds: (stat.utime + stat.stime) as f64 / ticks,
        started: procfs::boot_time_secs().ok()? as f64 + stat.starttime as f64 / ticks,
    })
}
