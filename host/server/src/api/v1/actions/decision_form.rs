//! In what form a decision is shown: with all answers of rules, with those that fired, or with the least that says what it is.

use ark_model::decision::{Decision, PolicyVerdict};
use ark_model::verdict::RuleResult;

use crate::api::http::preferences::{Preferences, RulesShown};

use super::decision_view::DecisionView;

/// In what form a decision is shown.
#[derive(Debug, Clone, Copy)]
pub(super) struct DecisionForm {
    rules: RulesShown,
    preferences: Preferences,
}

impl DecisionForm {
    pub(super) fn new(rules: Option<RulesShown>, preferences: Preferences) -> Self {
        Self {
            rules: rules.unwrap_or_default(),
            preferences,
        }
    }

    /// Returns whether a rule's answer is shown, of a policy in force or on trial.
    pub(super) fn shows_answer(self, answer: RuleResult) -> bool {
        let shows_all = !self.preferences.is_minimal && self.rules == RulesShown::All;
        shows_all || answer.has_fired()
    }

    /// Returns whether a policy in force is shown.
    pub(super) fn shows_policy(self, part: &PolicyVerdict) -> bool {
        let has_fired = || match &part.verdict {
            Ok(verdict) => verdict
                .answers
                .iter()
                .any(|answer| answer.answer.has_fired() && part.policy.rule(answer.rule).is_some()),
            Err(_) => true,
        };
        !self.preferences.is_minimal || has_fired()
    }

    /// Returns whether policies on trial are shown.
    pub(super) const fn shows_shadows(self) -> bool {
        !self.preferences.is_minimal
    }

    /// The whole record in this form.
    pub(super) fn show_record(self, decision: &Decision) -> DecisionView<'_> {
        self.apply(DecisionView::with_facts(decision))
    }

    /// A view in this form.
    pub(super) fn apply(self, view: DecisionView<'_>) -> DecisionView<'_> {
        if self.preferences.is_minimal {
            view.into_minimal()
        } else if self.rules == RulesShown::Fired {
            view.with_fired_rules()
        } else {
            view
        }
    }
}
