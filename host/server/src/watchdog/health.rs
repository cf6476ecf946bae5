//! How an agent does, and when that is no longer good enough.
//!
//! The thresholds and the score are those of the first design (DESIGN section 6): five failures in a row; more than 20 % of more than ten
//! invocations; a mean of more than five seconds over more than ten; two missed heartbeats. Score = 0.5 success + 0.3 latency + 0.2 recency.
//!
//! Only what the agent itself did counts: a signal that it rejects as malformed is its sender's failure, and what the host could not
//! record is tried again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use serde::Serialize;

use ark_model::control::{AlertSeverity, QuarantineCause};

/// So many of the last invocations count.
const WINDOW_INVOCATIONS: usize = 100;
/// An agent that gave a sign of life this recently has the full recency; at [`SILENT`] it has none.
const FULL_RECENCY: Duration = Duration::from_secs(10);
/// See [`RECENT`].
const NO_RECENCY: Duration = Duration::from_secs(60);
/// The same warning about the same agent is given once in this time.
const WARNING_INTERVAL: Duration = Duration::from_secs(60);

/// When an agent is put into quarantine or warned about.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct Thresholds {
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Part of the window's invocations that may fail; more than that is too much.
    pub failure_rate: f64,
    /// The failure rate counts from more than so many invocations on.
    pub failure_rate_over: u32,
    /// Mean latency, in milliseconds; more than that is too much.
    pub latency_ms: u64,
    /// The mean latency counts from more than so many invocations on.
    pub latency_over: u32,
    /// Missed heartbeats in a row.
    pub missed_heartbeats: u32,
    /// Part of a limit from which on there is a warning.
    pub warning: f64,
    /// Part of a limit from which on the warning is critical.
    pub critical: f64,
}

impl Default for Thresholds {
    fn default() -> Self {
        Self {
            consecutive_failures: 5,
            failure_rate: 0.2,
            failure_rate_over: 10,
            latency_ms: 5_000,
            latency_over: 10,
            missed_heartbeats: 2,
            warning: 0.7,
            critical: 0.9,
        }
    }
}

impl Thresholds {
    /// How bad it is to have used `observed` of `limit`.
    #[must_use]
    pub fn severity_of(&self, observed: f64, limit: f64) -> Option<AlertSeverity> {
        let part = observed / limit;
        if part >= self.critical {
            Some(AlertSeverity::Critical)
        } else if part >= self.warning {
            Some(AlertSeverity::Warning)
        } else {
            None
        }
    }
}

/// How an invocation went.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Whether it was committed; `None`: it failed, but not by the agent's fault.
    pub success: Option<bool>,
    /// From its dispatch to its commit.
    pub latency: Duration,
}

/// The cause of a quarantine that is due, in words.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// As a kind.
    pub cause: QuarantineCause,
    /// In words.
    pub reason: String,
}

/// How an agent has done of late. Forgotten at a restart and at a restore.
#[derive(Debug, Default)]
pub struct AgentHealth {
    window: VecDeque<(bool, Duration)>,
    failures: usize,
    consecutive_failures: u32,
    missed_heartbeats: u32,
    last_sign: Option<Instant>,
    warned: Vec<(&'static str, AlertSeverity, Instant)>,
}

/// How an agent does, in numbers.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct HealthView {
    /// 0 to 1.
    pub score: f64,
    /// Part of the window's invocations that succeeded; 1 when there was none.
    pub success_rate: f64,
    /// Mean latency over the window, in milliseconds.
    pub mean_latency_ms: f64,
    /// Invocations in the window, 100 at most.
    pub invocations: usize,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Missed heartbeats since the last good one.
    pub missed_heartbeats: u32,
    /// How long ago it gave a sign of life (a heartbeat, a success), in milliseconds.
    pub last_sign_ms_ago: Option<u64>,
}

impl AgentHealth {
    /// Notes an invocation; the breach that it completes, if any.
    pub fn record_invocation(
        &mut self,
        seen: Observation,
        thresholds: &Thresholds,
        now: Instant,
    ) -> Option<Breach> {
        let success = seen.success?;
        self.window.push_back((success, seen.latency));
        self.failures += usize::from(!success);
        if self.window.len() > WINDOW_INVOCATIONS
            && let Some((was_success, _)) = self.window.pop_front()
        {
            self.failures -= usize::from(!was_success);
        }
        if success {
            self.consecutive_failures = 0;
            self.last_sign = Some(now);
        } else {
            self.consecutive_failures += 1;
        }
        self.find_breach(thresholds)
    }

