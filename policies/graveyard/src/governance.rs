//! Category `governance`: rules 11 to 14.

use ark_guest::policy::{Answer, Approval, FileVerb, Parameters};

use crate::case::{Case, Judged, leverage, position_size};
use crate::naming::Attempt;

/// Rule 11: the size above which a trade needs an approval, as a fraction of capital.
pub const UNAPPROVED_POSITION_SIZE: f64 = 0.08;
/// Rule 11: the leverage above which a trade needs an approval.
pub const UNAPPROVED_LEVERAGE: f64 = 1.5;

/// Rule 11: a high-risk action without (fact) an approval, an operator's or a human's: deleting, running code, a trade above 8 % or
/// with leverage above 1.5.
pub fn require_hrm_approval(case: &Case) -> Judged {
    let approved = case.facts.approval != Approval::None;
    match &case.action.parameters {
        Parameters::Trade(trade) => {
            let (size, leverage) = (position_size(trade)?, leverage(trade)?);
            let (large, levered) = (
                size > UNAPPROVED_POSITION_SIZE,
                leverage > UNAPPROVED_LEVERAGE,
            );
            let (observed, limit) = if levered && !large {
                (leverage, UNAPPROVED_LEVERAGE)
            } else {
                (size, UNAPPROVED_POSITION_SIZE)
            };
            let fires = (large || levered) && !approved;
            let nearest = match (fires, large && levered) {
                (false, _) => Some(observed),
                (true, false) => Some(limit),
                // Of two excesses, giving up one does not help.
                (true, true) => None,
            };
            Ok(Answer::fires_if(fires)
                .observed(observed)
                .limit(limit)
                .nearest_passing(nearest))
        }
        Parameters::Code(_) => Ok(Answer::fires_if(!approved).observed(approved).limit(true)),
        Parameters::File(file)
            if matches!(
                file.operation,
                FileVerb::Delete | FileVerb::Remove | FileVerb::Destroy
            ) =>
        {
            Ok(Answer::fires_if(!approved).observed(approved).limit(true))
        }
        _ => Ok(Answer::not_applicable()),
    }
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
/// `emergency_halt`); or the action is an attempt to lift or disable the halt.
pub fn emergency_halt_enabled(case: &Case) -> Judged {
    let halts = matches!(&case.action.parameters, Parameters::Custom(custom) if matches!(custom.kind.as_str(), "halt" | "emergency_halt"));
    let halted = case.facts.halt_active;
    if halted && !halts && !case.action.is_read_only() {
        return Ok(Answer::fires().observed(true).limit(false));
    }
    Ok(match case.attempt(Attempt::Halt)? {
        Some(name) => Answer::fires().observed(name).limit(false),
        None => Answer::passes().observed(halted).limit(false),
    })
}
