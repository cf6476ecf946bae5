//! Category `watchdog`: a missed heartbeat is noticed in time, and the watchdog looks as often as it says.

use std::time::{Duration, Instant};

use ark_client::members::{array_field, text_field};
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
/// How many checks of the Graveyard are waited for.
const WATCHED_CHECKS: u32 = 2;
/// How long after its time a heartbeat or a check may come, or another interval if that is longer: it waits for a thread and for the other agents.
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
        bench
            .probe
            .post_order("restore")
            .and_then(Answer::into_success)?;
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

/// A loop of the watchdog while its rounds are timed.
struct TimedLoop {
    /// What each of its rounds does.
    what: &'static str,
    /// The interval that the host states.
    interval: Duration,
    /// How long ago its last round was when the host was last asked.
    last: Option<Duration>,
    /// The longest time that was seen.
    longest: Duration,
    rounds: u32,
    /// How many rounds are waited for.
    wanted: u32,
}

impl TimedLoop {
    fn new(
        status: &Value,
        (name, what): (&str, &'static str),
        wanted: u32,
    ) -> Result<Self, CaseFailure> {
        let interval = status
            .pointer(&format!("/intervals/{name}"))
            .and_then(Value::as_u64);
        let interval = interval.ok_or_else(|| format!("the status states no interval {name}"))?;
        Ok(Self {
            what,
            interval: Duration::from_millis(interval),
            last: None,
            longest: Duration::ZERO,
            rounds: 0,
            wanted,
        })
    }

    fn is_done(&self) -> bool {
        self.rounds >= self.wanted
    }

    /// Takes how long ago the last round was. Too long ago fails the test.
    fn take_age(&mut self, age: Duration) -> Result<(), CaseFailure> {
        if age > self.interval + self.interval.max(SLACK) {
            return Err(format!(
                "no {} for {:.1} s, and the interval is {:.1} s",
                self.what,
                age.as_secs_f64(),
                self.interval.as_secs_f64()
            )
            .into());
        }
        self.rounds += u32::from(self.last.is_some_and(|last| age < last));
        self.last = Some(age);
        self.longest = self.longest.max(age);
        Ok(())
    }

    fn describe_bound(&self) -> String {
        format!(
            "a {} after {:.1} s at most, in intervals of {:.1} s",
            self.what,
            self.longest.as_secs_f64(),
            self.interval.as_secs_f64()
        )
    }
}

/// The watchdog beats, takes the probe's heartbeat in each of its intervals, and checks the Graveyard in each of those.
pub(super) fn test_intervals(bench: &TestContext<'_>) -> Result<TestOutcome, CaseFailure> {
    let status = read_status(bench)?;
    if status.get("beating") != Some(&Value::Bool(true)) {
        return Err("the watchdog does not beat".into());
    }
    let mut heartbeats = TimedLoop::new(
        &status,
        ("agents_ms", "heartbeat of the probe"),
        WATCHED_HEARTBEATS,
    )?;
    let mut checks = TimedLoop::new(
        &status,
        ("graveyard_ms", "check of the Graveyard"),
        WATCHED_CHECKS,
    )?;
    // From the next heartbeat on: the tests before this one may have stopped the heart.
    let (mut last, started) = (None, Instant::now());
    let seen = bench.probe.wait_for(|| {
        let age = last_sign(&read_status(bench)?);
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
    heartbeats.last = last;
    // Each round ends with a sign, or when that is so late that the test fails.
    while !(heartbeats.is_done() && checks.is_done()) {
        let status = read_status(bench)?;
        heartbeats.take_age(last_sign(&status).ok_or("the probe does not serve")?)?;
        let checked = read_millis(&status, "/last_check_ms_ago");
        checks
            .take_age(checked.ok_or("the status does not say when the Graveyard was checked")?)?;
        std::thread::sleep(PAUSE);
    }
    Ok(TestOutcome::Passed(format!(
        "{}; {}",
        heartbeats.describe_bound(),
        checks.describe_bound()
    )))
}

fn read_status(bench: &TestContext<'_>) -> Result<Value, ClientError> {
    bench
        .client
        .get("/v1/watchdog")
        .and_then(Answer::into_success)
}

fn read_millis(value: &Value, pointer: &str) -> Option<Duration> {
    let millis = value.pointer(pointer)?.as_u64()?;
    Some(Duration::from_millis(millis))
}

/// How long ago the probe gave a sign of life; `None`: it does not serve.
fn last_sign(status: &Value) -> Option<Duration> {
    let mut agents = array_field(status, "agents").iter();
    let probe = agents.find(|agent| text_field(agent, "name") == PROBE)?;
    read_millis(probe, "/health/last_sign_ms_ago")
}
