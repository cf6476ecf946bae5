//! Test vectors that travel with a policy, in a custom section of the component named `ark:vectors`.

use serde::{Deserialize, Serialize};

use ark_model::action::Action;
use ark_model::facts::Facts;
use ark_model::settings::Settings;
use ark_model::verdict::RuleResult;

use super::policy::{Policy, SettingsRefused};

/// The name of the section.
const SECTION: &str = "ark:vectors";

/// One vector: with these settings and under these facts, this rule answers this action thus.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TestVector {
    /// What it shows.
    pub name: String,
    /// The rule.
    pub rule: String,
    /// The answer.
    pub expect: RuleResult,
    /// The settings it is judged with; absent: as where an operator gives none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// The action.
    pub action: Action,
    /// The facts; what is absent is neutral.
    #[serde(default)]
    pub facts: Facts,
    /// The nearest passing value; absent: not compared.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub nearest_passing: Option<f64>,
}

/// Why a policy fails its own vectors.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum VectorFailure {
    /// It carries none.
    #[error("it carries no test vectors (custom section `{SECTION}`)")]
    Absent,
    /// They cannot be read.
    #[error("its test vectors are malformed: {0}")]
    Malformed(String),
    /// A rule has none that passes, or none that fires.
    #[error("its rule {rule} has no vector that {lacks}")]
    Uncovered {
        /// The rule.
        rule: String,
        /// `passes` or `fires`.
        lacks: &'static str,
    },
    /// The policy does not take a vector's settings.
    #[error("test vector {name:?}: {problem}")]
    Settings {
        /// The vector.
        name: String,
        /// Why not.
        problem: SettingsRefused,
    },
    /// It answers otherwise.
    #[error("test vector {name:?}: rule {rule} should answer {expected} and answered {found}")]
    Wrong {
        /// The vector.
        name: String,
        /// The rule.
        rule: String,
        /// What it should answer.
        expected: String,
        /// What it answered.
        found: String,
    },
}

/// Runs a policy's own vectors on this engine; returns how many.
///
/// # Errors
/// The first that fails, or a rule that is not covered by one that passes and one that fires.
pub fn run_vectors(policy: &Policy) -> Result<usize, VectorFailure> {
    let json = policy.vectors().ok_or(VectorFailure::Absent)?;
    let vectors: Vec<TestVector> = serde_json::from_slice(json)
        .map_err(|error| VectorFailure::Malformed(error.to_string()))?;
    let rules = &policy.identity().metadata.rules;
    for rule in rules {
        let of_rule = || vectors.iter().filter(|vector| vector.rule == rule.name);
        if !of_rule().any(|vector| vector.expect == RuleResult::Pass) {
            return Err(VectorFailure::Uncovered {
                rule: rule.name.clone(),
                lacks: "passes",
            });
        }
        let fires = |vector: &TestVector| {
            matches!(
                vector.expect,
                RuleResult::Violation | RuleResult::Hold | RuleResult::Warn
            )
        };
        if !of_rule().any(fires) {
            return Err(VectorFailure::Uncovered {
                rule: rule.name.clone(),
                lacks: "fires",
            });
        }
    }
    for vector in &vectors {
        let wrong = |expected: String, found: String| VectorFailure::Wrong {
            name: vector.name.clone(),
            rule: vector.rule.clone(),
            expected,
            found,
        };
        let text = |answer: RuleResult| format!("{answer:?}").to_lowercase();
        let settings = vector.settings.as_ref();
        if let Some(settings) = settings {
            policy
                .validate_settings(settings)
                .map_err(|problem| VectorFailure::Settings {
                    name: vector.name.clone(),
                    problem,
                })?;
        }
        let verdict = policy
            .new_instance()
            .and_then(|mut instance| instance.evaluate(settings, &vector.action, &vector.facts))
            .map_err(|error| wrong(text(vector.expect), error.to_string()))?;
        let number = rules
            .iter()
            .find(|rule| rule.name == vector.rule)
            .map(|rule| rule.number);
        let answer = verdict
            .answers
            .iter()
            .find(|answer| Some(answer.rule) == number)
            .ok_or_else(|| {
                wrong(
                    text(vector.expect),
                    "nothing: there is no such rule".to_owned(),
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
    }
    Ok(vectors.len())
}

/// The section's bytes, if the component has one.
pub(super) fn find_vectors_section(component: &[u8]) -> Option<Vec<u8>> {
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        // What cannot be parsed was refused by the compiler before.
        if let Ok(wasmparser::Payload::CustomSection(section)) = payload
            && section.name() == SECTION
        {
            return Some(section.data().to_vec());
        }
    }
    None
}
