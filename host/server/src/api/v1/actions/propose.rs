//! Proposing actions: `/v1/actions` and `/v1/actions/batch`.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use crate::api::auth::Caller;
use crate::api::http::deadline::Deadline;
use crate::api::http::extract::{ApiHeaders, ApiJson, ApiQuery, RequestBody};
use crate::api::http::form::describe_value;
use crate::api::http::idempotency::{CanonicalRequest, IdempotencyHeader};
use crate::api::http::preferences::{PreferReturnHeader, Preferences, RulesShown};
use crate::api::http::problem::Problem;
use crate::api::http::respond::{json_text_response, with_replayed};
use crate::api::http::trace_context::find_trace_id;
use crate::api::state::{Api, DescribedRoutes, Shared, quota_holder_of};
use crate::hrm::{
    BatchAnswer, HrmError, IdempotencyKey, Proposal, ProposalAnswer, ProposalBatch, RefusedRequest,
    RequestScope,
};
use crate::quotas::Reservation;
use crate::reply::{PendingReply, open_reply};
use ark_model::action::Family;
use ark_model::check::FieldError;
use ark_model::decision::Decision;
use ark_model::form::{
    ActionRequest, FormFields, check_idempotency_key, parse_action, parse_json, read_action,
};
use ark_model::ids::{DecisionId, Name, TraceId};
use ark_model::principal::Principal;
use ark_store::CommitDeadline;

use super::decision_form::DecisionForm;
use super::decision_text::{write_decision, write_decision_list};
use super::decision_view::DecisionView;
use super::decisions::find_decision;

/// The most actions of a batch.
const MAX_BATCH: usize = 100;
/// How many names a problem lists.
const LISTED_NAMES: usize = 20;

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new()
        .routes(routes!(propose_action))
        .routes(routes!(propose_batch))
}

/// How an action is proposed.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct ProposeQuery {
    /// Judge only; nothing is recorded and nothing counts.
    dry_run: Option<bool>,
    /// Which answers of rules the decision has; all if left out.
    #[param(inline)]
    rules: Option<RulesShown>,
}

/// How the decisions on a batch are shown.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
struct BatchQuery {
    /// Which answers of rules each decision has; all if left out.
    #[param(inline)]
    rules: Option<RulesShown>,
}

impl RequestBody for ActionRequest {
    fn from_body(body: &[u8]) -> Result<Self, FieldError> {
        read_action(body)
    }

    fn from_document(document: Value) -> Result<Self, FieldError> {
        parse_action(document)
    }

    fn convert_refusal(error: FieldError) -> Problem {
        Problem::not_judgeable(&error)
    }
}

/// Actions that are judged in their order and recorded together.
struct BatchRequest {
    actions: Vec<ActionRequest>,
    idempotency_key: Option<String>,
}

impl RequestBody for BatchRequest {
    fn from_document(document: Value) -> Result<Self, FieldError> {
        let mut fields = FormFields::from_document(document, "")?;
        let idempotency_key = fields.take_text("idempotency_key")?;
        if let Some(key) = &idempotency_key {
            check_idempotency_key("idempotency_key", key)?;
        }
        let refused = |problem: String| {
            let remedy = format!("give a list of 1 to {MAX_BATCH} actions");
            FieldError::new("actions", problem, remedy)
        };
        let items = match fields.take_value("actions") {
            Some(Value::Array(items)) if (1..=MAX_BATCH).contains(&items.len()) => items,
            Some(Value::Array(items)) => {
                return Err(refused(format!("has {} items", items.len())));
            }
            Some(other) => return Err(refused(format!("is {}", describe_value(&other)))),
            None => return Err(refused("is missing".to_owned())),
        };
        fields.reject_unknown()?;
        let mut actions = Vec::with_capacity(items.len());
        for (index, document) in items.into_iter().enumerate() {
            let within = |error: FieldError| FieldError {
                field: format!("actions[{index}].{}", error.field),
                ..error
            };
            let action = parse_action(document).map_err(within)?;
            if action.idempotency_key.is_some() {
                let problem = "is given for one action of a batch";
                let remedy = "give one key for the whole batch";
                return Err(within(FieldError::new("idempotency_key", problem, remedy)));
            }
            actions.push(action);
        }
        Ok(Self {
            actions,
            idempotency_key,
        })
    }

    fn convert_refusal(error: FieldError) -> Problem {
        Problem::not_judgeable(&error)
    }
}

