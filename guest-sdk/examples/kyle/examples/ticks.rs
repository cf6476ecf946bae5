//! Makes the ticks that `ark demo` replays: `cargo run -p agent-kyle --example ticks > host/assets/ticks.jsonl`.
//!
//! Three instruments, one tick a minute each. Returns are normal with a volatility that clusters (GARCH(1,1): today's variance remembers
//! yesterday's), volume rises with the size of the move, and now and then a regime begins: a jump on heavy volume, then a drift. The
//! generator is seeded, so that the file is reproducible.

/// xorshift64*, good enough for made-up prices.
struct Random(u64);

impl Random {
    fn uniform(&mut self) -> f64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Box and Muller's transform.
    fn normal(&mut self) -> f64 {
        let radius = (-2.0 * self.uniform().max(f64::MIN_POSITIVE).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
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

fn main() {
    let mut random = Random(0x5EED_0ACE);
    let usual = 0.000_8_f64.powi(2);
    let mut markets = [
        Market {
            symbol: "BTC-USD",
            price: 64_250.0,
            variance: usual,
            drift: 0.0,
            volume: 12.0,
            decimals: 2,
        },
        Market {
            symbol: "ETH-USD",
            price: 3_140.0,
            variance: usual,
            drift: 0.0,
            volume: 140.0,
            decimals: 2,
        },
        Market {
            symbol: "SOL-USD",
            price: 172.0,
            variance: usual,
            drift: 0.0,
            volume: 900.0,
            decimals: 3,
        },
    ];
    // 2026-11-20 09:00 UTC
    let start = 1_795_165_200_u64;
    for minute in 0..120u64 {
        for (index, market) in markets.iter_mut().enumerate() {
            let jump = match (minute, index) {
                (30, 0) | (55, 2) | (90, 1) => 6.0,
                (45, 1) | (75, 0) | (104, 2) => -6.0,
                _ => 0.0,
            };
            if jump != 0.0 {
                market.drift = 0.25 * market.variance.sqrt() * f64::signum(jump);
            }
            let shock = random.normal() * market.variance.sqrt() + jump * usual.sqrt();
            market.variance =
                0.06 * usual + 0.12 * shock.powi(2).min(usual * 20.0) + 0.82 * market.variance;
            market.drift *= 0.93;
            market.price *= 1.0 + market.drift + shock;
            let size = (shock.abs() / usual.sqrt()).min(6.0);
            let volume = market.volume * (0.6 + 0.5 * random.uniform() + 0.4 * size);
            println!(
                "{{\"symbol\":\"{}\",\"price\":{:.*},\"volume\":{:.2},\"at\":{}}}",
                market.symbol,
                market.decimals,
                market.price,
                volume,
                start + minute * 60
            );
        }
    }
}
