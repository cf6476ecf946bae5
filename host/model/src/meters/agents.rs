//! What each agent does. An agent has a meter from the first time it is named; names are those of agents that are or were loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::control::QuarantineCause;
use crate::decision::Outcome;
use crate::ids::Name;

use super::{Counter, Peak};

/// Which deployment of an agent runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Deployment {
    /// The one that everybody gets.
    #[default]
    Stable,
    /// The one on trial.
    Canary,
}

impl Deployment {
    /// As a label.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Stable => "stable",
            Self::Canary => "canary",
        }
    }
}

/// The causes of quarantines, in the order of [`AgentMeter::quarantines`].
pub const QUARANTINE_CAUSES: [QuarantineCause; 5] = [
    QuarantineCause::ConsecutiveFailures,
    QuarantineCause::FailureRate,
    QuarantineCause::Latency,
    QuarantineCause::MissedHeartbeats,
    QuarantineCause::Operator,
];

/// What one agent does.
#[derive(Debug, Default)]
pub struct AgentMeter {
    /// Invocations that were committed.
    pub succeeded: Counter,
    /// Invocations that failed.
    pub failed: Counter,
    /// Fuel used.
    pub fuel: Counter,
    /// Nanoseconds from a worker's start to the commit, of all invocations.
    pub busy_nanos: Counter,
    /// The most memory an invocation held, in bytes.
    pub memory_peak: Peak,
    /// Heartbeats it did not give in time.
    pub heartbeats_missed: Counter,
    /// Quarantines, as in [`CAUSES`].
    pub quarantines: [Counter; 5],
    /// Decisions on what it proposed: approved, held, denied.
    pub decisions: [Counter; 3],
    /// Invocations that failed, by what ended them: the kinds of the runtime, which are few.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl AgentMeter {
    /// Notes an invocation that failed, and what ended it.
    pub fn record_failure(&self, reason: &'static str) {
        self.failed.increment();
        *self
            .failures
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .entry(reason)
            .or_default() += 1;
    }

    /// Invocations that failed, by reason.
    #[must_use]
    pub fn failures(&self) -> Vec<(&'static str, u64)> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures
            .iter()
            .map(|(reason, count)| (*reason, *count))
            .collect()
    }

    /// Notes a quarantine.
    pub fn record_quarantine(&self, cause: QuarantineCause) {
        let place = QUARANTINE_CAUSES.iter().position(|known| *known == cause);
        if let Some(count) = place.and_then(|place| self.quarantines.get(place)) {
            count.increment();
        }
    }

    /// Notes a decision.
    pub fn record_decision(&self, outcome: Outcome) {
        let [approved, held, denied] = &self.decisions;
        match outcome {
            Outcome::Approved => approved.increment(),
            Outcome::Held => held.increment(),
            Outcome::Denied => denied.increment(),
        }
    }
}

type MeterKey = (Name, Deployment);

/// The meters of all agents.
#[derive(Debug, Default)]
pub struct AgentMeters {
    meters: RwLock<BTreeMap<MeterKey, Arc<AgentMeter>>>,
}

impl AgentMeters {
    /// The meter of an agent's stable deployment; made when there is none yet. Only for agents that are loaded: each has rows of its own
    /// wherever numbers are shown.
    #[must_use]
    pub fn for_agent(&self, agent: &Name) -> Arc<AgentMeter> {
        self.for_deployment(agent, Deployment::Stable)
    }

    /// The meter of a deployment of an agent.
    #[must_use]
    pub fn for_deployment(&self, agent: &Name, deployment: Deployment) -> Arc<AgentMeter> {
        let key = (agent.clone(), deployment);
        let known = self.meters.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(meter) = known.get(&key) {
            return Arc::clone(meter);
        }
        drop(known);
        let mut meters = self.meters.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(meters.entry(key).or_default())
    }

    /// The meter of a deployment of an agent, if there is one.
    #[must_use]
    pub fn find_deployment(&self, agent: &Name, deployment: Deployment) -> Option<Arc<AgentMeter>> {
        self.meters
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(agent.clone(), deployment))
            .cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn list_meters(&self) -> Vec<(Name, Deployment, Arc<AgentMeter>)> {
        self.meters
            .read()
            .unwrap_or_else(PoisonError::into_inner)
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