/// The actions that a body proposes, in their order. `is_batch`: it is the body of a batch.
///
/// # Errors
/// The first field that is out of form.
pub(crate) fn read_proposed_actions(
    body: &[u8],
    is_batch: bool,
) -> Result<Vec<ActionRequest>, FieldError> {
    if is_batch {
        return BatchRequest::from_body(body).map(|batch| batch.actions);
    }
    read_action(body).map(|action| vec![action])
}

/// Decisions on the actions of a batch, in their order. [`write_decision_list`] writes it.
#[derive(ToSchema)]
#[expect(dead_code, reason = "the type describes an answer and is never made")]
struct Decisions<'a> {
    decisions: Vec<DecisionView<'a>>,
}

/// Proposes an action
///
/// The action is judged, and the decision is on disk before the call is answered. An answer with the outcome `denied` or `held` is 200 too: the
/// action must then not be carried out. With `dry_run` the action is judged and nothing is recorded.
#[utoipa::path(post, path = "/v1/actions", operation_id = "propose", tag = "actions", params(ProposeQuery, IdempotencyHeader, PreferReturnHeader),
    request_body = ref("#/components/schemas/ActionRequest"),
    responses(
        (status = 200, description = "The decision.", body = DecisionView),
        (status = 409, description = "The agent is in quarantine."),
        (status = 422, description = "The agent is not known."),
    ))]
fn propose_action(
    State(api): Shared,
    Caller {
        principal,
        trace_id,
        ..
    }: Caller,
    deadline: Deadline,
    ApiQuery(query): ApiQuery<ProposeQuery>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    preferences: Preferences,
    ApiJson { form, body }: ApiJson<ActionRequest>,
) -> impl Future<Output = Result<Response, Problem>> + Send {
    let shown = DecisionForm::new(query.rules, preferences);
    // Sent before anything waits, so that the request is no part of the future of every proposal.
    let key = idempotency.or_field(form.idempotency_key.clone());
    let sent = key.and_then(|key| {
        let trace_id = form.trace_id.unwrap_or(trace_id);
        let mut proposal = build_proposal(&api, &principal, trace_id, form)?;
        proposal.idempotency = key.map(|key| identify_request("propose", key, &body));
        proposal.deadline = deadline.take();
        let dry_run = query.dry_run.unwrap_or(false);
        Ok(send_proposal(&api, &principal, &body, proposal, dry_run))
    });
    let sent = sent.map_err(Box::new);
    async move {
        let SentProposal {
            answer,
            trace_id,
            refused,
            until,
            reserved,
        } = sent.map_err(|problem| *problem)?;
        let answer = match answer {
            PendingAnswer::Preview(decision) => {
                let decision = decision.wait().await?;
                let text = write_decision(&decision, true, shown);
                let response = json_text_response(StatusCode::OK, Some(trace_id), text);
                return Ok(preferences.mark_applied(response));
            }
            PendingAnswer::Decision(answer) => answer.wait().await.map_err(Problem::from),
            PendingAnswer::Refused(refusal) => Err(*refusal),
        };
        drop(reserved);
        let answer = match answer {
            Err(refusal) => {
                let refused = refused.map(|refused| *refused);
                let finding = find_first_answer(&api, refused, until.as_ref(), refusal);
                let ids = Box::pin(finding).await?;
                let first = ids.first().copied().ok_or_else(not_recorded)?;
                ProposalAnswer::Repeated(first)
            }
            Ok(answer) => answer,
        };
        match answer {
            ProposalAnswer::Decided(decision) => {
                if api.hrm.sends_message(&decision) {
                    api.router.wake_outbox();
                }
                let text = write_decision(&decision, false, shown);
                let response = json_text_response(StatusCode::OK, Some(trace_id), text);
                Ok(preferences.mark_applied(response))
            }
            ProposalAnswer::Repeated(id) => {
                let found = Box::pin(find_decision(&api, id)).await?;
                let decision = found.ok_or_else(not_recorded)?;
                let text = write_decision(&decision, false, shown);
                let response = json_text_response(StatusCode::OK, Some(decision.trace_id), text);
                Ok(preferences.mark_applied(with_replayed(response, true)))
            }
        }
    }
}

/// A proposal that the HRM was asked about, or that was refused before.
struct SentProposal {
    answer: PendingAnswer,
    trace_id: TraceId,
    /// What finds the decision on the first request with the same key.
    refused: Option<Box<RefusedRequest>>,
    until: Option<CommitDeadline>,
    /// Held until the answer is there.
    reserved: Option<Reservation>,
}

enum PendingAnswer {
    /// Nothing is recorded.
    Preview(PendingReply<Arc<Decision>, HrmError>),
    Decision(PendingReply<ProposalAnswer, HrmError>),
    Refused(Box<Problem>),
}

