//! What happens to a host: faults of its files, its clock, its disk, and other processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_tests::Random;
use rusqlite::Connection;

use super::place::Place;

/// The bytes that are left free when the disk is filled.
const LEFT_FREE: u64 = 200_000;

/// What happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Fault {
    RemoveDatabase,
    RenameDatabase,
    ReplaceByCopy,
    ReplaceByEmpty,
    TruncateDatabase,
    RemoveLog,
    TruncateLog,
    RemoveIndex,
    TruncateIndex,
    RemoveLock,
    RemoveAnchors,
    RemoveAllFiles,
    RemoveDirectory,
    MakeReadOnly,
    HoldWriteLock,
    HoldReadLock,
    OlderCopy,
    SetClock,
    FillDisk,
    Nothing,
}

pub(super) const FAULTS: [Fault; 20] = [
    Fault::RemoveDatabase,
    Fault::RenameDatabase,
    Fault::ReplaceByCopy,
    Fault::ReplaceByEmpty,
    Fault::TruncateDatabase,
    Fault::RemoveLog,
    Fault::TruncateLog,
    Fault::RemoveIndex,
    Fault::TruncateIndex,
    Fault::RemoveLock,
    Fault::RemoveAnchors,
    Fault::RemoveAllFiles,
    Fault::RemoveDirectory,
    Fault::MakeReadOnly,
    Fault::HoldWriteLock,
    Fault::HoldReadLock,
    Fault::OlderCopy,
    Fault::SetClock,
    Fault::FillDisk,
    Fault::Nothing,
];

/// Does something to the host's files; what is returned is held until the end of the round.
pub(super) fn inflict(fault: Fault, place: &Place, random: &mut Random) -> Option<Connection> {
    let data = &place.data;
    let file = |name: &str| data.join(name);
    let remove = |name: &str| drop(std::fs::remove_file(file(name)));
    let cut = |name: &str, random: &mut Random| {
        let opened = std::fs::OpenOptions::new().write(true).open(file(name));
        if let Ok(opened) = opened {
            let bytes = opened.metadata().map_or(0, |metadata| metadata.len());
            let _ = opened.set_len(random.below(bytes.max(1)));
        }
    };
    match fault {
        Fault::RemoveDatabase => remove("ark.db"),
        Fault::RenameDatabase => drop(std::fs::rename(file("ark.db"), file("old.db"))),
        Fault::ReplaceByCopy => {
            let _ = std::fs::copy(file("ark.db"), file("copy.db"));
            let _ = std::fs::rename(file("copy.db"), file("ark.db"));
        }
        Fault::ReplaceByEmpty => {
            let _ = std::fs::write(file("empty.db"), b"");
            let _ = std::fs::rename(file("empty.db"), file("ark.db"));
        }
        Fault::TruncateDatabase => cut("ark.db", random),
        Fault::RemoveLog => remove("ark.db-wal"),
        Fault::TruncateLog => cut("ark.db-wal", random),
        Fault::RemoveIndex => remove("ark.db-shm"),
        Fault::TruncateIndex => cut("ark.db-shm", random),
        Fault::RemoveLock => remove("ark.lock"),
        Fault::RemoveAnchors => remove("anchors.jsonl"),
        Fault::RemoveAllFiles => {
            for name in ["ark.db", "ark.db-wal", "ark.db-shm", "anchors.jsonl"] {
                remove(name);
            }
        }
        Fault::RemoveDirectory => drop(std::fs::remove_dir_all(data)),
        Fault::MakeReadOnly => {
            for name in ["ark.db", "ark.db-wal", "ark.db-shm"] {
                set_mode(&file(name), 0o444);
            }
        }
        Fault::HoldWriteLock | Fault::HoldReadLock => {
            let other = Connection::open(file("ark.db")).ok()?;
            let _ = other.busy_timeout(Duration::from_secs(2));
            let begun = if fault == Fault::HoldWriteLock {
                other.execute_batch("BEGIN IMMEDIATE")
            } else {
                other.execute_batch("BEGIN").and_then(|()| {
                    other.query_row("SELECT count(*) FROM audit_log", [], |_| Ok(()))
                })
            };
            return begun.is_ok().then_some(other);
        }
        Fault::SetClock => {
            let shift = random.below(4 * 86_400).cast_signed() - 2 * 86_400;
            let next = place.clock.with_extension("next");
            std::fs::write(&next, format!("{shift:+}\n")).expect("the clock");
            std::fs::rename(&next, &place.clock).expect("the clock");
        }
        Fault::FillDisk => fill_disk(data),
        // After the host has ended, see `put_back_older_copy`.
        Fault::OlderCopy | Fault::Nothing => {}
    }
    None
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    use std::os::unix::fs::PermissionsExt;
    let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode));
}

/// Fills the disk of the run up to a rest.
fn fill_disk(data: &Path) {
    let filler = filler(data);
    let Ok(disk) = rustix::fs::statvfs(data) else {
        return;
    };
    let free = disk.f_bavail * disk.f_frsize;
    let _ = std::fs::write(
        filler,
        vec![1; usize::try_from(free.saturating_sub(LEFT_FREE)).unwrap_or(0)],
    );
}

pub(super) fn filler(data: &Path) -> PathBuf {
    data.with_file_name("filler")
}
