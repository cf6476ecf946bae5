//! Trying a version out: it handles a share of its agent's signals while another one serves.
//!
//! The same order of things as with a rollout (see `agents`): what can fail comes before the commit, the router after it.

use serde_json::json;

use super::{
    AgentChange, AgentChangeError, AgentChangeReceipt, AgentStatus, Agents, Requester, Unit,
    change_unit, idempotency_record, last_number, repeated_receipt, wait_until_drained,
};
use crate::router::Canary;
use ark_model::ids::{Digest, Millis, Name};
use ark_store::{CommitError, Rollout, Trial};

impl Agents {
    /// Tries a version out beside the one that serves: it handles a share of the agent's signals from now on. One that was on trial before
    /// gives way.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn start_trial(
        &self,
        agent: &Name,
        trial: Trial,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _turn = self.lock_changes();
        let standing = self.read_status(agent)?;
        let serving = self.serving_version(agent, standing.rollout.as_ref());
        let serving = serving.ok_or_else(|| AgentChangeError::UnknownAgent(agent.clone()))?;
        if serving == trial.number {
            return Err(AgentChangeError::AlreadyServing {
                agent: agent.clone(),
                number: serving,
            });
        }
        let version = self.load_version(agent, trial.number, &standing.versions)?;
        let sha256 = version.digest();
        let canary = Canary::new(version, trial.number, trial.share);
        self.commit_trial(
            agent,
            serving,
            Some(canary),
            trial.number,
            sha256,
            &standing,
            order,
        )
    }

    /// Ends a trial: the version that serves gets all signals again.
    ///
    /// # Errors
    /// See [`ChangeError`].
    pub fn end_trial(
        &self,
        agent: &Name,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let _turn = self.lock_changes();
        let standing = self.read_status(agent)?;
        let serving = self.serving_version(agent, standing.rollout.as_ref());
        let serving = serving.ok_or_else(|| AgentChangeError::UnknownAgent(agent.clone()))?;
        let seat = self.inner.deps.router.find_serving(agent);
        let canary = seat.and_then(|seat| seat.canary());
        let canary = canary.ok_or_else(|| AgentChangeError::NoTrial(agent.clone()))?;
        let (number, sha256) = (canary.number, canary.agent.digest());
        drop(canary);
        self.commit_trial(agent, serving, None, number, sha256, &standing, order)
    }

    /// Records that a version is on trial, or none any more, then lets it handle its share.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is on trial, and what the record says of it"
    )]
    fn commit_trial(
        &self,
        agent: &Name,
        serving: u64,
        canary: Option<Canary>,
        number: u64,
        sha256: Digest,
        standing: &AgentStatus,
        order: &Requester,
    ) -> Result<AgentChangeReceipt, AgentChangeError> {
        let ground = &self.inner.deps;
        let now = Millis::now();
        let trial = canary.as_ref().map(|canary| Trial {
            number: canary.number,
            share: canary.share,
        });
        let previous = standing.rollout.as_ref().and_then(|it| it.previous);
        let rollout = Rollout {
            agent: agent.clone(),
            serving: Some(serving),
            previous,
            last_number: last_number(standing),
            trial,
            by: order.by.clone(),
            at: now,
        };
        let body = json!({
            "order": "agent.canary", "number": number, "sha256": sha256, "serving": serving,
            "share": trial.map(|trial| trial.share),
        });
        let changes = vec![AgentChange::Rollout(rollout)];
        let changed = AgentChangeReceipt {
            agent: agent.clone(),
            number,
            sha256,
            serving: Some(serving),
            previous,
            canary: trial,
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
        let tried = ground.router.set_canary(agent, canary);
        let drained = tried.is_none_or(|tried| wait_until_drained(&tried, &tried.agent));
        tracing::info!(%agent, number, share = ?trial.map(|trial| trial.share.get()), by = order.by, drained, "canary");
        Ok(AgentChangeReceipt { drained, ..changed })
    }
}
