//! Answering rules: a rule says whether it is kept and what it saw; its description says what follows from that.

use super::{Metadata, Rule, RuleAnswer, RuleResult, Severity, Value, Verdict};

/// One rule: what it says of itself and the function that judges it. A policy is a table of these, so its metadata and its answers
/// cannot disagree.
#[derive(Debug, Clone, Copy)]
pub struct RuleSpec<J> {
    /// Its number: unique in the policy.
    pub number: u16,
    /// Its name, e.g. `max_leverage`.
    pub name: &'static str,
    /// Its category, e.g. `risk_management`.
    pub category: &'static str,
    /// Its severity. A rule of severity low only ever warns.
    pub severity: Severity,
    /// It holds the action for an approval rather than denying it. A severity low takes precedence.
    pub hold: bool,
    /// What it demands, in a sentence.
    pub description: &'static str,
    /// Judges it: usually a function pointer that returns an [`Answer`].
    pub judge: J,
}

impl<J> RuleSpec<J> {
    /// The rule's entry in the metadata.
    pub fn describe(&self) -> Rule {
        Rule {
            number: self.number,
            name: self.name.to_owned(),
            category: self.category.to_owned(),
            severity: self.severity,
            hold: self.hold,
            description: self.description.to_owned(),
        }
    }

    /// The answer under this rule's number. Where the rule fires, its severity and kind decide what that means: low warns, a hold
    /// rule holds, any other is a violation.
    pub fn answer(&self, answer: Answer) -> RuleAnswer {
        RuleAnswer {
            rule: self.number,
            answer: match answer.finding {
                Finding::Kept => RuleResult::Pass,
                Finding::Warns => RuleResult::Warn,
                Finding::NotApplicable => RuleResult::NotApplicable,
                Finding::Error => RuleResult::Error,
                Finding::Fires if self.severity == Severity::Low => RuleResult::Warn,
                Finding::Fires if self.hold => RuleResult::Hold,
                Finding::Fires => RuleResult::Violation,
            },
            observed: answer.observed,
            limit: answer.limit,
            nearest_passing: answer.nearest_passing,
        }
    }
}

/// The metadata of a policy made of these rules. `version` is semver.
pub fn describe<J>(name: &str, version: &str, rules: &[RuleSpec<J>]) -> Metadata {
    Metadata {
        name: name.to_owned(),
        version: version.to_owned(),
        rules: rules.iter().map(RuleSpec::describe).collect(),
    }
}

/// The verdict of a policy made of these rules: asks every one of them, whatever the others said. Without warnings.
pub fn judge<J>(rules: &[RuleSpec<J>], mut ask: impl FnMut(&RuleSpec<J>) -> Answer) -> Verdict {
    let mut answers = Vec::with_capacity(rules.len());
    answers.extend(rules.iter().map(|rule| rule.answer(ask(rule))));
    Verdict {
        compliance_score: compliance_score(&answers),
        answers,
        warnings: Vec::new(),
    }
}

/// 1 − violations / rules checked, floored at 0. A violation, a hold and an error count as violations; every rule that applied
/// counts as checked. 1 where none applied.
#[must_use]
pub fn compliance_score(answers: &[RuleAnswer]) -> f64 {
    let (mut checked, mut violations) = (0_u32, 0_u32);
    for answer in answers {
        match answer.answer {
            RuleResult::NotApplicable => {}
            RuleResult::Pass | RuleResult::Warn => checked += 1,
            RuleResult::Violation | RuleResult::Hold | RuleResult::Error => {
                checked += 1;
                violations += 1;
            }
        }
    }
    if checked == 0 {
        1.0
    } else {
        (1.0 - f64::from(violations) / f64::from(checked)).max(0.0)
    }
}

/// What a rule finds, before its severity is applied.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Finding {
    Kept,
    Warns,
    Fires,
    NotApplicable,
    Error,
}

/// What a rule answers: its finding, what it observed, the limit and the nearest passing value.
#[derive(Debug, Clone, PartialEq)]
#[must_use]
pub struct Answer {
    finding: Finding,
    observed: Value,
    limit: Value,
    nearest_passing: Option<f64>,
}

impl Answer {
    const fn new(finding: Finding) -> Self {
        Self {
            finding,
            observed: Value::None,
            limit: Value::None,
            nearest_passing: None,
        }
    }

    /// The rule applies and is kept.
    pub const fn passes() -> Self {
        Self::new(Finding::Kept)
    }

