//! The health of an agent, and when it is put into quarantine: failures in a row, rate of failures, mean latency, missed heartbeats, refusals by
//! quotas ([`Thresholds`]). Score = 0.5 success + 0.3 latency + 0.2 recency.
//!
//! Only what the agent itself did counts: a signal that it rejects as malformed is its sender's failure, and what the host could not record
//! is tried again.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use ark_model::control::{AlertSeverity, QuarantineCause};

use super::alert_rules::RecentWarnings;

/// Within which time refusals by quotas are counted.
pub const REFUSAL_WINDOW: Duration = Duration::from_mins(10);
/// How many of the last invocations count.
const WINDOW_INVOCATIONS: usize = 100;
/// Up to this age of its last sign of life an agent has the full recency.
const FULL_RECENCY: Duration = Duration::from_secs(10);
/// From this age of its last sign of life on an agent has no recency. In between it falls linearly.
const NO_RECENCY: Duration = Duration::from_secs(60);

/// When an agent is put into quarantine, and when alerts are raised.
#[derive(Debug, Clone, PartialEq)]
pub struct Thresholds {
    /// This number of failures in a row is a breach.
    pub consecutive_failures: u32,
    /// A larger share of failures in the window is a breach; 0 to 1.
    pub failure_rate: f64,
    /// The failure rate counts once the window has more invocations than this.
    pub failure_rate_over: u32,
    /// A larger mean latency in the window is a breach, in milliseconds.
    pub latency_ms: u64,
    /// The mean latency counts once the window has more invocations than this.
    pub latency_over: u32,
    /// This number of missed heartbeats in a row is a breach.
    pub missed_heartbeats: u32,
    /// This number of invocations that a quota refused within [`REFUSAL_WINDOW`] is a breach.
    pub quota_refusals: u32,
    /// From this share of a limit on a warning is raised; 0 to 1.
    pub warning: f64,
    /// From this share of a limit on the alert is critical; 0 to 1.
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
            quota_refusals: 100,
            warning: 0.7,
            critical: 0.9,
        }
    }
}

impl Thresholds {
    /// Returns the severity of an alert about `observed` of `limit`; `None`: no alert is due.
    #[must_use]
    pub fn severity_of(&self, observed: f64, limit: f64) -> Option<AlertSeverity> {
        let share = observed / limit;
        if share >= self.critical {
            Some(AlertSeverity::Critical)
        } else if share >= self.warning {
            Some(AlertSeverity::Warning)
        } else {
            None
        }
    }
}

/// How an invocation ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Observation {
    /// Whether it was committed; `None`: it failed, and the agent is not at fault, or a quota refused it.
    pub success: Option<bool>,
    /// Whether a quota of the agent refused it.
    pub quota_refused: bool,
    /// The time from the moment a worker took its signal to its commit.
    pub latency: Duration,
}

/// A threshold that was passed: the agent must be put into quarantine.
#[derive(Debug, Clone, PartialEq)]
pub struct Breach {
    /// The threshold that was passed.
    pub cause: QuarantineCause,
    /// What was observed, for operators.
    pub reason: String,
}

/// The outcomes of an agent's last invocations. Cleared at a restart and at a restore.
#[derive(Debug, Default)]
pub struct HealthWindow {
    /// The last invocations: whether each succeeded, and its latency.
    window: VecDeque<(bool, Duration)>,
    /// How many invocations in the window failed.
    failures: usize,
    consecutive_failures: u32,
    missed_heartbeats: u32,
    /// When quotas refused it, within [`REFUSAL_WINDOW`].
    quota_refusals: VecDeque<Instant>,
    /// When it last answered a heartbeat or succeeded.
    last_sign: Option<Instant>,
    /// The alerts about it that were raised lately.
    pub(super) warnings: RecentWarnings,
}

