//! What a decision adds to the meters once it is durable: counts, phases, spans.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use ark_model::action::Family;
use ark_model::control::Quarantine;
use ark_model::decision::{Decision, Outcome};
use ark_model::ids::SignalId;
use ark_model::meters::{Deployment, HrmMeters, Span, SpanId, SpanLink};

/// When a decision was asked for, judged and handed to the writer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moments {
    /// It was handed to the HRM.
    pub(super) accepted: Instant,
    /// The HRM's thread took it up.
    pub(super) taken: Instant,
    /// It was handed to the writer.
    pub(super) submitted: Instant,
}

/// Notes decisions of one commit that is durable now. `cause`: the signal whose invocation proposed them, and which deployment of the agent
/// it was. `announced`: decisions go out as signals too.
pub(super) fn durable(
    meters: &HrmMeters,
    decisions: &[Arc<Decision>],
    moments: Moments,
    cause: Option<(SignalId, Deployment)>,
    announced: bool,
) {
    let (cause, deployment) = cause.unzip();
    let deployment = deployment.unwrap_or_default();
    let now = Instant::now();
    let Moments {
        accepted,
        taken,
        submitted,
    } = moments;
    for decision in decisions {
        meters
            .queue
            .record(taken.saturating_duration_since(accepted));
        meters
            .commit
            .record(now.saturating_duration_since(submitted));
        meters
            .decision
            .record(now.saturating_duration_since(accepted));
        meters.rules.decided(decision);
        meters.seats.decided(decision);
        if let Some(agent) = meters.agents.known(&decision.agent, deployment) {
            agent.decided(decision.outcome);
        }
        if meters.spans.wanted() {
            spans(meters, decision, moments, now, cause, announced);
        }
    }
}

/// Notes a quarantine that is durable now and was not in force before.
pub(super) fn quarantined(meters: &HrmMeters, quarantine: &Quarantine) {
    if let Some(agent) = meters.agents.known(&quarantine.agent, Deployment::Stable) {
        agent.quarantined(quarantine.cause);
    }
}

fn spans(
    meters: &HrmMeters,
    decision: &Decision,
    moments: Moments,
    now: Instant,
    cause: Option<SignalId>,
    announced: bool,
) {
    let wall = SystemTime::now();
    let at = |moment: Instant| {
        wall.checked_sub(now.saturating_duration_since(moment))
            .unwrap_or(wall)
    };
    let id = SpanId::of_decision(decision.id);
    let is_message = decision.action.parameters.family() == Family::Message;
    let link = match (is_message, decision.outcome) {
        (true, Outcome::Approved) => Some(Some(decision.agent.clone())),
        (false, _) if announced => Some(None),
        _ => None,
    };
    let fired: Vec<&str> = decision
        .fired()
        .map(|(rule, _)| rule.name.as_str())
        .collect();
    let span = Span {
        trace_id: decision.trace_id,
        id,
        parent: cause.map(|signal| SpanId::of_invocation(signal, &decision.agent)),
        name: "ark.decision",
        started: at(moments.accepted),
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
        id: id.within(name),
        parent: Some(id),
        name,
        started,
        ended,
        attributes: Vec::new(),
        link: None,
        ..span.clone()
    };
    let parts = [
        part("ark.queue", at(moments.accepted), at(moments.taken)),
        part("ark.evaluate", at(moments.taken), at(moments.submitted)),
        part("ark.commit", at(moments.submitted), wall),
    ];
    meters.spans.record(span);
    for part in parts {
        meters.spans.record(part);
    }
}
