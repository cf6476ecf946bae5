//! Problem documents (RFC 9457): the one place where errors become HTTP answers.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::hrm::{HrmError, ReportRefusal};
use crate::quotas::QuotaExceeded;
use crate::router::RouterError;
use ark_model::check::FieldError;
use ark_runtime::SettingsProblem;
use ark_store::{CommitError, ReadError, SubmitError, TokenRefusal};

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
            error.to_string(),
        )
        .at(&error.field, &error.remedy)
    }

    /// A problem of a kind, the last part of its `type`.
    pub fn new(
        status: StatusCode,
        kind: &str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self {
            kind: format!("urn:ark:problem:{kind}"),
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

    /// The resource does not exist.
    pub fn not_found(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not-found", "Not found", detail)
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

    /// The deadline of the request was over before it was done.
    pub fn deadline_exceeded() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline-exceeded",
            "The deadline was over",
            "the request's deadline was over before it was done; nothing of it counts",
        )
        .at("Ark-Deadline-Ms", "give more time")
    }

    /// The proposed action is denied.
    pub fn denied(self) -> Self {
        Self {
            outcome: Some("denied"),
            ..self
        }
    }

    /// The deadline of the request was over while it was being carried out.
    pub fn outcome_unknown() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "outcome-unknown",
            "It is not known whether it counts",
            "the request's deadline was over while it was being recorded: it may count, and is not known to be durable",
        )
        .at(
            "Ark-Deadline-Ms",
            "take no answer for a denial: send it again with the same idempotency key, or read whether it is there",
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
            "It is not known whether it counts",
            "the connection to the host that owns the data broke while the request was being carried out: it may count",
        )
        .at(
            "Idempotency-Key",
            "take no answer for a refusal: read whether it is there; with a key the front sends such a request again by itself",
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

    /// The deadline of an order was over while it was being recorded: it is in force.
    pub fn in_force_not_confirmed(order: &'static str) -> Self {
        let detail = format!(
            "the {order} is in force; the request's deadline was over before it was on disk"
        );
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

    /// The caller is known and may not make this call.
    pub fn forbidden(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::FORBIDDEN, "forbidden", "Not allowed", detail)
    }

    /// The path takes other methods, those in `allow`.
    pub fn other_method(detail: String, allow: String) -> Self {
        Self {
            allow: Some(allow),
            ..Self::new(
                StatusCode::METHOD_NOT_ALLOWED,
                "method-not-allowed",
                "Method not allowed",
                detail,
            )
        }
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
    pub fn is_certain(&self) -> bool {
        !self.kind.ends_with(":outcome-unknown")
    }

    /// Adds that the proposed action is denied.
    pub fn with_denial(mut self) -> Self {
        self.outcome = Some("denied");
        self
    }

    /// A conflict of revisions as 412 in place of 409: the expected revision came in a header (RFC 9110, section 15.5.13).
    pub fn into_failed_precondition(mut self) -> Self {
        if self.current_revision.is_some() && self.status == 409 {
            self.status = StatusCode::PRECONDITION_FAILED.as_u16();
        }
        self
    }

    /// Adds the latest revision.
    pub fn at_revision(mut self, current: u64) -> Self {
        self.current_revision = Some(current);
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
        let title = "The request cannot be judged";
        Self::new(
            StatusCode::BAD_REQUEST,
            "invalid-field",
            title,
            error.to_string(),
        )
        .at(&error.field, &error.remedy)
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
                error.to_string(),
            )
        }
        .at("Authorization", error.remedy)
    }
}

impl From<HrmError> for Problem {
    fn from(error: HrmError) -> Self {
        let detail = error.to_string();
        match error {
            HrmError::Busy => Self::busy(detail),
            HrmError::Closed => Self::unavailable(detail),
            HrmError::DeadlineExceeded => Self::deadline_exceeded().denied(),
            HrmError::NotFound(_) | HrmError::UnknownApproval(_) => Self::not_found(detail),
            HrmError::ApprovalAlreadyResolved { .. } => Self::new(
                StatusCode::CONFLICT,
                "approval-settled",
                "The approval is settled",
                detail,
            )
            .at(
                "id",
                "read it: GET /v1/approvals/{id}; have the action proposed again",
            ),
            HrmError::NotIndependent { .. } => Self::new(
                StatusCode::FORBIDDEN,
                "not-independent",
                "Somebody else must approve it",
                detail,
            )
            .at("by", "have another person approve it"),
            HrmError::UnknownCapital => Self::new(
                StatusCode::CONFLICT,
                "no-capital",
                "The capital is not known",
                detail,
            )
            .at("amount", "PUT /v1/account/capital first"),
            HrmError::NotRecorded(_)
            | HrmError::Conflict(_)
            | HrmError::DeliveryAlreadyCompleted => Self {
                outcome: Some("denied"),
                retry_after: Some(1),
                ..Self::new(
                    StatusCode::SERVICE_UNAVAILABLE,
                    "not-recorded",
                    "The decision could not be recorded",
                    detail,
                )
            },
            HrmError::InForceNotRecorded { .. } => Self::in_force_not_recorded(detail),
            HrmError::KeyReused => key_reused(detail),
            HrmError::Quarantined(_) => Self {
                outcome: Some("denied"),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "quarantined",
                    "The agent is in quarantine",
                    detail,
                )
            }
            .at(
                "agent",
                "have an operator restore it: POST /v1/agents/{name}/restore",
            ),
            HrmError::OrderNotApplicable(_) => Self::new(
                StatusCode::CONFLICT,
                "not-in-force",
                "The order cannot be carried out",
                detail,
            ),
            HrmError::UnknownDecision(_) => Self::not_found(detail)
                .at("decision_id", "give the decision_id of an approved action"),
            HrmError::ReportRefused(refusal) => report_refused(&refusal, &detail),
            HrmError::NotExecutable(_) => Self::new(
                StatusCode::CONFLICT,
                "not-executable",
                "Nothing can be executed",
                detail,
            )
            .at(
                "decision_id",
                "give the decision_id of an approved trade or close_position",
            ),
        }
    }
}

