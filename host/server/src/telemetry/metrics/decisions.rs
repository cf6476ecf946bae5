//! Decisions, rules, policies and approvals.

use opentelemetry::{KeyValue, StringValue};
use strum::VariantArray;

use ark_model::execution::ExecutionStatus;
use ark_model::meters::{COMPARISONS, COUNTED_ANSWERS, EXECUTION_ALERTS, PolicyTally};
use ark_model::policy::PolicyMode;

use super::metric::{
    Emit, Metric, MetricContext, counter, emit_count, emit_counts, gauge, histogram, summary,
};

/// The outcomes, in the order in which meters count them.
pub(super) const OUTCOMES: [&str; 3] = ["approved", "held", "denied"];

pub(super) const METRICS: &[Metric] = &[
    counter(
        "ark_decisions_total",
        &["outcome"],
        "Decisions on disk, by outcome: approved, held, denied. Equals the audit log's rows.",
        |context, emit| {
            let decisions = &context.sources.meters.store.decisions;
            emit_counts(emit, "outcome", OUTCOMES.into_iter().zip(decisions));
        },
    ),
    histogram(
        "ark_decision_duration_seconds",
        &[],
        "From the moment a proposal is accepted until its decision is durable.",
    ),
    summary(
        "ark_decision_latency_seconds",
        "The same as quantiles over the last five minutes.",
    ),
    histogram(
        "ark_decision_phase_duration_seconds",
        &["phase"],
        "The phases: queue (until the HRM takes it), instantiate and guest (of an invocation), policy, commit.",
    ),
    histogram(
        "ark_hrm_evaluation_duration_seconds",
        &[],
        "One evaluation: facts, all policies, combination. Dry runs are in it.",
    ),
    summary(
        "ark_hrm_evaluation_latency_seconds",
        "The same as quantiles over the last five minutes.",
    ),
    counter(
        "ark_rule_violations_total",
        &["policy", "rule", "severity"],
        "Rules broken in decisions.",
        |context, emit| emit_rules(context, emit, RuleAnswers::Violations),
    ),
    counter(
        "ark_rule_answers_total",
        &["answer", "policy", "rule", "severity"],
        "Rules that answered hold, warn or error in decisions.",
        |context, emit| emit_rules(context, emit, RuleAnswers::Others),
    ),
    counter(
        "ark_policy_failures_total",
        &["policy"],
        "Decisions for which a policy could not answer: they were denied.",
        |context, emit| {
            for (policy, failures) in context.sources.meters.hrm.rules.sums().failures {
                emit(failures as f64, &[KeyValue::new("policy", policy)]);
            }
        },
    ),
    counter(
        "ark_policy_evaluations_total",
        &["mode", "policy"],
        "Evaluations of operator policies, dry runs too: enforce, or shadow (on trial, counts for nothing).",
        |context, emit| {
            emit_policies(context, emit, |tally, mode| {
                tally.evaluations[mode].get() as f64
            });
        },
    ),
    counter(
        "ark_policy_evaluation_seconds_total",
        &["mode", "policy"],
        "Time they took.",
        |context, emit| {
            emit_policies(context, emit, |tally, mode| {
                tally.busy_nanos[mode].get() as f64 / 1e9
            });
        },
    ),
    counter(
        "ark_policy_shadow_decisions_total",
        &["policy", "result"],
        "Decisions of which a policy on trial said something: same (the outcome would be), different, failed (it could not answer).",
        emit_comparisons,
    ),
    gauge(
        "ark_policies_in_force",
        &["kind"],
        "Operator policies: enforce, shadow, broken (it cannot be loaded, so everything is denied in its name).",
        |context, emit| {
            for (kind, number) in context.sources.readiness.policies.count_by_state() {
                emit(number as f64, &[KeyValue::new("kind", kind)]);
            }
        },
    ),
    counter(
        "ark_proposals_refused_total",
        &["reason"],
        "Proposals without a decision: busy (too many were waiting), not_recorded (the commit failed: denied).",
        |context, emit| {
            let hrm = &context.sources.meters.hrm;
            let counts = [
                ("busy", &hrm.queue_rejections),
                ("not_recorded", &hrm.not_recorded),
            ];
            emit_counts(emit, "reason", counts);
        },
    ),
    gauge(
        "ark_approvals_open",
        &[],
        "Held decisions that wait for an approval.",
        |context, emit| {
            if let Some(approvals) = (context.sources.approvals)() {
                emit(approvals.open as f64, &[]);
            }
        },
    ),
    gauge(
        "ark_approvals_oldest_age_seconds",
        &[],
        "How long the oldest of them waits; 0 when none does.",
        |context, emit| {
            if let Some(approvals) = (context.sources.approvals)() {
                emit(approvals.oldest.as_secs_f64(), &[]);
            }
        },
    ),
    counter(
        "ark_executions_total",
        &["status"],
        "Execution reports, by status.",
        |context, emit| {
            let store = &context.sources.meters.store;
            let counts = ExecutionStatus::VARIANTS
                .iter()
                .map(|status| (status.as_str(), store.execution_counter(*status)));
            emit_counts(emit, "status", counts);
        },
    ),
    counter(
        "ark_execution_alerts_total",
        &["kind"],
        "Fills that need attention: late_fill (after the order had ended), overfill (more than approved), unmatched_close (more than was open).",
        |context, emit| {
            let alerts = &context.sources.meters.store.execution_alerts;
            emit_counts(emit, "kind", EXECUTION_ALERTS.into_iter().zip(alerts));
        },
    ),
];

