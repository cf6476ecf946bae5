//! Bearer tokens: `/v1/tokens`. A secret is answered once, when its token is made.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use ark_model::action_types::ActionTypes;
use ark_model::check::FieldError;
use ark_model::ids::{Millis, Name, ParseIdError};
use ark_model::principal::{ActionGrant, ParseGrantError, Role};
use ark_store::{
    AttributedChange, NewToken, OperatorChange, TokenChange, TokenRow, TokenSecret, Unit,
};

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiJson, ApiPath, ApiQuery, NoQuery, RequestBody, read_described};
use crate::api::http::fields::{Actor, MAX_INTEGER, field_schema, integer_field, text_schema};
use crate::api::http::pagination::{KeyPageQuery, next_cursor};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::watchdog::WATCHDOG_ACTOR;

/// The most names a token is bound to.
const MAX_NAMES: usize = 64;
/// The most actions a token grants, one by one.
const MAX_ACTIONS: usize = 64;
/// What every reader of a grant's text accepts; whether the action type is known is asked apart.
const GRANT: &str = r"^(\*|family:(trade|close_position|data|file|code|message|system|custom)|[a-z][a-z0-9_.-]{0,63})$";

pub(crate) fn routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_tokens, create_token))
        .routes(routes!(revoke_token))
}

/// A token in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TokenPath {
    /// The token.
    name: Name,
}

/// Who revokes a token.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct RevokeQuery {
    /// Who does it. With a token its name, which may be left out.
    #[param(inline)]
    by: Option<Actor>,
}

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
struct SubmitterToken {
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
    /// Who makes it. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

/// A token of any other role.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct FreeToken {
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
    /// Who makes it. With a token its name, which may be left out; without one `operator` if left out.
    by: Option<Actor>,
}

/// A token.
#[derive(ToSchema)]
#[serde(untagged)]
enum TokenRequest {
    Submitter(SubmitterToken),
    Free(FreeToken),
}

