//! Calls that propose, signal or report.

use std::sync::Arc;

use axum::Extension;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use serde::Serialize;
use serde_json::Value;
use tokio::sync::oneshot;
use utoipa::ToSchema;
use utoipa_axum::routes;

use crate::hrm::{
    Batch, BatchAnswer, ExecutionReport, ExecutionStatus, HrmError, IdempotencyKey, Proposal,
    ProposalAnswer,
};
use crate::router::{HOST_TOPIC_PREFIX, IncomingSignal, RouterError};
use ark_model::check::{FieldError, check_topic};
use ark_model::form::{ActionRequest, Fields, check_idempotency_key, parse_action};
use ark_model::ids::{DecisionId, Digest, Fraction, Name, SignalId, TraceId};
use ark_model::principal::{Principal, Role};

use super::envelope::Deadline;
use super::exchange::{
    Asked, idempotency_key, json_answer, not_a, parsed, query_of, read_json, trace_of,
};
use super::openapi::{Described, Keyed};
use super::problem::Problem;
use super::reading::find_decision;
use super::routes::{Api, Shared};
use super::view::DecisionView;

/// The most actions of a batch.
const BATCH: usize = 100;

pub(super) fn routes() -> Described {
    Described::new()
        .routes(routes!(actions))
        .routes(routes!(batch))
        .routes(routes!(signals))
        .routes(routes!(executions))
}

/// A signal that is on disk.
#[derive(Serialize, ToSchema)]
struct SignalAccepted {
    signal_id: SignalId,
    trace_id: TraceId,
    /// The agents it is delivered to.
    delivered_to: Vec<Name>,
    /// The agents whose queues had no room: it is not delivered to them.
    shed: Vec<Name>,
}

/// Decisions on the actions of a batch, in their order.
#[derive(Serialize, ToSchema)]
struct Decisions<'a> {
    decisions: Vec<DecisionView<'a>>,
}

/// A report that is on disk.
#[derive(Serialize, ToSchema)]
struct Executed {
    decision_id: DecisionId,
    trace_id: TraceId,
    status: &'static str,
}

/// Proposes an action
///
/// It is judged and the decision is on disk before it is answered. An answer with the outcome `denied` or `held` is 200 too: the action
/// must then not be carried out. With `dry_run` it is judged and nothing is recorded.
#[utoipa::path(post, path = "/v1/actions", operation_id = "propose", tag = "actions", params(
        ("dry_run" = Option<bool>, Query, description = "Judge only; nothing is recorded and nothing counts."),
        Keyed,
    ),
    request_body = ref("#/components/schemas/ActionRequest"),
    responses(
        (status = 200, description = "The decision.", body = DecisionView),
        (status = 409, description = "The agent is in quarantine."),
        (status = 422, description = "The agent is not known, or the idempotency key was used for another request."),
    ))]
