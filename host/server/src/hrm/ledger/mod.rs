//! The ledger: the orders, results, recent actions and lists from which the facts of an action are gathered.
//!
//! The arbiter owns it. It is a cache of tables of the store and changes in step with them: every method that changes it returns the
//! [`LedgerChange`]s that must be committed with the decision. When a commit fails, the ledger is discarded and loaded again.
//!
//! Instruments are told apart by [`ark_model::instrument::InstrumentKey`]; rows keep the symbol as it was given.
//!
//! Reading order: this file, [`facts`], [`order_book`] and [`instruments`] (what is open, and when it was traded), [`order_state`] (what a report makes
//! of an order), [`executions`] (how a report is booked), [`results`] (profit and loss by day), [`windows`] and [`promotions`] (what was done
//! lately; [`bases`]: what a text names), [`lists`].
//!
//! Must not know: rules and their limits, wasmtime, HTTP.

mod bases;
mod executions;
mod facts;
mod instruments;
mod lists;
mod order_book;
mod order_state;
mod parted_map;
mod promotions;
mod results;
mod small_map;
mod vetoes;
mod windows;

#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use ark_model::action::{Parameters, Side};
use ark_model::decision::Outcome;
use ark_model::ids::{DecisionId, Digest, Fraction, Millis, Name};
use ark_model::instrument::{InstrumentAliases, InstrumentKey};
use ark_model::size::Size;
use ark_store::{
    FAR_AHEAD, LedgerChange, LedgerRows, List, ListEntry, MarketOrder, MarketOrderPurpose,
    MarketOrderState, OrderNumber,
};

pub use executions::{Booking, FillAlert};
pub use facts::FactQuery;
pub(super) use lists::is_same_entry;
pub use order_state::Fill;
pub use vetoes::check_veto;
pub(super) use windows::IDENTICAL_WINDOW;

use facts::close_size;
use lists::OperatorLists;
use order_book::MarketOrderBook;
use promotions::Promotions;
use results::DayResults;
use windows::RecentActions;

/// The ledger of one account.
#[derive(Debug)]
pub struct Ledger {
    aliases: InstrumentAliases,
    /// How long an order waits for its first report.
    reservation_ttl: Duration,
    orders: MarketOrderBook,
    promotions: Promotions,
    recent: RecentActions,
    results: DayResults,
    capital: Option<f64>,
    lists: OperatorLists,
    /// Changes that time made and that no unit has taken yet.
    pending: Vec<LedgerChange>,
}

impl Ledger {
    /// Makes the ledger from the rows of the store. `recent` are the keys of the actions within [`IDENTICAL_WINDOW`], oldest first.
    #[must_use]
    pub fn from_rows(
        rows: LedgerRows,
        recent: Vec<(Millis, Digest)>,
        aliases: InstrumentAliases,
        reservation_ttl: Duration,
        now: Millis,
    ) -> Self {
        let latest = |at: Millis| if is_far_ahead(at, now) { now } else { at };
        let mut orders = MarketOrderBook::default();
        for order in rows.orders {
            let key = aliases.find_key(&order.symbol);
            if orders.find_order(order.decision_id).is_some() {
                tracing::error!(
                    decision_id = %order.decision_id,
                    number = order.number.0,
                    "the database has two live orders of a decision: the later one counts"
                );
            }
            orders.put_order(&Arc::new(order), &key);
        }
        orders.cap_expiries(now, reservation_ttl, |at| is_far_ahead(at, now));
        for (agent, symbol, side, at) in rows.last_trades {
            orders.record_trade(&agent, &aliases.find_key(&symbol), side, latest(at));
        }
        let mut promotions = rows.promotions;
        for promotion in &mut promotions {
            promotion.at = latest(promotion.at);
        }
        let mut actions = RecentActions::default();
        for (at, repetition_key) in recent {
            actions.remember_action(repetition_key, at);
        }
        Self {
            orders,
            promotions: Promotions::from_rows(promotions, &aliases),
            recent: actions,
            results: DayResults::new(rows.realised),
            capital: rows.capital,
            lists: OperatorLists::new(rows.from_config, rows.from_api, aliases.clone()),
            pending: Vec::new(),
            aliases,
            reservation_ttl,
        }
    }

    /// Moves the ledger on to `now`: ends the orders whose time is over without a report, and forgets the actions that left their window. What must
    /// be committed waits for [`Ledger::take_changes`], so a dry run may move it on too.
    pub fn advance_to(&mut self, now: Millis) {
        self.recent.advance_to(now);
        let expired = self.orders.expire_orders(now);
        self.pending
            .extend(expired.into_iter().map(LedgerChange::ChangedOrder));
    }

    /// Whether [`Ledger::advance_to`] has hardly anything to do: a few orders and actions, in however long a time.
    #[must_use]
    pub fn is_current(&self, now: Millis) -> bool {
        self.recent.is_current(now) && self.orders.is_current(now)
    }

    /// Takes the changes that time made.
    #[must_use]
    pub fn take_changes(&mut self) -> Vec<LedgerChange> {
        std::mem::take(&mut self.pending)
    }

    /// Takes back changes that no unit has committed.
    pub fn return_changes(&mut self, mut changes: Vec<LedgerChange>) {
        changes.append(&mut self.pending);
        self.pending = changes;
    }

