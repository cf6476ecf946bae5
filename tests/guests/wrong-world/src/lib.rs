//! A sound component of another world than an agent's: a policy. The host must refuse it at load as an agent, naming what is missing.

use ark_guest::policy::{
    self, Action, Answer, Facts, Metadata, Policy, RuleSpec, Severity, Verdict,
};

type Judge = fn(&Action) -> Answer;

const RULES: [RuleSpec<Judge>; 1] = [RuleSpec {
    number: 1,
    name: "say_why",
    category: "autonomy",
    severity: Severity::Low,
    hold: false,
    description: "An action says why.",
    judge: |action| Answer::fires_if(action.reasoning.is_none()),
}];

/// The policy.
pub struct WrongWorld;

impl Policy for WrongWorld {
    fn metadata() -> Metadata {
        policy::describe("wrong-world", env!("CARGO_PKG_VERSION"), &RULES)
    }

    fn evaluate(action: &Action, _: &Facts) -> Verdict {
        policy::judge(&RULES, |rule| (rule.judge)(action))
    }
}

ark_guest::export_policy!(WrongWorld);
