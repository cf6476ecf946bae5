//! Which process runs what a journal is of. The journal's own lock does not say that: a command of the operator's that outlives the process which
//! began it holds it, too.
//!
//! Beside the journal is a file (`….run`) with the number of the process; that process alone holds its lock, so that whoever finds it free knows
//! that the process has ended, however that happened. Its second line is what the process says of itself, also once it has ended. The file keeps its
//! length, so that it needs no room on a full disk. Invariant: a process that is found is the one that holds the lock, or none is named.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use ark_store::has_open;
use rustix::fs::{FlockOperation, flock};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

/// How long another process may look at the file meanwhile.
const PATIENCE: Duration = Duration::from_secs(1);
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(10);
/// Where the second line begins, in bytes.
const NOTE_AT: u64 = 21;

/// Says that this process runs what a journal is of, until it is dropped.
#[derive(Debug)]
pub(crate) struct RunMark {
    file: File,
}

/// The process that runs what a journal is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Runner {
    /// None does.
    None,
    /// This one.
    Process(u32),
    /// One that cannot be seen from here: it is in another container, or belongs to another user.
    Hidden,
}

fn mark_path(journal: &Path) -> PathBuf {
    let mut path = journal.as_os_str().to_owned();
    path.push(".run");
    path.into()
}

impl RunMark {
    /// Marks that this process runs what the journal is of, whose lock it holds. `None`: the file cannot be made, e.g. on a full disk, which keeps
    /// nobody from a way back.
    pub(crate) fn set_mark(journal: &Path) -> Option<Self> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o600)
            .open(mark_path(journal));
        let file = file.ok()?;
        let ends = Instant::now() + PATIENCE;
        while flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
            if Instant::now() > ends {
                return None;
            }
            std::thread::sleep(PAUSE);
        }
        // Always as long, so that it needs no more room than the one before.
        let line = format!("{:<20}\n", std::process::id());
        let _noted = file.write_all_at(line.as_bytes(), 0);
        let mark = Self { file };
        // What the process before said.
        mark.write_note("");
        Some(mark)
    }

    /// Says what this process does, or how what it ran has ended. What cannot be written is not said.
    pub(crate) fn write_note(&self, note: &str) {
        let _noted = self.file.write_all_at(build_note(note).as_bytes(), NOTE_AT);
    }
}

/// The second line: always as long.
fn build_note(note: &str) -> String {
    format!("{note:<100}\n")
}

/// What the process that runs what a journal is of says of itself, or the last one that did; `None`: nothing.
pub(crate) fn read_note(journal: &Path) -> Option<String> {
    let text = std::fs::read_to_string(mark_path(journal)).ok()?;
    let note = text.lines().nth(1)?.trim();
    (!note.is_empty()).then(|| note.to_owned())
}

/// Notes something for the process that runs what a journal is of, in its stead. What cannot be written is not said.
pub(crate) fn note_for_runner(journal: &Path, note: &str) {
    let file = OpenOptions::new().write(true).open(mark_path(journal));
    let _noted = file.and_then(|file| file.write_all_at(build_note(note).as_bytes(), NOTE_AT));
}

/// Finds the process that runs what a journal is of.
pub(crate) fn find_runner(journal: &Path) -> Runner {
    let path = mark_path(journal);
    let Ok(file) = File::open(&path) else {
        return Runner::None;
    };
    if flock(&file, FlockOperation::NonBlockingLockShared).is_ok() {
        return Runner::None;
    }
    let pid = std::fs::read_to_string(&path).ok();
    let pid = pid.and_then(|text| text.lines().next()?.trim().parse().ok());
    match pid.filter(|pid| *pid != std::process::id() && has_open(*pid, &path)) {
        Some(pid) => Runner::Process(pid),
        None => Runner::Hidden,
    }
}

/// Whether a process is stopped (SIGSTOP, a debugger), so that it does nothing until it is continued.
pub(crate) fn is_stopped(pid: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let mut lines = status.lines();
    let state = lines.find_map(|line| line.strip_prefix("State:"));
    state.is_some_and(|state| state.trim_start().starts_with(['T', 't']))
}

/// Ends the process that runs what a journal is of, and no other: one that has its number by now is not touched.
pub(crate) fn end_runner(journal: &Path, pid: u32) -> std::io::Result<()> {
    send_signal(journal, pid, Signal::KILL)
}

/// Interrupts the process that runs what a journal is of, as by Ctrl-C, and no other.
pub(crate) fn interrupt_runner(journal: &Path, pid: u32) -> std::io::Result<()> {
    send_signal(journal, pid, Signal::INT)
}

fn send_signal(journal: &Path, pid: u32, signal: Signal) -> std::io::Result<()> {
    let number = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let number = number.ok_or(std::io::ErrorKind::InvalidInput)?;
    let process = pidfd_open(number, PidfdFlags::empty())?;
    // From here on the number cannot come to mean another process unnoticed.
    if find_runner(journal) != Runner::Process(pid) {
        return Ok(());
    }
    Ok(pidfd_send_signal(&process, signal)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_process_that_holds_the_mark_is_found_while_it_does() {
        let dir = tempfile::tempdir().unwrap();
        let journal = dir.path().join("canary.journal");
        assert_eq!(find_runner(&journal), Runner::None);
        // Another process: this one is never named to itself.
        let held = mark_path(&journal);
        let script = format!(
            "exec 9>>{}; flock 9; printf '%-20d\\n' $$ >&9; exec sleep 60",
            held.display()
        );
        let mut other = std::process::Command::new("sh")
            .args(["-c", &script])
            .spawn()
            .unwrap();
        let found = Runner::Process(other.id());
        let ends = Instant::now() + Duration::from_mins(1);
        while find_runner(&journal) != found && Instant::now() < ends {
            std::thread::sleep(PAUSE);
        }
        assert_eq!(find_runner(&journal), found);
        assert!(RunMark::set_mark(&journal).is_none(), "it is held");
        assert!(!is_stopped(other.id()));
        rustix::process::kill_process(Pid::from_child(&other), Signal::STOP).unwrap();
        while !is_stopped(other.id()) && Instant::now() < ends {
            std::thread::sleep(PAUSE);
        }
        assert!(is_stopped(other.id()));
        // A number in the file that is another process's names nobody.
        let text = std::fs::read_to_string(&held).unwrap();
        std::fs::write(&held, format!("{:<20}\n", 1)).unwrap();
        assert_eq!(find_runner(&journal), Runner::Hidden);
        end_runner(&journal, 1).unwrap();
        std::fs::write(&held, text).unwrap();
        end_runner(&journal, other.id()).unwrap();
        assert!(!other.wait().unwrap().success());
        assert_eq!(find_runner(&journal), Runner::None);
        let mark = RunMark::set_mark(&journal).unwrap();
        assert_eq!(find_runner(&journal), Runner::Hidden);
        assert_eq!(read_note(&journal), None);
        // What a process says outlives it, and its file keeps its length.
        let length = || std::fs::metadata(&held).unwrap().len();
        let before = length();
        for note in ["goes-on", "has ended"] {
            mark.write_note(note);
            assert_eq!(read_note(&journal).as_deref(), Some(note));
        }
        drop(mark);
        assert_eq!(find_runner(&journal), Runner::None);
        note_for_runner(&journal, "went");
        assert_eq!(read_note(&journal).as_deref(), Some("went"));
        let mark = RunMark::set_mark(&journal).unwrap();
        assert_eq!((read_note(&journal), length()), (None, before));
        drop(mark);
    }
}
