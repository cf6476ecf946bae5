//! Notes: what a caller has recorded in the audit log, and what changes nothing else, e.g. a request for another rule or a step of a deployment.
//!
//! Invariants: a note takes of its caller's quotas; a repetition under its idempotency key is answered with the id of the first; a page costs a
//! bounded number of rows, whatever else the log holds.

use std::sync::Arc;

use serde_json::{Value, json};

use super::auth::Caller;
use super::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use super::http::pagination::{PageQuery, next_cursor};
use super::http::problem::Problem;
use super::state::{Api, quota_holder_of};
use ark_model::form::parse_json;
use ark_model::ids::{AuditId, Millis};
use ark_store::{
    AuditEntry, AuditFilter, AuditKind, AuditRow, CommitError, IdempotencyRecord, Unit,
};

/// A note that is to be recorded.
pub(crate) struct Note<'a> {
    /// The kind of its audit row.
    pub(crate) kind: AuditKind,
    /// The operation's name: its `operation_id` in the document.
    pub(crate) operation: &'static str,
    /// Who makes it. An idempotency key is unique for its kind and this name.
    pub(crate) by: &'a str,
    /// The body of the audit row.
    pub(crate) record: Value,
}

/// Records a note. Returns the id of its audit row, or that of the first row under the same idempotency key, once it is on disk.
///
/// # Errors
/// A quota of the caller is used up, the key was used for another request, or the row cannot be committed.
pub(crate) async fn record_note(
    api: &Arc<Api>,
    caller: &Caller,
    idempotency: IdempotencyHeader,
    body: &[u8],
    note: Note<'_>,
) -> Result<String, Problem> {
    let _reserved = api.reserve_quota(&caller.principal, body.len())?;
    let key = idempotency.for_request(&CanonicalRequest {
        operation: note.operation,
        parameters: json!({}),
        body,
        legacy: parse_json(body).unwrap_or_default().to_string(),
    });
    let id = AuditId::fresh();
    let now = Millis::now();
    let unit = Unit {
        audit: vec![AuditEntry {
            kind: note.kind,
            id,
            trace_id: Some(caller.trace_id),
            agent: None,
            action_type: None,
            outcome: None,
            at: now,
            body: note.record.to_string(),
            subject: None,
        }],
        idempotency: key.as_ref().map(|key| IdempotencyRecord {
            scope: format!("{}:{}", note.kind.as_str(), note.by),
            key: key.key.clone(),
            request: key.request_digest,
            answer: id.to_string(),
        }),
        charged_to: Some(quota_holder_of(&caller.principal)),
        at: now,
        ..Unit::default()
    };
    match api.commit(unit).await? {
        Ok(_) => Ok(id.to_string()),
        Err(CommitError::AlreadyAnswered(first))
            if key.is_some_and(|key| key.matches(first.request)) =>
        {
            Ok(first.answer)
        }
        Err(error) => Err(error.into()),
    }
}

/// Returns a page of the notes of a kind, newest first, and the cursor of the next page, if there may be one.
///
/// # Errors
/// The database cannot be read.
pub(crate) async fn list_notes(
    api: &Arc<Api>,
    kind: AuditKind,
    query: PageQuery,
) -> Result<(Vec<AuditRow>, Option<String>), Problem> {
    let (limit, before) = query.into_parts();
    let filter = AuditFilter {
        kind: Some(kind),
        ..AuditFilter::default()
    };
    let rows = api
        .run_blocking(move |api| api.store.audit_page(&filter, before, limit))
        .await??;
    let next = next_cursor(&rows, limit, |row| row.seq.to_string());
    Ok((rows, next))
}