impl RequestBody for TokenRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let role = document.get("role").and_then(Value::as_str);
        if let Some(given) = role
            && Role::parse(given).is_none()
        {
            let problem = format!("is {:?}", ark_model::check::clip_for_error(given));
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
struct TokenOrder {
    name: Name,
    role: Role,
    agents: Vec<Name>,
    actions: Vec<ActionGrant>,
    expires_at: Option<Millis>,
    by: Option<Actor>,
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

/// A token as it is shown: without its hash.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenShown {
    name: Name,
    role: Role,
    /// In whose names it may propose.
    agents: Vec<Name>,
    /// Which actions a submitter may propose: `*`, action types, and families as `family:trade`.
    #[schema(value_type = Vec<String>)]
    actions: Vec<ActionGrant>,
    /// `live`, `expired` or `revoked`.
    status: &'static str,
    created_by: String,
    created_at_ms: Millis,
    expires_at_ms: Option<Millis>,
    revoked_by: Option<String>,
    revoked_at_ms: Option<Millis>,
}

/// A page of tokens, by name.
#[derive(Serialize, ToSchema)]
struct TokenPage {
    tokens: Vec<TokenShown>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
struct TokenMade {
    name: Name,
    role: Role,
    agents: Vec<Name>,
    #[schema(value_type = Vec<String>)]
    actions: Vec<ActionGrant>,
    expires_at_ms: Option<Millis>,
    /// The secret. It is shown this once.
    token: String,
}

/// A token that is revoked.
#[derive(Serialize, ToSchema)]
struct TokenRevoked {
    name: Name,
    status: &'static str,
    /// The way back where no administrator's token is live any more; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// A token as it is shown.
#[must_use]
pub fn token_view(row: &TokenRow, now: Millis) -> TokenShown {
    TokenShown {
        name: row.name.clone(),
        role: row.role,
        agents: row.agents.clone(),
        actions: row.actions.clone(),
        status: row.status(now),
        created_by: row.created_by.clone(),
        created_at_ms: row.created_at,
        expires_at_ms: row.expires_at,
        revoked_by: row.revoked_by.clone(),
        revoked_at_ms: row.revoked_at,
    }
}

/// Lists the tokens, by name
#[utoipa::path(get, path = "/v1/tokens", operation_id = "list_tokens", tag = "tokens", params(KeyPageQuery),
    responses((status = 200, description = "A page.", body = TokenPage)))]
async fn list_tokens(
    State(api): Shared,
    ApiQuery(query): ApiQuery<KeyPageQuery>,
) -> Result<Response, Problem> {
    let (limit, after) = query.into_parts();
    let mut rows = api.run_blocking(|api| api.store.all_tokens()).await??;
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(after) = after {
        rows.retain(|row| row.name.as_str() > after.as_str());
    }
    rows.truncate(limit as usize);
    let now = Millis::now();
    let page = TokenPage {
        tokens: rows.iter().map(|row| token_view(row, now)).collect(),
        next_cursor: next_cursor(&rows, limit, |row| row.name.to_string()),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Creates a token
///
/// Its secret is answered this once. There is no idempotency key, since a secret cannot be answered again: a repetition is refused, since the
/// name is taken. On a host without tokens anyone who reaches it makes the first, which must be an administrator's.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "make_token", tag = "tokens",
    request_body = TokenRequest,
    responses(
        (status = 201, description = "The token is in force.", body = TokenMade),
        (status = 409, description = "The name is taken, the first token is not an administrator's, or there are too many tokens."),
        (status = 422, description = "The expiry is in the past, or an action type is not known."),
    ))]
async fn create_token(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiJson { form, .. }: ApiJson<TokenRequest>,
) -> Result<Response, Problem> {
    let order = TokenOrder::from(form);
    if let Some(end) = order.expires_at
        && end <= Millis::now()
    {
        let remedy = "give a moment to come, in milliseconds since 1970 (UTC), or leave it out";
        let problem = format!("is {}, which is past", end.0);
        let error = FieldError::new("expires_at_ms", problem, remedy);
        return Err(Problem::contradiction(&error));
    }
    check_known(&api.hrm.action_types(), &order.actions)
        .map_err(|error| Problem::contradiction(&error))?;
    let by = caller.resolve_actor("by", order.by)?;
    let secret =
        TokenSecret::generate().map_err(|error| Problem::unavailable(error.to_string()))?;
    let change = TokenChange::Create(NewToken {
        name: order.name.clone(),
        hash: secret.hash(),
        role: order.role,
        agents: order.agents.clone(),
        actions: order.actions.clone(),
        expires_at: order.expires_at,
        unproved: !caller.principal.authenticated,
    });
    record_change(&api, &caller, by, change).await?;
    api.run_blocking(|api| api.auth.reload()).await??;
    let body = TokenMade {
        name: order.name,
        role: order.role,
        agents: order.agents,
        actions: order.actions,
        expires_at_ms: order.expires_at,
        token: secret.reveal().to_owned(),
    };
    let mut response = json_response(StatusCode::CREATED, None, &body);
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
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
                let problem = format!("has {:?}", ark_model::check::clip_for_error(agent));
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

/// Checks that the types of grants are built in or declared: any other would grant nothing.
fn check_known(action_types: &ActionTypes, grants: &[ActionGrant]) -> Result<(), FieldError> {
    for (index, grant) in grants.iter().enumerate() {
        if let ActionGrant::Type(action_type) = grant {
            action_types.check_known(&format!("actions[{index}]"), action_type)?;
        }
    }
    Ok(())
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
                let problem = format!("has {:?}", ark_model::check::clip_for_error(grant));
                FieldError::new("actions", problem, error.to_string())
            })
        })
        .collect()
}

/// Revokes a token
///
/// It is taken no more from that moment on, and event streams that it opened end.
#[utoipa::path(delete, path = "/v1/tokens/{name}", operation_id = "revoke_token", tag = "tokens", params(TokenPath, RevokeQuery),
    responses((status = 200, description = "The token was revoked.", body = TokenRevoked)))]
