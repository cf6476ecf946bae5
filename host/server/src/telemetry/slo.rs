//! The service level objectives, computed by the host itself from what it saw.
//!
//! Samples of cumulative counts are taken every few seconds and kept for an hour; what is between two of them is what happened. An objective
//! is a part of good events: a latency of "P95 at most 400 ms" is met exactly when at least 95 % of the events took no longer than 400 ms,
//! so one arithmetic serves all: `burn rate = bad part / allowed part`, `error budget left = 1 - burn rate`, over the window.
//!
//! Nothing is kept across a restart, and nothing is guessed: a window of which too little was seen (less than a tenth, or too few events)
//! has no value and no verdict. A broken pin needs no further evidence.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::recent::{RecentDurations, SLOT_LENGTH, Window};
use ark_model::meters::{CallKind, Meters};

/// Decisions that take longer are too slow.
pub const DECISION_TARGET: Duration = Duration::from_millis(400);
/// Evaluations that take longer are too slow.
pub const EVALUATION_TARGET: Duration = Duration::from_millis(120);

/// A window says something only if this part of it was seen.
const MIN_COVERED_FRACTION: f64 = 0.1;
/// P95 is told by 20 events at least; availability by as many.
const MIN_EVENTS: u64 = 20;

/// An objective.
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
                "answers of the API that are no failure of the host (5xx); health checks are no part of it"
            }
            Self::DecisionLatency => {
                "from the acceptance of a proposal until its decision is durable"
            }
            Self::EvaluationLatency => "one evaluation over all policies",
            Self::EthicsDrift => "re-hashes of the Graveyard that did not match its pin",
        }
    }

    /// The target, in words a program can compare: the value must be at least (availability) or at most (the others) this.
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

    /// The part of events that may be bad.
    const fn allowed_bad_fraction(self) -> f64 {
        match self {
            Self::Availability => 0.005,
            Self::DecisionLatency | Self::EvaluationLatency => 0.05,
            Self::EthicsDrift => 0.0,
        }
    }
}

/// Cumulative counts: events and bad events of each objective, in the order of [`Objective::ALL`].
pub type EventTotals = [(u64, u64); 4];

/// What the objectives are computed from.
pub struct SloTracker {
    meters: Meters,
    decisions: Arc<RecentDurations>,
    evaluations: Arc<RecentDurations>,
    history: std::sync::Mutex<History>,
}

/// Samples of the last hour.
#[derive(Debug, Default)]
struct History {
    samples: VecDeque<(Instant, EventTotals)>,
}

/// Whether an objective is met.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum SloStatus {
    /// It is.
    Met,
    /// It is not.
    Breached,
    /// Nobody can tell yet.
    NotEnoughData,
}

/// An objective over one window.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct WindowView {
    /// `5m` or `1h`.
    pub window: &'static str,
    /// How much of the window this process has seen, in seconds.
    pub covered_seconds: u64,
    /// Events in it.
    pub events: u64,
    /// Those that were bad.
    pub bad_events: u64,
    /// The value to be compared with the target; `None` without enough data.
    pub value: Option<f64>,
    /// The verdict.
    pub status: SloStatus,
    /// The same as yes or no; `None` without enough data.
    pub met: Option<bool>,
    /// What is left of the error budget of the window: 1 all of it, 0 nothing, negative: it is overspent.
    pub error_budget_left: Option<f64>,
    /// How fast it burns; `None` where no bad event is allowed at all.
    pub burn_rate: Option<f64>,
}

/// An objective with its windows.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SloView {
    /// Its name.
    pub name: &'static str,
    /// What is measured.
    pub description: &'static str,
    /// What the value is compared with.
    pub target: f64,
    /// `>=` or `<=`.
    pub comparison: &'static str,
    /// The unit of target and value.
    pub unit: &'static str,
    /// Over five minutes and an hour.
    pub windows: Vec<WindowView>,
}

impl SloTracker {
    /// Of a host that has just started.
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
            history: std::sync::Mutex::default(),
        };
        slos.record_sample();
        slos
    }

    /// To be called every [`SLOT`].
    pub fn record_sample(&self) {
        let (now, totals) = (Instant::now(), self.read_totals());
        self.lock_history().record(now, totals);
    }

    fn lock_history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
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

    /// All objectives over all windows.
    #[must_use]
    pub fn evaluate_slos(&self) -> Vec<SloView> {
        let (now, totals) = (Instant::now(), self.read_totals());
        let views = self.lock_history().evaluate_windows(now, totals);
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
        // The oldest that is kept is at least an hour old, if the process is.
        let needed = Window::Long.length() + SLOT_LENGTH;
        while self
            .samples
            .get(1)
            .is_some_and(|(at, _)| now.saturating_duration_since(*at) >= needed)
        {
            self.samples.pop_front();
        }
    }

    /// For each objective its windows. Latencies have no value here.
    fn evaluate_windows(&self, now: Instant, totals: EventTotals) -> [Vec<WindowView>; 4] {
        let mut views = [const { Vec::new() }; 4];
        for window in Window::ALL {
            // The newest sample that is not younger than the window; else the oldest there is.
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
    let bad_part = bad_events as f64 / events as f64;
    let met = bad_part <= objective.allowed_bad_fraction();
    match objective {
        Objective::Availability => view.value = Some(1.0 - bad_part),
        Objective::EthicsDrift => view.value = Some(bad_events as f64),
        Objective::DecisionLatency | Objective::EvaluationLatency => {}
    }
    if objective.allowed_bad_fraction() > 0.0 {
        let burn = bad_part / objective.allowed_bad_fraction();
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

    fn at(start: Instant, seconds: u64) -> Instant {
        start + Duration::from_secs(seconds)
    }

    #[test]
    fn a_fresh_start_has_no_verdict_and_a_broken_pin_needs_no_further_evidence() {
        let start = Instant::now();
        let mut history = History::default();
        history.record(start, [(0, 0); 4]);
        let totals = [(1000, 1000), (1000, 0), (10, 0), (1, 1)];
        let views = history.evaluate_windows(at(start, 10), totals);
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
        let views = history.evaluate_windows(at(start, 30), totals);
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
    fn what_is_older_than_the_window_no_longer_counts() {
        let start = Instant::now();
        let mut history = History::default();
        let mut totals = [(0, 0); 4];
        for seconds in (0..=7200).step_by(5) {
            // All fails in the first minute of the second hour, nothing afterwards.
            if (3600..3660).contains(&seconds) {
                totals[AVAILABILITY].1 += 10;
            }
            totals[AVAILABILITY].0 += 10;
            history.record(at(start, seconds), totals);
        }
        assert!(history.samples.len() <= 724, "{}", history.samples.len());
        let views = history.evaluate_windows(at(start, 7200), totals);
        let [short, long] = &views[AVAILABILITY][..] else {
            panic!("two windows")
        };
        assert_eq!((short.bad_events, short.status), (0, SloStatus::Met));
        assert_eq!(short.events, 600);
        assert_eq!((long.bad_events, long.status), (110, SloStatus::Breached));
        assert_eq!(long.events, 7200);
    }
}
