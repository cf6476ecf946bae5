//! Compares two versions of a policy: which recorded decisions would have come out differently.
//!
//! Only this policy is evaluated. The verdicts of the others are taken as recorded, so every difference comes from the two versions. Nothing is
//! written.

use std::cmp::Ordering;
use std::sync::Arc;

use serde::Serialize;

use ark_model::decision::{Decision, Outcome, PolicyIdentity, PolicyVerdict};
use ark_model::ids::{Digest, Millis};
use ark_model::settings::Settings;
use ark_model::verdict::{ObservedValue, RuleResult};
use ark_runtime::Policy;
use ark_store::{AuditRow, ReadError, ReadOnlyStore};

use crate::hrm::combine::combine_verdicts;
use crate::hrm::record::decode_decision_row;

/// Decisions read at once. Between two reads a running host can truncate its write-ahead log.
const PAGE_ROWS: u32 = 500;

/// Unreadable decisions that a summary lists at most.
const MAX_UNREADABLE: usize = 100;

/// One of the two versions that are compared.
#[derive(Debug, Clone, Copy)]
pub enum ComparedVersion<'a> {
    /// No such policy.
    Absent,
    /// The recorded verdict, whatever version gave it.
    Recorded,
    /// A component with settings. The caller has checked that it accepts them.
    Loaded {
        /// The component.
        policy: &'a Policy,
        /// Its settings.
        settings: Option<&'a Settings>,
    },
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ChangedRule {
    /// The name of the rule.
    pub rule: String,
    /// Its answer: warn, violation, hold or error.
    pub answer: RuleResult,
    /// The observed value.
    pub observed: ObservedValue,
    /// The limit it was compared with.
    pub limit: ObservedValue,
    /// The nearest value that would pass, if the rule names one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest_passing: Option<f64>,
}

/// The judgement of one version on a recorded action.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionJudgement {
    /// The outcome over all policies.
    pub outcome: Outcome,
    /// The rules of this policy that fired.
    pub fired: Vec<ChangedRule>,
    /// The failure of this policy, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A decision that differs under the two versions: in its outcome, or in the rules that fire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionChange {
    /// The sequence number of its audit row.
    pub seq: u64,
    /// The id of the decision.
    pub decision_id: String,
    /// When it was decided.
    pub decided_at_ms: Millis,
    /// The agent.
    pub agent: String,
    /// The type of the action.
    pub action_type: String,
    /// The recorded outcome.
    pub recorded: Outcome,
    /// The judgement under the old version.
    pub old: VersionJudgement,
    /// The judgement under the new version.
    pub new: VersionJudgement,
}

/// A decision that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableDecision {
    /// The sequence number of its audit row.
    pub seq: u64,
    /// The id of the decision.
    pub decision_id: String,
    /// The problem.
    pub problem: String,
}

/// The counts of a comparison.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DiffSummary {
    /// Decisions judged under both versions.
    pub decisions: u64,
    /// Decisions whose outcome or fired rules differ.
    pub changed: u64,
    /// Changed decisions whose new outcome is stricter.
    pub tightened: u64,
    /// Changed decisions whose new outcome is laxer.
    pub loosened: u64,
    /// Changed decisions with the same outcome, for other rules.
    pub same_outcome: u64,
    /// Evaluations in which the old version failed.
    pub old_failures: u64,
    /// Evaluations in which the new version failed.
    pub new_failures: u64,
    /// The first decisions that could not be compared, up to 100.
    pub unreadable: Vec<UnreadableDecision>,
}

/// Judges every decision since a moment under both versions, oldest first, and hands each that differs to `on_change`, until that returns `false`.
///
/// # Errors
/// The database cannot be read. A single decision that cannot be decoded is listed in the summary.
pub fn diff_decisions(
    store: &ReadOnlyStore,
    since: Millis,
    (old_version, new_version): (ComparedVersion<'_>, ComparedVersion<'_>),
    mut on_change: impl FnMut(DecisionChange) -> bool,
) -> Result<DiffSummary, ReadError> {
    let names: Vec<&str> = [&old_version, &new_version]
        .into_iter()
        .filter_map(ComparedVersion::policy_name)
        .collect();
    let known = read_identities(store)?;
    let identity = |digest: Digest| known.iter().find(|policy| policy.digest == digest).cloned();
    let mut summary = DiffSummary::default();
    let mut after = 0;
    loop {
        let rows = store.decisions_since(since, after, PAGE_ROWS)?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in rows {
            let decision = match decode_decision_row(&row, identity) {
                Ok(Some(decision)) => decision,
                Ok(None) => {
                    summary.add_unreadable(row, "a column of the decision is missing".to_owned());
                    continue;
                }
                Err(error) => {
                    summary.add_unreadable(row, error.to_string());
                    continue;
                }
            };
            let old = judge_decision(&decision, old_version, &names);
            let new = judge_decision(&decision, new_version, &names);
            if !summary.count_judgements(&old, &new) {
                continue;
            }
            let change = DecisionChange {
                seq: row.seq,
                decision_id: row.id,
                decided_at_ms: decision.decided_at,
                agent: decision.agent.to_string(),
                action_type: decision.action.action_type,
                recorded: decision.outcome,
                old,
                new,
            };
            if !on_change(change) {
                return Ok(summary);
            }
        }
    }
    Ok(summary)
}

