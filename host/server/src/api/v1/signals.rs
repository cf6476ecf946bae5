//! Sending signals: `/v1/signals`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::extract::{ApiHeaders, ApiJson, NoQuery, request_body};
use crate::api::http::fields::{IdempotencyKeyText, JsonValue, integer_field, text_field};
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_response, with_replayed};
use crate::api::http::trace_context::find_trace_id;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::api::v1::names::advise_on_quarantine;
use crate::reply::ask_async;
use crate::router::{AcceptedSignal, HOST_TOPIC_PREFIX, IncomingSignal};
use ark_model::check::check_topic;
use ark_model::form::parse_json;
use ark_model::ids::{Name, SignalId, TraceId};
use ark_store::SignalKey;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(send_signal))
}

text_field! {
    /// A topic, e.g. market.tick. Those that start with `ark.` are the host's own.
    SignalTopic(
        "a topic that does not start with `ark.`, the host's own: 1 to 128 of a-z, 0-9, '.', '_', '-', starting with a letter, e.g. market.tick",
        bytes: 1..=128,
        pattern: Some(r"^(?!ark\.)[a-z][a-z0-9._-]{0,127}$"),
        accepts: |topic| check_topic("topic", topic).is_ok() && !topic.starts_with(HOST_TOPIC_PREFIX)
    )
}

integer_field! {
    /// A time in milliseconds: a year at most.
    SignalTtl("whole milliseconds from 1 to 31536000000 (a year), or leave it out", 1..=31_536_000_000)
}

/// Something that agents are told.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct SignalRequest {
    /// The topic, e.g. market.tick.
    topic: SignalTopic,
    /// Any JSON value.
    #[schema(value_type = Option<JsonValue>)]
    payload: Option<Value>,
    /// The trace to join; else that of `traceparent`, else a fresh one.
    trace_id: Option<TraceId>,
    /// As the header Idempotency-Key.
    idempotency_key: Option<IdempotencyKeyText>,
    /// How long it may wait, in milliseconds; if left out, without an end.
    ttl_ms: Option<SignalTtl>,
}

request_body!(SignalRequest);

/// A signal that is on disk.
#[derive(Serialize, ToSchema)]
struct SignalAccepted {
    signal_id: SignalId,
    trace_id: TraceId,
    /// The agents it is delivered to.
    delivered_to: Vec<Name>,
    /// The agents whose queues had no room: it is not delivered to them.
    shed: Vec<Name>,
    /// What to look at where no agent gets it, or one only when it is restored from quarantine; else left out.
    #[serde(skip_serializing_if = "Option::is_none")]
    hint: Option<String>,
}

/// What to look at where no agent subscribes to a topic, or a receiver is in quarantine.
fn advise_on_delivery(api: &Api, topic: &str, accepted: &AcceptedSignal) -> Option<String> {
    if accepted.delivered_to.is_empty() && accepted.shed.is_empty() {
        return Some(format!(
            "no agent subscribes to {topic}: GET /v1/agents lists the agents, and GET /v1/agents/{{name}} the topics of one"
        ));
    }
    advise_on_quarantine(api, &accepted.delivered_to)
}

/// Sends a signal to the agents that subscribe to its topic
///
/// The signal's deliveries are on disk before the call is answered.
#[utoipa::path(post, path = "/v1/signals", operation_id = "send_signal", tag = "signals", params(IdempotencyHeader),
    request_body = SignalRequest,
    responses(
        (status = 202, description = "The signal is stored and will be delivered.", body = SignalAccepted),
    ))]
async fn send_signal(
    State(api): Shared,
    caller: Caller,
    _: NoQuery,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    headers: HeaderMap,
    ApiJson { form, body }: ApiJson<SignalRequest>,
) -> Result<Response, Problem> {
    let key = idempotency.or_field(form.idempotency_key.map(String::from))?;
    let key = key.map(|key| {
        let request = CanonicalRequest {
            operation: "send_signal",
            parameters: json!({}),
            body: &body,
            legacy: parse_json(&body).unwrap_or_default().to_string(),
        };
        request.with_key(key)
    });
    let principal = caller.principal;
    let reserved = api.reserve_quota(&principal, body.len());
    let topic = String::from(form.topic);
    let signal = IncomingSignal {
        by: principal.authenticated.then(|| principal.name.clone()),
        topic: topic.clone(),
        payload_json: form.payload.unwrap_or_default().to_string(),
        trace_id: find_trace_id(&headers, form.trace_id)?,
        key,
        ttl_ms: form.ttl_ms.map(u64::from),
    };
    let key = signal.signal_key();
    let accepted = match reserved {
        Ok(_reserved) => ask_async(|reply| api.router.accept_signal(signal, reply))
            .await
            .map_err(Problem::from),
        Err(exceeded) => Err(exceeded.into()),
    };
    let accepted = match accepted {
        Ok(accepted) => accepted,
        Err(refusal) => find_accepted(&api, key, refusal).await?,
    };
    let body = SignalAccepted {
        hint: advise_on_delivery(&api, &topic, &accepted),
        signal_id: accepted.id,
        trace_id: accepted.trace_id,
        delivered_to: accepted.delivered_to,
        shed: accepted.shed,
    };
    let response = json_response(StatusCode::ACCEPTED, Some(accepted.trace_id), &body);
    Ok(with_replayed(response, accepted.duplicate))
}

/// Returns what a refused signal was answered before: its repetition must not be told that it was refused.
///
/// # Errors
/// The refusal, when it is not a repetition.
async fn find_accepted(
    api: &Arc<Api>,
    key: Option<SignalKey>,
    refusal: Problem,
) -> Result<AcceptedSignal, Problem> {
    let Some(key) = key else {
        return Err(refusal);
    };
    let found = api
        .run_blocking(move |api| api.router.find_accepted(&key))
        .await?;
    match found {
        Ok(Some(accepted)) => Ok(accepted),
        Ok(None) => Err(refusal),
        Err(error) => {
            tracing::debug!(%error, "the first answer to a repeated signal cannot be read");
            Err(refusal)
        }
    }
}
