//! Idempotency keys and the digests of the requests they come with.

use ark_model::ids::Digest;
use serde_json::{Value, json};

/// Names the canonical form of a request. Another form needs another name.
const FORM: &str = "ark-request-1";

/// A key under which a request is carried out once: a repetition gets the first answer.
///
/// The key is unique within a scope that the receiver of the request chooses, e.g. the proposing agent.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct IdempotencyKey {
    /// The key as the caller gave it.
    pub key: String,
    /// Digest of the request it came with. A repetition must have the same.
    pub request_digest: Digest,
    /// Digest of the same request as an earlier version of the host made it, so that a key it stored is still recognised. `None`: the digest has
    /// always been made in this way.
    pub legacy_digest: Option<Digest>,
}

impl IdempotencyKey {
    /// Makes a key for a request.
    ///
    /// The digest is the SHA-256 of the request in its canonical form: one JSON object of the form's name, the operation, the parameters and the body,
    /// without white space and with sorted names. `operation` keeps equal requests for different operations apart; `parameters` are what the path and
    /// the headers say; `body` is null when there is none.
    #[must_use]
    pub fn for_request(key: String, operation: &str, parameters: &Value, body: &Value) -> Self {
        let mut request = json!({
            "version": FORM,
            "operation": operation,
            "parameters": parameters,
            "body": body,
        });
        request.sort_all_objects();
        Self {
            key,
            request_digest: Digest::hash_bytes(request.to_string().as_bytes()),
            legacy_digest: None,
        }
    }

    /// Adds the digest that an earlier version made of the same request.
    #[must_use]
    pub const fn with_legacy(mut self, digest: Digest) -> Self {
        self.legacy_digest = Some(digest);
        self
    }

    /// Returns whether the key was stored for this request: `stored` is the digest that stands beside it in the store.
    #[must_use]
    pub fn matches(&self, stored: Digest) -> bool {
        stored == self.request_digest || Some(stored) == self.legacy_digest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest_request(operation: &str, parameters: &Value, body: &Value) -> Digest {
        IdempotencyKey::for_request("k".to_owned(), operation, parameters, body).request_digest
    }

    #[test]
    fn a_request_has_one_digest_whatever_the_order_of_its_members() {
        let one: Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let other: Value = serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        let none = Value::Null;
        assert_eq!(
            digest_request("x", &none, &one),
            digest_request("x", &none, &other)
        );
        assert_ne!(
            digest_request("x", &none, &one),
            digest_request("y", &none, &one)
        );
        assert_ne!(
            digest_request("x", &none, &one),
            digest_request("x", &one, &none)
        );
        assert_ne!(
            digest_request("x", &none, &one),
            digest_request("x", &none, &none)
        );
    }

    #[test]
    fn a_digest_of_an_earlier_version_is_recognised() {
        let key = IdempotencyKey::for_request("k".to_owned(), "x", &Value::Null, &Value::Null);
        let earlier = Digest::hash_bytes(b"earlier");
        assert!(key.matches(key.request_digest) && !key.matches(earlier));
        assert!(key.with_legacy(earlier).matches(earlier));
    }
}
