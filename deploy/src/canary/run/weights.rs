//! The weights by which `HAProxy` gives the front its share of the requests, and those of before on a way back.
//!
//! Invariants: weights that an operator sees to are left alone, whatever is asked here; the only server that is up keeps its weight.
//!
//! Must not know: why a share is given or taken back, how long it is kept.

use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

use serde_json::json;

use crate::canary::error::CanaryError;
use crate::canary::journal::CanaryState;
use crate::exchange::traffic::{
    keep_only_server, list_left_out, list_weights, set_weights, weigh_servers,
};
use crate::haproxy::{HaproxyClient, HaproxyError};

use super::HostCanary;

/// How long another server may take to be up before the front of the new version keeps its requests on a way back.
const OTHER_SERVER_PATIENCE: Duration = Duration::from_secs(10);
/// The pause between two looks.
const TICK: Duration = Duration::from_millis(200);

/// The weights that give a share.
#[derive(Debug, Clone)]
pub(super) struct GivenShare {
    pub(super) weights: BTreeMap<String, u32>,
    /// The servers that are not counted, since they get no requests.
    pub(super) left_out: BTreeSet<String>,
}

/// What becomes of the weights of `HAProxy` on a way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum WeightReturn {
    /// They must be those of before.
    Needed,
    /// They are set if `HAProxy` takes them.
    Tried,
    /// An operator sees to them.
    Left,
}

/// Refuses `--leave-weights` for a canary that goes on to give shares.
pub(in crate::canary) fn check_left_weights(
    state: &CanaryState,
    leaves_weights: bool,
) -> Result<(), CanaryError> {
    if leaves_weights && state.going_back.is_none() && !state.was_stopped {
        return Err(CanaryError::LeftWeights);
    }
    Ok(())
}

impl HostCanary<'_> {
    /// Gives the front the share that it has by the journal, of the servers that get requests now. `None`: an operator sees to the weights.
    pub(super) fn weigh_share(&self) -> Result<Option<GivenShare>, CanaryError> {
        let plan = &self.begin.plan;
        if self.weights == WeightReturn::Left {
            return Ok(None);
        }
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        let left_out = list_left_out(&haproxy.show_servers(&plan.backend)?, &plan.server);
        let share = self.state.share_pct;
        let weights = weigh_servers(&self.begin.weights, &left_out, &plan.server, share);
        set_weights(&haproxy, &plan.backend, &weights)?;
        Ok(Some(GivenShare { weights, left_out }))
    }

    /// Gives the servers the weights of before again, unless they are left alone.
    pub(super) fn return_weights(&self) -> Result<(), CanaryError> {
        let plan = &self.begin.plan;
        if self.weights == WeightReturn::Left {
            return Ok(());
        }
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        let before = &self.begin.weights;
        let failed = |cause: HaproxyError| CanaryError::Weights {
            weights: list_weights(before),
            cause,
        };
        let ends = Instant::now() + OTHER_SERVER_PATIENCE;
        loop {
            let now = haproxy.show_servers(&plan.backend).map_err(failed)?;
            // The others have their weights at once, so that the first one that is up gets requests.
            let kept = keep_only_server(before, &plan.server, &now);
            let weights = kept.as_ref().unwrap_or(before);
            set_weights(&haproxy, &plan.backend, weights).map_err(failed)?;
            if kept.is_none() {
                return Ok(());
            }
            if Instant::now() >= ends {
                return Err(CanaryError::OnlyServer {
                    server: plan.server.clone(),
                    backend: plan.backend.clone(),
                    weights: list_weights(before),
                });
            }
            std::thread::sleep(TICK);
        }
    }

    /// What is to be done by hand about weights that were left alone, or that could not be set, as it is told and reported.
    pub(super) fn note_unweighed(&mut self, problem: Option<String>) -> Option<String> {
        let weights = list_weights(&self.begin.weights);
        let note = match (self.weights, problem) {
            (WeightReturn::Left, _) => format!(
                "the weights were left as they are (--leave-weights); before the canary they were {weights}"
            ),
            (_, Some(problem)) => problem,
            (_, None) => return None,
        };
        (self.tell)("unweighed", json!({"reason": note}));
        Some(note)
    }
}
