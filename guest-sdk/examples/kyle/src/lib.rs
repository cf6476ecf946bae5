//! kyle reads market ticks and says how unusual each one is.
//!
//! Per symbol it keeps, in the host's state: the last prices (a channel), an exponentially weighted mean and variance of returns, and an
//! exponentially weighted mean of volume. A tick's score is `tanh(z / 3)`, where z is its return in standard deviations, weighted by how
//! unusual its volume is; so it is in -1..=1 and keeps the sign of the return. Until the warm-up is over it says nothing.
//!
//! One absurd tick must not distort the statistics permanently: a move counts as 50 % at most, a volume as 1,000 times its mean at most.

use ark_guest::agent::{Action, Agent, Error, Host, Metadata, Signal, message};
use ark_guest::instrument::check_symbol;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};

/// How many prices make the channel.
const CHANNEL: usize = 20;
/// The weight of the newest observation: a memory of about 30 ticks.
const ALPHA: f64 = 1.0 / 30.0;
/// The largest move that counts as it is, either way.
const LARGEST_MOVE: f64 = 0.5;
/// The largest volume that counts as it is, in means.
const LARGEST_VOLUME_RATIO: f64 = 1000.0;
/// Seconds since the Unix epoch end here (in the year 5138); what is more is meant as milliseconds.
const LAST_SECOND: u64 = 100_000_000_000;

/// A market tick.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tick {
    /// The instrument.
    pub symbol: String,
    /// The last price, more than 0.
    pub price: f64,
    /// The volume since the last tick, 0 or more.
    pub volume: f64,
    /// When, in seconds since the Unix epoch. Of a number with a fraction the whole seconds count.
    #[serde(deserialize_with = "read_seconds")]
    pub at: u64,
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "the range is checked before"
)]
fn read_seconds<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u64, D::Error> {
    let number = serde_json::Number::deserialize(deserializer)?;
    if let Some(seconds) = number.as_u64() {
        return Ok(seconds);
    }
    number
        .as_f64()
        .filter(|seconds| (0.0..LAST_SECOND as f64).contains(seconds))
        .map(|seconds| seconds as u64)
        .ok_or_else(|| D::Error::custom("give seconds since the Unix epoch"))
}

/// What kyle says of a tick.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Score {
    /// The instrument.
    pub symbol: String,
    /// The price.
    pub price: f64,
    /// When, in seconds since the Unix epoch.
    pub at: u64,
    /// How unusual, -1 to 1; the sign is the direction.
    pub score: f64,
    /// The return in standard deviations.
    pub z: f64,
    /// The volume over its mean.
    pub volume_ratio: f64,
    /// The standard deviation of returns.
    pub volatility: f64,
    /// The highest of the prices before this one.
    pub high: f64,
    /// The lowest of the prices before this one.
    pub low: f64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct Statistics {
    ticks: u64,
    prices: Vec<f64>,
    mean: f64,
    variance: f64,
    volume: f64,
}

/// The agent.
pub struct Kyle;

impl Agent for Kyle {
    fn metadata() -> Metadata {
        Metadata {
            name: "kyle".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            description: env!("CARGO_PKG_DESCRIPTION").to_owned(),
        }
    }

    fn handle(host: &dyn Host, signal: &Signal) -> Result<Vec<Action>, Error> {
        let tick: Tick = signal.payload()?;
        tick.check_fields().map_err(Error::InvalidSignal)?;
        let key = format!("statistics/{}", tick.symbol);
        let mut statistics: Statistics = host.state(&key)?.unwrap_or_default();
        let score = statistics.score_tick(&tick);
        host.set_state(&key, &statistics)?;
        if statistics.ticks <= host.config("warm_up", 20)? {
            return Ok(Vec::new());
        }
        let Some(score) = score else {
            return Ok(Vec::new());
        };
        let reasoning = format!(
            "{} moved {:+.1} deviations on {:.1} times its volume",
            tick.symbol, score.z, score.volume_ratio
        );
        Ok(vec![
            message("kyle.score")
                .payload(&score)
                .reasoning(reasoning)
                .source("market.tick")
                .build()?,
        ])
    }
}

