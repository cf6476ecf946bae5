//! The truth map: what all agents hold true, with its history. Whether a writer may write it is checked before.

use ark_model::ids::{Millis, Name};
use ark_model::state::{Truth, TruthWrite};
use rusqlite::{Connection, Row, params};

use crate::error::{ReadError, WriteError};
use crate::query::{execute_cached, json_column, millis_column, parse_required, to_json_text};
use crate::reader::Reader;

use super::revisioned::{Revisioned, entries_page, entry_history, find_entry, next_revision};

/// A revision of an entry of the truth map.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthRow {
    /// The key.
    pub key: String,
    /// The number of the revision.
    pub revision: u64,
    /// The truth.
    pub truth: Truth,
    /// The agent that wrote the revision.
    pub agent: Name,
    /// When the revision was written.
    pub at: Millis,
}

impl Revisioned for TruthRow {
    const KIND: &'static str = "truth";
    const ENTRIES: &'static str = "truth_map";
    const HISTORY: &'static str = "truth_history";
    const COLUMNS: &'static str = "key, revision, value, confidence, sources, agent, at";
    // Truths are never deleted.
    const LIVE: &'static str = "true";

    fn read(row: &Row<'_>) -> rusqlite::Result<Self> {
        Ok(Self {
            key: row.get(0)?,
            revision: row.get(1)?,
            truth: Truth {
                value_json: row.get(2)?,
                confidence: row.get(3)?,
                sources: json_column(row, 4)?,
            },
            agent: parse_required(row, 5)?,
            at: millis_column(row, 6)?,
        })
    }

    fn revision(&self) -> u64 {
        self.revision
    }

    fn is_live(&self) -> bool {
        true
    }
}

/// Who writes a truth, when, and in which trace.
#[derive(Clone, Copy)]
pub(crate) struct TruthOrigin<'a> {
    pub(crate) agent: &'a Name,
    pub(crate) at: Millis,
    pub(crate) trace_id: Option<&'a str>,
}

/// Writes the next revision of an entry. Returns its number. A refusal comes before anything is written.
pub(crate) fn write_truth(
    connection: &Connection,
    origin: TruthOrigin<'_>,
    write: &TruthWrite,
    expected: Option<u64>,
) -> Result<u64, WriteError> {
    let TruthOrigin {
        agent,
        at,
        trace_id,
    } = origin;
    let current = find_entry::<TruthRow>(connection, &write.key)?;
    let revision = next_revision(&write.key, current.as_ref(), expected)?;
    let sources = to_json_text(&write.truth.sources)?;
    execute_cached(
        connection,
        "INSERT INTO truth_map (key, value, confidence, sources, agent, at, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
         ON CONFLICT (key) DO UPDATE SET value = ?2, confidence = ?3, sources = ?4, agent = ?5, at = ?6, revision = ?7",
        params![
            write.key,
            write.truth.value_json,
            write.truth.confidence,
            sources,
            agent.as_str(),
            at.0,
            revision
        ],
    )?;
    execute_cached(
        connection,
        "INSERT INTO truth_history (key, revision, value, confidence, sources, agent, at, trace_id)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            write.key,
            revision,
            write.truth.value_json,
            write.truth.confidence,
            sources,
            agent.as_str(),
            at.0,
            trace_id
        ],
    )?;
    Ok(revision)
}

impl Reader {
    /// The last revision of an entry of the truth map.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_truth(&self, key: &str) -> Result<Option<TruthRow>, ReadError> {
        self.with_connection(|connection| find_entry(connection, key))
    }

    /// What an entry of the truth map holds true, without its revision.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn get_truth(&self, key: &str) -> Result<Option<Truth>, ReadError> {
        Ok(self.latest_truth(key)?.map(|row| row.truth))
    }

    /// The entries whose keys start with `prefix`, in order, behind the key `after` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn truths_page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<TruthRow>, ReadError> {
        entries_page(self, prefix, after, limit)
    }

    /// The revisions of an entry, newest first, before the revision `before` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn truth_history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<TruthRow>, ReadError> {
        entry_history(self, key, before, limit)
    }
}
