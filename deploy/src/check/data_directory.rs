//! The data directory: its rights, its disk.

use std::fs::Metadata;
use std::io::Write;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{Access, access, statfs, statvfs};
use rustix::io::Errno;
use rustix::process::geteuid;

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// Kinds of file systems (`statfs`) that lose everything at a power cut.
pub(super) const IN_MEMORY: [(u64, &str); 2] = [(0x0102_1994, "tmpfs"), (0x8584_58f6, "ramfs")];
/// Kinds of file systems on which `SQLite`'s locks and shared memory do not hold.
const REMOTE: [(u64, &str); 5] = [
    (0x6969, "NFS"),
    (0xff53_4d42, "CIFS"),
    (0xfe53_4d42, "SMB"),
    (0x517b, "SMB"),
    (0x0102_1997, "9p"),
];
/// With what the names begin that are left of a disaster: by a new beginning, by a restore, by a host whose files were removed below it.
const LEFTOVERS: [&str; 3] = ["before-anew-", "before-restore-", "rescued-"];
/// How many writes are measured.
const SYNCS: usize = 9;
/// The bytes of each: a page of the database.
const SYNC_BYTES: usize = 8192;
/// A write that takes longer holds up decisions: each waits for one.
const SLOW_SYNC: Duration = Duration::from_millis(50);
/// No disk is faster: it answers before the data is safe, or the file system is told not to sync.
const IMPOSSIBLE_SYNC: Duration = Duration::from_micros(10);
/// Free space below which a host should not start, in bytes.
const LEAST_FREE: u64 = 256 * 1024 * 1024;
/// Free space below which an operator should look, where the database has no limit of its own, in bytes.
const LITTLE_FREE: u64 = 2 * 1024 * 1024 * 1024;

/// The directory if it exists, else the closest one above it that does.
fn existing_directory(dir: &Path) -> PathBuf {
    let absolute = std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned());
    let found = absolute.ancestors().find(|dir| dir.is_dir());
    found.unwrap_or(Path::new("/")).to_owned()
}

/// The directory belongs to the user that runs this, is writable for it and closed to all others, and is on a file system of this machine.
pub(super) fn check_directory(inputs: &CheckInputs, lines: &mut CheckLines) {
    let dir = inputs.data_dir();
    let existing = existing_directory(dir);
    let path = dir.display();
    if dir.exists() && !dir.is_dir() {
        return lines.add_error(
            format!("{path} is no directory"),
            "set data_dir to a directory, or move the file away",
        );
    }
    if let Err(error) = access(&existing, Access::WRITE_OK | Access::EXEC_OK) {
        let shown = existing.display();
        if error == Errno::ROFS {
            return lines.add_error(
                format!("{shown} is on a file system that is mounted read-only"),
                format!("remount it for writing (mount -o remount,rw), and look in the kernel's log why it is not: {shown}"),
            );
        }
        return lines.add_error(
            format!("{shown} cannot be written to: {error}"),
            "run the check as the user that runs the host, and give it the directory (chown)",
        );
    }
    if let Ok(found) = statfs(&existing) {
        let kind = u64::try_from(found.f_type).unwrap_or_default();
        if let Some((_, name)) = REMOTE.iter().find(|(magic, _)| *magic == kind) {
            lines.add_error(
                format!("{path} is on {name}, where a database in WAL mode is not safe"),
                "put data_dir on a disk of this machine",
            );
        }
    } else {
        lines.add_skipped(
            format!("the kind of file system of {path} cannot be asked for"),
            "see that it is a disk of this machine (`stat -f`)",
        );
    }
    if dir.is_dir() {
        check_rights(dir, lines);
    }
    if lines.is_good() {
        inputs.host_user.check_place(dir, &existing, lines);
    }
    if dir.is_dir() {
        check_leftovers(dir, lines);
    }
    if lines.is_good() {
        lines.add_ok(if dir.is_dir() {
            format!("{path} is the host's alone")
        } else {
            format!("{path} will be made")
        });
    }
}

