//! One invocation: run the agent, hand what it wants to the HRM, or record its failure.
//!
//! A worker does not wait for the disk: when the HRM has what the agent wants, the worker is free for the next turn, and the answer goes to
//! the router. What then is left to be done and may block (a failure to be recorded, another attempt, a quarantine) comes back to a worker.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant, SystemTime};

use crossbeam_channel::Sender;

use crate::hrm::{
    Hrm, HrmError, InvocationAction, InvocationCommit, LiveServices, manifest_refusal,
};
use crate::watchdog::{Breach, Capsule, Observation, ResourceUsage, WATCHDOG_ACTOR, Watchdog};
use ark_model::decision::Decision;
use ark_model::ids::{AuditId, Millis, Name};
use ark_model::meters::{Deployment, RouterMeters, Span, SpanId};
use ark_model::signal::Signal;
use ark_runtime::{Agent, Effects, InvocationFailure, InvocationReport, LogLevel};
use ark_store::{
    AgentChange, AuditEntry, AuditKind, CommitError, DeliveryCompletion, DeliveryResult, Store,
    Unit,
};

use super::canary::Canary;
use super::dispatcher::{DeliveryEnd, RouterEvent};
use super::seat::{AgentSlot, AgentSlots};
use super::workers::Work;

/// How often an invocation whose state was changed under it is run anew before it counts as failed.
const CONFLICT_RETRIES: u32 = 3;

pub(super) struct Invoker {
    pub(super) hrm: Hrm,
    pub(super) store: Store,
    pub(super) slots: AgentSlots,
    pub(super) watchdog: Watchdog,
    pub(super) meters: Arc<RouterMeters>,
    pub(super) events: Sender<RouterEvent>,
}

/// An agent's turn: which version handles which signal. It holds on to the version until its outcome is on disk.
struct RunningInvocation {
    job: u64,
    slot_number: usize,
    slot: Arc<AgentSlot>,
    agent: Arc<Agent>,
    /// The trial that it is a part of.
    canary: Option<Arc<Canary>>,
    signal: Arc<Signal>,
    started: Instant,
    /// How often its state was changed under it.
    conflicts: u32,
}

impl RunningInvocation {
    const fn deployment(&self) -> Deployment {
        match self.canary {
            Some(_) => Deployment::Canary,
            None => Deployment::Stable,
        }
    }
}

/// A turn whose guest is done, while the HRM judges and the writer writes what it wants: no thread waits for that.
pub(super) struct CommittingInvocation {
    invocation: RunningInvocation,
    report: InvocationReport,
}

impl CommittingInvocation {
    /// The job's number and the seat's.
    pub(super) const fn job_and_slot(&self) -> (u64, usize) {
        (self.invocation.job, self.invocation.slot_number)
    }
}

/// How a turn ended, for the router and for the watchdog.
struct InvocationEnd {
    finish: DeliveryEnd,
    /// As in [`Observation`].
    success: Option<bool>,
    usage: Option<ResourceUsage>,
    /// The kind of its failure.
    failure: Option<&'static str>,
}

impl InvocationEnd {
    /// Nothing is known to anybody's credit or discredit.
    const fn not_attributed(finish: DeliveryEnd) -> Self {
        Self {
            finish,
            success: None,
            usage: None,
            failure: None,
        }
    }

