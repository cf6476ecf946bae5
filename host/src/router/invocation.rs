//! One invocation: run the agent, hand what it wants to the HRM, or record its failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::SystemTime;

use crossbeam_channel::Sender;

use crate::hrm::{Hrm, HrmError, InvocationAction, LiveServices, Settlement, refusal};
use crate::meters::{Deployment, RouterMeters, Span, SpanId};
use crate::model::ids::{DecisionId, Millis, Name};
use crate::model::signal::Signal;
use crate::runtime::{Agent, Effects, InvocationFailure, InvocationReport, LogLevel};
use crate::store::{
    AgentChange, AuditEntry, AuditKind, CommitError, DeliveryDone, DeliveryResult, Store, Unit,
};
use crate::watchdog::{Breach, Capsule, Observation, Usage, WATCHDOG, Watchdog};

use super::canary::Canary;
use super::dispatcher::{Event, Finish};
use super::seat::{Seat, Seats};
use super::workers::Job;

/// How often an invocation whose state was changed under it is run anew before it counts as failed.
const CONFLICT_RETRIES: u32 = 3;

pub(super) struct Invoker {
    pub(super) hrm: Hrm,
    pub(super) store: Store,
    pub(super) seats: Seats,
    pub(super) watchdog: Watchdog,
    pub(super) meters: Arc<RouterMeters>,
    pub(super) events: Sender<Event>,
}

/// How an invocation ended, for the router and for the watchdog.
struct End {
    finish: Finish,
    /// As in [`Observation`].
    success: Option<bool>,
    usage: Option<Usage>,
    slow: bool,
    /// The kind of its failure.
    failure: Option<&'static str>,
}

impl Invoker {
    /// Runs an agent on a signal; blocks until the outcome is durable, then tells the router. `true`: the thread's priority was lowered.
    pub(super) fn run(&self, job: &Job) -> bool {
        let Some(place) = self.seats.get(job.seat) else {
            return false;
        };
        // The version that serves now ends what it begins, whatever is rolled out meanwhile.
        let canary = place.canary_for(&job.signal);
        let trial = canary.as_ref().map(|canary| Arc::clone(&canary.agent));
        let Some(agent) = trial.or_else(|| place.agent()) else {
            let finish = Finish::Retry(Arc::clone(&job.signal));
            let _ = self.events.send(Event::Finished(job.id, job.seat, finish));
            return false;
        };
        let deployment = match canary {
            Some(_) => Deployment::Canary,
            None => Deployment::Stable,
        };
        let end = self.attempt(&place, &agent, deployment, job);
        self.meter(&agent, deployment, job, &end);
        let seen = Observation {
            success: end.success,
            latency: job.started.elapsed(),
        };
        if let Some(canary) = &canary {
            if let Some(breach) = canary.note(seen, &self.watchdog)
                && place.end_trial(canary)
            {
                self.record_end(&place.name, canary, &breach);
            }
        } else if end.success.is_some() && place.serves(&agent) {
            // A version that no longer serves is not to be held against the one that does.
            place
                .failing
                .store(end.success == Some(false), Ordering::Relaxed);
            // Before the router is told: a quarantine must be in force when it looks for the agent's next turn.
            self.watchdog.observe(&agent, seen, end.usage);
        }
        // Before the router is told: whoever waits for the version's last invocation may look at once.
        drop(agent);
        drop(canary);
        let _ = self
            .events
            .send(Event::Finished(job.id, job.seat, end.finish));
        end.slow
    }

