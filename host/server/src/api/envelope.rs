//! What every request and every answer carries besides its content: a deadline, a trace, who calls.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};

use ark_model::check::FieldError;
use ark_model::ids::{Digest, TraceId};
use ark_model::principal::Principal;

use super::exchange::{idempotency_key, not_a, trace_of};
use super::problem::Problem;

/// The header with which a caller says how long it waits, in milliseconds.
const DEADLINE: &str = "ark-deadline-ms";
/// The longest a caller may say it waits.
const LONGEST_MS: u64 = 600_000;

/// When the caller gives up. What is not committed by then is not committed at all.
#[derive(Clone, Copy)]
pub(super) struct Deadline(pub(super) Option<Instant>);

/// A header that every request may carry is malformed. Who may not call at all hears of that first.
#[derive(Clone)]
pub(super) struct Malformed(pub(super) FieldError);

/// Reads the deadline, ends reads that take longer, and puts a trace on answers that have none.
pub(super) async fn envelope<F: Future<Output = Response>>(
    mut request: Request,
    inner: impl FnOnce(Request) -> F,
) -> Response {
    let trace_id = trace_of(request.headers(), None);
    let deadline = deadline_of(request.headers());
    let traced = trace_id.as_ref().ok().copied();
    let deadline = match (trace_id, deadline) {
        (Ok(_), Ok(deadline)) => deadline,
        (Err(error), _) | (_, Err(error)) => {
            request.extensions_mut().insert(Malformed(error));
            None
        }
    };
    request.extensions_mut().insert(Deadline(deadline));
    let (request, unread) = super::unread::watch(request);
    let mut response = answered(deadline, request, inner).await;
    unread.tell(&mut response);
    if !response.headers().contains_key("traceparent")
        && let Some(value) = traceparent(traced.unwrap_or_else(TraceId::fresh))
    {
        response.headers_mut().insert("traceparent", value);
    }
    response
}

async fn answered<F: Future<Output = Response>>(
    deadline: Option<Instant>,
    request: Request,
    inner: impl FnOnce(Request) -> F,
) -> Response {
    let reads = request.method() == Method::GET || request.method() == Method::HEAD;
    if !reads {
        // What changes something checks its deadline where it is committed: an answer that it was too late must be true.
        return inner(request).await;
    }
    let stream = request.uri().path() == "/v1/events";
    let known = request.headers().get(header::IF_NONE_MATCH).cloned();
    let response = match deadline.filter(|_| !stream) {
        Some(deadline) => match tokio::time::timeout_at(deadline.into(), inner(request)).await {
            Ok(response) => response,
            Err(_) => too_late().into_response(),
        },
        None => inner(request).await,
    };
    match known {
        Some(known) if is_known(&known, &response) => unchanged(response),
        _ => response,
    }
}

/// Whether a read's answer has an `ETag` that `If-None-Match` names (RFC 9110, section 13.1.2).
fn is_known(known: &HeaderValue, response: &Response) -> bool {
    let Some(tag) = response.headers().get(header::ETAG) else {
        return false;
    };
    let (Ok(known), Ok(tag)) = (known.to_str(), tag.to_str()) else {
        return false;
    };
    let named = |one: &str| one == "*" || one.strip_prefix("W/").unwrap_or(one) == tag;
    response.status() == StatusCode::OK && known.split(',').any(|one| named(one.trim()))
}

/// What the caller has already is not sent again.
fn unchanged(mut response: Response) -> Response {
    *response.status_mut() = StatusCode::NOT_MODIFIED;
    *response.body_mut() = axum::body::Body::empty();
    response.headers_mut().remove(header::CONTENT_TYPE);
    response.headers_mut().remove(header::CONTENT_LENGTH);
    response
}

/// A trace as a W3C `traceparent`.
pub(super) fn traceparent(trace_id: TraceId) -> Option<HeaderValue> {
    let text = trace_id.to_string();
    let span = text.get(16..).unwrap_or("0000000000000001");
    // A span id of nothing but zeros is invalid.
    let span = if span.bytes().all(|digit| digit == b'0') {
        "0000000000000001"
    } else {
        span
    };
    HeaderValue::from_str(&format!("00-{text}-{span}-01")).ok()
}

fn deadline_of(headers: &HeaderMap) -> Result<Option<Instant>, FieldError> {
    let Some(value) = headers.get(DEADLINE) else {
        return Ok(None);
    };
    let millis = value
        .to_str()
        .ok()
        .and_then(|text| text.parse::<u64>().ok())
        .filter(|millis| (1..=LONGEST_MS).contains(millis))
        .ok_or_else(|| {
            FieldError::new(
                "Ark-Deadline-Ms",
                "is no number of milliseconds",
                format!("give a whole number from 1 to {LONGEST_MS}, or leave it out"),
            )
        })?;
    Ok(Some(Instant::now() + Duration::from_millis(millis)))
}

pub(super) fn too_late() -> Problem {
    Problem::new(
        StatusCode::GATEWAY_TIMEOUT,
        "deadline-exceeded",
        "The deadline was over",
        "the request's deadline was over before it was done; nothing of it counts",
    )
    .at("Ark-Deadline-Ms", "give more time")
}

/// Under which name an act is recorded. A token's name cannot be exchanged for another.
pub(super) fn by_of(
    principal: &Principal,
    field: &str,
    given: Option<String>,
) -> Result<String, Problem> {
    match given {
        Some(given) if principal.authenticated && given != principal.name => {
            let detail = format!(
                "{field}: differs from the token's name, {:?}; leave it out",
                principal.name
            );
            Err(Problem::forbidden(detail).at(field, "leave it out"))
        }
        Some(given) if !principal.authenticated => {
            let plain = (1..=128).contains(&given.len()) && !given.chars().any(char::is_control);
            if plain {
                Ok(given)
            } else {
                Err(not_a(field, &given, "give 1 to 128 bytes of plain text"))
            }
        }
        _ => Ok(principal.name.clone()),
    }
}

/// The idempotency key of a request with its digest, from the header only.
pub(super) fn key_of_header(
    headers: &HeaderMap,
    request: &str,
) -> Result<Option<crate::hrm::IdempotencyKey>, Problem> {
    Ok(
        idempotency_key(headers, None)?.map(|key| crate::hrm::IdempotencyKey {
            key,
            request_digest: Digest::hash_bytes(request.as_bytes()),
        }),
    )
}
