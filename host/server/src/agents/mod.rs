//! The versions of agents: uploading, trying out, rolling out, rolling back, deleting, while the host runs.
//!
//! A change goes: load (digest, imports, metadata, limits) -> heartbeat in a scratch instance -> durable, with its audit row -> swap in the
//! router -> drain: invocations under way end on the version they began with. Whatever fails before the commit leaves everything as it
//! was; from the commit on a restart finds the new version. So a kill at any moment leaves the old or the new one, never neither.
//!
//! Which version serves at a start: what was rolled out last. Version 0 is the agents' directory's; an agent about which nothing was ever
//! said is served from there, and a deleted one is not, even if the directory has it.
//!
//! A version can be tried out first: as a canary it handles a share of the agent's signals. A rollout, a rollback and a deletion end the trial,
//! and so does the canary itself by misbehaving (`router`).
//!
//! Must not know: HTTP, SQL.

mod change;
mod start;
mod trial;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use serde_json::json;

use crate::changes::LastRefusals;
use crate::hrm::{Hrm, LiveServices};
use crate::router::{Canary, Router};
use crate::watchdog::Watchdog;
use ark_model::ids::{AuditId, Digest, Millis, Name, TraceId};
use ark_runtime::{Agent, Engine, InvocationFailure, Limits, Manifest};
use ark_store::{
    AgentChange, AgentVersion, AuditEntry, AuditKind, CommitError, IdempotencyRecord,
    NewAgentVersion, ReadError, Rollout, Store, Unit,
};

pub use crate::changes::{Refusal, Requester};
pub use change::{AgentChangeError, AgentChangeReceipt, AgentStatus};
pub use start::{
    LoadAgentError, LoadAgentsError, LoadedAgents, RefusedAgent, load_agent, load_all,
};

/// How long a heartbeat in a scratch instance may take, if the agent's own deadline is not shorter.
const HEARTBEAT_TIMEOUT: Duration = Duration::from_secs(1);
/// How much longer than its deadline a version may take to end what it has under way.
const DRAIN_SLACK: Duration = Duration::from_secs(1);

/// What changes of agents stand on.
pub struct AgentDeps {
    /// The engine.
    pub engine: Engine,
    /// Where versions are kept.
    pub store: Store,
    /// Who hands them signals.
    pub router: Router,
    /// Who watches them.
    pub watchdog: Watchdog,
    /// Who answers the dry runs of a heartbeat.
    pub hrm: Hrm,
    /// The agents' directory.
    pub agents_dir: Option<PathBuf>,
    /// The operator's ceiling.
    pub ceiling: Limits,
    /// How many versions of each agent are kept.
    pub versions_kept: u32,
}

/// The handle to the versions. Cheap to clone. Its calls block: on the compiler, on the disk, on what is under way.
#[derive(Clone)]
pub struct Agents {
    inner: Arc<Inner>,
}

struct Inner {
    deps: AgentDeps,
    ceiling: ArcSwap<Limits>,
    /// Held by whoever makes a change.
    change_lock: Mutex<()>,
    refusals: LastRefusals,
}

impl Agents {
    /// Takes over the agents that the router serves.
    #[must_use]
    pub fn new(ground: AgentDeps) -> Self {
        Self {
            inner: Arc::new(Inner {
                ceiling: ArcSwap::from_pointee(ground.ceiling.clone()),
                deps: ground,
                change_lock: Mutex::default(),
                refusals: LastRefusals::default(),
            }),
        }
    }

    /// The ceiling for what is loaded now.
    #[must_use]
    pub fn ceiling(&self) -> Arc<Limits> {
        self.inner.ceiling.load_full()
    }

    /// The ceiling for what is loaded from now on.
    pub fn set_ceiling(&self, ceiling: Limits) {
        self.inner.ceiling.store(Arc::new(ceiling));
    }

