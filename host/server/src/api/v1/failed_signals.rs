//! Signals that failed: `/v1/signals/failed`, and `/v1/signals/redeliver`, which delivers them again.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use ark_model::ids::{AuditId, Millis, Name, SignalId, TraceId};
use ark_store::{FailedCursor, FailedDelivery};

use crate::api::auth::Caller;
use crate::api::http::answer::convert_rows;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, Moment, Reason, text_field};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{Limit, next_cursor, page_rows};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, with_replayed};
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::api::v1::names::{advise_on_quarantine, unknown_agent};
use crate::api::v1::uploads::change_request_of;
use crate::changes::ChangeKey;
use crate::router::{RedeliveryError, RedeliveryReceipt, RedeliveryRequest};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_failed_signals))
        .routes(routes!(redeliver_signals))
}

text_field! {
    /// Where to go on: a signal and an agent.
    FailedCursorText("the next_cursor of the page before", bytes: 38..=101,
        pattern: Some("^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}:[a-z][a-z0-9_-]{0,63}$"),
        accepts: |text| parse_cursor(text).is_some())
}

/// Which failed signals.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct FailedQuery {
    /// Only those that this agent failed to handle.
    agent: Option<Name>,
    /// How many rows at most; 50 if left out.
    #[param(inline)]
    limit: Option<Limit>,
    /// Where to go on: the `next_cursor` of the page before.
    #[param(inline)]
    cursor: Option<FailedCursorText>,
}

/// A delivery of a signal that failed.
#[derive(Serialize, ToSchema)]
struct FailedSignal {
    /// The signal.
    signal_id: SignalId,
    /// The agent that it was delivered to.
    agent: Name,
    /// The topic of the signal.
    topic: String,
    /// The trace of the signal.
    trace_id: TraceId,
    /// When the signal was accepted.
    accepted_at_ms: Millis,
    /// When its time to live is over: it cannot be delivered again then.
    expires_at_ms: Option<Millis>,
    /// When the delivery failed.
    failed_at_ms: Millis,
    /// Why it failed.
    reason: String,
    /// The failure in the audit log, which is the id of its capsule as well; absent when it is archived, and of a delivery that was shed.
    failure_id: Option<AuditId>,
}

impl From<FailedDelivery> for FailedSignal {
    fn from(failed: FailedDelivery) -> Self {
        Self {
            signal_id: failed.signal,
            agent: failed.agent,
            topic: failed.topic,
            trace_id: failed.trace_id,
            accepted_at_ms: failed.accepted_at,
            expires_at_ms: failed.expires_at,
            failed_at_ms: failed.failed_at,
            reason: failed.reason,
            failure_id: failed.failure,
        }
    }
}

/// A page of failed deliveries, the latest signal first.
#[derive(Serialize, ToSchema)]
struct FailedPage {
    signals: Vec<FailedSignal>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists the deliveries of signals that failed, the latest signal first
///
/// A delivery fails when the invocation does, when the signal expires or the agent's queue is full, and when the agent is deleted with `force`.
#[utoipa::path(get, path = "/v1/signals/failed", operation_id = "list_failed_signals", tag = "signals", params(FailedQuery),
    responses(
        (status = 200, description = "A page.", body = FailedPage),
        (status = 404, description = "There is no such agent, and no failed signal of one of this name."),
    ))]
