//! joey looks for patterns in kyle's scores.
//!
//! Two of them. A *breakout*: the price leaves the channel of the last prices in the direction of its score, with more volume than usual. A
//! *mean reversion*: a move of more than 2.5 deviations that no trend carries, which is traded against. The confidence is 0 to 1; below
//! the configured threshold joey keeps quiet.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Side, Signal, is_symbol, message};
use serde::{Deserialize, Serialize};

/// How many scores tell whether there is a trend.
const RECENT: usize = 8;

/// The part of kyle's score that joey reads.
#[derive(Debug, Clone, Deserialize)]
struct Score {
    symbol: String,
    price: f64,
    at: u64,
    score: f64,
    z: f64,
    volume_ratio: f64,
    volatility: f64,
    high: f64,
    low: f64,
}

/// A pattern.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pattern {
    /// The instrument.
    pub symbol: String,
    /// `breakout` or `mean_reversion`.
    pub pattern: String,
    /// `buy` or `sell`.
    pub side: String,
    /// How sure, 0 to 1.
    pub confidence: f64,
    /// The price.
    pub price: f64,
    /// The standard deviation of returns.
    pub volatility: f64,
    /// When, in seconds since the Unix epoch.
    pub at: u64,
}

/// The agent.
pub struct Joey;

impl Agent for Joey {
    fn metadata() -> Metadata {
        Metadata {
            name: "joey".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let score: Score = signal.payload()?;
        score.check_fields().map_err(Error::InvalidSignal)?;
        let threshold: f64 = host.config("confidence", 0.6)?;
        if !(0.0..=1.0).contains(&threshold) {
            return Err(Error::Failed(format!(
                "config confidence is {threshold}; give 0 to 1"
            )));
        }
        let key = format!("recent/{}", score.symbol);
        let mut recent: Vec<f64> = host.state(&key)?.unwrap_or_default();
        let trend = if recent.is_empty() {
            0.0
        } else {
            recent.iter().sum::<f64>() / recent.len() as f64
        };
        recent.push(score.score);
        if recent.len() > RECENT {
            recent.remove(0);
        }
        host.set_state(&key, &recent)?;
        let Some((pattern, side, confidence)) = find_pattern(&score, trend) else {
            return Ok(Vec::new());
        };
        if confidence < threshold {
            return Ok(Vec::new());
        }
        let side = if side == Side::Buy { "buy" } else { "sell" };
        let found = Pattern {
            symbol: score.symbol.clone(),
            pattern: pattern.to_owned(),
            side: side.to_owned(),
            confidence,
            price: score.price,
            volatility: score.volatility,
            at: score.at,
        };
        let reasoning = format!(
            "{pattern} in {}: {side}, confidence {confidence:.2}",
            score.symbol
        );
        Ok(vec![
            message("joey.pattern")
                .payload(&found)
                .reasoning(reasoning)
                .source("kyle.score")
                .build()?,
        ])
    }
}

impl Score {
    fn check_fields(&self) -> Result<(), String> {
        for (field, value, right) in [
            ("price", self.price, self.price > 0.0),
            ("score", self.score, (-1.0..=1.0).contains(&self.score)),
            ("volume_ratio", self.volume_ratio, self.volume_ratio >= 0.0),
            ("volatility", self.volatility, self.volatility >= 0.0),
            ("low", self.low, self.low > 0.0 && self.low <= self.high),
        ] {
            if !right {
                return Err(format!("{field} is {value}, which no score of kyle's has"));
            }
        }
        if is_symbol(&self.symbol) {
            Ok(())
        } else {
            Err("symbol is no symbol".to_owned())
        }
    }
}

fn find_pattern(score: &Score, trend: f64) -> Option<(&'static str, Side, f64)> {
    let volume = ((score.volume_ratio - 1.0) / 2.0).clamp(0.0, 1.0);
    let strength = score.score.abs();
    if score.volume_ratio >= 1.2 {
        if score.price > score.high && score.score > 0.0 {
            return Some((
                "breakout",
                Side::Buy,
                0.5 * strength + 0.3 * volume + 0.2 * trend.clamp(0.0, 1.0),
            ));
        }
        if score.price < score.low && score.score < 0.0 {
            return Some((
                "breakout",
                Side::Sell,
                0.5 * strength + 0.3 * volume + 0.2 * (-trend).clamp(0.0, 1.0),
            ));
        }
    }
    if score.z.abs() >= 2.5 && trend.abs() < 0.2 && score.volume_ratio < 1.2 {
        let side = if score.z > 0.0 { Side::Sell } else { Side::Buy };
        return Some((
            "mean_reversion",
            side,
            0.7 * strength + 0.3 * (1.0 - trend.abs() / 0.2),
        ));
    }
    None
}

ark_guest::export_agent!(Joey);

#[cfg(test)]
mod tests {
    use ark_guest::agent::{MockHost, Parameters};
    use serde_json::json;

