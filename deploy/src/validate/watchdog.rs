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
    while stopped.elapsed() < ALERT_WITHIN && !bench.probe.is_stopped() {
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
    let noticed = noticed?;
    if noticed.is_none() {
        bench.probe.check_stop()?;
    }
    match noticed {
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

    /// The longest time between two rounds.
    fn longest_allowed(&self) -> Duration {
        self.interval + self.interval.max(SLACK)
    }

    /// Takes how long ago the last round was, as the host says it after the loop was timed for so long. Too long ago fails the test, and so does a host
    /// whose last round is never another one.
    fn take_age(&mut self, age: Duration, elapsed: Duration) -> Result<(), CaseFailure> {
        if age > self.longest_allowed() {
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
        if !self.is_done() && elapsed > self.longest_allowed() * (self.wanted + 1) {
            return Err(format!(
                "{} of {} rounds seen in {} s: the time of the last {} is not that of another one, and the interval is {:.1} s",
                self.rounds,
                self.wanted,
                elapsed.as_secs(),
                self.what,
                self.interval.as_secs_f64()
            )
            .into());
        }
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
    let begun = Instant::now();
    // Each round ends with a sign, or when that is so late that the test fails.
    while !(heartbeats.is_done() && checks.is_done()) {
        bench.probe.check_stop()?;
        let status = read_status(bench)?;
        let elapsed = begun.elapsed();
        let sign = last_sign(&status).ok_or("the probe does not serve")?;
        heartbeats.take_age(sign, elapsed)?;
        let checked = read_millis(&status, "/last_check_ms_ago");
        let checked = checked.ok_or("the status does not say when the Graveyard was checked")?;
        checks.take_age(checked, elapsed)?;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn build_loop(wanted: u32) -> TimedLoop {
        let status = json!({"intervals": {"agents_ms": 4000}});
        TimedLoop::new(&status, ("agents_ms", "heartbeat"), wanted).unwrap()
    }

    /// What a loop says to an age, after so long.
    fn take(timed: &mut TimedLoop, age_ms: u64, elapsed_s: u64) -> Option<String> {
        let age = Duration::from_millis(age_ms);
        match timed.take_age(age, Duration::from_secs(elapsed_s)) {
            Ok(()) => None,
            Err(CaseFailure::Problem(problem)) => Some(problem),
            Err(CaseFailure::Interrupted) => panic!("nothing stops it"),
        }
    }

    #[test]
    fn a_last_round_that_is_never_another_one_fails_in_time() {
        let mut timed = build_loop(2);
        // Always the same, e.g. from a proxy that caches the answer: young enough, and no round is ever seen.
        for elapsed in 0..=24 {
            assert_eq!(take(&mut timed, 100, elapsed), None, "{elapsed}");
        }
        let failed = take(&mut timed, 100, 25).unwrap();
        assert!(failed.starts_with("0 of 2 rounds seen in 25 s"), "{failed}");
        // As late as it may be: each round within its bound.
        let mut timed = build_loop(2);
        for (age, elapsed) in [(7900, 7), (0, 8), (8000, 16), (0, 16), (8000, 24)] {
            assert_eq!(take(&mut timed, age, elapsed), None, "{elapsed}");
        }
        assert!(timed.is_done());
        assert_eq!(
            take(&mut timed, 100, 600),
            None,
            "the other loop is waited for"
        );
        let late = take(&mut timed, 8001, 601).unwrap();
        assert!(late.contains("no heartbeat for 8.0 s"), "{late}");
    }
}
