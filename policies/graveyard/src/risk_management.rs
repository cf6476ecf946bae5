//! Category `risk_management`: rules 5 to 10. They apply to the trade family, and to custom actions as far as these carry a trade's fields;
//! closing a position reduces risk.
//!
//! Sizes are fractions of capital that a trade commits. Leverage does not multiply them: it is bounded by itself (rules 7 and 11), so that a
//! limit means the same for every trade and one number of an action explains each denial.
//!
//! Where a rule passes, the nearest passing value is the value itself.

use ark_guest::policy::{Answer, Side};

use crate::case::{Case, Judged, TOLERANCE, Unjudgeable};
use crate::order::Order;

/// Rule 5: the largest exposure in one symbol, as a fraction of capital.
pub const MAX_POSITION_SIZE: f64 = 0.10;
/// Rule 6: the realised loss of a day from which no risk may be opened, as a fraction of capital.
pub const MAX_DAILY_LOSS: f64 = 0.05;
/// Rule 7: the highest leverage.
pub const MAX_LEVERAGE: f64 = 2.0;
/// Rule 9: the lowest ratio of expected gain to risked loss.
pub const MIN_RISK_REWARD: f64 = 1.5;
/// Rule 10: how many positions may be open.
pub const MAX_CONCURRENT_TRADES: u32 = 5;

/// Rule 5: the position with the exposure already held in the symbol (fact) is above 0.10, leverage not counted. The nearest passing value is the largest
/// position size that fits beside the exposure; none when the exposure alone is above the limit.
pub fn max_position_size(case: &Case) -> Judged {
    let Some(order) = &case.order else {
        return Ok(Answer::not_applicable());
    };
    let Some(size) = order.size? else {
        return Ok(Answer::not_applicable());
    };
    let held = case.facts.symbol_exposure;
    let held =
        Unjudgeable("the symbol's exposure is not a number from 0").unless(held, held >= 0.0)?;
    let answer = Answer::fires_if(size + held > MAX_POSITION_SIZE + TOLERANCE)
        .observed(size + held)
        .limit(MAX_POSITION_SIZE);
    let room = (held <= MAX_POSITION_SIZE + TOLERANCE).then(|| (MAX_POSITION_SIZE - held).max(0.0));
    // Within the tolerance a size may pass that is a hair above the room: then it is itself what passes.
    let nearest = if size + held > MAX_POSITION_SIZE + TOLERANCE {
        room
    } else {
        Some(size)
    };
    Ok(answer.nearest_passing(nearest))
}

/// Rule 6: (fact) today's realised loss is 0.05 or more, and the trade opens risk. No value of the action would pass then.
pub fn max_daily_loss(case: &Case) -> Judged {
    if !commits_capital(case) {
        return Ok(Answer::not_applicable());
    }
    let loss = case.facts.daily_loss;
    let loss = Unjudgeable("today's loss is not a number from 0").unless(loss, loss >= 0.0)?;
    // The loss is a sum: one that a rounding keeps a hair below the limit has reached it.
    let reached = loss >= MAX_DAILY_LOSS - TOLERANCE;
    let answer = Answer::fires_if(reached)
        .observed(loss)
        .limit(MAX_DAILY_LOSS);
    Ok(answer.nearest_passing((!reached).then_some(loss)))
}

/// Rule 7: leverage above 2.
pub fn max_leverage(case: &Case) -> Judged {
    let Some(order) = &case.order else {
        return Ok(Answer::not_applicable());
    };
    let Some(leverage) = order.leverage? else {
        return Ok(Answer::not_applicable());
    };
    let answer = Answer::fires_if(leverage > MAX_LEVERAGE)
        .observed(leverage)
        .limit(MAX_LEVERAGE);
    Ok(answer.nearest_passing(leverage.min(MAX_LEVERAGE)))
}

