//! Conditions on the revision that a change is made on, and the tags of what is read (RFC 9110, section 13.1).

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use utoipa::IntoParams;

use ark_model::check::FieldError;
use ark_model::ids::Digest;

use super::extract::header_fields;
use super::fields::{RevisionNumber, text_field};
use super::moments::WithMoments;
use super::problem::Problem;
use super::respond::bytes_response;

/// How many hexadecimal digits of a digest are an `ETag`: 128 bits.
const TAG_DIGITS: usize = 32;

text_field! {
    /// An entity tag of this API: a revision in quotes.
    EntityTag("the ETag of an answer, e.g. \"3\"", bytes: 3..=20, pattern: Some("^\"[0-9]{1,18}\"$"), accepts: |tag| tag_revision(tag).is_some())
}

text_field! {
    /// Any entity tag.
    AnyTag("*, or use If-Match", bytes: 1..=1, pattern: Some("^\\*$"), accepts: |tag| tag == "*")
}

fn tag_revision(tag: &str) -> Option<u64> {
    tag.strip_prefix('"')?
        .strip_suffix('"')
        .filter(|digits| digits.bytes().all(|digit| digit.is_ascii_digit()))?
        .parse()
        .ok()
}

/// On which revision a change is made.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct Preconditions {
    /// The `ETag` of the revision that must still be the latest, e.g. `"3"`.
    #[serde(rename = "If-Match")]
    #[param(inline, example = "\"3\"")]
    matched: Option<EntityTag>,
    /// There must be none yet.
    #[serde(rename = "If-None-Match")]
    #[param(inline, example = "*")]
    none: Option<AnyTag>,
}

header_fields!(Preconditions);

/// The revision that a change expects.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct ExpectedRevision {
    /// The revision that must still be the latest; 0: there must be none; absent: any.
    pub(crate) revision: Option<u64>,
    /// A header says so: a conflict is then 412 in place of 409.
    from_header: bool,
}

impl Preconditions {
    /// The expected revision, from `If-Match: "N"`, `If-None-Match: *` (there is none) or the field `expected_revision`.
    ///
    /// # Errors
    /// More than one is given and they differ.
    pub(crate) fn expected_revision(
        &self,
        field: Option<RevisionNumber>,
    ) -> Result<ExpectedRevision, Problem> {
        let matched = self
            .matched
            .as_ref()
            .and_then(|tag| tag_revision(tag.as_ref()));
        let none = self.none.as_ref().map(|_| 0);
        let field = field.map(u64::from);
        let given: Vec<u64> = [matched, none, field].into_iter().flatten().collect();
        if given.windows(2).any(|pair| pair[0] != pair[1]) {
            return Err(Problem::contradiction(&FieldError::new(
                "expected_revision",
                "is given twice and differs",
                "give one of If-Match, If-None-Match and expected_revision",
            )));
        }
        Ok(ExpectedRevision {
            revision: given.first().copied(),
            from_header: field.is_none() && !given.is_empty(),
        })
    }
}

impl ExpectedRevision {
    /// The problem with the status that HTTP has for a condition in a header, if that is where it was.
    pub(crate) fn explain(self, problem: impl Into<Problem>) -> Problem {
        let problem = problem.into();
        if self.from_header {
            problem.into_failed_precondition()
        } else {
            problem
        }
    }
}

/// An answer of 200 with the `ETag` of its own bytes, for what has no revision and changes rarely.
pub(crate) fn tagged_response(body: &impl Serialize) -> Response {
    let mut bytes = Vec::new();
    match serde_json::to_writer(&mut bytes, &WithMoments(body)) {
        Ok(()) => tagged_bytes("application/json", bytes.into()),
        Err(error) => Problem::unavailable(error.to_string()).into_response(),
    }
}

/// As [`tagged_response`], of bytes.
pub(crate) fn tagged_bytes(content_type: &'static str, body: Bytes) -> Response {
    let digest = Digest::hash_bytes(&body).to_string();
    let mut response = bytes_response(content_type, body);
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{}\"", &digest[..TAG_DIGITS])) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}

/// Puts a revision's `ETag` on an answer.
pub(crate) fn with_etag(mut response: Response, revision: u64) -> Response {
    if let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\"")) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    response
}
