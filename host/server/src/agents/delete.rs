//! Deletion: no version of an agent serves any more.

use std::sync::Arc;

use serde_json::json;

use crate::changes::ChangeRequest;
use crate::router::Canary;
use ark_model::ids::{Millis, Name};
use ark_runtime::Agent;
use ark_store::{AgentChange, Receipt, Rollout, Unit};

use super::error::AgentChangeError;
use super::rollout::wait_until_drained;
use super::versions::{AgentStatus, Agents};

impl Agents {
    /// Lets no version of an agent serve any more. Its versions and its state stay. Returns how many deliveries were closed as failed.
    ///
    /// With `force` deliveries that are open are closed as failed in the same commit; without it they are a reason to refuse the deletion.
    ///
    /// # Errors
    /// See [`AgentChangeError`]. The agent serves as before.
    pub fn delete_agent(
        &self,
        agent: &Name,
        force: bool,
        request: &ChangeRequest,
    ) -> Result<u64, AgentChangeError> {
        let _change = self.inner.changes.begin_change();
        let deps = &self.inner.deps;
        let status = self.read_status(agent)?;
        let serving = self.serving_version(agent, &status);
        let waiting = deps.store.pending_count(agent)?;
        if serving.is_none() && waiting == 0 {
            return Err(AgentChangeError::UnknownAgent(agent.clone()));
        }
        check_pending(agent, waiting, force)?;
        let tried = deps.router.set_canary(agent, None);
        let served = deps.router.remove_serving(agent);
        self.update_watchdog(agent);
        let result = self
            .drain_removed(agent, served.as_ref(), tried.as_ref(), force)
            .and_then(|()| self.commit_deletion(agent, serving, waiting, &status, request));
        match result {
            Ok(receipt) => {
                self.inner.changes.count_change(agent);
                let closed = receipt.closed_deliveries;
                let count = usize::try_from(closed).unwrap_or(usize::MAX);
                deps.router.delete_agent(agent, count);
                tracing::info!(%agent, by = request.by, closed, "agent deleted");
                Ok(closed)
            }
            Err(error) => {
                // The agent gets its slot back.
                if let Some(served) = served {
                    deps.router.install_agent(served)?;
                    self.update_watchdog(agent);
                }
                if let Some(tried) = tried {
                    let canary = Canary::new(Arc::clone(&tried.agent), tried.number, tried.share);
                    let _ = deps.router.set_canary(agent, Some(canary));
                }
                Err(error)
            }
        }
    }

    /// Waits for the invocations of the versions that were removed, then checks again for open deliveries: a signal may have been accepted
    /// between the first check and the removal.
    fn drain_removed(
        &self,
        agent: &Name,
        served: Option<&Arc<Agent>>,
        tried: Option<&Arc<Canary>>,
        force: bool,
    ) -> Result<(), AgentChangeError> {
        let Some(served) = served else {
            return Ok(());
        };
        wait_until_drained(served, served);
        if let Some(tried) = tried {
            wait_until_drained(tried, &tried.agent);
        }
        check_pending(agent, self.inner.deps.store.pending_count(agent)?, force)
    }

    fn commit_deletion(
        &self,
        agent: &Name,
        serving: Option<u64>,
        waiting: usize,
        status: &AgentStatus,
        request: &ChangeRequest,
    ) -> Result<Receipt, AgentChangeError> {
        let now = Millis::now();
        let rollout = Rollout {
            agent: agent.clone(),
            serving: None,
            previous: serving.or(status.previous()),
            last_number: status.last_number(),
            canary: None,
            by: request.by.clone(),
            at: now,
        };
        let close = AgentChange::CloseDeliveries {
            agent: agent.clone(),
            at: now,
        };
        let body = json!({"order": "agent.delete", "previous": serving, "waiting": waiting});
        Ok(self.inner.deps.store.commit(Unit {
            may_use_reserve: true,
            audit: vec![request.audit_entry(Some(agent), body, now)],
            agents: vec![AgentChange::Rollout(rollout), close],
            at: now,
            ..Unit::default()
        })?)
    }
}

fn check_pending(agent: &Name, waiting: usize, force: bool) -> Result<(), AgentChangeError> {
    if waiting == 0 || force {
        return Ok(());
    }
    Err(AgentChangeError::PendingDeliveries {
        agent: agent.clone(),
        waiting,
    })
}
