//! What makes a policy's answers acceptable. A policy is not trusted to be well-formed.

use ark_model::ids::Name;
use ark_model::verdict::{Metadata, ObservedValue, RuleResult, Verdict};

/// The most rules that a policy may have.
const MAX_RULES: usize = 256;
/// The longest text in a verdict, in bytes.
const MAX_TEXT: usize = 4096;
/// The most warnings in a verdict.
const MAX_WARNINGS: usize = 64;

/// Checks a policy's description of itself.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_metadata(metadata: &Metadata) -> Result<(), String> {
    if metadata.name.parse::<Name>().is_err() {
        return Err(format!(
            "the name {:?} is not 1 to 64 of a-z, 0-9, '-', '_'",
            metadata.name
        ));
    }
    if metadata.version.is_empty() || metadata.version.len() > 64 {
        return Err("the version is empty or longer than 64 bytes".to_owned());
    }
    if metadata.rules.is_empty() || metadata.rules.len() > MAX_RULES {
        return Err(format!(
            "it has {} rules; 1 to {MAX_RULES} are allowed",
            metadata.rules.len()
        ));
    }
    let mut numbers: Vec<u16> = metadata.rules.iter().map(|rule| rule.number).collect();
    let mut names: Vec<&str> = metadata
        .rules
        .iter()
        .map(|rule| rule.name.as_str())
        .collect();
    numbers.sort_unstable();
    names.sort_unstable();
    if numbers.windows(2).any(|pair| pair[0] == pair[1])
        || names.windows(2).any(|pair| pair[0] == pair[1])
    {
        return Err("two rules have the same number or name".to_owned());
    }
    if names.iter().any(|name| name.parse::<Name>().is_err()) {
        return Err("a rule's name is not 1 to 64 of a-z, 0-9, '-', '_'".to_owned());
    }
    Ok(())
}

/// Checks that a verdict answers every rule of the metadata in order, within bounds, and that its compliance score follows from its answers.
///
/// # Errors
/// What is wrong with it.
pub(super) fn check_verdict(metadata: &Metadata, verdict: &Verdict) -> Result<(), String> {
    if verdict.answers.len() != metadata.rules.len() {
        return Err(format!(
            "{} answers for {} rules",
            verdict.answers.len(),
            metadata.rules.len()
        ));
    }
    let mut checked = 0u32;
    let mut violated = 0u32;
    for (answer, rule) in verdict.answers.iter().zip(&metadata.rules) {
        if answer.rule != rule.number {
            return Err(format!(
                "rule {} answers in the place of rule {}",
                answer.rule, rule.number
            ));
        }
        for value in [&answer.observed, &answer.limit] {
            match value {
                ObservedValue::Number(number) if !number.is_finite() => {
                    return Err(format!(
                        "rule {} shows a number that is not finite",
                        rule.name
                    ));
                }
                ObservedValue::Text(text) if text.len() > MAX_TEXT => {
                    return Err(format!(
                        "rule {} shows a text of {} bytes",
                        rule.name,
                        text.len()
                    ));
                }
                _ => {}
            }
        }
        if answer
            .nearest_passing
            .is_some_and(|number| !number.is_finite())
        {
            return Err(format!(
                "rule {} names a nearest passing value that is not finite",
                rule.name
            ));
        }
        checked += u32::from(answer.answer != RuleResult::NotApplicable);
        violated += u32::from(matches!(
            answer.answer,
            RuleResult::Violation | RuleResult::Hold | RuleResult::Error
        ));
    }
    if verdict.warnings.len() > MAX_WARNINGS
        || verdict.warnings.iter().any(|text| text.len() > MAX_TEXT)
    {
        return Err(format!(
            "more than {MAX_WARNINGS} warnings, or one longer than {MAX_TEXT} bytes"
        ));
    }
    let score = if checked == 0 {
        1.0
    } else {
        (1.0 - f64::from(violated) / f64::from(checked)).max(0.0)
    };
    if (verdict.compliance_score - score).abs() > 1e-9 {
        return Err(format!(
            "the compliance score is {}, and its answers make it {score}",
            verdict.compliance_score
        ));
    }
    Ok(())
}
