//! Category `integrity`: rules 19 to 22.

use ark_guest::policy::{Answer, FileVerb, Parameters};

use crate::case::{Case, Judged};
use crate::files::{FileSearch, is_in_graveyard, names_host_file};
use crate::naming::Attempt;

/// Rule 22: the longest chain of signals.
pub const MAX_CAUSAL_DEPTH: u32 = 16;
/// Rule 22: how often an agent may propose the identical action in 60 s, this time included.
pub const MAX_IDENTICAL_ACTIONS: u32 = 10;

/// Rule 19: an attempt to change the Graveyard: the system changes `modify_graveyard`, `update_ethics` and `change_rules`, custom
/// kinds and parameters that name one; any file operation but read on a file of the host ([`crate::files`]), data sent to one, code that
/// mentions one, and text in a custom action that does. Or (fact) the pin is broken.
pub fn immutable_graveyard(case: &Case) -> Judged {
    if !case.facts.pin_holds {
        return Ok(Answer::fires().observed("the pin is broken").limit(false));
    }
    if let Some(name) = case.attempt(Attempt::Graveyard)? {
        return Ok(Answer::fires().observed(name).limit(false));
    }
    Ok(match &case.action.parameters {
        Parameters::File(file)
            if file.operation != FileVerb::Read
                && (is_in_graveyard(&file.path)
                    || names_host_file(&file.path, file.operation != FileVerb::Write)) =>
        {
            Answer::fires().observed(file.path.as_str()).limit(false)
        }
        Parameters::Data(data)
            if data
                .destination
                .as_deref()
                .is_some_and(|name| names_host_file(name, false)) =>
        {
            Answer::fires()
                .observed("the destination is a file of the host")
                .limit(false)
        }
        Parameters::Code(code) if FileSearch::default().is_mentioned(&code.code) => Answer::fires()
            .observed("the code mentions a file of the host")
            .limit(false),
        _ => Answer::passes().observed(false).limit(false),
    })
}

/// Rule 20: (fact) the watchdog does not beat; or the action is an attempt to disable it.
pub fn watchdog_monitoring(case: &Case) -> Judged {
    if !case.facts.watchdog_beating {
        return Ok(Answer::fires().observed(false).limit(true));
    }
    Ok(match case.attempt(Attempt::Watchdog)? {
        Some(name) => Answer::fires().observed(name).limit(true),
        None => Answer::passes().observed(true).limit(true),
    })
}

/// Rule 21: (fact) it rests on sources that no operator validated.
pub fn validate_data_sources(case: &Case) -> Judged {
    let unvalidated = &case.facts.unvalidated_sources;
    if unvalidated.is_empty() {
        let named = !case.action.sources.is_empty();
        return Ok(if named {
            Answer::passes().observed(0_u32).limit(0_u32)
        } else {
            Answer::not_applicable()
        });
    }
    Ok(Answer::fires()
        .observed(unvalidated.join(", "))
        .limit(0_u32))
}

/// Rule 22: (fact) more than 16 signals led to it, or it is the identical action for more than the 10th time in 60 s. The nearest
/// passing value is that of the limit shown.
pub fn prevent_infinite_loops(case: &Case) -> Judged {
    let (depth, times) = (
        case.facts.causal_depth,
        case.facts.identical_actions.saturating_add(1),
    );
    if depth <= MAX_CAUSAL_DEPTH && times > MAX_IDENTICAL_ACTIONS {
        let answer = Answer::fires().observed(times).limit(MAX_IDENTICAL_ACTIONS);
        return Ok(answer.nearest_passing(f64::from(MAX_IDENTICAL_ACTIONS)));
    }
    let answer = Answer::fires_if(depth > MAX_CAUSAL_DEPTH)
        .observed(depth)
        .limit(MAX_CAUSAL_DEPTH);
    // Where both limits are passed, being within one of them does not help.
    let nearest = (times <= MAX_IDENTICAL_ACTIONS).then(|| f64::from(depth.min(MAX_CAUSAL_DEPTH)));
    Ok(answer.nearest_passing(nearest))
}
