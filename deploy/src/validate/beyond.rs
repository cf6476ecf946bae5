//! Category `beyond`: pin, readiness, event stream, audit log, objectives.

use std::ops::ControlFlow;
use std::time::Duration;

use ark_client::members::{array_field, text_field};
use ark_client::{Answer, Endpoint, HostClient};
use serde_json::{Value, json};

use crate::event_lines::read_event_lines;
use crate::record::{ReplayedDecisions, replay_decisions, verify_audit_log, verify_state_history};

use super::{CaseFailure, TestContext, TestOutcome};

/// How many of the last decisions are judged again.
const REPLAYED: u32 = 1000;
/// How long a stream of events is read for what must be in it.
const STREAM: Duration = Duration::from_secs(20);

/// The Graveyard is the pinned one, and has passed its test vectors.
pub(super) fn test_pin(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let graveyard = bench
        .client
        .get("/v1/graveyard")
        .and_then(Answer::into_success)?;
    let vectors = graveyard
        .get("vectors_passed")
        .and_then(Value::as_u64)
        .unwrap_or(0);
    if graveyard.get("pin_holds") != Some(&Value::Bool(true)) {
        return Err("the pin of the Graveyard does not hold".into());
    }
    let rules = array_field(&graveyard, "rules").len();
    if vectors == 0 || rules == 0 {
        return Err(
            format!("the Graveyard has {rules} rules and passed {vectors} test vectors").into(),
        );
    }
    Ok(TestOutcome::Passed(format!(
        "{rules} rules, {vectors} test vectors, sha256 {}",
        text_field(&graveyard, "sha256")
    )))
}

/// The host may judge, every limit was proved at its start, and no halt is in force.
pub(super) fn test_ready(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let ready = bench.client.get("/readyz")?;
    if !ready.is_ready() {
        return Err(format!(
            "the host may not judge: {}",
            ready.body.get("problems").unwrap_or(&Value::Null)
        )
        .into());
    }
    let status = bench
        .client
        .get("/v1/watchdog")
        .and_then(Answer::into_success)?;
    let probes = array_field(&status, "probes");
    if probes.is_empty() {
        return Err("the host names no limit that it proved at its start".into());
    }
    let untripped = |probe: &&Value| probe.get("tripped") != Some(&Value::Bool(true));
    if let Some(limit) = probes.iter().find(untripped) {
        return Err(format!(
            "the limit {} does not hold: {}",
            text_field(limit, "limit"),
            text_field(limit, "detail")
        )
        .into());
    }
    Ok(TestOutcome::Passed(format!("{} limits hold", probes.len())))
}

/// A client that comes back with the id of an event gets what comes after it, and not that event again.
pub(super) fn test_events_resume(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    // Three changes, each of which is an event.
    let first = bench
        .client
        .open_stream("/v1/events?kinds=decision", &[], STREAM)?;
    let mut decisions = Vec::new();
    for _ in 0..3 {
        let action = json!({
            "agent": super::probe::PROBE,
            "action_type": "message",
            "parameters": {"topic": "validation.note", "text": format!("event {}", decisions.len())},
            "reasoning": "a validation of the host",
        });
        // Whatever the outcome is, there is an event. Nothing that is held stays.
        let decision = bench.propose_recorded(&action)?;
        if let Some(open) = bench.withdrawal().withdraw_decision(&decision).describe() {
            return Err(open.into());
        }
        decisions.push(text_field(&decision, "decision_id").to_owned());
    }
    let [one, two, three] = &decisions[..] else {
        return Err("three proposals were not made".into());
    };
    let (id, _) = read_until(first, &[], one)?;
    let again = bench.client.open_stream(
        "/v1/events?kinds=decision",
        &[("Last-Event-ID", &id)],
        STREAM,
    );
    let (_, times) = read_until(again?, &[one, two, three], three)?;
    if times != [0, 1, 1] {
        return Err(format!(
            "after the event {id} {one}, {two} and {three} come {times:?} times, not 0, 1 and 1"
        )
        .into());
    }
    Ok(TestOutcome::Passed(format!(
        "from the event {id} on, nothing lost and nothing twice"
    )))
}

