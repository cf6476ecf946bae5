//! The snapshots: the last one is young, the host's alone, in a place that outlives the data directory, and restores.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use ark_model::ids::Millis;
use ark_store::{RestoreReport, SecretKey, SnapshotOrigin, find_origin, restore_snapshot};
use rustix::fs::{FlockOperation, flock, statfs};

use crate::snapshots::{find_latest, read_manifest};

use super::data_directory::IN_MEMORY;
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How old the last snapshot may be, in milliseconds.
const MAX_AGE_MS: u64 = 86_400_000;
/// How far the clock of the machine that made a snapshot may be ahead, in milliseconds.
const MAX_AHEAD_MS: u64 = 60_000;
/// The directory beside the snapshots into which the last one is restored. It is removed when the check ends, or by the next check.
const RESTORE_DIR: &str = ".ark-check-restore";

/// The longest file in which the secret key is looked for, in bytes: it has 64 digits.
const MAX_KEY_BYTES: u64 = 256;

/// What to do about a snapshot of another host.
const SNAPSHOT_REMEDY: &str = "take one of this host's data directory, and keep those of other hosts in directories of their own";

/// Why it is not known whether a snapshot restores.
enum Untried {
    /// Another check restores it at this moment.
    InUse,
    /// There is no place to restore it to.
    NoPlace(std::io::Error),
}

pub(super) fn check_snapshot(inputs: &CheckInputs, lines: &mut CheckLines) {
    check_key_apart(inputs, inputs.data_dir(), "the data directory", lines);
    let remedy = "take one every day: ark state snapshot DIR/NAME --data-dir …, and keep a copy on another machine";
    let Some(dir) = inputs.options.snapshots.as_deref() else {
        return lines.add_warning(
            "no directory of snapshots is named, so a lost disk may lose every decision",
            format!("{remedy}; name the directory with --snapshots DIR or ARK_SNAPSHOTS"),
        );
    };
    let (path, made_at) = match find_latest(dir, |_, _| true) {
        Ok(Some((path, manifest))) => (path, manifest.made_at_ms),
        Ok(None) => return lines.add_error(format!("{} holds no snapshot", dir.display()), remedy),
        Err(error) => {
            return lines.add_error(
                format!("{}: {error}", dir.display()),
                "name the directory of the snapshots, readable for this user, with --snapshots",
            );
        }
    };
    let (path, now) = (path.as_path(), Millis::now().0);
    let shown = path.display();
    if made_at.0 > now.saturating_add(MAX_AHEAD_MS) {
        return lines.add_error(
            format!(
                "the last snapshot, {shown}, is dated {} s ahead of the clock, so its age is not known",
                (made_at.0 - now) / 1000
            ),
            "see the line `clock`, and that of the machine that made it; then take another one and move this one away",
        );
    }
    let age = now.saturating_sub(made_at.0);
    if age > MAX_AGE_MS {
        return lines.add_error(
            format!("the last snapshot, {shown}, is {} h old", age / 3_600_000),
            remedy,
        );
    }
    for place in [dir, path] {
        inputs.host_user.check_files(place, lines);
    }
    check_readers(inputs, dir, lines);
    check_place(inputs, dir, path, lines);
    check_origin(inputs, path, lines);
    if lines.found.iter().any(|line| line.status.is_failure()) {
        return;
    }
    match try_restore(inputs, dir, path) {
        Ok(Ok(_)) if !lines.is_good() => {}
        Ok(Ok(report)) => lines.add_ok(format!(
            "{shown}, {} min old, restores: {} audit rows{}",
            age / 60_000,
            report.manifest.audit.seq,
            describe_shared_disk(path, inputs.data_dir())
        )),
        Ok(Err(problem)) => lines.add_error(
            format!("the last snapshot, {shown}, does not restore: {problem}"),
            "take another one, and keep this one until that restores",
        ),
        Err(Untried::InUse) => lines.add_skipped(
            "another check restores the last snapshot at this moment",
            "wait for its end, and check again",
        ),
        Err(Untried::NoPlace(error)) => lines.add_skipped(
            format!(
                "the last snapshot, {shown}, was not restored: {}: {error}",
                dir.join(RESTORE_DIR).display()
            ),
            "let this user write to the directory of the snapshots, which needs room for one more",
        ),
    }
}

