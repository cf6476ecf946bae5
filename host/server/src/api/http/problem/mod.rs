//! Problem documents (RFC 9457): the one place where errors become HTTP answers. Those of the HRM and the router are in [`hrm`], those of the
//! store in [`store`].

mod hrm;
mod store;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::quotas::QuotaExceeded;
use ark_model::check::FieldError;
use ark_model::problem::UNKNOWN_AGENT;
use ark_runtime::SettingsProblem;

/// An error answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub struct Problem {
    /// The kind of problem, a stable URN.
    #[serde(rename = "type")]
    kind: String,
    /// The kind as a short sentence.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What happened, as a sentence.
    detail: String,
    /// The field at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// What to do.
    #[serde(skip_serializing_if = "Option::is_none")]
    remedy: Option<String>,
    /// Whether the order is in force, where one was given and could not be recorded yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    in_force: Option<bool>,
    /// The outcome of the proposed action, if one was proposed.
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<&'static str>,
    /// The latest revision, where another one was expected.
    #[serde(skip_serializing_if = "Option::is_none")]
    current_revision: Option<u64>,
    /// Every problem, where there are more than that of `field`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    problems: Vec<SettingsProblem>,
    #[serde(skip)]
    retry_after: Option<u32>,
    /// Whether it is certain that nothing of the request counts.
    #[serde(skip)]
    is_certain: bool,
    /// The methods of the path, where another one was used.
    #[serde(skip)]
    allow: Option<String>,
}

