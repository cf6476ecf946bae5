//! Category `governance`: rules 11 to 14.

use ark_guest::policy::{Answer, Approval, FileVerb, Parameters};

use crate::carried::Carried;
use crate::case::{Case, Judged, Unjudgeable};
use crate::naming::Attempt;
use crate::order::Order;

/// Rule 11: the size above which a trade needs an approval, as a fraction of capital.
pub const UNAPPROVED_POSITION_SIZE: f64 = 0.08;
/// Rule 11: the leverage above which a trade needs an approval.
pub const UNAPPROVED_LEVERAGE: f64 = 1.5;

/// Rule 11: a high-risk action without (fact) an approval, an operator's or a human's: deleting, running code, a trade above 8 % or
/// with leverage above 1.5. A custom action that carries such a trade, code, or a destructive operation on a path is one too.
pub fn require_hrm_approval(case: &Case) -> Judged {
    let approved = case.facts.approval != Approval::None;
    let about_order = match &case.order {
        Some(order) => hold_large_order(order, approved)?,
        None => None,
    };
    let high_risk = match &case.action.parameters {
        Parameters::Code(_) => true,
        Parameters::File(file) => matches!(
            file.operation,
            FileVerb::Delete | FileVerb::Remove | FileVerb::Destroy
        ),
        Parameters::Custom(_) => case
            .carried()
            .is_some_and(|carried| carried.code || carried.destroys()),
        _ => false,
    };
    // A custom action may carry a small trade and code: then the code decides.
    Ok(match about_order {
        Some(answer) if !high_risk || answer.is_broken() => answer,
        _ if high_risk => Answer::fires_if(!approved).observed(approved).limit(true),
        _ => Answer::not_applicable(),
    })
}

/// The answer about a trade's size and leverage; `None` where it states neither.
fn hold_large_order(order: &Order, approved: bool) -> Result<Option<Answer>, Unjudgeable> {
    let (size, leverage) = (order.size?, order.leverage?);
    if size.is_none() && leverage.is_none() {
        return Ok(None);
    }
    let is_large = size.is_some_and(|size| size > UNAPPROVED_POSITION_SIZE);
    let is_levered = leverage.is_some_and(|leverage| leverage > UNAPPROVED_LEVERAGE);
    let (observed, limit) = match (size, leverage) {
        (Some(size), _) if is_large || !is_levered => (size, UNAPPROVED_POSITION_SIZE),
        (_, Some(leverage)) => (leverage, UNAPPROVED_LEVERAGE),
        (size, None) => (size.unwrap_or(0.0), UNAPPROVED_POSITION_SIZE),
    };
    let fires = (is_large || is_levered) && !approved;
    let nearest = match (fires, is_large && is_levered) {
        (false, _) => Some(observed),
        (true, false) => Some(limit),
        // Of two excesses, giving up one does not help.
        (true, true) => None,
    };
    let answer = Answer::fires_if(fires)
        .observed(observed)
        .limit(limit)
        .nearest_passing(nearest);
    Ok(Some(answer))
}

/// Rule 12: (fact) the audit log cannot be written; or the action is an attempt to get rid of the audit.
pub fn audit_all_actions(case: &Case) -> Judged {
    if !case.facts.audit_writable {
        return Ok(Answer::fires().observed(false).limit(true));
    }
    Ok(match case.attempt(Attempt::Audit)? {
        Some(name) => Answer::fires().observed(name).limit(true),
        None => Answer::passes().observed(true).limit(true),
    })
}

/// Rule 13: an attempt to disable, bypass or ignore a user override.
pub fn user_override_allowed(case: &Case) -> Judged {
    Ok(match case.attempt(Attempt::UserOverride)? {
        Some(name) => Answer::fires().observed(name).limit(false),
        None => Answer::passes().observed(false).limit(false),
    })
}

/// Rule 14: (fact) the halt is active and the action is neither read-only nor itself a halt (the custom kinds `halt` and
/// `emergency_halt`, with nothing of another family in their parameters); or the action is an attempt to lift or disable the halt.
pub fn emergency_halt_enabled(case: &Case) -> Judged {
    let halts = matches!(&case.action.parameters, Parameters::Custom(custom) if matches!(custom.kind.as_str(), "halt" | "emergency_halt"))
        && case.carried().is_some_and(Carried::is_nothing);
    let halted = case.facts.halt_active;
    if halted && !halts && !case.action.is_read_only() {
        return Ok(Answer::fires().observed(true).limit(false));
    }
    Ok(match case.attempt(Attempt::Halt)? {
        Some(name) => Answer::fires().observed(name).limit(false),
        None => Answer::passes().observed(halted).limit(false),
    })
}
