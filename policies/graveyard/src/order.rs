//! A trade as the rules read it, whether its parameters are typed or carried by a custom action.

use ark_guest::policy::{Side, Trade};

use crate::carried::Carried;
use crate::case::Unjudgeable;

/// A number that may be missing or unreadable.
pub type Number = Result<Option<f64>, Unjudgeable>;

/// What a trade states.
pub struct Order {
    /// The size as a fraction of capital. A custom action may state none.
    pub size: Number,
    /// The leverage. A custom action may state none.
    pub leverage: Number,
    /// The direction.
    pub side: Side,
    /// The entry price.
    pub entry_price: Number,
    /// The stop.
    pub stop_loss: Number,
    /// The target.
    pub take_profit: Number,
    /// The ratio of gain to loss as it is stated.
    pub risk_reward: Number,
    /// Marked: material non-public information.
    pub material_nonpublic: bool,
    /// Marked: manipulative intent.
    pub manipulative_intent: bool,
    /// Marked: ahead of a client's order.
    pub ahead_of_client_order: bool,
}

impl Order {
    /// Reads a typed trade. Sizes in its open parameters are added to its own, and the highest leverage counts.
    pub fn of_trade(trade: &Trade, carried: Option<&Carried>) -> Self {
        let typed = read_trade(trade);
        let Some(carried) = carried else {
            return typed;
        };
        let more = read_carried(carried);
        Self {
            size: combine(typed.size, more.size, |a, b| a + b),
            leverage: combine(typed.leverage, more.leverage, f64::max),
            material_nonpublic: typed.material_nonpublic || more.material_nonpublic,
            manipulative_intent: typed.manipulative_intent || more.manipulative_intent,
            ahead_of_client_order: typed.ahead_of_client_order || more.ahead_of_client_order,
            ..typed
        }
    }

    /// Reads the trade that a custom action carries; `None`: it carries none.
    pub fn of_carried(carried: &Carried) -> Option<Self> {
        let order = read_carried(carried);
        let states = |number: &Number| !matches!(number, Ok(None));
        let is_order = states(&order.size)
            || states(&order.leverage)
            || order.material_nonpublic
            || order.manipulative_intent
            || order.ahead_of_client_order
            || (carried.is_trade() && (states(&order.stop_loss) || states(&order.take_profit)));
        is_order.then_some(order)
    }

    /// Whether it commits capital, so that its prices and the account count. An unreadable size does.
    pub const fn commits_capital(&self) -> bool {
        !matches!(self.size, Ok(None))
    }
}

fn read_trade(trade: &Trade) -> Order {
    let positive = |value: f64, why| Unjudgeable(why).unless(value, value > 0.0);
    let size = trade.position_size_pct;
    let size = Unjudgeable("position_size_pct is not a number from 0 to 1")
        .unless(size, (0.0..=1.0).contains(&size));
    let finite = |value: Option<f64>, why| {
        value
            .map(|it| Unjudgeable(why).unless(it, true))
            .transpose()
    };
    Order {
        size: size.map(Some),
        leverage: positive(trade.leverage, "leverage is not a number above 0").map(Some),
        side: trade.side,
        entry_price: trade
            .entry_price
            .map(|price| positive(price, "entry_price is not a number above 0"))
            .transpose(),
        stop_loss: finite(trade.stop_loss, "stop_loss is not a finite number"),
        take_profit: trade
            .take_profit
            .map(|price| positive(price, "take_profit is not a number above 0"))
            .transpose(),
        risk_reward: finite(
            trade.risk_reward_ratio,
            "risk_reward_ratio is not a finite number",
        ),
        material_nonpublic: trade.material_nonpublic,
        manipulative_intent: trade.manipulative_intent,
        ahead_of_client_order: trade.ahead_of_client_order,
    }
}

fn read_carried(carried: &Carried) -> Order {
    let read = |stated: crate::carried::Stated, why: &'static str, above_0: bool| {
        stated.read(why).and_then(|value| {
            value
                .map(|it| Unjudgeable(why).unless(it, !above_0 || it > 0.0))
                .transpose()
        })
    };
    Order {
        size: carried.size(),
        leverage: read(
            carried.leverage,
            "the parameters carry a leverage that is not a number above 0",
            true,
        ),
        side: if carried.sells == Some(true) {
            Side::Sell
        } else {
            Side::Buy
        },
        entry_price: read(
            carried.entry_price,
            "the parameters carry an entry price that is not one number above 0",
            true,
        ),
        stop_loss: read(
            carried.stop_loss,
            "the parameters carry a stop that is not one finite number",
            false,
        ),
        take_profit: read(
            carried.take_profit,
            "the parameters carry a target that is not one number above 0",
            true,
        ),
        risk_reward: read(
            carried.risk_reward,
            "the parameters carry a ratio that is not a finite number",
            false,
        ),
        material_nonpublic: carried.material_nonpublic,
        manipulative_intent: carried.manipulative_intent,
        ahead_of_client_order: carried.ahead_of_client_order,
    }
}

fn combine(one: Number, other: Number, both: impl Fn(f64, f64) -> f64) -> Number {
    Ok(match (one?, other?) {
        (Some(one), Some(other)) => Some(both(one, other)),
        (one, other) => one.or(other),
    })
}
