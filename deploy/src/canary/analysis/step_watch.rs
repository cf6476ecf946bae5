//! Judges the checks of a step, one after the other: success, failure with a tripwire, or inconclusive.
//!
//! Invariants: counts are those of this step, and what it began with does not count; a check that says too little is never a success; what is judged
//! by checks in a row (slowness, silence, a host that is away, another host) begins anew when a check finds it gone.
//!
//! Must not know: where figures come from, how long a step lasts, what follows from a judgement.

use std::collections::BTreeSet;

use crate::canary::plan::{Baseline, HealthBounds};

use super::measure::{Figures, find_other_host};
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

/// What a step has seen until now.
pub(in crate::canary) struct StepWatch<'a> {
    pub(in crate::canary) limits: &'a HealthBounds,
    pub(in crate::canary) baseline: Baseline,
    pub(in crate::canary) front_started: f64,
    /// The figures when the step began; `None`: they could not be read.
    pub(in crate::canary) first: Option<Figures>,
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
                "{hindered} decisions were not judged again beside {judged} that were: records, requests or policies could not be had, or too many waited; GET /verdicts of the front has the reasons"
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

/// Which host a front works for in place of the one at the address.
fn describe_other_host(other: &str, now: &Figures) -> String {
    let host = now.host_process.as_deref().unwrap_or("away");
    format!(
        "a front works for another host (ark_front_owner_info: process {other}) than the one at --url (instance {host}): its --owner is not that host"
    )
}

#[cfg(test)]
mod tests;
