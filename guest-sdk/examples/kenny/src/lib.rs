//! kenny turns a pattern into an order.
//!
//! The stop is two deviations of an hour's move away (0.5 % at least), the target twice as far, so the risk/reward is 2. The size is what
//! loses the configured fraction of capital at the stop, weighted by the pattern's confidence, up to a cap. Before it proposes, kenny asks
//! how the policies would judge (`check`); when the position's size is all that stands in the way, it takes the nearest size that passes.
//! A symbol is left alone for a while after an order.
//!
//! Its messages never name a symbol: who talks about a symbol and then sells it is promoting (rule 3).

use ark_guest::agent::{
    Action, Agent, Error, Host, Level, Metadata, Outcome, Parameters, RuleResult, Side, Signal,
    is_symbol, trade,
};
use ark_guest::instrument::InstrumentKey;
use serde::{Deserialize, Serialize};

/// The number of the Graveyard's rule on the size of positions.
const MAX_POSITION_SIZE: u16 = 5;
/// Orders smaller than this are not worth their fees.
const SMALLEST: f64 = 0.002;
/// Ticks in the time that an order is meant to last: one a minute, for an hour.
const HORIZON: f64 = 60.0;

#[derive(Debug, Deserialize)]
struct Pattern {
    symbol: String,
    pattern: String,
    side: String,
    confidence: f64,
    price: f64,
    volatility: f64,
    at: u64,
}

/// The agent.
pub struct Kenny;

impl Agent for Kenny {
    fn metadata() -> Metadata {
        Metadata {
            name: "kenny".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let pattern: Pattern = signal.payload()?;
        let side = match pattern.side.as_str() {
            "buy" => Side::Buy,
            "sell" => Side::Sell,
            other => {
                return Err(Error::InvalidSignal(format!(
                    "side is {other:?}; give buy or sell"
                )));
            }
        };
        pattern.check().map_err(Error::InvalidSignal)?;
        // By instrument: the symbol in another spelling is no other one.
        let instrument = InstrumentKey::from_symbol(&pattern.symbol);
        let key = format!("last-order/{instrument}");
        let cool_down: u64 = host.config("cool_down_seconds", 900)?;
        // Either way in time: an order dated in the far future must not keep the symbol shut until then.
        if host
            .state::<u64>(&key)?
            .is_some_and(|last| pattern.at.abs_diff(last) < cool_down)
        {
            return Ok(Vec::new());
        }
        let distance = (2.0 * pattern.volatility * HORIZON.sqrt()).clamp(0.005, 0.2);
        let risk = read_fraction(host, "risk_per_trade", 0.001)?;
        let cap = read_fraction(host, "cap", 0.1)?;
        let size = (risk / distance * pattern.confidence).min(cap);
        let mut action = build_order(&pattern, side, size, distance)?;
        if let Some(smaller) = find_passing_size(host, &action)? {
            host.log(
                Level::Info,
                &format!("{} cut from {size:.4} to {smaller:.4}", pattern.symbol),
            );
            action = build_order(&pattern, side, smaller, distance)?;
        }
        let Parameters::Trade(order) = &action.parameters else {
            return Ok(Vec::new());
        };
        if order.position_size_pct < SMALLEST {
            return Ok(Vec::new());
        }
        host.set_state(&key, &pattern.at)?;
        #[derive(Serialize)]
        struct Remembered<'a> {
            symbol: &'a str,
            side: &'a str,
            size: f64,
            confidence: f64,
        }
        let remembered = Remembered {
            symbol: &pattern.symbol,
            side: &pattern.side,
            size: order.position_size_pct,
            confidence: pattern.confidence,
        };
        host.remember("order", &pattern.pattern, &remembered, Some(7 * 24 * 3600))?;
        Ok(vec![action])
    }
}

