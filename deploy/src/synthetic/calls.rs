//! The calls about a trade of the load: it is proposed, found again by its trace, and taken back.
//!
//! Must not know: the journal.

use std::time::Duration;

use ark_client::members::{array_field, is_true, text_field};
use ark_client::{Answer, AwaitedWork, ClientError, HostClient, join_path};
use serde_json::{Value, json};

use super::SyntheticError;

/// How long a proposal is waited for. The host is told so, and what is not committed by then is not committed at all.
pub(super) const ANSWER_TIME: Duration = AwaitedWork::Answer.timeout();
/// How long a look at a trace is waited for: nothing depends on a single one.
pub(super) const LOOK_TIME: Duration = Duration::from_secs(10);
/// A decision that no host has made: its report is refused, and only by its right if the token has none.
const NO_DECISION: &str = "00000000-0000-7000-8000-000000000000";
/// The states of an order that is not in the market any more. `filled` is none of them: it left a position.
const ENDED_STATES: [&str; 3] = ["cancelled", "rejected", "expired"];

/// Proposes an action under an idempotency key. The answer is the decision.
pub(super) fn propose_action(
    client: &HostClient,
    key: &str,
    action: &Value,
) -> Result<Value, ClientError> {
    let deadline = ANSWER_TIME.as_millis().to_string();
    let headers = [
        ("Idempotency-Key", key),
        ("Ark-Deadline-Ms", deadline.as_str()),
    ];
    client
        .send_json("POST", "/v1/actions", &headers, action)?
        .into_success()
}

/// What a trace shows of an agent.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct TracedDecisions {
    /// Whether anything was decided.
    pub(super) is_decided: bool,
    /// The ids and outcomes of the decisions of which something may be open.
    pub(super) open: Vec<(String, String)>,
    /// Whether the host does not show all of the trace.
    pub(super) is_truncated: bool,
}

/// Reads what was decided for an agent in a trace. A trace that the host does not know, or that is in an archive, has nothing that is open.
pub(super) fn read_decisions(
    client: &HostClient,
    trace: &str,
    agent: &str,
) -> Result<TracedDecisions, ClientError> {
    let path = join_path(&["v1", "traces", trace]);
    let answer = client.get_within(&path, LOOK_TIME)?;
    if answer.status == 404 {
        return Ok(find_decisions(&Value::Null, agent));
    }
    Ok(find_decisions(&answer.into_success()?, agent))
}

fn find_decisions(trace: &Value, agent: &str) -> TracedDecisions {
    let steps = array_field(trace, "steps");
    let has_ended = |id: &str| {
        steps.iter().any(|step| {
            let detail = step.get("detail").unwrap_or(&Value::Null);
            text_field(step, "step") == "execution"
                && text_field(detail, "decision_id") == id
                && ENDED_STATES.contains(&text_field(detail, "order_state"))
        })
    };
    let decided: Vec<(&str, &str)> = steps
        .iter()
        .filter(|step| text_field(step, "step") == "decision" && text_field(step, "agent") == agent)
        .map(|step| (text_field(step, "decision_id"), text_field(step, "outcome")))
        .collect();
    TracedDecisions {
        is_decided: !decided.is_empty(),
        open: decided
            .into_iter()
            .filter(|&(id, outcome)| matches!(outcome, "approved" | "held") && !has_ended(id))
            .map(|(id, outcome)| (id.to_owned(), outcome.to_owned()))
            .collect(),
        is_truncated: is_true(trace, "truncated"),
    }
}

/// Takes back what a decision left open. Returns whether an execution was reported.
pub(super) fn take_back(
    client: &HostClient,
    decision_id: &str,
    outcome: &str,
) -> Result<bool, ClientError> {
    match outcome {
        "approved" => cancel_order(client, decision_id).map(|()| true),
        "held" => reject_approval(client, decision_id),
        _ => Ok(false),
    }
}

