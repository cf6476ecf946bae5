//! The agents that a start finds: those of the directory, and the uploaded versions that were rolled out.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::router::Canary;
use ark_model::ids::{Digest, Millis, Name};
use ark_runtime::{Agent, Engine, Limits, LoadError, Manifest, ManifestError};
use ark_store::{AgentChange, AgentVersion, CommitError, ReadError, Rollout, Store, Unit};

/// Why an agent was left out.
#[derive(Debug, thiserror::Error)]
pub enum LoadAgentError {
    /// Its manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// Its component cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The component.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Its component.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// An agent that was left out.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct RefusedAgent {
    /// Its manifest.
    #[schema(value_type = String)]
    pub manifest: PathBuf,
    /// Why.
    pub reason: String,
}

/// Why the agents cannot be found at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadAgentsError {
    /// The agents' directory.
    #[error("the agents' directory {dir}: {source}", dir = dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Two agents of one name.
    #[error("two manifests name an agent {0}; names must be unique")]
    DuplicateName(Name),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What waits for a deleted agent cannot be settled.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

/// What a start finds.
#[derive(Debug, Default)]
pub struct LoadedAgents {
    /// The agents that serve, by name.
    pub agents: Vec<Arc<Agent>>,
    /// Versions of them that are on trial.
    pub canaries: Vec<Canary>,
    /// Those that were left out.
    pub refused: Vec<RefusedAgent>,
}

/// Loads every agent that is to serve, in the order of their names, and what is on trial. One that is refused does not keep the others out,
/// and is not replaced by another version.
///
/// # Errors
/// See [`StartingAgents`].
pub fn load_all(
    engine: &Engine,
    store: &Store,
    dir: Option<&Path>,
    ceiling: &Limits,
) -> Result<LoadedAgents, LoadAgentsError> {
    let rollouts = store.all_rollouts()?;
    let LoadedAgents {
        mut agents,
        mut canaries,
        mut refused,
    } = LoadedAgents::default();
    if let Some(dir) = dir {
        for path in list_manifests(dir)? {
            let elsewhere = Manifest::read_file(&path).is_ok_and(|manifest| {
                let said = rollouts.iter().find(|it| it.agent == manifest.name);
                said.is_some_and(|rollout| rollout.serving != Some(0))
            });
            if elsewhere {
                tracing::info!(manifest = %path.display(), "another version was rolled out, or the agent deleted");
                continue;
            }
            match load_agent(engine, &path, ceiling) {
                Ok(agent) => agents.push(Arc::new(agent)),
                Err(error) => refused.push(RefusedAgent {
                    manifest: path,
                    reason: error.to_string(),
                }),
            }
        }
    }
    for rollout in &rollouts {
        match rollout.serving {
            None => close_deliveries(store, &rollout.agent)?,
            Some(0) => {}
            Some(number) => match load_uploaded(engine, store, rollout, number, ceiling) {
                Ok(agent) => agents.push(Arc::new(agent)),
                Err(reason) => refused.push(RefusedAgent {
                    manifest: format!("{} (uploaded version {number})", rollout.agent).into(),
                    reason,
                }),
            },
        }
        let Some(trial) = rollout.trial else {
            continue;
        };
        let number = trial.number;
        let version = match (number, dir) {
            (0, None) => Err("no agents' directory is configured".to_owned()),
            (0, Some(dir)) => load_from_directory(engine, dir, &rollout.agent, ceiling),
            _ => load_uploaded(engine, store, rollout, number, ceiling),
        };
        match version {
            Ok(agent) => canaries.push(Canary::new(Arc::new(agent), number, trial.share)),
            Err(reason) => refused.push(RefusedAgent {
                manifest: format!("{} (version {number}, on trial)", rollout.agent).into(),
                reason,
            }),
        }
    }
    for refused in &refused {
        tracing::error!(manifest = %refused.manifest.display(), reason = refused.reason, "agent refused");
    }
    crate::router::check_unique_names(&agents).map_err(LoadAgentsError::DuplicateName)?;
    agents.sort_by(|one, other| one.manifest().name.cmp(&other.manifest().name));
    for agent in &agents {
        tracing::info!(agent = %agent.manifest().name, version = agent.manifest().version, sha256 = %agent.digest(), "agent loaded");
    }
    Ok(LoadedAgents {
        agents,
        canaries,
        refused,
    })
}

