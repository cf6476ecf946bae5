//! What each agent does. An agent has a meter from the first time it is named; names are those of agents that are or were loaded.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use crate::control::Cause;
use crate::decision::Outcome;
use crate::ids::Name;

use super::{Count, Peak};

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
pub const CAUSES: [Cause; 5] = [
    Cause::ConsecutiveFailures,
    Cause::FailureRate,
    Cause::Latency,
    Cause::MissedHeartbeats,
    Cause::Operator,
];

/// What one agent does.
#[derive(Debug, Default)]
pub struct AgentMeter {
    /// Invocations that were committed.
    pub succeeded: Count,
    /// Invocations that failed.
    pub failed: Count,
    /// Fuel used.
    pub fuel: Count,
    /// Nanoseconds from a worker's start to the commit, of all invocations.
    pub busy_nanos: Count,
    /// The most memory an invocation held, in bytes.
    pub memory_peak: Peak,
    /// Heartbeats it did not give in time.
    pub heartbeats_missed: Count,
    /// Quarantines, as in [`CAUSES`].
    pub quarantines: [Count; 5],
    /// Decisions on what it proposed: approved, held, denied.
    pub decisions: [Count; 3],
    /// Invocations that failed, by what ended them: the kinds of the runtime, which are few.
    failures: Mutex<BTreeMap<&'static str, u64>>,
}

impl AgentMeter {
    /// Notes an invocation that failed, and what ended it.
    pub fn failed_by(&self, reason: &'static str) {
        self.failed.one();
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
    pub fn quarantined(&self, cause: Cause) {
        let place = CAUSES.iter().position(|known| *known == cause);
        if let Some(count) = place.and_then(|place| self.quarantines.get(place)) {
            count.one();
        }
    }

    /// Notes a decision.
    pub fn decided(&self, outcome: Outcome) {
        let [approved, held, denied] = &self.decisions;
        match outcome {
            Outcome::Approved => approved.one(),
            Outcome::Held => held.one(),
            Outcome::Denied => denied.one(),
        }
    }
}

type Key = (Name, Deployment);

/// The meters of all agents.
#[derive(Debug, Default)]
pub struct AgentMeters {
    meters: RwLock<BTreeMap<Key, Arc<AgentMeter>>>,
}

impl AgentMeters {
    /// The meter of an agent's stable deployment; made when there is none yet. Only for agents that are loaded: each has rows of its own
    /// wherever numbers are shown.
    #[must_use]
    pub fn of(&self, agent: &Name) -> Arc<AgentMeter> {
        self.deployed(agent, Deployment::Stable)
    }

    /// The meter of a deployment of an agent.
    #[must_use]
    pub fn deployed(&self, agent: &Name, deployment: Deployment) -> Arc<AgentMeter> {
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
    pub fn known(&self, agent: &Name, deployment: Deployment) -> Option<Arc<AgentMeter>> {
        self.meters
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(&(agent.clone(), deployment))
            .cloned()
    }

    /// All of them, by name.
    #[must_use]
    pub fn all(&self) -> Vec<(Name, Deployment, Arc<AgentMeter>)> {
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
        meters.of(&name).succeeded.add(2);
        meters.deployed(&name, Deployment::Canary).succeeded.one();
        meters.of(&name).failed_by("fuel");
        meters.of(&name).quarantined(Cause::Latency);
        let counts: Vec<_> = meters
            .all()
            .into_iter()
            .map(|(_, deployment, meter)| (deployment.as_str(), meter.succeeded.get()))
            .collect();
        assert_eq!(counts, [("stable", 2), ("canary", 1)]);
        let stable = meters.known(&name, Deployment::Stable).unwrap();
        assert_eq!(
            (stable.failures(), stable.failed.get()),
            (vec![("fuel", 1)], 1)
        );
        assert_eq!(stable.quarantines[2].get(), 1);
        let joey = "joey".parse().unwrap();
        assert!(meters.known(&joey, Deployment::Stable).is_none());
    }
}
