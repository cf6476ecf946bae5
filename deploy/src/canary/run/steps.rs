//! The steps of a canary: each share is given and measured until it is healthy, then the data is taken over. Meanwhile the run obeys orders.
//!
//! Invariants: a share is in the journal before it is given, and before it what was counted until then, so that every verdict is judged by one step,
//! also one that falls between two runs; the next share is given only after a measurement that is a success, and a last look for orders; a pause, and
//! its end, are in the journal before they hold; an order to abort is obeyed also where the journal takes no entry of it.
//!
//! Must not know: how a measurement is judged, how a way back is made.

use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::canary::analysis::{
    Counts, Figures, Measurement, MeasurementResult, Meter, RecentCounts, StepWatch, Tripwire,
};
use crate::canary::error::CanaryError;
use crate::canary::journal::{CanaryEntry, CanaryStart};
use crate::canary::orders::{CanaryOrder, OrderInbox, OrderNote};
use crate::canary::plan::CanaryPlan;
use crate::canary::report::TakeOver;
use crate::journal::JournalError;
use crate::quarantines::QuarantineMark;

use super::HostCanary;
use super::weights::GivenShare;

/// Why a canary goes back that an operator or a signal ends.
pub(super) const ENDED: &str = "an operator ended it";

/// What a run may end with before its end.
pub(super) enum Stop {
    Back(Tripwire, String),
    Failed(CanaryError),
}

impl<E: Into<CanaryError>> From<E> for Stop {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}

/// The checks of a share: what they read, and what they have seen.
pub(super) struct ShareWatch<'p> {
    pub(super) begin: &'p CanaryStart,
    meter: Meter<'p>,
    since: QuarantineMark,
    step: StepWatch<'p>,
    moved: MoveTimes,
}

/// A check of a share.
pub(super) struct ShareCheck {
    pub(super) measurement: Measurement,
    /// `None`: they could not be read.
    pub(super) figures: Option<Figures>,
    /// Whether that is since the host does not answer.
    pub(super) is_host_away: bool,
}

/// Of the last one or two times so long shares are judged where a step lasts longer.
const LONGEST_SHARES: Duration = Duration::from_hours(1);

/// When the parts of a step that are judged were moved on last.
struct MoveTimes {
    shares: Instant,
    samples: Instant,
}

impl MoveTimes {
    const fn begin(now: Instant) -> Self {
        Self {
            shares: now,
            samples: now,
        }
    }

    /// Leaves out what is long ago. `is_endless`: the time has no end, as in a pause; then the samples are of about the longest time that a step has.
    fn move_on(&mut self, plan: &CanaryPlan, recent: &mut RecentCounts, is_endless: bool) {
        let longest = plan.step.saturating_add(plan.deadline);
        if self.shares.elapsed() >= longest.min(LONGEST_SHARES) {
            recent.move_shares();
            self.shares = Instant::now();
        }
        if is_endless && self.samples.elapsed() >= longest {
            recent.move_samples();
            self.samples = Instant::now();
        }
    }
}

/// How far a step has come.
pub(super) struct StepTimes {
    /// When its time began.
    pub(super) started: Instant,
    /// Whether it ends at the next success, by an operator's word.
    pub(super) promoted: bool,
}

