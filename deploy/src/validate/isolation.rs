//! Category `isolation`: an agent that fails is isolated, and gets nothing then.

use std::time::{Duration, Instant};

use ark_client::Answer;
use ark_client::members::{array_field, text_field};
use serde_json::Value;

use super::probe::PROBE;
use super::{CaseFailure, TestContext, TestOutcome};

/// How long an agent in quarantine is watched for a signal that it must not get.
const WATCHED: Duration = Duration::from_secs(2);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// In whose name the watchdog gives orders.
const WATCHDOG: &str = "watchdog";
/// The causes of a quarantine for failures.
const FAILURE_CAUSES: [&str; 2] = ["consecutive_failures", "failure_rate"];
/// The most failures that the test causes, whatever the host's thresholds are.
const MOST_FAILURES: u64 = 200;

/// The probe fails until it is in quarantine for that: at the threshold of the host, not later.
pub(super) fn test_failing_agent(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let status = bench
        .client
        .get("/v1/watchdog")
        .and_then(Answer::into_success)?;
    let allowed = status
        .pointer("/thresholds/consecutive_failures")
        .and_then(Value::as_u64);
    let allowed = allowed
        .ok_or("the status states no threshold")?
        .min(MOST_FAILURES);
    if let Some(quarantine) = bench.probe.find_quarantine()? {
        // The test behind this one needs the probe.
        restore_probe(bench)?;
        return Err(format!(
            "the probe was in quarantine before its first failure: {}",
            describe_quarantine(&quarantine)
        )
        .into());
    }
    let mut sent = 0;
    let mut found = None;
    while sent < allowed && found.is_none() {
        bench.probe.send_signal("t")?;
        sent += 1;
        found = bench.probe.find_quarantine()?;
    }
    if found.is_none() {
        found = bench.probe.wait_for(|| bench.probe.find_quarantine())?;
    }
    let Some(quarantine) = found else {
        return Err(format!("{sent} failures in a row, and the probe is not in quarantine").into());
    };
    restore_probe(bench)?;
    if !is_for_failures(&quarantine) {
        return Err(format!(
            "the probe failed {sent} times and is in quarantine for something else: {}",
            describe_quarantine(&quarantine)
        )
        .into());
    }
    Ok(TestOutcome::Passed(format!(
        "in quarantine after {sent} failures at most: {}",
        text_field(&quarantine, "reason")
    )))
}

fn restore_probe(bench: &TestContext<'_>) -> Result<(), CaseFailure> {
    let restored = bench.probe.post_order("restore");
    restored
        .and_then(Answer::into_success)
        .map_err(|error| format!("the probe was not restored from its quarantine: {error}"))?;
    Ok(())
}

/// Whether the watchdog ordered a quarantine, for failures.
fn is_for_failures(quarantine: &Value) -> bool {
    text_field(quarantine, "by") == WATCHDOG
        && FAILURE_CAUSES.contains(&text_field(quarantine, "cause"))
}

fn describe_quarantine(quarantine: &Value) -> String {
    format!(
        "{} by {} ({})",
        text_field(quarantine, "cause"),
        text_field(quarantine, "by"),
        text_field(quarantine, "reason")
    )
}

