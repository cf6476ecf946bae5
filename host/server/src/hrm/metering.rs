//! Records durable decisions in the meters: counts, durations, spans.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ark_model::action::Family;
use ark_model::control::Quarantine;
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::SignalId;
use ark_model::meters::{CountedAnswers, Deployment, HrmMeters, Span, SpanId, SpanLink};

/// When the decisions of one commit passed each stage.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionTimes {
    /// The proposal was handed to the HRM.
    pub(super) accepted: Instant,
    /// The arbiter began to judge it.
    pub(super) judging_started: Instant,
    /// The decision was handed to the store's writer.
    pub(super) submitted: Instant,
}

/// Records the decisions of one commit that is durable now.
///
/// `counted`: what is counted of the answers in them. `cause`: the signal whose invocation proposed them, and the deployment of the agent. `announced`: decisions are announced as signals too.
pub(super) fn record_committed(
    meters: &HrmMeters,
    (decisions, counted): (&[Arc<Decision>], &CountedAnswers),
    times: DecisionTimes,
    cause: Option<(SignalId, Deployment)>,
    announced: bool,
) {
    meters.rules.record_decisions(decisions, counted);
    let (cause, deployment) = cause.unzip();
    let deployment = deployment.unwrap_or_default();
    let now = Instant::now();
    let DecisionTimes {
        accepted,
        judging_started,
        submitted,
    } = times;
    for decision in decisions {
        meters
            .queue
            .record(judging_started.saturating_duration_since(accepted));
        meters
            .commit
            .record(now.saturating_duration_since(submitted));
        meters
            .decision
            .record(now.saturating_duration_since(accepted));
        meters.policy_slots.record_decision(decision);
        if let Some(agent) = meters.agents.find_deployment(&decision.agent, deployment) {
            agent.record_decision(decision.outcome);
        }
        if meters.spans.is_enabled() {
            record_spans(meters, decision, times, now, cause, announced);
        }
    }
}

/// Records a quarantine that is durable now and was not in force before.
pub(super) fn record_quarantine(meters: &HrmMeters, quarantine: &Quarantine) {
    if let Some(agent) = meters
        .agents
        .find_deployment(&quarantine.agent, Deployment::Stable)
    {
        agent.record_quarantine(quarantine.cause);
    }
}

fn record_spans(
    meters: &HrmMeters,
    decision: &Decision,
    times: DecisionTimes,
    now: Instant,
    cause: Option<SignalId>,
    announced: bool,
) {
    let wall = SystemTime::now();
    let at = |moment: Instant| {
        wall.checked_sub(now.saturating_duration_since(moment))
            .unwrap_or(wall)
    };
    let id = SpanId::for_decision(decision.id);
    let is_message = decision.action.parameters.family() == Family::Message;
    let link = match (is_message, decision.outcome) {
        (true, Outcome::Approved) => Some(Some(decision.agent.clone())),
        (false, _) if announced => Some(None),
        _ => None,
    };
    let fired: Vec<&str> = decision
        .fired_rules()
        .map(|(rule, _)| rule.name.as_str())
        .collect();
    let span = Span {
        trace_id: decision.trace_id,
        id,
        parent: cause.map(|signal| SpanId::for_invocation(signal, &decision.agent)),
        name: "ark.decision",
        started: at(times.accepted),
        ended: wall,
        attributes: vec![
            ("ark.agent", decision.agent.to_string()),
            ("ark.action_type", decision.action.action_type.clone()),
            ("ark.outcome", decision.outcome.as_str().to_owned()),
            ("ark.decision_id", decision.id.to_string()),
            ("ark.rules_fired", fired.join(",")),
        ],
        failure: None,
        link: link.map(|sender| SpanLink::Sends {
            sender,
            depth: decision.facts.causal_depth.saturating_add(1),
        }),
    };
    let part = |name, started, ended| Span {
        id: id.for_part(name),
        parent: Some(id),
        name,
        started,
        ended,
        attributes: Vec::new(),
        link: None,
        ..span.clone()
    };
    let parts = [
        part("ark.queue", at(times.accepted), at(times.judging_started)),
        part(
            "ark.evaluate",
            at(times.judging_started),
            at(times.submitted),
        ),
        part("ark.commit", at(times.submitted), wall),
    ];
    meters.spans.record(span);
    for part in parts {
        meters.spans.record(part);
    }
}
