//! Idempotency keys and the digests of the requests they come with.

use serde::Serialize;

use ark_model::ids::Digest;

/// Names the way a request is turned into bytes; a change of it needs another name.
const SCHEME: &[u8] = b"ark-request/1";

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
    /// The digest is the SHA-256 of the scheme, the operation and the request as canonical JSON (sorted keys, no white space). `operation` keeps
    /// equal documents of different operations apart.
    ///
    /// # Errors
    /// The request cannot be written as JSON, e.g. since a number in it is not finite.
    pub fn for_request(
        key: String,
        operation: &str,
        request: &impl Serialize,
    ) -> Result<Self, serde_json::Error> {
        // The members of a `serde_json::Value` are sorted by their names.
        let canonical = serde_json::to_value(request)?.to_string();
        let parts = [
            SCHEME,
            b"\0",
            operation.as_bytes(),
            b"\0",
            canonical.as_bytes(),
        ];
        Ok(Self {
            key,
            request_digest: Digest::hash_parts(parts),
            legacy_digest: None,
        })
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
    use serde_json::json;

    use super::*;

    fn digest(operation: &str, request: &serde_json::Value) -> Digest {
        IdempotencyKey::for_request("k".to_owned(), operation, request)
            .unwrap()
            .request_digest
    }

    #[test]
    fn a_request_has_one_digest_whatever_the_order_of_its_members() {
        let one: serde_json::Value = serde_json::from_str(r#"{"a":1,"b":{"c":2,"d":3}}"#).unwrap();
        let other: serde_json::Value =
            serde_json::from_str(r#"{"b":{"d":3,"c":2},"a":1}"#).unwrap();
        assert_eq!(digest("x", &one), digest("x", &other));
        assert_ne!(digest("x", &one), digest("y", &one));
        assert_ne!(digest("x", &one), digest("x", &json!({"a": 1})));
    }

    #[test]
    fn a_digest_of_an_earlier_version_is_recognised() {
        let key = IdempotencyKey::for_request("k".to_owned(), "x", &json!({"a": 1})).unwrap();
        let earlier = Digest::hash_bytes(b"earlier");
        assert!(key.matches(key.request_digest) && !key.matches(earlier));
        assert!(key.with_legacy(earlier).matches(earlier));
    }
}
