//! Names in paths.

use serde::Deserialize;
use utoipa::IntoParams;

use ark_model::ids::Name;

/// An agent in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AgentNamePath {
    /// The agent.
    pub(crate) name: Name,
}

/// A webhook in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct WebhookNamePath {
    /// The webhook.
    pub(crate) name: Name,
}

/// A policy in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct PolicyNamePath {
    /// The policy.
    pub(crate) name: Name,
}
