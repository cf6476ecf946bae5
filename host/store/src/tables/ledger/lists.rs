//! The operator's lists: facts that no agent can change. Entries come from the configuration, which replaces them all at every start, and
//! over the API, one by one and with a history.

use ark_model::ids::{Millis, Name};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::error::{MissingItem, ReadError, WriteError};
use crate::query::{
    MAX_SEQ, execute_cached, json_column, malformed_column, millis_column, select_rows,
    to_json_text,
};
use crate::reader::Reader;

/// A list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[derive(strum::VariantArray)]
pub enum List {
    /// Symbols that nobody may trade (rule 1).
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

    /// The name in JSON, in paths and in the database.
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

    /// Whether its entries are instruments, so that an entry is addressed by every spelling of its symbol.
    #[must_use]
    pub const fn names_instruments(self) -> bool {
        matches!(self, Self::Restricted | Self::ClientOrders)
    }

    /// The list with this name.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|list| list.as_str() == text)
    }
}

/// An entry of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListEntry {
    /// A symbol that nobody may trade (rule 1).
    Restricted(String),
    /// A symbol with a client's order pending (rule 4).
    ClientOrder(String),
    /// A data source that is trusted (rule 21).
    ValidatedSource(String),
    /// The consent of a data subject (rule 16).
    Consent {
        /// The data subject.
        subject: String,
        /// Whether the subject consents.
        granted: bool,
    },
    /// A standing veto (rule 23). An action must match everything that the veto names.
    Veto {
        /// The agent; `None`: every agent.
        agent: Option<Name>,
        /// The action type; `None`: every type.
        action_type: Option<String>,
        /// The symbol; `None`: every symbol.
        symbol: Option<String>,
        /// The text of the veto, as the user gave it.
        words: String,
    },
}

impl ListEntry {
    /// The list the entry belongs to.
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

/// A change of an entry that an operator makes over the API.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListChange {
    /// The list.
    pub list: List,
    /// The key of the entry: the symbol, the source or the subject; for a veto the name it was given.
    pub key: String,
    /// The new entry; `None` takes the entry off the list.
    pub entry: Option<ListEntry>,
    /// The operator.
    pub by: String,
    /// The operator's reason.
    pub reason: String,
    /// When it is changed.
    pub at: Millis,
}

/// An entry, or a change in the history of a list.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ListRow {
    /// The number of a change in the history; 0 for an entry.
    #[serde(skip)]
    pub seq: u64,
    /// The key of the entry.
    pub key: String,
    /// The entry; `None` in the history when the entry was taken off the list.
    pub entry: Option<ListEntry>,
    /// `config` or `api`.
    pub source: &'static str,
    /// The operator; empty for the configuration.
    pub by: String,
    /// The operator's reason.
    pub reason: String,
    /// When it was changed; 0 for the configuration.
    pub at_ms: Millis,
}

/// The entries of the configuration, and those that were made over the API with their lists and keys.
pub(crate) type LoadedLists = (Vec<ListEntry>, Vec<(List, String, ListEntry)>);

pub(crate) fn write_list_change(
    connection: &Connection,
    change: &ListChange,
) -> Result<(), WriteError> {
    let list = change.list.as_str();
    let entry = change.entry.as_ref().map(to_json_text).transpose()?;
    if entry.is_some() {
        execute_cached(
            connection,
            "INSERT INTO list_entries (list, key, entry, by, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (list, key) DO UPDATE SET entry = ?3, by = ?4, reason = ?5, at = ?6",
            params![list, change.key, entry, change.by, change.reason, change.at.0],
        )?;
    } else {
        let deleted = execute_cached(
            connection,
            "DELETE FROM list_entries WHERE list = ?1 AND key = ?2",
            params![list, change.key],
        )?;
        if deleted == 0 {
            return Err(WriteError::refuse(MissingItem::ListEntry {
                list,
                key: change.key.clone(),
            }));
        }
    }
    execute_cached(
        connection,
        "INSERT INTO list_history (list, key, entry, by, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            list,
            change.key,
            entry,
            change.by,
            change.reason,
            change.at.0
        ],
    )?;
    Ok(())
}