async fn actions(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let query = query_of(query, &["dry_run"])?;
    let dry_run = match query.get("dry_run").map(String::as_str) {
        None | Some("false") => false,
        Some("true") => true,
        Some(other) => return Err(not_a("dry_run", other, "give true or false")),
    };
    let document = read_json(&headers, body).await?;
    // Only a request with a key is ever compared to another.
    let keyed =
        headers.contains_key("idempotency-key") || document.get("idempotency_key").is_some();
    let digest = keyed.then(|| Digest::hash_bytes(document.to_string().as_bytes()));
    let request = parse_action(document)?;
    let key = idempotency_key(&headers, request.idempotency_key.clone())?;
    let mut proposal = proposal_of(&api, &principal, &headers, request)?;
    proposal.idempotency = key.zip(digest).map(|(key, request_digest)| IdempotencyKey {
        key,
        request_digest,
    });
    proposal.deadline = deadline;
    let trace_id = proposal.trace_id;
    if dry_run {
        let (reply, answer) = oneshot::channel();
        api.hrm.preview_action(
            proposal,
            None,
            Box::new(move |result| drop(reply.send(result))),
        );
        let decision = answer.await.unwrap_or(Err(HrmError::Closed))?;
        return Ok(json_answer(
            StatusCode::OK,
            Some(trace_id),
            &DecisionView::of(&decision, true),
        ));
    }
    let (reply, answer) = oneshot::channel();
    api.hrm
        .propose_action(proposal, Box::new(move |result| drop(reply.send(result))));
    match answer.await.unwrap_or(Err(HrmError::Closed))? {
        ProposalAnswer::Decided(decision) => {
            if api.hrm.sends_message(&decision) {
                api.router.wake_outbox();
            }
            Ok(json_answer(
                StatusCode::OK,
                Some(trace_id),
                &DecisionView::of(&decision, false),
            ))
        }
        ProposalAnswer::Repeated(id) => {
            let decision = find_decision(&api, id).await?.ok_or_else(not_here)?;
            let mut response = json_answer(
                StatusCode::OK,
                Some(decision.trace_id),
                &DecisionView::of(&decision, false),
            );
            response
                .headers_mut()
                .insert("idempotent-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
    }
}

fn proposal_of(
    api: &Api,
    principal: &Principal,
    headers: &HeaderMap,
    request: ActionRequest,
) -> Result<Proposal, Problem> {
    in_name_of(principal, &request.agent)?;
    // A token bound to a name says by itself that it may propose.
    let bound = principal.agents.contains(&request.agent);
    if !bound && !api.may_propose(&request.agent) {
        return Err(unknown_agent(api, &request.agent));
    }
    let trace_id = trace_of(headers, request.trace_id)?;
    let ActionRequest { agent, action, .. } = request;
    let submitter = if principal.authenticated {
        principal.name.clone()
    } else {
        agent.to_string()
    };
    Ok(Proposal {
        agent,
        submitter,
        trace_id,
        action,
        causal_depth: 0,
        idempotency: None,
        deadline: None,
    })
}

/// Refuses a name that the caller's token is not bound to.
fn in_name_of(principal: &Principal, agent: &Name) -> Result<(), Problem> {
    if principal.can_propose_for(agent) {
        return Ok(());
    }
    let bound: Vec<&str> = principal.agents.iter().map(Name::as_str).collect();
    let detail = format!(
        "the token {} is bound to {}, not to {agent}",
        principal.name,
        bound.join(", ")
    );
    Err(Problem::forbidden(detail).at("agent", "use a token that is bound to this name"))
}

/// Proposes several actions
///
/// Each is judged in its order, all are recorded in one commit.
#[utoipa::path(post, path = "/v1/actions/batch", operation_id = "propose_batch", tag = "actions", params(Keyed),
    request_body = ref("#/components/schemas/BatchRequest"),
    responses(
        (status = 200, description = "The decisions.", body = Decisions),
        (status = 409, description = "An agent is in quarantine; nothing was recorded."),
        (status = 422, description = "An agent is not known, or the idempotency key was used for another request."),
    ))]