/// Rejects a held trade, so that nobody approves it later. One that somebody approved meanwhile is cancelled. Returns whether an execution was
/// reported.
fn reject_approval(client: &HostClient, decision_id: &str) -> Result<bool, ClientError> {
    let path = join_path(&["v1", "approvals", decision_id]);
    let comment = json!({"comment": "synthetic load; it must not be carried out"});
    let answer = client.send_json("POST", &format!("{path}/reject"), &[], &comment)?;
    let Err(refusal) = answer.into_success() else {
        return Ok(false);
    };
    let approval = client.get(&path)?.into_success()?;
    match text_field(&approval, "status") {
        "open" => Err(refusal),
        "approved" => {
            let second = text_field(&approval, "decision_id");
            let path = join_path(&["v1", "decisions", second]);
            let decision = client.get(&path)?.into_success()?;
            take_back(client, second, text_field(&decision, "outcome"))
        }
        _ => Ok(false),
    }
}

/// Reports an approved trade as cancelled.
fn cancel_order(client: &HostClient, decision_id: &str) -> Result<(), ClientError> {
    let report = json!({
        "execution_id": format!("ark-synthetic-{decision_id}"),
        "decision_id": decision_id,
        "status": "cancelled",
    });
    client
        .send_json("POST", "/v1/executions", &[], &report)
        .and_then(Answer::into_success)
        .map(drop)
}

/// Finds out whether the token may report executions.
pub(super) fn check_right_to_cancel(client: &HostClient) -> Result<(), SyntheticError> {
    let report = json!({
        "execution_id": "ark-synthetic-rehearsal",
        "decision_id": NO_DECISION,
        "status": "cancelled",
    });
    let answer = client.send_json("POST", "/v1/executions", &[], &report)?;
    match answer.status {
        401 | 403 => Err(SyntheticError::CannotCancel(
            text_field(&answer.body, "detail").to_owned(),
        )),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_trace_leaves_open_is_the_agents_own_and_has_not_ended() {
        let decision = |agent: &str, id: &str, outcome: &str| json!({"step": "decision", "agent": agent, "decision_id": id, "outcome": outcome});
        let execution = |id: &str, state: &str| {
            json!({"step": "execution", "agent": "synthetic", "id": "x",
                "detail": {"decision_id": id, "order_state": state}})
        };
        let approved = decision("synthetic", "a", "approved");
        for (steps, is_decided, open) in [
            (vec![], false, vec![]),
            (
                vec![json!({"step": "signal"}), approved.clone()],
                true,
                vec![("a", "approved")],
            ),
            // Of another one in the same trace.
            (vec![decision("kyle", "b", "approved")], false, vec![]),
            (vec![decision("synthetic", "a", "denied")], true, vec![]),
            // Proposed twice, under two tokens: each is open by itself.
            (
                vec![
                    approved.clone(),
                    decision("synthetic", "b", "held"),
                    decision("synthetic", "c", "approved"),
                    execution("c", "cancelled"),
                ],
                true,
                vec![("a", "approved"), ("b", "held")],
            ),
            (
                vec![approved.clone(), execution("a", "rejected")],
                true,
                vec![],
            ),
            (
                vec![approved.clone(), execution("b", "cancelled")],
                true,
                vec![("a", "approved")],
            ),
            // A position: it is not taken for ended.
            (
                vec![approved, execution("a", "filled")],
                true,
                vec![("a", "approved")],
            ),
        ] {
            let found = find_decisions(&json!({"steps": steps, "truncated": false}), "synthetic");
            let texts = |(id, outcome): (&str, &str)| (id.to_owned(), outcome.to_owned());
            let wanted = TracedDecisions {
                is_decided,
                open: open.into_iter().map(texts).collect(),
                is_truncated: false,
            };
            assert_eq!(found, wanted, "{steps:?}");
        }
        assert!(find_decisions(&json!({"truncated": true}), "synthetic").is_truncated);
    }
}
