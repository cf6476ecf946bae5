//! Judges the checks of a step, one after the other: success, failure with a tripwire, or inconclusive.
//!
//! Invariants: counts are those since the last check before this step, so that each belongs to one step, whatever falls between two; what was counted
//! before the canary does not count; shares are judged also of what is not long ago, and samples are those of the time that the step takes now; a
//! check that says too little is never a success; what is judged by checks in a row (slowness, silence, a host that is away, another host) begins anew when a check finds it gone, and
//! not where a check has no figure of it.
//!
//! Must not know: where figures come from, how long a step lasts, what follows from a judgement.

use std::collections::{BTreeMap, BTreeSet};

use crate::canary::plan::{Baseline, HealthBounds};
use crate::exchange::traffic::{has_server_beside, has_way_back};

use super::counts::Counts;
use super::measure::{Figures, find_other_host};
use super::recent::RecentCounts;
use super::significance::find_more_denials;
use super::tripwires::{Measurement, MeasurementResult, Tripwire};

/// In how many checks in a row the host may not answer: one may be a restart.
const HOST_AWAY_CHECKS: u32 = 2;
/// In how many checks in a row a front must work for another host: the host may have been started again between two checks.
const ELSEWHERE_CHECKS: u32 = 2;

/// The share of decisions that the front may leave unjudged for reasons of its own, in percent.
const MAX_UNJUDGED_PCT: u64 = 1;
/// How many of them at least are more than chance.
const LEAST_UNJUDGED: u64 = 3;
/// How many failed requests say something: a single one in few requests does not.
const LEAST_ERRORS: u64 = 3;

/// What a step has seen until now.
pub(in crate::canary) struct StepWatch<'a> {
    pub(in crate::canary) limits: &'a HealthBounds,
    pub(in crate::canary) baseline: Baseline,
    pub(in crate::canary) front_started: f64,
    /// What was counted before the share was given; `None`: an earlier version began the step, and it could not be read since.
    pub(in crate::canary) first: Option<Counts>,
    /// What is judged beside that.
    pub(in crate::canary) recent: RecentCounts,
    /// The weights by which the share is given; `None`: an operator sees to them.
    pub(in crate::canary) planned: Option<BTreeMap<String, u32>>,
    /// The weights of before the canary.
    pub(in crate::canary) before: &'a BTreeMap<String, u32>,
    pub(in crate::canary) last_sessions: u64,
    pub(in crate::canary) slow: u32,
    pub(in crate::canary) idle: u32,
    /// In how many checks in a row the host did not answer.
    pub(in crate::canary) away: u32,
    /// The names of the processes that the host was: Prometheus may know one of before a restart.
    pub(in crate::canary) hosts: BTreeSet<String>,
    /// In how many checks in a row a front worked for another host.
    pub(in crate::canary) elsewhere: u32,
}

