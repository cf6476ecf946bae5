//! Bearer tokens: `/v1/tokens`. A secret is answered once, when its token is made.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::check::FieldError;
use ark_model::form::Fields;
use ark_model::ids::{Millis, Name};
use ark_model::principal::{Principal, Role};
use ark_store::{NewToken, Operation, OperatorChange, TokenChange, TokenRow, TokenSecret, Unit};

use super::envelope::by_of;
use super::exchange::{
    Asked, json_answer, not_a, parsed, path_text, query_of, read_json, trace_of,
};
use super::openapi::{Described, KeyPageQuery, RevokedBy};
use super::operating::{limit_of, next_of, whole};
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// The most names a token is bound to.
const NAMES: usize = 64;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(list, create))
        .routes(routes!(revoke))
}

/// A token as it is shown: without its hash.
#[derive(Serialize, ToSchema)]
#[schema(as = Token)]
pub struct TokenShown {
    name: Name,
    role: Role,
    /// In whose names it may propose.
    agents: Vec<Name>,
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
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A token that was made.
#[derive(Serialize, ToSchema)]
struct TokenMade {
    name: Name,
    role: Role,
    agents: Vec<Name>,
    expires_at_ms: Option<Millis>,
    /// The secret. It is shown this once.
    token: String,
}

/// A token that is taken no more.
#[derive(Serialize, ToSchema)]
struct TokenRevoked {
    name: Name,
    status: &'static str,
}

/// A token as it is shown.
pub fn token_view(row: &TokenRow, now: Millis) -> TokenShown {
    TokenShown {
        name: row.name.clone(),
        role: row.role,
        agents: row.agents.clone(),
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
async fn list(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let limit = limit_of(&query)?;
    let mut rows = off_reactor(&api, |api| api.store.all_tokens()).await??;
    rows.sort_by(|one, other| one.name.cmp(&other.name));
    if let Some(after) = query.get("cursor") {
        rows.retain(|row| row.name.as_str() > after.as_str());
    }
    rows.truncate(limit as usize);
    let now = Millis::now();
    let page = TokenPage {
        tokens: rows.iter().map(|row| token_view(row, now)).collect(),
        next_cursor: next_of(&rows, limit, |row| row.name.to_string()),
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Makes a token
///
/// Its secret is answered this once. There is no idempotency key, since a secret cannot be answered again: a repetition is refused, since the
/// name is taken. On a host without tokens whoever reaches it makes the first, which must be an administrator's.
#[utoipa::path(post, path = "/v1/tokens", operation_id = "make_token", tag = "tokens",
    request_body = ref("#/components/schemas/TokenRequest"),
    responses(
        (status = 201, description = "It is in force.", body = TokenMade),
        (status = 409, description = "The name is taken, the first token is no administrator's, or there are too many."),
        (status = 422, description = "It would end in the past."),
    ))]
async fn create(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let mut fields = Fields::from_document(read_json(&headers, body).await?, "")?;
    let named = "give 1 to 64 of a-z, 0-9, - and _, starting with a letter";
    let name: Name = parsed(&mut fields, "name", named)?
        .ok_or_else(|| FieldError::new("name", "is missing", named))?;
    if name.as_str() == crate::watchdog::WATCHDOG_ACTOR {
        return Err(not_a("name", name.as_str(), "give another name"));
    }
    let roles = "give reader, submitter, approver, operator or admin";
    let role = fields.required_text("role", roles)?;
    let role = Role::parse(&role).ok_or_else(|| not_a("role", &role, roles))?;
    let agents = agents_of(role, &fields.take_texts("agents")?)?;
    let expires_at = whole(&mut fields, "expires_at_ms")?.map(Millis);
    let now = Millis::now();
    if let Some(end) = expires_at
        && end <= now
    {
        let remedy = "give a moment to come, in milliseconds since 1970 (UTC), or leave it out";
        let problem = format!("is {}", end.0);
        let error = FieldError::new("expires_at_ms", problem, remedy);
        return Err(Problem::contradiction(&error));
    }
    let by = by_of(&principal, "by", fields.take_text("by")?)?;
    fields.reject_unknown()?;
    let secret =
        TokenSecret::generate().map_err(|error| Problem::unavailable(error.to_string()))?;
    let change = TokenChange::Create(NewToken {
        name: name.clone(),
        hash: secret.hash(),
        role,
        agents: agents.clone(),
        expires_at,
        unproved: !principal.authenticated,
    });
    record(&api, &headers, by, change).await?;
    off_reactor(&api, |api| api.auth.reload()).await??;
    let mut response = json_answer(
        StatusCode::CREATED,
        None,
        &TokenMade {
            name,
            role,
            agents,
            expires_at_ms: expires_at,
            token: secret.reveal().to_owned(),
        },
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The names a token is bound to: a submitter's, and no other's.
pub fn agents_of(role: Role, agents: &[String]) -> Result<Vec<Name>, FieldError> {
    let refused = |problem: String, remedy: &str| FieldError::new("agents", problem, remedy);
    match role {
        Role::Submitter if agents.is_empty() => {
            let remedy = "name the agents in whose names it may propose";
            return Err(refused("are missing".to_owned(), remedy));
        }
        Role::Submitter if agents.len() > NAMES => {
            return Err(refused(format!("are {}", agents.len()), "give 64 at most"));
        }
        Role::Submitter => {}
        _ if !agents.is_empty() => {
            let problem = format!("are given with the role {}", role.as_str());
            return Err(refused(problem, "leave them out: they bind a submitter"));
        }
        _ => {}
    }
    agents
        .iter()
        .map(|agent| {
            agent
                .parse()
                .map_err(|error: ark_model::ids::ParseIdError| {
                    refused(format!("hold {error}"), "give names of agents")
                })
        })
        .collect()
}

/// Revokes a token
///
/// It is taken no more from that moment on, and event streams that it opened end.
#[utoipa::path(delete, path = "/v1/tokens/{name}", operation_id = "revoke_token", tag = "tokens",
    params(("name" = Name, Path, description = "The token."), RevokedBy),
    responses((status = 200, description = "It is revoked.", body = TokenRevoked)))]
async fn revoke(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let text = path_text(name)?;
    let name: Name = text
        .parse()
        .map_err(|_| not_a("name", &text, "give a token's name"))?;
    let query = query_of(query, &["by"])?;
    let by = by_of(&principal, "by", query.get("by").cloned())?;
    api.auth.shut_out(&name);
    if let Err(problem) = record(&api, &headers, by, TokenChange::Revoke(name.clone())).await {
        // It is not on disk, so it does not count. If that cannot be read, it stays shut out.
        off_reactor(&api, |api| api.auth.reload()).await??;
        return Err(problem);
    }
    // Once more: the token may have been read again while the revocation was on its way to the disk.
    api.auth.shut_out(&name);
    Ok(json_answer(
        StatusCode::OK,
        None,
        &TokenRevoked {
            name,
            status: "revoked",
        },
    ))
}

async fn record(
    api: &Arc<Api>,
    headers: &HeaderMap,
    by: String,
    change: TokenChange,
) -> Result<(), Problem> {
    let unit = Unit {
        operations: vec![Operation {
            by,
            change: OperatorChange::Token(change),
        }],
        trace_id: Some(trace_of(headers, None)?),
        at: Millis::now(),
        ..Unit::default()
    };
    let (reply, answer) = oneshot::channel();
    api.store
        .submit(unit, Box::new(move |result| drop(reply.send(result))))
        .map_err(|(error, _)| error)?;
    answer
        .await
        .map_err(|_| Problem::unavailable("the store is closed"))??;
    Ok(())
}
