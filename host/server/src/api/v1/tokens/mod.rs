//! Bearer tokens: `/v1/tokens`. A secret is answered once, when its token is made.

mod request;
mod view;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa_axum::routes;

use ark_model::action_types::ActionTypes;
use ark_model::check::FieldError;
use ark_model::ids::{Millis, Name};
use ark_model::principal::ActionGrant;
use ark_store::{AttributedChange, NewToken, OperatorChange, TokenChange, TokenSecret, Unit};

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiJson, ApiPath, ApiQuery, NoQuery};
use crate::api::http::fields::Actor;
use crate::api::http::pagination::{KeyPageQuery, next_cursor};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};

use request::{TokenOrder, TokenRequest};
use view::{TokenMade, TokenPage, TokenRevoked};

pub use request::{agents_of, grants_of};
pub use view::{advise_on_lockout, token_view};

pub(crate) fn list_routes() -> DescribedRoutes {
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

/// Checks that the types of grants are built in or declared: any other would grant nothing.
fn check_known(action_types: &ActionTypes, grants: &[ActionGrant]) -> Result<(), FieldError> {
    for (index, grant) in grants.iter().enumerate() {
        if let ActionGrant::Type(action_type) = grant {
            action_types.check_known(&format!("actions[{index}]"), action_type)?;
        }
    }
    Ok(())
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
    shut_out(&api, &name).await?;
    let change = TokenChange::Revoke(name.clone());
    if let Err(problem) = record_change(&api, &caller, by, change).await {
        // It is not on disk, so it does not count. If that cannot be read, it stays shut out.
        api.run_blocking(|api| api.auth.reload()).await??;
        return Err(problem);
    }
    // Once more: the token may have been read again while the revocation was on its way to the disk. If the host ends meanwhile, the next one reads it.
    let _ = shut_out(&api, &name).await;
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

/// Refuses a token from now on. It waits for a list of tokens that is being read.
async fn shut_out(api: &Arc<Api>, name: &Name) -> Result<(), Problem> {
    let name = name.clone();
    api.run_blocking(move |api| api.auth.shut_out(&name)).await
}
