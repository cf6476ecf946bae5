//! Category `watchdog`: a missed heartbeat is noticed in time, and the watchdog looks as often as it says.

use std::time::{Duration, Instant};

use ark_client::members::array_field;
use ark_client::{Answer, ClientError};
use serde_json::{Value, json};

use super::probe::PROBE;
use super::{CaseFailure, TestContext, TestOutcome};

/// How soon a missed heartbeat must be an alert.
const ALERT_WITHIN: Duration = Duration::from_secs(10);
/// The pause between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// How many heartbeats are waited for.
const WATCHED_HEARTBEATS: u32 = 3;
/// How long after its time a heartbeat may come, or another interval if that is longer: it waits for a thread and for the other agents.
const SLACK: Duration = Duration::from_secs(3);

fn last_alert(bench: &TestContext<'_>) -> Result<u64, ClientError> {
    let path = format!("/v1/watchdog/alerts?agent={PROBE}&kind=heartbeat_missed&limit=1");
    let page = bench.client.get(&path).and_then(Answer::into_success)?;
    let last = array_field(&page, "alerts").first();
    Ok(last
        .and_then(|alert| alert.get("seq")?.as_u64())
        .unwrap_or(0))
}

/// The probe's heart stops, and an alert says so within 10 s.
pub(super) fn test_missed_heartbeat(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let before = last_alert(bench)?;
    bench.probe.set_key("silent", &json!(true))?;
    let stopped = Instant::now();
    let mut noticed = Ok(None);
    while stopped.elapsed() < ALERT_WITHIN {
        match last_alert(bench) {
            Ok(last) if last > before => {
                noticed = Ok(Some(stopped.elapsed()));
                break;
            }
            Ok(_) => std::thread::sleep(PAUSE),
            Err(error) => {
                noticed = Err(error);
                break;
            }
        }
    }
    // The heart beats again, and a quarantine for its silence ends: the tests behind this one need the probe.
    bench.probe.delete_key("silent")?;
    if bench.probe.is_quarantined()? {
        bench.probe.post("restore").and_then(Answer::into_success)?;
    }
    match noticed? {
        Some(after) => Ok(TestOutcome::Passed(format!(
            "an alert {:.1} s after the heart stopped",
            after.as_secs_f64()
        ))),
        None => Err(format!(
            "the heart stopped, and no alert said so within {} s",
            ALERT_WITHIN.as_secs()
        )
        .into()),
    }
}

/// The watchdog beats, and takes the probe's heartbeat in each of its intervals.
pub(super) fn test_intervals(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let status = bench
        .client
        .get("/v1/watchdog")
        .and_then(Answer::into_success)?;
    if status.get("beating") != Some(&Value::Bool(true)) {
        return Err("the watchdog does not beat".into());
    }
    let interval = status
        .pointer("/intervals/agents_ms")
        .and_then(Value::as_u64);
    let interval = Duration::from_millis(interval.ok_or("the status states no interval")?);
    let bound = interval + interval.max(SLACK);
    // From the next heartbeat on: the tests before this one may have stopped the heart.
    let (mut last, started) = (None, Instant::now());
    let seen = bench.probe.wait_for(|| {
        let age = last_sign(bench)?;
        let is_new = last.is_some_and(|last| age.is_some_and(|age| age < last));
        last = age;
        Ok(is_new.then_some(()))
    });
    if seen?.is_none() {
        return Err(format!(
            "no heartbeat of the probe was taken within {} s",
            started.elapsed().as_secs()
        )
        .into());
    }
    // Each round ends with a heartbeat, or when it is so late that the test fails.
    let (mut longest, mut heartbeats) = (Duration::ZERO, 0);
    while heartbeats < WATCHED_HEARTBEATS {
        let age = last_sign(bench)?.ok_or("the probe does not serve")?;
        if age > bound {
            return Err(format!(
                "no heartbeat for {:.1} s, and the interval is {:.1} s",
                age.as_secs_f64(),
                interval.as_secs_f64()
            )
            .into());
        }
        heartbeats += u32::from(last.is_some_and(|last| age < last));
        last = Some(age);
        longest = longest.max(age);
        std::thread::sleep(PAUSE);
    }
    Ok(TestOutcome::Passed(format!(
        "a heartbeat after {:.1} s at most, in intervals of {:.1} s",
        longest.as_secs_f64(),
        interval.as_secs_f64()
    )))
}

/// How long ago the probe gave a sign of life.
fn last_sign(bench: &TestContext<'_>) -> Result<Option<Duration>, ClientError> {
    let watchdog_view = bench.probe.watchdog_view()?;
    let age = watchdog_view
        .and_then(|watchdog_view| watchdog_view.pointer("/health/last_sign_ms_ago")?.as_u64());
    Ok(age.map(Duration::from_millis))
}
