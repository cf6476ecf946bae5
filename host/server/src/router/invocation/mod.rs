//! One invocation: it runs the agent, hands its effects to the HRM, or records its failure.
//!
//! A worker does not wait for the commit of the effects. When the HRM has them, the worker is free for other work, and the HRM's answer goes to the router's thread.
//! What then remains to be done and may block (recording a failure, another attempt, a quarantine) comes back to a worker.

mod ending;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::hrm::guards::Guards;
use crate::hrm::redaction::redact_text;
use crate::hrm::{
    Hrm, HrmError, InvocationAction, InvocationCommit, LiveServices, ServiceHandles,
    manifest_refusal,
};
use crate::quotas::{Demand, QuotaExceeded, QuotaKeeper, Reservation};
use crate::watchdog::{Breach, ResourceUsage, Watchdog};
use ark_model::action::Parameters;
use ark_model::decision::Decision;
use ark_model::meters::RouterMeters;
use ark_model::signal::Signal;
use ark_model::usage::QuotaHolder;
use ark_runtime::{Agent, Effects, InvocationFailure, InvocationReport, LogLevel, LogLine};
use ark_store::Store;

use super::backlog::{Backlog, MessagePlaces};
use super::delivery::count_receivers;
use super::message::{
    CommittingInvocation, DeliveryEnd, InvocationJob, RouterEvent, RunningInvocation, WorkerTask,
};
use super::slot::AgentSlots;

/// How often an invocation whose commit collided with another one is run again before it fails.
const CONFLICT_RETRIES: u32 = 3;

/// Runs invocations. Shared by all workers.
pub(super) struct Invoker {
    pub(super) hrm: Hrm,
    pub(super) store: Store,
    /// What answers the host calls of guests.
    pub(super) services: Arc<ServiceHandles>,
    pub(super) slots: AgentSlots,
    pub(super) guards: Arc<Guards>,
    pub(super) watchdog: Watchdog,
    pub(super) quotas: QuotaKeeper,
    pub(super) backlog: Backlog,
    pub(super) meters: Arc<RouterMeters>,
    pub(super) events: Sender<RouterEvent>,
}

/// How an invocation ended, for the router and for the watchdog.
struct InvocationEnd {
    delivery: DeliveryEnd,
    /// As in [`crate::watchdog::Observation`]: `None` when the outcome is not the agent's doing.
    success: Option<bool>,
    usage: Option<ResourceUsage>,
    /// The kind of the failure.
    failure: Option<&'static str>,
    /// Whether it counts as refused by a quota.
    quota_refused: bool,
}

impl InvocationEnd {
    /// An end that counts neither for nor against the agent.
    const fn not_attributed(delivery: DeliveryEnd) -> Self {
        Self {
            delivery,
            success: None,
            usage: None,
            failure: None,
            quota_refused: false,
        }
    }
}

const fn usage_of(report: &InvocationReport) -> ResourceUsage {
    ResourceUsage {
        fuel: report.fuel,
        memory_peak: report.memory_peak,
    }
}

impl Invoker {
    /// Does the work of a worker. What the host must record in addition to the effects of an invocation is durable when this returns.
    ///
    /// Returns whether the thread's priority was lowered: it must not run another guest then.
    pub(super) fn run_work(&self, work: WorkerTask) -> bool {
        match work {
            WorkerTask::Run(job) => self.run_job(job),
            WorkerTask::HandleCommitError(committing, error) => {
                self.handle_commit_error(*committing, error)
            }
            WorkerTask::ActOnBreach(committing, breach) => {
                self.act_on_breach(&committing.invocation, &breach);
                self.report_finished(committing.invocation, DeliveryEnd::Completed);
                false
            }
        }
    }