/// Asks the HRM about a proposal.
fn send_proposal(
    api: &Api,
    principal: &Principal,
    body: &Bytes,
    proposal: Proposal,
    dry_run: bool,
) -> SentProposal {
    let trace_id = proposal.trace_id;
    if dry_run {
        let (reply, decision) = open_reply();
        api.hrm.preview_action(proposal, reply);
        return SentProposal {
            answer: PendingAnswer::Preview(decision),
            trace_id,
            refused: None,
            until: None,
            reserved: None,
        };
    }
    let refused = proposal.idempotency.clone().map(|key| {
        Box::new(RefusedRequest {
            key,
            scope: RequestScope::Proposal {
                agent: proposal.agent.clone(),
                submitter: proposal.submitter.clone(),
            },
        })
    });
    let until = proposal.deadline.clone();
    let (answer, reserved) = match reserve_for(api, principal, body, [&proposal]) {
        Ok(reserved) => {
            let (reply, answer) = open_reply();
            api.hrm.propose_action(proposal, reply);
            (PendingAnswer::Decision(answer), reserved)
        }
        Err(refusal) => (PendingAnswer::Refused(Box::new(refusal)), None),
    };
    SentProposal {
        answer,
        trace_id,
        refused,
        until,
        reserved,
    }
}

/// Returns the decisions on the first request with the key of a refused one. A caller that repeats a request must not be told that it is
/// denied when the first one counts.
///
/// # Errors
/// The refusal, when it is not a repetition.
async fn find_first_answer(
    api: &Arc<Api>,
    refused: Option<RefusedRequest>,
    deadline: Option<&CommitDeadline>,
    refusal: Problem,
) -> Result<Vec<DecisionId>, Problem> {
    let Some(refused) = refused else {
        return Err(refusal);
    };
    if let Some(deadline) = deadline {
        // From here on the first request may be found to count, so the edge must not answer that nothing does.
        let _ = deadline.claim();
    }
    let found = api
        .run_blocking(move |api| refused.find_decisions(&api.store))
        .await?;
    match found {
        Ok(Some(ids)) => Ok(ids),
        Ok(None) => Err(refusal),
        Err(error) => {
            tracing::debug!(%error, "the first answer to a repeated request cannot be read");
            Err(refusal)
        }
    }
}

/// A key with the digests of the body it came with.
fn identify_request(operation: &'static str, key: String, body: &Bytes) -> IdempotencyKey {
    let legacy = parse_json(body).map_or_else(|_| String::new(), |document| document.to_string());
    let request = CanonicalRequest {
        operation,
        parameters: json!({}),
        body,
        legacy,
    };
    request.with_key(key)
}

fn build_proposal(
    api: &Api,
    principal: &Principal,
    trace_id: TraceId,
    request: ActionRequest,
) -> Result<Proposal, Problem> {
    check_speaks_for(principal, &request.agent)?;
    // A token bound to a name says by itself that it may propose.
    let is_bound = principal.agents.contains(&request.agent);
    if !is_bound && !api.may_propose(&request.agent) {
        return Err(unknown_agent(api, &request.agent));
    }
    let ActionRequest {
        agent, mut action, ..
    } = request;
    let resolved = api.hrm.resolve_action(&mut action);
    resolved.map_err(|error| Problem::not_judgeable(&error))?;
    let submitter = if principal.authenticated {
        principal.name.clone()
    } else {
        agent.as_str().to_owned()
    };
    Ok(Proposal {
        agent,
        submitter,
        charged_to: quota_holder_of(principal),
        trace_id,
        refusal: principal.find_refusal(&action),
        action,
        causal_depth: 0,
        idempotency: None,
        deadline: None,
    })
}

/// Reserves what proposals take of their caller's quotas and checks that messages among them have room. What reduces risk is never refused for it.
///
/// # Errors
/// 429 when a quota is used up, 503 when too many signals wait for another message.
fn reserve_for<'a>(
    api: &Api,
    principal: &Principal,
    body: &Bytes,
    proposals: impl IntoIterator<Item = &'a Proposal>,
) -> Result<Option<Reservation>, Problem> {
    let (mut is_needed, mut sends_message) = (false, false);
    for Proposal { action, .. } in proposals {
        is_needed |= !action.reduces_risk();
        sends_message |= action.parameters.family() == Family::Message;
    }
    if sends_message && api.router.is_backlog_full() {
        let detail = "too many signals are waiting for another message; try again in a second";
        return Err(Problem::busy(detail).denied());
    }
    if !is_needed {
        return Ok(None);
    }
    let reserved = api.reserve_quota(principal, body.len());
    reserved
        .map(Some)
        .map_err(|exceeded| Problem::from(exceeded).denied())
}

