//! The orders of the account and what they add up to: exposure by instrument, what is open and what is being closed by agent.
//!
//! Invariants: every sum is that of the orders in the book, in whole units, so nothing drifts; an order counts as exposure from the moment its
//! decision is made, not from its commit; the orders of an agent in an instrument are closed oldest first.
//!
//! Must not know: reports, facts, the store's connection.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use ark_model::action::Side;
use ark_model::ids::{DecisionId, Millis, Name};
use ark_model::instrument::InstrumentKey;
use ark_model::size::Size;
use ark_store::{MarketOrder, MarketOrderPurpose, MarketOrderState};

/// How many orders that have ended are kept, so that a report finds what is not durable yet. More than can wait for a commit at once.
const ENDED_ORDERS: usize = 65_536;

/// The orders of the account.
#[derive(Debug, Default)]
pub struct MarketOrderBook {
    orders: HashMap<DecisionId, BookedOrder>,
    instruments: HashMap<InstrumentKey, InstrumentSums>,
    expiries: BTreeSet<(Millis, DecisionId)>,
    live_trades: usize,
    /// The orders of which nothing is live, by when they ended.
    ended: BTreeMap<u64, DecisionId>,
    next_ended: u64,
}

#[derive(Debug)]
struct BookedOrder {
    order: MarketOrder,
    key: InstrumentKey,
    /// The key of the order in [`MarketOrderBook::ended`].
    ended: Option<u64>,
}

#[derive(Debug, Default)]
struct InstrumentSums {
    exposure: Size,
    holdings: HashMap<Name, Holding>,
}

/// What one agent has in one instrument.
#[derive(Debug, Default)]
struct Holding {
    /// What is open.
    open: Size,
    /// What its closes may still close.
    being_closed: Size,
    /// Its live orders, the oldest first.
    orders: BTreeSet<DecisionId>,
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

/// What one agent has open in one instrument.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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

impl MarketOrderBook {
    /// Puts an order into the book, in the place of what was there under its decision.
    pub fn put_order(&mut self, order: MarketOrder, key: InstrumentKey) {
        let id = order.decision_id;
        self.take_order(id);
        let mut ended = None;
        if order.is_live() {
            self.count_live(&order, &key);
        } else {
            ended = Some(self.next_ended);
            self.ended.insert(self.next_ended, id);
            self.next_ended += 1;
        }
        self.orders.insert(id, BookedOrder { order, key, ended });
        if self.ended.len() > ENDED_ORDERS
            && let Some((_, oldest)) = self.ended.pop_first()
        {
            self.orders.remove(&oldest);
        }
    }

    fn count_live(&mut self, order: &MarketOrder, key: &InstrumentKey) {
        let id = order.decision_id;
        if let Some(expires_at) = order.expires_at
            && !order.state.is_final()
        {
            self.expiries.insert((expires_at, id));
        }
        if !order.exposure().is_zero() || order.purpose == MarketOrderPurpose::Open {
            self.live_trades += 1;
        }
        let sums = self.instruments.entry(key.clone()).or_default();
        sums.exposure = sums.exposure.saturating_add(order.exposure());
        let holding = sums.holdings.entry(order.agent.clone()).or_default();
        holding.open = holding.open.saturating_add(order.open());
        if order.purpose == MarketOrderPurpose::Close {
            holding.being_closed = holding.being_closed.saturating_add(order.working());
        }
        holding.orders.insert(id);
    }

