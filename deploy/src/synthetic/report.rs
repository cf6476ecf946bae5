//! Collects observations and evaluates the proofs.

use std::time::Duration;

use ark_client::ClientError;
use ark_client::members::text_field;
use serde::Serialize;
use serde_json::Value;

use crate::proposal::SyntheticProposal;

use super::SyntheticOptions;
use super::requests::Abandoned;

/// The share of ticks that must be sent within their period for the rate to be held.
const MIN_ON_TIME: f64 = 0.95;
/// The share of the ticks a second that were asked for.
const MIN_RATE: f64 = 0.95;
/// How late any tick may be: this, or [`MAX_LATE_PERIODS`] where that is longer. It is far above what a busy host needs, and far below a stall that
/// its callers see.
const MAX_LATE: Duration = Duration::from_secs(2);
/// See [`MAX_LATE`].
const MAX_LATE_PERIODS: u32 = 5;
/// The most failures that a report lists.
const MAX_FAILURES: usize = 100;

/// Something that went wrong in a tick.
#[derive(Debug, Clone, Serialize)]
pub struct SyntheticFailure {
    /// The tick, from 0.
    pub tick: u64,
    /// Its trace; empty if there is none.
    pub trace_id: String,
    /// What went wrong.
    pub problem: String,
}

/// Percentiles of times, in milliseconds.
#[derive(Debug, Clone, Copy, Default, Serialize)]
pub struct Latencies {
    /// The median.
    pub p50_ms: f64,
    /// 95 of 100 were no longer.
    pub p95_ms: f64,
    /// 99 of 100 were no longer.
    pub p99_ms: f64,
    /// The longest.
    pub max_ms: f64,
}

impl Latencies {
    /// The percentiles of some times; zeroes if there are none.
    fn from_times(times: &[Duration]) -> Self {
        let mut sorted = times.to_vec();
        sorted.sort();
        let at = |percent: usize| {
            // The smallest time that enough of them are not above.
            let rank = (sorted.len() * percent).div_ceil(100).max(1) - 1;
            let time = sorted.get(rank).copied().unwrap_or_default();
            time.as_secs_f64() * 1000.0
        };
        Self {
            p50_ms: at(50),
            p95_ms: at(95),
            p99_ms: at(99),
            max_ms: at(100),
        }
    }
}

/// One thing that a run proves, or does not.
#[derive(Debug, Clone, Serialize)]
pub struct Proof {
    /// Its name: `rate`, `outcomes`, `traces`, `positions`, `quarantine`, `nothing-open`.
    pub name: &'static str,
    /// Whether it holds.
    pub passed: bool,
    /// The observed values.
    pub detail: String,
}

/// The result of a run.
#[derive(Debug, Clone, Serialize)]
pub struct SyntheticReport {
    /// Whether the run went to its end and everything holds.
    pub passed: bool,
    /// Whether it was stopped before its end.
    pub interrupted: bool,
    /// The requester.
    pub agent: String,
    /// What the signals went through: `HTTP`, or a stream of a Redis.
    pub signals_through: String,
    /// Ticks that were planned.
    pub ticks: u64,
    /// Ticks that were sent.
    pub sent: usize,
    /// How long it took, in seconds.
    pub elapsed_s: f64,
    /// Ticks that were sent a second, from the first to the last; `None`: fewer than two were sent.
    pub hz: Option<f64>,
    /// Violations that were injected.
    pub injected: usize,
    /// Proposals that were approved.
    pub approved: usize,
    /// Proposals that were denied.
    pub denied: usize,
    /// Proposals that were held.
    pub held: usize,
    /// The decision behind all others, up to which the stream of events was read: one more denial, which is not in `denied`. `None`: it was not made.
    pub end_mark: Option<String>,
    /// How long proposals took, from here.
    pub proposals: Latencies,
    /// How long signals took, from here.
    pub signals: Latencies,
    /// What the run proves.
    pub proofs: Vec<Proof>,
    /// What went wrong, at most 100 of it.
    pub failures: Vec<SyntheticFailure>,
    /// What went wrong besides.
    pub failures_left_out: usize,
}

