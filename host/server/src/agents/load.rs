//! What a start finds: the agents of the directory, and the uploaded versions that were rolled out or put on trial.

use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::changes::{
    ComponentFileError, Signers, StoredVersionError, check_stored_component, list_manifests,
    read_component_file,
};
use crate::router::Canary;
use ark_model::action_types::ActionTypes;
use ark_model::ids::{Millis, Name};
use ark_runtime::{Agent, Engine, Limits, LoadError, Manifest, ManifestError, Quotas};
use ark_store::{AgentChange, AgentVersion, CommitError, ReadError, Reader, Rollout, Store, Unit};

/// What the operator allows every agent, and demands of it. A manifest can only tighten it.
#[derive(Debug, Clone, Default)]
pub struct Ceiling {
    /// The limits of one invocation.
    pub limits: Limits,
    /// The quotas over all of them.
    pub quotas: Quotas,
    /// Who may have signed the component.
    pub signers: Signers,
}

/// Why an agent of the directory cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadAgentError {
    /// The manifest cannot be read.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The component's file cannot be read.
    #[error(transparent)]
    Component(#[from] ComponentFileError),
    /// The component is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// Why a version of an agent cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub enum LoadVersionError {
    /// Version 0 is that of the agents' directory.
    #[error("no agents' directory is configured")]
    NoDirectory,
    /// The agents' directory cannot be read.
    #[error("{dir}: {source}", dir = dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// No manifest in the directory names the agent.
    #[error("{dir} has no manifest of {agent}", dir = dir.display())]
    NoManifest {
        /// The directory.
        dir: PathBuf,
        /// The agent.
        agent: Name,
    },
    /// The directory's version is refused.
    #[error(transparent)]
    Agent(#[from] LoadAgentError),
    /// The store has no version of this number.
    #[error("it is not kept")]
    NotKept,
    /// The stored version cannot be used.
    #[error(transparent)]
    Stored(#[from] StoredVersionError),
    /// The stored version's component is refused.
    #[error(transparent)]
    Load(#[from] LoadError),
}

/// An agent that a start left out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RefusedAgent {
    /// The manifest's path; for an uploaded version its agent and number.
    pub manifest: PathBuf,
    /// Why it was refused.
    pub reason: String,
}

/// Why a start ends: the agents cannot be found at all.
#[derive(Debug, thiserror::Error)]
pub enum LoadAgentsError {
    /// The agents' directory cannot be read.
    #[error("the agents' directory {dir} cannot be read: {source}; correct agents_dir (--agents, ARK_AGENTS), or make it", dir = dir.display())]
    Directory {
        /// The directory.
        dir: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// Two manifests name the same agent.
    #[error("two manifests name an agent {0}; names must be unique")]
    DuplicateName(Name),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The open deliveries of a deleted agent cannot be closed.
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
    /// The agents and versions that were left out.
    pub refused: Vec<RefusedAgent>,
}

impl LoadedAgents {
    fn record_refusal(&mut self, manifest: impl Into<PathBuf>, reason: &dyn std::error::Error) {
        let (manifest, reason) = (manifest.into(), reason.to_string());
        tracing::error!(manifest = %manifest.display(), reason, "agent refused");
        self.refused.push(RefusedAgent { manifest, reason });
    }
}

/// Logs which action types a manifest grants that are neither built in nor declared: whatever the agent proposes of them is denied.
pub fn warn_of_undeclared_types(manifest: &Manifest, action_types: &ActionTypes) {
    for (index, action_type) in manifest.actions.iter().enumerate() {
        let field = format!("actions[{index}]");
        if let Err(problem) = action_types.check_known(&field, action_type) {
            tracing::warn!(
                agent = %manifest.name,
                version = manifest.version,
                field = problem.field,
                problem = problem.problem,
                remedy = problem.remedy,
                "the manifest grants an action type that is not declared; every proposal of it is denied"
            );
        }
    }
}

/// Loads every agent that is to serve, and what is on trial. An agent that is refused does not keep the others out, and is not replaced by
/// another version of it.
///
/// # Errors
/// See [`LoadAgentsError`].
pub fn load_all(
    engine: &Engine,
    store: &Store,
    dir: Option<&Path>,
    ceiling: &Ceiling,
) -> Result<LoadedAgents, LoadAgentsError> {
    let started = Instant::now();
    let rollouts = store.all_rollouts()?;
    tracing::info!(
        uploaded = rollouts
            .iter()
            .filter(|it| it.serving.is_some_and(|number| number > 0))
            .count(),
        directory = dir.map(|dir| dir.display().to_string()),
        "loading agents; code that is not in the cache is compiled, which may take a while"
    );
    let mut loaded = LoadedAgents::default();
    if let Some(dir) = dir {
        load_directory(engine, dir, &rollouts, ceiling, &mut loaded)?;
    }
    for rollout in &rollouts {
        match rollout.serving {
            None => close_deliveries(store, &rollout.agent)?,
            // The directory's version, which was loaded above.
            Some(0) => {}
            Some(number) => match load_uploaded(engine, store, &rollout.agent, number, ceiling) {
                Ok(agent) => loaded.agents.push(Arc::new(agent)),
                Err(error) => {
                    let what = format!("{} (uploaded version {number})", rollout.agent);
                    loaded.record_refusal(what, &error);
                }
            },
        }
        let Some(canary) = rollout.canary else {
            continue;
        };
        let number = canary.number;
        let version = if number == 0 {
            load_from_directory(engine, dir, &rollout.agent, ceiling)
        } else {
            load_uploaded(engine, store, &rollout.agent, number, ceiling)
        };
        match version {
            Ok(agent) => {
                let canary = Canary::new(Arc::new(agent), number, canary.share);
                loaded.canaries.push(canary);
            }
            Err(error) => {
                let what = format!("{} (version {number}, on trial)", rollout.agent);
                loaded.record_refusal(what, &error);
            }
        }
    }
    let agents = &mut loaded.agents;
    crate::router::check_unique_names(agents).map_err(LoadAgentsError::DuplicateName)?;
    agents.sort_by(|one, other| one.manifest().name.cmp(&other.manifest().name));
    tracing::info!(
        agents = agents.len(),
        duration_ms = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX),
        "agents are loaded"
    );
    for agent in agents {
        tracing::info!(agent = %agent.manifest().name, version = agent.manifest().version, sha256 = %agent.digest(), "agent loaded");
    }
    Ok(loaded)
}

/// Loads the agents of the directory. One of which another version was rolled out, or that was deleted, is skipped.
fn load_directory(
    engine: &Engine,
    dir: &Path,
    rollouts: &[Rollout],
    ceiling: &Ceiling,
    loaded: &mut LoadedAgents,
) -> Result<(), LoadAgentsError> {
    let manifests = list_manifests(dir).map_err(|source| LoadAgentsError::Directory {
        dir: dir.to_owned(),
        source,
    })?;
    let (skipped, wanted): (Vec<_>, Vec<_>) = manifests
        .into_iter()
        .partition(|path| is_superseded(path, rollouts));
    for path in skipped {
        tracing::info!(manifest = %path.display(), "skipped: another version was rolled out, or the agent deleted");
    }
    let results = load_side_by_side(&wanted, |path| load_agent(engine, path, ceiling));
    for (path, result) in wanted.into_iter().zip(results) {
        match result {
            Ok(agent) => loaded.agents.push(Arc::new(agent)),
            Err(error) => loaded.record_refusal(path, &error),
        }
    }
    Ok(())
}

/// Loads agents on as many threads as there are processors, and returns the results in the order of the manifests.
fn load_side_by_side<T: Send>(manifests: &[PathBuf], load: impl Fn(&Path) -> T + Sync) -> Vec<T> {
    let processors = std::thread::available_parallelism().map_or(1, NonZero::get);
    let next = AtomicUsize::new(0);
    let load_some = || {
        let mut results = Vec::new();
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let Some(manifest) = manifests.get(index) else {
                return results;
            };
            results.push((index, load(manifest)));
        }
    };
    let mut results = std::thread::scope(|scope| {
        let others: Vec<_> = (1..processors.min(manifests.len()))
            .map(|_| scope.spawn(load_some))
            .collect();
        let mut results = load_some();
        for other in others {
            match other.join() {
                Ok(loaded) => results.extend(loaded),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        results
    });
    results.sort_by_key(|(index, _)| *index);
    results.into_iter().map(|(_, result)| result).collect()
}

/// Returns whether a start skips a manifest of the directory: another version of its agent was rolled out, or the agent was deleted.
#[must_use]
pub fn is_superseded(manifest: &Path, rollouts: &[Rollout]) -> bool {
    Manifest::read_file(manifest).is_ok_and(|manifest| {
        let rollout = rollouts.iter().find(|it| it.agent == manifest.name);
        rollout.is_some_and(|rollout| rollout.serving != Some(0))
    })
}

/// Closes the deliveries that are open for a deleted agent. A host that ended in the middle of a deletion may have left some, and no agent
/// will ever take them.
fn close_deliveries(store: &Store, agent: &Name) -> Result<(), LoadAgentsError> {
    if store.pending_count(agent)? == 0 {
        return Ok(());
    }
    let close = AgentChange::CloseDeliveries {
        agent: agent.clone(),
        at: Millis::now(),
    };
    let receipt = store.commit(Unit {
        may_use_reserve: true,
        agents: vec![close],
        ..Unit::default()
    })?;
    tracing::warn!(%agent, closed = receipt.closed_deliveries, "deliveries to a deleted agent were closed as failed");
    Ok(())
}

/// Loads an uploaded version of an agent from the store.
///
/// # Errors
/// See [`LoadVersionError`].
pub fn load_uploaded(
    engine: &Engine,
    store: &Reader,
    agent: &Name,
    number: u64,
    ceiling: &Ceiling,
) -> Result<Agent, LoadVersionError> {
    let versions = store
        .agent_versions(agent)
        .map_err(StoredVersionError::Read)?;
    let version = versions.iter().find(|version| version.number == number);
    let version = version.ok_or(LoadVersionError::NotKept)?;
    let (manifest, component) = read_stored_version(store, version)?;
    Ok(load_component(engine, &component, manifest, ceiling)?)
}

/// Returns a version's manifest and component as they were uploaded.
pub(super) fn read_stored_version(
    store: &Reader,
    version: &AgentVersion,
) -> Result<(Manifest, Vec<u8>), StoredVersionError> {
    let manifest =
        serde_json::from_str(&version.manifest_json).map_err(StoredVersionError::Manifest)?;
    let component = store.agent_component(version.sha256)?;
    let component = check_stored_component(component, version.sha256)?;
    Ok((manifest, component))
}

/// Loads the directory's version of an agent.
///
/// # Errors
/// See [`LoadVersionError`].
pub fn load_from_directory(
    engine: &Engine,
    dir: Option<&Path>,
    agent: &Name,
    ceiling: &Ceiling,
) -> Result<Agent, LoadVersionError> {
    let dir = dir.ok_or(LoadVersionError::NoDirectory)?;
    let manifests = list_manifests(dir).map_err(|source| LoadVersionError::Directory {
        dir: dir.to_owned(),
        source,
    })?;
    let path = manifests
        .into_iter()
        .find(|path| Manifest::read_file(path).is_ok_and(|manifest| manifest.name == *agent))
        .ok_or_else(|| LoadVersionError::NoManifest {
            dir: dir.to_owned(),
            agent: agent.clone(),
        })?;
    Ok(load_agent(engine, &path, ceiling)?)
}

/// Loads the agent of a manifest. The component is the file beside the manifest that it names.
///
/// # Errors
/// See [`LoadAgentError`].
pub fn load_agent(
    engine: &Engine,
    manifest: &Path,
    ceiling: &Ceiling,
) -> Result<Agent, LoadAgentError> {
    let mut parsed = Manifest::read_file(manifest)?;
    let file = manifest.with_file_name(&parsed.component);
    let component = read_component_file(&file)?;
    if parsed.signature.is_none() {
        let signature = ceiling.signers.read_beside(&file);
        parsed.signature = signature.map_err(LoadError::from)?;
    }
    Ok(load_component(engine, &component, parsed, ceiling)?)
}

/// Loads a component that is signed as the operator demands and whose manifest stays within the ceiling.
pub(super) fn load_component(
    engine: &Engine,
    component: &[u8],
    manifest: Manifest,
    ceiling: &Ceiling,
) -> Result<Agent, LoadError> {
    let signature = manifest.signature.as_deref();
    ceiling.signers.check(component, signature)?;
    ceiling.quotas.tightened_by(&manifest.quotas)?;
    Agent::load(engine, component, manifest, &ceiling.limits)
}

/// Checks what can be known of a component and its manifest without compiling it.
pub(super) fn check_before_compilation(
    component: &[u8],
    manifest: &Manifest,
    ceiling: &Ceiling,
) -> Result<(), LoadError> {
    let signature = manifest.signature.as_deref();
    ceiling.signers.check(component, signature)?;
    ceiling.quotas.tightened_by(&manifest.quotas)?;
    Agent::check_before_compilation(component, manifest, &ceiling.limits)
}
