//! Answers of the API.

use axum::body::Body;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::Serialize;
use serde_json::Value;

use ark_model::ids::TraceId;

use super::moments::WithMoments;
use super::problem::Problem;
use super::trace_context::{TRACEPARENT, format_traceparent};

/// The room an answer is given at first.
const ANSWER_BYTES: usize = 1024;

/// An answer with a JSON body, and with the trace it belongs to if that is not the request's own. Its moments are given in both forms ([`super::moments`]).
pub(crate) fn json_response(
    status: StatusCode,
    trace_id: Option<TraceId>,
    body: &impl Serialize,
) -> Response {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    let written = serde_json::to_writer(&mut bytes, &WithMoments(body));
    json_text_response(status, trace_id, written.map(|()| bytes))
}

/// As [`json_response`], with a body that is written already.
pub(crate) fn json_text_response(
    status: StatusCode,
    trace_id: Option<TraceId>,
    body: Result<Vec<u8>, serde_json::Error>,
) -> Response {
    let bytes = match body {
        Ok(bytes) => bytes,
        Err(error) => return Problem::unavailable(error.to_string()).into_response(),
    };
    let mut response = bytes_response("application/json", Bytes::from(bytes));
    *response.status_mut() = status;
    if let Some(value) = trace_id.and_then(format_traceparent) {
        response.headers_mut().insert(&TRACEPARENT, value);
    }
    response
}

/// An answer of 200 with a body of some type.
pub(crate) fn bytes_response(content_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Marks the answer to a request that was answered before under its idempotency key.
pub(crate) fn with_replayed(mut response: Response, is_replayed: bool) -> Response {
    if is_replayed {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    response
}

/// Text kept as JSON, as a JSON value.
pub(crate) fn parse_stored_json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}
