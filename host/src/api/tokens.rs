//! Bearer tokens over HTTP: for admins.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::Response;
use serde_json::json;

use crate::model::form::Fields;
use crate::model::ids::{Millis, Name};
use crate::model::principal::{Principal, Role};
use crate::tokens::{NewToken, TokenError};

use super::access::{Access, Call, call};
use super::envelope::by_of;
use super::exchange::{Asked, json_answer, not_a, path_text, query_of, read_json};
use super::operating::whole;
use super::problem::Problem;
use super::reading::{PathText, off_reactor};
use super::routes::Shared;

pub(super) fn calls() -> Vec<Call> {
    let admin = Access::Role(Role::Admin);
    vec![
        call(admin, Method::GET, "/v1/tokens", list),
        call(admin, Method::POST, "/v1/tokens", create),
        call(admin, Method::DELETE, "/v1/tokens/{name}", revoke),
    ]
}

/// Role: admin.
async fn list(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let tokens = api.tokens.list();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"tokens": tokens, "required": api.tokens.required()}),
    ))
}

/// Role: admin. The first of all is made without one.
async fn create(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let mut fields = Fields::of(read_json(&headers, body).await?, "")?;
    let name = fields.required_text("name", "name the bearer")?;
    let remedy = "give reader, submitter, approver, operator or admin";
    let role = fields.required_text("role", remedy)?;
    let role = Role::parse(&role).ok_or_else(|| not_a("role", &role, remedy))?;
    let agents = fields
        .texts("agents")?
        .iter()
        .map(|agent| {
            agent
                .parse()
                .map_err(|_| not_a("agents", agent, "give agents' names"))
        })
        .collect::<Result<Vec<Name>, Problem>>()?;
    let expires_at = whole(&mut fields, "expires_at_ms")?.map(Millis);
    let by = by_of(&principal, "by", fields.text("by")?)?;
    fields.finish()?;
    let new = NewToken {
        name,
        role,
        agents,
        expires_at,
    };
    let (text, token) = off_reactor(&api, move |api| api.tokens.create(new, &by)).await??;
    let mut view = json!(token);
    view["token"] = json!(text);
    Ok(json_answer(StatusCode::CREATED, None, &view))
}

/// Role: admin.
async fn revoke(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    name: PathText,
    query: Asked,
) -> Result<Response, Problem> {
    let name = path_text(name)?;
    let query = query_of(query, &["by"])?;
    let by = by_of(&principal, "by", query.get("by").cloned())?;
    let gone = name.clone();
    off_reactor(&api, move |api| api.tokens.revoke(&gone, &by)).await??;
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"name": name, "revoked": true}),
    ))
}

impl From<TokenError> for Problem {
    fn from(error: TokenError) -> Self {
        match error {
            TokenError::Field {
                field,
                problem,
                remedy,
            } => crate::model::check::FieldError::new(field, problem, remedy).into(),
            TokenError::Commit(error) => error.into(),
            TokenError::Read(error) => error.into(),
            TokenError::Random => Self::unavailable(error.to_string()),
        }
    }
}
