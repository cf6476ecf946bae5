//! What has been counted at one moment: of the new version's front by Prometheus, of the servers by `HAProxy`.
//!
//! Invariant: they are in the journal, so that what falls between two runs of the command is judged by the next one.
//!
//! Must not know: bounds, tripwires, where a journal is.

use serde::{Deserialize, Serialize};

use crate::haproxy::ServerStatus;

use super::measure::Figures;

/// What `HAProxy` has counted of one server, or of several in sum, since it started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(in crate::canary) struct ServerCounts {
    pub(in crate::canary) sessions: u64,
    pub(in crate::canary) failures: u64,
    pub(in crate::canary) lost: u64,
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
        }
    }

    /// By how much each grew.
    pub(in crate::canary) const fn count_since(self, before: Self) -> Self {
        Self {
            sessions: self.sessions.saturating_sub(before.sessions),
            failures: self.failures.saturating_sub(before.failures),
            lost: self.lost.saturating_sub(before.lost),
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
        }
    }

    /// The same, where `HAProxy` has been started again since and counts from 0.
    pub(in crate::canary) fn forget_servers(&mut self) {
        self.server = ServerCounts::default();
        self.others = ServerCounts::default();
    }
}