async fn revoke_token(
    State(api): Shared,
    caller: Caller,
    ApiPath(TokenPath { name }): ApiPath<TokenPath>,
    ApiQuery(query): ApiQuery<RevokeQuery>,
) -> Result<Response, Problem> {
    let by = caller.resolve_actor("by", query.by)?;
    api.auth.shut_out(&name);
    let change = TokenChange::Revoke(name.clone());
    if let Err(problem) = record_change(&api, &caller, by, change).await {
        // It is not on disk, so it does not count. If that cannot be read, it stays shut out.
        api.run_blocking(|api| api.auth.reload()).await??;
        return Err(problem);
    }
    // Once more: the token may have been read again while the revocation was on its way to the disk.
    api.auth.shut_out(&name);
    // The revocation counts, whether or not the tokens that are left can be read.
    let hint = match api.run_blocking(|api| api.store.all_tokens()).await {
        Ok(Ok(rows)) => advise_on_lockout(&rows, &name, Millis::now()).map(str::to_owned),
        Ok(Err(_)) | Err(_) => None,
    };
    let body = TokenRevoked {
        name,
        status: "revoked",
        hint,
    };
    Ok(json_response(StatusCode::OK, None, &body))
}

/// What to do after the revocation of an administrator's token where none is live any more.
#[must_use]
pub fn advise_on_lockout(rows: &[TokenRow], revoked: &Name, now: Millis) -> Option<&'static str> {
    let is_admin = |row: &TokenRow| row.role == Role::Admin;
    let was_admin = rows.iter().any(|row| is_admin(row) && row.name == *revoked);
    let has_admin = rows
        .iter()
        .any(|row| is_admin(row) && row.status(now) == "live");
    (was_admin && !has_admin).then_some(
        "no administrator's token is live any more, so nobody can make or revoke tokens; the way back: stop the host, and run `ark token create --role admin --name NAME --data-dir DIR` with a name that no token had",
    )
}

async fn record_change(
    api: &Arc<Api>,
    caller: &Caller,
    by: String,
    change: TokenChange,
) -> Result<(), Problem> {
    let unit = Unit {
        operator_changes: vec![AttributedChange {
            by,
            change: OperatorChange::Token(change),
        }],
        trace_id: Some(caller.trace_id),
        at: Millis::now(),
        may_use_reserve: true,
        ..Unit::default()
    };
    api.commit(unit).await??;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A token with its role and whether it is revoked or has expired.
    fn token(name: &str, role: Role, revoked: bool, expired: bool) -> TokenRow {
        TokenRow {
            name: name.parse().unwrap(),
            hash: TokenSecret::generate().unwrap().hash(),
            role,
            agents: Vec::new(),
            actions: Vec::new(),
            created_by: "ada".to_owned(),
            created_at: Millis(0),
            expires_at: expired.then_some(Millis(1)),
            revoked_by: revoked.then(|| "ada".to_owned()),
            revoked_at: revoked.then_some(Millis(1)),
        }
    }

    #[test]
    fn revoking_the_last_administrator_names_the_remedy() {
        let root = || token("root", Role::Admin, true, false);
        for (rows, revoked, expected) in [
            (vec![root()], "root", true),
            (
                vec![root(), token("bot", Role::Operator, false, false)],
                "root",
                true,
            ),
            (
                vec![root(), token("old", Role::Admin, false, true)],
                "root",
                true,
            ),
            (
                vec![root(), token("other", Role::Admin, false, false)],
                "root",
                false,
            ),
            (
                vec![root(), token("bot", Role::Operator, true, false)],
                "bot",
                false,
            ),
        ] {
            let revoked: Name = revoked.parse().unwrap();
            let hint = advise_on_lockout(&rows, &revoked, Millis(2));
            assert_eq!(hint.is_some(), expected, "{rows:?}");
        }
    }
}
