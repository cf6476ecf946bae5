//! Canaries: a version handles a share of its agent's signals while another one serves.
//!
//! The steps are those of a rollout: what can fail comes before the commit, the router after it.

use serde_json::json;

use crate::changes::ChangeRequest;
use crate::router::Canary;
use ark_model::ids::{Digest, Name};
use ark_store::CanaryVersion;

use super::error::AgentChangeError;
use super::rollout::{AgentChangeReceipt, Committed, RolloutChange, wait_until_drained};
use super::versions::{AgentStatus, Agents};

/// The agent whose canary changes.
struct CanaryAgent<'a> {
    agent: &'a Name,
    status: AgentStatus,
    /// The version that serves.
    serving: u64,
}

impl Agents {
    /// Makes a version the canary beside the one that serves: from now on it handles its share of the agent's signals. It replaces a version
    /// that is the canary already.
    ///
    /// # Errors
    /// See [`AgentChangeError`].
    pub fn start_canary(
        &self,
        agent: &Name,
        canary: CanaryVersion,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _change = self.inner.changes.begin_change();
        let subject = self.read_canary_agent(agent)?;
        let number = canary.number;
        if subject.serving == number {
            let agent = agent.clone();
            return Err(AgentChangeError::AlreadyServing { agent, number });
        }
        let version = self.load_version(agent, number, &subject.status.versions)?;
        let sha256 = version.digest();
        let canary = Canary::new(version, number, canary.share);
        self.commit_canary(&subject, Some(canary), number, sha256, request)
    }

    /// Ends a canary: the version that serves gets all signals again.
    ///
    /// # Errors
    /// See [`AgentChangeError`].
    pub fn end_canary(
        &self,
        agent: &Name,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _change = self.inner.changes.begin_change();
        let subject = self.read_canary_agent(agent)?;
        // The handle is dropped here: the drain below waits for it.
        let (number, sha256) = {
            let slot = self.inner.deps.router.find_serving(agent);
            let canary = slot.and_then(|slot| slot.canary());
            let canary = canary.ok_or_else(|| AgentChangeError::NoTrial(agent.clone()))?;
            (canary.number, canary.agent.digest())
        };
        self.commit_canary(&subject, None, number, sha256, request)
    }

    fn read_canary_agent<'a>(&self, agent: &'a Name) -> Result<CanaryAgent<'a>, AgentChangeError> {
        let status = self.read_status(agent)?;
        let serving = self
            .serving_version(agent, &status)
            .ok_or_else(|| AgentChangeError::UnknownAgent(agent.clone()))?;
        Ok(CanaryAgent {
            agent,
            status,
            serving,
        })
    }

    /// Commits which version is the canary, or that none is, then lets the router follow and waits for the invocations of the version that was
    /// the canary before. `number` and `sha256` are those of the version whose time as a canary begins or ends.
    fn commit_canary(
        &self,
        subject: &CanaryAgent<'_>,
        canary: Option<Canary>,
        number: u64,
        sha256: Digest,
        request: &ChangeRequest,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let CanaryAgent {
            agent,
            status,
            serving,
        } = subject;
        let version = canary.as_ref().map(|canary| CanaryVersion {
            number: canary.number,
            share: canary.share,
        });
        let share = version.map(|version| version.share);
        let change = RolloutChange {
            agent,
            number,
            sha256,
            serving: Some(*serving),
            previous: status.previous(),
            canary: version,
            new: None,
            audit_body: json!({
                "order": "agent.canary", "number": number, "sha256": sha256, "serving": serving,
                "share": share,
            }),
        };
        let receipt = match self.commit_once(change, status, request)? {
            Committed::Before(receipt) => return Ok(receipt),
            Committed::Now(receipt) => receipt,
        };
        // An upload ends a canary, but not one that began after it was accepted.
        if version.is_some() {
            self.inner.changes.count_change(agent);
        }
        let tried = self.inner.deps.router.set_canary(agent, canary);
        let drained = tried.is_none_or(|tried| wait_until_drained(&tried, &tried.agent));
        let share = share.map(ark_model::ids::Share::get);
        tracing::info!(%agent, number, ?share, by = request.by, drained, "the agent's canary was changed");
        Ok(AgentChangeReceipt { drained, ..receipt })
    }
}
