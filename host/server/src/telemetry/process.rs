//! What the system says of this process.

use procfs::process::Process;

/// The process, as it is now.
#[derive(Debug, Clone, Copy)]
pub struct ProcessStats {
    /// Resident memory.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub descriptors: usize,
    /// Threads.
    pub threads: i64,
    /// Processor time.
    pub cpu_seconds: f64,
    /// When it started, in seconds since the Unix epoch.
    pub started: f64,
}

/// Looks; `None` where there is no `/proc`.
#[must_use]
pub fn read_process_stats() -> Option<ProcessStats> {
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
