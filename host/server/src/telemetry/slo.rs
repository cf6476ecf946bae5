//! The service level objectives, computed by the host itself from what it counted.
//!
//! Every few seconds a sample of cumulative counts is taken and kept for an hour; the difference of two samples is what happened between them.
//! Every objective is a share of good events: "P95 at most 400 ms" is met exactly when at least 95 % of the events took no longer than 400 ms.
//! So all have the same arithmetic over a window: `burn rate = share of bad events / allowed share`, `error budget left = 1 - burn rate`.
//!
//! Nothing is kept across a restart. A window of which less than a tenth was seen, or that had fewer than 20 events, has no value and no
//! verdict; for a broken pin one event is enough.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use serde::Serialize;

use super::recent::{RecentDurations, SLOT_LENGTH, Window};
use ark_model::meters::{CallKind, Meters};

/// The target of the P95 of decisions: from the acceptance of a proposal until its decision is durable.
pub const DECISION_TARGET: Duration = Duration::from_millis(400);
/// The target of the P95 of evaluations over all policies.
pub const EVALUATION_TARGET: Duration = Duration::from_millis(120);

/// The share of a window that must have been seen for a verdict.
const MIN_COVERED_FRACTION: f64 = 0.1;
/// The number of events that a verdict needs: a P95 of fewer than 20 would be their maximum.
const MIN_EVENTS: u64 = 20;

/// A service level objective.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Objective {
    Availability,
    DecisionLatency,
    EvaluationLatency,
    EthicsDrift,
}

impl Objective {
    const ALL: [Self; 4] = [
        Self::Availability,
        Self::DecisionLatency,
        Self::EvaluationLatency,
        Self::EthicsDrift,
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Availability => "availability",
            Self::DecisionLatency => "decision_latency_p95",
            Self::EvaluationLatency => "hrm_evaluation_p95",
            Self::EthicsDrift => "ethics_drift",
        }
    }

    const fn description(self) -> &'static str {
        match self {
            Self::Availability => {
                "answers of the API that are no failure of the host (5xx); health checks do not count"
            }
            Self::DecisionLatency => {
                "from the acceptance of a proposal until its decision is durable"
            }
            Self::EvaluationLatency => "one evaluation over all policies",
            Self::EthicsDrift => "re-hashes of the Graveyard that did not match its pin",
        }
    }

    /// Returns what the value is compared with: it must be at least (availability) or at most (the others) this.
    const fn target(self) -> f64 {
        match self {
            Self::Availability => 0.995,
            Self::DecisionLatency => 0.4,
            Self::EvaluationLatency => 0.12,
            Self::EthicsDrift => 0.0,
        }
    }

    const fn unit(self) -> &'static str {
        match self {
            Self::Availability => "fraction",
            Self::DecisionLatency | Self::EvaluationLatency => "seconds",
            Self::EthicsDrift => "broken re-hashes",
        }
    }

    /// Returns the share of events that may be bad.
    const fn allowed_bad_fraction(self) -> f64 {
        match self {
            Self::Availability => 0.005,
            Self::DecisionLatency | Self::EvaluationLatency => 0.05,
            Self::EthicsDrift => 0.0,
        }
    }
}

/// Cumulative counts of events and of bad events, for each objective in the order of [`Objective::ALL`].
pub type EventTotals = [(u64, u64); 4];

/// Computes the objectives.
pub struct SloTracker {
    meters: Meters,
    decisions: Arc<RecentDurations>,
    evaluations: Arc<RecentDurations>,
    history: Mutex<History>,
}

/// The samples of the last hour.
#[derive(Debug, Default)]
struct History {
    samples: VecDeque<(Instant, EventTotals)>,
}

/// Whether an objective is met over a window.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SloStatus {
    /// The objective is met.
    Met,
    /// The objective is not met.
    Breached,
    /// The window has seen too little for a verdict.
    NotEnoughData,
}

/// An objective over one window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowView {
    /// `5m` or `1h`.
    pub window: &'static str,
    /// How much of the window this process has seen, in seconds.
    pub covered_seconds: u64,
    /// Events in the window.
    pub events: u64,
    /// How many of them were bad.
    pub bad_events: u64,
    /// The value that is compared with the target; absent without enough data.
    pub value: Option<f64>,
    /// Whether the objective is met.
    pub status: SloStatus,
    /// The same as a boolean; absent without enough data.
    pub met: Option<bool>,
    /// The share of the window's error budget that is left: 1 is all of it, 0 nothing; negative when it is overspent. Absent without enough data.
    pub error_budget_left: Option<f64>,
    /// How fast the error budget burns: 1 uses it up exactly within the window. Absent without enough data, and where no bad event is allowed.
    pub burn_rate: Option<f64>,
}