/// What a run saw.
#[derive(Default)]
pub(super) struct Observations {
    /// Why the run ended before its last tick.
    pub(super) ended_by: Option<Abandoned>,
    pub(super) ticks: u64,
    pub(super) period: Duration,
    /// Ticks a second, as they were asked for.
    pub(super) hz: f64,
    pub(super) elapsed: Duration,
    /// From the sending of the first tick to that of the last.
    pub(super) sending: Duration,
    /// How late each tick was sent.
    pub(super) lateness: Vec<Duration>,
    pub(super) signals: Vec<Duration>,
    pub(super) proposals: Vec<Duration>,
    pub(super) injected: usize,
    pub(super) approved: usize,
    pub(super) denied: usize,
    pub(super) held: usize,
    /// Tick, trace and id of each decision.
    pub(super) decisions: Vec<(u64, String, String)>,
    pub(super) complete_traces: usize,
    pub(super) trace_failures: usize,
    pub(super) failures: Vec<SyntheticFailure>,
    pub(super) position_problem: Option<String>,
    pub(super) end_mark: Option<String>,
    /// How often a trade could not be taken back in its tick.
    pub(super) untaken: usize,
    pub(super) left_open: usize,
    /// The agents that are in quarantine since the run; `None`: not asked yet.
    pub(super) new_quarantines: Option<Result<Vec<String>, ClientError>>,
}

impl Observations {
    pub(super) fn add_failure(&mut self, tick: u64, trace: &str, problem: String) {
        self.failures.push(SyntheticFailure {
            tick,
            trace_id: trace.to_owned(),
            problem,
        });
    }

    /// Counts a decision.
    pub(super) fn count_decision(&mut self, proposal: &SyntheticProposal, decision: &Value) {
        self.injected += usize::from(proposal.rule.is_some());
        match text_field(decision, "outcome") {
            "approved" => self.approved += 1,
            "denied" => self.denied += 1,
            _ => self.held += 1,
        }
    }

    fn prove_rate(&self) -> Proof {
        let sent = self.lateness.len();
        let on_time = self
            .lateness
            .iter()
            .filter(|late| **late < self.period)
            .count();
        let share = on_time as f64 / sent.max(1) as f64;
        let worst = self.lateness.iter().max().copied().unwrap_or_default();
        let most = MAX_LATE.max(self.period * MAX_LATE_PERIODS);
        // In a short run the lateness of the last tick alone would be another rate: less than a period is nothing.
        let rate = find_rate(sent, self.sending.saturating_sub(self.period));
        let is_whole = u64::try_from(sent).is_ok_and(|sent| sent >= self.ticks);
        let mut told = vec![format!(
            "{on_time} of {sent} ticks were sent within their period, the latest {:.0} ms late",
            worst.as_secs_f64() * 1000.0
        )];
        if !is_whole {
            let why = self
                .ended_by
                .map_or_else(String::new, |why| format!(": {why}"));
            told.push(format!(
                "only {sent} of {} ticks were sent{why}",
                self.ticks
            ));
        }
        if worst > most {
            told.push(format!(
                "none may be more than {:.0} ms late",
                most.as_secs_f64() * 1000.0
            ));
        }
        let is_slow = rate.is_some_and(|rate| rate < self.hz * MIN_RATE);
        if is_slow {
            told.push(format!(
                "{:.2} were sent a second, not {}",
                find_rate(sent, self.sending).unwrap_or_default(),
                self.hz
            ));
        }
        Proof {
            name: "rate",
            passed: sent > 0 && is_whole && share >= MIN_ON_TIME && worst <= most && !is_slow,
            detail: told.join("; "),
        }
    }

