//! Webhooks (`/v1/webhooks`): how each does, its dead letters, and what operators do with both.

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::answer::convert_rows;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiPath, ApiQuery, NoQuery, request_body};
use crate::api::http::fields::{Actor, Reason, text_field};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::pagination::{PageQuery, next_cursor};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, parse_stored_json, with_replayed};
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::api::v1::names::WebhookNamePath;
use crate::api::v1::uploads::change_request_of;
use crate::changes::ChangeKey;
use crate::webhooks::{FailureKind, WebhookChangeError, WebhookRedelivery, WebhookStatus};
use ark_model::ids::{Millis, Name};
use ark_store::{ReadError, WebhookDeadLetter};

use super::redis::whole_millis;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(list_webhooks))
        .routes(routes!(list_webhook_dead_letters))
        .routes(routes!(redeliver_webhook))
        .routes(routes!(enable_webhook))
}

text_field! {
    /// The id of an event, as `webhook-id` has it.
    WebhookEventId("the event_id of a dead letter, e.g. log_17_1795165200250", bytes: 1..=64, pattern: Some("^(log|alert)_[0-9]+_[0-9]+$"),
        accepts: is_event_id)
}

fn is_event_id(text: &str) -> bool {
    let mut parts = text.split('_');
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_digit());
    matches!(parts.next(), Some("log" | "alert"))
        && parts.next().is_some_and(is_number)
        && parts.next().is_some_and(is_number)
        && parts.next().is_none()
}

/// How a webhook does now.
#[derive(Debug, Clone, Copy, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum WebhookCondition {
    /// What was tried last was delivered, or nothing was tried yet.
    Delivering,
    /// The last attempt failed, or nothing can be sent.
    Failing,
    /// Nothing is sent until an operator enables it.
    Disabled,
}

/// Attempts of a webhook since the start of the host, by what came of them.
#[derive(Serialize, ToSchema)]
struct WebhookAttempts {
    /// The receiver has the event.
    delivered: u64,
    /// The receiver answered with something else than success.
    refused: u64,
    /// The receiver did not answer in time.
    timeout: u64,
    /// There was no connection, or it ended.
    unreachable: u64,
    /// The receiver's address is none that may be connected to.
    blocked: u64,
}

/// A webhook.
#[derive(Serialize, ToSchema)]
#[schema(as = Webhook)]
struct WebhookShown {
    name: Name,
    /// Scheme, host and port of its address.
    origin: String,
    /// The types of events that it gets.
    events: Vec<String>,
    /// The current condition.
    status: WebhookCondition,
    /// Why the last attempt failed, or why nothing is sent.
    problem: Option<String>,
    /// The time from which on no attempt has succeeded.
    failing_since_ms: Option<Millis>,
    /// When it was disabled.
    disabled_at_ms: Option<Millis>,
    /// When an event was delivered last, since the start of the host.
    delivered_at_ms: Option<Millis>,
    /// How far events were sent, as a position of `/v1/events`; absent: it is not known yet.
    position: Option<String>,
    /// The event that is tried and not delivered yet.
    event_id: Option<String>,
    /// How many attempts at it have failed.
    failed_attempts: u32,
    /// When it is tried again.
    retry_at_ms: Option<Millis>,
    /// Events behind the position, those included that are none for this webhook.
    waiting: Option<u64>,
    /// How long the oldest of those has waited, in milliseconds.
    waiting_ms: Option<u64>,
    attempts: WebhookAttempts,
    /// Dead letters that are kept.
    dead_letters: u64,
    /// Dead letters that were dropped since the start of the host, since there were too many.
    dropped: u64,
    /// Audit rows that went into an archive before they could be sent, since the start of the host.
    missed: u64,
}

/// The webhooks, in the order of the configuration.
#[derive(Serialize, ToSchema)]
struct WebhookList {
    webhooks: Vec<WebhookShown>,
}

/// An event that a webhook could not deliver.
#[derive(Serialize, ToSchema)]
#[schema(as = WebhookDeadLetter)]
struct DeadLetterShown {
    /// The id that every attempt had.
    event_id: String,
    /// The type of the event.
    event_type: String,
    /// When it happened.
    at_ms: Millis,
    /// How many attempts have failed.
    failed_attempts: u32,
    /// When the last one failed.
    failed_at_ms: Millis,
    /// Why the receiver does not have it.
    reason: String,
    /// When one more attempt was asked for that is still to be made.
    redeliver_at_ms: Option<Millis>,
    /// The event as it was sent.
    #[schema(value_type = Object)]
    event: Value,
}