/// Warns of what a restore moved aside and what a host rescued from a lost database: each is a whole copy, and nothing removes it.
fn check_leftovers(dir: &Path, lines: &mut CheckLines) {
    let entries = match std::fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) => {
            return lines.add_skipped(
                format!("{} cannot be listed: {error}", dir.display()),
                "run the check as the user that runs the host",
            );
        }
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            LEFTOVERS.iter().any(|start| name.starts_with(start))
        })
        .map(|entry| entry.path())
        .collect();
    found.sort();
    for path in found {
        let shown = path.display();
        // Of a link itself: what it leads to is elsewhere.
        let Ok(own) = std::fs::symlink_metadata(&path) else {
            continue;
        };
        let mode = own.mode() & 0o7777;
        let (megabytes, user) = (count_bytes(&path, &own) / 1_000_000, own.uid());
        lines.add_warning(
            format!("{shown} is left of a disaster: {megabytes} MB, mode {mode:04o}, of user {user}"),
            format!("look whether the database in use lacks what it holds (docs/disasters.md), keep a copy on another machine if it does, and remove {shown}"),
        );
    }
}

/// The bytes of the files in a directory and below, or of a file. Links are not followed.
fn count_bytes(path: &Path, found: &Metadata) -> u64 {
    if !found.is_dir() {
        return found.len();
    }
    let Ok(entries) = std::fs::read_dir(path) else {
        return 0;
    };
    let sizes = entries.flatten().filter_map(|entry| {
        let found = entry.metadata().ok()?;
        Some(count_bytes(&entry.path(), &found))
    });
    sizes.sum()
}

fn check_rights(dir: &Path, lines: &mut CheckLines) {
    // Root checks for the user whom the directory belongs to.
    let user = match std::fs::metadata(dir) {
        Ok(found) if geteuid().is_root() => found.uid(),
        _ => geteuid().as_raw(),
    };
    let names = [
        "",
        "ark.db",
        "ark.db-wal",
        "ark.db-shm",
        "anchors.jsonl",
        "ark.lock",
        "cache",
        "capsules",
    ];
    for path in names.map(|name| dir.join(name)) {
        let shown = path.display();
        let found = match std::fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => continue,
            Err(error) => {
                lines.add_skipped(
                    format!("{shown} cannot be looked at: {error}"),
                    "run the check as the user that runs the host",
                );
                continue;
            }
        };
        let mode = found.mode() & 0o777;
        // The directory keeps others from the files in it; what they could do with a file by a link is left to its own rights.
        let open_bits = if found.is_dir() { 0o077 } else { 0o022 };
        if mode & open_bits != 0 {
            let right = if found.is_dir() { "0700" } else { "0600" };
            lines.add_error(
                format!("{shown} has mode {mode:04o}: others can use it"),
                format!("chmod {right} {shown}"),
            );
        }
        check_usable(&path, &found, user, lines);
        if found.uid() != user {
            lines.add_error(
                format!("{shown} belongs to user {}, not to {user}", found.uid()),
                format!(
                    "chown it to the user that runs the host: chown -R USER {}",
                    dir.display()
                ),
            );
        }
    }
}

/// The user of the host can read and write a file of the data directory, or use a directory in it.
fn check_usable(path: &Path, found: &Metadata, user: u32, lines: &mut CheckLines) {
    let (shown, mode) = (path.display(), found.mode() & 0o777);
    let (rights, wanted, right) = if found.is_dir() {
        (
            Access::READ_OK | Access::WRITE_OK | Access::EXEC_OK,
            0o700,
            "0700",
        )
    } else {
        (Access::READ_OK | Access::WRITE_OK, 0o600, "0600")
    };
    // Root checks for another user, whom the mode binds. A file of another owner has a line of its own.
    if found.uid() == user && user != 0 && mode & wanted != wanted {
        return lines.add_error(
            format!(
                "{shown} has mode {mode:04o}: the user {user} of the host cannot read and write it"
            ),
            format!("chmod {right} {shown}"),
        );
    }
    match access(path, rights) {
        Err(Errno::ROFS) => lines.add_error(
            format!("{shown} is on a file system that is mounted read-only"),
            "remount it for writing (mount -o remount,rw)",
        ),
        Err(error) if found.uid() == user => lines.add_error(
            format!("{shown} cannot be read and written: {error}"),
            format!("let the user of the host write to it (lsattr, getfacl): {shown}"),
        ),
        _ => {}
    }
}

