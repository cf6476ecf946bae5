//! What a restore notes of itself: in `restore.pending` while it runs, and in `restore.json` beside the database that it moved aside once it has
//! ended. One takes the place of the other by a rename, so that a kill leaves a restore that is to be repeated or one that can be found.
//!
//! Invariant: whatever interruption, the files of the database that is replaced end in one directory, which the note names, and nothing else is in
//! it: what an interrupted restore had made goes to another one. A note may come from whoever may write in the data directory, and root may read it:
//! it names nothing outside of that directory, and no other file than a database's.

use std::fs::OpenOptions;
use std::io::{self, Read};
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
    /// Whether `aside` and `files` say what was there when the restore began. An earlier program did not list it.
    #[serde(default)]
    is_listed: bool,
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

    /// Reads what an interrupted restore has noted; `None`: there is no note, or the empty one of a new beginning.
    ///
    /// # Errors
    /// The note cannot be read, or no restore wrote it.
    pub(super) fn read(path: &Path) -> Result<Option<Self>, MaintenanceError> {
        let failed = MaintenanceError::for_file(path);
        let file = OpenOptions::new()
            .read(true)
            .custom_flags(no_follow())
            .open(path);
        let mut text = Vec::new();
        match file.and_then(|file| file.take(MAX_NOTE).read_to_end(&mut text)) {
            Ok(0) => return Ok(None),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(failed(error)),
        }
        let note: Option<Self> = serde_json::from_slice(&text).ok();
        match note.filter(Self::is_of_a_restore) {
            Some(note) => Ok(Some(note)),
            None => Err(failed(io::Error::new(
                io::ErrorKind::InvalidData,
                "it is no note of a restore; find out who wrote it, move it away, and restore again",
            ))),
        }
    }

    /// Whether a restore can have written it.
    fn is_of_a_restore(&self) -> bool {
        let is_own_directory = |aside: &String| {
            let number = aside
                .strip_prefix(ASIDE_PREFIX)
                .and_then(|rest| rest.strip_prefix('-'));
            number.is_some_and(|it| !it.is_empty() && it.bytes().all(|byte| byte.is_ascii_digit()))
        };
        self.aside.as_ref().is_none_or(is_own_directory)
            && self
                .files
                .iter()
                .all(|file| DATABASE_FILES.contains(&file.as_str()))
    }

    /// Adds a caller's name, and, of a restore that begins, the files of the data directory. Returns whether anything is new.
    pub(super) fn complete(&mut self, dir: &Path, label: &str, begins: bool) -> bool {
        let is_labelled = label.is_empty() || self.labels.iter().any(|one| one == label);
        if !is_labelled {
            self.labels.push(label.to_owned());
        }
        if begins {
            self.is_listed = true;
            let present = DATABASE_FILES
                .iter()
                .filter(|name| dir.join(name).symlink_metadata().is_ok());
            self.files = present.map(|name| (*name).to_owned()).collect();
            if !self.files.is_empty() {
                self.aside = Some(format!("{ASIDE_PREFIX}-{}", Millis::now().0));
            }
        }
        !is_labelled || begins
    }

    /// Moves the replaced database to its directory, as far as that was not done yet, and what an interrupted restore has made to another one.
    /// Returns the former.
    pub(super) fn move_database(&self, dir: &Path) -> Result<Option<PathBuf>, MaintenanceError> {
        let Some(name) = &self.aside else {
            let made = move_aside(dir, ASIDE_PREFIX, &DATABASE_FILES)?;
            return Ok(made.filter(|_| !self.is_listed));
        };
        let aside = dir.join(name);
        // What a link leads to is not the data directory's.
        if !aside.symlink_metadata().is_ok_and(|found| found.is_dir()) {
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
        let note = note.ok().flatten();
        note.is_some_and(|note| note.labels.iter().any(|one| one == label))
    });
    found.map(|entry| entry.path())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_note_names_nothing_outside_of_the_data_directory_and_no_other_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("restore.pending");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            RestoreNote::read(&path)
        };
        assert!(read("").unwrap().is_none(), "a new beginning");
        // As an earlier program wrote it.
        assert!(
            read(r#"{"tokens":null,"is_latest":true}"#)
                .unwrap()
                .is_some()
        );
        let own = r#"{"tokens":null,"is_latest":true,"aside":"before-restore-12","files":["ark.db"],"is_listed":true}"#;
        assert!(read(own).unwrap().is_some());
        for (aside, file) in [
            ("/etc", "ark.db"),
            ("..", "ark.db"),
            ("before-restore-", "ark.db"),
            ("before-restore-1/../..", "ark.db"),
            ("before-restore", "ark.db"),
            ("before-restore-12", "ld.so.preload"),
            ("before-restore-12", "../ark.db"),
        ] {
            let planted = own
                .replace("before-restore-12", aside)
                .replace("ark.db", file);
            let refused = read(&planted).unwrap_err().to_string();
            assert!(refused.contains("no note of a restore"), "{refused}");
        }
        assert!(read("{").is_err() && read("[]").is_err());
    }

    #[test]
    fn a_link_in_place_of_the_directory_is_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ark.db"), "a database").unwrap();
        let mut note = RestoreNote::default();
        assert!(note.complete(dir.path(), "", true));
        let aside = dir.path().join(note.aside.as_ref().unwrap());
        std::os::unix::fs::symlink(elsewhere.path(), &aside).unwrap();
        assert!(note.move_database(dir.path()).is_err());
        assert!(dir.path().join("ark.db").exists());
        assert_eq!(elsewhere.path().read_dir().unwrap().count(), 0);
    }
}
