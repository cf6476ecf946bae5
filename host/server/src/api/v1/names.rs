//! Names in requests, and what a caller is told of a name that no agent has, or whose agent is in quarantine.

use serde::Deserialize;
use utoipa::IntoParams;

use ark_model::ids::Name;
use ark_model::similar::find_similar;

use crate::api::http::problem::Problem;
use crate::api::state::Api;

/// An agent in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(crate) struct AgentPath {
    /// The agent.
    pub(crate) agent: Name,
}

/// How many agents a hint names.
const NAMED_AGENTS: usize = 10;

/// There is no agent of this name. `field` is where it was given.
pub(crate) fn unknown_agent(api: &Api, name: &Name, field: &str) -> Problem {
    let serving = api.router.list_serving();
    let known = serving.iter().map(|slot| slot.name.as_str());
    let detail = format!("there is no agent {name}");
    match find_similar(name.as_str(), known) {
        Some(near) => {
            let remedy = format!("did you mean {near}? GET /v1/agents lists them");
            Problem::not_found(detail, field, &remedy)
        }
        None => {
            let remedy = "give the name of an agent that GET /v1/agents lists";
            Problem::not_found(detail, field, remedy)
        }
    }
}

/// What a sender should know of receivers in quarantine, which are handed nothing until they are restored; `None`: no receiver is in quarantine.
pub(crate) fn advise_on_quarantine<'a>(
    api: &Api,
    receivers: impl IntoIterator<Item = &'a Name>,
) -> Option<String> {
    let waiting: Vec<&str> = receivers
        .into_iter()
        .filter(|receiver| api.guards.is_quarantined(receiver))
        .map(Name::as_str)
        .collect();
    let remedy = "POST /v1/agents/{name}/restore";
    match waiting.as_slice() {
        [] => None,
        [one] => Some(format!(
            "{one} is in quarantine: what is delivered to it waits until it is restored: {remedy}"
        )),
        several => {
            let named = several[..several.len().min(NAMED_AGENTS)].join(", ");
            let more = match several.len().saturating_sub(NAMED_AGENTS) {
                0 => String::new(),
                more => format!(" and {more} more"),
            };
            Some(format!(
                "{named}{more} are in quarantine: what is delivered to them waits until they are restored: {remedy}"
            ))
        }
    }
}

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
