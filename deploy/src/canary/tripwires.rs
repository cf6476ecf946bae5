//! Judges measurements: success, failure with a tripwire, or inconclusive.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::measure::{Figures, find_other_host};
use super::plan::{Baseline, HealthBounds};

/// In how many checks in a row the host may not answer: one may be a restart.
const HOST_AWAY_CHECKS: u32 = 2;
/// In how many checks in a row a front must work for another host: the host may have been started again between two checks.
const ELSEWHERE_CHECKS: u32 = 2;

/// The share of decisions that the front may leave unjudged for reasons of its own, in percent.
const MAX_UNJUDGED_PCT: u64 = 1;
/// How many of them at least are more than chance.
const LEAST_UNJUDGED: u64 = 3;

/// What sends all requests back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Tripwire {
    /// The front cannot be reached, or its checks fail.
    Down,
    /// The host that the front works for has ended, and is not started again.
    HostDown,
    /// A front works for another host than the one at the address.
    OtherHost,
    /// Its process is another one.
    Restart,
    /// It gets no request.
    NoTraffic,
    /// An agent was put into quarantine.
    Quarantine,
    /// It judges decisions otherwise.
    Verdicts,
    /// It cannot judge decisions that the host has judged.
    Unjudged,
    /// It denies more than before.
    Denials,
    /// It is slow.
    Latency,
    /// Its answers are errors.
    Errors,
    /// It takes too much memory.
    Memory,
    /// The take-over failed.
    TakeOver,
    /// Its measurements said too little until the deadline.
    Inconclusive,
    /// It could not be measured until the deadline.
    Error,
    /// An operator, or a signal, ended it.
    Aborted,
}

impl Tripwire {
    /// The name in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Down => "down",
            Self::HostDown => "host-down",
            Self::OtherHost => "other-host",
            Self::Restart => "restart",
            Self::NoTraffic => "no-traffic",
            Self::Quarantine => "quarantine",
            Self::Verdicts => "verdicts",
            Self::Unjudged => "unjudged",
            Self::Denials => "denials",
            Self::Latency => "latency",
            Self::Errors => "errors",
            Self::Memory => "memory",
            Self::TakeOver => "take-over",
            Self::Inconclusive => "inconclusive",
            Self::Error => "error",
            Self::Aborted => "aborted",
        }
    }
}

/// How a measurement ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum MeasurementResult {
    /// Everything is within its bounds.
    Success,
    /// A tripwire.
    Failure(Tripwire),
    /// Too few samples, or no data.
    Inconclusive,
    /// It could not be made.
    Error,
}

/// A measurement: how it ended, and why.
#[derive(Debug, Clone, Serialize)]
pub struct Measurement {
    /// How it ended.
    pub result: MeasurementResult,
    /// Why, with the figures.
    pub reason: String,
}

/// What a step has seen until now.
pub(super) struct StepWatch<'a> {
    pub(super) limits: &'a HealthBounds,
    pub(super) baseline: Baseline,
    pub(super) front_started: f64,
    /// The figures when the step began; `None`: they could not be read.
    pub(super) first: Option<Figures>,
    pub(super) last_sessions: u64,
    pub(super) slow: u32,
    pub(super) idle: u32,
    /// In how many checks in a row the host did not answer.
    pub(super) away: u32,
    /// The names of the processes that the host was: Prometheus may know one of before a restart.
    pub(super) hosts: BTreeSet<String>,
    /// In how many checks in a row a front worked for another host.
    pub(super) elsewhere: u32,
}

