//! Which callers the owner has admitted: only the owner knows the tokens, so while it is away a front goes by what it answered before.
//!
//! Invariants: a caller is known by the digest of its `Authorization` header, so that no token is kept; callers without one are one caller, whom an
//! owner without tokens admits. Who is refused (401) is forgotten. The number of callers is bounded: who was admitted longest ago is forgotten.

use std::collections::HashMap;

use axum::http::{HeaderMap, StatusCode, header};
use parking_lot::Mutex;

use ark_model::ids::Digest;

/// The most callers that are kept.
const MAX_CALLERS: usize = 4_096;
/// Only calls below this need a token; each of them does.
const GUARDED_PATHS: &str = "/v1/";
/// This one takes a ticket in place of a token.
const TICKET_PATH: &str = "/v1/events";

/// Who sends a request; `None`: it has no `Authorization` header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Caller(Option<Digest>);

impl Caller {
    /// Reads it from the headers of a request.
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        let authorization = headers.get(header::AUTHORIZATION);
        Self(authorization.map(|value| Digest::hash_bytes(value.as_bytes())))
    }
}

/// The callers whom the owner has admitted since the front started.
#[derive(Debug, Default)]
pub(super) struct AdmittedCallers(Mutex<Admissions>);

#[derive(Debug, Default)]
struct Admissions {
    /// Each with the number of its last admission.
    callers: HashMap<Caller, u64>,
    /// How many there were.
    count: u64,
}

impl Admissions {
    fn admit(&mut self, caller: Caller) {
        if self.callers.len() >= MAX_CALLERS && !self.callers.contains_key(&caller) {
            let oldest = self.callers.iter().min_by_key(|(_, number)| **number);
            if let Some(oldest) = oldest.map(|(caller, _)| *caller) {
                self.callers.remove(&oldest);
            }
        }
        self.count = self.count.saturating_add(1);
        self.callers.insert(caller, self.count);
    }
}

impl AdmittedCallers {
    /// Notes what the owner answers to a caller.
    pub(super) fn note_answer(&self, caller: Caller, path: &str, status: StatusCode) {
        if status == StatusCode::UNAUTHORIZED {
            self.0.lock().callers.remove(&caller);
        } else if status.is_success() && path.starts_with(GUARDED_PATHS) && path != TICKET_PATH {
            self.0.lock().admit(caller);
        }
    }

    /// Whether the owner has admitted a caller. As long as it has admitted nobody, the front cannot tell callers apart, and takes all for admitted.
    pub(super) fn is_admitted(&self, caller: Caller) -> bool {
        let admissions = self.0.lock();
        admissions.callers.is_empty() || admissions.callers.contains_key(&caller)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    fn caller_with(token: &str) -> Caller {
        let mut headers = HeaderMap::new();
        if !token.is_empty() {
            let value = format!("Bearer {token}");
            let value = HeaderValue::from_str(&value).expect("a header");
            headers.insert(header::AUTHORIZATION, value);
        }
        Caller::of_request(&headers)
    }

    #[test]
    fn only_what_the_owner_answers_makes_a_caller_known() {
        let callers = AdmittedCallers::default();
        let [ada, bob, nobody] = ["ada", "bob", ""].map(caller_with);
        assert!(callers.is_admitted(bob), "nobody is known");
        for (caller, path, status, admitted) in [
            // What needs no token tells nothing.
            (nobody, "/openapi.json", StatusCode::OK, [true, true, true]),
            (nobody, "/v1/events", StatusCode::OK, [true, true, true]),
            (
                ada,
                "/v1/account",
                StatusCode::NOT_FOUND,
                [true, true, true],
            ),
            (ada, "/v1/account", StatusCode::OK, [true, false, false]),
            (
                bob,
                "/v1/account",
                StatusCode::UNAUTHORIZED,
                [true, false, false],
            ),
            (bob, "/v1/actions", StatusCode::OK, [true, true, false]),
            // Its token was revoked.
            (
                ada,
                "/v1/actions",
                StatusCode::UNAUTHORIZED,
                [false, true, false],
            ),
            (
                ada,
                "/v1/actions",
                StatusCode::BAD_GATEWAY,
                [false, true, false],
            ),
            // The owner has no tokens.
            (nobody, "/v1/account", StatusCode::OK, [false, true, true]),
        ] {
            callers.note_answer(caller, path, status);
            let found = [ada, bob, nobody].map(|caller| callers.is_admitted(caller));
            assert_eq!(found, admitted, "{path} {status}");
        }
    }

    #[test]
    fn as_many_callers_as_may_be_are_kept_and_the_last_ones() {
        let callers = AdmittedCallers::default();
        let number = |number: usize| caller_with(&number.to_string());
        for caller in 0..=MAX_CALLERS {
            callers.note_answer(number(caller), "/v1/account", StatusCode::OK);
        }
        assert_eq!(callers.0.lock().callers.len(), MAX_CALLERS);
        assert!(!callers.is_admitted(number(0)));
        assert!(callers.is_admitted(number(1)) && callers.is_admitted(number(MAX_CALLERS)));
    }
}
