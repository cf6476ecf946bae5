//! One invocation: run the agent, hand what it wants to the HRM, or record its failure.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use crossbeam_channel::Sender;

use crate::hrm::{Hrm, HrmError, InvocationAction, Proposal, Settlement};
use crate::model::action::Action;
use crate::model::ids::{Millis, Name, TraceId};
use crate::model::signal::Signal;
use crate::model::state::{Memory, StateEntry, Truth};
use crate::runtime::{
    Agent, InvocationFailure, InvocationReport, LogLevel, Manifest, Preview, ServiceError, Services,
};
use crate::store::{AuditEntry, AuditKind, CommitError, DeliveryDone, DeliveryResult, Store, Unit};

use super::{Event, Finish, Seat};

/// How often an invocation whose state was changed under it is run anew before it counts as failed.
const CONFLICT_RETRIES: u32 = 3;

pub(super) struct Invoker {
    pub(super) hrm: Hrm,
    pub(super) store: Store,
    pub(super) seats: Arc<Vec<Seat>>,
    pub(super) events: Sender<Event>,
}

impl Invoker {
    /// Runs an agent on a signal; blocks until the outcome is durable, then tells the router.
    pub(super) fn run(&self, seat: usize, signal: &Arc<Signal>) {
        let Some(place) = self.seats.get(seat) else {
            return;
        };
        let finish = self.attempt(place, signal);
        let _ = self.events.send(Event::Finished(seat, finish));
    }

    fn attempt(&self, place: &Seat, signal: &Arc<Signal>) -> Finish {
        let agent = &place.agent;
        let mut conflicts = 0;
        loop {
            let services = Live {
                hrm: self.hrm.clone(),
                store: self.store.clone(),
                manifest: Arc::clone(agent.manifest()),
                trace_id: signal.trace_id,
                causal_depth: signal.causal_depth,
            };
            let deadline = Instant::now() + agent.limits().deadline;
            let report = agent.invoke(signal, Arc::new(services), deadline);
            log(agent, signal, &report);
            let effects = match report.result {
                Ok(effects) => effects,
                Err(ref failure) => return self.record_failure(place, signal, &report, failure),
            };
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
                    return Finish::Settled;
                }
                Err(HrmError::AlreadySettled) => return Finish::Settled,
                Err(HrmError::Conflict(reason)) => {
                    conflicts += 1;
                    if conflicts > CONFLICT_RETRIES {
                        let failure = InvocationFailure::Reported(reason);
                        let report = InvocationReport {
                            result: Ok(crate::runtime::Effects::default()),
                            ..report
                        };
                        return self.record_failure(place, signal, &report, &failure);
                    }
                }
                Err(error) => {
                    tracing::warn!(agent = %agent.manifest().name, signal_id = %signal.id, %error, "not committed; tried again");
                    return Finish::Retry(Arc::clone(signal));
                }
            }
        }
    }

    fn record_failure(
        &self,
        place: &Seat,
        signal: &Arc<Signal>,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> Finish {
        let manifest = place.agent.manifest();
        let now = Millis::now();
        let backtrace = match failure {
            InvocationFailure::Trap { backtrace, .. } => backtrace.as_str(),
            _ => "",
        };
        let body = serde_json::json!({
            "signal_id": signal.id,
            "topic": signal.topic,
            "component": place.agent.digest(),
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
                id: crate::model::ids::DecisionId::fresh().to_string(),
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
            Ok(_) | Err(CommitError::DeliveryNotPending { .. }) => {
                place.failed.fetch_add(1, Ordering::Relaxed);
                Finish::Settled
            }
            Err(error) => {
                tracing::error!(agent = %manifest.name, %error, "a failure could not be recorded; tried again");
                Finish::Retry(Arc::clone(signal))
            }
        }
    }
}

/// Why the host denies an action before any policy is asked: its manifest does not grant it.
fn refusal(manifest: &Manifest, action: &Action) -> Option<String> {
    let granted = manifest.actions.contains(&action.action_type);
    (!granted).then(|| {
        format!(
            "the manifest of {} does not grant the action type {}; its operator can add it",
            manifest.name, action.action_type
        )
    })
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

/// The services of a live host.
struct Live {
    hrm: Hrm,
    store: Store,
    manifest: Arc<Manifest>,
    trace_id: TraceId,
    causal_depth: u32,
}

fn unreadable(error: &crate::store::ReadError) -> ServiceError {
    ServiceError(error.to_string())
}

impl Services for Live {
    fn state_get(&self, key: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        self.store
            .state_get(&self.manifest.name, key)
            .map_err(|error| unreadable(&error))
    }

    fn state_writable(&self, key: &str) -> Result<(), ServiceError> {
        self.store
            .state_writable(key)
            .map_err(|error| ServiceError(error.to_string()))
    }

    fn state_list(&self, prefix: &str, limit: u32) -> Result<Vec<String>, ServiceError> {
        self.store
            .state_list(&self.manifest.name, prefix, limit)
            .map_err(|error| unreadable(&error))
    }

    fn memory_recent(&self, kind: Option<&str>, limit: u32) -> Result<Vec<Memory>, ServiceError> {
        self.store
            .memory_recent(&self.manifest.name, kind, limit, Millis::now())
            .map_err(|error| unreadable(&error))
    }

    fn truth_get(&self, key: &str) -> Result<Option<Truth>, ServiceError> {
        self.store
            .truth_get(key)
            .map_err(|error| unreadable(&error))
    }

    fn check(&self, action: Action) -> Result<Preview, ServiceError> {
        let (reply, answer) = crossbeam_channel::bounded(1);
        let refusal = refusal(&self.manifest, &action);
        let proposal = Proposal {
            agent: self.manifest.name.clone(),
            trace_id: self.trace_id,
            action,
            causal_depth: self.causal_depth,
            idempotency: None,
        };
        self.hrm.preview(
            proposal,
            refusal,
            Box::new(move |result| {
                let _ = reply.send(result);
            }),
        );
        let decision = answer
            .recv()
            .unwrap_or(Err(HrmError::Closed))
            .map_err(|error| ServiceError(error.to_string()))?;
        Ok(Preview {
            outcome: decision.outcome,
            compliance_score: decision.compliance_score,
            verdicts: decision
                .verdicts
                .iter()
                .map(|part| {
                    let answers = part
                        .verdict
                        .as_ref()
                        .map(|verdict| verdict.answers.clone())
                        .unwrap_or_default();
                    (part.policy.metadata.name.clone(), answers)
                })
                .collect(),
        })
    }
}