impl Problem {
    /// The request contradicts itself, or the state of the host.
    pub fn contradiction(error: &FieldError) -> Self {
        let title = "The request contradicts itself or the state of the host";
        Self::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "contradiction",
            title,
            error.describe(),
        )
        .at(&error.field, &error.remedy)
    }

    /// A proposed action has a field that is out of form.
    pub fn not_judgeable(error: &FieldError) -> Self {
        Self::invalid_field("The request cannot be judged", error)
    }

    fn invalid_field(title: &'static str, error: &FieldError) -> Self {
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-field",
            title,
            error.describe(),
        )
        .at(&error.field, &error.remedy)
    }

    /// A proposal names a requester that is neither a loaded agent nor a submitter.
    pub fn unknown_agent(detail: impl Into<String>) -> Self {
        Self::of_type(
            StatusCode::UNPROCESSABLE_ENTITY,
            UNKNOWN_AGENT.to_owned(),
            "The agent is not known",
            detail,
        )
        .at(
            "agent",
            "name a known one, or add it to `submitters` in ark.toml (or start with --submitter NAME)",
        )
    }

    /// A problem of a kind, the last part of its `type`.
    pub fn new(
        status: StatusCode,
        kind: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self::of_type(status, format!("urn:ark:problem:{kind}"), title, detail)
    }

    /// A problem of a whole `type`.
    fn of_type(
        status: StatusCode,
        kind: String,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            title,
            status: status.as_u16(),
            detail: detail.into(),
            field: None,
            remedy: None,
            in_force: None,
            outcome: None,
            current_revision: None,
            problems: Vec::new(),
            retry_after: None,
            is_certain: true,
            allow: None,
        }
    }

    /// The host has no capacity now; the client may try again in a second.
    pub fn busy(detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                "The host is busy",
                detail,
            )
        }
    }

    /// As [`Self::busy`]; the client may try again after `retry_after` seconds.
    pub fn busy_for(detail: impl Into<String>, retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::busy(detail)
        }
    }

    /// The resource that `field` names does not exist.
    pub fn not_found(detail: impl Into<String>, field: &str, remedy: &str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail).at(field, remedy)
    }

    /// The host cannot do this now; the client may try again in a second.
    pub fn unavailable(detail: impl Into<String>) -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "The host cannot do this now",
                detail,
            )
        }
    }

    /// The call needs a token in force. A wrong, an expired and a revoked token get the same answer.
    pub fn unauthenticated() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "A token is needed",
            "this call needs a bearer token that is in force",
        )
        .at(
            "Authorization",
            "send Authorization: Bearer ark_…; an administrator makes tokens with `ark token create`",
        )
    }

    /// The ticket of an event stream admits nobody. One that never was gets the same answer.
    pub fn ticket_refused() -> Self {
        Self::new(
            StatusCode::UNAUTHORIZED,
            "unauthenticated",
            "The ticket is not valid",
            "the ticket is used up or expired, or the token that it was issued to is no longer in force: a ticket opens one stream, soon after it was issued",
        )
        .at(
            "ticket",
            "ask for another one with a token: POST /v1/events/tickets; then go on with since and the id of the last event",
        )
    }

    /// The deadline of the request passed before it was carried out.
    pub fn deadline_exceeded() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline-exceeded",
            "The deadline passed",
            "the deadline passed before the request was carried out; nothing was recorded",
        )
        .at("Ark-Deadline-Ms", "give more time")
    }

    /// Adds that the proposed action is denied.
    pub fn denied(self) -> Self {
        Self {
            outcome: Some("denied"),
            ..self
        }
    }

    /// Says that the request may have taken effect.
    fn uncertain(self) -> Self {
        Self {
            is_certain: false,
            ..self
        }
    }

    /// The deadline of the request passed while it was being recorded.
    pub fn outcome_unknown() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "outcome-unknown",
            "The outcome is not known",
            "the deadline passed while the request was being recorded: it may have taken effect",
        )
        .uncertain()
        .at(
            "Ark-Deadline-Ms",
            "do not treat this as a denial: send the request again with the same idempotency key, or read whether it was recorded",
        )
    }

    /// A front passed the request on already.
    pub fn passed_before() -> Self {
        Self::new(
            StatusCode::LOOP_DETECTED,
            "loop",
            "A front passed the request on already",
            "the request names a front in its header Via; a front's owner is the host that owns the data, not another front",
        )
        .at("Via", "name the host with the data as the owner (--owner)")
    }

    /// The connection to the host that owns the data broke while it was carrying the request out.
    pub fn connection_broke() -> Self {
        Self::new(
            StatusCode::BAD_GATEWAY,
            "outcome-unknown",
            "The outcome is not known",
            "the connection to the host that owns the data broke while the request was being carried out: it may have taken effect",
        )
        .uncertain()
        .at(
            "Idempotency-Key",
            "do not treat this as a denial: send the request again with the same idempotency key, or read whether it was recorded",
        )
    }

    /// The host that owns the data is away, and the request was not sent to it.
    pub fn owner_away(detail: impl Into<String>, retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "owner-away",
                "The host that owns the data is away",
                detail,
            )
        }
    }

    /// The deadline of an order passed while it was being recorded: it is in force.
    pub fn in_force_not_confirmed(order: &'static str) -> Self {
        let detail = format!("the {order} is in force; the deadline passed before it was on disk");
        Self {
            status: StatusCode::GATEWAY_TIMEOUT.as_u16(),
            ..Self::in_force_not_recorded(detail)
        }
    }

    /// An order is in force and not on disk, or not known to be.
    fn in_force_not_recorded(detail: impl Into<String>) -> Self {
        Self {
            in_force: Some(true),
            retry_after: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "in-force-not-recorded",
                "The order is in force, and not on disk yet",
                detail,
            )
        }
        .at(
            "order",
            "GET /readyz names it until it is on disk; give it again to have it confirmed",
        )
    }

    /// The caller is known and may not make this call, because of what `field` says.
    pub fn forbidden(detail: impl Into<String>, field: &str, remedy: &str) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail).at(field, remedy)
    }

    /// A change expects a revision that is not the latest.
    pub fn revision_conflict(detail: impl Into<String>, current: u64) -> Self {
        Self {
            current_revision: Some(current),
            ..Self::new(
                StatusCode::CONFLICT,
                "revision-conflict",
                "The revision does not match",
                detail,
            )
        }
        .at(
            "expected_revision",
            "read the current revision and try again with it",
        )
    }

    /// The path takes other methods, those in `allow`.
    pub fn other_method(detail: String, allow: String) -> Self {
        let remedy = format!("use {allow}; GET /docs describes every call");
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                detail,
            )
        }
        .at("method", &remedy)
    }

    /// The caller sent too many requests; it may try again after `retry_after` seconds.
    pub fn too_many(detail: impl Into<String>, retry_after: u32) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too-many-requests",
                "Too many requests",
                detail,
            )
        }
        .at("Authorization", "wait for Retry-After seconds")
    }

    /// Whether it is certain that nothing of the request counts.
    pub const fn is_certain(&self) -> bool {
        self.is_certain
    }

    /// A conflict of revisions as 412 in place of 409: the expected revision came in a header (RFC 9110, section 15.5.13).
    pub fn into_failed_precondition(mut self) -> Self {
        if self.current_revision.is_some() && self.status == 409 {
            self.status = StatusCode::PRECONDITION_FAILED.as_u16();
        }
        self
    }

    /// Adds every problem.
    pub fn with_problems(mut self, problems: &[SettingsProblem]) -> Self {
        problems.clone_into(&mut self.problems);
        self
    }

    /// What happened, as a sentence.
    pub fn detail(&self) -> &str {
        &self.detail
    }

    /// The same problem in a part of a larger request: its field becomes `part.field`.
    pub fn within(mut self, part: &str) -> Self {
        self.field = self.field.map(|field| format!("{part}.{field}"));
        self
    }

    /// Adds the field at fault and what to do.
    pub fn at(mut self, field: &str, remedy: &str) -> Self {
        self.field = Some(field.to_owned());
        self.remedy = Some(remedy.to_owned());
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        response.headers_mut().insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        if let Some(allow) = self
            .allow
            .and_then(|allow| HeaderValue::from_str(&allow).ok())
        {
            response.headers_mut().insert(header::ALLOW, allow);
        }
        if status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(
                header::WWW_AUTHENTICATE,
                HeaderValue::from_static("Bearer realm=\"ark\""),
            );
        }
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if let Some(revision) = self.current_revision
            && let Ok(tag) = HeaderValue::from_str(&format!("\"{revision}\""))
        {
            response.headers_mut().insert(header::ETAG, tag);
        }
        response
    }
}

impl From<FieldError> for Problem {
    fn from(error: FieldError) -> Self {
        Self::invalid_field("The request is not valid", &error)
    }
}

impl From<QuotaExceeded> for Problem {
    fn from(error: QuotaExceeded) -> Self {
        Self {
            // What is kept is not freed by waiting.
            retry_after: Some(if error.is_per_minute() { 60 } else { 3600 }),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "quota-exceeded",
                "A quota is used up",
                error.describe(),
            )
        }
        .at("Authorization", error.remedy)
    }
}

/// An idempotency key came back with another request.
fn key_reused(detail: String) -> Problem {
    let title = "The idempotency key was used for another request";
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "idempotency-key-reused",
        title,
        detail,
    )
    .at("idempotency_key", "use a fresh key for every new request")
}