async fn batch(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    Extension(Deadline(deadline)): Extension<Deadline>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let document = read_json(&headers, body).await?;
    let digest = Digest::hash_bytes(document.to_string().as_bytes());
    let mut fields = Fields::from_document(document, "")?;
    let key = idempotency_key(&headers, fields.take_text("idempotency_key")?)?;
    let remedy = format!("give a list of 1 to {BATCH} actions");
    let actions = match fields.take_value("actions") {
        Some(Value::Array(actions)) if (1..=BATCH).contains(&actions.len()) => actions,
        Some(Value::Array(actions)) => {
            let problem = format!("has {} items", actions.len());
            return Err(FieldError::new("actions", problem, remedy).into());
        }
        Some(_) => return Err(FieldError::new("actions", "is no list", remedy).into()),
        None => return Err(FieldError::new("actions", "is missing", remedy).into()),
    };
    fields.reject_unknown()?;
    let mut proposals = Vec::with_capacity(actions.len());
    for (index, document) in actions.into_iter().enumerate() {
        let within = |error: FieldError| FieldError {
            field: format!("actions[{index}].{}", error.field),
            ..error
        };
        let request = parse_action(document).map_err(within)?;
        if request.idempotency_key.is_some() {
            let problem = "is given for one action of a batch";
            let remedy = "give one key for the whole batch";
            return Err(within(FieldError::new("idempotency_key", problem, remedy)).into());
        }
        let mut proposal = proposal_of(&api, &principal, &headers, request)
            .map_err(|problem| problem.within(&format!("actions[{index}]")))?;
        proposal.deadline = deadline;
        proposals.push(proposal);
    }
    let batch = Batch {
        by: principal.name,
        proposals,
        idempotency: key.map(|key| IdempotencyKey {
            key,
            request_digest: digest,
        }),
        deadline,
    };
    let (reply, answer) = oneshot::channel();
    api.hrm
        .propose_batch(batch, Box::new(move |result| drop(reply.send(result))));
    let (decisions, replayed) = match answer.await.unwrap_or(Err(HrmError::Closed))? {
        BatchAnswer::Decided(decisions) => (decisions, false),
        BatchAnswer::Repeated(ids) => {
            let mut decisions = Vec::with_capacity(ids.len());
            for id in ids {
                let decision = find_decision(&api, id).await?.ok_or_else(not_here)?;
                decisions.push(Arc::new(decision));
            }
            (decisions, true)
        }
    };
    if decisions
        .iter()
        .any(|decision| api.hrm.sends_message(decision))
    {
        api.router.wake_outbox();
    }
    let views: Vec<DecisionView<'_>> = decisions
        .iter()
        .map(|decision| DecisionView::of(decision, false))
        .collect();
    let mut response = json_answer(StatusCode::OK, None, &Decisions { decisions: views });
    if replayed {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

fn not_here() -> Problem {
    Problem::unavailable(
        "the decision on the first request with this idempotency key is not in the database: it was not recorded (send it again), or it is in an archive of the audit log",
    )
}

/// Sends a signal to the agents that subscribe to its topic
///
/// Its deliveries are on disk before it is answered.
#[utoipa::path(post, path = "/v1/signals", operation_id = "send_signal", tag = "signals", params(Keyed),
    request_body = ref("#/components/schemas/SignalRequest"),
    responses(
        (status = 202, description = "It will be delivered.", body = SignalAccepted),
        (status = 422, description = "The idempotency key was used for another request."),
    ))]
async fn signals(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let document = read_json(&headers, body).await?;
    let request = Digest::hash_bytes(document.to_string().as_bytes());
    let mut fields = Fields::from_document(document, "")?;
    let topic = fields.required_text("topic", "name the topic, e.g. market.tick")?;
    check_topic("topic", &topic)?;
    if topic.starts_with(HOST_TOPIC_PREFIX) {
        return Err(FieldError::new(
            "topic",
            "starts with `ark.`, which is the host's own",
            "use another topic",
        )
        .into());
    }
    let payload = fields.take_value("payload").unwrap_or(Value::Null);
    let trace_id = parsed(
        &mut fields,
        "trace_id",
        "give 32 lower-case hexadecimal digits, not all zero",
    )?;
    let key = idempotency_key(&headers, fields.take_text("idempotency_key")?)?;
    let ttl_ms = ttl(&mut fields)?;
    fields.reject_unknown()?;
    let trace_id = trace_of(&headers, trace_id)?;
    let incoming = IncomingSignal {
        by: principal.authenticated.then(|| principal.name.clone()),
        topic,
        payload_json: payload.to_string(),
        trace_id,
        key: key.map(|key| (key, request)),
        ttl_ms,
    };
    let (reply, answer) = oneshot::channel();
    api.router
        .accept_signal(incoming, Box::new(move |result| drop(reply.send(result))));
    let accepted = answer.await.unwrap_or(Err(RouterError::Closed))?;
    let mut response = json_answer(
        StatusCode::ACCEPTED,
        Some(accepted.trace_id),
        &SignalAccepted {
            signal_id: accepted.id,
            trace_id: accepted.trace_id,
            delivered_to: accepted.delivered_to,
            shed: accepted.shed,
        },
    );
    if accepted.duplicate {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// Reports what became of an approved trade
///
/// A report with an `execution_id` that was reported before changes nothing.
#[utoipa::path(post, path = "/v1/executions", operation_id = "report_execution", tag = "actions",
    request_body = ref("#/components/schemas/ExecutionRequest"),
    responses(
        (status = 200, description = "It counts.", body = Executed),
        (status = 404, description = "There is no such decision."),
        (status = 409, description = "Nothing of that decision can be executed."),
        (status = 422, description = "The execution id was used for another report."),
    ))]
