//! The snapshots: the last one is young, and restores.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;

use ark_model::ids::Millis;
use ark_store::{RestoreReport, restore_snapshot};
use rustix::fs::{FlockOperation, flock};

use crate::snapshots::{find_latest, read_manifest};

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How old the last snapshot may be, in milliseconds.
const MAX_AGE_MS: u64 = 86_400_000;
/// How far the clock of the machine that made a snapshot may be ahead, in milliseconds.
const MAX_AHEAD_MS: u64 = 60_000;
/// The directory beside the snapshots into which the last one is restored. It is removed when the check ends, or by the next check.
const RESTORE_DIR: &str = ".ark-check-restore";

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
    let remedy = "take one every day: ark state snapshot DIR/NAME --data-dir …, and keep a copy on another machine";
    let Some(dir) = inputs.options.snapshots.as_deref() else {
        return lines.add_warning(
            "no directory of snapshots is named, so a lost disk may lose every decision",
            format!("{remedy}; name the directory with --snapshots DIR or ARK_SNAPSHOTS"),
        );
    };
    let (path, made_at) = match find_latest(dir, |_| true) {
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
    check_origin(inputs, path, lines);
    if !lines.is_good() {
        return;
    }
    match try_restore(inputs, dir, path) {
        Ok(Ok(report)) => lines.add_ok(format!(
            "{shown}, {} min old, restores: {} audit rows",
            age / 60_000,
            report.manifest.audit.seq
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

/// The snapshot is one of this host: the last row of its audit log is in this data directory's.
fn check_origin(inputs: &CheckInputs, snapshot: &Path, lines: &mut CheckLines) {
    let Some(manifest) = read_manifest(snapshot) else {
        return;
    };
    // A database that is not there, or that cannot be read, has a line of its own.
    let Ok(Some(store)) = inputs.open_database() else {
        return;
    };
    let head = manifest.audit;
    let (Ok(found), Ok(base)) = (store.audit_hash(head.seq), store.audit_base()) else {
        return;
    };
    let shown = snapshot.display();
    if head.seq <= base.seq {
        // What is older than the archive cannot be compared, but for the archive's own last row.
        if head.seq == base.seq && head.hash != base.hash {
            lines.add_error(
                format!("the last snapshot, {shown}, is of another host"),
                SNAPSHOT_REMEDY,
            );
        }
    } else if found != Some(head.hash) {
        lines.add_error(
            format!(
                "the last snapshot, {shown}, is of another host: row {} of its audit log is not in this data directory's",
                head.seq
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
