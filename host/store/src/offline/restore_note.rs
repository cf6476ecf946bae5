//! What a restore notes of itself: in `restore.pending` while it runs, and in `restore.json` beside the database that it moved aside once it has
//! ended. One takes the place of the other by a rename, so that a kill leaves a restore that is to be repeated or one that can be found.
//!
//! Invariant: whatever interruption, the files of the database that is replaced end in one directory, which the note names, and nothing else is in
//! it: what an interrupted restore had made goes to another one.

use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Millis;
use serde::{Deserialize, Serialize};

use crate::directory::{create_new_dir, no_follow};

use super::error::MaintenanceError;
use super::replacing::{DATABASE_FILES, move_aside};
use super::revocations::EarlierTokens;
use super::snapshot::sync_directory;

/// The name of the note beside a database that was moved aside.
const NOTE_FILE: &str = "restore.json";
/// How the name of the directory begins that a restore moves a database to.
pub(super) const ASIDE_PREFIX: &str = "before-restore";
/// The most bytes of a note. Each token of the replaced database has 67 of them.
const MAX_NOTE: u64 = 64 << 20;

/// What a restore notes of itself.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct RestoreNote {
    /// The names that its callers gave it: one that was interrupted may be repeated for another one.
    #[serde(default)]
    labels: Vec<String>,
    /// The directory that the replaced database is moved to, by its name; `None`: there was none.
    #[serde(default)]
    aside: Option<String>,
    /// The files that are moved there.
    #[serde(default)]
    files: Vec<String>,
    /// What the replaced database says of its tokens.
    #[serde(flatten)]
    pub(super) earlier: EarlierTokens,
}

impl RestoreNote {
    /// The note of a restore that begins.
    pub(super) fn of(earlier: EarlierTokens) -> Self {
        Self {
            earlier,
            ..Self::default()
        }
    }

    /// Reads what an interrupted restore has noted; `None`: it was interrupted before that, and the database is still the one to be replaced.
    pub(super) fn read(path: &Path) -> Option<Self> {
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(no_follow())
            .open(path);
        let mut text = Vec::new();
        file.ok()?.take(MAX_NOTE).read_to_end(&mut text).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// Adds a caller's name, and the files of a data directory if none are noted yet. Returns whether anything is new.
    pub(super) fn complete(&mut self, dir: &Path, label: &str) -> bool {
        let is_labelled = label.is_empty() || self.labels.iter().any(|one| one == label);
        if !is_labelled {
            self.labels.push(label.to_owned());
        }
        let is_listed = self.aside.is_some();
        if !is_listed {
            let present = DATABASE_FILES
                .iter()
                .filter(|name| dir.join(name).symlink_metadata().is_ok());
            self.files = present.map(|name| (*name).to_owned()).collect();
            if !self.files.is_empty() {
                self.aside = Some(format!("{ASIDE_PREFIX}-{}", Millis::now().0));
            }
        }
        !is_labelled || !is_listed
    }

    /// Moves the replaced database to its directory, as far as that was not done yet, and what an interrupted restore has made to another one.
    /// Returns the former.
    pub(super) fn move_database(&self, dir: &Path) -> Result<Option<PathBuf>, MaintenanceError> {
        let Some(name) = &self.aside else {
            return Ok(None);
        };
        let aside = dir.join(name);
        if !aside.is_dir() {
            create_new_dir(&aside).map_err(MaintenanceError::for_file(&aside))?;
        }
        for name in &self.files {
            let (from, to) = (dir.join(name), aside.join(name));
            let is_moved = to.symlink_metadata().is_ok();
            if !is_moved && from.symlink_metadata().is_ok() {
                std::fs::rename(&from, to).map_err(MaintenanceError::for_file(&from))?;
            }
        }
        sync_directory(&aside)?;
        sync_directory(dir)?;
        move_aside(dir, ASIDE_PREFIX, &DATABASE_FILES)?;
        Ok(Some(aside))
    }

    /// Ends a restore: nothing is pending any more.
    pub(super) fn finish(
        pending: &Path,
        dir: &Path,
        aside: Option<&Path>,
    ) -> Result<(), MaintenanceError> {
        if let Some(aside) = aside {
            let note = aside.join(NOTE_FILE);
            std::fs::rename(pending, &note).map_err(MaintenanceError::for_file(&note))?;
            sync_directory(aside)?;
        } else {
            std::fs::remove_file(pending).map_err(MaintenanceError::for_file(pending))?;
        }
        sync_directory(dir)
    }
}

/// Finds the restore of a caller's name that has ended in a data directory. Returns the directory that the replaced database was moved to; `None`:
/// there is none, or there was no database.
#[must_use]
pub fn find_finished_restore(dir: &Path, label: &str) -> Option<PathBuf> {
    let entries = std::fs::read_dir(dir).ok()?;
    let mut asides = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        entry.file_type().is_ok_and(|kind| kind.is_dir())
            && name.to_string_lossy().starts_with(ASIDE_PREFIX)
    });
    let found = asides.find(|entry| {
        let note = RestoreNote::read(&entry.path().join(NOTE_FILE));
        note.is_some_and(|note| note.labels.iter().any(|one| one == label))
    });
    found.map(|entry| entry.path())
}