    /// Runs a signal on the version that serves now, or on the canary. The invocation ends on this version, whatever is installed meanwhile. The signal of an agent
    /// that was put in quarantine while the job waited for a thread goes back to its queue.
    fn run_job(&self, job: InvocationJob) -> bool {
        let Some(slot) = self.slots.get_slot(job.slot) else {
            return false;
        };
        let canary = slot.canary_for(&job.signal);
        let agent = match &canary {
            Some(canary) => Some(Arc::clone(&canary.agent)),
            None => slot.agent(),
        };
        let is_quarantined = self.guards.is_quarantined(&slot.name);
        let Some(agent) = agent.filter(|_| !is_quarantined) else {
            let retry = DeliveryEnd::Retry(job.signal);
            let _ = self
                .events
                .send(RouterEvent::Finished(job.id, job.slot, retry));
            return false;
        };
        self.attempt_invocation(RunningInvocation {
            job: job.id,
            slot_number: job.slot,
            slot,
            agent,
            canary,
            signal: job.signal,
            started: Instant::now(),
            conflicts: 0,
        })
    }

    /// Runs the guest and hands its effects to the HRM. Returns whether the thread's priority was lowered.
    fn attempt_invocation(&self, invocation: RunningInvocation) -> bool {
        let deadline = invocation.started + invocation.agent.limits().deadline;
        let services = LiveServices {
            handles: Arc::clone(&self.services),
            manifest: Arc::clone(invocation.agent.manifest()),
            trace_id: invocation.signal.trace_id,
            causal_depth: invocation.signal.causal_depth,
        };
        let mut report = invocation
            .agent
            .invoke(&invocation.signal, Arc::new(services), deadline);
        let slow = report.slow;
        self.meters.instantiate.record(report.instantiation);
        let guest = report.duration.saturating_sub(report.instantiation);
        self.meters.guest.record(guest);
        let log_quota = self.write_guest_log(&invocation, &report);
        let effects = match std::mem::replace(&mut report.result, Ok(Effects::default())) {
            Ok(effects) => effects,
            Err(InvocationFailure::NoRoom(reason)) => {
                tracing::warn!(agent = %invocation.slot.name, trace_id = %invocation.signal.trace_id, reason, "there is no room for an instance; tried again");
                let retry = DeliveryEnd::Retry(Arc::clone(&invocation.signal));
                self.end_invocation(invocation, InvocationEnd::not_attributed(retry));
                return slow;
            }
            Err(failure) => {
                let success = failure.is_agents_fault().then_some(false);
                self.fail_invocation(invocation, &report, &failure, success);
                return slow;
            }
        };
        if let Err(exceeded) = log_quota {
            self.refuse_invocation(invocation, &report, &exceeded);
            return slow;
        }
        let count = u32::try_from(effects.actions.len()).unwrap_or(u32::MAX);
        // A repetition after a conflict proposes the same actions, which were counted before.
        if invocation.conflicts == 0 && !invocation.slot.take_allowance(count) {
            let failure = InvocationFailure::LimitReached("actions_per_minute");
            self.fail_invocation(invocation, &report, &failure, Some(false));
            return slow;
        }
        let Some((invocation, reserved)) = self.reserve_effects(invocation, &report, &effects)
        else {
            return slow;
        };
        let commit = commit_of(&invocation, effects, deadline);
        let committing = Box::new(CommittingInvocation {
            invocation,
            report,
            reserved,
        });
        let events = self.events.clone();
        self.hrm.commit_invocation(
            commit,
            Box::new(move |result| {
                let answered = RouterEvent::Answered(committing, result, Instant::now());
                let _ = events.send(answered);
            }),
        );
        slow
    }

    /// Takes what the effects of an invocation need of its agent's quotas and of the backlog. Without it the invocation is refused as a whole, which
    /// ends it: then this returns `None`.
    fn reserve_effects(
        &self,
        invocation: RunningInvocation,
        report: &InvocationReport,
        effects: &Effects,
    ) -> Option<(RunningInvocation, (Reservation, MessagePlaces))> {
        let manifest = invocation.agent.manifest();
        let holder = QuotaHolder::Agent(manifest.name.clone());
        let demand = Demand::of_effects(effects);
        match self.quotas.reserve(holder, demand, &manifest.quotas) {
            Ok(reservation) => {
                let deliveries = self.count_deliveries(effects);
                if let Some(places) = self.backlog.reserve_messages(deliveries) {
                    return Some((invocation, (reservation, places)));
                }
                drop(reservation);
                self.refuse_messages(invocation, report, deliveries);
            }
            Err(exceeded) => self.refuse_invocation(invocation, report, &exceeded),
        }
        None
    }

