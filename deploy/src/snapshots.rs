//! Finds the latest snapshot in a directory of snapshots.

use std::cmp::Reverse;
use std::path::{Path, PathBuf};

use ark_store::SnapshotManifest;

/// The manifest of a snapshot; `None`: it is none.
pub(crate) fn read_manifest(snapshot: &Path) -> Option<SnapshotManifest> {
    let text = std::fs::read(snapshot.join("manifest.json")).ok()?;
    serde_json::from_slice(&text).ok()
}

/// The snapshot that was made last, of those that are accepted: by path and manifest. They are asked about from the last one on, until one is accepted.
pub(crate) fn find_latest(
    dir: &Path,
    mut accepts: impl FnMut(&Path, &SnapshotManifest) -> bool,
) -> std::io::Result<Option<(PathBuf, SnapshotManifest)>> {
    let mut found: Vec<(PathBuf, SnapshotManifest)> = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if let Some(manifest) = read_manifest(&path) {
            found.push((path, manifest));
        }
    }
    found.sort_by_key(|(_, manifest)| Reverse(manifest.made_at_ms));
    let mut found = found.into_iter();
    Ok(found.find(|(path, manifest)| accepts(path, manifest)))
}
