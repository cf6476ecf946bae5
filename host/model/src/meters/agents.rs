//! What each agent does. An agent has a meter from the first time one is asked for; only the names of agents that are or were loaded have one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use crate::control::QuarantineCause;
use crate::decision::Outcome;
use crate::ids::Name;

use super::handles::{Counter, Peak, outcome_counter};

/// The deployment of an agent.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, strum::IntoStaticStr,
)]
#[strum(serialize_all = "snake_case")]
pub enum Deployment {
    /// The version that serves.
    #[default]
    Stable,
    /// The canary beside it.
    Canary,
}

impl Deployment {
    /// Returns the name as a label.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        self.into()
    }
}

/// The causes of quarantines, in the order of [`AgentMeter::quarantines`].
pub const QUARANTINE_CAUSES: [QuarantineCause; 6] = [
    QuarantineCause::ConsecutiveFailures,
    QuarantineCause::FailureRate,
    QuarantineCause::Latency,
    QuarantineCause::MissedHeartbeats,
    QuarantineCause::Quota,
    QuarantineCause::Operator,
];

/// What one agent does.
#[derive(Debug, Default)]
pub struct AgentMeter {
    /// Invocations that were committed.
    pub succeeded: Counter,
    /// Invocations that failed.
    pub failed: Counter,
    /// Fuel used, in units.
    pub fuel: Counter,
    /// Time from the worker's start to the commit, of all invocations, in nanoseconds.
    pub busy_nanos: Counter,
    /// The most memory that an invocation held, in bytes.
    pub memory_peak: Peak,
    /// Heartbeats that failed or came too late.
    pub heartbeats_missed: Counter,
    /// Quarantines, by cause in the order of [`QUARANTINE_CAUSES`].
    pub quarantines: [Counter; 6],
    /// Decisions about the agent's proposals: approved, held, denied.
    pub decisions: [Counter; 3],
    /// Invocations that failed, by the kind of failure. The runtime has few kinds.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl AgentMeter {
    /// Records an invocation that failed, with the kind of failure.
    pub fn record_failure(&self, reason: &'static str) {
        self.failed.increment();
        *self.failures.lock().entry(reason).or_default() += 1;
    }

    /// Returns the invocations that failed, by the kind of failure.
    #[must_use]
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        let failures = self.failures.lock();
        failures
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect()
    }

    /// Records a quarantine.
    pub fn record_quarantine(&self, cause: QuarantineCause) {
        let index = QUARANTINE_CAUSES.iter().position(|known| *known == cause);
        if let Some(count) = index.and_then(|index| self.quarantines.get(index)) {
            count.increment();
        }
    }

    /// Records a decision.
    pub fn record_decision(&self, outcome: Outcome) {
        outcome_counter(&self.decisions, outcome).increment();
    }
}

type MeterKey = (Name, Deployment);

/// The meters of all agents.
#[derive(Debug, Default)]
pub struct AgentMeters {
    meters: RwLock<BTreeMap<MeterKey, Arc<AgentMeter>>>,
}

impl AgentMeters {
    /// Returns the meter of an agent's stable deployment; makes it when there is none yet. Only for agents that are loaded, since each meter has
    /// rows of its own wherever numbers are shown.
    #[must_use]
    pub fn for_agent(&self, agent: &Name) -> Arc<AgentMeter> {
        self.for_deployment(agent, Deployment::Stable)
    }

    /// Returns the meter of a deployment of an agent; makes it when there is none yet.
    #[must_use]
    pub fn for_deployment(&self, agent: &Name, deployment: Deployment) -> Arc<AgentMeter> {
        let key = (agent.clone(), deployment);
        let known = self.meters.read();
        if let Some(meter) = known.get(&key) {
            return Arc::clone(meter);
        }
        drop(known);
        let mut meters = self.meters.write();
        Arc::clone(meters.entry(key).or_default())
    }

    /// Returns the meter of a deployment of an agent, if there is one.
    #[must_use]
    pub fn find_deployment(&self, agent: &Name, deployment: Deployment) -> Option<Arc<AgentMeter>> {
        self.meters
            .read()
            .get(&(agent.clone(), deployment))
            .cloned()
    }

    /// Returns all meters, ordered by name.
    #[must_use]
    pub fn list_meters(&self) -> Vec<(Name, Deployment, Arc<AgentMeter>)> {
        self.meters
            .read()
            .iter()
            .map(|((name, deployment), meter)| (name.clone(), *deployment, Arc::clone(meter)))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deployments_are_counted_apart_and_who_was_never_named_has_no_meter() {
        let meters = AgentMeters::default();
        let name: Name = "kyle".parse().unwrap();
        meters.for_agent(&name).succeeded.add(2);
        meters
            .for_deployment(&name, Deployment::Canary)
            .succeeded
            .increment();
        meters.for_agent(&name).record_failure("fuel");
        meters
            .for_agent(&name)
            .record_quarantine(QuarantineCause::Latency);
        let counts: Vec<_> = meters
            .list_meters()
            .into_iter()
            .map(|(_, deployment, meter)| (deployment.as_str(), meter.succeeded.get()))
            .collect();
        assert_eq!(counts, [("stable", 2), ("canary", 1)]);
        let stable = meters.find_deployment(&name, Deployment::Stable).unwrap();
        assert_eq!(
            (stable.failures(), stable.failed.get()),
            (vec![("fuel", 1)], 1)
        );
        assert_eq!(stable.quarantines[2].get(), 1);
        let joey = "joey".parse().unwrap();
        assert!(meters.find_deployment(&joey, Deployment::Stable).is_none());
    }
}