    /// The rule applies and is broken.
    pub const fn fires() -> Self {
        Self::new(Finding::Fires)
    }

    /// The rule applies, and is broken when `broken`.
    pub const fn fires_if(broken: bool) -> Self {
        if broken {
            Self::fires()
        } else {
            Self::passes()
        }
    }

    /// The rule applies and warns, whatever its severity.
    pub const fn warns() -> Self {
        Self::new(Finding::Warns)
    }

    /// The rule does not apply to this action.
    pub const fn not_applicable() -> Self {
        Self::new(Finding::NotApplicable)
    }

    /// The rule could not be judged, which denies: `why` becomes the observed value.
    pub fn error(why: impl Into<String>) -> Self {
        Self::new(Finding::Error).observed(why.into())
    }

    /// Whether the rule is broken by this answer.
    #[must_use]
    pub const fn is_broken(&self) -> bool {
        matches!(self.finding, Finding::Fires)
    }

    /// With what was observed.
    pub fn observed(mut self, value: impl Into<Value>) -> Self {
        self.observed = value.into();
        self
    }

    /// With the limit it was held against.
    pub fn limit(mut self, value: impl Into<Value>) -> Self {
        self.limit = value.into();
        self
    }

    /// With the nearest value that would pass, the rest being equal; `None` where none would.
    pub fn nearest_passing(mut self, value: impl Into<Option<f64>>) -> Self {
        self.nearest_passing = value.into();
        self
    }
}

impl From<bool> for Value {
    fn from(flag: bool) -> Self {
        Self::Flag(flag)
    }
}

impl From<f64> for Value {
    fn from(number: f64) -> Self {
        Self::Number(number)
    }
}

impl From<u32> for Value {
    fn from(number: u32) -> Self {
        Self::Number(f64::from(number))
    }
}

impl From<String> for Value {
    fn from(text: String) -> Self {
        Self::Text(text)
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Self::Text(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(severity: Severity, hold: bool) -> RuleSpec<()> {
        RuleSpec {
            number: 7,
            name: "n",
            category: "c",
            severity,
            hold,
            description: "d",
            judge: (),
        }
    }

    #[test]
    fn severity_and_kind_decide_what_firing_means() {
        for (severity, hold, expected) in [
            (Severity::Low, false, RuleResult::Warn),
            (Severity::Low, true, RuleResult::Warn),
            (Severity::Medium, false, RuleResult::Violation),
            (Severity::High, false, RuleResult::Violation),
            (Severity::High, true, RuleResult::Hold),
            (Severity::Critical, false, RuleResult::Violation),
        ] {
            let rule = spec(severity, hold);
            assert_eq!(
                rule.answer(Answer::fires()).answer,
                expected,
                "{severity:?} hold={hold}"
            );
            assert_eq!(rule.answer(Answer::passes()).answer, RuleResult::Pass);
            assert_eq!(rule.answer(Answer::warns()).answer, RuleResult::Warn);
            assert_eq!(rule.answer(Answer::error("x")).answer, RuleResult::Error);
            assert_eq!(
                rule.answer(Answer::not_applicable()).answer,
                RuleResult::NotApplicable
            );
        }
    }

    #[test]
    fn the_score_counts_holds_and_errors_as_violations_and_only_what_applied() {
        let score = |answers: &[Answer]| {
            let answers: Vec<_> = answers
                .iter()
                .map(|a| spec(Severity::High, false).answer(a.clone()))
                .collect();
            compliance_score(&answers)
        };
        let (pass, fire, na) = (Answer::passes(), Answer::fires(), Answer::not_applicable());
        for (answers, expected) in [
            (vec![], 1.0),
            (vec![na.clone()], 1.0),
            (vec![pass.clone(), na.clone()], 1.0),
            (
                vec![pass.clone(), pass.clone(), pass.clone(), fire.clone(), na],
                0.75,
            ),
            (vec![pass.clone(), Answer::error("x")], 0.5),
            (vec![pass.clone(), Answer::warns()], 1.0),
            (vec![fire.clone(), fire], 0.0),
        ] {
            assert!(
                (score(&answers) - expected).abs() < f64::EPSILON,
                "{answers:?}"
            );
        }
        let held = spec(Severity::High, true).answer(Answer::fires());
        assert!(compliance_score(&[held]).abs() < f64::EPSILON);
    }
}