    fn find_breach(&self, thresholds: &Thresholds) -> Option<Breach> {
        if self.consecutive_failures >= thresholds.consecutive_failures {
            return Some(Breach {
                cause: QuarantineCause::ConsecutiveFailures,
                reason: format!(
                    "{} invocations failed one after the other",
                    self.consecutive_failures
                ),
            });
        }
        let rate = self.failure_rate();
        if self.window.len() > thresholds.failure_rate_over as usize
            && rate > thresholds.failure_rate
        {
            return Some(Breach {
                cause: QuarantineCause::FailureRate,
                reason: format!(
                    "{} of the last {} invocations failed; {} % are the most",
                    self.failures,
                    self.window.len(),
                    thresholds.failure_rate * 100.0
                ),
            });
        }
        let mean = self.mean_latency_ms();
        if self.window.len() > thresholds.latency_over as usize
            && mean > thresholds.latency_ms as f64
        {
            return Some(Breach {
                cause: QuarantineCause::Latency,
                reason: format!(
                    "the last {} invocations took {mean:.0} ms on average; {} ms are the most",
                    self.window.len(),
                    thresholds.latency_ms
                ),
            });
        }
        None
    }

    /// Notes a heartbeat: `None`, or why it was missed. The breach that it completes, if any.
    pub fn record_heartbeat(
        &mut self,
        missed: Option<&str>,
        thresholds: &Thresholds,
        now: Instant,
    ) -> Option<Breach> {
        let Some(reason) = missed else {
            self.missed_heartbeats = 0;
            self.last_sign = Some(now);
            return None;
        };
        self.missed_heartbeats += 1;
        (self.missed_heartbeats >= thresholds.missed_heartbeats).then(|| Breach {
            cause: QuarantineCause::MissedHeartbeats,
            reason: format!(
                "{} heartbeats missed; the last: {reason}",
                self.missed_heartbeats
            ),
        })
    }

    /// Whether a warning is due, or was given a moment ago.
    pub fn claim_warning(
        &mut self,
        kind: &'static str,
        severity: AlertSeverity,
        now: Instant,
    ) -> bool {
        self.warned
            .retain(|(_, _, at)| now.saturating_duration_since(*at) < WARNING_INTERVAL);
        let told = self
            .warned
            .iter()
            .any(|(known, at_least, _)| *known == kind && *at_least >= severity);
        if !told {
            self.warned.push((kind, severity, now));
        }
        !told
    }

    fn failure_rate(&self) -> f64 {
        if self.window.is_empty() {
            return 0.0;
        }
        self.failures as f64 / self.window.len() as f64
    }

    fn mean_latency_ms(&self) -> f64 {
        if self.window.is_empty() {
            return 0.0;
        }
        let total: Duration = self.window.iter().map(|(_, latency)| *latency).sum();
        total.as_secs_f64() * 1000.0 / self.window.len() as f64
    }

