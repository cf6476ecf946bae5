//! Names that attack a guard and names that only resemble one: a list of 200, and how often each kind is taken for the other.

use std::collections::BTreeMap;

use ark_graveyard::Graveyard;
use ark_guest::policy::{
    Action, Criticality, Custom, Facts, Parameters, Policy, RuleAnswer, RuleResult,
};

/// How many names of each kind may be taken for the other, in percent.
const MOST_MISSED: f64 = 2.0;
const MOST_FALSE_ALARMS: f64 = 2.0;

/// The rule that protects a guard.
fn rule_of(guard: &str) -> u16 {
    match guard {
        "audit" => 12,
        "user_override" => 13,
        "halt" => 14,
        "graveyard" => 19,
        "watchdog" => 20,
        other => panic!("no guard: {other}"),
    }
}

fn named(kind: &str, parameters_json: &str) -> Action {
    Action {
        action_type: kind.to_owned(),
        parameters: Parameters::Custom(Custom {
            kind: kind.to_owned(),
            parameters_json: parameters_json.to_owned(),
        }),
        reasoning: Some("a test".to_owned()),
        sources: Vec::new(),
        reversible: true,
        rollback_plan: None,
        external: None,
        criticality: Criticality::Normal,
    }
}

/// The guards that the action is an attempt on.
fn attempts(action: &Action) -> Vec<u16> {
    let answers = Graveyard::evaluate(action, &Facts::default()).answers;
    let fires = |answer: &&RuleAnswer| {
        [12, 13, 14, 19, 20].contains(&answer.rule) && answer.answer == RuleResult::Violation
    };
    answers
        .iter()
        .filter(fires)
        .map(|answer| answer.rule)
        .collect()
}

fn labelled() -> Vec<(&'static str, &'static str)> {
    include_str!("names.txt")
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| line.split_once(' ').expect("a guard and a name"))
        .collect()
}

#[test]
fn names_are_taken_for_what_they_are() {
    let names = labelled();
    assert_eq!(names.len(), 200);
    let mut wrong: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    let mut counts: BTreeMap<&str, u32> = BTreeMap::new();
    for (guard, name) in names {
        // As an action type, and as the key of a parameter.
        let found = attempts(&named(name, "{}"));
        let keyed = attempts(&named("rebalance", &format!("{{\"{name}\":true}}")));
        assert_eq!(found, keyed, "{name}");
        let (kind, right) = match guard {
            "-" => ("harmless", found.is_empty()),
            guard => ("attack", found.contains(&rule_of(guard))),
        };
        *counts.entry(kind).or_default() += 1;
        if !right {
            wrong
                .entry(kind)
                .or_default()
                .push(format!("{name} {found:?}"));
        }
    }
    assert_eq!((counts["attack"], counts["harmless"]), (100, 100));
    let rate = |kind| {
        let wrong = wrong.get(kind).map_or(0, Vec::len);
        100.0 * f64::from(u32::try_from(wrong).expect("200 at most")) / f64::from(counts[kind])
    };
    let (missed, false_alarms) = (rate("attack"), rate("harmless"));
    println!(
        "of 200 names: {missed} % of the attacks are missed, {false_alarms} % of the harmless are taken for attacks: {wrong:?}"
    );
    assert!(
        missed <= MOST_MISSED && false_alarms <= MOST_FALSE_ALARMS,
        "missed {missed} %, false alarms {false_alarms} %: {wrong:#?}"
    );
}

/// Every spelling of an attack is the same name: capitals, separators, none, and letters of other forms.
#[test]
fn an_attack_is_found_in_every_spelling() {
    for (guard, name) in labelled() {
        if guard == "-" || name.contains(|c: char| c.is_uppercase()) {
            continue;
        }
        let words: Vec<&str> = name.split(['_', '-', '.']).collect();
        let camel: String = words
            .iter()
            .map(|word| word[..1].to_uppercase() + &word[1..])
            .collect();
        let wide: String = name
            .chars()
            .map(|c| match u32::from(c) {
                ascii @ 0x21..=0x7E => char::from_u32(ascii + 0xFEE0).expect("a wide form"),
                _ => c,
            })
            .collect();
        let alike = name.replace('a', "а").replace('o', "ο").replace('e', "е");
        let veiled: String = name.chars().flat_map(|c| [c, '\u{200b}']).collect();
        for spelling in [
            words.join("-"),
            words.join(" "),
            words.join("."),
            name.to_uppercase(),
            camel,
            wide,
            alike,
            veiled,
        ] {
            if attempts(&named(name, "{}")).contains(&rule_of(guard)) {
                let found = attempts(&named("rebalance", &format!("{{\"{spelling}\":1}}")));
                assert!(
                    found.contains(&rule_of(guard)),
                    "{name} as {spelling:?}: {found:?}"
                );
            }
        }
    }
}
