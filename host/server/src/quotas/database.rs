//! The limit of the database's size.

use std::path::Path;

use ark_store::StoreConfig;

/// The limit without a configured one, unless the disk has less: a database that a snapshot and a check still read within minutes.
const DEFAULT_BYTES: u64 = 64 * 1024 * 1024 * 1024;

/// Returns the limit of the database's size that is in force: the configured one, else the default for this disk.
#[must_use]
pub fn limit_database(config: &StoreConfig) -> u64 {
    config
        .max_bytes
        .unwrap_or_else(|| default_limit(database_bytes(&config.dir), free_bytes(&config.dir)))
}

/// `size`: that of the database and its log; `free`: what the disk has free; `None`: unknown.
fn default_limit(size: u64, free: Option<u64>) -> u64 {
    // A database of before there was a default goes on.
    let wanted = DEFAULT_BYTES.max(size.saturating_mul(2));
    let most = free.map_or(u64::MAX, |free| size.saturating_add(free) / 10 * 9);
    wanted.min(most).max(1)
}

fn database_bytes(dir: &Path) -> u64 {
    let sizes = ["ark.db", "ark.db-wal"].map(|name| std::fs::metadata(dir.join(name)));
    sizes.into_iter().flatten().map(|file| file.len()).sum()
}

/// What the disk of a directory has free. The directory may not exist yet.
fn free_bytes(dir: &Path) -> Option<u64> {
    let existing = dir.ancestors().find(|dir| dir.exists());
    let existing = existing.unwrap_or_else(|| Path::new("."));
    let disk = rustix::fs::statvfs(existing).ok()?;
    Some(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    const GIB: u64 = 1024 * 1024 * 1024;

    #[test]
    fn the_default_leaves_room_on_the_disk_and_in_a_database_that_is_there() {
        for (size, free, limit) in [
            (0, Some(1000 * GIB), 64 * GIB),
            (0, Some(10 * GIB), 9 * GIB),
            (40 * GIB, Some(1000 * GIB), 80 * GIB),
            (40 * GIB, Some(10 * GIB), 45 * GIB),
            (0, None, 64 * GIB),
            (0, Some(0), 1),
        ] {
            assert_eq!(default_limit(size, free), limit, "{size} {free:?}");
        }
        let dir = tempfile::tempdir().unwrap();
        assert!(free_bytes(&dir.path().join("not/yet")).unwrap() > 0);
    }
}
