//! In what form a decision is shown: with all answers of rules, with those that fired, or with the least that says what it is.

use ark_model::decision::Decision;

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

    /// The answer to a proposal in this form.
    pub(super) fn show_answer(self, decision: &Decision, dry_run: bool) -> DecisionView<'_> {
        self.apply(DecisionView::of(decision, dry_run))
    }

    /// The whole record in this form.
    pub(super) fn show_record(self, decision: &Decision) -> DecisionView<'_> {
        self.apply(DecisionView::with_facts(decision))
    }

    fn apply(self, view: DecisionView<'_>) -> DecisionView<'_> {
        if self.preferences.is_minimal {
            view.into_minimal()
        } else if self.rules == RulesShown::Fired {
            view.with_fired_rules()
        } else {
            view
        }
    }
}
