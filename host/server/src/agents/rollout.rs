//! Rollouts and rollbacks, and the one way in which a change of an agent is committed.
//!
//! The commit comes after everything that can fail and before the router: see the steps in [`super`].

use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::changes::ChangeRequest;
use ark_model::ids::{Digest, Millis, Name};
use ark_runtime::Agent;
use ark_store::{
    AgentChange, CanaryVersion, CommitError, IdempotencyRecord, NewAgentVersion, Rollout, Unit,
};

use super::error::AgentChangeError;
use super::versions::{AgentStatus, Agents};

/// How much longer than its deadline a version is given to finish the invocations that run. The deadline ends them; the rest is for their
/// commits.
const DRAIN_SLACK: Duration = Duration::from_secs(1);
/// What the audit row of an upload says it orders.
pub(super) const UPLOAD_ORDER: &str = "agent.upload";

/// A change that was made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentChangeReceipt {
    /// The agent.
    pub agent: Name,
    /// The version that the change is about.
    pub number: u64,
    /// SHA-256 of that version's component.
    pub sha256: Digest,
    /// The version that serves now; 0: that of the agents' directory.
    pub serving: Option<u64>,
    /// The version that served before.
    pub previous: Option<u64>,
    /// The version on trial now, and its share of the signals.
    pub canary: Option<CanaryVersion>,
    /// Whether every invocation of the replaced version has ended; false, too, in an answer that is given again.
    pub drained: bool,
}

/// Which versions of an agent are to serve and to be on trial.
pub(super) struct RolloutChange<'a> {
    pub(super) agent: &'a Name,
    /// The version that the change is about, and the digest of its component.
    pub(super) number: u64,
    pub(super) sha256: Digest,
    pub(super) serving: Option<u64>,
    pub(super) previous: Option<u64>,
    pub(super) canary: Option<CanaryVersion>,
    /// The version to store in the same commit.
    pub(super) new: Option<NewAgentVersion>,
    /// The body of the audit row; `order` names the kind of change.
    pub(super) audit_body: Value,
}

/// The result of [`Agents::commit_once`].
pub(super) enum Committed {
    /// The change was committed now: the router has to follow.
    Now(AgentChangeReceipt),
    /// The change was made under the same idempotency key before. Nothing was changed now.
    Before(AgentChangeReceipt),
}

impl Committed {
    pub(super) fn into_receipt(self) -> AgentChangeReceipt {
        match self {
            Self::Now(receipt) | Self::Before(receipt) => receipt,
        }
    }
}

impl Agents {
    /// Lets a version serve: an uploaded one, or with 0 that of the agents' directory.
    ///
    /// # Errors
    /// See [`AgentChangeError`].
    pub fn roll_out(
        &self,
        agent: &Name,
        number: u64,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _change = self.inner.changes.begin_change();
        let status = self.read_status(agent)?;
        if status.rollout.is_none() && self.inner.deps.router.find_serving(agent).is_none() {
            return Err(AgentChangeError::UnknownAgent(agent.clone()));
        }
        let version = self.load_version(agent, number, &status.versions)?;
        self.commit_rollout(&version, number, None, "agent.rollout", &status, request)
    }

    /// Makes the version that served before the current one serve again.
    ///
    /// # Errors
    /// See [`AgentChangeError`].
    pub fn roll_back(
        &self,
        agent: &Name,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _change = self.inner.changes.begin_change();
        let status = self.read_status(agent)?;
        let known =
            status.rollout.is_some() || self.inner.deps.router.find_serving(agent).is_some();
        let number = status.previous().ok_or_else(|| {
            if known {
                AgentChangeError::NoPreviousVersion(agent.clone())
            } else {
                AgentChangeError::UnknownAgent(agent.clone())
            }
        })?;
        let version = self.load_version(agent, number, &status.versions)?;
        self.commit_rollout(&version, number, None, "agent.rollback", &status, request)
    }

