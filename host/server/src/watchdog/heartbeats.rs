//! Heartbeats: each agent's `heartbeat` export is called in a fresh instance, under the agent's limits.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ark_model::ids::TraceId;
use ark_runtime::Agent;

use crate::hrm::redaction::redact_text;
use crate::hrm::{LiveServices, ServiceHandles};

use super::alert_rules;
use super::state::WatchdogState;

/// How many heartbeats are taken at the same time.
const HEARTBEAT_THREADS: usize = 4;

impl WatchdogState {
    /// Takes a heartbeat of every agent that is not in quarantine. One that hangs occupies one of [`HEARTBEAT_THREADS`] threads until its
    /// deadline.
    pub(super) fn take_heartbeats(&self) {
        let all = self.agents.load_full();
        let agents: Vec<&Arc<Agent>> = all
            .iter()
            .filter(|agent| !self.deps.guards.is_quarantined(&agent.manifest().name))
            .collect();
        let next = AtomicUsize::new(0);
        let take_some = || {
            while let Some(agent) = agents.get(next.fetch_add(1, Ordering::Relaxed)) {
                self.take_heartbeat(agent);
            }
        };
        std::thread::scope(|scope| {
            let wanted = HEARTBEAT_THREADS.min(agents.len());
            let started = (0..wanted).take_while(|number| {
                let thread = std::thread::Builder::new().name(format!("ark-beat-{number}"));
                let started = thread.spawn_scoped(scope, take_some);
                if let Err(error) = &started {
                    tracing::warn!(%error, "a thread for heartbeats cannot be started");
                }
                started.is_ok()
            });
            // Under a limit of threads fewer take them, and this one takes those that nobody else does.
            if started.count() < wanted {
                take_some();
            }
        });
    }

    fn take_heartbeat(&self, agent: &Arc<Agent>) {
        let name = &agent.manifest().name;
        let services = LiveServices {
            handles: Arc::new(ServiceHandles {
                hrm: self.deps.hrm.clone(),
                store: self.deps.store.clone(),
            }),
            manifest: Arc::clone(agent.manifest()),
            trace_id: TraceId::fresh(),
            causal_depth: 0,
        };
        let budget = self.config.heartbeat_deadline.min(agent.limits().deadline);
        let missed = match agent.check_heartbeat(Arc::new(services), Instant::now() + budget) {
            Ok(()) => None,
            // The host had no room for the instance: that says nothing about the agent.
            Err(failure) if !failure.is_agents_fault() => return,
            Err(failure) => Some(redact_text(&failure.to_string())),
        };
        #[cfg(feature = "faults")]
        let missed = missed.filter(|_| !crate::faults::has_fault(crate::faults::Fault::HearsAll));
        let Some(health) = self.health_of(name) else {
            return;
        };
        // Another version may have been rolled out while this one was asked.
        let serving = self.agents.load();
        if !serving.iter().any(|serving| Arc::ptr_eq(serving, agent)) {
            return;
        }
        let breach = health.lock().record_heartbeat(
            missed.as_deref(),
            &self.thresholds.load(),
            Instant::now(),
        );
        if let Some(reason) = missed {
            let meter = self.deps.meters.agents.for_agent(name);
            meter.heartbeats_missed.increment();
            tracing::warn!(agent = %name, reason, "heartbeat missed");
            self.raise_agent_alert(&alert_rules::HEARTBEAT_MISSED, name, reason);
        }
        if let Some(breach) = breach {
            self.order_quarantine(name, breach);
        }
    }
}
