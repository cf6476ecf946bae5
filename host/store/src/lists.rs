//! The operator's lists: what facts come from that no agent may touch. Entries come from the configuration, which is replaced whole, and
//! over the API, one by one with a history.

use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

use ark_model::ids::{Millis, Name};

use super::Store;
use super::audit::malformed_column;
use super::error::{CommitError, ReadError};
use super::writer::WriteError;

/// Which list.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    utoipa::ToSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum List {
    /// Symbols nobody may trade (rule 1).
    Restricted,
    /// Symbols with a client's order pending (rule 4).
    ClientOrders,
    /// Data sources that are trusted (rule 21).
    ValidatedSources,
    /// Data subjects and whether they consent (rule 16).
    Consents,
    /// Standing vetoes (rule 23).
    Vetoes,
}

impl List {
    /// Every list.
    pub const ALL: [Self; 5] = [
        Self::Restricted,
        Self::ClientOrders,
        Self::ValidatedSources,
        Self::Consents,
        Self::Vetoes,
    ];

    /// As in JSON, in paths and in the database.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Restricted => "restricted",
            Self::ClientOrders => "client_orders",
            Self::ValidatedSources => "validated_sources",
            Self::Consents => "consents",
            Self::Vetoes => "vetoes",
        }
    }

    /// From its name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.as_str() == text)
    }
}

/// An entry of the operator's lists.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListEntry {
    /// A symbol nobody may trade (rule 1).
    Restricted(String),
    /// A symbol with a client's order pending (rule 4).
    ClientOrder(String),
    /// A data source that is trusted (rule 21).
    ValidatedSource(String),
    /// A data subject's consent (rule 16).
    Consent {
        /// Who.
        subject: String,
        /// Granted or refused.
        granted: bool,
    },
    /// A standing veto (rule 23). It matches when every part it names matches.
    Veto {
        /// The agent it concerns; `None`: all.
        agent: Option<Name>,
        /// The action type it concerns; `None`: all.
        action_type: Option<String>,
        /// The symbol it concerns; `None`: all.
        symbol: Option<String>,
        /// The user's words.
        words: String,
    },
}

impl ListEntry {
    /// The list it stands on.
    #[must_use]
    pub const fn list(&self) -> List {
        match self {
            Self::Restricted(_) => List::Restricted,
            Self::ClientOrder(_) => List::ClientOrders,
            Self::ValidatedSource(_) => List::ValidatedSources,
            Self::Consent { .. } => List::Consents,
            Self::Veto { .. } => List::Vetoes,
        }
    }
}

/// A change of an entry that an operator made over the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChange {
    /// Which list.
    pub list: List,
    /// Which entry: the symbol, source or subject; of a veto the name it was given.
    pub key: String,
    /// The entry from now on; `None`: it is taken off.
    pub entry: Option<ListEntry>,
    /// Who changes it.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// An entry as it stands, or as it once was changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListRow {
    /// In a history its place; 0 otherwise.
    #[serde(skip)]
    pub seq: u64,
    /// Which entry.
    pub key: String,
    /// What it says; `None` in a history: it was taken off.
    pub entry: Option<ListEntry>,
    /// `config` or `api`.
    pub source: &'static str,
    /// Who put it there; empty for the configuration.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When; 0 for the configuration.
    pub at_ms: Millis,
}

fn entry_to_json(entry: &ListEntry) -> rusqlite::Result<String> {
    serde_json::to_string(entry)
        .map_err(|error| rusqlite::Error::ToSqlConversionFailure(error.into()))
}

fn entry_from_json(column: usize, json: &str) -> rusqlite::Result<ListEntry> {
    serde_json::from_str(json).map_err(|_| malformed_column(column, json))
}

pub(super) fn write_list_change(
    connection: &Connection,
    change: &ListChange,
) -> Result<(), WriteError> {
    let entry = change.entry.as_ref().map(entry_to_json).transpose()?;
    match &entry {
        Some(entry) => {
            connection
                .prepare_cached(
                    "INSERT INTO list_entries (list, key, entry, by, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                     ON CONFLICT (list, key) DO UPDATE SET entry = ?3, by = ?4, reason = ?5, at = ?6",
                )?
                .execute(params![
                    change.list.as_str(),
                    change.key,
                    entry,
                    change.by,
                    change.reason,
                    change.at.0
                ])?;
        }
        None => {
            let dropped = connection
                .prepare_cached("DELETE FROM list_entries WHERE list = ?1 AND key = ?2")?
                .execute(params![change.list.as_str(), change.key])?;
            if dropped == 0 {
                let problem = format!(
                    "{:?} was not put on the list {} over the API; what the configuration says is changed there",
                    change.key,
                    change.list.as_str()
                );
                return Err(WriteError::Refused(CommitError::NotFound(problem)));
            }
        }
    }
    connection
        .prepare_cached("INSERT INTO list_history (list, key, entry, by, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)")?
        .execute(params![
            change.list.as_str(),
            change.key,
            entry,
            change.by,
            change.reason,
            change.at.0
        ])?;
    Ok(())
}