/// A deletion that was cut short by the end of the host may have left deliveries that nobody will ever take.
fn close_deliveries(store: &Store, agent: &Name) -> Result<(), LoadAgentsError> {
    if store.pending_count(agent)? == 0 {
        return Ok(());
    }
    let settle = AgentChange::CloseDeliveries {
        agent: agent.clone(),
        at: Millis::now(),
    };
    let receipt = store.commit(Unit {
        agents: vec![settle],
        ..Unit::default()
    })?;
    tracing::warn!(%agent, settled = receipt.closed_deliveries, "deliveries to a deleted agent were settled as failed");
    Ok(())
}

fn load_uploaded(
    engine: &Engine,
    store: &Store,
    rollout: &Rollout,
    number: u64,
    ceiling: &Limits,
) -> Result<Agent, String> {
    let versions = store
        .agent_versions(&rollout.agent)
        .map_err(|error| error.to_string())?;
    let version = versions.iter().find(|version| version.number == number);
    let version = version.ok_or("it is not kept")?;
    let (manifest, component) = read_version(store, version)?;
    Agent::load(engine, &component, manifest, ceiling).map_err(|error| error.to_string())
}

/// A version's manifest and component, as they were uploaded.
pub(super) fn read_version(
    store: &Store,
    version: &AgentVersion,
) -> Result<(Manifest, Vec<u8>), String> {
    let manifest = serde_json::from_str(&version.manifest_json)
        .map_err(|error| format!("its manifest: {error}"))?;
    let component = store
        .agent_component(version.sha256)
        .map_err(|error| error.to_string())?
        .ok_or("its component is not kept")?;
    if Digest::hash_bytes(&component) != version.sha256 {
        return Err("its component was changed on disk: its SHA-256 is another".to_owned());
    }
    Ok((manifest, component))
}

/// The directory's version of an agent.
pub(super) fn load_from_directory(
    engine: &Engine,
    dir: &Path,
    agent: &Name,
    ceiling: &Limits,
) -> Result<Agent, String> {
    let paths = list_manifests(dir).map_err(|error| error.to_string())?;
    let path = paths
        .into_iter()
        .find(|path| Manifest::read_file(path).is_ok_and(|manifest| manifest.name == *agent))
        .ok_or_else(|| format!("{} has no manifest of {agent}", dir.display()))?;
    load_agent(engine, &path, ceiling).map_err(|error| error.to_string())
}

fn list_manifests(dir: &Path) -> Result<Vec<PathBuf>, LoadAgentsError> {
    let failed = |source| LoadAgentsError::Directory {
        dir: dir.to_owned(),
        source,
    };
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(failed)? {
        let path = entry.map_err(failed)?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            manifests.push(path);
        }
    }
    manifests.sort();
    Ok(manifests)
}

/// Loads one agent by its manifest.
///
/// # Errors
/// See [`AgentError`].
pub fn load_agent(
    engine: &Engine,
    manifest: &Path,
    ceiling: &Limits,
) -> Result<Agent, LoadAgentError> {
    let parsed = Manifest::read_file(manifest)?;
    let path = manifest.with_file_name(&parsed.component);
    let unreadable = |source| LoadAgentError::Unreadable {
        path: path.clone(),
        source,
    };
    let size = std::fs::metadata(&path).map_err(unreadable)?.len();
    if size > ark_runtime::MAX_COMPONENT_BYTES as u64 {
        return Err(LoadError::TooLarge {
            bytes: usize::try_from(size).unwrap_or(usize::MAX),
        }
        .into());
    }
    let bytes = std::fs::read(&path).map_err(unreadable)?;
    Ok(Agent::load(engine, &bytes, parsed, ceiling)?)
}