    fn prove_nothing_open(&self) -> Proof {
        Proof {
            name: "nothing-open",
            passed: self.left_open == 0 && self.untaken == 0,
            detail: match (self.left_open, self.untaken) {
                (0, 0) => "every approved trade was cancelled, every held one rejected".to_owned(),
                (0, later) => format!("{later} trades could be taken back only after the run"),
                (open, _) => {
                    format!("{open} proposals may be open; the next run takes back what is")
                }
            },
        }
    }

    fn prove_quarantine(&self) -> Proof {
        let (passed, detail) = match &self.new_quarantines {
            Some(Ok(names)) if names.is_empty() => {
                (true, "no agent was put into quarantine".to_owned())
            }
            Some(Ok(names)) => (false, format!("put into quarantine: {}", names.join(", "))),
            Some(Err(error)) => (false, format!("the watchdog could not be asked: {error}")),
            None => (false, "the watchdog was not asked".to_owned()),
        };
        Proof {
            name: "quarantine",
            passed,
            detail,
        }
    }
}

impl SyntheticReport {
    pub(super) fn from_observations(
        observed: Observations,
        options: &SyntheticOptions,
        signals_through: String,
    ) -> Self {
        let sent = observed.lateness.len();
        let interrupted = observed.ended_by == Some(Abandoned::Stopped);
        let proof = |name, passed, detail: String| Proof {
            name,
            passed,
            detail,
        };
        let outcome_failures = observed.failures.len() - observed.trace_failures - observed.untaken;
        let proofs = vec![
            observed.prove_rate(),
            proof(
                "outcomes",
                observed.injected > 0 && outcome_failures == 0,
                format!(
                    "{} violations injected, {} denied, {} approved, {} held, {outcome_failures} not as they must be",
                    observed.injected, observed.denied, observed.approved, observed.held
                ),
            ),
            proof(
                "traces",
                observed.complete_traces == sent,
                format!("{} of {sent} traces are complete", observed.complete_traces),
            ),
            proof(
                "positions",
                observed.position_problem.is_none(),
                observed.position_problem.clone().unwrap_or_else(|| {
                    "the events have every row of the log, and each decision".to_owned()
                }),
            ),
            observed.prove_quarantine(),
            observed.prove_nothing_open(),
        ];
        let mut failures = observed.failures;
        failures.sort_by_key(|failure| failure.tick);
        let failures_left_out = failures.len().saturating_sub(MAX_FAILURES);
        failures.truncate(MAX_FAILURES);
        Self {
            passed: !interrupted && proofs.iter().all(|proof| proof.passed),
            interrupted,
            agent: options.agent.clone(),
            signals_through,
            ticks: observed.ticks,
            sent,
            elapsed_s: observed.elapsed.as_secs_f64(),
            hz: find_rate(sent, observed.sending),
            injected: observed.injected,
            approved: observed.approved,
            denied: observed.denied,
            held: observed.held,
            end_mark: observed.end_mark,
            proposals: Latencies::from_times(&observed.proposals),
            signals: Latencies::from_times(&observed.signals),
            proofs,
            failures,
            failures_left_out,
        }
    }
}

