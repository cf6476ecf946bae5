//! Who may call what: each call says what it asks for, its bearer is looked up, and what the role does not allow is refused.
//!
//! Invariant: a call is made with [`call`], which cannot be left without an [`Access`]; so no call is open because somebody forgot.

use std::num::NonZeroU32;
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::handler::Handler;
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};
use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

use crate::model::check::clip;
use crate::model::principal::{Principal, Role};
use crate::tokens::Tokens;

use super::problem::Problem;
use super::routes::Api;

/// What a call asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Access {
    /// Nothing: health.
    Open,
    /// Any token.
    Read,
    /// This role, or an admin's.
    Role(Role),
}

impl Access {
    /// Whether a role has it.
    fn allows(self, role: Role) -> bool {
        match self {
            Self::Open | Self::Read => true,
            Self::Role(needed) => role == needed || role == Role::Admin,
        }
    }
}

/// A call: where it is, what it asks for, what it does.
pub(super) struct Call {
    pub(super) method: Method,
    pub(super) path: &'static str,
    pub(super) access: Access,
    handler: MethodRouter<Arc<Api>>,
}

/// Makes a call.
pub(super) fn call<H, T>(access: Access, method: Method, path: &'static str, handler: H) -> Call
where
    H: Handler<T, Arc<Api>>,
    T: 'static,
{
    // All methods used here have a filter; one without would be a call that nobody can make.
    let filter = MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::TRACE);
    Call {
        method,
        path,
        access,
        handler: on(filter, handler),
    }
}

impl Call {
    /// The call behind the check of its bearer.
    pub(super) fn guarded(self, gate: &Arc<Gate>) -> MethodRouter<Arc<Api>> {
        let state = (Arc::clone(gate), self.access);
        self.handler
            .route_layer(middleware::from_fn_with_state(state, admit))
    }
}

/// Looks bearers up and counts their calls.
pub(super) struct Gate {
    tokens: Tokens,
    rate: DefaultKeyedRateLimiter<String>,
    clock: DefaultClock,
}

impl Gate {
    /// `rate`: calls a second that each token may make.
    pub(super) fn new(tokens: Tokens, rate: NonZeroU32) -> Self {
        Self {
            tokens,
            rate: RateLimiter::keyed(Quota::per_second(rate)),
            clock: DefaultClock::default(),
        }
    }

    fn principal(&self, request: &Request) -> Result<Principal, Problem> {
        if !self.tokens.required() {
            return Ok(Principal::local());
        }
        let text = request
            .headers()
            .get(header::AUTHORIZATION)
            .and_then(|value| value.to_str().ok())
            .and_then(|value| value.split_once(' '))
            .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
            .map_or("", |(_, token)| token.trim());
        let (principal, id) = self.tokens.bearer(text).ok_or_else(unknown)?;
        if let Err(until) = self.rate.check_key(&id) {
            let wait = until.wait_time_from(self.clock.now());
            return Err(Problem::too_many(wait.as_secs() + 1));
        }
        Ok(principal)
    }
}

/// One answer for a token that is missing, wrong, expired or revoked.
fn unknown() -> Problem {
    Problem::new(
        StatusCode::UNAUTHORIZED,
        "not-authenticated",
        "A token is needed",
        "there is no token in the request, or it is not good",
    )
    .at(
        "Authorization",
        "send `Authorization: Bearer ark_…` with a token that an admin made (ark token create)",
    )
}

async fn admit(
    State((gate, access)): State<(Arc<Gate>, Access)>,
    mut request: Request,
    next: Next,
) -> Response {
    let principal = if access == Access::Open {
        Principal::local()
    } else {
        match gate.principal(&request) {
            Ok(principal) => principal,
            Err(problem) => {
                let mut response = problem.into_response();
                if response.status() == StatusCode::UNAUTHORIZED {
                    let challenge = HeaderValue::from_static("Bearer realm=\"ark\"");
                    response
                        .headers_mut()
                        .insert(header::WWW_AUTHENTICATE, challenge);
                }
                return response;
            }
        }
    };
    if !access.allows(principal.role) {
        let needed = match access {
            Access::Role(role) => role.as_str(),
            Access::Open | Access::Read => "reader",
        };
        let detail = format!(
            "{} is a {}'s token, and this call is for a {needed}'s",
            clip(&principal.name),
            principal.role.as_str()
        );
        return Problem::new(
            StatusCode::FORBIDDEN,
            "not-allowed",
            "The token does not allow this",
            detail,
        )
        .at("Authorization", "use a token of that role, or an admin's")
        .into_response();
    }
    request.extensions_mut().insert(principal);
    next.run(request).await
}