impl Tick {
    fn check_fields(&self) -> Result<(), String> {
        check_symbol(&self.symbol).map_err(|error| format!("symbol: {error}"))?;
        if !(self.price.is_finite() && self.price > 0.0) {
            return Err(format!("price is {}; give more than 0", self.price));
        }
        if !(self.volume.is_finite() && self.volume >= 0.0) {
            return Err(format!("volume is {}; give 0 or more", self.volume));
        }
        if self.at >= LAST_SECOND {
            return Err(format!(
                "at is {}; give seconds since the Unix epoch, not milliseconds",
                self.at
            ));
        }
        Ok(())
    }
}

impl Statistics {
    /// Takes a tick in; its score against what was before it.
    fn score_tick(&mut self, tick: &Tick) -> Option<Score> {
        let last = self.prices.last().copied();
        let score = last.map(|last| {
            let change = (tick.price / last - 1.0).clamp(-LARGEST_MOVE, LARGEST_MOVE);
            let volatility = self.variance.sqrt();
            let z = if volatility > 0.0 {
                (change - self.mean) / volatility
            } else {
                0.0
            };
            let volume_ratio = if self.volume > 0.0 {
                (tick.volume / self.volume).min(LARGEST_VOLUME_RATIO)
            } else {
                1.0
            };
            let weight = volume_ratio.clamp(0.5, 2.0).sqrt();
            let high = self.prices.iter().copied().fold(f64::MIN, f64::max);
            let low = self.prices.iter().copied().fold(f64::MAX, f64::min);
            let deviation = change - self.mean;
            self.mean += ALPHA * deviation;
            self.variance = (1.0 - ALPHA) * (self.variance + ALPHA * deviation * deviation);
            Score {
                symbol: tick.symbol.clone(),
                price: tick.price,
                at: tick.at,
                score: (z * weight / 3.0).tanh(),
                z,
                volume_ratio,
                volatility,
                high,
                low,
            }
        });
        let volume = if self.volume > 0.0 {
            tick.volume.min(self.volume * LARGEST_VOLUME_RATIO)
        } else {
            tick.volume
        };
        self.volume = if self.ticks == 0 {
            volume
        } else {
            self.volume + ALPHA * (volume - self.volume)
        };
        self.ticks += 1;
        self.prices.push(tick.price);
        if self.prices.len() > CHANNEL {
            self.prices.remove(0);
        }
        score
    }
}

ark_guest::export_agent!(Kyle);

#[cfg(test)]
mod tests {
    use ark_guest::agent::{Host as _, MockHost, Parameters};
    use serde_json::json;

    use super::*;

    fn score(actions: &[Action]) -> Score {
        let Parameters::Message(message) = &actions[0].parameters else {
            panic!("{actions:?}")
        };
        serde_json::from_str(message.payload_json.as_ref().unwrap()).unwrap()
    }

    fn tick(host: &mut MockHost, at: u64, price: f64, volume: f64) -> Vec<Action> {
        host.deliver::<Kyle>(
            "market.tick",
            &json!({"symbol": "X", "price": price, "volume": volume, "at": at}),
        )
        .unwrap()
    }

    #[test]
    fn says_nothing_while_it_warms_up_and_scores_a_jump_high() {
        let mut host = MockHost::new();
        for at in 0..20 {
            assert!(tick(&mut host, at, 100.0 + (at % 2) as f64 * 0.1, 10.0).is_empty());
        }
        let quiet = score(&tick(&mut host, 20, 100.0, 10.0));
        assert!(quiet.score.abs() < 0.6, "{quiet:?}");
        let jump = score(&tick(&mut host, 21, 103.0, 40.0));
        assert!(
            jump.score > 0.99 && jump.z > 5.0 && jump.volume_ratio > 3.0 && jump.price > jump.high,
            "{jump:?}"
        );
        let fall = score(&tick(&mut host, 22, 95.0, 40.0));
        assert!(fall.score < -0.9 && fall.price < fall.low, "{fall:?}");
    }

