//! What is asked for when a token is made: its form, and what its role demands of names and actions.

use serde::{Deserialize, Deserializer};
use serde_json::Value;
use utoipa::ToSchema;

use ark_model::check::{FieldError, clip_for_error};
use ark_model::ids::{Millis, Name, ParseIdError};
use ark_model::principal::{ActionGrant, ParseGrantError, Role};

use crate::api::http::extract::{RequestBody, read_described};
use crate::api::http::fields::{Actor, MAX_INTEGER, field_schema, integer_field, text_schema};
use crate::watchdog::WATCHDOG_ACTOR;

/// The most names a token is bound to.
const MAX_NAMES: usize = 64;
/// The most actions a token grants, one by one.
const MAX_ACTIONS: usize = 64;
/// What every reader of a grant's text accepts; whether the action type is known is asked apart.
const GRANT: &str = r"^(\*|family:(trade|close_position|data|file|code|message|system|custom)|[a-z][a-z0-9_.-]{0,63})$";

/// The name of a new token.
#[derive(Debug, Clone)]
struct TokenName(Name);

impl<'de> Deserialize<'de> for TokenName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let name = Name::deserialize(deserializer)?;
        if name.as_str() == WATCHDOG_ACTOR {
            let given = serde::de::Unexpected::Str(WATCHDOG_ACTOR);
            let form = "another name: this one is the watchdog's";
            return Err(serde::de::Error::invalid_value(given, &form));
        }
        Ok(Self(name))
    }
}

field_schema! {
    /// The name of a new token, which no other token has or had.
    TokenName => text_schema(1..=64, Some("^(?!watchdog$)[a-z][a-z0-9_-]{0,63}$"))
}

/// A grant of actions.
#[derive(Debug, Clone)]
struct GrantText(ActionGrant);

impl<'de> Deserialize<'de> for GrantText {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map(Self).map_err(|_| {
            let given = serde::de::Unexpected::Str(&text);
            let form = "*, an action type, or a family as family:trade";
            serde::de::Error::invalid_value(given, &form)
        })
    }
}

field_schema! {
    /// Actions that a submitter may propose: `*` for all, an action type, or a family as `family:trade`.
    GrantText => text_schema(1..=64, Some(GRANT))
}

integer_field! {
    /// A moment to come, in milliseconds since 1970 (UTC).
    ExpiryMoment("milliseconds since 1970 (UTC)", 1..=MAX_INTEGER)
}

/// The role of a token that is bound to names.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum BoundRole {
    Submitter,
}

/// The role of a token that is bound to no names.
#[derive(Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum FreeRole {
    Reader,
    Executor,
    Approver,
    Operator,
    Admin,
}

impl From<FreeRole> for Role {
    fn from(role: FreeRole) -> Self {
        match role {
            FreeRole::Reader => Self::Reader,
            FreeRole::Executor => Self::Executor,
            FreeRole::Approver => Self::Approver,
            FreeRole::Operator => Self::Operator,
            FreeRole::Admin => Self::Admin,
        }
    }
}

/// A token of a submitter, bound to the names it may propose in.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitterToken {
    /// Its name, which no other token has or had.
    name: TokenName,
    /// Its role.
    #[serde(rename = "role")]
    _role: BoundRole,
    /// In whose names it may propose.
    #[schema(min_items = 1, max_items = 64)]
    agents: Vec<Name>,
    /// Which actions it may propose: `["*"]` for all, or action types and families. An empty list: none.
    #[schema(max_items = 64)]
    actions: Vec<GrantText>,
    /// When it ends, in milliseconds since 1970 (UTC): a moment to come; if left out, never.
    expires_at_ms: Option<ExpiryMoment>,
    by: Option<Actor>,
}

/// A token of any other role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct FreeToken {
    /// Its name, which no other token has or had.
    name: TokenName,
    /// Its role.
    role: FreeRole,
    /// None: they bind a submitter.
    #[schema(max_items = 0)]
    agents: Option<Vec<Name>>,
    /// None: they limit a submitter.
    #[schema(max_items = 0)]
    actions: Option<Vec<GrantText>>,
    /// When it ends, in milliseconds since 1970 (UTC): a moment to come; if left out, never.
    expires_at_ms: Option<ExpiryMoment>,
    by: Option<Actor>,
}

/// A token.
#[derive(ToSchema)]
#[serde(untagged)]
pub(super) enum TokenRequest {
    Submitter(SubmitterToken),
    Free(FreeToken),
}