    /// Counts an invocation that is settled; one that is tried again counts then.
    fn meter(&self, agent: &Agent, deployment: Deployment, job: &Job, end: &End) {
        if !matches!(end.finish, Finish::Settled) {
            return;
        }
        let name = &agent.manifest().name;
        let meter = self.meters.agents.deployed(name, deployment);
        let elapsed = job.started.elapsed();
        self.meters.invocation.record(elapsed);
        meter
            .busy_nanos
            .add(u64::try_from(elapsed.as_nanos()).unwrap_or(u64::MAX));
        if let Some(usage) = &end.usage {
            meter.fuel.add(usage.fuel);
            meter.memory_peak.note(usage.memory_peak as u64);
        }
        match end.failure {
            None => meter.succeeded.one(),
            Some(kind) => meter.failed_by(kind),
        }
        if self.meters.spans.wanted() {
            let ended = SystemTime::now();
            let id = SpanId::of_invocation(job.signal.id, name);
            self.meters.spans.record(Span {
                trace_id: job.signal.trace_id,
                id,
                parent: Some(SpanId::of_signal(job.signal.id)),
                name: "ark.invocation",
                started: ended.checked_sub(elapsed).unwrap_or(ended),
                ended,
                attributes: vec![
                    ("ark.agent", name.to_string()),
                    ("ark.agent_version", agent.manifest().version.clone()),
                    ("ark.deployment", deployment.as_str().to_owned()),
                    ("ark.topic", job.signal.topic.clone()),
                ],
                failure: end.failure.map(str::to_owned),
                link: None,
            });
        }
    }