impl Pattern {
    fn check(&self) -> Result<(), String> {
        for (field, value, right) in [
            ("price", self.price, self.price > 0.0),
            (
                "confidence",
                self.confidence,
                (0.0..=1.0).contains(&self.confidence),
            ),
            ("volatility", self.volatility, self.volatility >= 0.0),
        ] {
            if !right {
                return Err(format!(
                    "{field} is {value}, which no pattern of joey's has"
                ));
            }
        }
        if is_symbol(&self.symbol) {
            Ok(())
        } else {
            Err("symbol is no symbol".to_owned())
        }
    }
}

/// A share of capital from the configuration.
fn read_fraction(host: &dyn Host, key: &str, default: f64) -> Result<f64, Error> {
    let share: f64 = host.config(key, default)?;
    if share > 0.0 && share <= 1.0 {
        return Ok(share);
    }
    Err(Error::Failed(format!(
        "config {key} is {share}; give more than 0, 1 at most: a fraction of capital"
    )))
}

fn build_order(pattern: &Pattern, side: Side, size: f64, distance: f64) -> Result<Action, Error> {
    let away = if side == Side::Buy {
        distance
    } else {
        -distance
    };
    trade(side, &pattern.symbol, size)
        .entry(pattern.price)
        .stop_loss(pattern.price * (1.0 - away))
        .take_profit(pattern.price * (1.0 + 2.0 * away))
        .reasoning(format!(
            "{}, confidence {:.2}, stop {:.1} % away",
            pattern.pattern,
            pattern.confidence,
            distance * 100.0
        ))
        .source("joey.pattern")
        .build()
}

/// The nearest size that passes, when the size is all that stands in the way.
fn find_passing_size(host: &dyn Host, action: &Action) -> Result<Option<f64>, Error> {
    let preview = host.check(action)?;
    if preview.outcome != Outcome::Denied {
        return Ok(None);
    }
    let mut blocking = preview
        .verdicts
        .iter()
        .flat_map(|verdict| &verdict.answers)
        .filter(|answer| matches!(answer.answer, RuleResult::Violation | RuleResult::Error));
    match (blocking.next(), blocking.next()) {
        (Some(only), None) if only.rule == MAX_POSITION_SIZE => Ok(only.nearest_passing),
        _ => Ok(None),
    }
}

ark_guest::export_agent!(Kenny);

#[cfg(test)]
mod tests {
    use ark_guest::agent::{MockHost, PolicyVerdict, Preview, RuleAnswer, Trade, Value};
    use serde_json::json;

    use super::*;

    fn pattern(side: &str, at: u64) -> serde_json::Value {
        json!({"symbol": "X", "pattern": "breakout", "side": side, "confidence": 0.8, "price": 100.0,
            "volatility": 0.001, "at": at})
    }

    fn only_trade(actions: &[Action]) -> Trade {
        let [
            Action {
                parameters: Parameters::Trade(trade),
                ..
            },
        ] = actions
        else {
            panic!("{actions:?}")
        };
        trade.clone()
    }

    #[test]
    fn orders_have_a_stop_and_a_target_on_the_right_sides_and_a_ratio_of_two() {
        for (side, sign) in [("buy", 1.0), ("sell", -1.0)] {
            let order = only_trade(
                &MockHost::new()
                    .deliver::<Kenny>("joey.pattern", &pattern(side, 0))
                    .unwrap(),
            );
            let (entry, stop, target) = (
                order.entry_price.unwrap(),
                order.stop_loss.unwrap(),
                order.take_profit.unwrap(),
            );
            assert!(
                (entry - stop) * sign > 0.0 && (target - entry) * sign > 0.0,
                "{order:?}"
            );
            assert!(((target - entry) / (entry - stop) - 2.0).abs() < 1e-9);
            assert!(
                order.position_size_pct > 0.0 && order.position_size_pct <= 0.1,
                "{order:?}"
            );
        }
    }