/// Replaces the entries that come from the operator's configuration.
pub(crate) fn replace_configured(
    connection: &Connection,
    entries: &[ListEntry],
) -> rusqlite::Result<()> {
    execute_cached(connection, "DELETE FROM lists WHERE source = 'config'", [])?;
    for entry in entries {
        execute_cached(
            connection,
            "INSERT OR REPLACE INTO lists (list, entry, source) VALUES (?1, ?2, 'config')",
            params![entry.list().as_str(), to_json_text(entry)?],
        )?;
    }
    Ok(())
}

/// Reads every entry of every list.
pub(crate) fn load_lists(connection: &Connection) -> rusqlite::Result<LoadedLists> {
    let from_config = select_rows(
        connection,
        "SELECT entry FROM lists ORDER BY list, entry",
        [],
        |row| json_column(row, 0),
    )?;
    let from_api = select_rows(
        connection,
        "SELECT key, entry FROM list_entries ORDER BY list, key",
        [],
        |row| {
            let entry: ListEntry = json_column(row, 1)?;
            Ok((entry.list(), row.get(0)?, entry))
        },
    )?;
    Ok((from_config, from_api))
}

/// Reads the columns seq, key, entry, by, reason, at.
fn read_list_row(row: &Row<'_>) -> rusqlite::Result<ListRow> {
    let entry: Option<String> = row.get(2)?;
    Ok(ListRow {
        seq: row.get(0)?,
        key: row.get(1)?,
        entry: entry
            .map(|json| serde_json::from_str(&json).map_err(|_| malformed_column(2, &json)))
            .transpose()?,
        source: "api",
        by: row.get(3)?,
        reason: row.get(4)?,
        at_ms: millis_column(row, 5)?,
    })
}

impl Reader {
    /// The entries of a list that were made over the API, by key, behind the key `after` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_page(
        &self,
        list: List,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<ListRow>, ReadError> {
        let behind = if after.is_some() { "key > ?2" } else { "TRUE" };
        self.select_rows(
            &format!(
                "SELECT 0, key, entry, by, reason, at FROM list_entries
                 WHERE list = ?1 AND {behind} ORDER BY key LIMIT ?3"
            ),
            params![list.as_str(), after, limit],
            read_list_row,
        )
    }

    /// One entry of a list that was made over the API.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_entry(&self, list: List, key: &str) -> Result<Option<ListRow>, ReadError> {
        self.select_row(
            "SELECT 0, key, entry, by, reason, at FROM list_entries WHERE list = ?1 AND key = ?2",
            [list.as_str(), key],
            read_list_row,
        )
    }

    /// The keys of the entries of a list that were made over the API, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_keys(&self, list: List) -> Result<Vec<String>, ReadError> {
        self.select_rows(
            "SELECT key FROM list_entries WHERE list = ?1 ORDER BY key",
            [list.as_str()],
            |row| row.get(0),
        )
    }

    /// The keys that the history of a list knows, in order: those of its entries, and of those that were taken off.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_history_keys(&self, list: List) -> Result<Vec<String>, ReadError> {
        self.select_rows(
            "SELECT DISTINCT key FROM list_history WHERE list = ?1 ORDER BY key",
            [list.as_str()],
            |row| row.get(0),
        )
    }

    /// The entries of a list that come from the configuration.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn configured_entries(&self, list: List) -> Result<Vec<ListEntry>, ReadError> {
        self.select_rows(
            "SELECT entry FROM lists WHERE list = ?1 ORDER BY entry",
            [list.as_str()],
            |row| json_column(row, 0),
        )
    }

    /// The changes of a list, or of the entries with some keys, newest first, before the change `before` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_history(
        &self,
        list: List,
        keys: Option<&[String]>,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<ListRow>, ReadError> {
        self.with_connection(|connection| {
            let keys = keys.map(|keys| to_json_text(&keys)).transpose()?;
            select_rows(
                connection,
                "SELECT seq, key, entry, by, reason, at FROM list_history
                 WHERE list = ?1 AND (?2 IS NULL OR key IN (SELECT value FROM json_each(?2))) AND seq < ?3 ORDER BY seq DESC LIMIT ?4",
                params![list.as_str(), keys, before.unwrap_or(MAX_SEQ), limit],
                read_list_row,
            )
        })
    }
}
