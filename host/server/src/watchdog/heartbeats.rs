//! Heartbeats: each agent is asked in a fresh instance, under its own limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use crate::hrm::LiveServices;
use ark_model::control::{Alert, AlertSeverity};
use ark_model::ids::{Millis, TraceId};
use ark_runtime::Agent;

use super::{Inner, lock};

/// Heartbeats are taken by so many threads at a time.
const HEARTBEAT_THREADS: usize = 4;

impl Inner {
    /// Asks every agent that is not in quarantine. A heart that hangs holds up one of a few threads until its deadline.
    pub(super) fn take_heartbeats(&self) {
        let all = self.agents.load_full();
        let agents: Vec<&Arc<Agent>> = all
            .iter()
            .filter(|agent| !self.deps.guards.is_quarantined(&agent.manifest().name))
            .collect();
        let next = AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..HEARTBEAT_THREADS.min(agents.len()) {
                scope.spawn(|| {
                    while let Some(agent) = agents.get(next.fetch_add(1, Ordering::Relaxed)) {
                        self.take_heartbeat(agent);
                    }
                });
            }
        });
    }

    fn take_heartbeat(&self, agent: &Arc<Agent>) {
        let name = &agent.manifest().name;
        let services = LiveServices {
            hrm: self.deps.hrm.clone(),
            store: self.deps.store.clone(),
            manifest: Arc::clone(agent.manifest()),
            trace_id: TraceId::fresh(),
            causal_depth: 0,
        };
        let budget = self.config.heartbeat_deadline.min(agent.limits().deadline);
        let missed = match agent.check_heartbeat(Arc::new(services), Instant::now() + budget) {
            Ok(()) => None,
            // The host had no room: that says nothing of the agent.
            Err(failure) if !failure.is_agents_fault() => return,
            Err(failure) => Some(failure.to_string()),
        };
        let Some(health) = self.health_of(name) else {
            return;
        };
        let serving = self.agents.load();
        if !serving.iter().any(|serving| Arc::ptr_eq(serving, agent)) {
            return;
        }
        let breach = lock(&health).record_heartbeat(
            missed.as_deref(),
            &self.thresholds.load(),
            Instant::now(),
        );
        if let Some(reason) = missed {
            self.deps
                .meters
                .agents
                .for_agent(name)
                .heartbeats_missed
                .increment();
            tracing::warn!(agent = %name, reason, "heartbeat missed");
            self.raise_alert(Alert {
                at_ms: Millis::now(),
                severity: AlertSeverity::Warning,
                kind: "heartbeat_missed".to_owned(),
                agent: Some(name.clone()),
                message: reason,
                observed: None,
                limit: None,
            });
        }
        if let Some(breach) = breach {
            self.order_quarantine(name, breach);
        }
    }
}
