//! What is asked and answered about agents' state. Secrets are masked.

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};

use crate::api::http::extract::{RequestBody, read_described, request_body};
use crate::api::http::fields::{
    Actor, JsonValue, Key, MAX_INTEGER, Moment, RevisionNumber, integer_field,
};
use crate::api::http::pagination::Limit;
use crate::api::http::respond::parse_stored_json;
use ark_model::check::FieldError;
use ark_model::ids::{Millis, Name, TraceId};
use ark_store::{Content, Revision};

/// What is shown in the place of a secret.
const MASK: &str = "********";

/// A key of an agent in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
pub(super) struct StatePath {
    /// The agent.
    pub(super) agent: Name,
    /// The key, as one segment: `/` in it is written %2F.
    #[param(inline)]
    pub(super) key: Key,
}

impl StatePath {
    pub(super) fn into_parts(self) -> (Name, String) {
        (self.agent, self.key.into())
    }
}

/// Which keys of an agent.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct KeysQuery {
    /// Only keys that start with this.
    pub(super) prefix: Option<String>,
    /// Whether the values are listed, too.
    pub(super) values: Option<bool>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    pub(super) limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    pub(super) cursor: Option<String>,
}

/// Which revision of a value.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct ValueQuery {
    /// This revision.
    #[param(inline)]
    pub(super) revision: Option<RevisionNumber>,
    /// As it was then, in milliseconds since 1970 (UTC). In place of `revision`.
    #[param(inline)]
    pub(super) at_ms: Option<Moment>,
}

/// A value of an agent's state.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct StateRequest {
    /// Any JSON value, nested 127 deep at most; integers of more than 64 bits are refused. To take a key away, use DELETE.
    pub(super) value: JsonValue,
    /// The revision that must still be the latest; 0: there must be none. In place of `If-Match` or `If-None-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    pub(super) updated_by: Option<Actor>,
}

integer_field! {
    /// A number of revisions, 1 or more.
    RevisionSteps("1 or more", 1..=MAX_INTEGER)
}

/// So many revisions back.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackSteps {
    /// How many revisions back.
    pub(super) steps: RevisionSteps,
    /// The revision that must still be the latest. In place of `If-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    pub(super) updated_by: Option<Actor>,
}

/// Back to a revision.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RollbackToRevision {
    /// Its number.
    pub(super) to_revision: RevisionNumber,
    /// The revision that must still be the latest. In place of `If-Match`.
    pub(super) expected_revision: Option<RevisionNumber>,
    pub(super) updated_by: Option<Actor>,
}

/// Where to go back to.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum RollbackRequest {
    Steps(RollbackSteps),
    Revision(RollbackToRevision),
}

impl RequestBody for RollbackRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let has = |field: &str| document.get(field).is_some_and(|value| !value.is_null());
        match (has("steps"), has("to_revision")) {
            (true, false) => read_described(document).map(Self::Steps),
            (false, true) => read_described(document).map(Self::Revision),
            (_, _) if !document.is_object() => read_described(document).map(Self::Steps),
            (both, _) => Err(FieldError::new(
                "to_revision",
                if both {
                    "is given together with steps"
                } else {
                    "and steps are missing"
                },
                "give steps (how many revisions back) or to_revision (its number)",
            )),
        }
    }
}

request_body!(StateRequest);

/// A page of agents that have state, by name.
#[derive(Serialize, ToSchema)]
pub(super) struct StateAgents {
    pub(super) agents: Vec<Name>,
    /// The cursor of the next page, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// A page of an agent's keys.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyPage {
    pub(super) agent: Name,
    pub(super) keys: Vec<KeyLine>,
    /// The cursor of the next page, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// A key.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyLine {
    pub(super) key: String,
    pub(super) revision: u64,
    pub(super) at_ms: Millis,
    /// Its value, where it was asked for; of a secret a mask.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) value: Option<Value>,
    /// Whether it is a secret, where the value was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) secret: Option<bool>,
}

/// A revision of a value.
#[derive(Serialize, ToSchema)]
pub(super) struct StateRevision {
    revision: u64,
    /// Any JSON value; of a secret a mask.
    value: Value,
    secret: bool,
    deleted: bool,
    at_ms: Millis,
    trace_id: Option<TraceId>,
    written_by: String,
}

/// A value with its agent and key.
#[derive(Serialize, ToSchema)]
pub(super) struct StateValue {
    pub(super) agent: Name,
    pub(super) key: String,
    #[serde(flatten)]
    pub(super) revision: StateRevision,
}

/// A page of revisions, newest first.
#[derive(Serialize, ToSchema)]
pub(super) struct StateHistory {
    pub(super) agent: Name,
    pub(super) key: String,
    pub(super) revisions: Vec<StateRevision>,
    /// The cursor of the next page, if there may be one.
    pub(super) next_cursor: Option<String>,
}

/// A change that is on disk.
#[derive(Serialize, ToSchema)]
pub(super) struct StateChanged {
    pub(super) agent: Name,
    pub(super) key: String,
    /// The revision that the change made.
    pub(super) revision: u64,
}

/// The value that is shown, whether it is a secret, and whether it is deleted.
pub(super) fn show_content(content: &Content) -> (Value, bool, bool) {
    match content {
        Content::Plain(text) => (parse_stored_json(text), false, false),
        Content::Secret => (json!(MASK), true, false),
        Content::Deleted => (Value::Null, false, true),
    }
}

impl From<&Revision> for StateRevision {
    fn from(revision: &Revision) -> Self {
        let (value, secret, deleted) = show_content(&revision.content);
        Self {
            revision: revision.revision,
            value,
            secret,
            deleted,
            at_ms: revision.at,
            trace_id: revision.trace_id,
            written_by: revision.origin.clone(),
        }
    }
}