    /// Returns how many deliveries the messages among the actions would become; a message without a receiver waits in the outbox as one.
    fn count_deliveries(&self, effects: &Effects) -> usize {
        let slots = self.slots.load_all();
        let messages = effects.actions.iter().filter_map(|action| {
            let Parameters::Message(message) = &action.parameters else {
                return None;
            };
            let topic = message.topic.as_deref().unwrap_or(&action.action_type);
            let to = message.to.as_deref().and_then(|name| name.parse().ok());
            Some(count_receivers(&slots, topic, to.as_ref()).max(1))
        });
        messages.sum()
    }

    /// Ends an invocation that one of its agent's quotas refuses, and warns.
    fn refuse_invocation(
        &self,
        invocation: RunningInvocation,
        report: &InvocationReport,
        exceeded: &QuotaExceeded,
    ) {
        let asked = exceeded.used.saturating_add(exceeded.asked);
        self.watchdog
            .warn_about_quota(&invocation.slot.name, exceeded.kind, asked, exceeded.limit);
        let failure = InvocationFailure::QuotaExceeded(exceeded.to_string());
        self.fail_refused(invocation, report, &failure, true);
    }

    /// Ends an invocation whose messages have no room in the backlog. It counts as refused by a quota if half of the backlog is the agent's own, and
    /// is not its fault otherwise.
    fn refuse_messages(
        &self,
        invocation: RunningInvocation,
        report: &InvocationReport,
        deliveries: usize,
    ) {
        let limit = self.backlog.limit();
        let is_own = invocation.slot.waiting_deliveries() >= limit / 2;
        let failure = InvocationFailure::BacklogFull(format!(
            "it sends messages that become {deliveries} deliveries, and capacity.backlog allows {limit} to wait; send less, or have an operator raise it"
        ));
        self.fail_refused(invocation, report, &failure, is_own);
    }

    fn fail_refused(
        &self,
        invocation: RunningInvocation,
        report: &InvocationReport,
        failure: &InvocationFailure,
        quota_refused: bool,
    ) {
        let delivery = match self.record_failure(&invocation, report, failure) {
            DeliveryEnd::Completed if quota_refused => DeliveryEnd::Refused,
            delivery => delivery,
        };
        let end = InvocationEnd {
            delivery,
            success: None,
            usage: Some(usage_of(report)),
            failure: Some(failure.kind()),
            quota_refused,
        };
        self.end_invocation(invocation, end);
    }

    /// Writes what a guest logged to the host's log. It may contain secrets, so it is redacted like what the guest proposes.
    ///
    /// # Errors
    /// The lines pass the agent's quota; none of them is written.
    fn write_guest_log(
        &self,
        invocation: &RunningInvocation,
        report: &InvocationReport,
    ) -> Result<(), QuotaExceeded> {
        let manifest = invocation.agent.manifest();
        self.quotas
            .count_log(&manifest.name, &report.log, &manifest.quotas)
            .inspect_err(|error| {
                let lines = report.log.len();
                tracing::warn!(agent = %manifest.name, lines, %error, "log lines of an agent are dropped");
            })?;
        log_guest_lines(&invocation.agent, &invocation.signal, report);
        Ok(())
    }

    /// Goes on with an invocation whose commit failed. Returns whether the thread's priority was lowered.
    fn handle_commit_error(&self, committing: CommittingInvocation, error: HrmError) -> bool {
        let CommittingInvocation {
            mut invocation,
            report,
            reserved,
        } = committing;
        // Nothing of it is committed.
        drop(reserved);
        match error {
            HrmError::DeliveryAlreadyCompleted => {
                let end = InvocationEnd::not_attributed(DeliveryEnd::AlreadyCompleted);
                self.end_invocation(invocation, end);
            }
            HrmError::DeadlineExceeded => {
                // The guest returned in time and the host was too slow, which is not the agent's fault.
                let deadline = invocation.agent.limits().deadline;
                let failure = InvocationFailure::DeadlineExceeded(deadline);
                self.fail_invocation(invocation, &report, &failure, None);
            }
            HrmError::Conflict(conflict) => {
                invocation.conflicts += 1;
                if invocation.conflicts <= CONFLICT_RETRIES {
                    return self.attempt_invocation(invocation);
                }
                let failure = InvocationFailure::from_report(&conflict.to_string());
                self.fail_invocation(invocation, &report, &failure, Some(false));
            }
            error => {
                tracing::warn!(agent = %invocation.slot.name, trace_id = %invocation.signal.trace_id, signal_id = %invocation.signal.id, %error, "an invocation could not be committed; tried again");
                let retry = DeliveryEnd::Retry(Arc::clone(&invocation.signal));
                self.end_invocation(invocation, InvocationEnd::not_attributed(retry));
            }
        }
        false
    }

