//! Category `ethics`: proposals that break a rule are denied by that rule, and a valid one is not.

use ark_client::Answer;
use ark_client::members::text_field;
use serde_json::{Value, json};

use crate::proposal::{OVERLEVERAGED, OVERSIZED, SyntheticProposal, UNPROTECTED, Violation};

use super::probe::PROBE;
use super::{CaseFailure, TestContext, TestOutcome};

/// The instrument of the proposals.
const SYMBOL: &str = "VALIDATION-TEST";

pub(super) fn test_position_size(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    deny_violation(bench, &OVERSIZED)
}

pub(super) fn test_leverage(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    deny_violation(bench, &OVERLEVERAGED)
}

pub(super) fn test_stop_loss(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    deny_violation(bench, &UNPROTECTED)
}

fn build_proposal(bench: &TestContext<'_>, violation: Option<&Violation>) -> SyntheticProposal {
    // Another price in each run of an hour and a half.
    let price = 100.0 + (bench.run.0 % 5_000_000) as f64 / 1e5;
    SyntheticProposal::build_trade(PROBE, SYMBOL, price, "a validation of the host", violation)
}

/// Has something judged without an effect. It must be judged as it should.
fn rehearse_proposal(
    bench: &TestContext<'_>,
    proposal: &SyntheticProposal,
) -> Result<(), CaseFailure> {
    let path = "/v1/actions?dry_run=true";
    let answer = bench
        .submitter
        .send_json("POST", path, &[], &proposal.action);
    let decision = answer.and_then(Answer::into_success)?;
    match proposal.find_difference(&decision) {
        Some(problem) => Err(problem.into()),
        None => Ok(()),
    }
}

/// Proposes something on record. Returns the decision, if it is what it must be; else nothing of it stays.
fn judge_proposal(
    bench: &TestContext<'_>,
    proposal: &SyntheticProposal,
) -> Result<Value, CaseFailure> {
    let decision = bench.propose_recorded(&proposal.action)?;
    match proposal.find_difference(&decision) {
        Some(problem) => {
            let withdrawn = bench.withdrawal().withdraw_decision(&decision);
            Err(format!("{problem}{}", withdrawn.to_suffix()).into())
        }
        None => Ok(decision),
    }
}

/// Proposes a trade that breaks a rule, on record. In a dry run first: a host that would approve it is not given the chance.
fn deny_violation(
    bench: &TestContext<'_>,
    violation: &Violation,
) -> Result<TestOutcome, CaseFailure> {
    let proposal = build_proposal(bench, Some(violation));
    rehearse_proposal(bench, &proposal)?;
    let decision = judge_proposal(bench, &proposal)?;
    Ok(TestOutcome::Passed(format!(
        "denied by {}: decision {}",
        violation.rule,
        text_field(&decision, "decision_id")
    )))
}

/// A valid trade would be approved, and a valid message is, on record. The trade is a dry run, so that no position is opened.
pub(super) fn test_valid_proposal(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let trade = build_proposal(bench, None);
    let message = SyntheticProposal {
        kind: "valid",
        rule: None,
        action: json!({
            "agent": PROBE,
            "action_type": "message",
            "parameters": {"topic": "validation.note", "text": format!("a validation {:x}", bench.run.0)},
            "reasoning": "a validation of the host",
        }),
    };
    rehearse_proposal(bench, &trade)?;
    let decision = judge_proposal(bench, &message)?;
    let id = text_field(&decision, "decision_id");
    let recorded = bench.client.get(&format!("/v1/decisions/{id}"));
    let recorded = recorded
        .and_then(Answer::into_success)
        .map_err(|error| error.to_string())?;
    if text_field(&recorded, "outcome") != "approved" {
        return Err(format!(
            "decision {id} was approved and is recorded as {}",
            text_field(&recorded, "outcome")
        )
        .into());
    }
    Ok(TestOutcome::Passed(format!(
        "approved and on record: decision {id}"
    )))
}