async fn executions(
    State(api): Shared,
    Extension(principal): Extension<Principal>,
    query: Asked,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    query_of(query, &[])?;
    let mut fields = Fields::from_document(read_json(&headers, body).await?, "")?;
    let execution_id =
        fields.required_text("execution_id", "give the executor's own id of this report")?;
    check_idempotency_key("execution_id", &execution_id)?;
    let decision_id: DecisionId = parsed(
        &mut fields,
        "decision_id",
        "give the decision_id of an approved action",
    )?
    .ok_or_else(|| {
        FieldError::new(
            "decision_id",
            "is missing",
            "give the decision_id of an approved action",
        )
    })?;
    const STATUSES: &str = "give filled, partially_filled, cancelled or rejected";
    let status = match fields.required_text("status", STATUSES)?.as_str() {
        "filled" => ExecutionStatus::Filled,
        "partially_filled" => ExecutionStatus::PartiallyFilled,
        "cancelled" => ExecutionStatus::Cancelled,
        "rejected" => ExecutionStatus::Rejected,
        other => return Err(not_a("status", other, STATUSES)),
    };
    let filled = match fields.take_number("filled_size_pct")? {
        None => None,
        Some(size) => Some(
            Fraction::new(size)
                .filter(|size| size.get() <= 1.0)
                .ok_or_else(|| {
                    FieldError::new(
                        "filled_size_pct",
                        format!("is {size}"),
                        "give a fraction of capital from 0 to 1",
                    )
                })?,
        ),
    };
    let price = fields.take_number("price")?;
    if let Some(price) = price
        && !(price.is_finite() && price > 0.0)
    {
        return Err(FieldError::new(
            "price",
            format!("is {price}"),
            "give a number greater than 0",
        )
        .into());
    }
    let realised = fields.take_number("realized_pnl_pct")?;
    if let Some(realised) = realised
        && !(-100.0..=100.0).contains(&realised)
    {
        let remedy =
            "give the result as a fraction of capital, a loss negative: -0.01 is a loss of 1 %";
        return Err(FieldError::new("realized_pnl_pct", format!("is {realised}"), remedy).into());
    }
    fields.reject_unknown()?;
    if principal.role != Role::Admin
        && let Some(decision) = find_decision(&api, decision_id).await?
    {
        in_name_of(&principal, &decision.agent)?;
    }
    let report = ExecutionReport {
        by: principal.authenticated.then(|| principal.name.clone()),
        execution_id,
        decision_id,
        status,
        filled,
        price,
        realised,
    };
    let (reply, answer) = oneshot::channel();
    api.hrm
        .report_execution(report, Box::new(move |result| drop(reply.send(result))));
    let receipt = answer.await.unwrap_or(Err(HrmError::Closed))?;
    api.router.wake_outbox();
    let mut response = json_answer(
        StatusCode::OK,
        Some(receipt.trace_id),
        &Executed {
            decision_id,
            trace_id: receipt.trace_id,
            status: status.as_str(),
        },
    );
    if receipt.duplicate {
        response
            .headers_mut()
            .insert("idempotent-replayed", HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// How long a signal may wait, in milliseconds.
fn ttl(fields: &mut Fields) -> Result<Option<u64>, FieldError> {
    const MOST: f64 = 31_536_000_000.0;
    let Some(ttl) = fields.take_number("ttl_ms")? else {
        return Ok(None);
    };
    if !(1.0..=MOST).contains(&ttl) || ttl.fract() != 0.0 {
        let remedy = "give whole milliseconds from 1 to 31536000000 (a year), or leave it out";
        return Err(FieldError::new("ttl_ms", format!("is {ttl}"), remedy));
    }
    Ok(format!("{ttl:.0}").parse().ok())
}

fn unknown_agent(api: &Api, agent: &Name) -> Problem {
    let seats = api.router.list_serving();
    let agents = seats.iter().map(|seat| &seat.name);
    let known = agents.chain(&api.submitters).take(20);
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let detail = format!(
        "{agent} is neither a loaded agent nor a submitter; known are: {}",
        known.join(", ")
    );
    Problem::new(
        StatusCode::UNPROCESSABLE_ENTITY,
        "unknown-agent",
        "The agent is not known",
        detail,
    )
    .at(
        "agent",
        "name a known one, or add it to `submitters` in ark.toml (or start with --submitter NAME)",
    )
}
