//! What another version of a policy would have decided: recorded decisions, judged again under two of them.
//!
//! Only this one policy is asked. What the others said is taken as it was recorded, so a difference comes from nothing but the two
//! versions. Nothing is written.

use std::sync::Arc;

use serde::Serialize;

use ark_model::decision::{Decision, Outcome, PolicyIdentity, PolicyVerdict};
use ark_model::ids::{Digest, Millis};
use ark_model::settings::Settings;
use ark_model::verdict::{ObservedValue, RuleResult};
use ark_runtime::Policy;
use ark_store::{ReadError, ReadOnlyStore};

use super::combine::combine_verdicts;
use super::record::decode_decision_row;

/// How many decisions are read at once: between two readings a running host can tidy its write-ahead log.
const PAGE_ROWS: u32 = 500;

/// One of the two versions.
#[derive(Debug, Clone, Copy)]
pub enum ComparedVersion<'a> {
    /// The policy is not there.
    Absent,
    /// What was recorded, whatever version that was.
    Recorded,
    /// This component with these settings. That it takes them was asked before.
    Loaded {
        /// The component.
        policy: &'a Policy,
        /// Its settings.
        settings: Option<&'a Settings>,
    },
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct FiredRule {
    /// Its name.
    pub rule: String,
    /// Its answer: warn, violation, hold or error.
    pub answer: RuleResult,
    /// What was observed.
    pub observed: ObservedValue,
    /// The limit.
    pub limit: ObservedValue,
    /// The nearest value that would pass.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub nearest_passing: Option<f64>,
}

/// What one version makes of a decision.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct VersionJudgement {
    /// The outcome over all policies.
    pub outcome: Outcome,
    /// The rules of this policy that fired.
    pub fired: Vec<FiredRule>,
    /// Why it could not judge, which denies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<String>,
}

/// A decision that comes out otherwise under the two versions: another outcome, or other rules fire.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionChange {
    /// Its place in the audit log.
    pub seq: u64,
    /// Its id.
    pub decision_id: String,
    /// When it was decided.
    pub decided_at_ms: Millis,
    /// Who proposed.
    pub agent: String,
    /// What.
    pub action_type: String,
    /// The outcome at the time.
    pub recorded: Outcome,
    /// Under the old version.
    pub old: VersionJudgement,
    /// Under the new version.
    pub new: VersionJudgement,
}

/// A decision that could not be compared.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct UnreadableDecision {
    /// Its place in the audit log.
    pub seq: u64,
    /// Its id.
    pub decision_id: String,
    /// Why.
    pub problem: String,
}

/// All of it in numbers.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct DiffSummary {
    /// Decisions that were judged under both.
    pub decisions: u64,
    /// Those whose outcome or fired rules differ.
    pub changed: u64,
    /// Of those: the new outcome is stricter.
    pub tightened: u64,
    /// Of those: the new outcome is laxer.
    pub loosened: u64,
    /// Of those: the same outcome, for other rules.
    pub same_outcome: u64,
    /// Evaluations in which the old version could not judge.
    pub old_failures: u64,
    /// Evaluations in which the new version could not judge.
    pub new_failures: u64,
    /// The first decisions that could not be compared, up to 100.
    pub unreadable: Vec<UnreadableDecision>,
}

/// Judges every decision since a moment under both versions, oldest first, and hands each that differs to `changed`, until that returns
/// false.
///
/// # Errors
/// The database cannot be read. A decision that cannot be is counted.
pub fn diff_decisions(
    archive: &ReadOnlyStore,
    since: Millis,
    versions: (ComparedVersion<'_>, ComparedVersion<'_>),
    mut changed: impl FnMut(DecisionChange) -> bool,
) -> Result<DiffSummary, ReadError> {
    let (old, new) = versions;
    let both = [old, new];
    let names: Vec<&str> = both
        .iter()
        .filter_map(ComparedVersion::policy_name)
        .collect();
    let known = known_policies(archive)?;
    let identity = |digest: Digest| {
        let found = known.iter().find(|policy| policy.digest == digest);
        found.cloned()
    };
    let mut summary = DiffSummary::default();
    let mut after = 0;
    loop {
        let rows = archive.decisions_since(since, after, PAGE_ROWS)?;
        let Some(last) = rows.last() else { break };
        after = last.seq;
        for row in rows {
            let decision = match decode_decision_row(&row, identity) {
                Ok(Some(decision)) => decision,
                Ok(None) => {
                    summary.add_unreadable(row.seq, row.id, "a column of the decision is missing");
                    continue;
                }
                Err(error) => {
                    summary.add_unreadable(row.seq, row.id, &error.to_string());
                    continue;
                }
            };
            let old = judge_decision(&decision, old, &names);
            let new = judge_decision(&decision, new, &names);
            summary.decisions += 1;
            summary.old_failures += u64::from(old.failure.is_some());
            summary.new_failures += u64::from(new.failure.is_some());
            if !judgements_differ(&old, &new) {
                continue;
            }
            summary.changed += 1;
            match strictness_rank(new.outcome).cmp(&strictness_rank(old.outcome)) {
                std::cmp::Ordering::Greater => summary.tightened += 1,
                std::cmp::Ordering::Less => summary.loosened += 1,
                std::cmp::Ordering::Equal => summary.same_outcome += 1,
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
            if !changed(change) {
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
    fn add_unreadable(&mut self, seq: u64, decision_id: String, problem: &str) {
        if self.unreadable.len() < 100 {
            self.unreadable.push(UnreadableDecision {
                seq,
                decision_id,
                problem: problem.to_owned(),
            });
        }
    }
}

/// The policies that judged. One whose description cannot be read is left out: decisions that name it are counted as unreadable.
fn known_policies(archive: &ReadOnlyStore) -> Result<Vec<Arc<PolicyIdentity>>, ReadError> {
    let known = archive.policy_records()?.into_iter().filter_map(|record| {
        let metadata = serde_json::from_str(&record.metadata_json).ok()?;
        Some(Arc::new(PolicyIdentity {
            digest: record.digest,
            metadata,
        }))
    });
    Ok(known.collect())
}

/// What a version makes of a decision: its verdict takes the place of what a policy of its name said, or comes behind all others.
fn judge_decision(
    decision: &Decision,
    version: ComparedVersion<'_>,
    names: &[&str],
) -> VersionJudgement {
    let ours = |part: &&PolicyVerdict| names.contains(&part.policy.metadata.name.as_str());
    let mut verdicts = decision.verdicts.clone();
    let place = decision
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
        verdicts.insert(place.min(verdicts.len()), part);
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

fn fired_rules(part: &PolicyVerdict) -> Vec<FiredRule> {
    let answers = part
        .verdict
        .as_ref()
        .map_or(&[][..], |verdict| &verdict.answers);
    answers
        .iter()
        .filter(|answer| !matches!(answer.answer, RuleResult::Pass | RuleResult::NotApplicable))
        .map(|answer| FiredRule {
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
    let rules = |judged: &VersionJudgement| -> Vec<(String, RuleResult)> {
        let fired = judged.fired.iter();
        fired
            .map(|fired| (fired.rule.clone(), fired.answer))
            .collect()
    };
    old.outcome != new.outcome
        || old.failure.is_some() != new.failure.is_some()
        || rules(old) != rules(new)
}

const fn strictness_rank(outcome: Outcome) -> u8 {
    match outcome {
        Outcome::Approved => 0,
        Outcome::Held => 1,
        Outcome::Denied => 2,
    }
}
