//! What every call shares: reading a body, keys and traces from headers, writing an answer.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::rejection::{PathRejection, QueryRejection};
use axum::extract::{Path, Query};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use http_body_util::BodyExt;
use serde::Serialize;
use serde_json::Value;

use ark_model::check::{FieldError, clip_for_error};
use ark_model::form::{Fields, check_idempotency_key, parse_json};
use ark_model::ids::TraceId;

use super::problem::Problem;

/// The query as it came.
pub(super) type Asked = Result<Query<Vec<(String, String)>>, QueryRejection>;

/// The most bytes of a request's body.
const BODY_BYTES: usize = 256 * 1024;
/// How much of a body that is too large is read and dropped.
const DRAIN_BYTES: usize = 4 * 1024 * 1024;
/// What an answer is given room for at first: a decision with 26 rules has some 4,500 bytes.
const ANSWER_BYTES: usize = 6 * 1024;
/// How long a client may take to send a body.
const BODY_TIME: std::time::Duration = std::time::Duration::from_secs(10);

pub(super) async fn read_json(headers: &HeaderMap, body: Body) -> Result<Value, Problem> {
    Ok(parse_json(&read_bytes(headers, body).await?)?)
}

/// A body that says it is JSON.
pub(super) async fn read_bytes(headers: &HeaderMap, body: Body) -> Result<bytes::Bytes, Problem> {
    read_at_most(headers, body, BODY_BYTES, BODY_TIME).await
}

/// As [`read_bytes`], with bounds of its own.
pub(super) async fn read_at_most(
    headers: &HeaderMap,
    body: Body,
    most: usize,
    time: std::time::Duration,
) -> Result<bytes::Bytes, Problem> {
    // A form post from a web page cannot carry this type without the browser asking first.
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    let kind = kind.split(';').next().unwrap_or("").trim();
    if !kind.eq_ignore_ascii_case("application/json") {
        return Err(Problem::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "not-json",
            "The body must be JSON",
            format!("the Content-Type is {:?}", clip_for_error(kind)),
        )
        .at("Content-Type", "send Content-Type: application/json"));
    }
    let too_large = || {
        Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            "The body is too large",
            format!("the body is larger than {most} bytes"),
        )
        .at("body", "send less")
    };
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > most as u64) {
        // Who was asked to wait with the body (Expect: 100-continue) has not sent it.
        if !headers.contains_key(header::EXPECT) {
            read_and_drop(body, DRAIN_BYTES.max(most + most / 4), time).await;
        }
        return Err(too_large());
    }
    let bytes = match tokio::time::timeout(time, axum::body::to_bytes(body, most)).await {
        Err(_) => {
            let title = "The body did not arrive in time";
            return Err(Problem::new(
                StatusCode::REQUEST_TIMEOUT,
                "too-slow",
                title,
                format!("send it within {} s", time.as_secs()),
            )
            .at("body", "send it faster"));
        }
        Ok(Ok(bytes)) => bytes,
        Ok(Err(error)) if format!("{error:?}").contains("LengthLimit") => return Err(too_large()),
        Ok(Err(error)) => {
            return Err(FieldError::new(
                "body",
                format!("did not arrive whole: {error}"),
                "send it again",
            )
            .into());
        }
    };
    Ok(bytes)
}

pub(super) fn parsed<T: std::str::FromStr>(
    fields: &mut Fields,
    name: &str,
    remedy: &str,
) -> Result<Option<T>, FieldError> {
    let Some(text) = fields.take_text(name)? else {
        return Ok(None);
    };
    match text.parse() {
        Ok(value) => Ok(Some(value)),
        Err(_) => Err(FieldError::new(
            name,
            format!("is {:?}", clip_for_error(&text)),
            remedy,
        )),
    }
}

/// The key from the `Idempotency-Key` header or the body; given twice, the two must agree.
pub(super) fn idempotency_key(
    headers: &HeaderMap,
    body: Option<String>,
) -> Result<Option<String>, Problem> {
    let Some(header) = headers.get("idempotency-key") else {
        return Ok(body);
    };
    let header = header.to_str().unwrap_or("").to_owned();
    check_idempotency_key("Idempotency-Key", &header)?;
    match body {
        Some(body) if body != header => Err(Problem::contradiction(&FieldError::new(
            "idempotency_key",
            "differs from the Idempotency-Key header",
            "give one of them",
        ))),
        _ => Ok(Some(header)),
    }
}

