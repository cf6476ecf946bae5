//! The end of an invocation: what is recorded of it, the breach that it may complete, and what the router is told.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use ark_model::ids::{AuditId, Millis, Name};
use ark_model::usage::QuotaHolder;
use ark_runtime::{InvocationFailure, InvocationReport};
use ark_store::{AgentChange, AuditEntry, AuditKind, CommitError, Unit};

use crate::hrm::redaction::redact_text;
use crate::router::canary::Canary;
use crate::router::failures::failed_delivery_unit;
use crate::router::message::{DeliveryEnd, RouterEvent, RunningInvocation};
use crate::router::metering::meter_invocation;
use crate::watchdog::{Breach, Capsule, Observation, WATCHDOG_ACTOR};

use super::{InvocationEnd, Invoker, usage_of};

impl Invoker {
    /// Records the failure of an invocation and ends it.
    pub(super) fn fail_invocation(
        &self,
        invocation: RunningInvocation,
        report: &InvocationReport,
        failure: &InvocationFailure,
        success: Option<bool>,
    ) {
        let end = InvocationEnd {
            delivery: self.record_failure(&invocation, report, failure),
            success,
            usage: Some(usage_of(report)),
            failure: Some(failure.kind()),
            quota_refused: false,
        };
        self.end_invocation(invocation, end);
    }

    /// Ends an invocation: records it, stops the agent if it completes a breach, and tells the router.
    pub(super) fn end_invocation(&self, invocation: RunningInvocation, end: InvocationEnd) {
        if let Some(breach) = self.record_invocation(&invocation, &end, Instant::now()) {
            self.act_on_breach(&invocation, &breach);
        }
        self.report_finished(invocation, end.delivery);
    }

    pub(super) fn report_finished(&self, invocation: RunningInvocation, end: DeliveryEnd) {
        let (job, slot) = (invocation.job, invocation.slot_number);
        // Releases the version before the router is told of the end: a caller that waits until the version is unused checks that at the end.
        drop(invocation);
        let _ = self.events.send(RouterEvent::Finished(job, slot, end));
    }

    /// Records an invocation in the meters and with the watchdog. Returns the breach that it completes.
    pub(super) fn record_invocation(
        &self,
        invocation: &RunningInvocation,
        end: &InvocationEnd,
        at: Instant,
    ) -> Option<Breach> {
        let latency = at.saturating_duration_since(invocation.started);
        // An invocation that is tried again is metered then.
        if matches!(end.delivery, DeliveryEnd::Completed | DeliveryEnd::Refused) {
            meter_invocation(&self.meters, invocation, end.usage, end.failure, latency);
        }
        let observation = Observation {
            success: end.success,
            quota_refused: end.quota_refused,
            latency,
        };
        if let Some(canary) = &invocation.canary {
            return canary.record_outcome(observation, &self.watchdog);
        }
        // A version that no longer serves does not count against the one that does.
        let counts = end.success.is_some() || end.quota_refused;
        if !counts || !invocation.slot.is_serving(&invocation.agent) {
            return None;
        }
        invocation
            .slot
            .failing
            .store(end.success != Some(true), Ordering::Relaxed);
        self.watchdog
            .record_invocation(&invocation.agent, observation, end.usage)
    }

    /// Ends the canary of an invocation, or quarantines its agent. Blocks until that is durable, and before the router is told of the invocation's end: it must
    /// be in force when the agent's next turn comes.
    pub(super) fn act_on_breach(&self, invocation: &RunningInvocation, breach: &Breach) {
        match &invocation.canary {
            Some(canary) if invocation.slot.end_canary(canary) => {
                self.record_canary_end(&invocation.slot.name, canary, breach);
            }
            Some(_) => {}
            None => self
                .watchdog
                .quarantine_agent(&invocation.slot.name, breach.clone()),
        }
    }

    /// Records the end of a canary. In this process it has ended even if that cannot be recorded.
    pub(super) fn record_canary_end(&self, agent: &Name, canary: &Canary, breach: &Breach) {
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
                subject: None,
            }],
            agents: vec![AgentChange::EndTrial {
                agent: agent.clone(),
                number: canary.number,
            }],
            at: now,
            may_use_reserve: true,
            ..Unit::default()
        };
        if let Err(error) = self.store.commit(unit) {
            tracing::error!(%agent, %error, "the end of a canary could not be recorded: it starts again with the host");
        }
        self.watchdog
            .alert_canary_withdrawn(agent, canary.number, breach);
    }

    /// Writes the capsule of a failed invocation and completes its delivery as failed.
    pub(super) fn record_failure(
        &self,
        invocation: &RunningInvocation,
        report: &InvocationReport,
        failure: &InvocationFailure,
    ) -> DeliveryEnd {
        let RunningInvocation {
            slot,
            agent,
            signal,
            ..
        } = invocation;
        let (name, trace_id) = (&slot.name, signal.trace_id);
        let now = Millis::now();
        let backtrace = redact_text(failure.backtrace());
        let id = AuditId::fresh();
        let capsule = Capsule::from_failure(&id.to_string(), now, agent, signal, report, failure);
        let capsule = self
            .watchdog
            .capsules()
            .write_capsule(capsule)
            .inspect_err(|error| {
                tracing::warn!(agent = %name, %trace_id, %error, "a capsule could not be written");
            });
        // An agent words its own failure, and names the functions of a backtrace: both are redacted like what it proposes.
        let reason = redact_text(&agent.describe_failure(failure));
        let body = serde_json::json!({
            "capsule": capsule.ok(),
            "signal_id": signal.id,
            "topic": signal.topic,
            "component": agent.digest(),
            "kind": failure.kind(),
            "reason": reason,
            "backtrace": backtrace,
            "fuel": report.fuel,
            "memory_peak": report.memory_peak,
            "host_calls": report.host_calls,
            "duration_us": u64::try_from(report.duration.as_micros()).unwrap_or(u64::MAX),
        });
        tracing::warn!(agent = %name, %trace_id, kind = failure.kind(), reason, "invocation failed");
        let mut unit = failed_delivery_unit(id, name, (signal.id, trace_id), reason, &body, now);
        unit.charged_to = Some(QuotaHolder::Agent(name.clone()));
        match self.store.commit(unit) {
            Ok(_) => {
                slot.failed.fetch_add(1, Ordering::Relaxed);
                DeliveryEnd::Completed
            }
            Err(CommitError::DeliveryNotPending { .. }) => DeliveryEnd::AlreadyCompleted,
            Err(error) => {
                tracing::error!(agent = %name, %trace_id, %error, "a failure could not be recorded; tried again");
                DeliveryEnd::Retry(Arc::clone(signal))
            }
        }
    }
}
