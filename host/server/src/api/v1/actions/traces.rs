//! A trace: everything one signal or proposal led to, in order, and whether all of it is there.
//!
//! What must be there follows from what is: a signal's deliveries must be completed, a failed one must have its row in the audit log, an
//! approved message must have become a signal, a held action must have been approved or rejected. What is missing is either still under way or
//! lost; the trace says which stages are missing.

use std::collections::HashMap;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::{IntoParams, ToSchema};
use utoipa_axum::routes;

use ark_model::action::{Family, Parameters};
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::{DecisionId, Millis, Name, SignalId, TraceId};
use ark_store::{AuditKind, DeliveryRow, TRACE_ROWS, TraceRows};

use crate::api::http::answer::answer_from;
use crate::api::http::extract::{ApiPath, NoQuery};
use crate::api::http::problem::Problem;
use crate::api::http::respond::json_response;
use crate::api::state::{Api, DescribedRoutes, Shared};
use crate::hrm::decode_decision_row;

use super::decision_view::{KnownPolicies, known_policies};

pub(crate) fn list_routes() -> DescribedRoutes {
    DescribedRoutes::new().routes(routes!(show_trace))
}

/// A trace in the path.
#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Path)]
struct TracePath {
    /// The trace.
    id: TraceId,
}

/// A part that must be there.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
struct Stage {
    /// `delivery`, `failure`, `approval` or `message`.
    stage: &'static str,
    /// The agent it concerns.
    #[serde(skip_serializing_if = "Option::is_none")]
    agent: Option<Name>,
    /// The id of the signal or decision it follows from.
    of: String,
    /// Whether the stage was found.
    present: bool,
}

/// Everything one signal or proposal led to.
#[derive(Serialize, ToSchema)]
struct Trace {
    trace_id: TraceId,
    /// Whether all expected stages were found.
    complete: bool,
    /// Whether the trace has more rows than are read, so that it is not known whether it is complete.
    truncated: bool,
    /// The stages that must follow from those that were found.
    expected_stages: Vec<Stage>,
    /// The expected stages that were not found: still under way, or lost.
    missing: Vec<Stage>,
    waiting_messages: u64,
    pending_deliveries: usize,
    held_decisions: usize,
    started_at_ms: Option<Millis>,
    ended_at_ms: Option<Millis>,
    total_ms: Option<u64>,
    /// The steps, in their order.
    steps: Vec<TraceStep>,
}

/// A step of a trace.
#[derive(Serialize, ToSchema)]
#[serde(untagged)]
enum TraceStep {
    Signal(SignalStep),
    Decision(DecisionStep),
    Row(RowStep),
}

answer_from! { DeliveryRow =>
    /// A delivery of a signal of a trace.
    #[schema(as = DeliveryRow)]
    struct Delivery {
        /// The signal.
        signal_id: SignalId,
        /// The receiver.
        agent: Name,
        /// `pending`, `done` or `failed`.
        status: String,
        /// Why the delivery failed.
        #[serde(skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When the delivery was completed.
        #[serde(skip_serializing_if = "Option::is_none")]
        settled_at: Option<Millis>,
    }
}

/// A signal was accepted.
#[derive(Serialize, ToSchema)]
struct SignalStep {
    /// `signal`.
    step: &'static str,
    at_ms: Millis,
    signal_id: SignalId,
    topic: String,
    sender: Option<Name>,
    causal_depth: u32,
    deliveries: Vec<Delivery>,
}

/// An action was judged.
#[derive(Serialize, ToSchema)]
struct DecisionStep {
    /// `decision`.
    step: &'static str,
    at_ms: Millis,
    decision_id: DecisionId,
    agent: Name,
    action_type: String,
    symbol: Option<String>,
    causal_depth: u32,
    outcome: Outcome,
    compliance_score: f64,
    reasons: Vec<String>,
}

/// Any other row of the audit log.
#[derive(Serialize, ToSchema)]
struct RowStep {
    /// The kind of its row.
    step: AuditKind,
    at_ms: Millis,
    agent: Option<Name>,
    id: String,
    /// What the row says.
    detail: Value,
}

/// What a whole trace needs.
struct Completeness {
    stages: Vec<Stage>,
    waiting_messages: u64,
    /// There are more rows than were read: whether it is complete is not known.
    truncated: bool,
}

/// Reads a trace: everything one signal or proposal led to, in order
#[utoipa::path(get, path = "/v1/traces/{id}", operation_id = "read_trace", tag = "events",
    params(TracePath),
    responses((status = 200, description = "The trace.", body = Trace)))]
async fn show_trace(
    State(api): Shared,
    ApiPath(TracePath { id: trace_id }): ApiPath<TracePath>,
    _: NoQuery,
) -> Result<Response, Problem> {
    // The answer is written there, too: it has up to a thousand decisions.
    api.run_blocking(move |api| answer_trace(api, trace_id))
        .await?
}

