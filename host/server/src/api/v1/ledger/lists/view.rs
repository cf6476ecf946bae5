//! What is shown of lists and their entries.

use serde::Serialize;
use utoipa::ToSchema;

use crate::hrm::Hrm;
use ark_model::ids::{Millis, Name};
use ark_store::{List, ListEntry, ListRow};

/// What an entry says, in the form of its list.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
pub(super) enum EntryShown {
    /// An entry of `restricted` and `client_orders`.
    Symbol { symbol: String },
    /// An entry of `validated_sources`.
    Source { source: String },
    /// An entry of `consents`.
    Consent { subject: String, granted: bool },
    /// An entry of `vetoes`: it holds for what matches every part that is not `null`.
    Veto {
        agent: Option<Name>,
        action_type: Option<String>,
        symbol: Option<String>,
        words: String,
    },
}

impl From<ListEntry> for EntryShown {
    fn from(entry: ListEntry) -> Self {
        match entry {
            ListEntry::Restricted(symbol) | ListEntry::ClientOrder(symbol) => {
                Self::Symbol { symbol }
            }
            ListEntry::ValidatedSource(source) => Self::Source { source },
            ListEntry::Consent { subject, granted } => Self::Consent { subject, granted },
            ListEntry::Veto {
                agent,
                action_type,
                symbol,
                words,
            } => Self::Veto {
                agent,
                action_type,
                symbol,
                words,
            },
        }
    }
}

/// An entry now, or as it was changed.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryRow {
    key: String,
    /// The key of the instrument that the entry names, which all spellings of it share; left out where it names none.
    #[serde(skip_serializing_if = "Option::is_none")]
    instrument: Option<String>,
    /// What it says; `null` in a history: it was removed.
    entry: Option<EntryShown>,
    by: String,
    reason: String,
    at_ms: Millis,
}

impl EntryRow {
    pub(super) fn new(row: ListRow, hrm: &Hrm) -> Self {
        let symbol = match &row.entry {
            Some(ListEntry::Restricted(symbol) | ListEntry::ClientOrder(symbol)) => Some(symbol),
            Some(ListEntry::Veto { symbol, .. }) => symbol.as_ref(),
            _ => None,
        };
        Self {
            instrument: symbol.map(|symbol| hrm.find_instrument(symbol).to_string()),
            key: row.key,
            entry: row.entry.map(EntryShown::from),
            by: row.by,
            reason: row.reason,
            at_ms: row.at_ms,
        }
    }
}

/// A page of a list, by key.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryPage {
    pub(super) list: List,
    /// What was put on it over the API.
    pub(super) entries: Vec<EntryRow>,
    /// What the configuration puts on it.
    pub(super) configured: Vec<EntryShown>,
    /// The cursor of the next page, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// A page of changes, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryHistory {
    pub(super) list: List,
    pub(super) changes: Vec<EntryRow>,
    /// The cursor of the next page, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// A change of a list that is in force and on disk.
#[derive(Serialize, ToSchema)]
pub(super) struct EntryChanged {
    pub(super) list: List,
    pub(super) key: String,
    /// The keys of entries in other spellings of the same symbol, which were taken off with this change.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) other_spellings: Vec<String>,
    pub(super) at_ms: Millis,
}
