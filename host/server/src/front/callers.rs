//! Which callers the owner has admitted: only the owner knows the tokens, so while it is away a front goes by what it answered before.
//!
//! Invariants: a caller is known by the digest of its token, as the owner reads it of the `Authorization` header, so that no token is kept and one token
//! is one caller, however it is written; callers without one are one caller, whom an owner without tokens admits. An answer for which the owner asks for
//! no token admits nobody. Who is refused (401) is forgotten. The number of callers is bounded: who was admitted longest ago is forgotten.

use std::collections::HashMap;

use axum::http::{HeaderMap, Method, StatusCode};
use parking_lot::Mutex;

use ark_model::ids::Digest;

use crate::api::auth::read_bearer_secret;

/// The most callers that are kept.
const MAX_CALLERS: usize = 4_096;
/// Only calls below this need a token; each of them does, but for `OPTIONS`, by which a browser asks whether a page of another origin may call.
const GUARDED_PATHS: &str = "/v1/";
/// This one takes a ticket in place of a token.
const TICKET_PATH: &str = "/v1/events";

/// Who sends a request; `None`: it has no token.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Caller(Option<Digest>);

impl Caller {
    /// Reads it from the headers of a request.
    pub(super) fn of_request(headers: &HeaderMap) -> Self {
        let secret = read_bearer_secret(headers);
        Self(secret.map(|secret| Digest::hash_bytes(secret.as_bytes())))
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
    /// Notes what the owner answers to a caller. `asked`: the method and the path.
    pub(super) fn note_answer(
        &self,
        caller: Caller,
        (method, path): (&Method, &str),
        status: StatusCode,
    ) {
        let is_guarded =
            method != Method::OPTIONS && path.starts_with(GUARDED_PATHS) && path != TICKET_PATH;
        if status == StatusCode::UNAUTHORIZED {
            self.0.lock().callers.remove(&caller);
        } else if status.is_success() && is_guarded {
            self.0.lock().admit(caller);
        }
    }

    /// Whether the owner has admitted a caller. As long as it has never admitted anybody, the front cannot tell callers apart, and takes all for admitted.
    pub(super) fn is_admitted(&self, caller: Caller) -> bool {
        let admissions = self.0.lock();
        admissions.count == 0 || admissions.callers.contains_key(&caller)
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{HeaderValue, header};

    use super::*;

    fn caller_sending(authorization: &str) -> Caller {
        let mut headers = HeaderMap::new();
        if !authorization.is_empty() {
            let value = HeaderValue::from_str(authorization).expect("a header");
            headers.insert(header::AUTHORIZATION, value);
        }
        Caller::of_request(&headers)
    }

    fn caller_with(token: &str) -> Caller {
        if token.is_empty() {
            return caller_sending("");
        }
        caller_sending(&format!("Bearer {token}"))
    }

    #[test]
    fn a_token_is_one_caller_however_it_is_written() {
        let ada = caller_with("ada");
        for written in ["Bearer   ada", "bearer ada", "BEARER ada  ", "Bearer \tada"] {
            assert_eq!(caller_sending(written), ada, "{written:?}");
        }
        assert_ne!(caller_with("bob"), ada);
        // What the owner reads no token of.
        for written in ["", "Basic ada", "Bearer", "ada"] {
            assert_eq!(caller_sending(written), Caller(None), "{written:?}");
        }
    }

    #[test]
    fn only_what_the_owner_answers_makes_a_caller_known() {
        let callers = AdmittedCallers::default();
        let [ada, bob, nobody] = ["ada", "bob", ""].map(caller_with);
        assert!(callers.is_admitted(bob), "nobody is known");
        let (get, options) = (Method::GET, Method::OPTIONS);
        let (all, ok) = ([true, true, true], StatusCode::OK);
        let refused = StatusCode::UNAUTHORIZED;
        for (caller, method, path, status, admitted) in [
            // What needs no token tells nothing.
            (nobody, &get, "/openapi.json", ok, all),
            (nobody, &get, "/v1/events", ok, all),
            (nobody, &options, "/v1/actions", ok, all),
            (ada, &get, "/v1/account", StatusCode::NOT_FOUND, all),
            (ada, &get, "/v1/account", ok, [true, false, false]),
            (nobody, &options, "/v1/actions", ok, [true, false, false]),
            (bob, &options, "/v1/actions", ok, [true, false, false]),
            (bob, &get, "/v1/account", refused, [true, false, false]),
            (bob, &get, "/v1/actions", ok, [true, true, false]),
            // Its token was revoked.
            (ada, &get, "/v1/actions", refused, [false, true, false]),
            (
                ada,
                &get,
                "/v1/actions",
                StatusCode::BAD_GATEWAY,
                [false, true, false],
            ),
            // So was the last one that is known: that it was admitted once tells callers apart.
            (bob, &get, "/v1/actions", refused, [false, false, false]),
            // The owner has no tokens.
            (nobody, &get, "/v1/account", ok, [false, false, true]),
        ] {
            callers.note_answer(caller, (method, path), status);
            let found = [ada, bob, nobody].map(|caller| callers.is_admitted(caller));
            assert_eq!(found, admitted, "{method} {path} {status}");
        }
    }

    #[test]
    fn as_many_callers_as_may_be_are_kept_and_the_last_ones() {
        let callers = AdmittedCallers::default();
        let number = |number: usize| caller_with(&number.to_string());
        for caller in 0..=MAX_CALLERS {
            callers.note_answer(
                number(caller),
                (&Method::GET, "/v1/account"),
                StatusCode::OK,
            );
        }
        assert_eq!(callers.0.lock().callers.len(), MAX_CALLERS);
        assert!(!callers.is_admitted(number(0)));
        assert!(callers.is_admitted(number(1)) && callers.is_admitted(number(MAX_CALLERS)));
    }
}