    fn from_failure(
        finish: DeliveryEnd,
        success: Option<bool>,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> Self {
        Self {
            finish,
            success,
            usage: Some(usage_of(report)),
            failure: Some(failure.kind()),
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
    /// Runs an agent on a signal and hands what it wants to the HRM; the router hears of the outcome. What the host must record instead
    /// is on disk when this returns. `true`: the thread's priority was lowered.
    pub(super) fn run_work(&self, work: Work) -> bool {
        match work {
            Work::Run(job) => {
                let Some(place) = self.slots.get_slot(job.slot) else {
                    return false;
                };
                // The version that serves now ends what it begins, whatever is rolled out meanwhile.
                let canary = place.canary_for(&job.signal);
                let trial = canary.as_ref().map(|canary| Arc::clone(&canary.agent));
                let Some(agent) = trial.or_else(|| place.agent()) else {
                    let finish = DeliveryEnd::Retry(job.signal);
                    let _ = self
                        .events
                        .send(RouterEvent::Finished(job.id, job.slot, finish));
                    return false;
                };
                self.attempt_invocation(RunningInvocation {
                    job: job.id,
                    slot_number: job.slot,
                    slot: place,
                    agent,
                    canary,
                    signal: job.signal,
                    started: job.started,
                    conflicts: 0,
                })
            }
            Work::HandleCommitError(settling, error) => self.handle_commit_error(*settling, error),
            Work::StopFailing(settling, breach) => {
                self.stop_failing(&settling.invocation, &breach);
                self.report_finished(settling.invocation, DeliveryEnd::Completed);
                false
            }
        }
    }

    /// Records that a trial has ended. It has, in this process, even if that cannot be recorded now.
    fn record_canary_end(&self, agent: &Name, canary: &Canary, breach: &Breach) {
        let now = Millis::now();
        tracing::warn!(%agent, number = canary.number, reason = breach.reason, "a canary is withdrawn");
        let body = serde_json::json!({
            "order": "agent.canary",
            "number": canary.number,
            "sha256": canary.agent.digest(),
            "share": null,
            "cause": breach.cause,
            "by": WATCHDOG_ACTOR,
            "reason": breach.reason,
        });
        let unit = Unit {
            audit: vec![AuditEntry {
                kind: AuditKind::Operator,
                id: AuditId::fresh(),
                trace_id: None,
                agent: Some(agent.clone()),
                action_type: Some("agent.canary".to_owned()),
                outcome: None,
                at: now,
                body: body.to_string(),
            }],
            agents: vec![AgentChange::EndTrial {
                agent: agent.clone(),
                number: canary.number,
            }],
            at: now,
            ..Unit::default()
        };
        if let Err(error) = self.store.commit(unit) {
            tracing::error!(%agent, %error, "a canary's end could not be recorded: a restart begins its trial anew");
        }
        self.watchdog
            .alert_canary_withdrawn(agent, canary.number, breach);
    }

    /// Tells the router that a thread whose priority was lowered has ended.
    pub(super) fn report_worker_ended(&self, worker: usize) {
        let _ = self.events.send(RouterEvent::WorkerEnded(worker));
    }

    /// Notes that what a turn wanted is on disk since `at`. The first part: whether a decision led to a message. The second: the turn was
    /// one too many, and its agent is to be stopped before its next.
    pub(super) fn record_committed(
        &self,
        settling: &CommittingInvocation,
        decisions: &[Arc<Decision>],
        at: Instant,
    ) -> (bool, Option<Breach>) {
        let CommittingInvocation {
            invocation: turn,
            report,
        } = settling;
        turn.slot.handled.fetch_add(1, Ordering::Relaxed);
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
            finish: DeliveryEnd::Completed,
            success: Some(true),
            usage: Some(usage_of(report)),
            failure: None,
        };
        let breach = self.record_invocation(turn, &end, at);
        let sends_on = decisions
            .iter()
            .any(|decision| self.hrm.sends_message(decision));
        (sends_on, breach)
    }

    /// Ends a turn whose outcome is known: counts it, lets the watchdog see it, tells the router.
    fn end_invocation(&self, turn: RunningInvocation, end: InvocationEnd) {
        if let Some(breach) = self.record_invocation(&turn, &end, Instant::now()) {
            self.stop_failing(&turn, &breach);
        }
        self.report_finished(turn, end.finish);
    }

    /// Stops what has failed once too often: a trial, or else the agent. Blocks until that is on disk, and before the router is told: it must
    /// be in force when the agent's next turn is looked for.
    fn stop_failing(&self, turn: &RunningInvocation, breach: &Breach) {
        match &turn.canary {
            Some(canary) if turn.slot.end_canary(canary) => {
                self.record_canary_end(&turn.slot.name, canary, breach);
            }
            Some(_) => {}
            None => self
                .watchdog
                .quarantine_agent(&turn.slot.name, breach.clone()),
        }
    }

    fn report_finished(&self, turn: RunningInvocation, finish: DeliveryEnd) {
        let (job, seat) = (turn.job, turn.slot_number);
        // Before the router is told: whoever waits for the version's last invocation may look at once.
        drop(turn);
        let _ = self.events.send(RouterEvent::Finished(job, seat, finish));
    }

    /// Counts a turn and lets the watchdog see it.
    fn record_invocation(
        &self,
        turn: &RunningInvocation,
        end: &InvocationEnd,
        at: Instant,
    ) -> Option<Breach> {
        let elapsed = at.saturating_duration_since(turn.started);
        self.meter_invocation(turn, end, elapsed);
        let seen = Observation {
            success: end.success,
            latency: elapsed,
        };
        if let Some(canary) = &turn.canary {
            return canary.record_outcome(seen, &self.watchdog);
        }
        // A version that no longer serves is not to be held against the one that does.
        if end.success.is_none() || !turn.slot.is_serving(&turn.agent) {
            return None;
        }
        turn.slot
            .failing
            .store(end.success == Some(false), Ordering::Relaxed);
        self.watchdog
            .record_invocation(&turn.agent, seen, end.usage)
    }

    /// Counts an invocation that is settled; one that is tried again counts then.
    fn meter_invocation(&self, turn: &RunningInvocation, end: &InvocationEnd, elapsed: Duration) {
        if !matches!(end.finish, DeliveryEnd::Completed) {
            return;
        }
        let manifest = turn.agent.manifest();
        let meter = self
            .meters
            .agents
            .for_deployment(&manifest.name, turn.deployment());
        self.meters.invocation.record(elapsed);
        meter
            .busy_nanos
            .add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        if let Some(usage) = &end.usage {
            meter.fuel.add(usage.fuel);
            meter.memory_peak.record(usage.memory_peak as u64);
        }
        match end.failure {
            None => meter.succeeded.increment(),
            Some(kind) => meter.record_failure(kind),
        }
        if self.meters.spans.is_enabled() {
            let ended = SystemTime::now();
            let signal = &turn.signal;
            self.meters.spans.record(Span {
                trace_id: signal.trace_id,
                id: SpanId::for_invocation(signal.id, &manifest.name),
                parent: Some(SpanId::for_signal(signal.id)),
                name: "ark.invocation",
                started: ended.checked_sub(elapsed).unwrap_or(ended),
                ended,
                attributes: vec![
                    ("ark.agent", manifest.name.to_string()),
                    ("ark.agent_version", manifest.version.clone()),
                    ("ark.deployment", turn.deployment().as_str().to_owned()),
                    ("ark.topic", signal.topic.clone()),
                ],
                failure: end.failure.map(str::to_owned),
                link: None,
            });
        }
    }

    /// Runs the guest. `true`: the thread's priority was lowered.
    fn attempt_invocation(&self, turn: RunningInvocation) -> bool {
        let limits = turn.agent.limits();
        let deadline = turn.started + limits.deadline;
        let services = LiveServices {
            hrm: self.hrm.clone(),
            store: self.store.clone(),
            manifest: Arc::clone(turn.agent.manifest()),
            trace_id: turn.signal.trace_id,
            causal_depth: turn.signal.causal_depth,
        };
        let mut report = turn
            .agent
            .invoke(&turn.signal, Arc::new(services), deadline);
        let slow = report.slow;
        self.meters.instantiate.record(report.instantiation);
        let guest = report.duration.saturating_sub(report.instantiation);
        self.meters.guest.record(guest);
        log_guest_lines(&turn.agent, &turn.signal, &report);
        let effects = match std::mem::replace(&mut report.result, Ok(Effects::default())) {
            Ok(effects) => effects,
            Err(InvocationFailure::NoRoom(reason)) => {
                tracing::warn!(agent = %turn.agent.manifest().name, trace_id = %turn.signal.trace_id, reason, "no room for an instance; tried again");
                let finish = DeliveryEnd::Retry(Arc::clone(&turn.signal));
                self.end_invocation(turn, InvocationEnd::not_attributed(finish));
                return slow;
            }
            Err(failure) => {
                let success = failure.is_agents_fault().then_some(false);
                self.fail_invocation(turn, &report, &failure, success);
                return slow;
            }
        };
        let count = u32::try_from(effects.actions.len()).unwrap_or(u32::MAX);
        if turn.conflicts == 0 && !turn.slot.take_allowance(count) {
            let failure = InvocationFailure::LimitReached("actions_per_minute");
            self.fail_invocation(turn, &report, &failure, Some(false));
            return slow;
        }
        let manifest = turn.agent.manifest();
        let settlement = InvocationCommit {
            agent: manifest.name.clone(),
            signal: Arc::clone(&turn.signal),
            actions: effects
                .actions
                .into_iter()
                .map(|action| InvocationAction {
                    refusal: manifest_refusal(manifest, &action),
                    action,
                })
                .collect(),
            state: effects.state,
            memories: effects.memories,
            truths: effects.truths,
            deadline,
            deployment: turn.deployment(),
        };
        let settling = Box::new(CommittingInvocation {
            invocation: turn,
            report,
        });
        let events = self.events.clone();
        self.hrm.commit_invocation(
            settlement,
            Box::new(move |result| {
                let _ = events.send(RouterEvent::Answered(settling, result, Instant::now()));
            }),
        );
        slow
    }

    /// Goes on with a turn whose outcome could not be committed. `true`: the thread's priority was lowered.
    fn handle_commit_error(&self, settling: CommittingInvocation, error: HrmError) -> bool {
        let CommittingInvocation {
            invocation: mut turn,
            report,
        } = settling;
        match error {
            HrmError::DeliveryAlreadyCompleted => self.end_invocation(
                turn,
                InvocationEnd::not_attributed(DeliveryEnd::AlreadyCompleted),
            ),
            HrmError::DeadlineExceeded => {
                // The host's own part was too slow: that does not count against the agent.
                let failure = InvocationFailure::DeadlineExceeded(turn.agent.limits().deadline);
                self.fail_invocation(turn, &report, &failure, None);
            }
            HrmError::Conflict(reason) => {
                turn.conflicts += 1;
                if turn.conflicts <= CONFLICT_RETRIES {
                    return self.attempt_invocation(turn);
                }
                let failure = InvocationFailure::Reported(reason);
                self.fail_invocation(turn, &report, &failure, Some(false));
            }
            error => {
                tracing::warn!(agent = %turn.agent.manifest().name, trace_id = %turn.signal.trace_id, signal_id = %turn.signal.id, %error, "not committed; tried again");
                let finish = DeliveryEnd::Retry(Arc::clone(&turn.signal));
                self.end_invocation(turn, InvocationEnd::not_attributed(finish));
            }
        }
        false
    }

    /// Ends a turn that has failed, with its failure on record.
    fn fail_invocation(
        &self,
        turn: RunningInvocation,
        report: &InvocationReport,
        failure: &InvocationFailure,
        success: Option<bool>,
    ) {
        let finish = self.record_failure(&turn.slot, &turn.agent, &turn.signal, report, failure);
        self.end_invocation(
            turn,
            InvocationEnd::from_failure(finish, success, report, failure),
        );
    }

    fn record_failure(
        &self,
        place: &AgentSlot,
        agent: &Agent,
        signal: &Arc<Signal>,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> DeliveryEnd {
        let manifest = agent.manifest();
        let now = Millis::now();
        let backtrace = match failure {
            InvocationFailure::Trap { backtrace, .. } => backtrace.as_str(),
            _ => "",
        };
        let id = AuditId::fresh();
        let capsule = Capsule::from_failure(&id.to_string(), now, agent, signal, report, failure);
        let capsule = self
            .watchdog
            .capsules()
            .write_capsule(capsule)
            .inspect_err(|error| {
                tracing::warn!(agent = %manifest.name, trace_id = %signal.trace_id, %error, "a capsule could not be written");
            });
        let body = serde_json::json!({
            "capsule": capsule.ok(),
            "signal_id": signal.id,
            "topic": signal.topic,
            "component": agent.digest(),
            "kind": failure.kind(),
            "reason": failure.to_string(),
            "backtrace": backtrace,
            "fuel": report.fuel,
            "memory_peak": report.memory_peak,
            "host_calls": report.host_calls,
            "duration_us": u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX),
        });
        tracing::warn!(agent = %manifest.name, trace_id = %signal.trace_id, kind = failure.kind(), reason = %failure, "invocation failed");
        let unit = Unit {
            audit: vec![AuditEntry {
                kind: AuditKind::Failure,
                id,
                trace_id: Some(signal.trace_id),
                agent: Some(manifest.name.clone()),
                action_type: None,
                outcome: None,
                at: now,
                body: body.to_string(),
            }],
            delivery: Some(DeliveryCompletion {
                signal: signal.id,
                agent: manifest.name.clone(),
                result: DeliveryResult::Failed(failure.to_string()),
                at: now,
            }),
            at: now,
            ..Unit::default()
        };
        match self.store.commit(unit) {
            Ok(_) => {
                place.failed.fetch_add(1, Ordering::Relaxed);
                DeliveryEnd::Completed
            }
            Err(CommitError::DeliveryNotPending { .. }) => DeliveryEnd::AlreadyCompleted,
            Err(error) => {
                tracing::error!(agent = %manifest.name, trace_id = %signal.trace_id, %error, "a failure could not be recorded; tried again");
                DeliveryEnd::Retry(Arc::clone(signal))
            }
        }
    }
}

fn log_guest_lines(agent: &Agent, signal: &Signal, report: &InvocationReport) {
    let name: &Name = &agent.manifest().name;
    for line in &report.log {
        // What a guest writes may hold secrets: it goes through the same redaction as what it proposes.
        let text = crate::hrm::redaction::redact_text(&line.text);
        match line.level {
            LogLevel::Debug => {
                tracing::debug!(agent = %name, trace_id = %signal.trace_id, text, "agent");
            }
            LogLevel::Info => {
                tracing::info!(agent = %name, trace_id = %signal.trace_id, text, "agent");
            }
            LogLevel::Warn | LogLevel::Error => {
                tracing::warn!(agent = %name, trace_id = %signal.trace_id, text, "agent");
            }
        }
    }
}