/// The ticks a second: n ticks are n - 1 periods apart.
fn find_rate(sent: usize, sending: Duration) -> Option<f64> {
    let periods = sent.checked_sub(1).filter(|periods| *periods > 0)?;
    (!sending.is_zero()).then(|| periods as f64 / sending.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use crate::fixtures::build_synthetic;

    use super::*;

    #[test]
    fn the_rate_is_that_of_the_periods_between_ticks() {
        for (sent, sending_ms, rate) in [
            (10, 4_500, Some(2.0)),
            (2, 500, Some(2.0)),
            (16, 3_750, Some(4.0)),
            (301, 300_000, Some(1.0)),
            // Each a whole period late.
            (10, 9_000, Some(1.0)),
            (1, 0, None),
            (0, 0, None),
            (2, 0, None),
        ] {
            let found = find_rate(sent, Duration::from_millis(sending_ms));
            assert_eq!(found, rate, "{sent} ticks in {sending_ms} ms");
        }
    }

    #[test]
    fn the_rate_is_held_by_all_ticks_without_a_stall() {
        let ms = Duration::from_millis;
        // 100 ticks at 10 Hz. The lateness of each, and what the last one has beyond 9.9 s is its own.
        let observe = |late: &[u64]| {
            let mut lateness = vec![ms(1); 100];
            for (tick, late) in lateness.iter_mut().rev().zip(late) {
                *tick = ms(*late);
            }
            Observations {
                ticks: 100,
                period: ms(100),
                hz: 10.0,
                sending: ms(9_900) + lateness.last().copied().unwrap_or_default(),
                lateness,
                ..Observations::default()
            }
        };
        for (late, told) in [
            (&[1][..], None),
            (&[99], None),
            // 5 of 100 are late, and the rate is held.
            (&[1, 1_900, 1_900, 1_900, 1_900, 1_900], None),
            (&[150; 6], Some("94 of 100 ticks")),
            // A stall of few ticks.
            (&[1, 2_001], Some("none may be more than 2000 ms late")),
            // The end of the run is late: 99 periods in 10.7 s.
            (&[800], Some("9.25 were sent a second, not 10")),
        ] {
            let proof = observe(late).prove_rate();
            assert_eq!(proof.passed, told.is_none(), "{late:?}: {}", proof.detail);
            let told = told.unwrap_or("100 ticks were sent within their period");
            assert!(proof.detail.contains(told), "{late:?}: {}", proof.detail);
        }
        // At slow rates a tick may be a few periods late.
        let slow = |late| Observations {
            ticks: 200,
            period: ms(2_000),
            hz: 0.5,
            sending: ms(398_000),
            lateness: [vec![ms(1); 199], vec![ms(late)]].concat(),
            ..Observations::default()
        };
        assert!(slow(10_000).prove_rate().passed);
        assert!(!slow(10_001).prove_rate().passed);
        for (ended_by, told) in [
            (
                Some(Abandoned::TimeOver),
                "only 60 of 100 ticks were sent: the time of the run was over before the host had answered",
            ),
            (
                Some(Abandoned::Stopped),
                "only 60 of 100 ticks were sent: the run was stopped",
            ),
        ] {
            let mut observed = observe(&[]);
            observed.lateness.truncate(60);
            observed.sending = ms(5_900);
            observed.ended_by = ended_by;
            let proof = observed.prove_rate();
            assert!(
                !proof.passed && proof.detail.contains(told),
                "{}",
                proof.detail
            );
        }
        assert!(!Observations::default().prove_rate().passed);
    }

    #[test]
    fn a_run_without_violations_proves_no_outcomes() {
        let options = build_synthetic();
        for (injected, is_proved) in [(0, false), (1, true)] {
            let observed = Observations {
                lateness: vec![Duration::ZERO; 10],
                injected,
                ..Observations::default()
            };
            let report = SyntheticReport::from_observations(observed, &options, "HTTP".to_owned());
            let proof = report.proofs.iter().find(|proof| proof.name == "outcomes");
            assert_eq!(proof.map(|proof| proof.passed), Some(is_proved));
        }
    }

    #[test]
    fn percentiles_are_times_that_were_seen() {
        let times: Vec<Duration> = (1..=100).map(Duration::from_millis).collect();
        let found = Latencies::from_times(&times);
        assert_eq!(
            (found.p50_ms, found.p95_ms, found.p99_ms, found.max_ms),
            (50.0, 95.0, 99.0, 100.0)
        );
        assert_eq!(Latencies::from_times(&[]).p99_ms, 0.0);
        assert_eq!(Latencies::from_times(&times[..1]).p50_ms, 1.0);
    }
}
