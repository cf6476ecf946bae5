//! The orders of the account and what they add up to: exposure by instrument, what is open and what is being closed by agent.
//!
//! Invariants: every sum is that of the orders in the book; an order counts as exposure from the moment its decision is made, not from its commit; the
//! orders of an agent in an instrument are closed oldest first.
//!
//! Must not know: reports, facts, the store's connection.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use ark_model::action::Side;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_model::instrument::InstrumentKey;
use ark_model::size::Size;
use ark_store::{MarketOrder, MarketOrderPurpose, MarketOrderState, OrderNumber};

use super::instruments::{Instrument, Instruments, OpenSizes};

/// How many orders that have ended are kept, so that a report finds what is not durable yet. More than wait for a commit at once, unless time ends
/// so many: a report on one of those finds its row.
const ENDED_ORDERS: usize = 65_536;
/// So many orders end in a few tens of microseconds.
const FEW: usize = 16;

/// The orders of the account.
#[derive(Debug, Default)]
pub struct MarketOrderBook {
    /// A new order has the greatest id, so it comes to the end of the tree, which is in the caches. A table would be moved whenever it has doubled.
    orders: BTreeMap<DecisionId, BookedOrder>,
    instruments: Instruments,
    expiries: BTreeSet<(Millis, DecisionId)>,
    live_trades: usize,
    /// The orders of which nothing is live, by when they ended.
    ended: BTreeMap<u64, DecisionId>,
    /// The last key in `ended`.
    last_ended: u64,
    /// The greatest number that an order has had since the book was made.
    last_number: OrderNumber,
}

/// An order in the book. It is shared with what is committed.
#[derive(Debug)]
struct BookedOrder {
    order: Arc<MarketOrder>,
    key: InstrumentKey,
    /// The key of the order in [`MarketOrderBook::ended`]; 0: something of it is live.
    ended: u64,
}

/// A part of an open order that is to be closed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ClosedPart {
    /// The order that opened it.
    pub decision_id: DecisionId,
    /// How much of it.
    pub size: Size,
    /// The side that opened it.
    pub side: Side,
    /// The mean price at which it was opened, where it is known.
    pub entry_price: Option<f64>,
    /// The leverage it was opened with.
    pub leverage: f64,
}

impl MarketOrderBook {
    /// Returns the next number.
    pub fn take_number(&mut self) -> OrderNumber {
        self.last_number = self.last_number.next();
        self.last_number
    }

    /// Puts an order into the book, in the place of what was there under its decision.
    pub fn put_order(&mut self, order: &Arc<MarketOrder>, key: &InstrumentKey) {
        let id = order.decision_id;
        self.last_number = self.last_number.max(order.number);
        let is_live = order.is_live();
        let ended = if is_live {
            0
        } else {
            self.last_ended += 1;
            self.ended.insert(self.last_ended, id);
            self.last_ended
        };
        let booked = BookedOrder {
            order: Arc::clone(order),
            key: key.clone(),
            ended,
        };
        if let Some(previous) = self.orders.insert(id, booked) {
            self.discount_order(&previous);
        }
        if is_live {
            self.count_live(order, key);
        }
        if self.ended.len() > ENDED_ORDERS
            && let Some((_, oldest)) = self.ended.pop_first()
        {
            self.orders.remove(&oldest);
        }
    }

    fn count_live(&mut self, order: &MarketOrder, key: &InstrumentKey) {
        if let Some(expires_at) = order.expires_at
            && !order.state.is_final()
        {
            self.expiries.insert((expires_at, order.decision_id));
        }
        if is_live_trade(order) {
            self.live_trades += 1;
        }
        self.instruments.add_order(order, key);
    }

    /// Takes what was in the book out of every sum.
    fn discount_order(&mut self, booked: &BookedOrder) {
        let BookedOrder { order, key, ended } = booked;
        if *ended > 0 {
            self.ended.remove(ended);
            return;
        }
        if let Some(expires_at) = order.expires_at {
            self.expiries.remove(&(expires_at, order.decision_id));
        }
        if is_live_trade(order) {
            self.live_trades = self.live_trades.saturating_sub(1);
        }
        self.instruments.remove_order(order, key);
    }

    /// Records a trade. Returns when the agent last traded this side of the instrument: now, or later by a clock that was ahead.
    pub fn record_trade(
        &mut self,
        agent: &Name,
        key: &InstrumentKey,
        side: Side,
        now: Millis,
    ) -> Millis {
        self.instruments.record_trade(agent, key, side, now)
    }

