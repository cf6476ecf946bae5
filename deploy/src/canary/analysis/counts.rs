//! What has been counted at one moment: of the new version's front by Prometheus, of the servers by `HAProxy`.
//!
//! Invariant: they are in the journal, so that what falls between two runs of the command is judged by the next one.
//!
//! Must not know: bounds, tripwires, where a journal is.

use serde::{Deserialize, Serialize};

use crate::haproxy::{HaproxyProcess, ServerStatus};

use super::measure::Figures;

/// What `HAProxy` has counted of one server, or of several in sum, since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::canary) struct ServerCounts {
    pub(in crate::canary) sessions: u64,
    pub(in crate::canary) failures: u64,
    pub(in crate::canary) lost: u64,
    /// What the lost connections are told from, which grow where their difference may not; absent in the journal of an earlier version.
    #[serde(default)]
    pub(in crate::canary) connections: Option<ConnectionCounts>,
}

/// See [`ServerStatus::count_lost_connections`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::canary) struct ConnectionCounts {
    errors: u64,
    redispatched: u64,
    repeated: u64,
}

impl ConnectionCounts {
    /// How many connections were lost in between.
    const fn count_lost_since(self, before: Self) -> u64 {
        let elsewhere = self.redispatched.saturating_sub(before.redispatched);
        let repeated = self.repeated.saturating_sub(before.repeated);
        let errors = self.errors.saturating_sub(before.errors);
        errors.saturating_add(elsewhere.saturating_sub(repeated))
    }
}

impl ServerCounts {
    fn sum_servers(servers: &[ServerStatus]) -> Self {
        let sum = |of: &dyn Fn(&ServerStatus) -> u64| {
            servers
                .iter()
                .fold(0_u64, |sum, server| sum.saturating_add(of(server)))
        };
        Self {
            sessions: sum(&|one| one.sessions),
            failures: sum(&ServerStatus::count_failures),
            lost: sum(&ServerStatus::count_lost_connections),
            connections: Some(ConnectionCounts {
                errors: sum(&|one| one.connection_errors),
                redispatched: sum(&|one| one.redispatched),
                repeated: sum(&|one| one.repeated),
            }),
        }
    }

    /// Nothing counted yet.
    fn from_nothing() -> Self {
        Self {
            connections: Some(ConnectionCounts::default()),
            ..Self::default()
        }
    }

    /// By how much each grew.
    pub(in crate::canary) const fn count_since(self, before: Self) -> Self {
        let lost = match (self.connections, before.connections) {
            (Some(now), Some(before)) => now.count_lost_since(before),
            _ => self.lost.saturating_sub(before.lost),
        };
        Self {
            sessions: self.sessions.saturating_sub(before.sessions),
            failures: self.failures.saturating_sub(before.failures),
            lost,
            connections: None,
        }
    }
}

/// What has been counted at one moment. `None`: there is no such figure. Those of the front count since its process began.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::canary) struct Counts {
    pub(in crate::canary) judged: Option<u64>,
    pub(in crate::canary) denied: Option<u64>,
    pub(in crate::canary) different: Option<u64>,
    pub(in crate::canary) unable: Option<u64>,
    pub(in crate::canary) hindered: Option<u64>,
    /// The front as `HAProxy` counts it.
    pub(in crate::canary) server: ServerCounts,
    /// The other servers of its backend, in sum.
    pub(in crate::canary) others: ServerCounts,
    /// The process of `HAProxy` that counted; `None`: it does not say it, or an earlier version wrote the journal.
    #[serde(default)]
    pub(in crate::canary) haproxy: Option<HaproxyProcess>,
}

impl Counts {
    pub(in crate::canary) fn from_figures(figures: &Figures) -> Self {
        Self {
            judged: figures.judged,
            denied: figures.denied,
            different: figures.different,
            unable: figures.unable,
            hindered: figures.hindered,
            server: ServerCounts::sum_servers(std::slice::from_ref(&figures.server)),
            others: ServerCounts::sum_servers(&figures.others),
            haproxy: figures.haproxy,
        }
    }

    /// Whether another process of `HAProxy` counts by now.
    pub(in crate::canary) fn is_of_other_haproxy(&self, now: &Self) -> bool {
        let both = self.haproxy.zip(now.haproxy);
        both.is_some_and(|(before, now)| before != now)
    }

    /// The same, where `HAProxy` has been started again since and counts from 0.
    pub(in crate::canary) fn forget_servers(&mut self, now: &Self) {
        self.server = ServerCounts::from_nothing();
        self.others = ServerCounts::from_nothing();
        self.haproxy = now.haproxy;
    }

    /// By how much a count grew since `before`; `None`: there is no such figure.
    pub(in crate::canary) fn count_since(
        &self,
        before: &Self,
        of: impl Fn(&Self) -> Option<u64>,
    ) -> Option<u64> {
        Some(of(self)?.saturating_sub(of(before).unwrap_or(0)))
    }
}

#[cfg(test)]
mod tests {
    use crate::fixtures::build_server;

    use super::*;

    /// Of one server: failed connections, requests that another server got, and that were sent again.
    fn count_of([errors, redispatched, repeated]: [u64; 3]) -> ServerCounts {
        ServerCounts::sum_servers(&[ServerStatus {
            connection_errors: errors,
            redispatched,
            repeated,
            ..build_server("canary", 10)
        }])
    }

    #[test]
    fn connections_that_were_lost_in_between_do_not_depend_on_what_was_repeated_before() {
        for (before, now, lost) in [
            ([0, 0, 0], [0, 0, 0], 0),
            ([0, 0, 0], [1, 0, 0], 1),
            ([0, 0, 0], [0, 3, 1], 2),
            // More was repeated before, or since, than another server got.
            ([0, 2, 5], [0, 4, 5], 2),
            ([0, 9, 5], [0, 9, 9], 0),
            ([3, 9, 9], [3, 12, 12], 0),
            ([0, 0, 0], [u64::MAX, u64::MAX, 0], u64::MAX),
        ] {
            let found = count_of(now).count_since(count_of(before)).lost;
            assert_eq!(found, lost, "{before:?} {now:?}");
        }
        // An earlier version noted their difference alone.
        let text = r#"{"sessions": 7, "failures": 0, "lost": 2}"#;
        let earlier: ServerCounts = serde_json::from_str(text).unwrap();
        assert_eq!(count_of([2, 0, 0]).count_since(earlier).lost, 0);
        assert_eq!(count_of([3, 0, 0]).count_since(earlier).lost, 1);
    }
}