impl From<WebhookDeadLetter> for DeadLetterShown {
    fn from(kept: WebhookDeadLetter) -> Self {
        Self {
            event: parse_stored_json(&kept.letter.body),
            event_id: kept.letter.event_id,
            event_type: kept.letter.event_type,
            at_ms: kept.letter.event_at,
            failed_attempts: kept.letter.attempts,
            failed_at_ms: kept.at,
            reason: kept.letter.reason,
            redeliver_at_ms: kept.redeliver_at,
        }
    }
}

/// A page of dead letters, newest first.
#[derive(Serialize, ToSchema)]
struct DeadLetterPage {
    dead_letters: Vec<DeadLetterShown>,
    /// The cursor of the next page, if there may be one.
    next_cursor: Option<String>,
}

/// Lists the webhooks and the condition of each
#[utoipa::path(get, path = "/v1/webhooks", operation_id = "list_webhooks", tag = "webhooks",
    responses((status = 200, description = "The webhooks.", body = WebhookList)))]
async fn list_webhooks(State(api): Shared, _: NoQuery) -> Result<Response, Problem> {
    let webhooks = api
        .run_blocking(|api| {
            let statuses = api.webhooks.statuses().iter();
            statuses
                .map(|status| show_webhook(api, status))
                .collect::<Result<Vec<_>, _>>()
        })
        .await??;
    Ok(json_response(
        StatusCode::OK,
        None,
        &WebhookList { webhooks },
    ))
}

fn show_webhook(api: &Api, status: &WebhookStatus) -> Result<WebhookShown, ReadError> {
    let state = status.state();
    let backlog = status.measure_backlog(&api.store)?;
    let failed = |kind| status.failed(kind).get();
    let [refused, timeout, unreachable, blocked] = [
        FailureKind::Refused,
        FailureKind::Timeout,
        FailureKind::Unreachable,
        FailureKind::Blocked,
    ]
    .map(failed);
    let condition = match (&state.disabled, &state.problem, state.failing_since) {
        (Some(_), _, _) => WebhookCondition::Disabled,
        (None, None, None) => WebhookCondition::Delivering,
        _ => WebhookCondition::Failing,
    };
    Ok(WebhookShown {
        name: status.name.clone(),
        origin: status.origin.clone(),
        events: status.events.clone(),
        status: condition,
        problem: status.describe_problem(),
        failing_since_ms: state.failing_since,
        disabled_at_ms: state.disabled.map(|(at, _)| at),
        delivered_at_ms: state.delivered_at,
        position: state.position.map(|position| position.to_string()),
        event_id: state.event_id,
        failed_attempts: state.attempts,
        retry_at_ms: state.retry_at,
        waiting: backlog.map(|backlog| backlog.events),
        waiting_ms: backlog.map(|backlog| whole_millis(backlog.age)),
        attempts: WebhookAttempts {
            delivered: status.delivered.get(),
            refused,
            timeout,
            unreachable,
            blocked,
        },
        dead_letters: api.store.count_webhook_dead_letters(&status.name)?,
        dropped: status.dropped.get(),
        missed: status.missed.get(),
    })
}

/// Lists the events that a webhook could not deliver, newest first
#[utoipa::path(get, path = "/v1/webhooks/{name}/dead-letters", operation_id = "list_webhook_dead_letters", tag = "webhooks",
    params(WebhookNamePath, PageQuery),
    responses((status = 200, description = "A page.", body = DeadLetterPage)))]
async fn list_webhook_dead_letters(
    State(api): Shared,
    ApiPath(WebhookNamePath { name }): ApiPath<WebhookNamePath>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Response, Problem> {
    api.webhooks.find(&name)?;
    let (limit, before) = query.into_parts();
    let rows = api
        .run_blocking(move |api| api.store.webhook_dead_letters(&name, before, limit))
        .await??;
    let page = DeadLetterPage {
        next_cursor: next_cursor(&rows, limit, |row| row.seq.to_string()),
        dead_letters: convert_rows(rows),
    };
    Ok(json_response(StatusCode::OK, None, &page))
}

/// Which dead letters are tried again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookRedeliverRequest {
    /// Only that of this event; all if left out.
    event_id: Option<WebhookEventId>,
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

request_body!(WebhookRedeliverRequest);

/// What is tried again.
#[derive(Serialize, ToSchema)]
struct WebhookRedelivered {
    webhook: Name,
    /// The one event; absent: all.
    event_id: Option<String>,
    /// How many dead letters get one more attempt, oldest first.
    dead_letters: u64,
}

impl From<WebhookRedelivery> for WebhookRedelivered {
    fn from(redelivery: WebhookRedelivery) -> Self {
        Self {
            webhook: redelivery.webhook,
            event_id: redelivery.event_id,
            dead_letters: redelivery.dead_letters,
        }
    }
}

/// Makes one more attempt at the dead letter of an event, or at all of a webhook
///
/// Each is sent under its `webhook-id`, between the webhook's other events. What is delivered is no dead letter any more; what fails stays one.
#[utoipa::path(post, path = "/v1/webhooks/{name}/redeliver", operation_id = "redeliver_webhook", tag = "webhooks",
    params(WebhookNamePath, IdempotencyHeader),
    request_body = WebhookRedeliverRequest,
    responses(
        (status = 202, description = "The dead letters will be tried again.", body = WebhookRedelivered),
        (status = 404, description = "There is no such webhook or dead letter."),
        (status = 409, description = "The webhook is disabled."),
    ))]
