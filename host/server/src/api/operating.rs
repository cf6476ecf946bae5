//! What the calls that read and change the Mutable Core share: preconditions, pages, and handing a change to the writer.

use std::collections::HashMap;
use std::sync::Arc;

use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use utoipa::ToSchema;

use ark_model::check::{FieldError, clip_for_error};
use ark_model::form::Fields;
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::state::{canonical_value, check_key};
use ark_store::{CommitError, IdempotencyRecord, Operation, OperatorChange, Unit};

use super::envelope::key_of_header;
use super::exchange::{json_answer, not_a, path_text, trace_of};
use super::problem::Problem;
use super::reading::PathText;
use super::routes::Api;

/// How many rows a list holds unless told otherwise, and at most.
const PAGE: (u32, u32) = (50, 500);

/// Which revision a change is made on.
#[derive(Clone, Copy)]
pub(super) struct Expected {
    pub(super) revision: Option<u64>,
    pub(super) header: bool,
}

impl Expected {
    /// Whatever there is.
    pub(super) const fn nothing() -> Self {
        Self {
            revision: None,
            header: false,
        }
    }

    /// From `If-Match: "N"`, `If-None-Match: *` (there is none) or the field `expected_revision`; given twice, they must agree.
    pub(super) fn of(headers: &HeaderMap, field: Option<u64>) -> Result<Self, Problem> {
        let text = |name| {
            headers
                .get(name)
                .map(|value: &HeaderValue| value.to_str().unwrap_or("").trim())
        };
        let matched = match text(header::IF_MATCH) {
            None => None,
            Some(tag) => Some(
                tag.strip_prefix('"')
                    .and_then(|tag| tag.strip_suffix('"'))
                    .filter(|tag| {
                        tag.len() <= 18 && tag.bytes().all(|digit| digit.is_ascii_digit())
                    })
                    .and_then(|tag| tag.parse().ok())
                    .ok_or_else(|| {
                        let remedy = "give the ETag of an answer, e.g. \"3\"";
                        FieldError::new("If-Match", format!("is {:?}", clip_for_error(tag)), remedy)
                    })?,
            ),
        };
        let none = match text(header::IF_NONE_MATCH) {
            None => None,
            Some("*") => Some(0),
            Some(tag) => {
                return Err(FieldError::new(
                    "If-None-Match",
                    format!("is {:?}", clip_for_error(tag)),
                    "give *, or use If-Match",
                )
                .into());
            }
        };
        let given: Vec<u64> = [matched, none, field].into_iter().flatten().collect();
        if given.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Problem::contradiction(&FieldError::new(
                "expected_revision",
                "is given twice and differs",
                "give one of If-Match, If-None-Match and expected_revision",
            )));
        }
        Ok(Self {
            revision: given.first().copied(),
            header: field.is_none() && !given.is_empty(),
        })
    }
}

/// Hands a change to the writer; its number and trace once it is durable.
pub(super) async fn operate(
    api: &Arc<Api>,
    headers: &HeaderMap,
    by: String,
    expected: Expected,
    change: OperatorChange,
) -> Result<(u64, TraceId), Problem> {
    // Debug shows all of it: another change has another text.
    let key = key_of_header(headers, &format!("{change:?}"))?;
    let trace_id = trace_of(headers, None)?;
    let unit = Unit {
        idempotency: key.clone().map(|key| IdempotencyRecord {
            scope: format!("operate:{by}"),
            key: key.key,
            request: key.request_digest,
            // The number that the change makes.
            answer: String::new(),
        }),
        operations: vec![Operation { by, change }],
        trace_id: Some(trace_id),
        at: Millis::now(),
        ..Unit::default()
    };
    let (reply, answer) = oneshot::channel();
    api.store
        .submit(unit, Box::new(move |result| drop(reply.send(result))))
        .map_err(|(error, _)| error)?;
    let done = answer
        .await
        .map_err(|_| Problem::unavailable("the store is closed"))?;
    if let Err(CommitError::AlreadyAnswered(first)) = &done
        && key.is_some_and(|key| key.request_digest == first.request)
    {
        let number = first.answer.parse();
        let malformed = |_| Problem::unavailable("the stored answer is malformed");
        return Ok((number.map_err(malformed)?, trace_id));
    }
    let receipt = done.map_err(|error| {
        let problem = Problem::from(error);
        if expected.header {
            problem.by_header()
        } else {
            problem
        }
    })?;
    let number = receipt.operations.first().copied();
    let number = number.ok_or_else(|| Problem::unavailable("the writer gave no answer"))?;
    Ok((number, trace_id))
}