impl StepWatch<'_> {
    /// Judges a check that could not be made. `is_host_away`: the host does not answer either.
    pub(super) fn judge_error(&mut self, is_host_away: bool, problem: String) -> Measurement {
        self.away = if is_host_away { self.away + 1 } else { 0 };
        if self.away >= HOST_AWAY_CHECKS {
            let reason = format!(
                "the host does not answer in {} checks in a row: {problem}",
                self.away
            );
            return build_failure(Tripwire::HostDown, reason);
        }
        Measurement {
            result: MeasurementResult::Error,
            reason: problem,
        }
    }

    /// Judges the figures of a check.
    pub(super) fn judge_figures(&mut self, now: &Figures) -> Measurement {
        self.away = 0;
        let first = self.first.get_or_insert_with(|| now.clone()).clone();
        let limits = self.limits;
        let idle = now.server.sessions <= self.last_sessions;
        self.last_sessions = now.server.sessions;
        self.idle = if idle { self.idle + 1 } else { 0 };
        let slow_ms = limits.max_p95.as_secs_f64() * 1000.0;
        let is_slow = now.p95_ms.is_some_and(|p95| p95 > slow_ms);
        self.slow = if is_slow { self.slow + 1 } else { 0 };
        self.hosts.extend(now.host_process.clone());
        let elsewhere = find_other_host(&now.owner_processes, &self.hosts);
        self.elsewhere = elsewhere.map_or(0, |_| self.elsewhere + 1);
        if let Some(failure) = self.find_failure(&first, now) {
            return failure;
        }
        if let Some(other) = elsewhere {
            let problem = describe_other_host(other, now);
            return if self.elsewhere >= ELSEWHERE_CHECKS {
                build_failure(Tripwire::OtherHost, problem)
            } else {
                build_inconclusive(problem)
            };
        }
        let (Some(judged), Some(p95)) =
            (self.count_since(&first, now, |one| one.judged), now.p95_ms)
        else {
            return build_inconclusive("Prometheus has no figures of the front".to_owned());
        };
        let lacking = [
            (now.memory_bytes.is_none(), "process_resident_memory_bytes"),
            (now.front_started.is_none(), "process_start_time_seconds"),
            (now.denied.is_none(), "ark_front_judged_total"),
            (now.different.is_none(), "ark_front_verdicts_total"),
            (
                now.unable.is_none() || now.hindered.is_none(),
                "ark_front_unjudged_total",
            ),
        ];
        if let Some((_, series)) = lacking.into_iter().find(|(is_lacking, _)| *is_lacking) {
            return build_inconclusive(format!(
                "Prometheus lacks figures of the front: {series} (--canary-series; a front of an earlier version may not have it)"
            ));
        }
        let since =
            |of: fn(&Figures) -> Option<u64>| self.count_since(&first, now, of).unwrap_or(0);
        let (unable, hindered) = (since(|one| one.unable), since(|one| one.hindered));
        if is_too_much_unjudged(hindered, judged) {
            return build_inconclusive(format!(
                "{hindered} decisions were not judged again beside {judged} that were: policies could not be had, or too many waited; GET /verdicts of the front has the reasons"
            ));
        }
        if judged < limits.min_samples {
            return build_inconclusive(format!(
                "{judged} decisions judged, {} are needed",
                limits.min_samples
            ));
        }
        if is_slow {
            return build_inconclusive(format!(
                "p95 is {p95:.0} ms, {} checks in a row",
                self.slow
            ));
        }
        let denied = since(|one| one.denied);
        let unjudged = unable + hindered;
        Measurement {
            result: MeasurementResult::Success,
            reason: format!(
                "{judged} decisions, {denied} denied, {unjudged} unjudged, p95 {p95:.0} ms"
            ),
        }
    }

    /// By how much a count grew in this step.
    #[expect(clippy::unused_self, reason = "it is a figure of the step")]
    fn count_since(
        &self,
        first: &Figures,
        now: &Figures,
        of: impl Fn(&Figures) -> Option<u64>,
    ) -> Option<u64> {
        Some(of(now)?.saturating_sub(of(first).unwrap_or(0)))
    }

    fn find_failure(&self, first: &Figures, now: &Figures) -> Option<Measurement> {
        let limits = self.limits;
        let server = &now.server;
        let since = |of: fn(&Figures) -> u64| of(now).saturating_sub(of(first));
        if !server.is_up() {
            let problem = format!("HAProxy says {} ({})", server.status, server.check);
            return Some(build_failure(Tripwire::Down, problem));
        }
        let lost = since(|one| one.server.count_lost_connections());
        if lost > 0 {
            return Some(build_failure(
                Tripwire::Down,
                format!("{lost} connections to it failed"),
            ));
        }
        if let Some(started) = now.front_started
            && (started - self.front_started).abs() > 1.0
        {
            let problem = "the front was started again".to_owned();
            return Some(build_failure(Tripwire::Restart, problem));
        }
        if !now.quarantined.is_empty() {
            let problem = format!("in quarantine: {}", now.quarantined.join(", "));
            return Some(build_failure(Tripwire::Quarantine, problem));
        }
        let different = self
            .count_since(first, now, |one| one.different)
            .unwrap_or(0);
        if different > limits.max_different {
            let problem = format!(
                "{different} decisions are judged otherwise, {} may be; GET /verdicts of the front lists them",
                limits.max_different
            );
            return Some(build_failure(Tripwire::Verdicts, problem));
        }
        let judged = self.count_since(first, now, |one| one.judged).unwrap_or(0);
        let unable = self.count_since(first, now, |one| one.unable).unwrap_or(0);
        if is_too_much_unjudged(unable, judged) {
            let problem = format!(
                "{unable} decisions could not be judged again beside {judged} that were; GET /verdicts of the front has the reasons"
            );
            return Some(build_failure(Tripwire::Unjudged, problem));
        }
        let denied = self.count_since(first, now, |one| one.denied).unwrap_or(0);
        if judged >= limits.min_samples
            && let Some(problem) = find_more_denials(self.baseline, (judged, denied), limits.sigmas)
        {
            return Some(build_failure(Tripwire::Denials, problem));
        }
        let sessions = since(|one| one.server.sessions);
        let errors = since(|one| one.server.count_failures());
        // A single failure in few requests says nothing.
        if errors >= 3 && errors as f64 > limits.max_error_share * sessions as f64 {
            let problem = format!("{errors} of {sessions} requests failed");
            return Some(build_failure(Tripwire::Errors, problem));
        }
        if let Some(memory) = now.memory_bytes
            && memory > limits.max_memory_bytes
        {
            let mib = memory / (1024.0 * 1024.0);
            return Some(build_failure(
                Tripwire::Memory,
                format!("it holds {mib:.0} MiB"),
            ));
        }
        if self.slow >= limits.slow_checks {
            let p95 = now.p95_ms.unwrap_or_default();
            let problem = format!("p95 is {p95:.0} ms in {} checks in a row", self.slow);
            return Some(build_failure(Tripwire::Latency, problem));
        }
        if self.idle >= limits.idle_checks {
            let problem = format!("no request in {} checks in a row", self.idle);
            return Some(build_failure(Tripwire::NoTraffic, problem));
        }
        None
    }
}