/// The probe in quarantine gets no signal, and gets it once it is restored.
pub(super) fn test_nothing_delivered(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    bench.probe.delete_key("seen")?;
    bench
        .probe
        .post_order("quarantine")
        .and_then(Answer::into_success)?;
    let accepted = bench.probe.send_signal("w")?;
    let trace_id = text_field(&accepted, "trace_id").to_owned();
    let sent = Instant::now();
    let mut delivered = false;
    while sent.elapsed() < WATCHED && !delivered {
        bench.probe.check_stop()?;
        delivered = bench.probe.read_key("seen")?.is_some();
        std::thread::sleep(PAUSE);
    }
    let trace = bench
        .client
        .get(&format!("/v1/traces/{trace_id}"))
        .and_then(Answer::into_success);
    let trace = trace?;
    let handled = array_field(&trace, "steps")
        .iter()
        .flat_map(|step| array_field(step, "deliveries"))
        .any(|one| text_field(one, "agent") == PROBE && text_field(one, "status") != "pending");
    restore_probe(bench)?;
    if delivered || handled {
        return Err(
            format!("the probe was in quarantine and handled a signal: trace {trace_id}").into(),
        );
    }
    let late = bench.probe.wait_for(|| bench.probe.read_key("seen"))?;
    if late.is_none() {
        return Err(format!(
            "the probe was restored and did not get the signal that waited: trace {trace_id}"
        )
        .into());
    }
    Ok(TestOutcome::Passed(
        "the signal waited until the probe was restored".to_owned(),
    ))
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;
    use std::sync::atomic::AtomicBool;

    use ark_model::ids::Millis;
    use serde_json::json;

    use crate::scripted_host::start_scripted_host;
    use crate::validate::ValidateOptions;
    use crate::validate::probe::ValidationProbe;

    use super::*;

    /// What the test says of a host with a threshold of 3 that has the probe in this quarantine from so many signals on, and answers with `restored` to
    /// the order to restore it.
    fn judge_host((cause, by): (&str, &str), from: u64, restored: u16) -> Result<String, String> {
        let quarantine = json!({"agent": PROBE, "cause": cause, "by": by, "reason": "a test"});
        let mut signals = 0;
        let client = start_scripted_host(move |asked| match asked.path.as_str() {
            "/v1/signals" => {
                signals += 1;
                (202, json!({}))
            }
            "/v1/watchdog" => {
                let in_force = if signals >= from {
                    json!([quarantine])
                } else {
                    json!([])
                };
                let thresholds = json!({"consecutive_failures": 3});
                (
                    200,
                    json!({"thresholds": thresholds, "quarantines": in_force}),
                )
            }
            "/v1/agents/validation-probe/restore" => (restored, json!({"detail": "no room"})),
            _ => (404, Value::Null),
        });
        let (stop, patience) = (AtomicBool::new(false), Duration::from_millis(1));
        let options = ValidateOptions {
            categories: Vec::new(),
            telemetry: None,
            data_dir: None,
            journal: PathBuf::new(),
            patience,
        };
        let probe = ValidationProbe {
            client: &client,
            submitter: &client,
            patience,
            stop: &stop,
        };
        let bench = TestContext {
            client: &client,
            submitter: &client,
            probe,
            options: &options,
            trace: "",
            run: Millis(1),
        };
        match test_failing_agent(&bench) {
            Ok(TestOutcome::Passed(detail) | TestOutcome::Skipped(detail)) => Ok(detail),
            Err(CaseFailure::Problem(problem)) => Err(problem),
            Err(CaseFailure::Interrupted) => panic!("nothing stops it"),
        }
    }

    #[test]
    fn only_a_quarantine_of_the_watchdogs_for_failures_that_were_caused_passes() {
        let in_a_row = ("consecutive_failures", "watchdog");
        assert!(judge_host(in_a_row, 3, 200).is_ok());
        let passed = judge_host(("failure_rate", "watchdog"), 2, 200).unwrap();
        assert!(passed.contains("after 2 failures at most"), "{passed}");
        for (quarantine, from, restored, expected) in [
            (in_a_row, 0, 200, "before its first failure"),
            (("operator", "ada"), 0, 200, "operator by ada (a test)"),
            (("operator", "ada"), 1, 200, "for something else"),
            (
                ("missed_heartbeats", "watchdog"),
                3,
                200,
                "for something else",
            ),
            (
                ("consecutive_failures", "ada"),
                3,
                200,
                "for something else",
            ),
            (in_a_row, 4, 200, "is not in quarantine"),
            (
                in_a_row,
                3,
                503,
                "the probe was not restored from its quarantine: no room",
            ),
            (("operator", "ada"), 0, 503, "was not restored"),
        ] {
            let failed = judge_host(quarantine, from, restored).unwrap_err();
            assert!(
                failed.contains(expected),
                "{quarantine:?}, {from}: {failed}"
            );
        }
    }
}