/// Reads events up to that of a decision. Returns its id, and how many events each of the `counted` decisions has by then.
fn read_until(
    stream: impl std::io::Read,
    counted: &[&str],
    last: &str,
) -> Result<(String, Vec<usize>), CaseFailure> {
    let mut times = vec![0; counted.len()];
    let mut found = None;
    let read = read_event_lines(stream, |event| {
        if event.kind != "decision" {
            return ControlFlow::Continue(());
        }
        let data: Value = match serde_json::from_str(event.data) {
            Ok(data) => data,
            Err(error) => {
                found = Some(Err(format!("the event {} is no JSON: {error}", event.id)));
                return ControlFlow::Break(());
            }
        };
        let decision = text_field(&data, "decision_id");
        for (one, times) in counted.iter().zip(&mut times) {
            *times += usize::from(*one == decision);
        }
        if decision != last {
            return ControlFlow::Continue(());
        }
        found = Some(Ok(event.id.to_owned()));
        ControlFlow::Break(())
    });
    read.map_err(|error| {
        format!("the stream of events broke before the decision {last}: {error}")
    })?;
    match found {
        Some(id) => Ok((id?, times)),
        None => Err(format!("the stream of events ended before the decision {last}").into()),
    }
}

/// Without a data directory what is on disk cannot be read.
fn skip_without_data(unseen: &str) -> TestOutcome {
    TestOutcome::Skipped(format!(
        "{unseen} was not looked at: no data directory; on the host's machine give --data-dir DIR"
    ))
}

/// The audit log is whole, from its first row on.
pub(super) fn test_chain(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let Some(dir) = &bench.options.data_dir else {
        return Ok(skip_without_data("the chain of the audit log"));
    };
    let rows = verify_audit_log(dir).map_err(|fault| fault.to_string())?;
    require_some(
        rows,
        "the audit log has no row, and the upload of the probe is one",
    )?;
    Ok(TestOutcome::Passed(format!(
        "{rows} rows are as they were written"
    )))
}

/// The history of every agent's state is whole, from its first revision on.
pub(super) fn test_state_chain(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let Some(dir) = &bench.options.data_dir else {
        return Ok(skip_without_data(
            "the history of other agents' state than the probe's",
        ));
    };
    let revisions = verify_state_history(dir).map_err(|fault| fault.to_string())?;
    require_some(
        revisions,
        "the history of state has no revision, and the lease of this validation is one",
    )?;
    Ok(TestOutcome::Passed(format!(
        "{revisions} revisions of all agents are as they were written"
    )))
}

/// What this validation has made itself must be found.
fn require_some(found: u64, problem: &str) -> Result<(), CaseFailure> {
    if found == 0 {
        return Err(problem.into());
    }
    Ok(())
}

/// The last decisions come out the same when they are judged again.
pub(super) fn test_replay(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let Some(dir) = &bench.options.data_dir else {
        return Ok(skip_without_data("what the last decisions would be now"));
    };
    let replayed = replay_decisions(dir, REPLAYED).map_err(|fault| fault.to_string())?;
    describe_replayed(replayed)
}

/// What the decisions that were judged again say. One that was denied because a policy failed is not judged again, and says nothing.
fn describe_replayed(replayed: ReplayedDecisions) -> Result<TestOutcome, CaseFailure> {
    let ReplayedDecisions {
        identical,
        failures,
    } = replayed;
    match (identical, failures) {
        (0, 0) => {
            Err("the database has no decision, and the tests before this one made some".into())
        }
        (0, _) => Err(format!(
            "0 decisions come out the same: all of the last {failures} were denied because a policy failed, and are not judged again; the reasons of the decisions say which (`GET /v1/decisions`)"
        )
        .into()),
        _ => Ok(TestOutcome::Passed(format!(
            "{identical} decisions come out the same; {failures} were denied because a policy failed, and are not judged again"
        ))),
    }
}

