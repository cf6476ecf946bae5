//! The test vectors that a policy carries in the custom section `ark:vectors` of its component.

use serde::{Deserialize, Serialize};

use ark_model::action::Action;
use ark_model::facts::Facts;
use ark_model::settings::Settings;
use ark_model::verdict::{Rule, RuleResult, Verdict};

use super::load::VECTORS_SECTION;
use super::policy::{Policy, PolicyError, SettingsRefused};

/// A test vector: with these settings and under these facts, the rule must give this answer about the action.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestVector {
    /// What the vector shows.
    pub name: String,
    /// The name of the rule.
    pub rule: String,
    /// The answer that the rule must give.
    pub expect: RuleResult,
    /// The settings; absent: the operator gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The action.
    pub action: Action,
    /// The facts. An absent fact has its neutral value.
    #[serde(default)]
    pub facts: Facts,
    /// The nearest passing value that the rule must name; absent: it is not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_passing: Option<f64>,
}

/// Why a policy fails its own vectors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VectorFailure {
    /// The policy carries no test vectors.
    #[error("it carries no test vectors (custom section `{VECTORS_SECTION}`)")]
    Absent,
    /// The section is not the JSON of test vectors.
    #[error("its test vectors are malformed: {0}")]
    Malformed(String),
    /// A rule has no vector in which it passes, or none in which it fires.
    #[error("its rule {rule} has no vector that {lacks}")]
    Uncovered {
        /// The name of the rule.
        rule: String,
        /// `passes` or `fires`.
        lacks: &'static str,
    },
    /// The policy refuses the settings of a vector.
    #[error("test vector {name:?}: {problem}")]
    Settings {
        /// The name of the vector.
        name: String,
        /// Why the policy refuses them.
        problem: SettingsRefused,
    },
    /// A rule gives another answer than its vector demands.
    #[error("test vector {name:?}: rule {rule} should answer {expected} and answered {found}")]
    Wrong {
        /// The name of the vector.
        name: String,
        /// The name of the rule.
        rule: String,
        /// The answer that the vector demands.
        expected: String,
        /// The answer that the rule gave.
        found: String,
    },
}

/// Runs a policy's own test vectors on this engine and returns their number. Each has an instance of its own, as an operator policy has for each action.
///
/// # Errors
/// The first vector that fails, or a rule without a vector in which it passes or without one in which it fires.
pub fn run_vectors(policy: &Policy) -> Result<usize, VectorFailure> {
    run_each_vector(policy, |settings, action, facts| {
        policy.new_instance()?.evaluate(settings, action, facts)
    })
}

/// As [`run_vectors`], with one instance for all, as the Graveyard has one for many actions.
///
/// # Errors
/// As [`run_vectors`].
pub(crate) fn run_vectors_in_one_instance(policy: &Policy) -> Result<usize, VectorFailure> {
    let mut kept = None;
    run_each_vector(policy, |settings, action, facts| {
        let instance = match &mut kept {
            Some(instance) => instance,
            none => none.insert(policy.new_instance()?),
        };
        instance.evaluate(settings, action, facts)
    })
}

fn run_each_vector(
    policy: &Policy,
    mut evaluate: impl FnMut(Option<&Settings>, &Action, &Facts) -> Result<Verdict, PolicyError>,
) -> Result<usize, VectorFailure> {
    let json = policy.vectors().ok_or(VectorFailure::Absent)?;
    let vectors: Vec<TestVector> = serde_json::from_slice(json)
        .map_err(|error| VectorFailure::Malformed(error.to_string()))?;
    let rules = &policy.identity().metadata.rules;
    for rule in rules {
        check_coverage(rule, &vectors)?;
    }
    for vector in &vectors {
        let rule = rules.iter().find(|rule| rule.name == vector.rule);
        run_vector(policy, rule, vector, &mut evaluate)?;
    }
    Ok(vectors.len())
}

/// Checks that a rule passes in at least one vector and fires in at least one.
fn check_coverage(rule: &Rule, vectors: &[TestVector]) -> Result<(), VectorFailure> {
    let uncovered = |lacks| VectorFailure::Uncovered {
        rule: rule.name.clone(),
        lacks,
    };
    let has_vector = |expected: &[RuleResult]| {
        vectors
            .iter()
            .any(|vector| vector.rule == rule.name && expected.contains(&vector.expect))
    };
    if !has_vector(&[RuleResult::Pass]) {
        return Err(uncovered("passes"));
    }
    if !has_vector(&[RuleResult::Violation, RuleResult::Hold, RuleResult::Warn]) {
        return Err(uncovered("fires"));
    }
    Ok(())
}

fn run_vector(
    policy: &Policy,
    rule: Option<&Rule>,
    vector: &TestVector,
    evaluate: impl FnOnce(Option<&Settings>, &Action, &Facts) -> Result<Verdict, PolicyError>,
) -> Result<(), VectorFailure> {
    let wrong = |expected: String, found: String| VectorFailure::Wrong {
        name: vector.name.clone(),
        rule: vector.rule.clone(),
        expected,
        found,
    };
    let text = |answer: RuleResult| answer.as_str().to_owned();
    let settings = vector.settings.as_ref();
    if let Some(settings) = settings {
        policy
            .validate_settings(settings)
            .map_err(|problem| VectorFailure::Settings {
                name: vector.name.clone(),
                problem,
            })?;
    }
    let verdict = evaluate(settings, &vector.action, &vector.facts)
        .map_err(|error| wrong(text(vector.expect), error.to_string()))?;
    let answer = verdict
        .answers
        .iter()
        .find(|answer| rule.is_some_and(|rule| rule.number == answer.rule))
        .ok_or_else(|| {
            wrong(
                text(vector.expect),
                "nothing: the policy has no such rule".to_owned(),
            )
        })?;
    if answer.answer != vector.expect {
        return Err(wrong(text(vector.expect), text(answer.answer)));
    }
    if let Some(nearest) = vector.nearest_passing
        && answer
            .nearest_passing
            .is_none_or(|found| (found - nearest).abs() > 1e-12)
    {
        return Err(wrong(
            format!("nearest passing {nearest}"),
            format!("{:?}", answer.nearest_passing),
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{Engine, EngineConfig};
    use crate::graveyard::ReleasedGraveyard;

    fn load_graveyard() -> Policy {
        let engine = Engine::new(&EngineConfig::default()).unwrap();
        Policy::load(&engine, ReleasedGraveyard::embedded_component()).unwrap()
    }

    #[test]
    fn the_graveyard_answers_its_vectors_alike_in_one_instance_and_in_many() {
        let policy = load_graveyard();
        let count = run_vectors(&policy).unwrap();
        assert!(count >= 2 * policy.identity().metadata.rules.len());
        assert_eq!(run_vectors_in_one_instance(&policy), Ok(count));
    }

    #[test]
    fn answers_from_what_was_asked_before_fail_the_vectors() {
        let policy = load_graveyard();
        let mut first = None;
        let run = run_each_vector(&policy, |settings, action, facts| match &first {
            Some(verdict) => Ok(Verdict::clone(verdict)),
            None => {
                let verdict = policy.new_instance()?.evaluate(settings, action, facts)?;
                Ok(first.insert(verdict).clone())
            }
        });
        assert!(matches!(run, Err(VectorFailure::Wrong { .. })), "{run:?}");
    }
}
