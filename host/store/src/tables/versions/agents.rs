//! Versions of agents that were uploaded: their components (each once, by digest), their manifests, and which version serves.

use ark_model::ids::{Digest, Millis, Name, Share};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use crate::error::ReadError;
use crate::query::{digest_column, execute_cached, millis_column, parse_required};
use crate::reader::Reader;
use crate::tables::signals::close_pending_deliveries;

/// The reason of the pending deliveries of an agent that was deleted.
pub const AGENT_DELETED: &str = "the agent was deleted";

/// A change of the versions and rollouts of agents. Whether it is allowed was decided before.
#[derive(Debug, Clone, PartialEq)]
pub enum AgentChange {
    /// Stores a version.
    Version(NewAgentVersion),
    /// Sets which version serves.
    Rollout(Rollout),
    /// Ends the trial of a version. It changes nothing when the version is no longer on trial.
    EndTrial {
        /// The agent.
        agent: Name,
        /// The number of the version.
        number: u64,
    },
    /// Fails every pending delivery of an agent that was deleted.
    CloseDeliveries {
        /// The agent.
        agent: Name,
        /// When the agent was deleted.
        at: Millis,
    },
}

/// A version to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewAgentVersion {
    /// The agent.
    pub agent: Name,
    /// The number of the version.
    pub number: u64,
    /// The SHA-256 of the component.
    pub sha256: Digest,
    /// The component.
    pub component: Vec<u8>,
    /// The manifest, as JSON.
    pub manifest_json: String,
    /// Who uploaded it.
    pub by: String,
    /// When it was uploaded.
    pub at: Millis,
    /// How many versions of the agent are kept. The version that serves, the one before it and the one on trial are always kept.
    pub keep: u32,
}

/// Which version of an agent serves.
#[derive(Debug, Clone, PartialEq)]
pub struct Rollout {
    /// The agent.
    pub agent: Name,
    /// The version that serves; 0: the version of the agents' directory; `None`: no version.
    pub serving: Option<u64>,
    /// The version that served before.
    pub previous: Option<u64>,
    /// The last number that was given to a version.
    pub last_number: u64,
    /// The version on trial.
    pub canary: Option<CanaryVersion>,
    /// Who made the change.
    pub by: String,
    /// When the change was made.
    pub at: Millis,
}

/// A version on trial beside the one that serves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CanaryVersion {
    /// The version; 0: the version of the agents' directory.
    pub number: u64,
    /// Its share of the signals.
    pub share: Share,
}

/// A version as it is stored, without its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentVersion {
    /// The number.
    pub number: u64,
    /// The SHA-256 of the component.
    pub sha256: Digest,
    /// The size of the component, in bytes.
    pub bytes: u64,
    /// The manifest, as JSON.
    pub manifest_json: String,
    /// Who uploaded it.
    pub by: String,
    /// When it was uploaded.
    pub at: Millis,
}

/// Writes a change. Returns how many deliveries it closed.
pub(crate) fn write_agent_change(
    connection: &Connection,
    change: &AgentChange,
) -> rusqlite::Result<u64> {
    match change {
        AgentChange::Version(new) => write_version(connection, new)?,
        AgentChange::Rollout(rollout) => {
            execute_cached(
                connection,
                "INSERT OR REPLACE INTO agent_rollouts (agent, serving, previous, last_number, canary, share, by, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
                params![
                    rollout.agent.as_str(),
                    rollout.serving,
                    rollout.previous,
                    rollout.last_number,
                    rollout.canary.map(|canary| canary.number),
                    rollout.canary.map(|canary| canary.share.get()),
                    rollout.by,
                    rollout.at.0
                ],
            )?;
        }
        AgentChange::EndTrial { agent, number } => {
            execute_cached(
                connection,
                "UPDATE agent_rollouts SET canary = NULL, share = NULL WHERE agent = ?1 AND canary = ?2",
                params![agent.as_str(), number],
            )?;
        }
        AgentChange::CloseDeliveries { agent, at } => {
            return close_pending_deliveries(connection, agent, AGENT_DELETED, *at);
        }
    }
    Ok(0)
}

