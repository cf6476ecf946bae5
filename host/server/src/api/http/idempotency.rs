//! Idempotency keys: a request that is repeated under its key is answered as it was answered first.
//!
//! A key comes with a digest of its request, so that another request under the same key is refused. The digest is made from the canonical
//! request: the operation's name, what its path and headers say, and its body as JSON with sorted names.

use serde::Deserialize;
use serde_json::Value;
use utoipa::IntoParams;

use crate::hrm::IdempotencyKey;
use ark_model::check::FieldError;
use ark_model::form::parse_json;
use ark_model::ids::Digest;

use super::extract::header_fields;
use super::fields::IdempotencyKeyText;
use super::problem::Problem;

/// The answer to a repetition of this request under the same key is the first one's.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Header)]
pub(crate) struct IdempotencyHeader {
    /// Unique for the caller and this kind of request; of a proposal, for the caller and the agent in whose name it is. The first answer is given again to the same request (with `Idempotent-Replayed:
    /// true`); another request under the same key is refused.
    #[serde(rename = "Idempotency-Key")]
    #[param(inline)]
    key: Option<IdempotencyKeyText>,
}

header_fields!(IdempotencyHeader);

impl IdempotencyHeader {
    /// The key from the header, with the digest of the request it came with.
    pub(crate) fn for_request(self, request: &CanonicalRequest<'_>) -> Option<IdempotencyKey> {
        self.key.map(|key| request.with_key(key.into()))
    }

    /// The key from the header or from the body's field `idempotency_key`.
    ///
    /// # Errors
    /// Both are given and differ.
    pub(crate) fn or_field(self, field: Option<String>) -> Result<Option<String>, Problem> {
        match (self.key.map(String::from), field) {
            (Some(header), Some(field)) if header != field => {
                Err(Problem::contradiction(&FieldError::new(
                    "idempotency_key",
                    "differs from the header Idempotency-Key",
                    "give one of them",
                )))
            }
            (header, field) => Ok(header.or(field)),
        }
    }
}

/// A request as it is compared with an earlier one under the same key.
pub(crate) struct CanonicalRequest<'a> {
    /// The operation's name: its `operation_id` in the document.
    pub(crate) operation: &'static str,
    /// What the path and the headers say.
    pub(crate) parameters: Value,
    /// The body; empty where there is none.
    pub(crate) body: &'a [u8],
    /// The text whose digest versions before this form kept.
    pub(crate) legacy: String,
}

impl CanonicalRequest<'_> {
    /// A key with the digests of this request.
    pub(crate) fn with_key(&self, key: String) -> IdempotencyKey {
        // A body that gets here was read before.
        let body = parse_json(self.body).unwrap_or(Value::Null);
        IdempotencyKey::for_request(key, self.operation, &self.parameters, &body)
            .with_legacy(Digest::hash_bytes(self.legacy.as_bytes()))
    }
}