    #[test]
    fn a_fraction_of_a_second_is_cut_off() {
        let payload = r#"{"symbol":"X","price":1,"volume":1,"at":1795165200.75}"#;
        let tick: Tick = serde_json::from_str(payload).unwrap();
        assert_eq!(tick.at, 1_795_165_200);
    }

    #[test]
    fn symbols_do_not_mix() {
        let mut host = MockHost::new().with_config("warm_up", &1);
        tick(&mut host, 0, 100.0, 10.0);
        let other = json!({"symbol": "Y", "price": 5.0, "volume": 1.0, "at": 1});
        assert!(
            host.deliver::<Kyle>("market.tick", &other)
                .unwrap()
                .is_empty()
        );
        assert_eq!(score(&tick(&mut host, 2, 100.0, 10.0)).high, 100.0);
    }

    #[test]
    fn a_tick_that_makes_no_sense_changes_nothing() {
        let mut host = MockHost::new();
        for payload in [
            r#"{"symbol":"X","price":0,"volume":1,"at":1}"#,
            r#"{"symbol":"X","price":-1,"volume":1,"at":1}"#,
            r#"{"symbol":"X","price":1,"volume":-1,"at":1}"#,
            r#"{"symbol":"X","price":"1","volume":1,"at":1}"#,
            r#"{"symbol":"X","volume":1,"at":1}"#,
            r#"{"symbol":"X","price":1e999,"volume":1,"at":1}"#,
            r#"{"symbol":"","price":1,"volume":1,"at":1}"#,
            r#"{"symbol":"X\n","price":1,"volume":1,"at":1}"#,
            r#"{"symbol":"X","price":1,"volume":1,"at":-1}"#,
            r#"{"symbol":"X","price":1,"volume":1,"at":-0.5}"#,
            r#"{"symbol":"X","price":1,"volume":1,"at":"1"}"#,
            r#"{"symbol":"X","price":1,"volume":1,"at":1795165200000.5}"#,
            r#"{"symbol":"X","price":1,"volume":1,"at":1795165200000}"#,
            r#"{"symbol":"X","price":1,"volume":1,"at":1} {}"#,
            "[]",
            "",
        ] {
            let result = host.deliver_json::<Kyle>("market.tick", payload);
            assert!(
                matches!(result, Err(Error::InvalidSignal(_))),
                "{payload}: {result:?}"
            );
        }
        assert_eq!(host.state_list("", 10).unwrap(), [""; 0]);
        let Err(Error::InvalidSignal(problem)) = host.deliver_json::<Kyle>(
            "market.tick",
            r#"{"symbol":"X","price":"1","volume":1,"at":1}"#,
        ) else {
            panic!("a price that is text")
        };
        assert!(problem.contains("price: invalid type"), "{problem}");
    }

    #[test]
    fn one_absurd_tick_does_not_spoil_the_rest() {
        let mut host = MockHost::new();
        for (at, price, volume) in [
            (0, 1e-300, 1e-300),
            (1, 1e300, 1e300),
            (2, 1e-300, 0.0),
            (3, 100.0, 10.0),
        ] {
            assert!(tick(&mut host, at, price, volume).is_empty());
        }
        for at in 4..400 {
            tick(&mut host, at, 100.0 + (at % 2) as f64 * 0.1, 10.0);
        }
        let usual = score(&tick(&mut host, 400, 100.0, 10.0));
        assert!(usual.z.abs() < 3.0 && usual.volatility < 0.01, "{usual:?}");
        let jump = score(&tick(&mut host, 401, 103.0, 40.0));
        assert!(jump.score > 0.5, "{jump:?}");
    }
}