/// Replaces the entries that come from the operator's configuration.
pub(super) fn replace_configured(
    connection: &Connection,
    entries: &[ListEntry],
) -> rusqlite::Result<()> {
    connection.execute("DELETE FROM lists WHERE source = 'config'", [])?;
    for entry in entries {
        connection
            .prepare_cached(
                "INSERT OR REPLACE INTO lists (list, entry, source) VALUES (?1, ?2, 'config')",
            )?
            .execute([entry.list().as_str(), &entry_to_json(entry)?])?;
    }
    Ok(())
}

/// What the configuration says, and what was put on the lists over the API.
pub(super) type LoadedLists = (Vec<ListEntry>, Vec<(List, String, ListEntry)>);

pub(super) fn load_lists(connection: &Connection) -> rusqlite::Result<LoadedLists> {
    let configured = connection
        .prepare("SELECT entry FROM lists ORDER BY list, entry")?
        .query_map([], |row| {
            let json: String = row.get(0)?;
            entry_from_json(0, &json)
        })?
        .collect::<rusqlite::Result<_>>()?;
    let attested = connection
        .prepare("SELECT key, entry FROM list_entries ORDER BY list, key")?
        .query_map([], |row| {
            let json: String = row.get(1)?;
            let entry = entry_from_json(1, &json)?;
            Ok((entry.list(), row.get(0)?, entry))
        })?
        .collect::<rusqlite::Result<_>>()?;
    Ok((configured, attested))
}

impl Store {
    /// The entries that were put on a list over the API, by key, those after `after`, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_page(
        &self,
        list: List,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, entry, by, reason, at FROM list_entries
                     WHERE list = ?1 AND (?2 IS NULL OR key > ?2) ORDER BY key LIMIT ?3",
                )?
                .query_map(params![list.as_str(), after, limit], read_list_row)?
                .collect()
        })
    }

    /// One entry that was put on a list over the API.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_entry(&self, list: List, key: &str) -> Result<Option<ListRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, entry, by, reason, at FROM list_entries WHERE list = ?1 AND key = ?2",
                )?
                .query_row(params![list.as_str(), key], read_list_row)
                .optional()
        })
    }

    /// What the configuration says of a list.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn configured_entries(&self, list: List) -> Result<Vec<ListEntry>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached("SELECT entry FROM lists WHERE list = ?1 ORDER BY entry")?
                .query_map([list.as_str()], |row| {
                    let json: String = row.get(0)?;
                    entry_from_json(0, &json)
                })?
                .collect()
        })
    }

    /// How a list, or one entry of it, was changed: the latest first, those before `before`, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_history(
        &self,
        list: List,
        key: Option<&str>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ListRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, key, entry, by, reason, at FROM list_history
                     WHERE list = ?1 AND (?2 IS NULL OR key = ?2) AND seq < ?3 ORDER BY seq DESC LIMIT ?4",
                )?
                .query_map(
                    params![
                        list.as_str(),
                        key,
                        before.unwrap_or(i64::MAX.unsigned_abs()),
                        limit
                    ],
                    |row| {
                        let json: Option<String> = row.get(2)?;
                        Ok(ListRow {
                            seq: row.get(0)?,
                            key: row.get(1)?,
                            entry: json.map(|json| entry_from_json(2, &json)).transpose()?,
                            source: "api",
                            by: row.get(3)?,
                            reason: row.get(4)?,
                            at_ms: Millis(row.get(5)?),
                        })
                    },
                )?
                .collect()
        })
    }
}

fn read_list_row(row: &rusqlite::Row<'_>) -> rusqlite::Result<ListRow> {
    let json: String = row.get(1)?;
    Ok(ListRow {
        seq: 0,
        key: row.get(0)?,
        entry: Some(entry_from_json(1, &json)?),
        source: "api",
        by: row.get(2)?,
        reason: row.get(3)?,
        at_ms: Millis(row.get(4)?),
    })
}
