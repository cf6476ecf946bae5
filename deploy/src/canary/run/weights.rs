//! The weights by which `HAProxy` gives the front its share of the requests, and those of before on a way back.
//!
//! Invariant: weights that an operator sees to are left alone, whatever is asked here.
//!
//! Must not know: why a share is given or taken back, how long it is kept.

use std::collections::BTreeMap;

use serde_json::json;

use crate::canary::error::CanaryError;
use crate::canary::journal::CanaryState;
use crate::exchange::traffic::{list_weights, set_weights, weigh_servers};
use crate::haproxy::HaproxyClient;

use super::HostCanary;

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
    if leaves_weights && state.going_back.is_none() && state.take_over.is_none() {
        return Err(CanaryError::LeftWeights);
    }
    Ok(())
}

impl HostCanary<'_> {
    /// Gives the front the share that it has by the journal. Returns the weights.
    pub(super) fn weigh_share(&self) -> Result<BTreeMap<String, u32>, CanaryError> {
        let plan = &self.begin.plan;
        let weights = weigh_servers(&self.begin.weights, &plan.server, self.state.share_pct);
        if self.weights == WeightReturn::Left {
            return Ok(weights);
        }
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        set_weights(&haproxy, &plan.backend, &weights)?;
        Ok(weights)
    }

    /// Gives the servers the weights of before again, unless they are left alone.
    pub(super) fn return_weights(&self) -> Result<(), CanaryError> {
        let plan = &self.begin.plan;
        if self.weights == WeightReturn::Left {
            return Ok(());
        }
        let haproxy = HaproxyClient::new(plan.haproxy.clone());
        set_weights(&haproxy, &plan.backend, &self.begin.weights).map_err(|cause| {
            CanaryError::Weights {
                weights: list_weights(&self.begin.weights),
                cause,
            }
        })
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