    use super::*;

    fn patterns(
        host: &mut MockHost,
        price: f64,
        score: f64,
        z: f64,
        volume_ratio: f64,
    ) -> Vec<Pattern> {
        let payload = json!({"symbol": "X", "price": price, "at": 7, "score": score, "z": z,
            "volume_ratio": volume_ratio, "volatility": 0.004, "high": 101.0, "low": 99.0});
        let actions = host.deliver::<Joey>("kyle.score", &payload).unwrap();
        let parse = |action: &Action| {
            let Parameters::Message(message) = &action.parameters else {
                panic!("{action:?}")
            };
            serde_json::from_str(message.payload_json.as_ref().unwrap()).unwrap()
        };
        actions.iter().map(parse).collect()
    }

    #[test]
    fn each_pattern_is_found_where_it_is_and_only_there() {
        for (price, score, z, volume, expected) in [
            (102.0, 0.9, 4.0, 3.0, Some(("breakout", "buy"))),
            (98.0, -0.9, -4.0, 3.0, Some(("breakout", "sell"))),
            (100.0, 0.9, 4.0, 3.0, None),
            (102.0, 0.9, 2.0, 1.0, None),
            (102.0, 0.75, 2.9, 1.0, Some(("mean_reversion", "sell"))),
            (98.0, -0.75, -2.9, 1.0, Some(("mean_reversion", "buy"))),
            (102.0, 0.1, 0.3, 1.3, None),
        ] {
            let found = patterns(&mut MockHost::new(), price, score, z, volume);
            let kinds: Vec<_> = found
                .iter()
                .map(|found| (found.pattern.as_str(), found.side.as_str()))
                .collect();
            assert_eq!(
                kinds.first().copied(),
                expected,
                "{price} {score} {z} {volume}: {found:?}"
            );
            assert!(
                found
                    .iter()
                    .all(|found| (0.6..=1.0).contains(&found.confidence)),
                "{found:?}"
            );
        }
    }

    #[test]
    fn a_score_that_makes_no_sense_is_refused_and_changes_nothing() {
        let right = json!({"symbol": "X", "price": 100.0, "at": 7, "score": 0.5, "z": 1.0, "volume_ratio": 1.0,
            "volatility": 0.004, "high": 101.0, "low": 99.0});
        let mut host = MockHost::new();
        for (field, value) in [
            ("symbol", json!("a\nb")),
            ("price", json!(0)),
            ("score", json!(1.5)),
            ("z", json!(null)),
            ("volume_ratio", json!(-1)),
            ("volatility", json!(-0.1)),
            ("low", json!(102)),
            ("at", json!(-1)),
        ] {
            let mut payload = right.clone();
            payload[field] = value;
            match host.deliver::<Joey>("kyle.score", &payload) {
                Err(Error::InvalidSignal(problem)) if problem.contains(field) => {}
                other => panic!("{payload}: {other:?}"),
            }
        }
        assert_eq!(host.state_of::<Vec<f64>>("recent/X"), None);
    }

    #[test]
    fn the_threshold_is_the_operators_and_must_be_one() {
        for (threshold, patterns) in [(0.5, Ok(1)), (1.0, Ok(0)), (1.5, Err(())), (-0.1, Err(()))] {
            let mut host = MockHost::new().with_config("confidence", &threshold);
            let breakout = json!({"symbol": "X", "price": 102.0, "at": 7, "score": 0.9, "z": 4.0, "volume_ratio": 3.0,
                "volatility": 0.004, "high": 101.0, "low": 99.0});
            let found = host
                .deliver::<Joey>("kyle.score", &breakout)
                .map(|actions| actions.len())
                .map_err(drop);
            assert_eq!(found, patterns, "{threshold}");
        }
    }

    #[test]
    fn a_trend_is_not_traded_against() {
        let mut host = MockHost::new();
        for _ in 0..8 {
            patterns(&mut host, 100.0, 0.6, 1.0, 1.0);
        }
        assert_eq!(patterns(&mut host, 102.0, 0.75, 2.9, 1.0), []);
    }
}