    /// The numbers. An agent without any history is well.
    #[must_use]
    pub fn to_view(&self, thresholds: &Thresholds, now: Instant) -> HealthView {
        let silence = self.last_sign.map(|at| now.saturating_duration_since(at));
        let recency = silence.map_or(1.0, |silence| {
            let late = silence.saturating_sub(FULL_RECENCY).as_secs_f64();
            (1.0 - late / (NO_RECENCY.as_secs_f64() - FULL_RECENCY.as_secs_f64())).max(0.0)
        });
        let success_rate = 1.0 - self.failure_rate();
        let mean_latency_ms = self.mean_latency_ms();
        let latency = (1.0 - mean_latency_ms / thresholds.latency_ms as f64).max(0.0);
        HealthView {
            score: 0.5 * success_rate + 0.3 * latency + 0.2 * recency,
            success_rate,
            mean_latency_ms,
            invocations: self.window.len(),
            consecutive_failures: self.consecutive_failures,
            missed_heartbeats: self.missed_heartbeats,
            last_sign_ms_ago: silence
                .map(|silence| u64::try_from(silence.as_millis()).unwrap_or(u64::MAX)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pattern: &str, latency_ms: u64) -> (AgentHealth, Option<QuarantineCause>) {
        let thresholds = Thresholds::default();
        let mut health = AgentHealth::default();
        let now = Instant::now();
        let mut cause = None;
        for mark in pattern.chars() {
            let seen = Observation {
                success: match mark {
                    '.' => Some(true),
                    'x' => Some(false),
                    _ => None,
                },
                latency: Duration::from_millis(latency_ms),
            };
            cause = health
                .record_invocation(seen, &thresholds, now)
                .map(|breach| breach.cause);
        }
        (health, cause)
    }

    #[test]
    fn each_threshold_breaks_where_it_says_and_not_before() {
        for (pattern, latency_ms, cause) in [
            ("", 0, None),
            ("xxxx", 0, None),
            ("xxxxx", 0, Some(QuarantineCause::ConsecutiveFailures)),
            ("xxxx.xxxx", 0, None),
            // 2 of 10 and 2 of 11 pass, 3 of 11 do not.
            ("x...x.....", 0, None),
            ("x...x......", 0, None),
            ("x.x.......x", 0, Some(QuarantineCause::FailureRate)),
            // What is not the agent's failure counts neither way.
            ("xxxx?????", 0, None),
            ("xxxx?x", 0, Some(QuarantineCause::ConsecutiveFailures)),
            ("..........", 5001, None),
            ("...........", 5000, None),
            ("...........", 5001, Some(QuarantineCause::Latency)),
        ] {
            assert_eq!(
                run(pattern, latency_ms).1,
                cause,
                "{pattern} at {latency_ms} ms"
            );
        }
    }

    #[test]
    fn old_invocations_leave_the_window() {
        let pattern = format!("xxxx{}", ".".repeat(100));
        let (health, cause) = run(&pattern, 1);
        assert_eq!(
            (health.failures, health.window.len(), cause),
            (0, 100, None)
        );
    }

    #[test]
    fn the_second_missed_heartbeat_is_one_too_many_and_a_good_one_forgives_the_first() {
        let thresholds = Thresholds::default();
        let now = Instant::now();
        let mut health = AgentHealth::default();
        assert_eq!(
            health.record_heartbeat(Some("no answer"), &thresholds, now),
            None
        );
        assert_eq!(health.record_heartbeat(None, &thresholds, now), None);
        assert_eq!(
            health.record_heartbeat(Some("no answer"), &thresholds, now),
            None
        );
        let breach = health
            .record_heartbeat(Some("no answer"), &thresholds, now)
            .unwrap();
        assert_eq!(breach.cause, QuarantineCause::MissedHeartbeats);
        assert!(breach.reason.contains("no answer"));
    }

    #[test]
    fn the_score_weighs_success_latency_and_recency() {
        let thresholds = Thresholds::default();
        let now = Instant::now();
        let close = |score: f64, expected: f64| {
            assert!((score - expected).abs() < 1e-9, "{score} is not {expected}");
        };
        close(AgentHealth::default().to_view(&thresholds, now).score, 1.0);
        // Half of the successes, half of the latency, and a sign of life 35 s ago: half of everything.
        let (mut health, _) = run(".x", 2500);
        health.last_sign = Some(now);
        close(
            health
                .to_view(&thresholds, now + Duration::from_secs(35))
                .score,
            0.5,
        );
        close(
            health
                .to_view(&thresholds, now + Duration::from_secs(600))
                .score,
            0.4,
        );
    }

    #[test]
    fn warnings_come_at_seven_and_nine_tenths_and_are_not_repeated_at_once() {
        let thresholds = Thresholds::default();
        for (observed, severity) in [
            (69.9, None),
            (70.0, Some(AlertSeverity::Warning)),
            (89.9, Some(AlertSeverity::Warning)),
            (90.0, Some(AlertSeverity::Critical)),
            (100.0, Some(AlertSeverity::Critical)),
        ] {
            assert_eq!(
                thresholds.severity_of(observed, 100.0),
                severity,
                "{observed}"
            );
        }
        let mut health = AgentHealth::default();
        let now = Instant::now();
        assert!(health.claim_warning("fuel", AlertSeverity::Warning, now));
        assert!(!health.claim_warning("fuel", AlertSeverity::Warning, now));
        assert!(health.claim_warning("fuel", AlertSeverity::Critical, now));
        assert!(!health.claim_warning("fuel", AlertSeverity::Warning, now));
        assert!(health.claim_warning("memory_bytes", AlertSeverity::Warning, now));
        assert!(health.claim_warning(
            "fuel",
            AlertSeverity::Warning,
            now + Duration::from_secs(60)
        ));
    }
}