    /// Commits that a version serves, installs it in the router, and waits for the invocations of the version before. A trial ends.
    pub(super) fn commit_rollout(
        &self,
        version: &Arc<Agent>,
        number: u64,
        new: Option<NewAgentVersion>,
        order: &str,
        status: &AgentStatus,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let manifest = version.manifest();
        let (agent, sha256) = (&manifest.name, version.digest());
        let before = self.serving_version(agent, status);
        let previous = match before {
            Some(before) if before != number => Some(before),
            _ => status.previous().filter(|previous| *previous != number),
        };
        let change = RolloutChange {
            agent,
            number,
            sha256,
            serving: Some(number),
            previous,
            canary: None,
            new,
            audit_body: json!({
                "order": order, "number": number, "version": manifest.version,
                "sha256": sha256, "serving": number, "previous": before,
            }),
        };
        let receipt = match self.commit_once(change, status, request)? {
            Committed::Before(receipt) => return Ok(receipt),
            Committed::Now(receipt) => receipt,
        };
        if order != UPLOAD_ORDER {
            self.inner.changes.count_change(agent);
        }
        let router = &self.inner.deps.router;
        let served = router.install_agent(Arc::clone(version))?;
        let tried = router.set_canary(agent, None);
        self.update_watchdog(agent);
        let drained = served.is_none_or(|served| wait_until_drained(&served, &served))
            && tried.is_none_or(|tried| wait_until_drained(&tried, &tried.agent));
        tracing::info!(%agent, number, version = manifest.version, by = request.by, order, drained, "agent rolled out");
        Ok(AgentChangeReceipt { drained, ..receipt })
    }

    /// Commits a change with its audit row, once under the request's idempotency key: a repetition of the same request gets the first
    /// receipt, and another request under that key is refused with [`CommitError::AlreadyAnswered`].
    pub(super) fn commit_once(
        &self,
        change: RolloutChange<'_>,
        status: &AgentStatus,
        request: &ChangeRequest,
    ) -> Result<Committed, AgentChangeError> {
        let now = Millis::now();
        let receipt = AgentChangeReceipt {
            agent: change.agent.clone(),
            number: change.number,
            sha256: change.sha256,
            serving: change.serving,
            previous: change.previous,
            canary: change.canary,
            drained: false,
        };
        let rollout = Rollout {
            agent: change.agent.clone(),
            serving: change.serving,
            previous: change.previous,
            last_number: status.last_number().max(change.number),
            canary: change.canary,
            by: request.by.clone(),
            at: now,
        };
        // The rollout comes first: the versions it names are not dropped to make room for the new one.
        let mut agents = vec![AgentChange::Rollout(rollout)];
        // A component may be large; to go back to one that is kept takes little.
        let may_use_reserve = change.new.is_none();
        agents.extend(change.new.map(AgentChange::Version));
        let unit = Unit {
            may_use_reserve,
            audit: vec![request.audit_entry(Some(change.agent), change.audit_body, now)],
            agents,
            idempotency: request.idempotency_record("agents", json!(receipt).to_string()),
            at: now,
            ..Unit::default()
        };
        match self.inner.deps.store.commit(unit) {
            Ok(_) => Ok(Committed::Now(receipt)),
            Err(CommitError::AlreadyAnswered(first)) => {
                first_receipt(first, request).map(Committed::Before)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Returns the receipt that the first request under an idempotency key got, if that was the same request.
fn first_receipt(
    first: IdempotencyRecord,
    request: &ChangeRequest,
) -> Result<AgentChangeReceipt, AgentChangeError> {
    let is_same = request
        .idempotency_key
        .as_ref()
        .is_some_and(|key| key.matches(first.request));
    match serde_json::from_str(&first.answer) {
        Ok(receipt) if is_same => Ok(receipt),
        _ => Err(CommitError::AlreadyAnswered(first).into()),
    }
}

/// Waits until only the caller holds `handle`: then no invocation of its version runs any more. Returns false when that takes longer than the
/// version's deadline and [`DRAIN_SLACK`].
pub(super) fn wait_until_drained<T>(handle: &Arc<T>, version: &Agent) -> bool {
    let until = Instant::now() + version.limits().deadline + DRAIN_SLACK;
    while Arc::strong_count(handle) > 1 {
        if Instant::now() >= until {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    true
}