/// Refuses a name that the caller's token is not bound to.
///
/// # Errors
/// 403 with the field `agent`.
fn check_speaks_for(principal: &Principal, agent: &Name) -> Result<(), Problem> {
    if principal.can_propose_for(agent) {
        return Ok(());
    }
    let bound: Vec<&str> = principal.agents.iter().map(Name::as_str).collect();
    let detail = format!(
        "the token {} is bound to {}, not to {agent}",
        principal.name,
        bound.join(", ")
    );
    Err(Problem::forbidden(
        detail,
        "agent",
        "use a token that is bound to this name",
    ))
}

/// Proposes several actions
///
/// Each is judged in its order, all are recorded in one commit.
#[utoipa::path(post, path = "/v1/actions/batch", operation_id = "propose_batch", tag = "actions", params(BatchQuery, IdempotencyHeader, PreferReturnHeader),
    request_body = ref("#/components/schemas/BatchRequest"),
    responses(
        (status = 200, description = "The decisions.", body = Decisions),
        (status = 409, description = "An agent is in quarantine; nothing was recorded."),
        (status = 422, description = "An agent is not known."),
    ))]
async fn propose_batch(
    State(api): Shared,
    caller: Caller,
    deadline: Deadline,
    ApiQuery(query): ApiQuery<BatchQuery>,
    ApiHeaders(idempotency): ApiHeaders<IdempotencyHeader>,
    headers: HeaderMap,
    ApiJson { form, body }: ApiJson<BatchRequest>,
) -> Result<Response, Problem> {
    let preferences = Preferences::read(&headers);
    let shown = DecisionForm::new(query.rules, preferences);
    let key = idempotency.or_field(form.idempotency_key)?;
    let deadline = deadline.take();
    let mut proposals = Vec::with_capacity(form.actions.len());
    for (index, action) in form.actions.into_iter().enumerate() {
        // Of actions without a trace each gets one of its own.
        let trace_id = find_trace_id(&headers, action.trace_id)?;
        let mut proposal = build_proposal(&api, &caller.principal, trace_id, action)
            .map_err(|problem| problem.within(&format!("actions[{index}]")))?;
        proposal.deadline.clone_from(&deadline);
        proposals.push(proposal);
    }
    let key = key.map(|key| identify_request("propose_batch", key, &body));
    let refused = key.clone().map(|key| RefusedRequest {
        key,
        scope: RequestScope::Batch {
            by: caller.principal.name.clone(),
        },
    });
    let until = deadline.clone();
    let answer = match reserve_for(&api, &caller.principal, &body, &proposals) {
        Ok(_reserved) => {
            let batch = ProposalBatch {
                by: caller.principal.name.clone(),
                proposals,
                idempotency: key,
                deadline,
            };
            api.ask_hrm(|hrm, reply| hrm.propose_batch(batch, reply))
                .await
                .map_err(Problem::from)
        }
        Err(refusal) => Err(refusal),
    };
    let answer = match answer {
        Err(refusal) => {
            let ids = find_first_answer(&api, refused, until.as_ref(), refusal).await?;
            BatchAnswer::Repeated(ids)
        }
        Ok(answer) => answer,
    };
    let (decisions, is_replayed) = match answer {
        BatchAnswer::Decided(decisions) => (decisions, false),
        BatchAnswer::Repeated(ids) => {
            let mut decisions = Vec::with_capacity(ids.len());
            for id in ids {
                let decision = find_decision(&api, id).await?.ok_or_else(not_recorded)?;
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
    let text = write_decision_list(decisions.iter().map(|decision| &**decision), shown);
    let response = json_text_response(StatusCode::OK, None, text);
    Ok(preferences.mark_applied(with_replayed(response, is_replayed)))
}

fn not_recorded() -> Problem {
    Problem::unavailable(
        "the decision on the first request with this idempotency key is not in the database: it was not recorded (send it again), or it is in an archive of the audit log",
    )
}

fn unknown_agent(api: &Api, agent: &Name) -> Problem {
    let serving = api.router.list_serving();
    let agents = serving.iter().map(|slot| &slot.name);
    let known = agents.chain(&api.submitters).take(LISTED_NAMES);
    let known: Vec<&str> = known.map(Name::as_str).collect();
    let detail = format!(
        "{agent} is neither a loaded agent nor a submitter; known are: {}",
        known.join(", ")
    );
    Problem::unknown_agent(detail)
}