/// Nobody but root and the host's user can read the databases in the snapshots, as in the data directory.
fn check_readers(inputs: &CheckInputs, dir: &Path, lines: &mut CheckLines) {
    let found = list_snapshot_files(dir).and_then(|files| {
        for file in files {
            if let Some(problem) = inputs.host_user.find_reader_on_way(&file)? {
                return Ok(Some((file, problem)));
            }
        }
        Ok(None)
    });
    match found {
        Ok(None) => {}
        // The others are told by this one: the whole directory is to be closed.
        Ok(Some((file, problem))) => lines.add_error(
            format!("{problem}; a snapshot holds all that the database does"),
            format!(
                "chmod -R go= {}, and take the next one where nobody else can read",
                file.parent().unwrap_or(dir).display()
            ),
        ),
        Err(error) => lines.add_skipped(
            format!(
                "who can read the snapshots in {} is not known: {error}",
                dir.display()
            ),
            "run the check as the user that runs the host, or as root",
        ),
    }
}

/// The files of all snapshots in a directory.
fn list_snapshot_files(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let snapshot = entry?.path();
        if snapshot.join("manifest.json").is_file() {
            for file in std::fs::read_dir(&snapshot)? {
                files.push(file?.path());
            }
        }
    }
    Ok(files)
}

/// The snapshots outlive the data directory and a power cut, and the key that opens their secrets is not beside them.
fn check_place(inputs: &CheckInputs, dir: &Path, snapshot: &Path, lines: &mut CheckLines) {
    let data = inputs.data_dir();
    let real = |path: &Path| std::fs::canonicalize(path).ok();
    if let (Some(snapshot), Some(data)) = (real(snapshot), real(data))
        && snapshot.starts_with(&data)
    {
        lines.add_warning(
            format!(
                "the snapshots in {} are inside the data directory, {}: what loses or replaces that loses them too",
                dir.display(),
                data.display()
            ),
            "move them to a directory of their own, on another disk or machine",
        );
    }
    // Where the data directory is in memory too, the line `disk-sync` says so.
    if let Some(name) = find_memory_kind(snapshot).filter(|_| find_memory_kind(data).is_none()) {
        lines.add_warning(
            format!(
                "the snapshots in {} are in memory ({name}): a power cut loses them",
                dir.display()
            ),
            "keep them on a disk, best of another machine",
        );
    }
    check_key_apart(inputs, dir, "the directory of the snapshots", lines);
    check_key_apart(inputs, snapshot, "the last snapshot", lines);
}

/// What a snapshot does not outlive by itself, to be read after what is good about it. It is no warning: copies elsewhere are made by a job of the operator's, of
/// which nothing here knows, so nobody could ever make the line good.
fn describe_shared_disk(snapshot: &Path, data: &Path) -> &'static str {
    if shares_file_system(snapshot, data) {
        "; it is on the file system of the data directory, so a lost disk takes both: have each copied to another machine"
    } else {
        ""
    }
}

/// Whether two paths are on one file system, as far as can be seen.
fn shares_file_system(one: &Path, other: &Path) -> bool {
    let device = |path: &Path| Some(std::fs::metadata(path).ok()?.dev());
    device(one).is_some_and(|found| device(other) == Some(found))
}

/// The name of the file system of a path that is in memory; `None`: it is on a disk.
fn find_memory_kind(path: &Path) -> Option<&'static str> {
    let kind = u64::try_from(statfs(path).ok()?.f_type).ok()?;
    let (_, name) = IN_MEMORY.iter().find(|(magic, _)| *magic == kind)?;
    Some(name)
}