    /// Takes an order out of the book and of every sum.
    fn take_order(&mut self, id: DecisionId) {
        let Some(BookedOrder { order, key, ended }) = self.orders.remove(&id) else {
            return;
        };
        if let Some(place) = ended {
            self.ended.remove(&place);
            return;
        }
        if let Some(expires_at) = order.expires_at {
            self.expiries.remove(&(expires_at, id));
        }
        if !order.exposure().is_zero() || order.purpose == MarketOrderPurpose::Open {
            self.live_trades = self.live_trades.saturating_sub(1);
        }
        let Some(sums) = self.instruments.get_mut(&key) else {
            return;
        };
        sums.exposure = sums.exposure.saturating_sub(order.exposure());
        if let Some(holding) = sums.holdings.get_mut(&order.agent) {
            holding.open = holding.open.saturating_sub(order.open());
            if order.purpose == MarketOrderPurpose::Close {
                holding.being_closed = holding.being_closed.saturating_sub(order.working());
            }
            holding.orders.remove(&id);
            if holding.orders.is_empty() {
                sums.holdings.remove(&order.agent);
            }
        }
        if sums.holdings.is_empty() {
            self.instruments.remove(&key);
        }
    }

    /// Returns an order that is in the book.
    pub fn find_order(&self, id: DecisionId) -> Option<&MarketOrder> {
        self.orders.get(&id).map(|booked| &booked.order)
    }

    /// Ends the orders whose time is over at `now` without a report, and returns them as they are then.
    pub fn expire_orders(&mut self, now: Millis) -> Vec<MarketOrder> {
        let mut expired = Vec::new();
        while let Some((expires_at, id)) = self.expiries.first().copied() {
            if expires_at > now {
                break;
            }
            self.expiries.remove(&(expires_at, id));
            let Some(booked) = self.orders.get(&id) else {
                continue;
            };
            let order = MarketOrder {
                state: MarketOrderState::Expired,
                since: now,
                ..booked.order.clone()
            };
            let key = booked.key.clone();
            self.put_order(order.clone(), key);
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
                    ..booked.order.clone()
                };
                let key = booked.key.clone();
                self.put_order(order, key);
            }
        }
    }

    /// Returns the exposure in an instrument, of all agents and both sides.
    pub fn exposure(&self, key: &InstrumentKey) -> Size {
        self.instruments
            .get(key)
            .map_or(Size::ZERO, |sums| sums.exposure)
    }

    /// Returns whether an order in the instrument is live.
    pub fn knows_instrument(&self, key: &InstrumentKey) -> bool {
        self.instruments.contains_key(key)
    }

    /// Returns the number of orders that are exposure or may become it.
    pub const fn count_positions(&self) -> usize {
        self.live_trades
    }

    /// Returns what an agent has open in an instrument.
    pub fn open_sizes(&self, agent: &Name, key: &InstrumentKey) -> OpenSizes {
        let holding = self
            .instruments
            .get(key)
            .and_then(|sums| sums.holdings.get(agent));
        OpenSizes {
            open: holding.map_or(Size::ZERO, |holding| holding.open),
            being_closed: holding.map_or(Size::ZERO, |holding| holding.being_closed),
        }
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
        let holding = self
            .instruments
            .get(key)
            .and_then(|sums| sums.holdings.get(agent));
        let mut left = size;
        let mut parts = Vec::new();
        for id in holding.into_iter().flat_map(|holding| &holding.orders) {
            if left.is_zero() {
                break;
            }
            let Some(order) = self
                .find_order(*id)
                .filter(|order| Some(*id) != by && !order.open().is_zero())
            else {
                continue;
            };
            let closed = order.open().min(left);
            left = left.saturating_sub(closed);
            parts.push(ClosedPart {
                decision_id: *id,
                size: closed,
                side: order.side,
                entry_price: order.entry_price,
                leverage: order.leverage,
            });
        }
        (parts, left)
    }

    /// Closes parts of open orders. Returns the orders as they are then.
    pub fn close_parts(&mut self, parts: &[ClosedPart], now: Millis) -> Vec<MarketOrder> {
        let mut changed = Vec::with_capacity(parts.len());
        for part in parts {
            let Some(booked) = self.orders.get(&part.decision_id) else {
                continue;
            };
            let order = MarketOrder {
                closed: booked.order.closed.saturating_add(part.size),
                since: now,
                ..booked.order.clone()
            };
            let key = booked.key.clone();
            self.put_order(order.clone(), key);
            changed.push(order);
        }
        changed
    }
}