impl ComparedVersion<'_> {
    fn policy_name(&self) -> Option<&str> {
        match self {
            Self::Loaded { policy, .. } => Some(&policy.identity().metadata.name),
            Self::Absent | Self::Recorded => None,
        }
    }
}

impl DiffSummary {
    /// Counts a decision with its two judgements. Returns whether they differ.
    fn count_judgements(&mut self, old: &VersionJudgement, new: &VersionJudgement) -> bool {
        self.decisions += 1;
        self.old_failures += u64::from(old.failure.is_some());
        self.new_failures += u64::from(new.failure.is_some());
        if !judgements_differ(old, new) {
            return false;
        }
        self.changed += 1;
        match strictness_rank(new.outcome).cmp(&strictness_rank(old.outcome)) {
            Ordering::Greater => self.tightened += 1,
            Ordering::Less => self.loosened += 1,
            Ordering::Equal => self.same_outcome += 1,
        }
        true
    }

    fn add_unreadable(&mut self, row: AuditRow, problem: String) {
        if self.unreadable.len() < MAX_UNREADABLE {
            self.unreadable.push(UnreadableDecision {
                seq: row.seq,
                decision_id: row.id,
                problem,
            });
        }
    }
}

/// Reads the identities of the policies that judged. One with malformed metadata is left out: decisions that name it are listed as unreadable.
fn read_identities(store: &ReadOnlyStore) -> Result<Vec<Arc<PolicyIdentity>>, ReadError> {
    let known = store.policy_records()?.into_iter().filter_map(|record| {
        let metadata = serde_json::from_str(&record.metadata_json).ok()?;
        Some(Arc::new(PolicyIdentity::new(record.digest, metadata)))
    });
    Ok(known.collect())
}

/// Judges a recorded action under a version: its verdict replaces the recorded one of a policy with its name, or follows all others.
fn judge_decision(
    decision: &Decision,
    version: ComparedVersion<'_>,
    names: &[&str],
) -> VersionJudgement {
    let ours = |part: &&PolicyVerdict| names.contains(&part.policy.metadata.name.as_str());
    let mut verdicts = decision.verdicts.clone();
    let position = decision
        .verdicts
        .iter()
        .position(|part| ours(&part))
        .unwrap_or(verdicts.len());
    if !matches!(version, ComparedVersion::Recorded) {
        verdicts.retain(|part| !ours(&part));
    }
    if let ComparedVersion::Loaded { policy, settings } = version {
        let verdict = policy
            .new_instance()
            .and_then(|mut instance| instance.evaluate(settings, &decision.action, &decision.facts))
            .map_err(|error| error.to_string());
        let part = PolicyVerdict {
            policy: Arc::clone(policy.identity()),
            settings: settings.map(Settings::digest),
            verdict,
        };
        verdicts.insert(position.min(verdicts.len()), part);
    }
    let outcome = if decision.refusal.is_some() {
        Outcome::Denied
    } else {
        combine_verdicts(&verdicts).0
    };
    let part = verdicts.iter().find(ours);
    VersionJudgement {
        outcome,
        fired: part.map(fired_rules).unwrap_or_default(),
        failure: part.and_then(|part| part.verdict.as_ref().err().cloned()),
    }
}

/// The rules of a verdict that fired.
pub(super) fn fired_rules(part: &PolicyVerdict) -> Vec<ChangedRule> {
    let answers = part
        .verdict
        .as_ref()
        .map_or(&[][..], |verdict| &verdict.answers);
    answers
        .iter()
        .filter(|answer| answer.answer.has_fired())
        .map(|answer| ChangedRule {
            rule: part
                .policy
                .rule(answer.rule)
                .map_or_else(|| answer.rule.to_string(), |rule| rule.name.clone()),
            answer: answer.answer,
            observed: answer.observed.clone(),
            limit: answer.limit.clone(),
            nearest_passing: answer.nearest_passing,
        })
        .collect()
}

fn judgements_differ(old: &VersionJudgement, new: &VersionJudgement) -> bool {
    old.outcome != new.outcome
        || !fire_alike(
            (&old.fired, old.failure.is_some()),
            (&new.fired, new.failure.is_some()),
        )
}

/// Whether the same rules fire with the same answers. Each side: the rules that fired, and whether the policy failed.
pub(super) fn fire_alike(
    (one, one_failed): (&[ChangedRule], bool),
    (other, other_failed): (&[ChangedRule], bool),
) -> bool {
    let answers = |fired: &ChangedRule| (fired.rule.clone(), fired.answer);
    one_failed == other_failed && one.iter().map(answers).eq(other.iter().map(answers))
}

const fn strictness_rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Approved => 0,
        Outcome::Held => 1,
        Outcome::Denied => 2,
    }
}