    #[test]
    fn a_symbol_is_left_alone_for_a_while() {
        let mut host = MockHost::new();
        let orders = |host: &mut MockHost, at| {
            host.deliver::<Kenny>("joey.pattern", &pattern("buy", at))
                .unwrap()
                .len()
        };
        assert_eq!(
            [
                orders(&mut host, 0),
                orders(&mut host, 899),
                orders(&mut host, 900)
            ],
            [1, 0, 1]
        );
        assert_eq!(host.memories().len(), 2);
        // A pattern dated far ahead is an order like any other, and shuts nothing.
        assert_eq!(
            [orders(&mut host, 90_000_000_000), orders(&mut host, 1900)],
            [1, 1]
        );
    }

    fn refusing(rules: &'static [u16], nearest: Option<f64>) -> MockHost {
        MockHost::new().with_check(move |_| Preview {
            outcome: Outcome::Denied,
            compliance_score: 0.5,
            verdicts: vec![PolicyVerdict {
                policy: "graveyard".to_owned(),
                answers: rules
                    .iter()
                    .map(|&rule| RuleAnswer {
                        rule,
                        answer: RuleResult::Violation,
                        observed: Value::None,
                        limit: Value::None,
                        nearest_passing: nearest,
                    })
                    .collect(),
            }],
        })
    }

    #[test]
    fn it_takes_the_size_that_passes_when_the_size_is_all_that_is_wrong() {
        let deliver = |mut host: MockHost| {
            host.deliver::<Kenny>("joey.pattern", &pattern("buy", 0))
                .unwrap()
        };
        assert_eq!(
            only_trade(&deliver(refusing(&[5], Some(0.03)))).position_size_pct,
            0.03
        );
        assert!(deliver(refusing(&[5], Some(0.0))).is_empty());
        let other = only_trade(&deliver(refusing(&[1, 5], Some(0.03))));
        assert_ne!(other.position_size_pct, 0.03);
    }

    #[test]
    fn a_pattern_that_makes_no_sense_is_refused() {
        for (field, value) in [
            ("side", json!("up")),
            ("price", json!(-1)),
            ("confidence", json!(2)),
            ("volatility", json!(-0.1)),
            ("symbol", json!("a\nb")),
            ("at", json!("now")),
        ] {
            let mut payload = pattern("buy", 0);
            payload[field] = value;
            let result = MockHost::new().deliver::<Kenny>("joey.pattern", &payload);
            assert!(
                matches!(&result, Err(Error::InvalidSignal(problem)) if problem.contains(field)),
                "{payload}: {result:?}"
            );
        }
    }

    #[test]
    fn a_configuration_out_of_range_is_named() {
        for (key, value) in [
            ("risk_per_trade", -0.1),
            ("risk_per_trade", 0.0),
            ("cap", 1.5),
        ] {
            let mut host = MockHost::new().with_config(key, &value);
            let result = host.deliver::<Kenny>("joey.pattern", &pattern("buy", 0));
            assert!(
                matches!(&result, Err(Error::Failed(problem)) if problem.contains(key)),
                "{key}: {result:?}"
            );
            assert_eq!(host.memories().len(), 0);
        }
    }

    #[test]
    fn confidence_and_calm_make_orders_larger_up_to_the_cap() {
        let size = |confidence: f64, volatility: f64| {
            let mut payload = pattern("buy", 0);
            payload["confidence"] = json!(confidence);
            payload["volatility"] = json!(volatility);
            let mut host = MockHost::new()
                .with_config("risk_per_trade", &0.001)
                .with_config("cap", &0.05);
            only_trade(&host.deliver::<Kenny>("joey.pattern", &payload).unwrap()).position_size_pct
        };
        assert!(size(0.9, 0.002) > size(0.6, 0.002) && size(0.6, 0.002) > size(0.6, 0.004));
        assert_eq!(size(1.0, 0.0), 0.05);
    }

    #[test]
    fn its_actions_are_trades_and_never_speak_of_a_symbol() {
        let actions = MockHost::new()
            .deliver::<Kenny>("joey.pattern", &pattern("sell", 0))
            .unwrap();
        assert!(
            actions
                .iter()
                .all(|action| matches!(action.parameters, Parameters::Trade(_))),
            "{actions:?}"
        );
    }
}
