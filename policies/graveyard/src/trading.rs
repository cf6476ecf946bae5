//! Category `trading`: rules 1 to 4. They apply to the trade family and to closing a position, which is a trade in the market too.

use ark_guest::policy::{Answer, Side};

use crate::case::{Case, Judged, Unjudgeable};

/// Rule 2: how long the same agent's trade on the other side counts as a wash, in seconds.
pub const WASH_WINDOW: f64 = 60.0;
/// Rule 3: how long a promotion keeps its agent from selling, in seconds.
pub const PROMOTION_WINDOW: f64 = 24.0 * 60.0 * 60.0;

/// Rule 1: marked as resting on material non-public information, or (fact) the symbol is on the restricted list.
pub fn no_insider_trading(case: &Case) -> Judged {
    let marked = case.trade().map(|trade| trade.material_nonpublic);
    Ok(flagged(case, marked, case.facts.symbol_restricted))
}

/// Rule 2: meant to manipulate, or (fact) the same agent traded the other side less than 60 s ago.
pub fn no_market_manipulation(case: &Case) -> Judged {
    let Some(marked) = case
        .trade()
        .map(|trade| trade.manipulative_intent)
        .or(case.close().map(|_| false))
    else {
        return Ok(Answer::not_applicable());
    };
    if marked {
        return Ok(Answer::fires().observed(true).limit(false));
    }
    age_outside(
        case.facts.opposite_trade_age,
        WASH_WINDOW,
        Unjudgeable("the age of the opposite trade is not a number from 0"),
    )
}

/// Rule 3: a sale less than 24 h after (fact) the same agent promoted the symbol. Closing a position may be a sale: it counts as one.
pub fn no_pump_and_dump(case: &Case) -> Judged {
    if case.close().is_none() && case.trade().is_none_or(|trade| trade.side != Side::Sell) {
        return Ok(Answer::not_applicable());
    }
    age_outside(
        case.facts.promotion_age,
        PROMOTION_WINDOW,
        Unjudgeable("the age of the promotion is not a number from 0"),
    )
}

/// Rule 4: meant to run ahead of a client's order, or (fact) one is pending in the symbol.
pub fn no_front_running(case: &Case) -> Judged {
    let marked = case.trade().map(|trade| trade.ahead_of_client_order);
    Ok(flagged(case, marked, case.facts.client_order_pending))
}

/// A mark that a trade carries, or a fact about its symbol.
fn flagged(case: &Case, marked: Option<bool>, fact: bool) -> Answer {
    match marked.or(case.close().map(|_| false)) {
        Some(marked) => Answer::fires_if(marked || fact)
            .observed(marked || fact)
            .limit(false),
        None => Answer::not_applicable(),
    }
}

/// Fires inside the window. An age equal to the window is outside, and the nearest that passes.
fn age_outside(age: Option<f64>, window: f64, out_of_range: Unjudgeable) -> Judged {
    let Some(age) = age else {
        return Ok(Answer::passes().limit(window));
    };
    let age = out_of_range.unless(age, age >= 0.0)?;
    Ok(Answer::fires_if(age < window)
        .observed(age)
        .limit(window)
        .nearest_passing(age.max(window)))
}