/// The problem of an execution report that does not fit its order.
fn report_refused(refusal: &ReportRefusal, detail: &str) -> Problem {
    let conflict = |field, remedy| {
        Problem::new(
            StatusCode::CONFLICT,
            "order-conflict",
            "The report contradicts the order",
            detail.to_owned(),
        )
        .at(field, remedy)
    };
    let unfit = |field, remedy| {
        Problem::new(
            StatusCode::UNPROCESSABLE_ENTITY,
            "unfit-report",
            "The report cannot be booked",
            detail.to_owned(),
        )
        .at(field, remedy)
    };
    match refusal {
        ReportRefusal::Contradicts { .. } => conflict(
            "status",
            "an order that has ended stays as it ended; report a later fill with its size",
        ),
        ReportRefusal::Falls { .. } => conflict(
            "filled_size_pct",
            "give the size that is filled in all so far; leave out a report that is older than the last one",
        ),
        ReportRefusal::NoFilledSize(_) => unfit(
            "filled_size_pct",
            "give the size that is filled in all so far",
        ),
        ReportRefusal::RejectedWithFill => unfit("status", "report cancelled with the filled size"),
        ReportRefusal::ResultOfOpening => unfit(
            "realized_pnl_pct",
            "leave it out; report the result on the close",
        ),
        ReportRefusal::ResultWithoutFill { .. } => unfit(
            "realized_pnl_pct",
            "leave it out; an operator corrects a result: POST /v1/account/results",
        ),
        ReportRefusal::ResultOutOfBounds { .. } => unfit(
            "realized_pnl_pct",
            "check the result and the price; an operator states a result from elsewhere: POST /v1/account/results",
        ),
    }
}

impl From<RouterError> for Problem {
    fn from(error: RouterError) -> Self {
        let detail = error.to_string();
        match error {
            RouterError::Busy => Self::busy(detail),
            RouterError::KeyReused => key_reused(detail),
            RouterError::Closed | RouterError::NotStored(_) | RouterError::Thread(_) => {
                Self::unavailable(detail)
            }
        }
    }
}

impl From<ReadError> for Problem {
    fn from(error: ReadError) -> Self {
        Self::unavailable(error.to_string())
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        match error {
            SubmitError::Full => Self::busy(error.to_string()),
            SubmitError::Closed => Self::unavailable(error.to_string()),
        }
    }
}

impl From<CommitError> for Problem {
    fn from(error: CommitError) -> Self {
        let detail = error.to_string();
        match error {
            CommitError::Conflict { current, .. } | CommitError::Stale { current, .. } => Self {
                current_revision: Some(current),
                ..Self::new(
                    StatusCode::CONFLICT,
                    "revision-conflict",
                    "It is at another revision",
                    detail,
                )
                .at("expected_revision", "read it again and decide again")
            },
            CommitError::NoSuchRevision { current, .. } => Self {
                current_revision: Some(current),
                ..Self::not_found(detail)
                    .at("to_revision", "read the history and give a revision in it")
            },
            CommitError::NotFound(_) => Self::not_found(detail),
            CommitError::Token(refusal) => token_refused(&refusal, detail),
            CommitError::Secret(_) => Self::new(
                StatusCode::CONFLICT,
                "no-secret-key",
                "A secret cannot be kept",
                detail,
            )
            .at(
                "key",
                "start the host with ARK_SECRET_KEY_FILE, or use a key outside secret/",
            ),
            // A repeated request was recognised before this.
            CommitError::KeyReused { .. } | CommitError::AlreadyAnswered(_) => key_reused(detail),
            CommitError::DeliveryNotPending { .. }
            | CommitError::DeliveryNotFailed { .. }
            | CommitError::DeadlineExceeded
            | CommitError::Storage(_)
            | CommitError::Closed => Self::unavailable(detail),
        }
    }
}

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

fn token_refused(refusal: &TokenRefusal, detail: String) -> Problem {
    let (status, field, remedy) = match refusal {
        TokenRefusal::NameTaken(_) => (StatusCode::CONFLICT, "name", "give another name"),
        TokenRefusal::NotFirst => return Problem::unauthenticated(),
        TokenRefusal::FirstMustBeAdmin => (StatusCode::CONFLICT, "role", "give admin"),
        TokenRefusal::TooMany { .. } => (
            StatusCode::CONFLICT,
            "name",
            "use tokens for longer: expired ones count too",
        ),
    };
    Problem::new(status, "token-refused", "The token cannot be made", detail).at(field, remedy)
}