impl StepWatch<'_> {
    /// Judges a check that could not be made. `is_host_away`: the host does not answer either.
    pub(in crate::canary) fn judge_error(
        &mut self,
        is_host_away: bool,
        problem: String,
    ) -> Measurement {
        self.recent.note_gap();
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
    pub(in crate::canary) fn judge_figures(&mut self, now: &Figures) -> Measurement {
        self.away = 0;
        let counts = Counts::from_figures(now);
        let first = self.first.get_or_insert(counts);
        // HAProxy was started again, and counts from 0.
        let has_fallen = counts.server.sessions < self.last_sessions;
        if has_fallen || first.is_of_other_haproxy(&counts) {
            first.forget_servers(&counts);
            self.last_sessions = 0;
        }
        let whole = *first;
        let [shares, samples] = self.recent.note_check(&counts, has_fallen);
        let spans = Spans {
            firsts: [whole, shares, samples],
            has_moved_samples: self.recent.has_moved_samples(),
            now: counts,
        };
        let limits = self.limits;
        let idle = now.server.sessions <= self.last_sessions;
        self.last_sessions = now.server.sessions;
        self.idle = if idle { self.idle + 1 } else { 0 };
        let slow_ms = limits.max_p95.as_secs_f64() * 1000.0;
        let is_slow = now.p95_ms.is_some_and(|p95| p95 > slow_ms);
        // A gap in the figures says nothing of it, neither way.
        if now.p95_ms.is_some() {
            self.slow = if is_slow { self.slow + 1 } else { 0 };
        }
        self.hosts.extend(now.host_process.clone());
        let elsewhere = find_other_host(&now.owner_processes, &self.hosts);
        self.elsewhere = elsewhere.map_or(0, |_| self.elsewhere + 1);
        if let Some(failure) = self.find_failure(&spans, now) {
            return failure;
        }
        let planned = self.planned.as_ref();
        if let Some(problem) = planned.and_then(|planned| find_other_share(planned, now)) {
            return build_inconclusive(problem);
        }
        if let Some(other) = elsewhere {
            let problem = describe_other_host(other, now);
            return if self.elsewhere >= ELSEWHERE_CHECKS {
                build_failure(Tripwire::OtherHost, problem)
            } else {
                build_inconclusive(problem)
            };
        }
        let Some(judged) = counts.count_since(&whole, |one| one.judged) else {
            return build_inconclusive("Prometheus has no figures of the front".to_owned());
        };
        let Some(p95) = now.p95_ms else {
            return build_inconclusive(
                "Prometheus has no percentile of the front: no request ended within --latency-window, or it was scraped less than twice in that time".to_owned(),
            );
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
        if let Some(ErrorRate::Shared(problem)) = self.judge_errors(&spans) {
            return build_inconclusive(problem);
        }
        if let Some((hindered, judged)) = spans.find_unjudged(|one| one.hindered) {
            return build_inconclusive(format!(
                "{hindered} decisions were not judged again beside {judged} that were: records, requests or policies could not be had, or too many waited; GET /verdicts of the front has the reasons"
            ));
        }
        let samples = spans.count_from(&samples, |one| one.judged);
        if samples < limits.min_samples {
            return build_inconclusive(format!(
                "{samples} decisions judged, {} are needed",
                limits.min_samples
            ));
        }
        if is_slow {
            return build_inconclusive(format!(
                "p95 is {p95:.0} ms, {} checks in a row",
                self.slow
            ));
        }
        let denied = spans.count_whole(|one| one.denied);
        let unable = spans.count_whole(|one| one.unable);
        let unjudged = unable.saturating_add(spans.count_whole(|one| one.hindered));
        Measurement {
            result: MeasurementResult::Success,
            reason: format!(
                "{judged} decisions, {denied} denied, {unjudged} unjudged, p95 {p95:.0} ms"
            ),
        }
    }

    fn find_failure(&self, spans: &Spans, now: &Figures) -> Option<Measurement> {
        let limits = self.limits;
        let server = &now.server;
        if !server.is_up() {
            let problem = format!("HAProxy says {} ({})", server.status, server.check);
            return Some(build_failure(Tripwire::Down, problem));
        }
        let lost = spans.count_lost();
        if lost > 0 {
            return Some(build_failure(
                Tripwire::Down,
                format!("{lost} connections to it failed"),
            ));
        }
        // Of one that began anew the latest time is another one, and of one whose selection has got another front the oldest may be.
        let mut started = now.front_started.into_iter().chain(now.oldest_started);
        if started.any(|started| (started - self.front_started).abs() > 1.0) {
            let problem = "the front was started again".to_owned();
            return Some(build_failure(Tripwire::Restart, problem));
        }
        if !now.quarantined.is_empty() {
            let problem = format!("in quarantine: {}", now.quarantined.join(", "));
            return Some(build_failure(Tripwire::Quarantine, problem));
        }
        if !has_way_back(self.before, &server.name, &now.others) {
            let states = now.others.iter();
            let states: Vec<String> = states
                .map(|one| format!("{} {}", one.name, one.status))
                .collect();
            let problem = format!(
                "no other server is up ({}), so that it gets all requests and there is no way back",
                states.join(", ")
            );
            return Some(build_failure(Tripwire::NoWayBack, problem));
        }
        let different = spans.count_whole(|one| one.different);
        if different > limits.max_different {
            let problem = format!(
                "{different} decisions are judged otherwise, {} may be; GET /verdicts of the front lists them",
                limits.max_different
            );
            return Some(build_failure(Tripwire::Verdicts, problem));
        }
        if let Some((unable, judged)) = spans.find_unjudged(|one| one.unable) {
            let problem = format!(
                "{unable} decisions could not be judged again beside {judged} that were; GET /verdicts of the front has the reasons"
            );
            return Some(build_failure(Tripwire::Unjudged, problem));
        }
        if let Some(problem) = self.judge_denials(spans) {
            return Some(build_failure(Tripwire::Denials, problem));
        }
        if let Some(ErrorRate::Own(problem)) = self.judge_errors(spans) {
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

    /// Why more is denied than chance has it; `None`: it is not. Parts that are moved on are not judged: of one after the other, some would accuse any
    /// version in the end.
    fn judge_denials(&self, spans: &Spans) -> Option<String> {
        let limits = self.limits;
        let [whole, _, samples] = &spans.firsts;
        let samples = (!spans.has_moved_samples && samples != whole).then_some(samples);
        let mut firsts = std::iter::once(whole).chain(samples);
        firsts.find_map(|first| {
            let judged = spans.count_from(first, |one| one.judged);
            let denied = spans.count_from(first, |one| one.denied);
            if judged < limits.min_samples {
                return None;
            }
            find_more_denials(self.baseline, (judged, denied), limits.sigmas)
        })
    }

    /// Whether more requests failed than may, in the step or recently; a front passes the errors of its host on, which the other servers have as well.
    /// `None`: no.
    fn judge_errors(&self, spans: &Spans) -> Option<ErrorRate> {
        let firsts = spans.list_firsts();
        let found = firsts.filter_map(|first| self.judge_errors_since(first, &spans.now));
        found.reduce(|one, other| match one {
            ErrorRate::Own(_) => one,
            ErrorRate::Shared(_) => other,
        })
    }

    fn judge_errors_since(&self, first: &Counts, counts: &Counts) -> Option<ErrorRate> {
        let own = counts.server.count_since(first.server);
        let others = counts.others.count_since(first.others);
        let may_fail = self.limits.max_error_share;
        let sessions = own.sessions as f64;
        if own.failures < LEAST_ERRORS || own.failures as f64 <= may_fail * sessions {
            return None;
        }
        let problem = format!("{} of {} requests failed", own.failures, own.sessions);
        let their_share = if others.failures >= LEAST_ERRORS {
            others.failures as f64 / others.sessions.max(1) as f64
        } else {
            0.0
        };
        if own.failures as f64 > (may_fail + their_share) * sessions {
            return Some(ErrorRate::Own(problem));
        }
        Some(ErrorRate::Shared(format!(
            "{problem}, and {} of {} at the other servers, so that the reason is what they share, as the host is",
            others.failures, others.sessions
        )))
    }
}

/// What too many failed requests mean.
enum ErrorRate {
    /// More fail than at the other servers.
    Own(String),
    /// As many fail at the other servers, so that the reason is what the servers share.
    Shared(String),
}

/// What a check counts, and what that is compared with.
struct Spans {
    /// What was counted before the step, before that part of it by whose shares it is judged, and before its samples.
    firsts: [Counts; 3],
    /// See [`RecentCounts::has_moved_samples`].
    has_moved_samples: bool,
    now: Counts,
}

impl Spans {
    /// What was counted before each part by whose shares the step is judged.
    fn list_firsts(&self) -> impl Iterator<Item = &Counts> {
        let [whole, shares, _] = &self.firsts;
        std::iter::once(whole).chain((shares != whole).then_some(shares))
    }

    /// How many connections were lost in the step.
    const fn count_lost(&self) -> u64 {
        let [whole, ..] = &self.firsts;
        self.now.server.count_since(whole.server).lost
    }

    /// By how much a count grew since `first`; 0 where there is no such figure.
    fn count_from(&self, first: &Counts, of: fn(&Counts) -> Option<u64>) -> u64 {
        self.now.count_since(first, of).unwrap_or(0)
    }

    /// By how much a count grew in the step.
    fn count_whole(&self, of: fn(&Counts) -> Option<u64>) -> u64 {
        let [whole, ..] = &self.firsts;
        self.count_from(whole, of)
    }

    /// How many decisions were left unjudged, and how many were judged beside them, where that is too much; `None`: it is not.
    fn find_unjudged(&self, of: fn(&Counts) -> Option<u64>) -> Option<(u64, u64)> {
        let mut firsts = self.list_firsts();
        firsts.find_map(|first| {
            let unjudged = self.count_from(first, of);
            let judged = self.count_from(first, |one| one.judged);
            is_too_much_unjudged(unjudged, judged).then_some((unjudged, judged))
        })
    }
}

/// Why the share is not the one that was given, in words.
fn find_other_share(planned: &BTreeMap<String, u32>, now: &Figures) -> Option<String> {
    find_other_weight(planned, now).or_else(|| find_unshared(planned, now))
}

/// That the front gets all requests where others were to have some.
fn find_unshared(planned: &BTreeMap<String, u32>, now: &Figures) -> Option<String> {
    let name = &now.server.name;
    let mut others = planned.iter().filter(|(other, _)| *other != name);
    let is_shared = others.any(|(_, weight)| *weight > 0);
    (is_shared && !has_server_beside(name, &now.others)).then(|| {
        format!(
            "{name} gets all requests: of the other servers only such are up that are `backup`, and HAProxy gives them nothing beside it, so that the share is not the one of the step"
        )
    })
}

/// A server that is up and has another weight than the share gives it, in words.
fn find_other_weight(planned: &BTreeMap<String, u32>, now: &Figures) -> Option<String> {
    let mut all = std::iter::once(&now.server).chain(&now.others);
    all.find_map(|server| {
        let wanted = planned.get(&server.name).copied().unwrap_or(0);
        (server.is_up() && server.weight != wanted).then(|| {
            format!(
                "{} has the weight {}, and was given {wanted}: something else changes the weights, so that the share is not the one of the step",
                server.name, server.weight
            )
        })
    })
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

/// Which host a front works for in place of the one at the address.
fn describe_other_host(other: &str, now: &Figures) -> String {
    let host = now.host_process.as_deref().unwrap_or("away");
    format!(
        "a front works for another host (ark_front_owner_info: process {other}) than the one at --url (instance {host}): its --owner is not that host"
    )
}

#[cfg(test)]
mod tests;
