//! Agents' state with its history, memories and the truth map.

use rusqlite::{Connection, OptionalExtension, params};

use crate::model::ids::{Millis, Name, TraceId};
use crate::model::state::{Memory, StateEntry, Truth};

use super::Store;
use super::audit::malformed;
use super::error::{CommitError, ReadError};
use super::unit::Unit;
use super::writer::Failure;

/// One revision in the history of a key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// The value (JSON text); `None`: it was deleted.
    pub value_json: Option<String>,
    /// When.
    pub at: Millis,
    /// In which trace.
    pub trace_id: Option<TraceId>,
}

/// Writes a unit's state, memories and truths.
pub(super) fn write(
    connection: &Connection,
    unit: &Unit,
    revisions: &mut Vec<u64>,
) -> Result<(), Failure> {
    let Some(agent) = &unit.agent else {
        return Ok(());
    };
    let trace_id = unit.trace_id.map(|id| id.to_string());
    for write in &unit.state {
        let current: u64 = connection
            .prepare_cached("SELECT revision FROM agents_state WHERE agent = ?1 AND key = ?2")?
            .query_row(params![agent.as_str(), write.key], |row| row.get(0))
            .optional()?
            .unwrap_or(0);
        if current != write.expected {
            return Err(Failure::Refused(CommitError::Conflict {
                agent: agent.clone(),
                key: write.key.clone(),
                expected: write.expected,
                current,
            }));
        }
        let revision = current + 1;
        connection
            .prepare_cached(
                "INSERT INTO agents_state (agent, key, revision, value, at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (agent, key) DO UPDATE SET revision = ?3, value = ?4, at = ?5",
            )?
            .execute(params![
                agent.as_str(),
                write.key,
                revision,
                write.value_json,
                unit.at.0
            ])?;
        connection
            .prepare_cached(
                "INSERT INTO state_history (agent, key, revision, value, at, trace_id) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                agent.as_str(),
                write.key,
                revision,
                write.value_json,
                unit.at.0,
                trace_id
            ])?;
        revisions.push(revision);
    }
    for new in &unit.memories {
        let expires = new.ttl_seconds.map(|ttl| {
            unit.at
                .0
                .saturating_add(ttl.saturating_mul(1000))
                .min(1 << 62)
        });
        connection
            .prepare_cached(
                "INSERT INTO memory_index (agent, kind, content, metadata, at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                agent.as_str(),
                new.memory.kind,
                new.memory.content,
                new.memory.metadata_json,
                unit.at.0,
                expires
            ])?;
    }
    for write in &unit.truths {
        let sources =
            serde_json::to_string(&write.truth.sources).unwrap_or_else(|_| "[]".to_owned());
        connection
            .prepare_cached(
                "INSERT INTO truth_map (key, value, confidence, sources, agent, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (key) DO UPDATE SET value = ?2, confidence = ?3, sources = ?4, agent = ?5, at = ?6",
            )?
            .execute(params![
                write.key,
                write.truth.value_json,
                write.truth.confidence,
                sources,
                agent.as_str(),
                unit.at.0
            ])?;
    }
    Ok(())
}

impl Store {
    /// A key of an agent's state. A deleted key has no value but still a revision.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_get(
        &self,
        agent: &Name,
        key: &str,
    ) -> Result<(u64, Option<StateEntry>), ReadError> {
        let row = self.inner.readers.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT revision, value FROM agents_state WHERE agent = ?1 AND key = ?2",
                )?
                .query_row([agent.as_str(), key], |row| {
                    Ok((row.get::<_, u64>(0)?, row.get::<_, Option<String>>(1)?))
                })
                .optional()
        })?;
        let (revision, value) = row.unwrap_or((0, None));
        Ok((
            revision,
            value.map(|value_json| StateEntry {
                value_json,
                revision,
            }),
        ))
    }

    /// The live keys of an agent that start with `prefix`, in order, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_list(
        &self,
        agent: &Name,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<String>, ReadError> {
        self.inner.readers.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT key FROM agents_state WHERE agent = ?1 AND key >= ?2 AND substr(key, 1, length(?2)) = ?2
                     AND value IS NOT NULL ORDER BY key LIMIT ?3",
                )?
                .query_map(params![agent.as_str(), prefix, limit], |row| row.get(0))?
                .collect()
        })
    }

    /// The history of a key, newest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_history(
        &self,
        agent: &Name,
        key: &str,
        limit: u32,
    ) -> Result<Vec<Revision>, ReadError> {
        self.inner.readers.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT revision, value, at, trace_id FROM state_history WHERE agent = ?1 AND key = ?2
                     ORDER BY revision DESC LIMIT ?3",
                )?
                .query_map(params![agent.as_str(), key, limit], |row| {
                    Ok(Revision {
                        revision: row.get(0)?,
                        value_json: row.get(1)?,
                        at: Millis(row.get(2)?),
                        trace_id: super::audit::parsed(row, 3)?,
                    })
                })?
                .collect()
        })
    }

    /// An agent's latest memories that have not expired, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn memory_recent(
        &self,
        agent: &Name,
        kind: Option<&str>,
        limit: u32,
        now: Millis,
    ) -> Result<Vec<Memory>, ReadError> {
        self.inner.readers.with(|connection| {
            connection
                .prepare_cached(
                    "SELECT kind, content, metadata FROM memory_index WHERE agent = ?1 AND (?2 IS NULL OR kind = ?2)
                     AND (expires_at IS NULL OR expires_at > ?3) ORDER BY id DESC LIMIT ?4",
                )?
                .query_map(params![agent.as_str(), kind, now.0, limit], |row| {
                    Ok(Memory {
                        kind: row.get(0)?,
                        content: row.get(1)?,
                        metadata_json: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// An entry of the truth map.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn truth_get(&self, key: &str) -> Result<Option<Truth>, ReadError> {
        self.inner.readers.with(|connection| {
            connection
                .prepare_cached("SELECT value, confidence, sources FROM truth_map WHERE key = ?1")?
                .query_row([key], |row| {
                    let sources: String = row.get(2)?;
                    Ok(Truth {
                        value_json: row.get(0)?,
                        confidence: row.get(1)?,
                        sources: serde_json::from_str(&sources)
                            .map_err(|_| malformed(2, &sources))?,
                    })
                })
                .optional()
        })
    }
}
