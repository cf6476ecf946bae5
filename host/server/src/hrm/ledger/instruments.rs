//! What is known of each instrument: the exposure in it, and for each agent what is open and when it last traded it.
//!
//! Invariants: every sum is that of the live orders, in whole units, so nothing drifts; the orders of an agent are kept oldest first. Of two times of one
//! event the later one is kept; a time that is still to come (the clock was set back) is 0 s ago, so no step of the clock backwards shortens a window.
//! Trades are kept without an end, one time for each agent, instrument and side: a clock that runs ahead and comes back loses none.
//!
//! The table grows with every instrument that is traded, and each of its parts is moved whenever it has doubled. So its entries are small, and what they
//! hold stays where it is.
//!
//! Must not know: how orders change, how long the windows of the rules are.

use ark_model::action::Side;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_model::instrument::InstrumentKey;
use ark_model::size::Size;
use ark_store::{MarketOrder, MarketOrderPurpose};

use super::parted_map::PartedMap;
use super::small_map::SmallMap;

/// Every instrument that was traded, or in which an order is live.
#[derive(Debug, Default)]
pub struct Instruments(PartedMap<InstrumentKey, Box<Instrument>>);

/// What is known of one instrument.
#[derive(Debug, Default)]
pub struct Instrument {
    exposure: Size,
    dealings: SmallMap<Name, Dealings>,
}

/// What one agent has and did in one instrument.
#[derive(Debug, Default)]
struct Dealings {
    /// What is open.
    open: Size,
    /// What its closes may still close.
    being_closed: Size,
    /// Its live orders, the oldest first.
    orders: SmallMap<DecisionId, ()>,
    last_buy: Option<Millis>,
    last_sale: Option<Millis>,
}

/// What one agent has open in one instrument.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OpenSizes {
    /// What is open.
    pub open: Size,
    /// What approved closes may still close of it.
    pub being_closed: Size,
}

impl OpenSizes {
    /// What may still be closed by another close.
    pub const fn closable(self) -> Size {
        self.open.saturating_sub(self.being_closed)
    }
}

impl Instruments {
    /// Returns what is known of an instrument. `None`: nobody has traded it, and no order in it is live.
    pub fn find(&self, key: &InstrumentKey) -> Option<&Instrument> {
        self.0.get(key).map(Box::as_ref)
    }

    /// Adds a live order.
    pub fn add_order(&mut self, order: &MarketOrder, key: &InstrumentKey) {
        let instrument = self.0.get_or_default(key);
        instrument.exposure = instrument.exposure.saturating_add(order.exposure());
        let dealings = instrument.dealings.get_or_default(&order.agent);
        dealings.open = dealings.open.saturating_add(order.open());
        if order.purpose == MarketOrderPurpose::Close {
            dealings.being_closed = dealings.being_closed.saturating_add(order.working());
        }
        dealings.orders.get_or_default(&order.decision_id);
    }

    /// Takes a live order away, as it was added.
    pub fn remove_order(&mut self, order: &MarketOrder, key: &InstrumentKey) {
        let Some(instrument) = self.0.get_mut(key) else {
            return;
        };
        instrument.exposure = instrument.exposure.saturating_sub(order.exposure());
        if let Some(dealings) = instrument.dealings.get_mut(&order.agent) {
            dealings.open = dealings.open.saturating_sub(order.open());
            if order.purpose == MarketOrderPurpose::Close {
                dealings.being_closed = dealings.being_closed.saturating_sub(order.working());
            }
            dealings.orders.remove(&order.decision_id);
            if dealings.are_none() {
                instrument.dealings.remove(&order.agent);
            }
        }
        if instrument.dealings.is_empty() {
            self.0.remove(key);
        }
    }

    /// Records a trade. Returns when the agent last traded this side of the instrument: now, or later by a clock that was ahead.
    pub fn record_trade(
        &mut self,
        agent: &Name,
        key: &InstrumentKey,
        side: Side,
        now: Millis,
    ) -> Millis {
        let instrument = self.0.get_or_default(key);
        let dealings = instrument.dealings.get_or_default(agent);
        let last = match side {
            Side::Buy => &mut dealings.last_buy,
            Side::Sell => &mut dealings.last_sale,
        };
        let at = last.map_or(now, |last| last.max(now));
        *last = Some(at);
        at
    }
}

impl Instrument {
    /// Returns the exposure, of all agents and both sides.
    pub const fn exposure(&self) -> Size {
        self.exposure
    }

    /// Returns what an agent has open.
    pub fn open_sizes(&self, agent: &Name) -> OpenSizes {
        let dealings = self.dealings.get(agent);
        OpenSizes {
            open: dealings.map_or(Size::ZERO, |dealings| dealings.open),
            being_closed: dealings.map_or(Size::ZERO, |dealings| dealings.being_closed),
        }
    }

    /// Returns the live orders of an agent, the oldest first.
    pub fn live_orders(&self, agent: &Name) -> impl Iterator<Item = DecisionId> {
        let dealings = self.dealings.get(agent).into_iter();
        dealings
            .flat_map(|dealings| dealings.orders.keys())
            .copied()
    }

    /// Returns the seconds since an agent last traded a side.
    pub fn trade_age(&self, agent: &Name, side: Side, now: Millis) -> Option<f64> {
        let dealings = self.dealings.get(agent)?;
        let at = match side {
            Side::Buy => dealings.last_buy,
            Side::Sell => dealings.last_sale,
        }?;
        Some(now.seconds_since(at))
    }
}

impl Dealings {
    /// Whether no order is live, and nothing was traded.
    fn are_none(&self) -> bool {
        self.orders.is_empty() && self.last_buy.is_none() && self.last_sale.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_model::instrument::InstrumentAliases;

    #[test]
    fn a_clock_that_is_set_back_shortens_no_window() {
        let key = InstrumentAliases::default().find_key("BTC-USD");
        let agent: Name = "a".parse().unwrap();
        let mut instruments = Instruments::default();
        let age = |instruments: &Instruments, side, now| {
            let instrument = instruments.find(&key)?;
            instrument.trade_age(&agent, side, Millis(now))
        };
        assert_eq!(age(&instruments, Side::Buy, 5), None);
        assert_eq!(
            instruments.record_trade(&agent, &key, Side::Buy, Millis(100_000)),
            Millis(100_000)
        );
        // An hour back and forth again: the age is 0 there, and right afterwards.
        for (now, expected) in [
            (100_500, 0.5),
            (40_000, 0.0),
            (101_000, 1.0),
            (9_000_000, 8_900.0),
            (102_000, 2.0),
        ] {
            assert_eq!(age(&instruments, Side::Buy, now), Some(expected), "{now}");
        }
        // A trade at a time before the last one does not hide it.
        assert_eq!(
            instruments.record_trade(&agent, &key, Side::Buy, Millis(50_000)),
            Millis(100_000)
        );
        assert_eq!(age(&instruments, Side::Buy, 130_000), Some(30.0));
        assert_eq!(age(&instruments, Side::Sell, 130_000), None);
        let other: Name = "b".parse().unwrap();
        let instrument = instruments.find(&key).unwrap();
        assert_eq!(
            instrument.trade_age(&other, Side::Buy, Millis(130_000)),
            None
        );
    }
}