    /// Keeps a version and, if `rollout`, lets it serve. The same component with the same manifest keeps its number.
    ///
    /// # Errors
    /// See [`ChangeError`]. What is refused is recorded with its reason, and whatever served goes on.
    pub fn upload_version(
        &self,
        agent: &Name,
        manifest: Manifest,
        component: Vec<u8>,
        rollout: bool,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let stated = manifest.sha256;
        let _turn = self.lock_changes();
        let result = self.verify_and_store(agent, manifest, component, rollout, order);
        if let Err(error) = &result
            && error.is_upload_fault()
        {
            self.record_refusal(agent, Some(stated), error, order);
        }
        result
    }

    /// Lets a version serve: an uploaded one, or with 0 that of the agents' directory.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn roll_out(
        &self,
        agent: &Name,
        number: u64,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _turn = self.lock_changes();
        let standing = self.read_status(agent)?;
        if standing.rollout.is_none() && self.inner.deps.router.find_serving(agent).is_none() {
            return Err(AgentChangeError::UnknownAgent(agent.clone()));
        }
        let version = self.load_version(agent, number, &standing.versions)?;
        self.commit_rollout(&version, number, None, "agent.rollout", &standing, order)
    }

    /// Lets the version serve that served before the one that serves.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn roll_back(
        &self,
        agent: &Name,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _turn = self.lock_changes();
        let standing = self.read_status(agent)?;
        let Some(rollout) = &standing.rollout else {
            return Err(match self.inner.deps.router.find_serving(agent) {
                Some(_) => AgentChangeError::NoPreviousVersion(agent.clone()),
                None => AgentChangeError::UnknownAgent(agent.clone()),
            });
        };
        let number = rollout
            .previous
            .ok_or_else(|| AgentChangeError::NoPreviousVersion(agent.clone()))?;
        let version = self.load_version(agent, number, &standing.versions)?;
        self.commit_rollout(&version, number, None, "agent.rollback", &standing, order)
    }

    /// Lets no version of an agent serve any more. Its versions and its state stay. Signals that wait for it fail, if `force`; without it
    /// they are a reason not to. How many failed.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn delete_agent(
        &self,
        agent: &Name,
        force: bool,
        order: &Requester,
    ) -> Result<u64, AgentChangeError> {
        let _turn = self.lock_changes();
        let ground = &self.inner.deps;
        let standing = self.read_status(agent)?;
        let serving = self.serving_version(agent, standing.rollout.as_ref());
        let waiting = ground.store.pending_count(agent)?;
        if serving.is_none() && waiting == 0 {
            return Err(AgentChangeError::UnknownAgent(agent.clone()));
        }
        let refused = |waiting| AgentChangeError::PendingDeliveries {
            agent: agent.clone(),
            waiting,
        };
        if waiting > 0 && !force {
            return Err(refused(waiting));
        }
        let tried = ground.router.set_canary(agent, None);
        let served = ground.router.remove_serving(agent);
        self.update_watchdog(agent);
        // Whatever fails from here on gives the seat back.
        let result = served
            .as_ref()
            .map_or(Ok(()), |served| {
                wait_until_drained(served, served);
                if let Some(tried) = &tried {
                    wait_until_drained(tried, &tried.agent);
                }
                // What was accepted between the look and the end of the seat is not to be lost without a word either.
                match ground.store.pending_count(agent)? {
                    waiting if waiting > 0 && !force => Err(refused(waiting)),
                    _ => Ok(()),
                }
            })
            .and_then(|()| {
                let now = Millis::now();
                let rollout = Rollout {
                    agent: agent.clone(),
                    serving: None,
                    previous: serving.or(standing.rollout.as_ref().and_then(|it| it.previous)),
                    last_number: last_number(&standing),
                    trial: None,
                    by: order.by.clone(),
                    at: now,
                };
                let body =
                    json!({"order": "agent.delete", "previous": serving, "waiting": waiting});
                let settle = AgentChange::CloseDeliveries {
                    agent: agent.clone(),
                    at: now,
                };
                let changes = vec![AgentChange::Rollout(rollout), settle];
                Ok(ground
                    .store
                    .commit(change_unit(agent, changes, body, order, now))?)
            });
        match result {
            Ok(receipt) => {
                let settled = usize::try_from(receipt.closed_deliveries).unwrap_or(usize::MAX);
                ground.router.delete_agent(agent, settled);
                tracing::info!(%agent, by = order.by, settled, "agent deleted");
                Ok(receipt.closed_deliveries)
            }
            Err(error) => {
                if let Some(served) = served {
                    ground.router.install_agent(served)?;
                    self.update_watchdog(agent);
                }
                if let Some(tried) = tried {
                    let again = Canary::new(Arc::clone(&tried.agent), tried.number, tried.share);
                    let _ = ground.router.set_canary(agent, Some(again));
                }
                Err(error)
            }
        }
    }

    /// What is kept of an agent.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn read_status(&self, agent: &Name) -> Result<AgentStatus, ReadError> {
        let store = &self.inner.deps.store;
        Ok(AgentStatus {
            versions: store.agent_versions(agent)?,
            rollout: store.rollout_for(agent)?,
            refused: self.inner.refusals.get(agent),
        })
    }

    /// The component of an uploaded version.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn read_component(&self, agent: &Name, number: u64) -> Result<Vec<u8>, AgentChangeError> {
        let versions = self.inner.deps.store.agent_versions(agent)?;
        self.read_version(agent, number, &versions)
            .map(|(_, component)| component)
    }

    /// Records that an upload was refused before it could be looked at.
    pub fn refuse_upload(&self, agent: &Name, reason: String, order: &Requester) {
        let error = AgentChangeError::Manifest(reason);
        self.record_refusal(agent, None, &error, order);
    }

    fn lock_changes(&self) -> MutexGuard<'_, ()> {
        lock(&self.inner.change_lock)
    }

    fn verify_and_store(
        &self,
        agent: &Name,
        manifest: Manifest,
        component: Vec<u8>,
        rollout: bool,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        manifest
            .check_fields()
            .map_err(AgentChangeError::Manifest)?;
        if manifest.name != *agent {
            return Err(AgentChangeError::NameMismatch {
                expected: agent.clone(),
                found: manifest.name,
            });
        }
        let manifest_json = serde_json::to_string(&manifest)
            .map_err(|error| AgentChangeError::Manifest(error.to_string()))?;
        let ceiling = self.inner.ceiling.load_full();
        let ground = &self.inner.deps;
        let version = Agent::load(&ground.engine, &component, manifest, &ceiling)?;
        let version = Arc::new(version);
        self.check_heartbeat(&version)?;
        let standing = self.read_status(agent)?;
        let known = standing
            .versions
            .iter()
            .find(|known| known.sha256 == version.digest() && known.manifest_json == manifest_json);
        let number = known.map_or(last_number(&standing) + 1, |known| known.number);
        let now = Millis::now();
        let new = known.is_none().then(|| NewAgentVersion {
            agent: agent.clone(),
            number,
            sha256: version.digest(),
            component,
            manifest_json,
            by: order.by.clone(),
            at: now,
            keep: ground.versions_kept,
        });
        if rollout {
            return self.commit_rollout(&version, number, new, "agent.upload", &standing, order);
        }
        let serving = self.serving_version(agent, standing.rollout.as_ref());
        let previous = standing.rollout.as_ref().and_then(|it| it.previous);
        let rollout = Rollout {
            agent: agent.clone(),
            serving,
            previous,
            last_number: last_number(&standing).max(number),
            trial: standing.rollout.as_ref().and_then(|it| it.trial),
            by: order.by.clone(),
            at: now,
        };
        let canary = rollout.trial;
        let body = json!({
            "order": "agent.upload", "number": number, "version": version.manifest().version,
            "sha256": version.digest(), "serving": serving,
        });
        let mut changes = vec![AgentChange::Rollout(rollout)];
        changes.extend(new.map(AgentChange::Version));
        ground
            .store
            .commit(change_unit(agent, changes, body, order, now))?;
        Ok(AgentChangeReceipt {
            agent: agent.clone(),
            number,
            sha256: version.digest(),
            serving,
            previous,
            canary,
            drained: true,
        })
    }

    /// Records that a version serves, then lets it.
    fn commit_rollout(
        &self,
        version: &Arc<Agent>,
        number: u64,
        new: Option<NewAgentVersion>,
        what: &str,
        standing: &AgentStatus,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let ground = &self.inner.deps;
        let agent = &version.manifest().name;
        let now = Millis::now();
        let before = self.serving_version(agent, standing.rollout.as_ref());
        let stood = standing.rollout.as_ref().and_then(|it| it.previous);
        let previous = match before {
            Some(before) if before != number => Some(before),
            _ => stood.filter(|stood| *stood != number),
        };
        let rollout = Rollout {
            agent: agent.clone(),
            serving: Some(number),
            previous,
            last_number: last_number(standing).max(number),
            trial: None,
            by: order.by.clone(),
            at: now,
        };
        let body = json!({
            "order": what, "number": number, "version": version.manifest().version,
            "sha256": version.digest(), "serving": number, "previous": before,
        });
        // The rollout first: what it says serves, and served, is not dropped to make room.
        let mut changes = vec![AgentChange::Rollout(rollout)];
        changes.extend(new.map(AgentChange::Version));
        let changed = AgentChangeReceipt {
            agent: agent.clone(),
            number,
            sha256: version.digest(),
            serving: Some(number),
            previous,
            canary: None,
            drained: false,
        };
        let unit = Unit {
            idempotency: idempotency_record(order, &changed),
            ..change_unit(agent, changes, body, order, now)
        };
        match ground.store.commit(unit) {
            Ok(_) => {}
            Err(CommitError::AlreadyAnswered(first)) => return repeated_receipt(first, order),
            Err(error) => return Err(error.into()),
        }
        let served = ground.router.install_agent(Arc::clone(version))?;
        let tried = ground.router.set_canary(agent, None);
        self.update_watchdog(agent);
        let drained = served.is_none_or(|served| wait_until_drained(&served, &served))
            && tried.is_none_or(|tried| wait_until_drained(&tried, &tried.agent));
        tracing::info!(%agent, number, version = version.manifest().version, by = order.by, what, drained, "agent rolled out");
        Ok(AgentChangeReceipt { drained, ..changed })
    }

    /// The version that serves: as was said, else the directory's, if it is there.
    fn serving_version(&self, agent: &Name, rollout: Option<&Rollout>) -> Option<u64> {
        match rollout {
            Some(rollout) => rollout.serving,
            None => self.inner.deps.router.find_serving(agent).map(|_| 0),
        }
    }

    fn update_watchdog(&self, changed: &Name) {
        let ground = &self.inner.deps;
        let agents = ground.router.list_serving();
        let agents = agents.into_iter().map(|seat| seat.agent).collect();
        ground.watchdog.set_agents(agents, changed);
    }

    fn load_version(
        &self,
        agent: &Name,
        number: u64,
        versions: &[AgentVersion],
    ) -> Result<Arc<Agent>, AgentChangeError> {
        let ceiling = self.inner.ceiling.load_full();
        let ground = &self.inner.deps;
        let version = if number == 0 {
            let dir = ground.agents_dir.as_deref();
            let dir =
                dir.ok_or_else(|| AgentChangeError::Directory("none is configured".to_owned()))?;
            start::load_from_directory(&ground.engine, dir, agent, &ceiling)
                .map_err(AgentChangeError::Directory)?
        } else {
            let (manifest, component) = self.read_version(agent, number, versions)?;
            Agent::load(&ground.engine, &component, manifest, &ceiling)?
        };
        let version = Arc::new(version);
        self.check_heartbeat(&version)?;
        Ok(version)
    }

    fn read_version(
        &self,
        agent: &Name,
        number: u64,
        versions: &[AgentVersion],
    ) -> Result<(Manifest, Vec<u8>), AgentChangeError> {
        let version = versions
            .iter()
            .find(|version| version.number == number)
            .ok_or_else(|| AgentChangeError::UnknownVersion {
                agent: agent.clone(),
                number,
                kept: versions.iter().map(|version| version.number).collect(),
            })?;
        start::read_version(&self.inner.deps.store, version).map_err(|problem| {
            AgentChangeError::CorruptVersion {
                agent: agent.clone(),
                number,
                problem,
            }
        })
    }

    /// Takes a heartbeat of a version that does not serve, on a thread of its own: a slow guest lowers its thread's priority for good.
    fn check_heartbeat(&self, version: &Arc<Agent>) -> Result<(), AgentChangeError> {
        let ground = &self.inner.deps;
        let services = LiveServices {
            hrm: ground.hrm.clone(),
            store: ground.store.clone(),
            manifest: Arc::clone(version.manifest()),
            trace_id: TraceId::fresh(),
            causal_depth: 0,
        };
        let budget = HEARTBEAT_TIMEOUT.min(version.limits().deadline);
        let taken = std::thread::scope(|scope| {
            let heart = scope
                .spawn(|| version.check_heartbeat(Arc::new(services), Instant::now() + budget));
            heart.join()
        });
        match taken {
            Ok(result) => result.map_err(AgentChangeError::Heartbeat),
            Err(_) => Err(AgentChangeError::Heartbeat(InvocationFailure::Start(
                "the host failed to take it".to_owned(),
            ))),
        }
    }

    fn record_refusal(
        &self,
        agent: &Name,
        sha256: Option<Digest>,
        error: &AgentChangeError,
        order: &Requester,
    ) {
        let now = Millis::now();
        let reason = error.to_string();
        tracing::warn!(%agent, by = order.by, reason, "an upload was refused");
        let body = json!({"order": "agent.refused", "sha256": sha256, "refusal": reason});
        let recorded =
            self.inner
                .deps
                .store
                .commit(change_unit(agent, Vec::new(), body, order, now));
        if let Err(error) = recorded {
            tracing::error!(%agent, %error, "a refused upload could not be recorded");
        }
        let refusal = Refusal {
            at_ms: now,
            by: order.by.clone(),
            sha256,
            reason,
        };
        self.inner.refusals.record(agent, refusal);
    }
}