    /// Records an invocation whose effects are durable since `at`. Returns the breach that it completes: the agent is then to be stopped before its next
    /// invocation.
    pub(super) fn record_committed(
        &self,
        committing: &CommittingInvocation,
        decisions: &[Arc<Decision>],
        at: Instant,
    ) -> Option<Breach> {
        let CommittingInvocation {
            invocation, report, ..
        } = committing;
        self.warn_about_quotas(&invocation.agent);
        invocation.slot.handled.fetch_add(1, Ordering::Relaxed);
        for decision in decisions {
            tracing::debug!(
                agent = %decision.agent,
                action_type = decision.action.action_type,
                outcome = decision.outcome.as_str(),
                decision_id = %decision.id,
                trace_id = %decision.trace_id,
                "decided"
            );
        }
        let end = InvocationEnd {
            delivery: DeliveryEnd::Completed,
            success: Some(true),
            usage: Some(usage_of(report)),
            failure: None,
            quota_refused: false,
        };
        self.record_invocation(invocation, &end, at)
    }

    /// Tells the watchdog how much of its quotas an agent uses.
    fn warn_about_quotas(&self, agent: &Agent) {
        let manifest = agent.manifest();
        let holder = QuotaHolder::Agent(manifest.name.clone());
        for quota in self.quotas.list_uses(&holder, &manifest.quotas) {
            self.watchdog
                .warn_about_quota(&manifest.name, quota.kind, quota.used, quota.limit);
        }
    }

    /// Returns whether one of these decisions put a message into the outbox.
    pub(super) fn sends_message(&self, decisions: &[Arc<Decision>]) -> bool {
        decisions
            .iter()
            .any(|decision| self.hrm.sends_message(decision))
    }

    /// Tells the router that a worker has ended its thread, whose priority was lowered.
    pub(super) fn report_worker_ended(&self, worker: usize) {
        let _ = self.events.send(RouterEvent::WorkerEnded(worker));
    }
}

/// The effects of an invocation as the HRM commits them. Actions that the manifest does not grant are refused.
fn commit_of(
    invocation: &RunningInvocation,
    effects: Effects,
    deadline: Instant,
) -> InvocationCommit {
    let manifest = invocation.agent.manifest();
    let actions = effects.actions.into_iter().map(|action| InvocationAction {
        refusal: manifest_refusal(manifest, &action),
        action,
    });
    InvocationCommit {
        agent: manifest.name.clone(),
        signal: Arc::clone(&invocation.signal),
        actions: actions.collect(),
        state: effects.state,
        memories: effects.memories,
        truths: effects.truths,
        deadline,
        deployment: invocation.deployment(),
    }
}

fn log_guest_lines(agent: &Agent, signal: &Signal, report: &InvocationReport) {
    let (agent, trace_id) = (&agent.manifest().name, signal.trace_id);
    // A Rust panic ends with how its backtrace is had, which no guest can do: its environment is empty.
    let shown = |line: &&LogLine| !line.text.starts_with("note: run with `RUST_BACKTRACE");
    for line in report.log.iter().filter(shown) {
        let text = redact_text(&line.text);
        match line.level {
            LogLevel::Debug => tracing::debug!(%agent, %trace_id, text, "agent"),
            LogLevel::Info => tracing::info!(%agent, %trace_id, text, "agent"),
            LogLevel::Warn | LogLevel::Error => tracing::warn!(%agent, %trace_id, text, "agent"),
        }
    }
}
