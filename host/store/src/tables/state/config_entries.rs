//! The system configuration: typed values under keys, each with a description and a history of who changed it.

use ark_model::ids::Millis;
use rusqlite::{Connection, Row, params};

use crate::error::{MissingItem, ReadError, WriteError};
use crate::query::{execute_cached, millis_column};
use crate::reader::Reader;

use super::revisioned::{Revisioned, entries_page, entry_history, find_entry, next_revision};

/// A revision of a configuration value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigEntry {
    /// The key.
    pub key: String,
    /// The number of the revision.
    pub revision: u64,
    /// One JSON value, as text; `None`: the configuration value was deleted.
    pub value_json: Option<String>,
    /// What the configuration value is for.
    pub description: String,
    /// Who wrote the revision.
    pub updated_by: String,
    /// When the revision was written.
    pub at: Millis,
}

impl Revisioned for ConfigEntry {
    const KIND: &'static str = "config";
    const ENTRIES: &'static str = "system_config";
    const HISTORY: &'static str = "config_history";
    const COLUMNS: &'static str = "key, revision, value, description, updated_by, at";
    const LIVE: &'static str = "value IS NOT NULL";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            key: row.get(0)?,
            revision: row.get(1)?,
            value_json: row.get(2)?,
            description: row.get(3)?,
            updated_by: row.get(4)?,
            at: millis_column(row, 5)?,
        })
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn is_live(&self) -> bool {
        self.value_json.is_some()
    }
}

/// A change of a configuration value.
pub(crate) struct NewConfigEntry<'a> {
    pub(crate) key: &'a str,
    /// The new value, as JSON text; `None` deletes the configuration value.
    pub(crate) value_json: Option<&'a str>,
    /// What the configuration value is for; `None` keeps the description.
    pub(crate) description: Option<&'a str>,
    pub(crate) updated_by: &'a str,
    /// The revision the configuration value must be at; 0: it must not exist.
    pub(crate) expected: Option<u64>,
    pub(crate) at: Millis,
}

/// Writes the next revision of a configuration value. Returns its number. A refusal comes before anything is written.
pub(crate) fn write_config_entry(
    connection: &Connection,
    new: &NewConfigEntry<'_>,
) -> Result<u64, WriteError> {
    let current = find_entry::<ConfigEntry>(connection, new.key)?;
    let revision = next_revision(new.key, current.as_ref(), new.expected)?;
    if new.value_json.is_none() && !current.as_ref().is_some_and(ConfigEntry::is_live) {
        return Err(WriteError::refuse(MissingItem::ConfigEntry {
            key: new.key.to_owned(),
        }));
    }
    let description = match (new.description, &current) {
        (Some(description), _) => description,
        (None, Some(entry)) => entry.description.as_str(),
        (None, None) => "",
    };
    for sql in [
        "INSERT INTO system_config (key, revision, value, description, updated_by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3, description = ?4, updated_by = ?5, at = ?6",
        "INSERT INTO config_history (key, revision, value, description, updated_by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    ] {
        execute_cached(
            connection,
            sql,
            params![
                new.key,
                revision,
                new.value_json,
                description,
                new.updated_by,
                new.at.0
            ],
        )?;
    }
    Ok(revision)
}

impl Reader {
    /// The last revision of a configuration value, also when it was deleted; `None` when it never existed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_config_entry(&self, key: &str) -> Result<Option<ConfigEntry>, ReadError> {
        self.with_connection(|connection| find_entry(connection, key))
    }

    /// The configuration values that exist and whose keys start with `prefix`, in order, behind the key `after` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn config_entries_page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ConfigEntry>, ReadError> {
        entries_page(self, prefix, after, limit)
    }

    /// The revisions of a configuration value, newest first, before the revision `before` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn config_entry_history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ConfigEntry>, ReadError> {
        entry_history(self, key, before, limit)
    }
}
