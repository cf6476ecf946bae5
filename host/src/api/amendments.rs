//! Wishes for another Graveyard. They are recorded, and nothing changes: a rule changes with its source, module and pin, in a release.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::routing::get;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use crate::model::check::FieldError;
use crate::model::form::Fields;
use crate::model::ids::{DecisionId, Millis};
use crate::model::principal::Principal;
use crate::store::{AuditEntry, AuditFilter, AuditKind, CommitError, IdempotencyRecord, Unit};

use super::control::words;
use super::envelope::{by_of, key_of_header};
use super::exchange::{Asked, json_answer, not_a, query_of, read_json, trace_of};
use super::operating::{json_of, next_of};
use super::problem::Problem;
use super::reading::{off_reactor, page_of};
use super::routes::{Api, Shared};

pub(super) fn routes() -> axum::Router<Arc<Api>> {
    axum::Router::new().route("/v1/graveyard/amendments", get(amendments).post(amend))
}

/// Role: reader.
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
    let rows: Vec<Value> = rows
        .iter()
        .map(|row| {
            let mut view = json_of(&row.body);
            view["id"] = json!(row.id);
            view["at_ms"] = json!(row.at);
            view
        })
        .collect();
    Ok(json_answer(
        StatusCode::OK,
        None,
        &json!({"amendments": rows, "next_cursor": next}),
    ))
}

/// Role: operator.
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
    let mut fields = Fields::of(document, "")?;
    let rule = fields.required_text("rule", "name the rule, e.g. max_position_size")?;
    let mut rules = api.identity.metadata.rules.iter();
    let known = rules.any(|one| one.name == rule);
    if !known {
        return Err(not_a("rule", &rule, "GET /v1/graveyard lists the rules"));
    }
    let proposed = fields
        .take("proposed_value")
        .ok_or_else(|| FieldError::new("proposed_value", "is missing", "say what it should be"))?;
    let remedy = "say why";
    let justification = words(
        "justification",
        &fields.required_text("justification", remedy)?,
    )?;
    let by = by_of(&principal, "by", fields.text("by")?)?;
    fields.finish()?;
    let id = DecisionId::fresh().to_string();
    let trace_id = trace_of(&headers, None)?;
    let unit = Unit {
        audit: vec![AuditEntry {
            kind: AuditKind::Amendment,
            id: id.clone(),
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
            request: key.request,
            answer: id.clone(),
        }),
        ..Unit::default()
    };
    let (reply, answer) = oneshot::channel();
    api.store
        .submit(unit, Box::new(move |result| drop(reply.send(result))))
        .map_err(|(error, _)| error)?;
    let id = match answer.await {
        Ok(Ok(_)) => id,
        Ok(Err(CommitError::Seen(first)))
            if key.is_some_and(|key| key.request == first.request) =>
        {
            first.answer
        }
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err(Problem::unavailable("the store is closed")),
    };
    Ok(json_answer(
        StatusCode::ACCEPTED,
        Some(trace_id),
        &json!({"id": id, "status": "recorded", "changes": "nothing: a rule changes in a release, with its source and its pin"}),
    ))
}
