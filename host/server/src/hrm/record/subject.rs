//! What the index of decisions holds of a decision.

use ark_model::action::Parameters;
use ark_model::decision::Decision;
use ark_store::{FiredRule, IndexedFields};

/// Returns what a decision concerned and which rules fired, for lists of decisions.
pub(in crate::hrm) fn index_fields(decision: &Decision) -> IndexedFields {
    let size = match &decision.action.parameters {
        Parameters::Trade(trade) => Some(trade.position_size_pct),
        Parameters::ClosePosition(close) => close.position_size_pct,
        _ => None,
    };
    let fired = decision.verdicts.iter().flat_map(|part| {
        let verdict = part.verdict.as_ref();
        let answers = verdict.map_or(&[][..], |verdict| &verdict.answers);
        let fired = answers.iter().filter(|answer| answer.answer.has_fired());
        fired.filter_map(|answer| {
            let rule = part.policy.rule(answer.rule)?;
            Some(FiredRule {
                policy: part.policy.metadata.name.clone(),
                number: rule.number,
                rule: rule.name.clone(),
                answer: answer.answer,
            })
        })
    });
    IndexedFields {
        symbol: decision.action.symbol().map(str::to_owned),
        size,
        fired: fired.collect(),
    }
}
