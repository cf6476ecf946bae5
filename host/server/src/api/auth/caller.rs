//! The caller of a request: principal, trace and token, as handlers extract them.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::request::Parts;

use crate::api::http::fields::Actor;
use crate::api::http::problem::Problem;
use crate::api::http::trace_context::find_trace_id;
use crate::watchdog::WATCHDOG_ACTOR;
use ark_model::check::{FieldError, clip_for_error};
use ark_model::ids::TraceId;
use ark_model::principal::Principal;

use super::tickets::TokenUsed;

/// Who was admitted, as the gate tells handlers.
#[derive(Clone)]
pub(super) struct Admission {
    pub(super) principal: Arc<Principal>,
    pub(super) token: TokenUsed,
}

/// Who calls, and the trace of the call.
pub(crate) struct Caller {
    /// The principal that the token stands for, or a caller of a host without tokens.
    pub(crate) principal: Arc<Principal>,
    /// The trace of the `traceparent` header, or a fresh one.
    pub(crate) trace_id: TraceId,
    /// The token of the call.
    pub(crate) token: TokenUsed,
}

impl<S: Send + Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let admission = parts.extensions.get::<Admission>().cloned();
        let Admission { principal, token } = admission.ok_or_else(Problem::unauthenticated)?;
        Ok(Self {
            principal,
            trace_id: find_trace_id(&parts.headers, None)?,
            token,
        })
    }
}

impl Caller {
    /// The name under which an act is recorded: a token's own, which cannot be exchanged for another; without a token the name in `field`, if one
    /// is given.
    ///
    /// # Errors
    /// 403 when another name than the token's is given.
    pub(crate) fn resolve_actor(
        &self,
        field: &str,
        given: Option<Actor>,
    ) -> Result<String, Problem> {
        let given = given.map(String::from);
        match given {
            Some(given) if !self.principal.authenticated => Ok(given),
            Some(given) if given != self.principal.name => {
                let detail = format!(
                    "{field}: is {:?}, and the token's name is {:?}",
                    clip_for_error(&given),
                    self.principal.name
                );
                Err(Problem::forbidden(detail, field, "leave it out"))
            }
            _ => Ok(self.principal.name.clone()),
        }
    }

    /// As [`Self::resolve_actor`], for what the watchdog does too: its name is nobody else's.
    ///
    /// # Errors
    /// 400 for the watchdog's name, 403 for another name than the token's.
    pub(crate) fn resolve_operator(&self, given: Option<Actor>) -> Result<String, Problem> {
        let by = self.resolve_actor("by", given)?;
        if by == WATCHDOG_ACTOR {
            let problem = format!("is {by:?}, the watchdog's own name");
            return Err(FieldError::new("by", problem, "give your own name").into());
        }
        Ok(by)
    }
}