/// No objective of the host is missed. One of which too little was seen is not.
pub(super) fn test_objectives(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let Some(url) = &bench.options.telemetry else {
        return Ok(TestOutcome::Skipped(
            "no address of the host's telemetry is known; give --telemetry URL".to_owned(),
        ));
    };
    let telemetry = HostClient::new(&Endpoint {
        url: url.clone(),
        token: None,
        ca: None,
    });
    let shown = telemetry
        .and_then(|telemetry| telemetry.get("/slos")?.into_success())
        .map_err(|error| {
            format!("{error}; give the address of the host's telemetry with --telemetry URL, or --telemetry off for a host without it")
        })?;
    let (mut seen, mut unknown) = (0, 0);
    for objective in array_field(&shown, "slos") {
        for window in array_field(objective, "windows") {
            seen += 1;
            unknown += usize::from(text_field(window, "status") == "not_enough_data");
            if text_field(window, "status") == "breached" {
                return Err(format!(
                    "{} is missed over {}: {} (target {})",
                    text_field(objective, "name"),
                    text_field(window, "window"),
                    window.get("value").unwrap_or(&Value::Null),
                    objective.get("target").unwrap_or(&Value::Null)
                )
                .into());
            }
        }
    }
    if seen == 0 {
        return Err("the host shows no objectives".into());
    }
    if unknown == seen {
        return Ok(TestOutcome::Skipped(format!(
            "too little was seen to judge any of {seen} windows"
        )));
    }
    Ok(TestOutcome::Passed(format!(
        "none of {seen} windows is missed, {unknown} of them with too little seen to judge"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn describe(identical: u64, failures: u64) -> Result<String, String> {
        let replayed = ReplayedDecisions {
            identical,
            failures,
        };
        match describe_replayed(replayed) {
            Ok(TestOutcome::Passed(detail) | TestOutcome::Skipped(detail)) => Ok(detail),
            Err(CaseFailure::Problem(problem)) => Err(problem),
            Err(CaseFailure::Interrupted) => panic!("nothing stops it"),
        }
    }

    #[test]
    fn events_are_read_up_to_a_decision_and_counted() {
        let event = |id: u32, kind: &str, decision: &str| {
            format!("id: {id}-0\nevent: {kind}\ndata: {{\"decision_id\":\"{decision}\"}}\n\n")
        };
        let stream = [
            event(1, "decision", "a"),
            event(2, "approval", "a"),
            event(3, "decision", "b"),
            event(4, "decision", "a"),
            event(5, "decision", "c"),
            event(6, "decision", "a"),
        ]
        .concat();
        let (id, times) = read_until(stream.as_bytes(), &["a", "b", "d"], "c").unwrap();
        assert_eq!((id.as_str(), times), ("5-0", vec![2, 1, 0]));
        for (stream, expected) in [
            (stream.as_str(), "ended before the decision d"),
            (
                "id: 1-0\nevent: decision\ndata: {\n\n",
                "the event 1-0 is no JSON",
            ),
        ] {
            let Err(CaseFailure::Problem(problem)) = read_until(stream.as_bytes(), &[], "d") else {
                panic!("{expected}");
            };
            assert!(problem.contains(expected), "{problem}");
        }
        let endless = std::io::repeat(b'x');
        let Err(CaseFailure::Problem(problem)) = read_until(endless, &[], "d") else {
            panic!("it does not end");
        };
        let expected = "before the decision d: the stream sends an event of more than 1 MiB";
        assert!(problem.contains(expected), "{problem}");
    }

    #[test]
    fn decisions_that_were_not_judged_again_do_not_come_out_the_same() {
        let passed = describe(3, 2).unwrap();
        assert!(
            passed.starts_with("3 decisions come out the same; 2 "),
            "{passed}"
        );
        let failed = describe(0, 2).unwrap_err();
        for part in ["0 decisions come out the same", "the last 2 were denied"] {
            assert!(failed.contains(part), "{failed}");
        }
        assert!(describe(0, 0).unwrap_err().contains("has no decision"));
        assert!(require_some(0, "no revision").is_err() && require_some(1, "").is_ok());
    }
}