/// An objective with its windows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloView {
    /// Its stable name.
    pub name: &'static str,
    /// What is measured.
    pub description: &'static str,
    /// The number that the value is compared with.
    pub target: f64,
    /// `>=` or `<=`.
    pub comparison: &'static str,
    /// The unit of target and value.
    pub unit: &'static str,
    /// The objective over five minutes and over an hour.
    pub windows: Vec<WindowView>,
}

impl SloTracker {
    /// Returns a tracker with a first sample of the present counts.
    #[must_use]
    pub fn new(
        meters: Meters,
        decisions: Arc<RecentDurations>,
        evaluations: Arc<RecentDurations>,
    ) -> Self {
        let slos = Self {
            meters,
            decisions,
            evaluations,
            history: Mutex::default(),
        };
        slos.record_sample();
        slos
    }

    /// Takes a sample. Must be called every [`SLOT_LENGTH`].
    pub fn record_sample(&self) {
        let (now, totals) = (Instant::now(), self.read_totals());
        self.history.lock().record(now, totals);
    }

    fn read_totals(&self) -> EventTotals {
        let (mut requests, mut errors) = (0, 0);
        for (call, meter) in CallKind::ALL.iter().zip(&self.meters.api.calls) {
            if *call == CallKind::Health {
                continue;
            }
            let [.., failed] = &meter.answers;
            requests += meter
                .answers
                .iter()
                .map(ark_model::meters::Counter::get)
                .sum::<u64>();
            errors += failed.get();
        }
        let watchdog = &self.meters.watchdog;
        let broken = watchdog.pin_broken.get();
        [
            (requests, errors),
            (self.decisions.total.get(), self.decisions.slow.get()),
            (self.evaluations.total.get(), self.evaluations.slow.get()),
            (watchdog.pin_held.get() + broken, broken),
        ]
    }

    /// Returns every objective over every window.
    #[must_use]
    pub fn evaluate_slos(&self) -> Vec<SloView> {
        let (now, totals) = (Instant::now(), self.read_totals());
        let views = self.history.lock().evaluate_windows(now, totals);
        Objective::ALL
            .into_iter()
            .zip(views)
            .map(|(objective, mut windows)| {
                let recent = match objective {
                    Objective::DecisionLatency => Some(&self.decisions),
                    Objective::EvaluationLatency => Some(&self.evaluations),
                    Objective::Availability | Objective::EthicsDrift => None,
                };
                if let Some(recent) = recent {
                    for (view, window) in windows.iter_mut().zip(Window::ALL) {
                        let p95 = recent.quantiles(window, [0.95]);
                        view.value = (view.status != SloStatus::NotEnoughData)
                            .then(|| p95.map(|[p95]| p95.as_secs_f64()))
                            .flatten();
                    }
                }
                SloView {
                    name: objective.name(),
                    description: objective.description(),
                    target: objective.target(),
                    comparison: if objective == Objective::Availability {
                        ">="
                    } else {
                        "<="
                    },
                    unit: objective.unit(),
                    windows,
                }
            })
            .collect()
    }
}

impl History {
    fn record(&mut self, now: Instant, totals: EventTotals) {
        self.samples.push_back((now, totals));
        // The oldest sample that is kept is at least as old as the long window, if the process is.
        let needed = Window::Long.length() + SLOT_LENGTH;
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= needed)
        {
            self.samples.pop_front();
        }
    }

    /// Returns the windows of each objective. The latencies have no value here: quantiles do not come from counts.
    fn evaluate_windows(&self, now: Instant, totals: EventTotals) -> [Vec<WindowView>; 4] {
        let mut views = [const { Vec::new() }; 4];
        for window in Window::ALL {
            // The newest sample from before the window; else the oldest sample.
            let before = self
                .samples
                .iter()
                .rev()
                .find(|(at, _)| now.saturating_duration_since(*at) >= window.length())
                .or_else(|| self.samples.front());
            let (since, base) = before.copied().unwrap_or((now, totals));
            let covered = now.saturating_duration_since(since).min(window.length());
            for (((objective, view), total), base) in Objective::ALL
                .into_iter()
                .zip(&mut views)
                .zip(totals)
                .zip(base)
            {
                let events = total.0.saturating_sub(base.0);
                let bad = total.1.saturating_sub(base.1);
                view.push(evaluate_window(objective, window, covered, events, bad));
            }
        }
        views
    }
}

