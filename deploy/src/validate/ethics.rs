//! Category `ethics`: proposals that break a rule are denied by that rule, and a valid one is not.

use ark_client::Answer;
use serde_json::{Value, json};

use crate::members::text_of;
use crate::proposal::{OVERLEVERAGED, OVERSIZED, Proposal, UNPROTECTED, Violation};

use super::probe::PROBE;
use super::{Bench, CaseFailure, Outcome};

/// The instrument of the proposals.
const SYMBOL: &str = "VALIDATION-TEST";

pub(super) fn test_position_size(bench: &Bench<'_>) -> Result<Outcome, CaseFailure> {
    deny(bench, &OVERSIZED)
}

pub(super) fn test_leverage(bench: &Bench<'_>) -> Result<Outcome, CaseFailure> {
    deny(bench, &OVERLEVERAGED)
}

pub(super) fn test_stop_loss(bench: &Bench<'_>) -> Result<Outcome, CaseFailure> {
    deny(bench, &UNPROTECTED)
}

fn propose(violation: Option<&Violation>) -> Proposal {
    Proposal::trade(PROBE, SYMBOL, 100.0, "a validation of the host", violation)
}

/// Proposes something. Returns the decision, if it is what it must be.
fn judge(bench: &Bench<'_>, path: &str, proposal: &Proposal) -> Result<Value, CaseFailure> {
    let answer = bench
        .submitter
        .send_json("POST", path, &[], &proposal.action);
    let decision = answer.and_then(Answer::into_success)?;
    match proposal.find_difference(&decision) {
        Some(problem) => Err(problem.into()),
        None => Ok(decision),
    }
}

/// Proposes a trade that breaks a rule, on record. In a dry run first: a host that would approve it is not given the chance.
fn deny(bench: &Bench<'_>, violation: &Violation) -> Result<Outcome, CaseFailure> {
    let proposal = propose(Some(violation));
    let mut decision = json!(null);
    for path in ["/v1/actions?dry_run=true", "/v1/actions"] {
        decision = judge(bench, path, &proposal)?;
    }
    Ok(Outcome::Passed(format!(
        "denied by {}: decision {}",
        violation.rule,
        text_of(&decision, "decision_id")
    )))
}

/// A valid trade would be approved, and a valid message is, on record. The trade is a dry run, so that no position is opened.
pub(super) fn test_valid_proposal(bench: &Bench<'_>) -> Result<Outcome, CaseFailure> {
    let trade = propose(None);
    let message = Proposal {
        kind: "valid",
        rule: None,
        action: json!({
            "agent": PROBE,
            "action_type": "message",
            "parameters": {"topic": "validation.note", "text": "a validation"},
            "reasoning": "a validation of the host",
        }),
    };
    let mut decision = json!(null);
    for (path, proposal) in [
        ("/v1/actions?dry_run=true", &trade),
        ("/v1/actions", &message),
    ] {
        decision = judge(bench, path, proposal)?;
    }
    let id = text_of(&decision, "decision_id");
    let recorded = bench.client.get(&format!("/v1/decisions/{id}"));
    let recorded = recorded
        .and_then(Answer::into_success)
        .map_err(|error| error.to_string())?;
    if text_of(&recorded, "outcome") != "approved" {
        return Err(format!(
            "decision {id} was approved and is recorded as {}",
            text_of(&recorded, "outcome")
        )
        .into());
    }
    Ok(Outcome::Passed(format!(
        "approved and on record: decision {id}"
    )))
}
