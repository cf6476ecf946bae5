//! Trying a version out: it handles a share of its agent's signals while another one serves.
//!
//! The same order of things as with a rollout (see `agents`): what can fail comes before the commit, the router after it.

use serde_json::json;

use super::{
    AgentChange, Agents, ChangeError, Changed, Order, Standing, Unit, again, drained, last_number,
    once, unit,
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
    pub fn try_out(
        &self,
        agent: &Name,
        trial: Trial,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let _turn = self.turn();
        let standing = self.standing(agent)?;
        let serving = self.serving(agent, standing.rollout.as_ref());
        let serving = serving.ok_or_else(|| ChangeError::NoAgent(agent.clone()))?;
        if serving == trial.number {
            return Err(ChangeError::Serves {
                agent: agent.clone(),
                number: serving,
            });
        }
        let version = self.load(agent, trial.number, &standing.versions)?;
        let sha256 = version.digest();
        let canary = Canary::new(version, trial.number, trial.share);
        self.set_trial(
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
    pub fn end_trial(&self, agent: &Name, order: &Order) -> Result<Changed, ChangeError> {
        let _turn = self.turn();
        let standing = self.standing(agent)?;
        let serving = self.serving(agent, standing.rollout.as_ref());
        let serving = serving.ok_or_else(|| ChangeError::NoAgent(agent.clone()))?;
        let seat = self.inner.ground.router.seat(agent);
        let canary = seat.and_then(|seat| seat.canary());
        let canary = canary.ok_or_else(|| ChangeError::NoTrial(agent.clone()))?;
        let (number, sha256) = (canary.number, canary.agent.digest());
        drop(canary);
        self.set_trial(agent, serving, None, number, sha256, &standing, order)
    }

    /// Records that a version is on trial, or none any more, then lets it handle its share.
    #[expect(
        clippy::too_many_arguments,
        reason = "what is on trial, and what the record says of it"
    )]
    fn set_trial(
        &self,
        agent: &Name,
        serving: u64,
        canary: Option<Canary>,
        number: u64,
        sha256: Digest,
        standing: &Standing,
        order: &Order,
    ) -> Result<Changed, ChangeError> {
        let ground = &self.inner.ground;
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
        let changed = Changed {
            agent: agent.clone(),
            number,
            sha256,
            serving: Some(serving),
            previous,
            canary: trial,
            drained: false,
        };
        let unit = Unit {
            idempotency: once(order, &changed),
            ..unit(agent, changes, body, order, now)
        };
        match ground.store.commit(unit) {
            Ok(_) => {}
            Err(CommitError::Seen(first)) => return again(first, order),
            Err(error) => return Err(error.into()),
        }
        let tried = ground.router.try_out(agent, canary);
        let drained = tried.is_none_or(|tried| drained(&tried, &tried.agent));
        tracing::info!(%agent, number, share = ?trial.map(|trial| trial.share.get()), by = order.by, drained, "canary");
        Ok(Changed { drained, ..changed })
    }
}