/// Rule 8: no stop-loss, or one that is not above 0, or not below the entry price of a buy, or not above that of a sell. A stop without an
/// entry price cannot be judged. The limit shown is the price the stop has to be beyond. The nearest passing value is the stop itself or
/// none: strictly beyond a price there is no nearest one.
pub fn require_stop_loss(case: &Case) -> Judged {
    let Some(order) = case.order.as_ref().filter(|order| has_prices(order)) else {
        return Ok(Answer::not_applicable());
    };
    let entry = order.entry_price?;
    let answer = match order.stop_loss? {
        None => Answer::fires(),
        Some(stop) if stop <= 0.0 => Answer::fires().observed(stop),
        Some(stop) => {
            let entry = entry.ok_or(Unjudgeable(
                "entry_price is missing: without it nobody can say whether stop_loss ends the trade at a loss; state it",
            ))?;
            if protects(order.side, stop, entry) {
                Answer::passes().observed(stop).nearest_passing(stop)
            } else {
                Answer::fires().observed(stop)
            }
        }
    };
    Ok(answer.limit(entry.unwrap_or(0.0)))
}

/// Rule 9: the ratio of expected gain to risked loss is below 1.5. It is the lower of the one stated and the one that entry, stop
/// and target give: a claim does not beat arithmetic. Without either it warns. A target without an entry price cannot be judged.
pub fn min_risk_reward(case: &Case) -> Judged {
    let Some(order) = case.order.as_ref().filter(|order| has_prices(order)) else {
        return Ok(Answer::not_applicable());
    };
    let ratio = match (order.risk_reward?, computed_ratio(order)?) {
        (Some(stated), Some(computed)) => stated.min(computed),
        (Some(ratio), None) | (None, Some(ratio)) => ratio,
        (None, None) => {
            return Ok(Answer::warns()
                .limit(MIN_RISK_REWARD)
                .nearest_passing(MIN_RISK_REWARD));
        }
    };
    let fires = ratio < MIN_RISK_REWARD - TOLERANCE;
    let nearest = if fires { MIN_RISK_REWARD } else { ratio };
    Ok(Answer::fires_if(fires)
        .observed(ratio)
        .limit(MIN_RISK_REWARD)
        .nearest_passing(nearest))
}

/// Rule 10: (fact) five positions or more are open already. The nearest passing number of open positions is one less.
pub fn max_concurrent_trades(case: &Case) -> Judged {
    if !commits_capital(case) {
        return Ok(Answer::not_applicable());
    }
    let open = case.facts.open_positions;
    let answer = Answer::fires_if(open >= MAX_CONCURRENT_TRADES)
        .observed(open)
        .limit(MAX_CONCURRENT_TRADES);
    Ok(answer.nearest_passing(f64::from(open.min(MAX_CONCURRENT_TRADES - 1))))
}

fn commits_capital(case: &Case) -> bool {
    case.order.as_ref().is_some_and(Order::commits_capital)
}

/// Whether stop and target are judged: where capital is committed, and where a custom action carries one of them.
const fn has_prices(order: &Order) -> bool {
    order.commits_capital()
        || !matches!(order.stop_loss, Ok(None))
        || !matches!(order.take_profit, Ok(None))
}

/// Whether a stop ends the position at a loss: above 0 and on the losing side of the entry price.
fn protects(side: Side, stop: f64, entry: f64) -> bool {
    stop > 0.0
        && match side {
            Side::Buy => stop < entry,
            Side::Sell => stop > entry,
        }
}

/// (target − entry) / (entry − stop), both signs turned for a sell. `None` without a target, or with a stop that is missing or that rule 8
/// refuses: no loss is limited then, so there is no ratio. A target on the losing side gives a ratio of 0 or less.
fn computed_ratio(order: &Order) -> Result<Option<f64>, Unjudgeable> {
    let (entry, stop) = (order.entry_price?, order.stop_loss?);
    let Some(target) = order.take_profit? else {
        return Ok(None);
    };
    let entry = entry.ok_or(Unjudgeable(
        "entry_price is missing: without it nobody can say what take_profit would gain; state it",
    ))?;
    let Some(stop) = stop.filter(|&stop| protects(order.side, stop, entry)) else {
        return Ok(None);
    };
    let ratio = match order.side {
        Side::Buy => (target - entry) / (entry - stop),
        Side::Sell => (entry - target) / (stop - entry),
    };
    Ok(Some(ratio.clamp(f64::MIN, f64::MAX)))
}
