//! Finds the latest snapshot in a directory of snapshots.

use std::path::{Path, PathBuf};

use ark_store::SnapshotManifest;

/// The manifest of a snapshot; `None`: it is none.
pub(crate) fn read_manifest(snapshot: &Path) -> Option<SnapshotManifest> {
    let text = std::fs::read(snapshot.join("manifest.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The snapshot that was made last, of those that are accepted: by path and manifest.
pub(crate) fn find_latest(
    dir: &Path,
    mut accepts: impl FnMut(&Path, &SnapshotManifest) -> bool,
) -> std::io::Result<Option<(PathBuf, SnapshotManifest)>> {
    let mut latest: Option<(PathBuf, SnapshotManifest)> = None;
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        let Some(manifest) = read_manifest(&path) else {
            continue;
        };
        let is_later =
            |(_, last): &(PathBuf, SnapshotManifest)| last.made_at_ms < manifest.made_at_ms;
        if latest.as_ref().is_none_or(is_later) && accepts(&path, &manifest) {
            latest = Some((path, manifest));
        }
    }
    Ok(latest)
}