/// The trace of the body, else of the `traceparent` header, else a fresh one.
pub(super) fn trace_of(headers: &HeaderMap, body: Option<TraceId>) -> Result<TraceId, FieldError> {
    if let Some(trace_id) = body {
        return Ok(trace_id);
    }
    let Some(header) = headers.get("traceparent") else {
        return Ok(TraceId::fresh());
    };
    let parts: Vec<&str> = header.to_str().unwrap_or("").split('-').collect();
    match parts.as_slice() {
        ["00", trace_id, parent, flags]
            if parent.len() == 16
                && flags.len() == 2
                && [parent, flags].iter().all(|part| part.bytes().all(is_hex))
                && parent.bytes().any(|digit| digit != b'0') =>
        {
            trace_id
                .parse()
                .map_err(|error: ark_model::ids::ParseIdError| {
                    FieldError::new(
                        "traceparent",
                        error.to_string(),
                        "send a W3C traceparent header, or none",
                    )
                })
        }
        _ => Err(FieldError::new(
            "traceparent",
            "is not of the form 00-TRACE-PARENT-FLAGS",
            "send a W3C traceparent header, or none",
        )),
    }
}

const fn is_hex(digit: u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

pub(super) fn json_answer(
    status: StatusCode,
    trace_id: Option<TraceId>,
    body: &impl Serialize,
) -> Response {
    let mut bytes = Vec::with_capacity(ANSWER_BYTES);
    if let Err(error) = serde_json::to_writer(&mut bytes, body) {
        return Problem::unavailable(error.to_string()).into_response();
    }
    let mut response = Response::new(Body::from(bytes));
    *response.status_mut() = status;
    response.headers_mut().insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/json"),
    );
    if let Some(trace_id) = trace_id
        && let Some(value) = super::envelope::traceparent(trace_id)
    {
        response.headers_mut().insert("traceparent", value);
    }
    response
}

pub(super) fn not_a(field: &str, given: &str, remedy: &str) -> Problem {
    FieldError::new(field, format!("is {:?}", clip_for_error(given)), remedy).into()
}

/// The text of a part of the path.
pub(super) fn path_text(part: Result<Path<String>, PathRejection>) -> Result<String, FieldError> {
    part.map(|Path(text)| text)
        .map_err(|rejection| FieldError::new("id", rejection.body_text(), "send UTF-8"))
}

/// The query's parameters, of which only these are known, each given once: one that is silently overlooked could be a `dry_run` that is
/// carried out.
pub(super) fn query_of(query: Asked, known: &[&str]) -> Result<HashMap<String, String>, Problem> {
    let Query(query) = query.map_err(|rejection| {
        FieldError::new(
            "query",
            rejection.body_text(),
            "send name=value pairs in UTF-8",
        )
    })?;
    let mut parameters = HashMap::with_capacity(query.len());
    for (name, value) in query {
        if !known.contains(&name.as_str()) {
            let remedy = if known.is_empty() {
                "leave it out".to_owned()
            } else {
                format!("known are: {}", known.join(", "))
            };
            let problem = "is not a parameter of this call";
            return Err(FieldError::new(clip_for_error(&name), problem, remedy).into());
        }
        if parameters.contains_key(&name) {
            return Err(FieldError::new(name, "is given more than once", "give it once").into());
        }
        parameters.insert(name, value);
    }
    Ok(parameters)
}

/// Takes in a body that is refused anyway. A connection that is closed while bytes are still arriving is reset, and a reset can destroy
/// the answer before the client has read it.
async fn read_and_drop(mut body: Body, most: usize, time: std::time::Duration) {
    let all = async {
        let mut read = 0;
        while read < most {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, bytes::Bytes::len),
                Some(Err(_)) | None => break,
            }
        }
    };
    let _ = tokio::time::timeout(time, all).await;
}
