//! The truth map: what all agents hold true, with its history. Only agents with the capability `truth-set` write it; who may is checked
//! where a write comes in.

use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::ids::{Millis, Name};
use ark_model::state::{Truth, TruthWrite};

use super::Store;
use super::audit::{malformed_column, parse_required};
use super::error::{CommitError, ReadError};
use super::writer::WriteError;

/// A revision of an entry of the truth map.
#[derive(Debug, Clone, PartialEq)]
pub struct TruthRow {
    /// The key.
    pub key: String,
    /// The revision: from 1, contiguous.
    pub revision: u64,
    /// What is held true.
    pub truth: Truth,
    /// The agent that wrote it.
    pub agent: Name,
    /// When.
    pub at: Millis,
}

/// Writes the next revision of an entry; its number. Nothing was written when it is refused.
pub(super) fn write_truth(
    connection: &Connection,
    agent: &Name,
    write: &TruthWrite,
    expected: Option<u64>,
    at: Millis,
    trace_id: Option<&str>,
) -> Result<u64, WriteError> {
    let current: u64 = connection
        .prepare_cached("SELECT revision FROM truth_map WHERE key = ?1")?
        .query_row([&write.key], |row| row.get(0))
        .optional()?
        .unwrap_or(0);
    if let Some(expected) = expected.filter(|expected| *expected != current) {
        return Err(WriteError::Refused(CommitError::Stale {
            table: "truth",
            key: write.key.clone(),
            expected,
            current,
        }));
    }
    let revision = current + 1;
    let sources = serde_json::to_string(&write.truth.sources).unwrap_or_else(|_| "[]".to_owned());
    connection
        .prepare_cached(
            "INSERT INTO truth_map (key, value, confidence, sources, agent, at, revision) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
             ON CONFLICT (key) DO UPDATE SET value = ?2, confidence = ?3, sources = ?4, agent = ?5, at = ?6, revision = ?7",
        )?
        .execute(params![
            write.key,
            write.truth.value_json,
            write.truth.confidence,
            sources,
            agent.as_str(),
            at.0,
            revision
        ])?;
    connection
        .prepare_cached(
            "INSERT INTO truth_history (key, revision, value, confidence, sources, agent, at, trace_id)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            write.key,
            revision,
            write.truth.value_json,
            write.truth.confidence,
            sources,
            agent.as_str(),
            at.0,
            trace_id
        ])?;
    Ok(revision)
}

const COLUMNS: &str = "key, revision, value, confidence, sources, agent, at";

fn read_truth_row(row: &Row<'_>) -> rusqlite::Result<TruthRow> {
    let sources: String = row.get(4)?;
    Ok(TruthRow {
        key: row.get(0)?,
        revision: row.get(1)?,
        truth: Truth {
            value_json: row.get(2)?,
            confidence: row.get(3)?,
            sources: serde_json::from_str(&sources).map_err(|_| malformed_column(4, &sources))?,
        },
        agent: parse_required(row, 5)?,
        at: Millis(row.get(6)?),
    })
}

impl Store {
    /// An entry of the truth map.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn get_truth(&self, key: &str) -> Result<Option<Truth>, ReadError> {
        Ok(self.latest_truth(key)?.map(|row| row.truth))
    }

    /// An entry of the truth map with its revision.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_truth(&self, key: &str) -> Result<Option<TruthRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!("SELECT {COLUMNS} FROM truth_map WHERE key = ?1"))?
                .query_row([key], read_truth_row)
                .optional()
        })
    }

    /// Entries whose keys start with `prefix`, in order, behind `after`, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn truths_page(
        &self,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<TruthRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM truth_map WHERE key >= ?1 AND key > ?2 AND substr(key, 1, length(?1)) = ?1
                     ORDER BY key LIMIT ?3"
                ))?
                .query_map(params![prefix, after.unwrap_or(""), limit], read_truth_row)?
                .collect()
        })
    }

    /// The history of an entry, newest first, before the revision `before` when given, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn truth_history(
        &self,
        key: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<TruthRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM truth_history WHERE key = ?1 AND revision < ?2 ORDER BY revision DESC LIMIT ?3"
                ))?
                .query_map(
                    params![key, before.unwrap_or(i64::MAX.unsigned_abs()), limit],
                    read_truth_row,
                )?
                .collect()
        })
    }
}