impl RequestBody for TokenRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let role = document.get("role").and_then(Value::as_str);
        if let Some(given) = role
            && Role::parse(given).is_none()
        {
            let problem = format!("is {:?}", clip_for_error(given));
            let remedy = "give reader, submitter, executor, approver, operator or admin";
            return Err(FieldError::new("role", problem, remedy));
        }
        if role == Some(Role::Submitter.as_str()) {
            let form: SubmitterToken = read_described(document)?;
            check_binding(Role::Submitter, form.agents.len())?;
            check_grants(Role::Submitter, Some(form.actions.len()))?;
            Ok(Self::Submitter(form))
        } else {
            let form: FreeToken = read_described(document)?;
            let names = form.agents.as_ref().map_or(0, Vec::len);
            check_binding(form.role.into(), names)?;
            check_grants(form.role.into(), form.actions.as_ref().map(Vec::len))?;
            Ok(Self::Free(form))
        }
    }
}

/// A token to be made.
pub(super) struct TokenOrder {
    pub(super) name: Name,
    pub(super) role: Role,
    pub(super) agents: Vec<Name>,
    pub(super) actions: Vec<ActionGrant>,
    pub(super) expires_at: Option<Millis>,
    pub(super) by: Option<Actor>,
}

impl From<TokenRequest> for TokenOrder {
    fn from(request: TokenRequest) -> Self {
        let expiry = |moment: Option<ExpiryMoment>| moment.map(|moment| Millis(moment.into()));
        match request {
            TokenRequest::Submitter(form) => Self {
                name: form.name.0,
                role: Role::Submitter,
                agents: form.agents,
                actions: form.actions.into_iter().map(|grant| grant.0).collect(),
                expires_at: expiry(form.expires_at_ms),
                by: form.by,
            },
            TokenRequest::Free(form) => Self {
                name: form.name.0,
                role: form.role.into(),
                agents: Vec::new(),
                actions: Vec::new(),
                expires_at: expiry(form.expires_at_ms),
                by: form.by,
            },
        }
    }
}

/// Checks how many names a token is bound to: 1 to 64 for a submitter, none for any other role.
fn check_binding(role: Role, names: usize) -> Result<(), FieldError> {
    let (problem, remedy) = match (role, names) {
        (Role::Submitter, 0) => (
            "is missing".to_owned(),
            "name the agents in whose names it may propose",
        ),
        (Role::Submitter, 1..=MAX_NAMES) => return Ok(()),
        (Role::Submitter, _) => (format!("has {names} names"), "give 64 at most"),
        (_, 0) => return Ok(()),
        (role, _) => (
            format!("is given with the role {}", role.as_str()),
            "leave it out: it binds a submitter",
        ),
    };
    Err(FieldError::new("agents", problem, remedy))
}

/// The names a token is bound to: a submitter's, and no other's.
///
/// # Errors
/// They are too few or too many for the role, or one is malformed.
pub fn agents_of(role: Role, agents: &[String]) -> Result<Vec<Name>, FieldError> {
    check_binding(role, agents.len())?;
    agents
        .iter()
        .map(|agent| {
            agent.parse().map_err(|error: ParseIdError| {
                let problem = format!("has {:?}", clip_for_error(agent));
                FieldError::new("agents", problem, format!("give {}", error.form()))
            })
        })
        .collect()
}

/// Checks how many actions a token grants: up to 64 for a submitter, who must state them, none for any other role.
fn check_grants(role: Role, grants: Option<usize>) -> Result<(), FieldError> {
    let (problem, remedy) = match (role, grants) {
        (Role::Submitter, None) => (
            "is missing".to_owned(),
            "give [\"*\"] for all, or the action types and families it may propose",
        ),
        (Role::Submitter, Some(0..=MAX_ACTIONS)) | (_, None | Some(0)) => return Ok(()),
        (Role::Submitter, Some(grants)) => (
            format!("has {grants} entries"),
            "give 64 at most; a family covers all its types",
        ),
        (role, Some(_)) => (
            format!("is given with the role {}", role.as_str()),
            "leave it out: it limits a submitter",
        ),
    };
    Err(FieldError::new("actions", problem, remedy))
}

/// The actions that a token grants: a submitter's, who must state them, and no other's.
///
/// # Errors
/// They are missing, are too many, are given for another role, or one is malformed.
pub fn grants_of(role: Role, grants: Option<&[String]>) -> Result<Vec<ActionGrant>, FieldError> {
    check_grants(role, grants.map(<[String]>::len))?;
    grants
        .unwrap_or_default()
        .iter()
        .map(|grant| {
            grant.parse().map_err(|error: ParseGrantError| {
                let problem = format!("has {:?}", clip_for_error(grant));
                FieldError::new("actions", problem, error.to_string())
            })
        })
        .collect()
}
