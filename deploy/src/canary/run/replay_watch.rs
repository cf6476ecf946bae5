//! The time in which a take-over makes its snapshot and has it judged again, before it stops the host: orders are obeyed and the share is checked, as in a
//! step.
//!
//! Invariants: what sends a canary back in a step does so here, but for a host that has ended, whose data is taken over, and for slow requests, which send
//! it back only where they stay slow for the deadline; no host is stopped after a check that was no success; the requests go back before the work ends that
//! is given up.
//!
//! Must not know: what the work is, how a measurement is judged.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use serde_json::json;

use crate::canary::analysis::{MeasurementResult, Tripwire};
use crate::canary::error::CanaryError;
use crate::canary::journal::CanaryStart;
use crate::canary::orders::{CanaryOrder, OrderInbox, OrderNote, TICK};

use super::HostCanary;
use super::steps::{ENDED, ShareCheck, ShareWatch, StepTimes, Stop};
use super::weights::GivenShare;

/// The checks of a share whose take-over has begun.
pub(super) struct ReplayWatch<'p> {
    share: ShareWatch<'p>,
    /// When the next check is due.
    next: Instant,
    /// Since when no check is a success; `None`: the last one was.
    unclear: Option<Instant>,
    /// Whether a check since then said something of the front, and was no success: one of a host that is away says nothing.
    is_doubtful: bool,
}

impl<'a> HostCanary<'a> {
    /// Begins to watch a share whose last check was a success.
    pub(super) fn begin_replay_watch<'p>(
        &self,
        begin: &'p CanaryStart,
        given: Option<GivenShare>,
    ) -> Result<ReplayWatch<'p>, CanaryError>
    where
        'a: 'p,
    {
        Ok(ReplayWatch {
            share: self.begin_watch(begin, given)?,
            next: Instant::now() + begin.plan.interval,
            unclear: None,
            is_doubtful: false,
        })
    }

    /// Does a part of the take-over, which ends when its flag is set, and watches beside it. `None` for `watch`: the host was stopped, and only `stop`
    /// is looked at. Returns what the work comes to; `None`: an operator keeps the share, and it was given up.
    pub(super) fn do_watched<T: Send>(
        &mut self,
        watch: Option<&mut ReplayWatch<'_>>,
        stop: &AtomicBool,
        work: &(dyn Fn(&AtomicBool) -> T + Sync),
    ) -> Result<Option<T>, Stop> {
        let Some(watch) = watch else {
            return Ok(Some(work(stop)));
        };
        let ends = AtomicBool::new(false);
        std::thread::scope(|scope| {
            let worker = scope.spawn(|| work(&ends));
            let (mut is_kept, mut looked) = (false, Ok(()));
            while !worker.is_finished() && looked.is_ok() {
                match self.look_beside_work(watch, stop) {
                    Ok(found) => is_kept |= found,
                    Err(back) => looked = Err(back),
                }
                if is_kept || looked.is_err() {
                    ends.store(true, Ordering::Relaxed);
                }
                if looked.is_err() {
                    // A snapshot goes on to its end, which may take minutes. The way back sets them once more, and says what is wrong.
                    let _returned = self.return_weights();
                }
            }
            let done = match worker.join() {
                Ok(done) => done,
                Err(panic) => std::panic::resume_unwind(panic),
            };
            looked.map(|()| (!is_kept).then_some(done))
        })
    }

    /// Looks for orders for a moment, and checks the share where that is due. Returns whether an operator keeps the share.
    fn look_beside_work(
        &mut self,
        watch: &mut ReplayWatch<'_>,
        stop: &AtomicBool,
    ) -> Result<bool, Stop> {
        let is_kept = self.obey_until(Instant::now() + TICK, stop)?;
        if Instant::now() >= watch.next {
            self.check_watched(watch)?;
        }
        Ok(is_kept)
    }

    /// Checks the share. What says too little sends the canary back once it has lasted for the deadline of a step.
    fn check_watched(&mut self, watch: &mut ReplayWatch<'_>) -> Result<(), Stop> {
        let ShareCheck {
            measurement,
            figures,
            is_host_away,
        } = self.check_share(&mut watch.share);
        let plan = &watch.share.begin.plan;
        let now = Instant::now();
        watch.next = now + plan.interval;
        let tripwire = match measurement.result {
            MeasurementResult::Success => {
                (watch.unclear, watch.is_doubtful) = (None, false);
                return Ok(());
            }
            // The new version takes the data of a host that has ended as those of one that was stopped; and the replay takes processor time, which may be
            // why requests are slow.
            MeasurementResult::Failure(tripwire @ (Tripwire::HostDown | Tripwire::Latency)) => {
                tripwire
            }
            MeasurementResult::Failure(tripwire) => {
                self.record_step("tripwire", &measurement.reason, &json!(figures));
                return Err(Stop::Back(tripwire, measurement.reason));
            }
            MeasurementResult::Inconclusive => Tripwire::Inconclusive,
            MeasurementResult::Error => Tripwire::Error,
        };
        watch.is_doubtful |= !is_host_away;
        let since = *watch.unclear.get_or_insert(now);
        if !self.state.paused && now.duration_since(since) >= plan.deadline {
            return Err(Stop::Back(tripwire, measurement.reason));
        }
        Ok(())
    }

    /// Waits, where the last check was no success, for one that is, and looks for orders, after which the host is stopped. Returns whether an operator
    /// keeps the share.
    pub(super) fn wait_healthy(
        &mut self,
        watch: &mut ReplayWatch<'_>,
        stop: &AtomicBool,
    ) -> Result<bool, Stop> {
        while watch.is_doubtful {
            if self.obey_until(watch.next, stop)? {
                return Ok(true);
            }
            self.check_watched(watch)?;
        }
        self.look_before_stop(stop)
    }

    /// Looks for orders before the take-over stops the host, after which none is obeyed, until none waits. Returns whether an operator keeps the share,
    /// which then is as before the take-over.
    pub(super) fn look_before_stop(&mut self, stop: &AtomicBool) -> Result<bool, Stop> {
        let inbox = OrderInbox::new(&self.path, &self.begin.id);
        let mut is_kept = false;
        let obey = &mut |order| self.obey_in_take_over(order, &mut is_kept);
        if inbox.obey_waiting(stop, obey) {
            return Err(Stop::Back(Tripwire::Aborted, ENDED.to_owned()));
        }
        Ok(is_kept)
    }

    /// Obeys orders until a moment. Returns likewise.
    fn obey_until(&mut self, ends: Instant, stop: &AtomicBool) -> Result<bool, Stop> {
        let inbox = OrderInbox::new(&self.path, &self.begin.id);
        let mut is_kept = false;
        let obey = &mut |order| self.obey_in_take_over(order, &mut is_kept);
        if inbox.wait_obeying(ends, stop, obey) {
            return Err(Stop::Back(Tripwire::Aborted, ENDED.to_owned()));
        }
        Ok(is_kept)
    }

    /// Obeys an order as within a step. A pause gives the take-over up.
    fn obey_in_take_over(&mut self, order: CanaryOrder, is_kept: &mut bool) -> OrderNote {
        if order == CanaryOrder::Pause
            // Before the pause, which a share would end.
            && let Err(unnoted) = self.note_share(self.state.share_pct, self.state.counted)
        {
            return self.refuse_order(order, &unnoted);
        }
        let mut times = StepTimes {
            started: Instant::now(),
            promoted: false,
        };
        let noted = self.obey_order(order, &mut times);
        *is_kept |= order == CanaryOrder::Pause && noted == OrderNote::Noted;
        noted
    }
}