/// Stores a version and its component, and deletes the versions and components that are no longer kept.
fn write_version(connection: &Connection, new: &NewAgentVersion) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT OR IGNORE INTO agent_components (sha256, bytes) VALUES (?1, ?2)",
        params![new.sha256.as_bytes(), new.component],
    )?;
    execute_cached(
        connection,
        "INSERT INTO agent_versions (agent, number, sha256, manifest, by, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        params![
            new.agent.as_str(),
            new.number,
            new.sha256.as_bytes(),
            new.manifest_json,
            new.by,
            new.at.0
        ],
    )?;
    execute_cached(
        connection,
        "DELETE FROM agent_versions WHERE agent = ?1
         AND number NOT IN (SELECT number FROM agent_versions WHERE agent = ?1 ORDER BY number DESC LIMIT ?2)
         AND number NOT IN (SELECT coalesce(serving, 0) FROM agent_rollouts WHERE agent = ?1)
         AND number NOT IN (SELECT coalesce(previous, 0) FROM agent_rollouts WHERE agent = ?1)
         AND number NOT IN (SELECT coalesce(canary, 0) FROM agent_rollouts WHERE agent = ?1)",
        params![new.agent.as_str(), new.keep],
    )?;
    execute_cached(
        connection,
        "DELETE FROM agent_components WHERE sha256 NOT IN (SELECT sha256 FROM agent_versions)",
        [],
    )
    .map(drop)
}

const SELECT_ROLLOUT: &str =
    "SELECT agent, serving, previous, last_number, canary, share, by, at FROM agent_rollouts";

fn read_rollout(row: &Row<'_>) -> rusqlite::Result<Rollout> {
    let (number, share): (Option<u64>, Option<f64>) = (row.get(4)?, row.get(5)?);
    Ok(Rollout {
        agent: parse_required(row, 0)?,
        serving: row.get(1)?,
        previous: row.get(2)?,
        last_number: row.get(3)?,
        canary: number
            .zip(share.and_then(Share::new))
            .map(|(number, share)| CanaryVersion { number, share }),
        by: row.get(6)?,
        at: millis_column(row, 7)?,
    })
}

fn read_agent_version(row: &Row<'_>) -> rusqlite::Result<AgentVersion> {
    Ok(AgentVersion {
        number: row.get(0)?,
        sha256: digest_column(row, 1)?,
        bytes: row.get(2)?,
        manifest_json: row.get(3)?,
        by: row.get(4)?,
        at: millis_column(row, 5)?,
    })
}

impl Reader {
    /// The rollouts of all agents that had a change of theirs, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn all_rollouts(&self) -> Result<Vec<Rollout>, ReadError> {
        self.select_rows(
            &format!("{SELECT_ROLLOUT} ORDER BY agent"),
            [],
            read_rollout,
        )
    }

    /// The rollout of an agent; `None` when it had no change.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn rollout_for(&self, agent: &Name) -> Result<Option<Rollout>, ReadError> {
        let sql = format!("{SELECT_ROLLOUT} WHERE agent = ?1");
        self.select_row(&sql, [agent.as_str()], read_rollout)
    }

    /// The versions of an agent that are kept, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn agent_versions(&self, agent: &Name) -> Result<Vec<AgentVersion>, ReadError> {
        self.select_rows(
            "SELECT v.number, v.sha256, length(c.bytes), v.manifest, v.by, v.at FROM agent_versions v
             JOIN agent_components c ON c.sha256 = v.sha256 WHERE v.agent = ?1 ORDER BY v.number DESC",
            [agent.as_str()],
            read_agent_version,
        )
    }

    /// The component with this digest; `None` when it is not kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn agent_component(&self, sha256: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        self.select_row(
            "SELECT bytes FROM agent_components WHERE sha256 = ?1",
            [sha256.as_bytes()],
            |row| row.get(0),
        )
    }
}
