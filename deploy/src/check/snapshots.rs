//! The snapshots: the last one is young, and restores.

use std::path::{Path, PathBuf};

use ark_model::ids::Millis;
use ark_store::{SnapshotManifest, restore_snapshot};

use super::line::CheckLines;
use super::subject::Subject;

/// How old the last snapshot may be, in milliseconds.
const MAX_AGE_MS: u64 = 86_400_000;

pub(super) fn check_snapshot(subject: &Subject, lines: &mut CheckLines) {
    let remedy = "take one every day: ark state snapshot DIR/NAME --data-dir …, and keep a copy on another machine";
    let Some(dir) = subject.options.snapshots.as_deref() else {
        return lines.warn(
            "no directory of snapshots is named, so a lost disk may lose every decision",
            format!("{remedy}; name the directory with --snapshots DIR or ARK_SNAPSHOTS"),
        );
    };
    let (path, made_at) = match find_latest(dir) {
        Ok(Some(latest)) => latest,
        Ok(None) => return lines.fail(format!("{} holds no snapshot", dir.display()), remedy),
        Err(error) => {
            return lines.fail(
                format!("{}: {error}", dir.display()),
                "name the directory of the snapshots, readable for this user, with --snapshots",
            );
        }
    };
    let age = Millis::now().0.saturating_sub(made_at.0);
    if age > MAX_AGE_MS {
        return lines.fail(
            format!(
                "the last snapshot, {}, is {} h old",
                path.display(),
                age / 3_600_000
            ),
            remedy,
        );
    }
    // A snapshot that was never restored is a hope: it is restored into a directory that is removed again.
    let restored = tempfile::tempdir()
        .map_err(|error| error.to_string())
        .and_then(|target| {
            let data = target.path().join("data");
            let report = restore_snapshot(&path, &data, false, subject.secret_key.as_ref());
            report.map_err(|error| error.to_string())
        });
    match restored {
        Ok(report) => lines.ok(format!(
            "{}, {} min old, restores: {} audit rows",
            path.display(),
            age / 60_000,
            report.manifest.audit.seq
        )),
        Err(error) => lines.fail(
            format!(
                "the last snapshot, {}, does not restore: {error}",
                path.display()
            ),
            "take another one, and keep this one until that restores",
        ),
    }
}

/// The snapshot that was made last.
fn find_latest(dir: &Path) -> std::io::Result<Option<(PathBuf, Millis)>> {
    let mut latest: Option<(PathBuf, Millis)> = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Ok(text) = std::fs::read(path.join("manifest.json")) else {
            continue;
        };
        let Ok(manifest) = serde_json::from_slice::<SnapshotManifest>(&text) else {
            continue;
        };
        if latest
            .as_ref()
            .is_none_or(|(_, made_at)| *made_at < manifest.made_at_ms)
        {
            latest = Some((path, manifest.made_at_ms));
        }
    }
    Ok(latest)
}
