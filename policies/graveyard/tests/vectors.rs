//! Runs the vectors that travel with the module, natively. The host runs the same ones in its own engine when it loads the module.

mod json;

use std::collections::BTreeMap;

use ark_graveyard::Graveyard;
use ark_guest::policy::{Policy, RuleResult};
use serde::Deserialize;
use serde_json::Value as Json;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Vector {
    name: String,
    rule: String,
    expect: String,
    action: Json,
    facts: Json,
    nearest_passing: Option<f64>,
}

fn vectors() -> Vec<Vector> {
    serde_json::from_str(include_str!("../vectors.json"))
        .expect("vectors.json is an array of vectors")
}

const fn name_of(result: RuleResult) -> &'static str {
    match result {
        RuleResult::Pass => "pass",
        RuleResult::Warn => "warn",
        RuleResult::Violation => "violation",
        RuleResult::Hold => "hold",
        RuleResult::NotApplicable => "not-applicable",
        RuleResult::Error => "error",
    }
}

#[test]
fn every_vector_holds() {
    let metadata = Graveyard::metadata();
    for vector in vectors() {
        let place = format!("{}: {}", vector.rule, vector.name);
        let verdict = Graveyard::evaluate(&json::action(vector.action), &json::facts(vector.facts));
        assert_eq!(verdict.answers.len(), metadata.rules.len(), "{place}");
        let rule = metadata
            .rules
            .iter()
            .find(|rule| rule.name == vector.rule)
            .unwrap_or_else(|| panic!("{place}: no such rule"));
        let answer = verdict
            .answers
            .iter()
            .find(|answer| answer.rule == rule.number)
            .unwrap_or_else(|| panic!("{place}: no answer"));
        assert_eq!(name_of(answer.answer), vector.expect, "{place}: {answer:?}");
        if let Some(expected) = vector.nearest_passing {
            let nearest = answer
                .nearest_passing
                .unwrap_or_else(|| panic!("{place}: no nearest passing value"));
            assert!(
                (nearest - expected).abs() < 1e-12,
                "{place}: {nearest}, expected {expected}"
            );
        }
    }
}

#[test]
fn every_rule_has_a_vector_that_passes_and_one_that_fires() {
    let mut seen: BTreeMap<String, (bool, bool)> = BTreeMap::new();
    for vector in vectors() {
        let (passes, fires) = seen.entry(vector.rule).or_default();
        *passes |= vector.expect == "pass";
        *fires |= matches!(vector.expect.as_str(), "warn" | "violation" | "hold");
    }
    for rule in Graveyard::metadata().rules {
        assert_eq!(seen.remove(&rule.name), Some((true, true)), "{}", rule.name);
    }
    assert!(
        seen.is_empty(),
        "vectors for rules that do not exist: {seen:?}"
    );
}