async fn list_failed_signals(
    State(api): Shared,
    ApiQuery(query): ApiQuery<FailedQuery>,
) -> Result<Response, Problem> {
    let limit = page_rows(query.limit);
    let behind = query
        .cursor
        .and_then(|cursor| parse_cursor(cursor.as_ref()));
    let is_first = behind.is_none();
    let agent = query.agent.clone();
    let rows = api
        .run_blocking(move |api| {
            api.store
                .failed_deliveries(agent.as_ref(), behind.as_ref(), limit)
        })
        .await??;
    if let Some(agent) = &query.agent
        && is_first
        && rows.is_empty()
    {
        // An agent that was deleted is known by what it failed to handle.
        let asked = agent.clone();
        let kept = api
            .run_blocking(move |api| api.agents.read_status(&asked))
            .await??;
        let is_known = api.router.find_serving(agent).is_some()
            || kept.rollout.is_some()
            || kept.refused.is_some();
        if !is_known {
            return Err(unknown_agent(&api, agent, "agent"));
        }
    }
    let page = FailedPage {
        next_cursor: next_cursor(&rows, limit, |row| format!("{}:{}", row.signal, row.agent)),
        signals: convert_rows(rows),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

fn parse_cursor(text: &str) -> Option<FailedCursor> {
    let (signal, agent) = text.split_once(':')?;
    Some(FailedCursor {
        signal: signal.parse().ok()?,
        agent: agent.parse().ok()?,
    })
}

/// What is to be delivered again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct RedeliverRequest {
    /// The agent whose deliveries failed.
    agent: Name,
    /// Only this signal; if left out, all that failed, 100 at most.
    signal_id: Option<SignalId>,
    /// Only what failed at this moment or before, in milliseconds since 1970 (UTC); until now if left out. With it a request can be sent again
    /// without delivering once more what has failed again.
    failed_until_ms: Option<Moment>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

request_body!(RedeliverRequest);

/// What is delivered again.
#[derive(Serialize, ToSchema)]
struct Redelivered {
    /// The agent.
    agent: Name,
    /// The signals, oldest first.
    signals: Vec<SignalId>,
    /// How many more failed until then and can be delivered again.
    remaining: u64,
    /// How many failed until then and have expired meanwhile: they stay failed.
    expired: u64,
    /// The moment until which failures were looked at: the `failed_until_ms` of the next request for the rest.
    failed_until_ms: Millis,
    /// What they wait for where the agent is in quarantine; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

impl Redelivered {
    fn new(api: &Api, receipt: RedeliveryReceipt) -> Self {
        let receivers = (!receipt.signals.is_empty()).then_some(&receipt.agent);
        Self {
            hint: advise_on_quarantine(api, receivers),
            agent: receipt.agent,
            signals: receipt.signals,
            remaining: receipt.remaining,
            expired: receipt.expired,
            failed_until_ms: receipt.failed_until,
        }
    }
}

/// Delivers signals again that failed: one, or all of an agent
///
/// Each is pending again before the answer, with a row of the audit log in its trace. A signal that is not failed any more is not delivered twice.
#[utoipa::path(post, path = "/v1/signals/redeliver", operation_id = "redeliver_signals", tag = "signals", params(IdempotencyHeader),
    request_body = RedeliverRequest,
    responses(
        (status = 202, description = "The signals will be delivered.", body = Redelivered),
        (status = 404, description = "No agent of this name serves."),
        (status = 409, description = "The delivery has not failed, or the signal has expired."),
    ))]
async fn redeliver_signals(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<RedeliverRequest>,
) -> Result<Response, Problem> {
    let mut change = change_request_of(&caller, form.by, form.reason)?;
    let key = idempotency.for_request(&CanonicalRequest {
        operation: "redeliver_signals",
        parameters: json!({}),
        body: &body,
        legacy: String::new(),
    });
    change.idempotency_key = key.map(|key| ChangeKey {
        key: key.key,
        request: key.request_digest,
        legacy_request: None,
    });
    let request = RedeliveryRequest {
        agent: form.agent,
        signal: form.signal_id,
        failed_until: form.failed_until_ms.map(|moment| Millis(moment.into())),
    };
    let (receipt, is_replayed) = api
        .run_blocking(move |api| api.router.redeliver(&request, &change))
        .await??;
    let response = json_response(StatusCode::ACCEPTED, None, &Redelivered::new(&api, receipt));
    Ok(with_replayed(response, is_replayed))
}

impl From<RedeliveryError> for Problem {
    fn from(error: RedeliveryError) -> Self {
        let detail = error.to_string();
        let conflict = |kind: &str, title: &'static str, remedy: &str| {
            Self::new(StatusCode::CONFLICT, kind, title, detail.clone()).at("signal_id", remedy)
        };
        match error {
            RedeliveryError::UnknownAgent(_) => Self::not_found(
                detail,
                "agent",
                "GET /v1/agents lists the agents that serve",
            ),
            RedeliveryError::NotFailed { .. } => conflict(
                "not-failed",
                "The delivery has not failed",
                "GET /v1/signals/failed lists what failed",
            ),
            RedeliveryError::Expired(_) => conflict(
                "signal-expired",
                "The signal has expired",
                "send a new signal: POST /v1/signals",
            ),
            RedeliveryError::Router(error) => error.into(),
        }
    }
}
