//! Files of a data directory that are replaced: moved aside, and made anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Millis;

use crate::anchors::ANCHORS_FILE;
use crate::directory::{DATABASE_FILE, create_new_dir};

use super::error::MaintenanceError;
use super::snapshot::sync_directory;

/// The files of a database. The database itself is moved last: while it is there, nothing was given up.
pub(super) const DATABASE_FILES: [&str; 4] =
    ["ark.db-wal", "ark.db-shm", ANCHORS_FILE, DATABASE_FILE];

/// Moves files of the data directory into a new directory in it. Returns that directory; `None`: there was none of them.
///
/// The log and its index go with the database, whatever its state: a log that stayed would be read into the next one.
pub(super) fn move_aside(
    dir: &Path,
    prefix: &str,
    names: &[&str],
) -> Result<Option<PathBuf>, MaintenanceError> {
    let mut present = names
        .iter()
        .filter(|name| dir.join(name).symlink_metadata().is_ok())
        .peekable();
    if present.peek().is_none() {
        return Ok(None);
    }
    let aside = dir.join(format!("{prefix}-{}", Millis::now().0));
    create_new_dir(&aside).map_err(MaintenanceError::for_file(&aside))?;
    for name in present {
        let from = dir.join(name);
        std::fs::rename(&from, aside.join(name)).map_err(MaintenanceError::for_file(&from))?;
    }
    sync_directory(&aside)?;
    sync_directory(dir)?;
    Ok(Some(aside))
}

/// Copies a file to a path of the data directory, synced. See [`make_new`].
pub(super) fn copy_file(from: &Path, to: &Path) -> Result<(), MaintenanceError> {
    let mut source = File::open(from).map_err(MaintenanceError::for_file(from))?;
    make_new(to, |made| io::copy(&mut source, made).map(drop))
}

/// Writes a file of the data directory, synced. See [`make_new`].
pub(super) fn write_file(path: &Path, content: &[u8]) -> Result<(), MaintenanceError> {
    make_new(path, |made| made.write_all(content))
}

/// Makes a file beside its path and moves it there, so that it is there whole or not at all. No symbolic link is followed: root may do this in the
/// directory of another user, who could lead it to any file of the machine.
fn make_new(
    path: &Path,
    write: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), MaintenanceError> {
    let mut unfinished = path.as_os_str().to_owned();
    unfinished.push(".new");
    let unfinished = PathBuf::from(unfinished);
    let made = || -> io::Result<()> {
        match std::fs::remove_file(&unfinished) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&unfinished)?;
        write(&mut file)?;
        file.sync_all()?;
        std::fs::rename(&unfinished, path)
    };
    made().map_err(|error| {
        // On a full disk it would take the room that the next try needs.
        let _ = std::fs::remove_file(&unfinished);
        MaintenanceError::for_file(path)(error)
    })
}