/// How an agent does, in numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct HealthView {
    /// From 0 (worst) to 1.
    pub score: f64,
    /// Share of the window's invocations that succeeded; 1 when there were none.
    pub success_rate: f64,
    /// Mean latency over the window, in milliseconds; 0 when there were no invocations.
    pub mean_latency_ms: f64,
    /// Invocations in the window: the last 100 at most.
    pub invocations: usize,
    /// Failures since the last success.
    pub consecutive_failures: u32,
    /// Missed heartbeats since the last one that was answered.
    pub missed_heartbeats: u32,
    /// How long ago it last answered a heartbeat or succeeded, in milliseconds; absent: it never did.
    pub last_sign_ms_ago: Option<u64>,
}

impl HealthWindow {
    /// Records an invocation. Returns the breach that it completes.
    pub fn record_invocation(
        &mut self,
        observation: Observation,
        thresholds: &Thresholds,
        now: Instant,
    ) -> Option<Breach> {
        if observation.quota_refused {
            return self.record_quota_refusal(thresholds, now);
        }
        let success = observation.success?;
        self.window.push_back((success, observation.latency));
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

    fn record_quota_refusal(&mut self, thresholds: &Thresholds, now: Instant) -> Option<Breach> {
        let refusals = &mut self.quota_refusals;
        refusals.push_back(now);
        while refusals
            .front()
            .is_some_and(|at| now.saturating_duration_since(*at) >= REFUSAL_WINDOW)
        {
            refusals.pop_front();
        }
        (refusals.len() >= thresholds.quota_refusals as usize).then(|| Breach {
            cause: QuarantineCause::Quota,
            reason: format!(
                "its quotas refused {} invocations within {} minutes, and it went on",
                refusals.len(),
                REFUSAL_WINDOW.as_secs() / 60
            ),
        })
    }

    fn find_breach(&self, thresholds: &Thresholds) -> Option<Breach> {
        let invocations = self.window.len();
        if self.consecutive_failures >= thresholds.consecutive_failures {
            return Some(Breach {
                cause: QuarantineCause::ConsecutiveFailures,
                reason: format!("{} invocations failed in a row", self.consecutive_failures),
            });
        }
        if invocations > thresholds.failure_rate_over as usize
            && self.failure_rate() > thresholds.failure_rate
        {
            return Some(Breach {
                cause: QuarantineCause::FailureRate,
                reason: format!(
                    "{} of the last {invocations} invocations failed; at most {} % may",
                    self.failures,
                    thresholds.failure_rate * 100.0
                ),
            });
        }
        let mean = self.mean_latency_ms();
        if invocations > thresholds.latency_over as usize && mean > thresholds.latency_ms as f64 {
            return Some(Breach {
                cause: QuarantineCause::Latency,
                reason: format!(
                    "the last {invocations} invocations took {mean:.0} ms on average; at most {} ms are allowed",
                    thresholds.latency_ms
                ),
            });
        }
        None
    }

    /// Records a heartbeat: `missed` is the reason why it was missed. Returns the breach that it completes.
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
                "{} heartbeats missed in a row; the last: {reason}",
                self.missed_heartbeats
            ),
        })
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

    /// Returns the numbers. The score of an agent without any history is 1.
    #[must_use]
    pub fn to_view(&self, thresholds: &Thresholds, now: Instant) -> HealthView {
        let silence = self.last_sign.map(|at| now.saturating_duration_since(at));
        let recency = silence.map_or(1.0, |silence| {
            let late = silence.saturating_sub(FULL_RECENCY).as_secs_f64();
            let span = NO_RECENCY.saturating_sub(FULL_RECENCY).as_secs_f64();
            (1.0 - late / span).max(0.0)
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

/// How a version on trial did. It is kept apart from the health of the agent that serves.
#[derive(Debug, Default)]
pub struct CanaryHealth(Mutex<HealthWindow>);

impl CanaryHealth {
    pub(super) fn record_invocation(
        &self,
        observation: Observation,
        thresholds: &Thresholds,
        now: Instant,
    ) -> Option<Breach> {
        self.0
            .lock()
            .record_invocation(observation, thresholds, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record_pattern(pattern: &str, latency_ms: u64) -> (HealthWindow, Option<QuarantineCause>) {
        let thresholds = Thresholds::default();
        let mut health = HealthWindow::default();
        let now = Instant::now();
        let mut cause = None;
        for mark in pattern.chars() {
            let observation = Observation {
                success: match mark {
                    '.' => Some(true),
                    'x' => Some(false),
                    _ => None,
                },
                quota_refused: mark == 'q',
                latency: Duration::from_millis(latency_ms),
            };
            cause = health
                .record_invocation(observation, &thresholds, now)
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
            // Refusals by quotas are counted apart.
            ("xxxxqqqq", 0, None),
            (&"q".repeat(99), 0, None),
            (&"q".repeat(100), 0, Some(QuarantineCause::Quota)),
            ("..........", 5001, None),
            ("...........", 5000, None),
            ("...........", 5001, Some(QuarantineCause::Latency)),
        ] {
            assert_eq!(
                record_pattern(pattern, latency_ms).1,
                cause,
                "{pattern} at {latency_ms} ms"
            );
        }
    }

    #[test]
    fn refusals_by_quotas_are_forgotten_after_ten_minutes() {
        let thresholds = Thresholds {
            quota_refusals: 2,
            ..Thresholds::default()
        };
        let start = Instant::now();
        let mut health = HealthWindow::default();
        let mut refuse = |seconds: u64| {
            let observation = Observation {
                success: None,
                quota_refused: true,
                latency: Duration::ZERO,
            };
            let now = start + Duration::from_secs(seconds);
            health.record_invocation(observation, &thresholds, now)
        };
        assert_eq!(refuse(0), None);
        assert_eq!(refuse(600), None);
        let breach = refuse(1199).unwrap();
        assert_eq!(breach.cause, QuarantineCause::Quota);
        assert!(
            breach.reason.contains("refused 2 invocations"),
            "{}",
            breach.reason
        );
    }

    #[test]
    fn old_invocations_leave_the_window() {
        let pattern = format!("xxxx{}", ".".repeat(100));
        let (health, cause) = record_pattern(&pattern, 1);
        assert_eq!(
            (health.failures, health.window.len(), cause),
            (0, 100, None)
        );
    }

    #[test]
    fn the_second_missed_heartbeat_is_a_breach_unless_one_between_them_was_answered() {
        let thresholds = Thresholds::default();
        let now = Instant::now();
        let mut health = HealthWindow::default();
        let mut beat = |missed| health.record_heartbeat(missed, &thresholds, now);
        assert_eq!(beat(Some("no answer")), None);
        assert_eq!(beat(None), None);
        assert_eq!(beat(Some("no answer")), None);
        let breach = beat(Some("no answer")).unwrap();
        assert_eq!(breach.cause, QuarantineCause::MissedHeartbeats);
        assert!(breach.reason.contains("no answer"));
    }

    #[test]
    fn the_score_weighs_success_latency_and_recency() {
        let thresholds = Thresholds::default();
        let now = Instant::now();
        let close = |health: &HealthWindow, seconds: u64, expected: f64| {
            let at = now + Duration::from_secs(seconds);
            let score = health.to_view(&thresholds, at).score;
            assert!((score - expected).abs() < 1e-9, "{score} is not {expected}");
        };
        close(&HealthWindow::default(), 0, 1.0);
        // Half of the successes, half of the latency, and a sign of life 35 s ago: half of everything.
        let (mut health, _) = record_pattern(".x", 2500);
        health.last_sign = Some(now);
        close(&health, 35, 0.5);
        close(&health, 600, 0.4);
    }

    #[test]
    fn alerts_are_warnings_from_seven_tenths_and_critical_from_nine_tenths_of_a_limit() {
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
    }
}
