//! Versions of agents that were uploaded: their components (once each, by digest), their manifests, and which version serves.

use rusqlite::{Connection, OptionalExtension, Row, params};
use serde::{Deserialize, Serialize};

use ark_model::ids::{Digest, Millis, Name, Share};

use super::Store;
use super::audit::{digest_column, parse_required};
use super::error::ReadError;

/// Why the deliveries that wait for a deleted agent fail.
pub const AGENT_DELETED: &str = "the agent was deleted";

/// A change of what is kept of agents. Who may make it, and whether it makes sense, was decided before.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentChange {
    /// Keeps a version.
    Version(NewAgentVersion),
    /// Says which version serves.
    Rollout(Rollout),
    /// Ends a version's trial; nothing, where it is not on trial any more.
    EndTrial {
        /// Whose.
        agent: Name,
        /// The version on trial.
        number: u64,
    },
    /// Settles every delivery that waits for the agent as failed.
    CloseDeliveries {
        /// Whose.
        agent: Name,
        /// When.
        at: Millis,
    },
}

/// A version to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAgentVersion {
    /// Whose.
    pub agent: Name,
    /// Its number.
    pub number: u64,
    /// SHA-256 of its component.
    pub sha256: Digest,
    /// Its component.
    pub component: Vec<u8>,
    /// Its manifest, as JSON.
    pub manifest_json: String,
    /// Who uploaded it.
    pub by: String,
    /// When.
    pub at: Millis,
    /// How many versions of the agent are kept; those that serve, and that served before, always are.
    pub keep: u32,
}

/// Which version of an agent serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// Whose.
    pub agent: Name,
    /// The version that serves; 0: that of the agents' directory; `None`: none.
    pub serving: Option<u64>,
    /// The one that served before.
    pub previous: Option<u64>,
    /// The last number that was given to a version.
    pub last_number: u64,
    /// The version on trial.
    pub trial: Option<Trial>,
    /// Who said so.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// A version on trial beside the one that serves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, utoipa::ToSchema)]
pub struct Trial {
    /// The version; 0: that of the agents' directory.
    pub number: u64,
    /// Its part of the signals.
    pub share: Share,
}

/// A version as it is kept, without its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentVersion {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its component.
    pub sha256: Digest,
    /// The component's size in bytes.
    pub bytes: u64,
    /// Its manifest, as JSON.
    pub manifest_json: String,
    /// Who uploaded it.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// Carries a change out; how many deliveries it settled.
pub(super) fn write_agent_change(
    connection: &Connection,
    change: &AgentChange,
) -> rusqlite::Result<u64> {
    match change {
        AgentChange::Version(new) => write_version(connection, new).map(|()| 0),
        AgentChange::Rollout(rollout) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO agent_rollouts (agent, serving, previous, last_number, canary, share, by, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            )?
            .execute(params![
                rollout.agent.as_str(),
                rollout.serving,
                rollout.previous,
                rollout.last_number,
                rollout.trial.map(|trial| trial.number),
                rollout.trial.map(|trial| trial.share.get()),
                rollout.by,
                rollout.at.0
            ])
            .map(|_| 0),
        AgentChange::EndTrial { agent, number } => connection
            .prepare_cached(
                "UPDATE agent_rollouts SET canary = NULL, share = NULL WHERE agent = ?1 AND canary = ?2",
            )?
            .execute(params![agent.as_str(), number])
            .map(|_| 0),
        AgentChange::CloseDeliveries { agent, at } => connection
            .prepare_cached(
                "UPDATE deliveries SET status = 'failed', reason = ?1, settled_at = ?2
                 WHERE agent = ?3 AND status = 'pending'",
            )?
            .execute(params![AGENT_DELETED, at.0, agent.as_str()])
            .map(|settled| settled as u64),
    }
}

fn write_version(connection: &Connection, new: &NewAgentVersion) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO agent_components (sha256, bytes) VALUES (?1, ?2)")?
        .execute(params![new.sha256.as_bytes(), new.component])?;
    connection
        .prepare_cached(
            "INSERT INTO agent_versions (agent, number, sha256, manifest, by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        )?
        .execute(params![
            new.agent.as_str(),
            new.number,
            new.sha256.as_bytes(),
            new.manifest_json,
            new.by,
            new.at.0
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM agent_versions WHERE agent = ?1
             AND number NOT IN (SELECT number FROM agent_versions WHERE agent = ?1 ORDER BY number DESC LIMIT ?2)
             AND number NOT IN (SELECT coalesce(serving, 0) FROM agent_rollouts WHERE agent = ?1)
             AND number NOT IN (SELECT coalesce(previous, 0) FROM agent_rollouts WHERE agent = ?1)
             AND number NOT IN (SELECT coalesce(canary, 0) FROM agent_rollouts WHERE agent = ?1)",
        )?
        .execute(params![new.agent.as_str(), new.keep])?;
    connection
        .prepare_cached(
            "DELETE FROM agent_components WHERE sha256 NOT IN (SELECT sha256 FROM agent_versions)",
        )?
        .execute([])?;
    Ok(())
}

fn trial_from_columns(number: Option<u64>, share: Option<f64>) -> Option<Trial> {
    Some(Trial {
        number: number?,
        share: share.and_then(Share::new)?,
    })
}

fn read_rollout(row: &Row<'_>) -> rusqlite::Result<Rollout> {
    Ok(Rollout {
        agent: parse_required(row, 0)?,
        serving: row.get(1)?,
        previous: row.get(2)?,
        last_number: row.get(3)?,
        trial: trial_from_columns(row.get(4)?, row.get(5)?),
        by: row.get(6)?,
        at: Millis(row.get(7)?),
    })
}

impl Store {
    /// Which version of each agent serves, of those about which something was said, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn all_rollouts(&self) -> Result<Vec<Rollout>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT agent, serving, previous, last_number, canary, share, by, at FROM agent_rollouts ORDER BY agent",
                )?
                .query_map([], read_rollout)?
                .collect()
        })
    }

    /// As [`Store::agent_rollouts`], of one agent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn rollout_for(&self, agent: &Name) -> Result<Option<Rollout>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT agent, serving, previous, last_number, canary, share, by, at FROM agent_rollouts
                     WHERE agent = ?1",
                )?
                .query_row([agent.as_str()], read_rollout)
                .optional()
        })
    }

    /// The versions that are kept of an agent, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn agent_versions(&self, agent: &Name) -> Result<Vec<AgentVersion>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT v.number, v.sha256, length(c.bytes), v.manifest, v.by, v.at FROM agent_versions v
                     JOIN agent_components c ON c.sha256 = v.sha256 WHERE v.agent = ?1 ORDER BY v.number DESC",
                )?
                .query_map([agent.as_str()], |row| {
                    Ok(AgentVersion {
                        number: row.get(0)?,
                        sha256: digest_column(row, 1)?,
                        bytes: row.get(2)?,
                        manifest_json: row.get(3)?,
                        by: row.get(4)?,
                        at: Millis(row.get(5)?),
                    })
                })?
                .collect()
        })
    }

    /// A component that is kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn agent_component(&self, sha256: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached("SELECT bytes FROM agent_components WHERE sha256 = ?1")?
                .query_row(params![sha256.as_bytes()], |row| row.get(0))
                .optional()
        })
    }

    /// How many deliveries wait for an agent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_count(&self, agent: &Name) -> Result<usize, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT count(*) FROM deliveries WHERE agent = ?1 AND status = 'pending'",
                )?
                .query_row([agent.as_str()], |row| row.get(0))
        })
    }
}
