//! The realised results by day, and what a close can have realised.
//!
//! Invariant: results are kept for every day. A clock that leaves a day and comes back finds the results of that day.
//!
//! Must not know: orders in the book, the clock.

use std::collections::BTreeMap;

use ark_model::action::Side;
use ark_model::ids::Millis;
use ark_store::LedgerChange;

use crate::hrm::report_refusal::ReportRefusal;

use super::order_book::ClosedPart;

/// How much better than the prices say a result may be, as a part of the closed size with leverage: for rounded prices and rebates.
const BETTER_THAN_PRICES: f64 = 0.001;
/// How much worse than the prices say, or than nothing, a result may be, as a part of the closed size with leverage: for fees, financing and liquidation.
const WORSE_THAN_PRICES: f64 = 0.1;
/// The greatest loss of a short position whose prices are not known, as a multiple of its size with leverage: its loss has no natural bound.
const LOSS_OF_SHORT: f64 = 100.0;
/// Results are sums of doubles: what is this near a bound is within it.
const TOLERANCE: f64 = 1e-9;

/// The realised results of the account by UTC day, as fractions of capital.
#[derive(Debug, Default)]
pub struct DayResults(BTreeMap<u64, f64>);

impl DayResults {
    /// Takes the results of the days that the store has.
    pub const fn new(by_day: BTreeMap<u64, f64>) -> Self {
        Self(by_day)
    }

    /// Adds a result to the day of `now`.
    pub fn record_result(&mut self, delta: f64, now: Millis) -> LedgerChange {
        let day = now.utc_day();
        *self.0.entry(day).or_default() += delta;
        LedgerChange::Realised { day, delta }
    }

    /// Returns the loss of the day of `now`; 0 on a day with a profit.
    pub fn daily_loss(&self, now: Millis) -> f64 {
        self.0
            .get(&now.utc_day())
            .map_or(0.0, |result| (-result).max(0.0))
    }
}

/// Checks that a result can come from what a report closes.
///
/// Where the price of the close and those of the opening fills are known, the result is what they give, a little better or some costs worse. Where they
/// are not, a position can at most double, and a long one can lose itself.
///
/// # Errors
/// [`ReportRefusal::ResultOutOfBounds`] with the bounds.
pub fn check_result(
    claimed: f64,
    parts: &[ClosedPart],
    price: Option<f64>,
) -> Result<(), ReportRefusal> {
    let (mut least, mut most) = (0.0, 0.0);
    let mut all_known = true;
    for part in parts {
        let stake = part.size.as_fraction() * part.leverage;
        let by_prices = part.entry_price.zip(price).map(|(entry, exit)| {
            let change = (exit - entry) / entry;
            stake
                * match part.side {
                    Side::Buy => change,
                    Side::Sell => -change,
                }
        });
        if let Some(result) = by_prices {
            most += result + stake * BETTER_THAN_PRICES;
            least += result.min(0.0) - stake * WORSE_THAN_PRICES;
        } else {
            all_known = false;
            most += stake;
            least -= match part.side {
                Side::Buy => stake * (1.0 + WORSE_THAN_PRICES),
                Side::Sell => stake * LOSS_OF_SHORT,
            };
        }
    }
    // Bounds of absurd prices are no numbers, and hold nothing.
    let is_within = claimed <= most + TOLERANCE && claimed >= least - TOLERANCE;
    if !is_within {
        return Err(ReportRefusal::ResultOutOfBounds {
            claimed,
            closed: parts.iter().map(|part| part.size).sum(),
            least,
            most,
            basis: if all_known {
                ""
            } else {
                ", since a price of opening or closing is not known"
            },
        });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::ids::{DecisionId, Fraction};
    use ark_model::size::Size;

    #[test]
    fn a_day_keeps_its_loss_while_the_clock_is_elsewhere() {
        const DAY: u64 = 86_400_000;
        let mut results = DayResults::new(BTreeMap::from([(99, -0.02)]));
        let noon = |day: u64| Millis(day * DAY + DAY / 2);
        assert_eq!(
            results.record_result(-0.04, noon(100)),
            LedgerChange::Realised {
                day: 100,
                delta: -0.04
            }
        );
        for (now, loss) in [
            (noon(100), 0.04),
            (noon(101), 0.0),
            (noon(100), 0.04),
            (noon(99), 0.02),
            (Millis(100 * DAY), 0.04),
            (Millis(101 * DAY - 1), 0.04),
            (Millis(101 * DAY), 0.0),
            (Millis(100 * DAY - 1), 0.02),
        ] {
            assert!((results.daily_loss(now) - loss).abs() < 1e-12, "{now:?}");
        }
        results.record_result(0.09, noon(100));
        assert!(results.daily_loss(noon(100)).abs() < 1e-12);
    }

    #[test]
    fn a_result_is_within_what_the_closed_size_can_realise() {
        let part = |size: f64, side, entry_price, leverage| ClosedPart {
            decision_id: DecisionId::fresh(),
            size: Size::from_fraction(Fraction::new(size).unwrap()),
            side,
            entry_price,
            leverage,
        };
        let long = part(0.1, Side::Buy, Some(100.0), 1.0);
        let short = part(0.1, Side::Sell, Some(100.0), 2.0);
        let unknown = part(0.05, Side::Buy, None, 1.0);
        let unknown_short = part(0.05, Side::Sell, None, 1.0);
        // Parts, price of the close, claimed result, whether it is taken.
        let cases: &[(&[ClosedPart], Option<f64>, f64, bool)] = &[
            (&[long], Some(110.0), 0.01, true),
            (&[long], Some(110.0), 0.011, false),
            (&[long], Some(110.0), 0.0, true),
            (&[long], Some(110.0), -0.01, true),
            (&[long], Some(110.0), -0.011, false),
            (&[long], Some(90.0), -0.01, true),
            (&[long], Some(90.0), -0.005, false),
            (&[long], Some(90.0), 0.05, false),
            (&[short], Some(90.0), 0.02, true),
            (&[short], Some(90.0), 0.03, false),
            (&[short], Some(300.0), -0.4, true),
            (&[long, short], Some(110.0), -0.01, true),
            (&[unknown], Some(90.0), 0.05, true),
            (&[unknown], Some(90.0), 0.06, false),
            (&[unknown], None, -0.055, true),
            (&[unknown], None, -0.06, false),
            (&[unknown_short], None, -0.4, true),
            (&[unknown_short], None, 0.051, false),
            (&[], Some(90.0), 0.0, true),
            (&[], Some(90.0), 0.001, false),
            (&[], None, -0.001, false),
        ];
        for (parts, price, claimed, taken) in cases {
            let checked = check_result(*claimed, parts, *price);
            assert_eq!(
                checked.is_ok(),
                *taken,
                "{parts:?} {price:?} {claimed}: {checked:?}"
            );
        }
    }
}