impl<'a> HostCanary<'a> {
    pub(super) fn take_steps(&mut self, stop: &AtomicBool) -> Result<Option<TakeOver>, Stop> {
        let mut given = None;
        // A take-over that has not stopped the host begins anew, with a share that was measured: nobody knows what the front did meanwhile.
        if self.state.was_stopped {
            // A way back that did not come to its end may have given the requests back.
            given = self.weigh_share()?;
        } else {
            let mut counted = self.begin.counts;
            for share in self.begin.plan.shares.clone() {
                if share < self.state.share_pct {
                    continue;
                }
                let is_taken_up = share == self.state.share_pct;
                if is_taken_up {
                    // A share that was given before the process ended is measured again, with what was counted meanwhile.
                    counted = self.state.counted;
                }
                // Only the journal of an earlier version does not have it.
                let first = counted.or_else(|| self.read_counts());
                self.note_share(share, first)?;
                // What was counted before a run took it up says nothing of how it does now.
                let recent = if is_taken_up {
                    self.read_counts()
                } else {
                    first
                };
                self.recent = RecentCounts::begin(recent);
                given = self.give_share()?;
                counted = Some(self.watch_step(given.clone(), stop)?);
            }
        }
        let Some(plan) = self.begin.plan.take_over.clone() else {
            return Ok(None);
        };
        loop {
            let done = self.take_over(&plan, given, stop)?;
            if done.is_some() {
                return Ok(done);
            }
            // An operator keeps the share: it is measured on, and what is decided meanwhile is judged again after.
            given = self.weigh_share()?;
            self.recent = RecentCounts::begin(self.read_counts());
            self.watch_step(given.clone(), stop)?;
        }
    }

    fn read_since(&self) -> QuarantineMark {
        let begun = QuarantineMark::Moment(self.begin.began_at);
        self.begin.quarantines.clone().unwrap_or(begun)
    }

    /// What is counted now; `None`: it cannot be read, or Prometheus has no figures of the front.
    fn read_counts(&self) -> Option<Counts> {
        let plan = &self.begin.plan;
        let meter = Meter::new(self.client, plan).ok()?;
        let figures = meter.read_figures(plan, &self.read_since()).ok()?;
        Some(Counts::from_figures(&figures)).filter(|counts| counts.judged.is_some())
    }

    /// Notes that a share is about to be given, or that it is kept. `counted`: what was counted before it is given first.
    pub(super) fn note_share(
        &mut self,
        share: u32,
        counted: Option<Counts>,
    ) -> Result<(), JournalError> {
        if let Some(counts) = counted {
            self.journal.record_entry(&CanaryEntry::Counted(counts))?;
        }
        self.journal.record_entry(&CanaryEntry::Share(share))?;
        self.state.set_share(share, counted);
        Ok(())
    }

    /// Gives the share that was noted.
    fn give_share(&mut self) -> Result<Option<GivenShare>, CanaryError> {
        let given = self.weigh_share()?;
        let mut reason = format!("{} % of the requests", self.state.share_pct);
        let mut figures = json!({});
        if let Some(GivenShare { weights, left_out }) = &given {
            figures = json!({"weights": weights, "left_out": left_out});
            if !left_out.is_empty() {
                let names: Vec<&str> = left_out.iter().map(String::as_str).collect();
                reason = format!(
                    "{reason} that go to servers which are up; not counted: {}",
                    names.join(", ")
                );
            }
        }
        self.record_step("share", &reason, &figures);
        Ok(given)
    }

