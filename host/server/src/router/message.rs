//! The messages between the router's thread and its workers, and the invocations they are about.

use std::sync::Arc;
use std::time::Instant;

use crate::hrm::HrmError;
use crate::quotas::Reservation;
use crate::watchdog::Breach;
use ark_model::decision::Decision;
use ark_model::ids::{Name, SignalId};
use ark_model::meters::Deployment;
use ark_model::signal::Signal;
use ark_runtime::{Agent, InvocationReport};

use super::backlog::MessagePlaces;
use super::canary::Canary;
use super::slot::AgentSlot;

/// What the router's thread is told.
pub(super) enum RouterEvent {
    /// A signal is durable, for the slots with these numbers.
    Accepted(Arc<Signal>, Vec<usize>),
    /// These signals are going to be accepted for this agent once more: its queue forgets that it had them.
    Forget(Name, Vec<SignalId>),
    /// The HRM answered the commit of an invocation at this moment.
    Answered(
        Box<CommittingInvocation>,
        Result<Vec<Arc<Decision>>, HrmError>,
        Instant,
    ),
    /// The job with this number, of the slot with this number, has ended.
    Finished(u64, usize, DeliveryEnd),
    /// The worker with this number has ended its thread, since a slow guest had lowered its priority.
    WorkerEnded(usize),
    /// There may be messages in the outbox.
    Outbox,
    /// An agent may have become able to take signals.
    Wake,
    /// Finish what runs, then end.
    Stop,
}

/// How a job left its delivery.
pub(super) enum DeliveryEnd {
    /// It is completed.
    Completed,
    /// It is completed: a quota of the agent refused the invocation, and the agent pauses.
    Refused,
    /// It was completed before, elsewhere: nothing was done.
    AlreadyCompleted,
    /// It is pending, and nothing of the invocation is durable: the signal is to be tried again.
    Retry(Arc<Signal>),
}

/// What a worker is given to do.
pub(super) enum WorkerTask {
    /// Run an invocation.
    Run(InvocationJob),
    /// Go on with an invocation whose commit failed.
    HandleCommitError(Box<CommittingInvocation>, HrmError),
    /// Stop the agent, or end the canary, of an invocation that failed once too often.
    ActOnBreach(Box<CommittingInvocation>, Breach),
}

/// An invocation to be run.
pub(super) struct InvocationJob {
    /// The number of the invocation.
    pub(super) id: u64,
    /// The number of the agent's slot.
    pub(super) slot: usize,
    pub(super) signal: Arc<Signal>,
}

/// An invocation from its start until its delivery has ended. It holds on to the version of the agent that it began with.
pub(super) struct RunningInvocation {
    /// The number of its job.
    pub(super) job: u64,
    /// The number of the agent's slot.
    pub(super) slot_number: usize,
    pub(super) slot: Arc<AgentSlot>,
    pub(super) agent: Arc<Agent>,
    /// The canary whose version is run. `None`: the serving version is run.
    pub(super) canary: Option<Arc<Canary>>,
    pub(super) signal: Arc<Signal>,
    /// When a worker took it.
    pub(super) started: Instant,
    /// How often its commit collided with another one.
    pub(super) conflicts: u32,
}

impl RunningInvocation {
    pub(super) const fn deployment(&self) -> Deployment {
        match self.canary {
            Some(_) => Deployment::Canary,
            None => Deployment::Stable,
        }
    }
}

/// An invocation whose guest has returned and whose effects are being judged and committed. No thread waits for that.
pub(super) struct CommittingInvocation {
    pub(super) invocation: RunningInvocation,
    pub(super) report: InvocationReport,
    /// What its effects take of the agent's quotas and of the backlog, until they are committed.
    pub(super) reserved: (Reservation, MessagePlaces),
}
