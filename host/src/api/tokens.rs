//! Bearer tokens: `/v1/tokens`. A secret is answered once, when its token is made.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use axum::routing::{delete, get};
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::model::check::FieldError;
use crate::model::form::Fields;
use crate::model::ids::{Millis, Name};
use crate::model::principal::{Principal, Role};
use crate::store::{NewToken, Operation, OperatorChange, TokenChange, TokenRow, TokenSecret, Unit};

use super::envelope::by_of;
use super::exchange::{
    Asked, json_answer, not_a, parsed, path_text, query_of, read_json, trace_of,
};
use super::operating::whole;
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::{Api, Shared};

/// The most names a token is bound to.
const NAMES: usize = 64;

pub(super) fn routes() -> axum::Router<Arc<Api>> {
    axum::Router::new()
        .route("/v1/tokens", get(list).post(create))
        .route("/v1/tokens/{name}", delete(revoke))
}

/// A token as it is shown: without its hash.
pub(crate) fn token_view(row: &TokenRow, now: Millis) -> Value {
    json!({
        "name": row.name,
        "role": row.role,
        "agents": row.agents,
        "status": row.status(now),
        "created_by": row.created_by,
        "created_at_ms": row.created_at,
        "expires_at_ms": row.expires_at,
        "revoked_by": row.revoked_by,
        "revoked_at_ms": row.revoked_at,
    })
}

/// Role: admin.
async fn list(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let rows = off_reactor(&api, |api| api.store.tokens()).await??;
    let now = Millis::now();
    let tokens: Vec<Value> = rows.iter().map(|row| token_view(row, now)).collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"tokens": tokens}),
    ))
}

/// Makes a token: `name`*, `role`*, `agents` (a submitter's), `expires_at_ms`, `by`. Repeating it is refused, since the name is taken.
/// Role: admin; on a host without tokens whoever reaches it, once, for an admin's token.
async fn create(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let named = "give 1 to 64 of a-z, 0-9, - and _, starting with a letter";
    let name: Name = parsed(&mut fields, "name", named)?
        .ok_or_else(|| FieldError::new("name", "is missing", named))?;
    if name.as_str() == crate::watchdog::WATCHDOG {
        return Err(not_a("name", name.as_str(), "give another name"));
    }
    let roles = "give reader, submitter, approver, operator or admin";
    let role = fields.required_text("role", roles)?;
    let role = Role::parse(&role).ok_or_else(|| not_a("role", &role, roles))?;
    let agents = agents_of(role, &fields.texts("agents")?)?;
    let expires_at = whole(&mut fields, "expires_at_ms")?.map(Millis);
    let now = Millis::now();
    if let Some(end) = expires_at
        && (end <= now || i64::try_from(end.0).is_err())
    {
        let remedy = "give a moment to come, in milliseconds since 1970 (UTC), or leave it out";
        return Err(not_a("expires_at_ms", &end.0.to_string(), remedy));
    }
    let by = by_of(&principal, "by", fields.text("by")?)?;
    fields.finish()?;
    let secret = TokenSecret::fresh().map_err(|error| Problem::unavailable(error.to_string()))?;
    let change = TokenChange::Create(NewToken {
        name: name.clone(),
        hash: secret.hash(),
        role,
        agents: agents.clone(),
        expires_at,
        unproved: !principal.proved,
    });
    record(&api, &headers, by, change).await?;
    off_reactor(&api, |api| api.auth.reload()).await??;
    let mut response = json_answer(
        StatusCode::CREATED,
        None,
        &json!({
            "name": name,
            "role": role,
            "agents": agents,
            "expires_at_ms": expires_at,
            "token": secret.reveal(),
        }),
    );
    response
        .headers_mut()
        .insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// The names a token is bound to: a submitter's, and no other's.
pub(crate) fn agents_of(role: Role, agents: &[String]) -> Result<Vec<Name>, FieldError> {
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
                .map_err(|error: crate::model::ids::ParseIdError| {
                    refused(format!("hold {error}"), "give names of agents")
                })
        })
        .collect()
}

/// Revokes a token: it is taken no more from that moment on. Role: admin.
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
        &json!({"name": name, "status": "revoked"}),
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