/// There is room for what the database may grow to.
pub(super) fn check_space(inputs: &CheckInputs, lines: &mut CheckLines) {
    let dir = inputs.data_dir();
    let Ok(disk) = statvfs(existing_directory(dir)) else {
        return lines.add_warning("the free space cannot be asked for", "look at it with `df`");
    };
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let size = |name: &str| std::fs::metadata(dir.join(name)).map_or(0, |found| found.len());
    let used = size("ark.db") + size("ark.db-wal");
    let still_wanted = inputs
        .config
        .store
        .max_bytes
        .map_or(LITTLE_FREE, |limit| limit.saturating_sub(used));
    let (free_mb, wanted_mb) = (free / 1_000_000, still_wanted / 1_000_000);
    if free < LEAST_FREE {
        lines.add_error(
            format!("{free_mb} MB are free: a host without room approves nothing"),
            "make room, or move data_dir to a larger disk",
        );
    } else if free < still_wanted {
        lines.add_warning(
            format!("{free_mb} MB are free, and the database may still grow by {wanted_mb} MB"),
            "make room, or set capacity.max_database_bytes to what the disk has",
        );
    } else {
        lines.add_ok(format!("{free_mb} MB are free"));
    }
}

/// What is written is on disk when the system says so, and soon. Measured on a file that is removed at once.
pub(super) fn check_sync(inputs: &CheckInputs, lines: &mut CheckLines) {
    let dir = existing_directory(inputs.data_dir());
    let kind = statfs(&dir).map_or(0, |found| u64::try_from(found.f_type).unwrap_or_default());
    if let Some((_, name)) = IN_MEMORY.iter().find(|(magic, _)| *magic == kind) {
        return lines.add_error(
            format!(
                "{} is in memory ({name}): a power cut loses every decision",
                dir.display()
            ),
            "put data_dir on a disk",
        );
    }
    let took = match measure_sync(&dir) {
        Ok(took) => took,
        Err(error) => {
            return lines.add_error(
                format!("nothing can be written in {}: {error}", dir.display()),
                "run the check as the user that runs the host, and see the line `disk-space`",
            );
        }
    };
    let took_ms = took.as_secs_f64() * 1000.0;
    if took > SLOW_SYNC {
        lines.add_warning(
            format!(
                "a write takes {took_ms:.1} ms until it is on disk, and each decision waits for one"
            ),
            "use a disk with a protected write cache, or one that fewer programs write to",
        );
    } else if took < IMPOSSIBLE_SYNC {
        lines.add_warning(
            format!("a write is said to be on disk after {took_ms:.3} ms, which no disk can do"),
            "let the file system sync (no `nobarrier`, no volatile overlay, no eatmydata): a power cut would lose decisions",
        );
    } else {
        lines.add_ok(format!("a write is on disk after {took_ms:.1} ms"));
    }
}

/// The median time of a synced write.
fn measure_sync(dir: &Path) -> std::io::Result<Duration> {
    let mut file = tempfile::tempfile_in(dir)?;
    file.write_all(&[0; SYNC_BYTES])?;
    file.sync_all()?;
    let mut times = Vec::with_capacity(SYNCS);
    for round in 1..=SYNCS {
        let page = [u8::try_from(round).unwrap_or(u8::MAX); SYNC_BYTES];
        let started = Instant::now();
        file.write_all_at(&page, 0)?;
        file.sync_data()?;
        times.push(started.elapsed());
    }
    times.sort();
    Ok(times.get(SYNCS / 2).copied().unwrap_or_default())
}
