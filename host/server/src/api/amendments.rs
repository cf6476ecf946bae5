//! Wishes for another Graveyard. They are recorded, and nothing changes: a rule changes with its source, module and pin, in a release.

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use ark_model::check::{FieldError, clip_for_error};
use ark_model::form::Fields;
use ark_model::ids::{AuditId, Millis};
use ark_model::principal::Principal;
use ark_store::{AuditEntry, AuditFilter, AuditKind, CommitError, IdempotencyRecord, Unit};

use super::control::words;
use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, query_of, read_json, trace_of};
use super::openapi::{Described, Keyed, PageQuery};
use super::operating::{json_of, next_of};
use super::problem::Problem;
use super::reading::{off_reactor, page_of};
use super::routes::Shared;

pub(super) fn routes() -> Described {
    Described::new().routes(routes!(amendments, amend))
}

/// A wish for another rule.
#[derive(Serialize, ToSchema)]
struct Amendment {
    id: String,
    rule: Value,
    proposed_value: Value,
    justification: Value,
    by: Value,
    at_ms: Millis,
}

/// A page of wishes, the latest first.
#[derive(Serialize, ToSchema)]
struct AmendmentPage {
    amendments: Vec<Amendment>,
    /// The cursor of the page behind it, if there may be one.
    next_cursor: Option<String>,
}

/// A wish that is on disk.
#[derive(Serialize, ToSchema)]
struct AmendmentRecorded {
    id: String,
    status: &'static str,
    changes: &'static str,
}

/// Lists wishes for other rules, the latest first
#[utoipa::path(get, path = "/v1/graveyard/amendments", operation_id = "list_amendments", tag = "policies", params(PageQuery),
    responses((status = 200, description = "A page.", body = AmendmentPage)))]
async fn amendments(State(api): Shared, query: Asked) -> Result<Response, Problem> {
    let query = query_of(query, &["limit", "cursor"])?;
    let (limit, before) = page_of(&query)?;
    let filter = AuditFilter {
        kind: Some(AuditKind::Amendment),
        ..AuditFilter::default()
    };
    let rows = off_reactor(&api, move |api| {
        api.store.audit_page(&filter, before, limit)
    })
    .await??;
    let next = next_of(&rows, limit, |row| row.seq.to_string());
    let amendments = rows
        .iter()
        .map(|row| {
            let mut body = json_of(&row.body);
            Amendment {
                id: row.id.clone(),
                rule: body["rule"].take(),
                proposed_value: body["proposed_value"].take(),
                justification: body["justification"].take(),
                by: body["by"].take(),
                at_ms: row.at,
            }
        })
        .collect();
    let page = AmendmentPage {
        amendments,
        next_cursor: next,
    };
    Ok(json_answer(StatusCode::OK, None, &page))
}

/// Asks for another rule
///
/// It is recorded, and nothing changes: a rule changes with its source, module and pin, in a release.
#[utoipa::path(post, path = "/v1/graveyard/amendments", operation_id = "ask_for_amendment", tag = "policies", params(Keyed),
    request_body = ref("#/components/schemas/AmendmentRequest"),
    responses(
        (status = 202, description = "It is recorded.", body = AmendmentRecorded),
        (status = 422, description = "There is no such rule, or the idempotency key was used for another request."),
    ))]
async fn amend(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let document = read_json(&headers, body).await?;
    let key = key_of_header(&headers, &document.to_string())?;
    let mut fields = Fields::from_document(document, "")?;
    let rule = fields.required_text("rule", "name the rule, e.g. max_position_size")?;
    let mut rules = api.identity.metadata.rules.iter();
    let known = rules.any(|one| one.name == rule);
    if !known {
        let problem = format!("is {:?}, of which there is none", clip_for_error(&rule));
        let error = FieldError::new("rule", problem, "GET /v1/graveyard lists the rules");
        return Err(Problem::contradiction(&error));
    }
    let proposed = fields
        .take_value("proposed_value")
        .ok_or_else(|| FieldError::new("proposed_value", "is missing", "say what it should be"))?;
    let remedy = "say why";
    let justification = words(
        "justification",
        &fields.required_text("justification", remedy)?,
    )?;
    let by = by_of(&principal, "by", fields.take_text("by")?)?;
    fields.reject_unknown()?;
    let id = AuditId::fresh();
    let trace_id = trace_of(&headers, None)?;
    let unit = Unit {
        audit: vec![AuditEntry {
            kind: AuditKind::Amendment,
            id,
            trace_id: Some(trace_id),
            agent: None,
            action_type: None,
            outcome: None,
            at: Millis::now(),
            body: json!({"rule": rule, "proposed_value": proposed, "justification": justification, "by": by})
                .to_string(),
        }],
        idempotency: key.clone().map(|key| IdempotencyRecord {
            scope: format!("amendment:{by}"),
            key: key.key,
            request: key.request_digest,
            answer: id.to_string(),
        }),
        ..Unit::default()
    };
    let (reply, answer) = oneshot::channel();
    api.store
        .submit(unit, Box::new(move |result| drop(reply.send(result))))
        .map_err(|(error, _)| error)?;
    let id = match answer.await {
        Ok(Ok(_)) => id.to_string(),
        Ok(Err(CommitError::AlreadyAnswered(first)))
            if key.is_some_and(|key| key.request_digest == first.request) =>
        {
            first.answer
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(Problem::unavailable("the store is closed")),
    };
    Ok(json_answer(
        StatusCode::ACCEPTED,
        Some(trace_id),
        &AmendmentRecorded {
            id,
            status: "recorded",
            changes: "nothing: a rule changes in a release, with its source and its pin",
        },
    ))
}
