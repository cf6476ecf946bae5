//! Begins and commits a unit of the arbiter.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crate::hrm::error::HrmError;
use crate::hrm::metering::{self, DecisionTimes};
use crate::hrm::request::HrmReply;
use ark_model::decision::Decision;
use ark_model::ids::{Millis, SignalId};
use ark_model::meters::{CountedAnswers, Deployment, HrmMeters};
use ark_store::Unit;

use super::state::Arbiter;

impl Arbiter {
    /// Begins a unit at `now`: it is built on the units before it and contains the reservations that have expired. It may use the database's reserve,
    /// unless its maker says otherwise.
    pub(super) fn begin_unit(&mut self, now: Millis) -> Box<Unit> {
        self.ledger.advance_to(now);
        Box::new(Unit {
            // Most units have one decision. Room that grows by itself is for four at first.
            audit: Vec::with_capacity(1),
            ledger: self.ledger.take_changes(),
            chained: true,
            may_use_reserve: true,
            ..Unit::default()
        })
    }

    /// Gives up a unit that [`Arbiter::begin_unit`] began and that holds nothing else: what time changed is committed with a later one.
    pub(super) fn abandon_unit(&mut self, unit: Box<Unit>) {
        self.ledger.return_changes(unit.ledger);
    }

    /// Submits a unit. Once it is durable, `answer` makes the answer to the request; when it fails, the ledger is loaded again before the next one.
    pub(super) fn submit_unit<T: Send + 'static>(
        &self,
        unit: impl Into<Box<Unit>>,
        reply: HrmReply<T>,
        answer: impl FnOnce() -> T + Send + 'static,
    ) {
        self.submit_metered(unit, reply, move |_| answer());
    }

    /// As [`Arbiter::submit_unit`], with the meters for `answer`.
    fn submit_metered<T: Send + 'static>(
        &self,
        unit: impl Into<Box<Unit>>,
        reply: HrmReply<T>,
        answer: impl FnOnce(&HrmMeters) -> T + Send + 'static,
    ) {
        let feedback = Arc::clone(&self.feedback);
        self.store.submit_blocking(
            unit,
            Box::new(move |result| {
                reply(match result {
                    Ok(_) => Ok(answer(&feedback.meters)),
                    Err(error) => {
                        feedback.is_ledger_stale.store(true, Ordering::Release);
                        let error = HrmError::from(error);
                        if matches!(error, HrmError::NotRecorded(_)) {
                            feedback.meters.not_recorded.increment();
                        }
                        Err(error)
                    }
                });
            }),
        );
    }

    /// Submits a unit with decisions, and records them in the meters once it is durable.
    ///
    /// `accepted` and `judging_started` are the times of the first of them; `cause` is the signal whose invocation proposed them, with the deployment
    /// of the agent.
    pub(super) fn submit_decisions<D, T>(
        &self,
        unit: Box<Unit>,
        decisions: D,
        (accepted, judging_started): (Instant, Instant),
        cause: Option<(SignalId, Deployment)>,
        reply: HrmReply<T>,
        answer: impl FnOnce(D) -> T + Send + 'static,
    ) where
        D: AsRef<[Arc<Decision>]> + Send + 'static,
        T: Send + 'static,
    {
        let times = DecisionTimes {
            accepted,
            judging_started,
            submitted: Instant::now(),
        };
        let announced = self.announcing.load(Ordering::Acquire);
        let counted = CountedAnswers::find(decisions.as_ref());
        self.submit_metered(unit, reply, move |meters| {
            let committed = (decisions.as_ref(), &counted);
            metering::record_committed(meters, committed, times, cause, announced);
            answer(decisions)
        });
    }
}