const fn build_failure(tripwire: Tripwire, reason: String) -> Measurement {
    Measurement {
        result: MeasurementResult::Failure(tripwire),
        reason,
    }
}

const fn build_inconclusive(reason: String) -> Measurement {
    Measurement {
        result: MeasurementResult::Inconclusive,
        reason,
    }
}

/// Whether too much was left unjudged beside what was judged to say what the front would judge.
const fn is_too_much_unjudged(unjudged: u64, judged: u64) -> bool {
    unjudged >= LEAST_UNJUDGED
        && unjudged.saturating_mul(100)
            > unjudged
                .saturating_add(judged)
                .saturating_mul(MAX_UNJUDGED_PCT)
}

/// Whether more is denied than chance explains: a binomial test with the share of before, one-sided, at the level of that many standard
/// deviations. An earlier share of 0 or 1 does not mean certainty: one denial and one approval are added to what was seen (Laplace).
fn find_more_denials(
    before: Baseline,
    (judged, denied): (u64, u64),
    sigmas: f64,
) -> Option<String> {
    let share = (before.denied as f64 + 1.0) / (before.decisions as f64 + 2.0);
    let now = denied as f64 / judged.max(1) as f64;
    if now <= share || upper_tail(judged, denied, share) >= normal_tail(sigmas) {
        return None;
    }
    Some(format!(
        "{denied} of {judged} decisions denied, {} of {} before: more than {sigmas} sigma above",
        before.denied, before.decisions
    ))
}

