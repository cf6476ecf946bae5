//! The system configuration (table `system_config`): typed values under keys, each with a description, who changed it, and its history.

use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::ids::Millis;

use super::Store;
use super::error::{CommitError, ReadError};
use super::writer::WriteError;

/// A revision of a setting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: String,
    /// The revision: from 1, contiguous; deletions count.
    pub revision: u64,
    /// One JSON value, as text; `None`: it was deleted.
    pub value_json: Option<String>,
    /// What it is for.
    pub description: String,
    /// Who wrote it.
    pub updated_by: String,
    /// When.
    pub at: Millis,
}

/// A change of a setting.
pub(super) struct NewSetting<'a> {
    pub(super) key: &'a str,
    pub(super) value_json: Option<&'a str>,
    /// `None` keeps the description there is.
    pub(super) description: Option<&'a str>,
    pub(super) updated_by: &'a str,
    pub(super) expected: Option<u64>,
    pub(super) at: Millis,
}

/// Writes the next revision of a setting; its number. Nothing was written when it is refused.
pub(super) fn write_setting(
    connection: &Connection,
    new: &NewSetting<'_>,
) -> Result<u64, WriteError> {
    let current = find_setting(connection, new.key)?;
    let revision = current.as_ref().map_or(0, |setting| setting.revision);
    let live = current
        .as_ref()
        .is_some_and(|setting| setting.value_json.is_some());
    if let Some(expected) = new
        .expected
        .filter(|expected| *expected != revision && (*expected != 0 || live))
    {
        return Err(WriteError::Refused(CommitError::Stale {
            table: "config",
            key: new.key.to_owned(),
            expected,
            current: revision,
        }));
    }
    if new.value_json.is_none() && !live {
        return Err(WriteError::Refused(CommitError::NotFound(format!(
            "there is no setting {:?}",
            new.key
        ))));
    }
    let description = match (new.description, &current) {
        (Some(description), _) => description,
        (None, Some(setting)) => setting.description.as_str(),
        (None, None) => "",
    };
    for sql in [
        "INSERT INTO system_config (key, revision, value, description, updated_by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
         ON CONFLICT (key) DO UPDATE SET revision = ?2, value = ?3, description = ?4, updated_by = ?5, at = ?6",
        "INSERT INTO config_history (key, revision, value, description, updated_by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    ] {
        connection.prepare_cached(sql)?.execute(params![
            new.key,
            revision + 1,
            new.value_json,
            description,
            new.updated_by,
            new.at.0
        ])?;
    }
    Ok(revision + 1)
}

const COLUMNS: &str = "key, revision, value, description, updated_by, at";

fn read_setting(row: &Row<'_>) -> rusqlite::Result<Setting> {
    Ok(Setting {
        key: row.get(0)?,
        revision: row.get(1)?,
        value_json: row.get(2)?,
        description: row.get(3)?,
        updated_by: row.get(4)?,
        at: Millis(row.get(5)?),
    })
}

fn find_setting(connection: &Connection, key: &str) -> rusqlite::Result<Option<Setting>> {
    connection
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM system_config WHERE key = ?1"
        ))?
        .query_row([key], read_setting)
        .optional()
}

impl Store {
    /// The last revision of a setting, a deletion included.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_setting(&self, key: &str) -> Result<Option<Setting>, ReadError> {
        self.inner
            .readers
            .with_connection(|connection| find_setting(connection, key))
    }

    /// Live settings whose keys start with `prefix`, in order, behind `after`, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn settings_page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<Setting>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM system_config WHERE key >= ?1 AND key > ?2
                     AND substr(key, 1, length(?1)) = ?1 AND value IS NOT NULL ORDER BY key LIMIT ?3"
                ))?
                .query_map(params![prefix, after.unwrap_or(""), limit], read_setting)?
                .collect()
        })
    }

    /// The history of a setting, newest first, before the revision `before` when given, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn setting_history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Setting>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM config_history WHERE key = ?1 AND revision < ?2 ORDER BY revision DESC LIMIT ?3"
                ))?
                .query_map(
                    params![key, before.unwrap_or(i64::MAX.unsigned_abs()), limit],
                    read_setting,
                )?
                .collect()
        })
    }
}
