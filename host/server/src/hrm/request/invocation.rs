//! What an invocation of an agent wants to have committed.

use std::sync::Arc;
use std::time::Instant;

use ark_model::action::Action;
use ark_model::ids::Name;
use ark_model::meters::Deployment;
use ark_model::signal::Signal;
use ark_model::state::{NewMemory, StateWrite, TruthWrite};

/// An action that an invocation proposes.
#[derive(Debug, Clone)]
pub struct InvocationAction {
    /// The action, checked by [`ark_model::check`].
    pub action: Action,
    /// Why the host itself denies it, e.g. since the manifest does not grant its type. `None`: the policies decide.
    pub refusal: Option<String>,
}

/// The effects of an invocation, committed together with the completion of its delivery, or not at all.
#[derive(Debug, Clone)]
pub struct InvocationCommit {
    /// The agent.
    pub agent: Name,
    /// The signal that was handled.
    pub signal: Arc<Signal>,
    /// The proposed actions, judged in this order.
    pub actions: Vec<InvocationAction>,
    /// Writes to the agent's state.
    pub state: Vec<StateWrite>,
    /// New memories.
    pub memories: Vec<NewMemory>,
    /// Writes to the truth map.
    pub truths: Vec<TruthWrite>,
    /// The moment after which it is no longer committed.
    pub deadline: Instant,
    /// The deployment of the agent that was invoked.
    pub deployment: Deployment,
}