/// The key that encrypts secrets is in none of the files of a directory: whoever gets a copy of it would get the secrets too, and who loses it
/// would lose both.
fn check_key_apart(inputs: &CheckInputs, dir: &Path, what: &str, lines: &mut CheckLines) {
    let Some(key) = inputs.usable_key() else {
        return;
    };
    let Ok(entries) = std::fs::read_dir(dir) else {
        return;
    };
    for path in entries.flatten().map(|entry| entry.path()) {
        let is_small = std::fs::metadata(&path)
            .is_ok_and(|found| found.is_file() && found.len() <= MAX_KEY_BYTES);
        if !is_small {
            continue;
        }
        let Ok(text) = std::fs::read_to_string(&path) else {
            continue;
        };
        let shown = path.display().to_string();
        if SecretKey::parse(&text, &shown).is_ok_and(|found| found.id() == key.id()) {
            lines.add_warning(
                format!("{shown} in {what} is the key that encrypts secrets: whoever gets a copy of that directory can decrypt them, and its loss is that of both"),
                "move the key to a place of its own (ARK_SECRET_KEY_FILE), and keep its copy apart from the snapshots",
            );
        }
    }
}

/// The snapshot is one of this host: the last row of its audit log is in this data directory's.
fn check_origin(inputs: &CheckInputs, snapshot: &Path, lines: &mut CheckLines) {
    let Some(manifest) = read_manifest(snapshot) else {
        return;
    };
    // A database that is not there, or that cannot be read, has a line of its own.
    let Ok(Some(_)) = inputs.open_database() else {
        return;
    };
    if let Ok(SnapshotOrigin::Foreign | SnapshotOrigin::Ahead) =
        find_origin(inputs.data_dir(), snapshot, manifest.audit)
    {
        lines.add_error(
            format!(
                "the last snapshot, {}, is of another host: row {} of its audit log is not in this data directory's",
                snapshot.display(),
                manifest.audit.seq
            ),
            SNAPSHOT_REMEDY,
        );
    }
}

/// Restores a snapshot as an operator would, since one that was never restored may not be one, and removes what was restored: also what an
/// earlier check left that was killed meanwhile.
fn try_restore(
    inputs: &CheckInputs,
    dir: &Path,
    snapshot: &Path,
) -> Result<Result<RestoreReport, String>, Untried> {
    let place = dir.join(RESTORE_DIR);
    match DirBuilder::new().mode(0o700).create(&place) {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
            return Err(Untried::NoPlace(error));
        }
        _ => {}
    }
    if !std::fs::symlink_metadata(&place).is_ok_and(|found| found.is_dir()) {
        return Err(Untried::NoPlace(std::io::ErrorKind::NotADirectory.into()));
    }
    // The lock ends with this process, however that ends.
    let lock = File::open(&place).map_err(Untried::NoPlace)?;
    flock(&lock, FlockOperation::NonBlockingLockExclusive).map_err(|_| Untried::InUse)?;
    let data = place.join("data");
    if data.exists() {
        std::fs::remove_dir_all(&data).map_err(Untried::NoPlace)?;
    }
    let restored = restore_snapshot(snapshot, &data, false, inputs.usable_key());
    let removed = std::fs::remove_dir_all(&place);
    let restored = restored.map_err(|error| error.to_string());
    if restored.is_ok() {
        removed.map_err(Untried::NoPlace)?;
    }
    Ok(restored)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_on_one_file_system_is_told_from_what_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let below = dir.path().join("below");
        std::fs::create_dir(&below).unwrap();
        assert!(shares_file_system(dir.path(), &below));
        assert!(!shares_file_system(dir.path(), Path::new("/proc")));
        assert!(!shares_file_system(&dir.path().join("nowhere"), &below));
        assert!(describe_shared_disk(&below, dir.path()).contains("a lost disk takes both"));
        assert_eq!(describe_shared_disk(Path::new("/proc"), dir.path()), "");
    }
}