    /// Begins to check the share that the front has, of whose time what was counted recently is known. `given`: its weights; `None`: an operator sees to
    /// them.
    pub(super) fn begin_watch<'p>(
        &self,
        begin: &'p CanaryStart,
        given: Option<GivenShare>,
    ) -> Result<ShareWatch<'p>, CanaryError>
    where
        'a: 'p,
    {
        let (plan, before) = (&begin.plan, &begin.weights);
        let since = self.read_since();
        let meter = Meter::new(self.client, plan)?;
        let first = self.state.counted;
        let step = StepWatch {
            limits: &plan.limits,
            baseline: self.begin.baseline,
            front_started: self.begin.front_started,
            last_sessions: self
                .recent
                .find_last()
                .or(first)
                .map_or(0, |counts| counts.server.sessions),
            first,
            recent: self.recent,
            planned: given.map(|given| given.weights),
            before,
            slow: 0,
            idle: 0,
            away: 0,
            hosts: self.hosts.clone(),
            elsewhere: 0,
        };
        Ok(ShareWatch {
            begin,
            meter,
            since,
            step,
            moved: MoveTimes::begin(Instant::now()),
        })
    }

    /// Checks the share once, and tells what it finds. What follows from it is left to the caller.
    pub(super) fn check_share(&mut self, watch: &mut ShareWatch<'_>) -> ShareCheck {
        let plan = &watch.begin.plan;
        let (measurement, figures, is_host_away) =
            match watch.meter.read_figures(plan, &watch.since) {
                Ok(figures) => (watch.step.judge_figures(&figures), Some(figures), false),
                Err(error) => {
                    let is_host_away = self.client.get("/healthz").is_err();
                    let judged = watch.step.judge_error(is_host_away, error.to_string());
                    (judged, None, is_host_away)
                }
            };
        let (share, paused) = (self.state.share_pct, self.state.paused);
        if figures.is_some() {
            watch.moved.move_on(plan, &mut watch.step.recent, paused);
        }
        self.hosts.clone_from(&watch.step.hosts);
        self.recent = watch.step.recent;
        self.tell_check(share, paused, &measurement, figures.as_ref());
        ShareCheck {
            measurement,
            figures,
            is_host_away,
        }
    }

    /// Measures a share until its time is over and the last measurement is a success. `given`: its weights; `None`: an operator sees to them. Returns
    /// what was counted at the last measurement.
    fn watch_step(&mut self, given: Option<GivenShare>, stop: &AtomicBool) -> Result<Counts, Stop> {
        let (begin, share) = (self.begin.clone(), self.state.share_pct);
        let plan = &begin.plan;
        let mut watch = self.begin_watch(&begin, given)?;
        let mut times = StepTimes {
            started: Instant::now(),
            promoted: self.state.promoting == Some(share),
        };
        let inbox = OrderInbox::new(&self.path, &self.begin.id);
        loop {
            let began = times.started;
            let next = Instant::now() + plan.interval;
            let obey = &mut |order| self.obey_order(order, &mut times);
            if inbox.wait_obeying(next, stop, obey) {
                return Err(Stop::Back(Tripwire::Aborted, ENDED.to_owned()));
            }
            if times.started != began {
                watch.step.recent.begin_anew();
                watch.moved = MoveTimes::begin(times.started);
            }
            let ShareCheck {
                measurement,
                figures,
                ..
            } = self.check_share(&mut watch);
            let paused = self.state.paused;
            let over = times.started.elapsed() >= plan.step && !paused;
            let tripwire = match (measurement.result, &figures) {
                (MeasurementResult::Success, Some(last)) if over || times.promoted => {
                    let reason = format!("{share} % is healthy: {}", measurement.reason);
                    self.record_step("healthy", &reason, &json!(figures));
                    // What was asked since the last look is obeyed in this step: the next one may be the take-over.
                    if self.look_at_step_end(&inbox, &mut times, stop)? {
                        continue;
                    }
                    return Ok(Counts::from_figures(last));
                }
                (MeasurementResult::Success, _) => continue,
                (MeasurementResult::Failure(tripwire), _) => {
                    self.record_step("tripwire", &measurement.reason, &json!(figures));
                    return Err(Stop::Back(tripwire, measurement.reason));
                }
                (MeasurementResult::Inconclusive, _) => Tripwire::Inconclusive,
                (MeasurementResult::Error, _) => Tripwire::Error,
            };
            if !paused && times.started.elapsed() >= plan.step + plan.deadline {
                return Err(Stop::Back(tripwire, measurement.reason));
            }
        }
    }

    /// Looks for orders at the end of a step, until none waits. Returns whether an operator keeps its share.
    pub(super) fn look_at_step_end(
        &mut self,
        inbox: &OrderInbox,
        times: &mut StepTimes,
        stop: &AtomicBool,
    ) -> Result<bool, Stop> {
        let mut is_kept = false;
        let obey = &mut |order: CanaryOrder| {
            let noted = self.obey_order(order, times);
            is_kept |= order == CanaryOrder::Pause && noted == OrderNote::Noted;
            noted
        };
        if inbox.obey_waiting(stop, obey) {
            return Err(Stop::Back(Tripwire::Aborted, ENDED.to_owned()));
        }
        Ok(is_kept)
    }

    fn tell_check(
        &mut self,
        share: u32,
        paused: bool,
        measurement: &Measurement,
        figures: Option<&Figures>,
    ) {
        (self.tell)(
            "check",
            json!({"share_pct": share, "paused": paused, "result": measurement.result, "reason": measurement.reason, "figures": figures}),
        );
    }

    /// Obeys an order of an operator within a step, or refuses one that the journal does not take: the canary goes on as it was. That it goes back is
    /// left to the caller.
    pub(super) fn obey_order(&mut self, order: CanaryOrder, times: &mut StepTimes) -> OrderNote {
        if order == CanaryOrder::Abort {
            return self.note_abort();
        }
        match self.note_order(order, times) {
            Ok(()) => OrderNote::Noted,
            Err(unnoted) => self.refuse_order(order, &unnoted),
        }
    }

    /// Says that an order is not obeyed, since the journal took no entry of it.
    pub(super) fn refuse_order(&mut self, order: CanaryOrder, unnoted: &JournalError) -> OrderNote {
        let cause = unnoted.describe_cause();
        let order = order.as_str();
        let reason = format!(
            "`{order}` is not in the journal ({cause}): it is refused, and the canary goes on; make room there, then give the order again"
        );
        (self.tell)("refused", json!({"reason": reason}));
        OrderNote::Refused
    }

    /// Notes an order, and does what it asks for. That the canary goes back is noted by [`Self::note_abort`].
    fn note_order(
        &mut self,
        order: CanaryOrder,
        times: &mut StepTimes,
    ) -> Result<(), JournalError> {
        match order {
            CanaryOrder::Abort => {}
            CanaryOrder::Pause => {
                self.set_paused(true)?;
                times.promoted = false;
                self.record_step("paused", "an operator keeps the share", &Value::Null);
            }
            CanaryOrder::Resume if self.state.paused => {
                self.set_paused(false)?;
                self.record_step("resumed", "an operator ended the pause", &Value::Null);
                times.started = Instant::now();
            }
            CanaryOrder::Resume => {
                let reason = "it was not paused: its step goes on";
                self.record_step("resumed", reason, &Value::Null);
            }
            CanaryOrder::Promote => {
                self.note_promotion()?;
                times.promoted = true;
                let reason = "an operator goes on at the next success";
                self.record_step("promote", reason, &Value::Null);
            }
        }
        Ok(())
    }

    /// Notes that an operator ended the canary, so that it goes back also after a kill. A full disk keeps nobody from a way back: this run goes back all the
    /// same, and acknowledges the order at its end.
    pub(super) fn note_abort(&mut self) -> OrderNote {
        let tripwire = Some(Tripwire::Aborted);
        let entry = CanaryEntry::GoingBack {
            tripwire,
            reason: ENDED.to_owned(),
        };
        let noted = self.journal.record_entry(&entry);
        self.state.going_back = Some(ENDED.to_owned());
        self.state.tripwire = tripwire;
        match noted {
            Ok(()) => OrderNote::Noted,
            Err(unnoted) => {
                self.tell_unnoted(&unnoted);
                OrderNote::Unnoted
            }
        }
    }

    /// Says, now and in the report, that a way back which is made is not in the journal.
    pub(super) fn tell_unnoted(&mut self, unnoted: &JournalError) {
        let cause = unnoted.describe_cause();
        let reason = format!(
            "the way back is not in the journal ({cause}): it is made all the same, and the journal is emptied at its end; make room there. After a kill meanwhile `ark canary abort` goes on with it"
        );
        (self.tell)("unnoted", json!({"reason": reason}));
        self.unnoted = Some(reason);
    }

    /// Notes that an operator has the canary go on from its share, so that it does also after a kill.
    fn note_promotion(&mut self) -> Result<(), JournalError> {
        let share = self.state.share_pct;
        self.journal.record_entry(&CanaryEntry::Promoting(share))?;
        self.state.promoting = Some(share);
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), JournalError> {
        self.journal.record_entry(&CanaryEntry::Paused(paused))?;
        self.state.set_paused(paused);
        Ok(())
    }
}
