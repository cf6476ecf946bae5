//! The HRM's configuration.

use std::sync::Arc;
use std::time::Duration;

use ark_model::action_types::ActionTypes;
use ark_model::instrument::InstrumentAliases;
use ark_model::meters::HrmMeters;

/// Sizes and durations that the HRM works with.
#[derive(Debug, Clone)]
pub struct HrmConfig {
    /// Proposals that may wait; further ones are refused as busy. One proposer may fill a quarter of it. Requests that reduce risk wait in a
    /// queue of their own, a quarter of this size, which is emptied first.
    pub queue: usize,
    /// How long an approved trade or close keeps its reservation without an execution report.
    pub reservation_ttl: Duration,
    /// How long a held action waits for an approval before it expires.
    pub approval_ttl: Duration,
    /// Held actions that may wait; one agent may have a tenth of them. An action beyond that is denied instead of held.
    pub approvals: usize,
    /// The action types that the operator declares. [`Hrm::set_action_types`](super::Hrm::set_action_types) replaces them.
    pub action_types: ActionTypes,
    /// The operator's names for one and the same instrument or currency.
    pub aliases: InstrumentAliases,
    /// Where counts and times are recorded.
    pub meters: Arc<HrmMeters>,
}