fn evaluate_window(
    objective: Objective,
    window: Window,
    covered: Duration,
    events: u64,
    bad_events: u64,
) -> WindowView {
    let mut view = WindowView {
        window: window.as_str(),
        covered_seconds: covered.as_secs(),
        events,
        bad_events,
        value: None,
        status: SloStatus::NotEnoughData,
        met: None,
        error_budget_left: None,
        burn_rate: None,
    };
    let enough = if objective == Objective::EthicsDrift {
        events > 0
    } else {
        events >= MIN_EVENTS
            && covered.as_secs_f64() >= window.length().as_secs_f64() * MIN_COVERED_FRACTION
    };
    if !enough {
        return view;
    }
    let bad_share = bad_events as f64 / events as f64;
    let met = bad_share <= objective.allowed_bad_fraction();
    match objective {
        Objective::Availability => view.value = Some(1.0 - bad_share),
        Objective::EthicsDrift => view.value = Some(bad_events as f64),
        Objective::DecisionLatency | Objective::EvaluationLatency => {}
    }
    if objective.allowed_bad_fraction() > 0.0 {
        let burn = bad_share / objective.allowed_bad_fraction();
        view.burn_rate = Some(burn);
        view.error_budget_left = Some(1.0 - burn);
    } else {
        view.error_budget_left = Some(if met { 1.0 } else { 0.0 });
    }
    view.status = if met {
        SloStatus::Met
    } else {
        SloStatus::Breached
    };
    view.met = Some(met);
    view
}

#[cfg(test)]
mod tests {
    use super::*;

    const AVAILABILITY: usize = 0;
    const DRIFT: usize = 3;

    fn add_seconds(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_fresh_start_has_no_verdict_and_one_broken_pin_is_enough_for_one() {
        let start = Instant::now();
        let mut history = History::default();
        history.record(start, [(0, 0); 4]);
        let totals = [(1000, 1000), (1000, 0), (10, 0), (1, 1)];
        let views = history.evaluate_windows(add_seconds(start, 10), totals);
        for objective in &views[..3] {
            for window in objective {
                assert_eq!(window.status, SloStatus::NotEnoughData, "{window:?}");
                assert_eq!((window.value, window.met), (None, None));
            }
        }
        assert_eq!(views[DRIFT][0].status, SloStatus::Breached);
        assert_eq!(views[DRIFT][0].value, Some(1.0));
        assert_eq!(views[DRIFT][0].error_budget_left, Some(0.0));
        // 30 s are a tenth of five minutes; the hour still needs more, and ten evaluations are too few.
        let views = history.evaluate_windows(add_seconds(start, 30), totals);
        assert_eq!(views[AVAILABILITY][0].status, SloStatus::Breached);
        assert_eq!(views[AVAILABILITY][0].covered_seconds, 30);
        assert_eq!(views[AVAILABILITY][1].status, SloStatus::NotEnoughData);
        assert_eq!(views[1][0].status, SloStatus::Met);
        assert_eq!(views[2][0].status, SloStatus::NotEnoughData);
    }

    #[test]
    fn the_budget_is_met_at_its_edge_and_burns_in_proportion() {
        for (bad, status, burn) in [
            (0, SloStatus::Met, 0.0),
            (5, SloStatus::Met, 1.0),
            (6, SloStatus::Breached, 1.2),
            (50, SloStatus::Breached, 10.0),
        ] {
            let view = evaluate_window(
                Objective::Availability,
                Window::Short,
                Duration::from_mins(5),
                1000,
                bad,
            );
            assert_eq!(view.status, status, "{bad}");
            let found = view.burn_rate.unwrap();
            assert!((found - burn).abs() < 1e-9, "{found}");
            assert!((view.error_budget_left.unwrap() - (1.0 - burn)).abs() < 1e-9);
        }
    }

    #[test]
    fn samples_older_than_the_window_do_not_count() {
        let start = Instant::now();
        let mut history = History::default();
        let mut totals = [(0, 0); 4];
        for seconds in (0..=7200).step_by(5) {
            // All fails in the first minute of the second hour, nothing afterwards.
            if (3600..3660).contains(&seconds) {
                totals[AVAILABILITY].1 += 10;
            }
            totals[AVAILABILITY].0 += 10;
            history.record(add_seconds(start, seconds), totals);
        }
        assert!(history.samples.len() <= 724, "{}", history.samples.len());
        let views = history.evaluate_windows(add_seconds(start, 7200), totals);
        let [short, long] = &views[AVAILABILITY][..] else {
            panic!("two windows")
        };
        assert_eq!((short.bad_events, short.status), (0, SloStatus::Met));
        assert_eq!(short.events, 600);
        assert_eq!((long.bad_events, long.status), (110, SloStatus::Breached));
        assert_eq!(long.events, 7200);
    }
}
