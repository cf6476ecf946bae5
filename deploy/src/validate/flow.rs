//! Category `flow`: a signal goes all the way through the host, in one trace.

use ark_client::Answer;
use ark_client::members::{array_field, text_field};
use serde_json::Value;

use super::probe::PROBE;
use super::{CaseFailure, TestContext, TestOutcome};

/// Sends a signal that makes the probe send itself a message, and waits for the trace in which both were handled.
fn follow_signal(bench: &TestContext<'_>) -> Result<(String, Value), CaseFailure> {
    let accepted = bench.probe.send_signal(&format!("m{}", echo_of(bench)))?;
    let trace_id = text_field(&accepted, "trace_id").to_owned();
    let path = format!("/v1/traces/{trace_id}");
    let mut last = Value::Null;
    let found = bench.probe.wait_for(|| {
        let answer = bench.client.get(&path)?;
        last = answer.body.clone();
        if answer.status != 200 {
            return Ok(None);
        }
        let trace = answer.into_success()?;
        let signals = list_steps(&trace, "signal").count();
        let is_whole = trace.get("complete") == Some(&Value::Bool(true)) && signals >= 2;
        Ok(is_whole.then_some(trace))
    });
    match found? {
        Some(trace) => Ok((trace_id, trace)),
        None => Err(format!(
            "the trace {trace_id} did not become complete: {} signals, missing {}{}{}",
            list_steps(&last, "signal").count(),
            last.get("missing").unwrap_or(&Value::Null),
            describe_refusals(&last),
            bench.withdrawal().describe_trace(&trace_id)
        )
        .into()),
    }
}

/// What follows the first letter of the probe's message, and of what it writes when it gets that.
fn echo_of(bench: &TestContext<'_>) -> String {
    format!("{:x}", bench.run.0)
}

/// The decisions of a trace that are not approvals, with their reasons.
fn describe_refusals(trace: &Value) -> String {
    let refusals: Vec<String> = list_steps(trace, "decision")
        .filter(|step| text_field(step, "outcome") != "approved")
        .map(|step| {
            let reasons = array_field(step, "reasons")
                .iter()
                .filter_map(Value::as_str);
            let reasons: Vec<&str> = reasons.collect();
            format!(
                "; a message was {}: {}",
                text_field(step, "outcome"),
                reasons.join("; ")
            )
        })
        .collect();
    refusals.concat()
}

fn list_steps<'a>(trace: &'a Value, kind: &'a str) -> impl Iterator<Item = &'a Value> {
    array_field(trace, "steps")
        .iter()
        .filter(move |step| text_field(step, "step") == kind)
}

/// Signal, delivery, decision, message, its signal, its delivery, the state that the probe wrote.
pub(super) fn test_end_to_end(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    bench.probe.delete_key("seen")?;
    let (trace_id, trace) = follow_signal(bench)?;
    let mut decisions = list_steps(&trace, "decision");
    if !decisions
        .any(|step| text_field(step, "agent") == PROBE && text_field(step, "outcome") == "approved")
    {
        return Err(format!(
            "the trace {trace_id} has no approved decision of the probe{}",
            bench.withdrawal().describe_trace(&trace_id)
        )
        .into());
    }
    for signal in list_steps(&trace, "signal") {
        let mut deliveries = array_field(signal, "deliveries").iter();
        if !deliveries
            .any(|one| text_field(one, "agent") == PROBE && text_field(one, "status") == "done")
        {
            return Err(format!(
                "the signal {} was not handled by the probe",
                text_field(signal, "signal_id")
            )
            .into());
        }
    }
    let written = format!("w{}", echo_of(bench));
    match bench.probe.read_key("seen")? {
        Some(entry) if entry.get("value") == Some(&Value::from(written.as_str())) => {
            Ok(TestOutcome::Passed(format!(
                "a signal, a decision, a message and a revision in {} ms: trace {trace_id}",
                trace.get("total_ms").unwrap_or(&Value::Null)
            )))
        }
        found => Err(format!(
            "the probe wrote {written:?} to its state, and the host has {}",
            found.unwrap_or_default()
        )
        .into()),
    }
}

/// Everything that the signal led to names its trace, wherever it is read.
pub(super) fn test_one_trace(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let (trace_id, trace) = follow_signal(bench)?;
    let mut named = 1;
    for step in list_steps(&trace, "decision") {
        let id = text_field(step, "decision_id");
        let decision = bench
            .client
            .get(&format!("/v1/decisions/{id}"))
            .and_then(Answer::into_success);
        let found = text_field(&decision?, "trace_id").to_owned();
        if found != trace_id {
            return Err(format!("decision {id} names the trace {found}, not {trace_id}").into());
        }
        named += 1;
    }
    let entry = bench.probe.read_key("seen")?.unwrap_or_default();
    let found = text_field(&entry, "trace_id");
    if found != trace_id {
        return Err(format!(
            "the revision that the signal led to names the trace {found:?}, not {trace_id}"
        )
        .into());
    }
    let decisions = bench
        .client
        .get(&format!("/v1/session-log?agent={PROBE}&limit=50"));
    let decisions = decisions.and_then(Answer::into_success)?;
    let is_logged = array_field(&decisions, "entries")
        .iter()
        .any(|row| text_field(row, "trace_id") == trace_id);
    if !is_logged {
        return Err(format!("the session log has no entry of the trace {trace_id}").into());
    }
    Ok(TestOutcome::Passed(format!(
        "{} places name the trace {trace_id}",
        named + 2
    )))
}
