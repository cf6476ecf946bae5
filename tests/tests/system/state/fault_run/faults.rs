//! What happens to a host: faults of its files, its clock, its disk, and other processes.

use std::path::{Path, PathBuf};
use std::time::Duration;

use ark_tests::Random;
use rusqlite::Connection;

use super::place::FaultFixture;

/// The bytes that are left free when the disk is filled.
const LEFT_FREE: u64 = 200_000;

/// What happens to a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum StorageFault {
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

pub(super) const FAULTS: [StorageFault; 20] = [
    StorageFault::RemoveDatabase,
    StorageFault::RenameDatabase,
    StorageFault::ReplaceByCopy,
    StorageFault::ReplaceByEmpty,
    StorageFault::TruncateDatabase,
    StorageFault::RemoveLog,
    StorageFault::TruncateLog,
    StorageFault::RemoveIndex,
    StorageFault::TruncateIndex,
    StorageFault::RemoveLock,
    StorageFault::RemoveAnchors,
    StorageFault::RemoveAllFiles,
    StorageFault::RemoveDirectory,
    StorageFault::MakeReadOnly,
    StorageFault::HoldWriteLock,
    StorageFault::HoldReadLock,
    StorageFault::OlderCopy,
    StorageFault::SetClock,
    StorageFault::FillDisk,
    StorageFault::Nothing,
];

/// Does something to the host's files; what is returned is held until the end of the round.
pub(super) fn inflict(
    fault: StorageFault,
    place: &FaultFixture,
    random: &mut Random,
) -> Option<Connection> {
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
        StorageFault::RemoveDatabase => remove("ark.db"),
        StorageFault::RenameDatabase => drop(std::fs::rename(file("ark.db"), file("old.db"))),
        StorageFault::ReplaceByCopy => {
            let _ = std::fs::copy(file("ark.db"), file("copy.db"));
            let _ = std::fs::rename(file("copy.db"), file("ark.db"));
        }
        StorageFault::ReplaceByEmpty => {
            let _ = std::fs::write(file("empty.db"), b"");
            let _ = std::fs::rename(file("empty.db"), file("ark.db"));
        }
        StorageFault::TruncateDatabase => cut("ark.db", random),
        StorageFault::RemoveLog => remove("ark.db-wal"),
        StorageFault::TruncateLog => cut("ark.db-wal", random),
        StorageFault::RemoveIndex => remove("ark.db-shm"),
        StorageFault::TruncateIndex => cut("ark.db-shm", random),
        StorageFault::RemoveLock => remove("ark.lock"),
        StorageFault::RemoveAnchors => remove("anchors.jsonl"),
        StorageFault::RemoveAllFiles => {
            for name in ["ark.db", "ark.db-wal", "ark.db-shm", "anchors.jsonl"] {
                remove(name);
            }
        }
        StorageFault::RemoveDirectory => drop(std::fs::remove_dir_all(data)),
        StorageFault::MakeReadOnly => {
            for name in ["ark.db", "ark.db-wal", "ark.db-shm"] {
                set_mode(&file(name), 0o444);
            }
        }
        StorageFault::HoldWriteLock | StorageFault::HoldReadLock => {
            let other = Connection::open(file("ark.db")).ok()?;
            let _ = other.busy_timeout(Duration::from_secs(2));
            let begun = if fault == StorageFault::HoldWriteLock {
                other.execute_batch("BEGIN IMMEDIATE")
            } else {
                other.execute_batch("BEGIN").and_then(|()| {
                    other.query_row("SELECT count(*) FROM audit_log", [], |_| Ok(()))
                })
            };
            return begun.is_ok().then_some(other);
        }
        StorageFault::SetClock => {
            let shift = random.below(4 * 86_400).cast_signed() - 2 * 86_400;
            let next = place.clock.with_extension("next");
            std::fs::write(&next, format!("{shift:+}\n")).expect("the clock");
            std::fs::rename(&next, &place.clock).expect("the clock");
        }
        StorageFault::FillDisk => fill_disk(data),
        // After the host has ended, see `put_back_older_copy`.
        StorageFault::OlderCopy | StorageFault::Nothing => {}
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