    /// Returns an order that is in the book.
    pub fn find_order(&self, id: DecisionId) -> Option<&Arc<MarketOrder>> {
        self.orders.get(&id).map(|booked| &booked.order)
    }

    /// Whether few orders have waited for their first report for too long at `now`.
    pub fn is_current(&self, now: Millis) -> bool {
        let due = |(expires_at, _): &&(Millis, DecisionId)| *expires_at <= now;
        self.expiries.iter().take_while(due).nth(FEW).is_none()
    }

    /// Ends the orders whose time is over at `now` without a report, and returns them as they are then.
    pub fn expire_orders(&mut self, now: Millis) -> Vec<Arc<MarketOrder>> {
        let mut expired = Vec::new();
        while let Some((expires_at, id)) = self.expiries.first().copied() {
            if expires_at > now {
                break;
            }
            self.expiries.remove(&(expires_at, id));
            let Some(booked) = self.orders.get(&id) else {
                continue;
            };
            let order = Arc::new(MarketOrder {
                state: MarketOrderState::Expired,
                since: now,
                ..MarketOrder::clone(&booked.order)
            });
            let key = booked.key.clone();
            self.put_order(&order, &key);
            expired.push(order);
        }
        expired
    }

    /// Lets no order wait longer than `longest` from `now` on for its first report: see [`super::far_future`].
    pub fn cap_expiries(
        &mut self,
        now: Millis,
        longest: Duration,
        is_far: impl Fn(Millis) -> bool,
    ) {
        let far: Vec<DecisionId> = self
            .expiries
            .iter()
            .filter(|(at, _)| is_far(*at))
            .map(|(_, id)| *id)
            .collect();
        for id in far {
            if let Some(booked) = self.orders.get(&id) {
                let order = MarketOrder {
                    expires_at: Some(now.saturating_add(longest)),
                    ..MarketOrder::clone(&booked.order)
                };
                let key = booked.key.clone();
                self.put_order(&Arc::new(order), &key);
            }
        }
    }

    /// Returns what is known of an instrument. `None`: nobody has traded it, and no order in it is live.
    pub fn find_instrument(&self, key: &InstrumentKey) -> Option<&Instrument> {
        self.instruments.find(key)
    }

    /// Returns the number of orders that are exposure or may become it.
    pub const fn count_positions(&self) -> usize {
        self.live_trades
    }

    /// Returns what an agent has open in an instrument.
    pub fn open_sizes(&self, agent: &Name, key: &InstrumentKey) -> OpenSizes {
        self.find_instrument(key)
            .map_or_else(OpenSizes::default, |instrument| {
                instrument.open_sizes(agent)
            })
    }

    /// Returns the parts of an agent's open orders in an instrument that add up to `size`, the oldest first, and what is missing. The order `by`, which
    /// closes them, is none of them.
    pub fn plan_close(
        &self,
        agent: &Name,
        key: &InstrumentKey,
        size: Size,
        by: Option<DecisionId>,
    ) -> (Vec<ClosedPart>, Size) {
        let instrument = self.find_instrument(key).into_iter();
        let mut left = size;
        let mut parts = Vec::new();
        for id in instrument.flat_map(|instrument| instrument.live_orders(agent)) {
            if left.is_zero() {
                break;
            }
            let Some(order) = self
                .find_order(id)
                .filter(|order| Some(id) != by && !order.open().is_zero())
            else {
                continue;
            };
            let closed = order.open().min(left);
            left = left.saturating_sub(closed);
            parts.push(ClosedPart {
                decision_id: id,
                size: closed,
                side: order.side,
                entry_price: order.entry_price,
                leverage: order.leverage,
            });
        }
        (parts, left)
    }

    /// Closes parts of open orders. Returns the orders as they are then.
    pub fn close_parts(&mut self, parts: &[ClosedPart], now: Millis) -> Vec<Arc<MarketOrder>> {
        let mut changed = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(booked) = self.orders.get(&part.decision_id) else {
                continue;
            };
            let order = Arc::new(MarketOrder {
                closed: booked.order.closed.saturating_add(part.size),
                since: now,
                ..MarketOrder::clone(&booked.order)
            });
            let key = booked.key.clone();
            self.put_order(&order, &key);
            changed.push(order);
        }
        changed
    }
}

/// Whether an order is exposure or may become it.
fn is_live_trade(order: &MarketOrder) -> bool {
    !order.exposure().is_zero() || order.purpose == MarketOrderPurpose::Open
}