fn answer_trace(api: &Api, trace_id: TraceId) -> Result<Response, Problem> {
    let rows = api.store.trace_rows(trace_id)?;
    let known = api.store.policy_records()?;
    if rows.signals.is_empty() && rows.audit.is_empty() {
        return Err(Problem::not_found(
            format!("there is no trace {trace_id}"),
            "id",
            "give the trace_id of a decision (GET /v1/decisions); rows that were archived are in their archive",
        ));
    }
    let known = known_policies(known).map_err(|error| Problem::unavailable(error.to_string()))?;
    let decisions = decode_decisions(&rows, &known)?;
    let steps = collect_steps(&rows, &decisions);
    let completeness = Completeness::from_rows(&rows, &decisions);
    let missing = completeness
        .stages
        .iter()
        .filter(|stage| !stage.present)
        .cloned()
        .collect();
    let pending = rows
        .deliveries
        .iter()
        .filter(|delivery| delivery.status == "pending")
        .count();
    let held = decisions
        .iter()
        .filter(|decision| decision.outcome == Outcome::Held)
        .count();
    let settled = rows.deliveries.iter().filter_map(|row| row.settled_at);
    let times: Vec<Millis> = steps.iter().map(|(at, _)| *at).chain(settled).collect();
    let (first, last) = (times.iter().min(), times.iter().max());
    let total = first.zip(last).map(|(first, last)| last.0 - first.0);
    let (started_at_ms, ended_at_ms) = (first.copied(), last.copied());
    let trace = Trace {
        trace_id,
        complete: completeness.is_complete(),
        truncated: completeness.truncated,
        missing,
        waiting_messages: completeness.waiting_messages,
        expected_stages: completeness.stages,
        pending_deliveries: pending,
        held_decisions: held,
        started_at_ms,
        ended_at_ms,
        total_ms: total,
        steps: steps.into_iter().map(|(_, step)| step).collect(),
    };
    Ok(json_response(StatusCode::OK, Some(trace_id), &trace))
}

/// The decisions, oldest first.
fn decode_decisions(rows: &TraceRows, known: &KnownPolicies) -> Result<Vec<Decision>, Problem> {
    let mut decisions = Vec::new();
    for row in rows.audit.iter().rev() {
        if row.kind == AuditKind::Decision {
            let decision = decode_decision_row(row, |digest| known.get(&digest).cloned())
                .map_err(|error| Problem::unavailable(error.to_string()))?;
            decisions.extend(decision);
        }
    }
    Ok(decisions)
}

fn collect_steps(rows: &TraceRows, decisions: &[Decision]) -> Vec<(Millis, TraceStep)> {
    let mut steps: Vec<(Millis, TraceStep)> = Vec::new();
    for signal in &rows.signals {
        let deliveries = rows
            .deliveries
            .iter()
            .filter(|delivery| delivery.signal_id == signal.id)
            .cloned()
            .map(Delivery::from)
            .collect();
        let step = SignalStep {
            step: "signal",
            at_ms: signal.accepted_at,
            signal_id: signal.id,
            topic: signal.topic.clone(),
            sender: signal.sender.clone(),
            causal_depth: signal.causal_depth,
            deliveries,
        };
        steps.push((signal.accepted_at, TraceStep::Signal(step)));
    }
    for decision in decisions {
        steps.push((
            decision.decided_at,
            TraceStep::Decision(build_decision_step(decision)),
        ));
    }
    for row in rows.audit.iter().rev() {
        if row.kind != AuditKind::Decision {
            let step = RowStep {
                step: row.kind,
                at_ms: row.at,
                agent: row.agent.clone(),
                id: row.id.clone(),
                detail: serde_json::from_str(&row.body).unwrap_or(Value::Null),
            };
            steps.push((row.at, TraceStep::Row(step)));
        }
    }
    steps.sort_by_key(|(at, _)| *at);
    steps
}

fn build_decision_step(decision: &Decision) -> DecisionStep {
    let symbol = match &decision.action.parameters {
        Parameters::Trade(_) | Parameters::ClosePosition(_) => decision.action.symbol(),
        _ => None,
    };
    DecisionStep {
        step: "decision",
        at_ms: decision.decided_at,
        decision_id: decision.id,
        agent: decision.agent.clone(),
        action_type: decision.action.action_type.clone(),
        symbol: symbol.map(str::to_owned),
        causal_depth: decision.facts.causal_depth,
        outcome: decision.outcome,
        compliance_score: decision.compliance_score,
        reasons: decision.reasons(),
    }
}

