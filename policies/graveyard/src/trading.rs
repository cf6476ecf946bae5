//! Category `trading`: rules 1 to 4. They apply to the trade family and to closing a position, which is a trade in the market too. In a custom
//! action that carries a trade's fields they heed its marks; the host attests nothing of an instrument that such an action names, so that a trade
//! in one cannot be judged.

use ark_guest::policy::{Answer, Side};

use crate::case::{Case, Judged, Unjudgeable};

/// Rule 2: how long the same agent's trade on the other side counts as a wash, in seconds.
pub const WASH_WINDOW: f64 = 60.0;
/// Rule 3: how long a promotion forbids selling, in seconds.
pub const PROMOTION_WINDOW: f64 = 24.0 * 60.0 * 60.0;

/// Rule 1: marked as resting on material non-public information, or (fact) the symbol is on the restricted list. A custom action that carries a
/// trade in an instrument cannot be judged: the host looks up what typed parameters name.
pub fn no_insider_trading(case: &Case) -> Judged {
    if case.carries_a_trade_in_an_instrument() {
        return Err(Unjudgeable(
            "the parameters carry a trade in an instrument, and the host attests nothing of it; declare the action type in the family `trade`, \
             with a mapping of its fields",
        ));
    }
    let marked = case.order.as_ref().map(|order| order.material_nonpublic);
    Ok(flagged(case, marked, case.facts.symbol_restricted))
}

/// Rule 2: meant to manipulate, or (fact) the same agent traded the other side less than 60 s ago.
///
/// Closing inside the window is only warned of: nobody may be trapped in a position, and the host lets nobody close more than is open. The
/// host records the close as a trade on the other side, so what a round trip needs, the next opening trade, is what the window denies.
pub fn no_market_manipulation(case: &Case) -> Judged {
    let closes = case.close().is_some();
    let order = case.order.as_ref();
    let Some(marked) = order
        .map(|order| order.manipulative_intent)
        .or(closes.then_some(false))
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
        if closes { Answer::warns } else { Answer::fires },
    )
}

/// Rule 3: a sale less than 24 h after (fact) the instrument was promoted: by a publication, a report or an outward message of any agent, or by a
/// message of the same agent. Closing a position may be a sale: it counts as one.
pub fn no_pump_and_dump(case: &Case) -> Judged {
    if case.close().is_none() && case.trade().is_none_or(|trade| trade.side != Side::Sell) {
        return Ok(Answer::not_applicable());
    }
    age_outside(
        case.facts.promotion_age,
        PROMOTION_WINDOW,
        Unjudgeable("the age of the promotion is not a number from 0"),
        Answer::fires,
    )
}

/// Rule 4: meant to run ahead of a client's order, or (fact) one is pending in the symbol.
pub fn no_front_running(case: &Case) -> Judged {
    let marked = case.order.as_ref().map(|order| order.ahead_of_client_order);
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

/// Gives the answer `inside` for an age inside the window. An age equal to the window is outside, and the nearest that passes.
fn age_outside(
    age: Option<f64>,
    window: f64,
    out_of_range: Unjudgeable,
    inside: fn() -> Answer,
) -> Judged {
    let Some(age) = age else {
        return Ok(Answer::passes().limit(window));
    };
    let age = out_of_range.unless(age, age >= 0.0)?;
    let answer = if age < window {
        inside()
    } else {
        Answer::passes()
    };
    Ok(answer
        .observed(age)
        .limit(window)
        .nearest_passing(age.max(window)))
}