#[derive(Clone, Copy)]
enum RuleAnswers {
    Violations,
    /// The other answers that are counted: hold, warn, error.
    Others,
}

/// Emits the answers of rules. Versions of a policy that judged one after the other share a row, so that it only grows.
fn emit_rules(context: &MetricContext, emit: &mut Emit<'_>, answers: RuleAnswers) {
    for ((policy, rule, severity), counts) in context.sources.meters.hrm.rules.sums().rules {
        let labels = [
            KeyValue::new("policy", policy),
            KeyValue::new("rule", rule),
            KeyValue::new("severity", severity),
        ];
        let [violations, others @ ..] = counts;
        match answers {
            RuleAnswers::Violations => emit(violations as f64, &labels),
            RuleAnswers::Others => {
                for (answer, count) in COUNTED_ANSWERS.iter().skip(1).zip(others) {
                    let [policy, rule, severity] = labels.clone();
                    let answer = KeyValue::new("answer", *answer);
                    emit(count as f64, &[policy, rule, severity, answer]);
                }
            }
        }
    }
}

/// Emits a value of each operator policy, by name and mode. `value` gets the place of the mode in the tally.
fn emit_policies(
    context: &MetricContext,
    emit: &mut Emit<'_>,
    value: fn(&PolicyTally, usize) -> f64,
) {
    for (policy, tally) in context.sources.meters.hrm.policy_slots.tallies() {
        for (place, mode) in [PolicyMode::Enforce, PolicyMode::Shadow]
            .into_iter()
            .enumerate()
        {
            let labels = [
                KeyValue::new("mode", mode.as_str()),
                KeyValue::new("policy", StringValue::from(policy.as_str().to_owned())),
            ];
            emit(value(&tally, place), &labels);
        }
    }
}

fn emit_comparisons(context: &MetricContext, emit: &mut Emit<'_>) {
    for (policy, tally) in context.sources.meters.hrm.policy_slots.tallies() {
        for (result, decisions) in COMPARISONS.iter().zip(&tally.compared) {
            let labels = [
                KeyValue::new("policy", StringValue::from(policy.as_str().to_owned())),
                KeyValue::new("result", *result),
            ];
            emit_count(emit, decisions, &labels);
        }
    }
}