/// Which host a front works for in place of the one at the address.
fn describe_other_host(other: &str, now: &Figures) -> String {
    let host = now.host_process.as_deref().unwrap_or("away");
    format!(
        "a front works for another host (ark_front_owner_info: process {other}) than the one at --url (instance {host}): its --owner is not that host"
    )
}

/// The probability of at least `least` of `tries`, each with `share`.
fn upper_tail(tries: u64, least: u64, share: f64) -> f64 {
    // The logarithm of the first term, then each from the one before it.
    let (up, down) = (share.ln(), (1.0 - share).ln());
    let mut term = least as f64 * up + (tries - least.min(tries)) as f64 * down;
    for index in 0..least.min(tries) {
        term += ((tries - index) as f64).ln() - ((index + 1) as f64).ln();
    }
    let mut sum = 0.0;
    for found in least..=tries {
        let part = term.exp();
        sum += part;
        // The terms fall from here on: what is left adds nothing.
        if part < sum * 1e-12 && found as f64 > tries as f64 * share {
            break;
        }
        term += ((tries - found) as f64).ln() - ((found + 1) as f64).ln() + up - down;
    }
    sum.min(1.0)
}

/// The probability that a normal variable is more than that many standard deviations above its mean.
fn normal_tail(sigmas: f64) -> f64 {
    // Abramowitz and Stegun 26.2.17, for 0 and more: the error is below 7.5e-8.
    let sigmas = sigmas.max(0.0);
    let t = 1.0 / 0.231_641_9_f64.mul_add(sigmas, 1.0);
    let factors = [
        1.330_274_429,
        -1.821_255_978,
        1.781_477_937,
        -0.356_563_782,
        0.319_381_530,
    ];
    let sum = factors.iter().fold(0.0, |sum, factor| (sum + factor) * t);
    (-0.5 * sigmas * sigmas).exp() / std::f64::consts::TAU.sqrt() * sum
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::fixtures::build_server;
    use crate::haproxy::ServerStatus;

    use super::*;

    fn build_bounds() -> HealthBounds {
        HealthBounds {
            min_samples: 30,
            sigmas: 3.0,
            max_p95: Duration::from_millis(400),
            slow_checks: 3,
            max_different: 0,
            max_error_share: 0.01,
            max_memory_bytes: 1e9,
            quarantine_window: Duration::from_mins(10),
            quarantines_left_out: Vec::new(),
            idle_checks: 2,
        }
    }

    fn build_figures(requests: u64) -> Figures {
        Figures {
            judged: Some(requests),
            denied: Some(requests / 10),
            different: Some(0),
            unable: Some(0),
            hindered: Some(0),
            p95_ms: Some(20.0),
            memory_bytes: Some(1e8),
            front_started: Some(1000.0),
            quarantined: Vec::new(),
            host_process: Some("one".to_owned()),
            owner_processes: vec!["one".to_owned(), "one".to_owned()],
            server: ServerStatus {
                sessions: requests,
                ..build_server("canary", 10)
            },
        }
    }

    fn build_watch(limits: &HealthBounds) -> StepWatch<'_> {
        StepWatch {
            limits,
            baseline: Baseline {
                decisions: 1000,
                denied: 100,
            },
            front_started: 1000.0,
            first: Some(build_figures(0)),
            last_sessions: 0,
            slow: 0,
            idle: 0,
            away: 0,
            hosts: BTreeSet::new(),
            elsewhere: 0,
        }
    }

    #[test]
    fn a_front_of_another_host_is_a_fault_and_one_that_was_scraped_before_a_restart_is_none() {
        let limits = build_bounds();
        let judge = |step: &mut StepWatch<'_>, host: Option<&str>, owners: &[&str]| {
            let mut figures = build_figures(100);
            figures.server.sessions = step.last_sessions + 100;
            figures.host_process = host.map(str::to_owned);
            figures.owner_processes = owners.iter().map(|owner| (*owner).to_owned()).collect();
            step.judge_figures(&figures).result
        };
        let failure = MeasurementResult::Failure(Tripwire::OtherHost);
        let (good, unclear) = (MeasurementResult::Success, MeasurementResult::Inconclusive);
        type Check<'a> = (Option<&'a str>, &'a [&'a str], MeasurementResult);
        let cases: [&[Check<'_>]; 5] = [
            &[
                (Some("one"), &["other", "one"], unclear),
                (Some("one"), &["other", "one"], failure),
            ],
            &[
                (Some("one"), &["one", "other"], unclear),
                (Some("one"), &["one"], good),
                (Some("one"), &["other"], unclear),
            ],
            // The host is started again: the fronts were scraped before.
            &[
                (Some("one"), &["one"], good),
                (Some("two"), &["one", "two"], good),
                (Some("two"), &["one"], good),
                (Some("two"), &["two"], good),
            ],
            // The host is away, or of a version that does not say it.
            &[(None, &["one"], good), (None, &["other"], good)],
            &[(Some("one"), &[], good)],
        ];
        for (number, checks) in cases.into_iter().enumerate() {
            let mut step = build_watch(&limits);
            for (host, owners, expected) in checks {
                let found = judge(&mut step, *host, owners);
                assert_eq!(found, *expected, "{number}: {host:?} {owners:?}");
            }
        }
    }

    #[test]
    fn each_fault_has_its_own_tripwire_and_a_good_front_none() {
        let limits = build_bounds();
        assert_eq!(
            build_watch(&limits)
                .judge_figures(&build_figures(100))
                .result,
            MeasurementResult::Success
        );
        type Change = fn(&mut Figures);
        let faults: [(Tripwire, Change); 11] = [
            (Tripwire::Down, |one| one.server.status = "DOWN".to_owned()),
            (Tripwire::Down, |one| one.server.connection_errors = 1),
            (Tripwire::Down, |one| one.server.redispatched = 1),
            (Tripwire::Restart, |one| one.front_started = Some(2000.0)),
            (Tripwire::Quarantine, |one| {
                one.quarantined = vec!["kyle".to_owned()];
            }),
            (Tripwire::Verdicts, |one| one.different = Some(1)),
            (Tripwire::Unjudged, |one| one.unable = Some(3)),
            (Tripwire::Denials, |one| one.denied = Some(40)),
            (Tripwire::Errors, |one| one.server.server_errors = 5),
            (Tripwire::Errors, |one| {
                // Another front answered them.
                one.server.repeated = 5;
                one.server.redispatched = 5;
            }),
            (Tripwire::Memory, |one| one.memory_bytes = Some(2e9)),
        ];
        for (tripwire, change) in faults {
            let mut faulty = build_figures(100);
            change(&mut faulty);
            let found = build_watch(&limits).judge_figures(&faulty);
            assert_eq!(
                found.result,
                MeasurementResult::Failure(tripwire),
                "{}",
                found.reason
            );
        }
    }

    #[test]
    fn slowness_and_silence_are_faults_when_they_last() {
        let limits = build_bounds();
        let mut step = build_watch(&limits);
        for requests in [100, 200, 300] {
            let mut slow = build_figures(requests);
            slow.p95_ms = Some(500.0);
            let expected = if requests == 300 {
                MeasurementResult::Failure(Tripwire::Latency)
            } else {
                MeasurementResult::Inconclusive
            };
            assert_eq!(step.judge_figures(&slow).result, expected);
        }
        let mut step = build_watch(&limits);
        assert_eq!(
            step.judge_figures(&build_figures(0)).result,
            MeasurementResult::Inconclusive
        );
        let silent = step.judge_figures(&build_figures(0)).result;
        assert_eq!(silent, MeasurementResult::Failure(Tripwire::NoTraffic));
    }

    #[test]
    fn a_host_that_stays_away_is_a_fault_and_one_that_comes_back_is_none() {
        let limits = build_bounds();
        let mut step = build_watch(&limits);
        let mut judge = |is_away| step.judge_error(is_away, "no answer".to_owned()).result;
        assert_eq!(judge(true), MeasurementResult::Error);
        // Prometheus alone.
        assert_eq!(judge(false), MeasurementResult::Error);
        assert_eq!(judge(true), MeasurementResult::Error);
        assert_eq!(judge(true), MeasurementResult::Failure(Tripwire::HostDown));
        let mut step = build_watch(&limits);
        for round in 1..=3 {
            let away = step.judge_error(true, "no answer".to_owned());
            assert_eq!(away.result, MeasurementResult::Error);
            let back = step.judge_figures(&build_figures(round * 100));
            assert_eq!(back.result, MeasurementResult::Success);
        }
    }

    #[test]
    fn too_few_samples_are_inconclusive() {
        let limits = build_bounds();
        let lacking: [fn(&mut Figures); 9] = [
            |one| one.judged = None,
            |one| one.denied = None,
            |one| one.p95_ms = None,
            |one| one.memory_bytes = None,
            |one| one.front_started = None,
            |one| one.different = None,
            |one| one.unable = None,
            |one| one.hindered = None,
            |one| one.hindered = Some(3),
        ];
        for change in lacking {
            let mut figures = build_figures(100);
            change(&mut figures);
            let found = build_watch(&limits).judge_figures(&figures);
            assert_eq!(
                found.result,
                MeasurementResult::Inconclusive,
                "{}",
                found.reason
            );
        }
        assert_eq!(
            build_watch(&limits)
                .judge_figures(&build_figures(29))
                .result,
            MeasurementResult::Inconclusive
        );
    }

    #[test]
    fn what_a_front_cannot_judge_counts_by_its_share_in_the_step() {
        let limits = build_bounds();
        // Judged, and not judged in the step: a few are chance, and so is a small share.
        for (judged, unjudged, is_too_much) in [
            (30, 2, false),
            (30, 3, true),
            (0, 3, true),
            (297, 3, false),
            (296, 3, true),
            (1000, 10, false),
            (1000, 11, true),
        ] {
            let judge = |change: fn(&mut Figures, u64)| {
                let mut step = build_watch(&limits);
                let mut before = build_figures(0);
                // What was left before the step began does not count.
                change(&mut before, 1000);
                step.first = Some(before);
                let mut now = build_figures(judged);
                now.server.sessions = judged + unjudged;
                change(&mut now, 1000 + unjudged);
                step.judge_figures(&now)
            };
            let unable = judge(|one, count| one.unable = Some(count));
            let failure = MeasurementResult::Failure(Tripwire::Unjudged);
            assert_eq!(unable.result == failure, is_too_much, "{}", unable.reason);
            let hindered = judge(|one, count| one.hindered = Some(count));
            let expected = if is_too_much {
                MeasurementResult::Inconclusive
            } else {
                MeasurementResult::Success
            };
            assert_eq!(hindered.result, expected, "{}", hindered.reason);
            if !is_too_much {
                assert_eq!(unable.result, MeasurementResult::Success);
                let figure = format!("{unjudged} unjudged");
                assert!(unable.reason.contains(&figure), "{}", unable.reason);
            }
        }
    }

    #[test]
    fn denials_are_tested_against_chance() {
        assert!((normal_tail(3.0) - 0.001_35).abs() < 1e-5);
        assert!((upper_tail(10, 0, 0.5) - 1.0).abs() < 1e-9);
        assert!((upper_tail(10, 9, 0.5) - 11.0 / 1024.0).abs() < 1e-9);
        let tests = |before: (u64, u64), now: (u64, u64)| {
            let baseline = Baseline {
                decisions: before.0,
                denied: before.1,
            };
            find_more_denials(baseline, now, 3.0).is_some()
        };
        assert!(!tests((1000, 100), (100, 15)) && tests((1000, 100), (100, 25)));
        // Nothing was denied before, or everything.
        assert!(!tests((100, 0), (100, 1)) && tests((1000, 0), (100, 5)));
        assert!(!tests((100, 100), (100, 100)) && !tests((0, 0), (30, 20)));
    }
}