impl Completeness {
    fn from_rows(rows: &TraceRows, decisions: &[Decision]) -> Self {
        let mut stages = Vec::new();
        for delivery in &rows.deliveries {
            let stage = |stage, present| Stage {
                stage,
                agent: Some(delivery.agent.clone()),
                of: delivery.signal_id.to_string(),
                present,
            };
            stages.push(stage("delivery", delivery.status != "pending"));
            // What was shed was never handed to the agent: the delivery's row is its only record.
            let shed = delivery
                .reason
                .as_ref()
                .is_some_and(|reason| reason.starts_with("shed"));
            if delivery.status == "failed" && !shed {
                let id = delivery.signal_id.to_string();
                let recorded = rows.audit.iter().any(|row| {
                    row.kind == AuditKind::Failure
                        && row.agent.as_ref() == Some(&delivery.agent)
                        && row.body.contains(&id)
                });
                stages.push(stage("failure", recorded));
            }
        }
        // Signals by sender and depth: each stands for one message.
        let mut signals: HashMap<(&Name, u32), usize> = HashMap::new();
        for signal in &rows.signals {
            if let Some(sender) = &signal.sender {
                *signals.entry((sender, signal.causal_depth)).or_default() += 1;
            }
        }
        for decision in decisions {
            let id = decision.id.to_string();
            if decision.outcome == Outcome::Held {
                stages.push(Stage {
                    stage: "approval",
                    agent: Some(decision.agent.clone()),
                    present: !rows.open_approvals.contains(&id),
                    of: id.clone(),
                });
            }
            let is_message = decision.action.parameters.family() == Family::Message;
            if !is_message || decision.outcome != Outcome::Approved {
                continue;
            }
            let depth = decision.facts.causal_depth.saturating_add(1);
            let sent = signals
                .get_mut(&(&decision.agent, depth))
                .filter(|left| **left > 0);
            let present = sent.is_some();
            if let Some(left) = sent {
                *left -= 1;
            }
            stages.push(Stage {
                stage: "message",
                agent: Some(decision.agent.clone()),
                of: id,
                present,
            });
        }
        let most = TRACE_ROWS as usize;
        Self {
            stages,
            waiting_messages: rows.waiting_messages,
            truncated: rows.signals.len() >= most
                || rows.deliveries.len() >= most
                || rows.audit.len() >= most,
        }
    }

    fn is_complete(&self) -> bool {
        !self.truncated
            && self.waiting_messages == 0
            && self.stages.iter().all(|stage| stage.present)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use ark_model::signal::Signal;
    use ark_store::AuditRow;

    fn make_rows(status: &str, reason: Option<&str>) -> TraceRows {
        let signal = Signal {
            id: SignalId::fresh(),
            topic: "market.tick".to_owned(),
            payload_json: "null".to_owned(),
            trace_id: TraceId::fresh(),
            sender: None,
            causal_depth: 0,
            accepted_at: Millis(1),
            expires_at: None,
        };
        TraceRows {
            deliveries: vec![DeliveryRow {
                signal_id: signal.id,
                agent: "kyle".parse().unwrap(),
                status: status.to_owned(),
                reason: reason.map(str::to_owned),
                settled_at: None,
            }],
            signals: vec![signal],
            audit: Vec::new(),
            waiting_messages: 0,
            open_approvals: Vec::new(),
        }
    }

    fn list_missing(rows: &TraceRows) -> Vec<&'static str> {
        let found = Completeness::from_rows(rows, &[]);
        let missing: Vec<_> = found
            .stages
            .iter()
            .filter(|stage| !stage.present)
            .map(|stage| stage.stage)
            .collect();
        assert_eq!(
            found.is_complete(),
            missing.is_empty() && rows.waiting_messages == 0
        );
        missing
    }

    #[test]
    fn pending_and_lost_stages_count_as_missing() {
        assert!(list_missing(&make_rows("done", None)).is_empty());
        assert_eq!(list_missing(&make_rows("pending", None)), ["delivery"]);
        assert!(list_missing(&make_rows("failed", Some("shed: too many"))).is_empty());
        let mut failed = make_rows("failed", Some("it trapped"));
        assert_eq!(list_missing(&failed), ["failure"]);
        failed.audit.push(AuditRow {
            seq: 1,
            kind: AuditKind::Failure,
            id: "x".to_owned(),
            trace_id: None,
            agent: Some("kyle".parse().unwrap()),
            action_type: None,
            outcome: None,
            at: Millis(2),
            body: json!({"signal_id": failed.signals[0].id}).to_string(),
            hash: ark_model::ids::Digest::hash_bytes(b""),
        });
        assert!(list_missing(&failed).is_empty());
        let mut waiting = make_rows("done", None);
        waiting.waiting_messages = 1;
        assert!(list_missing(&waiting).is_empty());
    }
}