/// Puts a revision's `ETag` on an answer.
pub(super) fn tagged(mut response: Response, revision: u64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// A key from the path, where it is one segment: `/` in it is written `%2F`.
pub(super) fn key_of(key: String) -> Result<String, Problem> {
    check_key("key", &key)?;
    Ok(key)
}

pub(super) fn agent_of(agent: &str) -> Result<Name, Problem> {
    agent
        .parse()
        .map_err(|_| not_a("agent", agent, "give an agent's name"))
}

/// A whole number that is not negative.
pub(super) fn whole(fields: &mut Fields, name: &str) -> Result<Option<u64>, FieldError> {
    match fields.take_value(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => in_database(&value).map(Some).ok_or_else(|| {
            FieldError::new(
                name,
                format!("is {}", clip_for_error(&value.to_string())),
                "give a whole number, 0 or more",
            )
        }),
    }
}

/// A whole number that fits the database's integers. `3.0` is one, in JSON.
pub(super) fn in_database(value: &Value) -> Option<u64> {
    let number = value.as_u64().or_else(|| {
        let number = value.as_f64()?;
        // Past this not every whole number is a double.
        let exact = number.fract() == 0.0 && (0.0..=9_007_199_254_740_992.0).contains(&number);
        exact.then(|| format!("{number:.0}").parse().ok())?
    })?;
    i64::try_from(number).is_ok().then_some(number)
}

/// A parameter of the query, parsed.
fn number_of<T: std::str::FromStr>(
    query: &HashMap<String, String>,
    name: &str,
    remedy: &str,
) -> Result<Option<T>, Problem> {
    query
        .get(name)
        .map(|text| text.parse().map_err(|_| not_a(name, text, remedy)))
        .transpose()
}

/// A revision, cursor or time of the query: what fits the database's integers.
pub(super) fn place_of(
    query: &HashMap<String, String>,
    name: &str,
    remedy: &str,
) -> Result<Option<u64>, Problem> {
    match number_of::<u64>(query, name, remedy)? {
        Some(number) if i64::try_from(number).is_err() => {
            Err(not_a(name, &number.to_string(), remedy))
        }
        number => Ok(number),
    }
}

/// The limit of a list.
pub(super) fn limit_of(query: &HashMap<String, String>) -> Result<u32, Problem> {
    let remedy = format!("give 1 to {}", PAGE.1);
    match number_of::<u32>(query, "limit", &remedy)? {
        None => Ok(PAGE.0),
        Some(limit) if (1..=PAGE.1).contains(&limit) => Ok(limit),
        Some(limit) => Err(not_a("limit", &limit.to_string(), &remedy)),
    }
}

/// Where the next page begins, if this one is full.
pub(super) fn next_of<T>(rows: &[T], limit: u32, cursor: impl Fn(&T) -> String) -> Option<String> {
    (rows.len() == limit as usize)
        .then(|| rows.last().map(cursor))
        .flatten()
}

/// Takes the field `value`, which must be there, as canonical JSON. `raw` is the body it is from.
pub(super) fn value_of(fields: &mut Fields, raw: &[u8]) -> Result<String, Problem> {
    let Some(value) = fields.take_nullable("value") else {
        let remedy = "give any JSON value; to take a key away, use DELETE";
        return Err(FieldError::new("value", "is missing", remedy).into());
    };
    // Of the whole body, since a parsed value no longer shows that it was rounded.
    let text = std::str::from_utf8(raw).unwrap_or_default();
    canonical_value("value", text)?;
    Ok(canonical_value("value", &value.to_string())?)
}

/// Text kept as JSON, as a JSON value.
pub(super) fn json_of(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or(Value::Null)
}

/// A change that is on disk.
#[derive(Serialize, ToSchema)]
pub(super) struct KeyChanged<'a> {
    pub(super) key: &'a str,
    /// The revision it made.
    pub(super) revision: u64,
}

/// The key that a segment of a path names.
pub(super) fn key_text(key: PathText) -> Result<String, Problem> {
    key_of(path_text(key)?)
}

/// Carries a change of a key out and answers with its new revision.
pub(super) async fn keyed(
    api: &Arc<Api>,
    headers: &HeaderMap,
    by: String,
    expected: Expected,
    change: OperatorChange,
    key: &str,
) -> Result<Response, Problem> {
    let (revision, trace_id) = operate(api, headers, by, expected, change).await?;
    let body = KeyChanged { key, revision };
    Ok(tagged(
        json_answer(StatusCode::OK, Some(trace_id), &body),
        revision,
    ))
}