fn last_number(standing: &AgentStatus) -> u64 {
    let kept = standing.versions.first().map_or(0, |newest| newest.number);
    let given = standing.rollout.as_ref().map_or(0, |it| it.last_number);
    kept.max(given)
}

/// Waits until nobody but the caller holds a version's handle: then nothing of it is under way.
fn wait_until_drained<T>(handle: &Arc<T>, version: &Agent) -> bool {
    let until = Instant::now() + version.limits().deadline + DRAIN_SLACK;
    while Arc::strong_count(handle) > 1 {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}

/// What answers a repetition of an order.
fn idempotency_record(
    order: &Requester,
    changed: &AgentChangeReceipt,
) -> Option<IdempotencyRecord> {
    let (key, request) = order.idempotency_key.clone()?;
    Some(IdempotencyRecord {
        scope: format!("agents:{}", order.by),
        key,
        request,
        answer: json!(changed).to_string(),
    })
}

/// The first answer to an order that was carried out before.
fn repeated_receipt(
    first: IdempotencyRecord,
    order: &Requester,
) -> Result<AgentChangeReceipt, AgentChangeError> {
    let same = order
        .idempotency_key
        .as_ref()
        .is_some_and(|(_, request)| *request == first.request);
    match serde_json::from_str(&first.answer) {
        Ok(changed) if same => Ok(changed),
        _ => Err(CommitError::AlreadyAnswered(first).into()),
    }
}

fn change_unit(
    agent: &Name,
    agents: Vec<AgentChange>,
    mut body: serde_json::Value,
    order: &Requester,
    now: Millis,
) -> Unit {
    let what = body["order"].as_str().map(str::to_owned);
    body["by"] = json!(order.by);
    body["reason"] = json!(order.reason);
    Unit {
        audit: vec![AuditEntry {
            kind: AuditKind::Operator,
            id: AuditId::fresh(),
            trace_id: Some(order.trace_id),
            agent: Some(agent.clone()),
            action_type: what,
            outcome: None,
            at: now,
            body: body.to_string(),
        }],
        agents,
        at: now,
        ..Unit::default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