async fn redeliver_webhook(
    State(api): Shared,
    caller: Caller,
    ApiPath(WebhookNamePath { name }): ApiPath<WebhookNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<WebhookRedeliverRequest>,
) -> Result<Response, Problem> {
    let _reserved = api.reserve_quota(&caller.principal, body.len())?;
    let mut request = change_request_of(&caller, form.by, form.reason)?;
    request.idempotency_key = read_key(idempotency, "redeliver_webhook", &name, &body);
    let event_id = form.event_id.map(String::from);
    let (redelivery, is_replayed) = api
        .run_blocking(move |api| api.webhooks.redeliver(&name, event_id, &request))
        .await??;
    let answer = WebhookRedelivered::from(redelivery);
    let response = json_response(StatusCode::ACCEPTED, Some(caller.trace_id), &answer);
    Ok(with_replayed(response, is_replayed))
}

/// Who enables a webhook, and why.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct WebhookEnableRequest {
    /// Why, for the audit log.
    reason: Option<Reason>,
    by: Option<Actor>,
}

request_body!(WebhookEnableRequest);

/// A webhook that sends again.
#[derive(Serialize, ToSchema)]
struct WebhookEnabled {
    webhook: Name,
}

/// Enables a webhook that is disabled
///
/// The webhook goes on with the event at which it was disabled.
#[utoipa::path(post, path = "/v1/webhooks/{name}/enable", operation_id = "enable_webhook", tag = "webhooks",
    params(WebhookNamePath, IdempotencyHeader),
    request_body = WebhookEnableRequest,
    responses(
        (status = 200, description = "The webhook sends again.", body = WebhookEnabled),
        (status = 404, description = "There is no such webhook."),
        (status = 409, description = "The webhook is not disabled."),
    ))]
async fn enable_webhook(
    State(api): Shared,
    caller: Caller,
    ApiPath(WebhookNamePath { name }): ApiPath<WebhookNamePath>,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    ApiJson { form, body }: ApiJson<WebhookEnableRequest>,
) -> Result<Response, Problem> {
    let _reserved = api.reserve_quota(&caller.principal, body.len())?;
    let mut request = change_request_of(&caller, form.by, form.reason)?;
    request.idempotency_key = read_key(idempotency, "enable_webhook", &name, &body);
    let webhook = name.clone();
    let is_replayed = api
        .run_blocking(move |api| api.webhooks.enable(&name, &request))
        .await??;
    let answer = WebhookEnabled { webhook };
    let response = json_response(StatusCode::OK, Some(caller.trace_id), &answer);
    Ok(with_replayed(response, is_replayed))
}

fn read_key(
    idempotency: IdempotencyHeader,
    operation: &'static str,
    webhook: &Name,
    body: &[u8],
) -> Option<ChangeKey> {
    let key = idempotency.for_request(&CanonicalRequest {
        operation,
        parameters: json!({"path": [webhook]}),
        body,
        legacy: String::new(),
    })?;
    Some(ChangeKey {
        key: key.key,
        request: key.request_digest,
        legacy_request: None,
    })
}

impl From<WebhookChangeError> for Problem {
    fn from(error: WebhookChangeError) -> Self {
        let detail = error.to_string();
        match error {
            WebhookChangeError::Unknown(_) => Self::not_found(
                detail,
                "name",
                "GET /v1/webhooks lists the webhooks of the configuration",
            ),
            WebhookChangeError::NoDeadLetter { .. } => Self::not_found(
                detail,
                "event_id",
                "GET /v1/webhooks/{name}/dead-letters lists the dead letters",
            ),
            WebhookChangeError::NotDisabled(_) => Self::new(
                StatusCode::CONFLICT,
                "not-disabled",
                "The webhook is not disabled",
                detail,
            )
            .at("name", "GET /v1/webhooks says how each webhook does"),
            WebhookChangeError::Disabled { .. } => Self::new(
                StatusCode::CONFLICT,
                "webhook-disabled",
                "The webhook is disabled",
                detail,
            )
            .at("name", "POST /v1/webhooks/{name}/enable lets it send again"),
            WebhookChangeError::Read(error) => error.into(),
            WebhookChangeError::Commit(error) => error.into(),
        }
    }
}
