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
