//! The steps of a canary: each share is given and measured until it is healthy, then the data is taken over. Meanwhile the run obeys orders.
//!
//! Invariants: a share is in the journal before it is given; the next one is given only after a measurement that is a success; a pause, and its
//! end, are in the journal before they hold; an order to abort is obeyed also where the journal takes no entry of it.
//!
//! Must not know: how a measurement is judged, how a way back is made.

use std::sync::atomic::AtomicBool;
use std::time::Instant;

use serde_json::{Value, json};

use crate::canary::analysis::{
    Figures, Measurement, MeasurementResult, Meter, StepWatch, Tripwire,
};
use crate::canary::error::CanaryError;
use crate::canary::journal::CanaryEntry;
use crate::canary::orders::{CanaryOrder, OrderInbox, OrderNote};
use crate::canary::report::TakeOver;
use crate::journal::JournalError;
use crate::quarantines::QuarantineMark;

use super::HostCanary;

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

/// How far a step has come.
pub(super) struct StepTimes {
    /// When its time began.
    pub(super) started: Instant,
    /// Whether it ends at the next success, by an operator's word.
    pub(super) promoted: bool,
}

impl HostCanary<'_> {
    pub(super) fn take_steps(&mut self, stop: &AtomicBool) -> Result<Option<TakeOver>, Stop> {
        if self.state.take_over.is_none() {
            for share in self.begin.plan.shares.clone() {
                // A share that was given before the process ended is measured again.
                if share >= self.state.share_pct {
                    self.give_share(share)?;
                    self.watch_step(share, stop)?;
                }
            }
        } else {
            // A way back that did not come to its end may have given the requests back.
            self.weigh_share()?;
        }
        let Some(plan) = self.begin.plan.take_over.clone() else {
            return Ok(None);
        };
        self.take_over(&plan, stop).map(Some).map_err(Stop::from)
    }

    fn give_share(&mut self, share: u32) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::Share(share))?;
        self.state.set_share(share);
        let weights = self.weigh_share()?;
        let reason = format!("{share} % of the requests");
        self.record_step("share", &reason, &json!({"weights": weights}));
        Ok(())
    }

    /// Measures a share until its time is over and the last measurement is a success.
    fn watch_step(&mut self, share: u32, stop: &AtomicBool) -> Result<(), Stop> {
        let (client, plan) = (self.client, self.begin.plan.clone());
        let begun = QuarantineMark::Moment(self.begin.began_at);
        let since = &self.begin.quarantines.clone().unwrap_or(begun);
        let meter = Meter::new(client, &plan)?;
        let first = meter.read_figures(&plan, since).ok();
        let mut step = StepWatch {
            limits: &plan.limits,
            baseline: self.begin.baseline,
            front_started: self.begin.front_started,
            last_sessions: first.as_ref().map_or(0, |first| first.server.sessions),
            first,
            slow: 0,
            idle: 0,
            away: 0,
            hosts: std::mem::take(&mut self.hosts),
            elsewhere: 0,
        };
        let mut times = StepTimes {
            started: Instant::now(),
            promoted: self.state.promoting == Some(share),
        };
        let inbox = OrderInbox::new(&self.path, &self.begin.id);
        loop {
            let next = Instant::now() + plan.interval;
            let obey = &mut |order| self.obey_order(order, &mut times);
            if inbox.wait_obeying::<CanaryError>(next, stop, obey)? {
                return Err(Stop::Back(Tripwire::Aborted, ENDED.to_owned()));
            }
            let (measurement, figures) = match meter.read_figures(&plan, since) {
                Ok(figures) => (step.judge_figures(&figures), Some(figures)),
                Err(error) => {
                    let is_host_away = client.get("/healthz").is_err();
                    (step.judge_error(is_host_away, error.to_string()), None)
                }
            };
            let paused = self.state.paused;
            self.tell_check(share, paused, &measurement, figures.as_ref());
            let over = times.started.elapsed() >= plan.step && !paused;
            let tripwire = match measurement.result {
                MeasurementResult::Success if over || times.promoted => {
                    let reason = format!("{share} % is healthy: {}", measurement.reason);
                    self.hosts = step.hosts;
                    self.record_step("healthy", &reason, &json!(figures));
                    return Ok(());
                }
                MeasurementResult::Success => continue,
                MeasurementResult::Failure(tripwire) => {
                    self.record_step("tripwire", &measurement.reason, &json!(figures));
                    return Err(Stop::Back(tripwire, measurement.reason));
                }
                MeasurementResult::Inconclusive => Tripwire::Inconclusive,
                MeasurementResult::Error => Tripwire::Error,
            };
            if !paused && times.started.elapsed() >= plan.step + plan.deadline {
                return Err(Stop::Back(tripwire, measurement.reason));
            }
        }
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

    /// Obeys an order of an operator within a step. That the canary goes back is left to the caller.
    pub(super) fn obey_order(
        &mut self,
        order: CanaryOrder,
        times: &mut StepTimes,
    ) -> Result<OrderNote, CanaryError> {
        match order {
            CanaryOrder::Abort => return Ok(self.note_abort()),
            CanaryOrder::Pause => {
                self.set_paused(true)?;
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
        Ok(OrderNote::Noted)
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

    /// Says, now and in the report, that a way back which an operator ordered is not in the journal.
    pub(super) fn tell_unnoted(&mut self, unnoted: &JournalError) {
        let cause = unnoted.describe_cause();
        let reason = format!(
            "the way back is not in the journal ({cause}): it is made all the same, and the journal is emptied at its end; make room there. After a kill meanwhile `ark canary abort` goes on with it"
        );
        (self.tell)("unnoted", json!({"reason": reason}));
        self.unnoted = Some(reason);
    }

    /// Notes that an operator has the canary go on from its share, so that it does also after a kill.
    fn note_promotion(&mut self) -> Result<(), CanaryError> {
        let share = self.state.share_pct;
        self.journal.record_entry(&CanaryEntry::Promoting(share))?;
        self.state.promoting = Some(share);
        Ok(())
    }

    fn set_paused(&mut self, paused: bool) -> Result<(), CanaryError> {
        self.journal.record_entry(&CanaryEntry::Paused(paused))?;
        self.state.paused = paused;
        Ok(())
    }
}