    /// Records that a trial has ended. It has, in this process, even if that cannot be recorded now.
    fn record_end(&self, agent: &Name, canary: &Canary, breach: &Breach) {
        let now = Millis::now();
        tracing::warn!(%agent, number = canary.number, reason = breach.reason, "a canary is withdrawn");
        let body = serde_json::json!({
            "order": "agent.canary",
            "number": canary.number,
            "sha256": canary.agent.digest(),
            "share": null,
            "cause": breach.cause,
            "by": WATCHDOG,
            "reason": breach.reason,
        });
        let unit = Unit {
            audit: vec![AuditEntry {
                kind: AuditKind::Operator,
                id: DecisionId::fresh().to_string(),
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
        self.watchdog.alert_withdrawn(agent, canary.number, breach);
    }

    /// Tells the router that a thread whose priority was lowered has ended.
    pub(super) fn slowed(&self, worker: usize) {
        let _ = self.events.send(Event::Slowed(worker));
    }

    fn attempt(&self, place: &Seat, agent: &Arc<Agent>, deployment: Deployment, job: &Job) -> End {
        let signal = &job.signal;
        let limits = agent.limits();
        let deadline = job.started + limits.deadline;
        let mut conflicts = 0;
        let mut slow = false;
        let end = |finish, success, usage, slow| End {
            finish,
            success,
            usage,
            slow,
            failure: None,
        };
        let failed = |finish, success, usage, slow, failure: &InvocationFailure| End {
            finish,
            success,
            usage,
            slow,
            failure: Some(failure.kind()),
        };
        loop {
            let services = LiveServices {
                hrm: self.hrm.clone(),
                store: self.store.clone(),
                manifest: Arc::clone(agent.manifest()),
                trace_id: signal.trace_id,
                causal_depth: signal.causal_depth,
            };
            let mut report = agent.invoke(signal, Arc::new(services), deadline);
            slow |= report.slow;
            self.meters.instantiate.record(report.instantiation);
            let guest = report.duration.saturating_sub(report.instantiation);
            self.meters.guest.record(guest);
            log(agent, signal, &report);
            let usage = Some(Usage {
                fuel: report.fuel,
                memory_peak: report.memory_peak,
            });
            let effects = match std::mem::replace(&mut report.result, Ok(Effects::default())) {
                Ok(effects) => effects,
                Err(InvocationFailure::NoRoom(reason)) => {
                    tracing::warn!(agent = %agent.manifest().name, trace_id = %signal.trace_id, reason, "no room for an instance; tried again");
                    return end(Finish::Retry(Arc::clone(signal)), None, None, slow);
                }
                Err(failure) => {
                    let finish = self.record_failure(place, agent, signal, &report, &failure);
                    let success = failure.is_the_agents().then_some(false);
                    return failed(finish, success, usage, slow, &failure);
                }
            };
            let count = u32::try_from(effects.actions.len()).unwrap_or(u32::MAX);
            if conflicts == 0 && !place.allow(count) {
                let failure = InvocationFailure::LimitReached("actions_per_minute");
                let finish = self.record_failure(place, agent, signal, &report, &failure);
                return failed(finish, Some(false), usage, slow, &failure);
            }
            let settlement = Settlement {
                agent: agent.manifest().name.clone(),
                signal: Signal::clone(signal),
                actions: effects
                    .actions
                    .into_iter()
                    .map(|action| InvocationAction {
                        refusal: refusal(agent.manifest(), &action),
                        action,
                    })
                    .collect(),
                state: effects.state,
                memories: effects.memories,
                truths: effects.truths,
                deadline,
                deployment,
            };
            let (reply, answer) = crossbeam_channel::bounded(1);
            self.hrm.settle(
                settlement,
                Box::new(move |result| {
                    let _ = reply.send(result);
                }),
            );
            match answer.recv().unwrap_or(Err(HrmError::Closed)) {
                Ok(decisions) => {
                    place.handled.fetch_add(1, Ordering::Relaxed);
                    for decision in &decisions {
                        tracing::debug!(
                            agent = %decision.agent,
                            action_type = decision.action.action_type,
                            outcome = decision.outcome.as_str(),
                            decision_id = %decision.id,
                            trace_id = %decision.trace_id,
                            "decided"
                        );
                    }
                    if decisions.iter().any(|decision| self.hrm.sends_on(decision)) {
                        let _ = self.events.send(Event::Outbox);
                    }
                    return end(Finish::Settled, Some(true), usage, slow);
                }
                Err(HrmError::AlreadySettled) => {
                    return end(Finish::Gone, None, None, slow);
                }
                Err(HrmError::DeadlineExceeded) => {
                    // The host's own part was too slow: that does not count against the agent.
                    let failure = InvocationFailure::DeadlineExceeded(limits.deadline);
                    let finish = self.record_failure(place, agent, signal, &report, &failure);
                    return failed(finish, None, usage, slow, &failure);
                }
                Err(HrmError::Conflict(reason)) => {
                    conflicts += 1;
                    if conflicts > CONFLICT_RETRIES {
                        let failure = InvocationFailure::Reported(reason);
                        let finish = self.record_failure(place, agent, signal, &report, &failure);
                        return failed(finish, Some(false), usage, slow, &failure);
                    }
                }
                Err(error) => {
                    tracing::warn!(agent = %agent.manifest().name, trace_id = %signal.trace_id, signal_id = %signal.id, %error, "not committed; tried again");
                    return end(Finish::Retry(Arc::clone(signal)), None, None, slow);
                }
            }
        }
    }

    fn record_failure(
        &self,
        place: &Seat,
        agent: &Agent,
        signal: &Arc<Signal>,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> Finish {
        let manifest = agent.manifest();
        let now = Millis::now();
        let backtrace = match failure {
            InvocationFailure::Trap { backtrace, .. } => backtrace.as_str(),
            _ => "",
        };
        let id = DecisionId::fresh().to_string();
        let capsule = Capsule::of(&id, now, agent, signal, report, failure);
        let capsule = self
            .watchdog
            .capsules()
            .write(capsule)
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
            delivery: Some(DeliveryDone {
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
                Finish::Settled
            }
            Err(CommitError::DeliveryNotPending { .. }) => Finish::Gone,
            Err(error) => {
                tracing::error!(agent = %manifest.name, trace_id = %signal.trace_id, %error, "a failure could not be recorded; tried again");
                Finish::Retry(Arc::clone(signal))
            }
        }
    }
}

fn log(agent: &Agent, signal: &Signal, report: &InvocationReport) {
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
