//! Category `autonomy`: rules 23 to 26.

use ark_guest::policy::{Answer, Approval, Criticality};

use crate::case::{Case, Judged};
use crate::reasoning::says_something;

/// Rule 23: (fact) a standing user veto matches.
pub fn preserve_user_autonomy(case: &Case) -> Judged {
    Ok(match case.facts.veto.as_deref() {
        Some(veto) => Answer::fires().observed(veto).limit(false),
        None => Answer::passes().observed(false).limit(false),
    })
}

/// Rule 24: no reasoning. One without a letter or digit that can be seen is none.
pub fn transparent_reasoning(case: &Case) -> Judged {
    let given = says_something(case.action.reasoning.as_deref());
    Ok(Answer::fires_if(!given).observed(given).limit(true))
}

/// Rule 25: irreversible, and no rollback plan. One without a letter or digit that can be seen is none.
pub fn reversible_actions(case: &Case) -> Judged {
    let undoable = case.action.reversible || says_something(case.action.rollback_plan.as_deref());
    Ok(Answer::fires_if(!undoable).observed(undoable).limit(true))
}

/// Rule 26: critical, or irreversible and external, and (fact) no human approved it.
pub fn human_in_loop_critical(case: &Case) -> Judged {
    let action = case.action;
    if action.criticality != Criticality::Critical && (action.reversible || !action.is_external()) {
        return Ok(Answer::not_applicable());
    }
    let approved = case.facts.approval == Approval::Human;
    Ok(Answer::fires_if(!approved).observed(approved).limit(true))
}