    /// Records a decision: remembers the action, and reserves what an approved trade opens or an approved close closes.
    pub fn record_decision(
        &mut self,
        id: DecisionId,
        query: FactQuery<'_>,
        outcome: Outcome,
        now: Millis,
    ) -> Vec<LedgerChange> {
        self.recent.remember_action(query.repetition_key, now);
        if outcome != Outcome::Approved {
            return Vec::new();
        }
        let agent = query.agent;
        match &query.action.parameters {
            Parameters::Trade(trade) => {
                let order = MarketOrder {
                    size: Fraction::new(trade.position_size_pct)
                        .map_or(Size::ZERO, Size::from_fraction),
                    leverage: trade.leverage,
                    ..self.new_order(id, agent, &trade.symbol, trade.side, now)
                };
                let key = self.find_instrument(query.instrument, &trade.symbol);
                self.record_order(order, &key, &[trade.side], now)
            }
            Parameters::ClosePosition(close) => {
                let key = self.find_instrument(query.instrument, &close.symbol);
                let sides = self.sides_of_close(agent, close, &key);
                // An approved close is covered, so it trades a side.
                let Some(side) = sides.first().copied() else {
                    return Vec::new();
                };
                let closable = self.orders.open_sizes(agent, &key).closable();
                let order = MarketOrder {
                    purpose: MarketOrderPurpose::Close,
                    side,
                    size: close_size(close).unwrap_or(closable),
                    ..self.new_order(id, agent, &close.symbol, side, now)
                };
                self.record_order(order, &key, &sides, now)
            }
            Parameters::Message(_) => match self.find_named_instruments(query.action) {
                Some(named) => self.promotions.record_message(agent, named, now),
                None => Vec::new(),
            },
            _ => Vec::new(),
        }
    }

    /// Puts a new order into the book, and records that its sides are traded.
    fn record_order(
        &mut self,
        order: MarketOrder,
        key: &InstrumentKey,
        sides: &[Side],
        now: Millis,
    ) -> Vec<LedgerChange> {
        let mut changes = Vec::with_capacity(1 + sides.len());
        for side in sides {
            let at = self.orders.record_trade(&order.agent, key, *side, now);
            if order.purpose == MarketOrderPurpose::Open {
                continue; // The order's own row tells of it.
            }
            changes.push(LedgerChange::LastTrade {
                agent: order.agent.clone(),
                symbol: Arc::clone(&order.symbol),
                side: *side,
                at,
            });
        }
        let order = Arc::new(MarketOrder {
            number: self.orders.take_number(),
            ..order
        });
        self.orders.put_order(&order, key);
        changes.push(LedgerChange::NewOrder(order));
        changes
    }

    /// Returns the instrument that a symbol names: `known`, if the caller has found it before.
    fn find_instrument(&self, known: Option<&InstrumentKey>, symbol: &str) -> InstrumentKey {
        debug_assert!(
            known.is_none_or(|known| *known == self.aliases.find_key(symbol)),
            "another instrument was handed over"
        );
        known
            .cloned()
            .unwrap_or_else(|| self.aliases.find_key(symbol))
    }

    /// Returns an order that is approved now, of size 0 and without a number yet.
    fn new_order(
        &self,
        id: DecisionId,
        agent: &Name,
        symbol: &str,
        side: Side,
        now: Millis,
    ) -> MarketOrder {
        MarketOrder {
            number: OrderNumber::NONE,
            decision_id: id,
            agent: agent.clone(),
            symbol: symbol.into(),
            purpose: MarketOrderPurpose::Open,
            side,
            size: Size::ZERO,
            leverage: 1.0,
            state: MarketOrderState::New,
            filled: Size::ZERO,
            opened: Size::ZERO,
            closed: Size::ZERO,
            entry_price: None,
            realised: 0.0,
            last_realised: None,
            since: now,
            expires_at: Some(now.saturating_add(self.reservation_ttl)),
        }
    }

    /// Returns the keys under which a list has an entry for what `key` addresses: in a list of instruments, those of all its spellings.
    #[must_use]
    pub fn find_entry_keys(&self, list: List, key: &str) -> Vec<String> {
        self.lists.find_entry_keys(list, key)
    }

    /// Sets the entry under a key of a list. `None` removes it.
    pub fn set_attested_entry(&mut self, list: List, key: &str, entry: Option<ListEntry>) {
        self.lists.set_attested(list, key, entry);
    }

    /// The capital in the account's currency. `None`: no operator has attested it.
    #[must_use]
    pub const fn capital(&self) -> Option<f64> {
        self.capital
    }

    /// Sets the capital, in the account's currency.
    pub const fn set_capital(&mut self, amount: f64) {
        self.capital = Some(amount);
    }

    /// Returns the realised loss of the UTC day of `now`, as a fraction of capital.
    #[must_use]
    pub fn daily_loss(&self, now: Millis) -> f64 {
        self.results.daily_loss(now)
    }

    /// Adds a realised result to the UTC day of `now`, as a fraction of the capital.
    pub fn record_result(&mut self, delta: f64, now: Millis) -> LedgerChange {
        self.results.record_result(delta, now)
    }
}

/// Whether a time is so far ahead of the clock that it is of a clock that was wrong.
fn is_far_ahead(at: Millis, now: Millis) -> bool {
    at > now.saturating_add(FAR_AHEAD)
}
