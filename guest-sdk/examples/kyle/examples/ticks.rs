//! Makes the ticks that `ark demo` replays: `cargo run -p agent-kyle --example ticks > host/cli/assets/ticks.jsonl`.
//!
//! Three instruments, one tick a minute each. Returns are normal with a volatility that clusters (GARCH(1,1): today's variance remembers
//! yesterday's), and volume rises with the size of the move. On top of that, things happen ([`EVENTS`]): a regime begins with a jump on
//! heavy volume and drifts on, sometimes with a second push while positions of the first are still open; or somebody's large order meets a
//! thin market, and the price is back a minute later. The generator is seeded, so that the file is reproducible.

/// xorshift64*, good enough for made-up prices.
struct Random(u64);

impl Random {
    fn next_uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller's transform.
    fn next_normal(&mut self) -> f64 {
        let radius = (-2.0 * self.next_uniform().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.next_uniform()).cos()
    }
}

struct Market {
    symbol: &'static str,
    price: f64,
    variance: f64,
    drift: f64,
    volume: f64,
    decimals: usize,
}

/// What happens to a market, in deviations of its usual return.
#[derive(Clone, Copy)]
enum Event {
    /// A jump on heavy volume, with a drift after it.
    Regime(f64),
    /// A jump on little volume, undone a minute later.
    Thin(f64),
}

const BTC: usize = 0;
const ETH: usize = 1;
const SOL: usize = 2;

/// When (the minute), where and what.
const EVENTS: [(u64, usize, Event); 10] = [
    (30, BTC, Event::Regime(6.0)),
    (38, ETH, Event::Thin(-6.0)),
    (45, ETH, Event::Regime(-6.0)),
    (50, BTC, Event::Regime(6.0)),
    (55, SOL, Event::Regime(6.0)),
    (66, SOL, Event::Thin(-7.0)),
    (74, SOL, Event::Regime(7.0)),
    (84, BTC, Event::Thin(-7.0)),
    (90, ETH, Event::Regime(6.0)),
    (104, SOL, Event::Regime(-6.0)),
];

fn main() {
    print!("{}", generate_ticks());
}

/// The ticks, one JSON object a line.
#[must_use]
pub fn generate_ticks() -> String {
    let mut lines = Vec::new();
    let mut random = Random(0x5EED_0ACE);
    let usual = 0.000_8_f64.powi(2);
    let market = |symbol, price, volume, decimals| Market {
        symbol,
        price,
        variance: usual,
        drift: 0.0,
        volume,
        decimals,
    };
    let mut markets = [
        market("BTC-USD", 64_250.0, 12.0, 2),
        market("ETH-USD", 3_140.0, 140.0, 2),
        market("SOL-USD", 172.0, 900.0, 3),
    ];
    // 2026-11-20 09:00 UTC
    let start = 1_795_165_200_u64;
    for minute in 0..120u64 {
        for (index, market) in markets.iter_mut().enumerate() {
            let at = |minute| {
                EVENTS
                    .iter()
                    .find(|event| event.0 == minute && event.1 == index)
                    .map(|event| event.2)
            };
            let mut noise = random.next_normal() * market.variance.sqrt();
            let mut crowd = 1.0;
            match (at(minute), minute.checked_sub(1).and_then(at)) {
                (Some(Event::Regime(deviations)), _) => {
                    market.drift = 0.25 * market.variance.sqrt() * deviations.signum();
                    noise += deviations * usual.sqrt();
                }
                (Some(Event::Thin(deviations)), _) => {
                    noise = deviations * usual.sqrt();
                    crowd = 0.25;
                }
                (None, Some(Event::Thin(deviations))) => {
                    noise -= 0.9 * deviations * usual.sqrt();
                    crowd = 0.4;
                }
                (None, _) => {}
            }
            market.variance =
                0.06 * usual + 0.12 * noise.powi(2).min(usual * 20.0) + 0.82 * market.variance;
            market.drift *= 0.93;
            market.price *= 1.0 + market.drift + noise;
            let size = (noise.abs() / usual.sqrt()).min(6.0);
            let volume = market.volume * (0.6 + 0.5 * random.next_uniform() + 0.4 * size) * crowd;
            lines.push(format!(
                "{{\"symbol\":\"{}\",\"price\":{:.*},\"volume\":{:.2},\"at\":{}}}\n",
                market.symbol,
                market.decimals,
                market.price,
                volume,
                start + minute * 60
            ));
        }
    }
    lines.concat()
}
