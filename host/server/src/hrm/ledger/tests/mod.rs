//! The ledger against a model of the account.
//!
//! The model is written apart from the ledger, without sums, keys or indexes: it keeps a list of orders and goes through it for every question. Random
//! sequences of proposals, reports (late, repeated, reordered, contradictory), approvals, dry runs, restarts and steps of the clock are given to both.
//! `ARK_ACCOUNT_SEQUENCES` sets their number.

mod model;
mod sequence;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use ark_model::action::{Action, ClosePosition, Parameters, Side};
use ark_model::decision::Outcome;
use ark_model::facts::Facts;
use ark_model::form::{parse_action, parse_json};
use ark_model::ids::{DecisionId, Digest, Fraction, Millis, Name};
use ark_model::instrument::InstrumentAliases;
use ark_model::size::Size;
use ark_store::{
    FAR_AHEAD, LedgerChange, LedgerRows, MarketOrder, MarketOrderPurpose, MarketOrderState,
    OrderNumber, Promotion,
};

use super::{FactQuery, Fill, FillAlert, Ledger};
use crate::hrm::redaction::Findings;
use ark_model::execution::ExecutionStatus;

use model::{Dice, Model, ModelOrder, Said};
use sequence::Sequence;

/// The largest exposure in an instrument, in units: rule 5.
const LIMIT: u64 = 100_000_000;
/// The loss from which nothing is opened: rule 6.
const LOSS_LIMIT: f64 = 0.05;
const TTL: u64 = 60_000;
const DAY: u64 = 86_400_000;
const INSTRUMENTS: [[&str; 3]; 2] = [
    ["BTC-USD", "btc/usd", "BTCUSD"],
    ["ETH-USD", "ETH_USD", "eth.usd"],
];

/// What the ledger had committed, as the store keeps it.
#[derive(Default)]
struct Rows {
    orders: HashMap<DecisionId, MarketOrder>,
    trades: HashMap<(Name, String, bool), Millis>,
    promotions: HashMap<(Name, String, bool), Promotion>,
    realised: std::collections::BTreeMap<u64, f64>,
}

/// The trade that an order's own row tells of.
fn trade_of_new(order: &MarketOrder) -> Option<((Name, String, bool), Millis)> {
    let tells = order.state == MarketOrderState::New && order.purpose == MarketOrderPurpose::Open;
    let address = || {
        let buys = order.side == Side::Buy;
        (order.agent.clone(), order.symbol.to_string(), buys)
    };
    tells.then(|| (address(), order.since))
}

impl Rows {
    fn commit(&mut self, changes: Vec<LedgerChange>) {
        for change in changes {
            match change {
                LedgerChange::NewOrder(order) => {
                    self.check_number(&order);
                    let before = self
                        .orders
                        .insert(order.decision_id, Arc::unwrap_or_clone(order));
                    assert_eq!(before, None, "a new order is there already");
                }
                LedgerChange::ChangedOrder(order) => {
                    self.check_number(&order);
                    let stored = &self.orders[&order.decision_id];
                    assert!(
                        !stored.is_live() || stored.number == order.number,
                        "its row stays under the number that it had"
                    );
                    self.record_trade(&order);
                    self.orders
                        .insert(order.decision_id, Arc::unwrap_or_clone(order));
                }
                LedgerChange::LastTrade {
                    agent,
                    symbol,
                    side,
                    at,
                } => {
                    let address = (agent, symbol.to_string(), side == Side::Buy);
                    self.trades.insert(address, at);
                }
                LedgerChange::Promotion(promotion) => {
                    let key = (
                        promotion.agent.clone(),
                        promotion.symbol.clone(),
                        promotion.account_wide,
                    );
                    self.promotions.insert(key, promotion);
                }
                LedgerChange::Realised { day, delta } => {
                    *self.realised.entry(day).or_default() += delta;
                }
                LedgerChange::PromotionForgotten { .. } | LedgerChange::Execution(_) => {
                    unreachable!("no sequence is that long")
                }
            }
        }
    }

    /// Checks that no other live order has the number of an order: the commit would fail.
    fn check_number(&self, order: &MarketOrder) {
        let others = self.orders.values().filter(|other| other.is_live());
        for other in others.filter(|other| other.decision_id != order.decision_id) {
            assert_ne!(other.number, order.number, "two orders have a number");
        }
    }

    /// Keeps when an order that is new was traded, as the store does when it gets another state.
    fn record_trade(&mut self, order: &MarketOrder) {
        let stored = self.orders.get(&order.decision_id);
        if order.state == MarketOrderState::New {
            return;
        }
        let Some((address, at)) = stored.and_then(trade_of_new) else {
            return;
        };
        let far_ahead = order.since.saturating_add(FAR_AHEAD);
        let capped = |at: Millis| if at > far_ahead { order.since } else { at };
        let last = self.trades.entry(address).or_default();
        *last = capped(at).max(capped(*last));
    }

    fn load(&self, now: u64) -> Ledger {
        let rows = LedgerRows {
            orders: self
                .orders
                .values()
                .filter(|order| order.is_live())
                .cloned()
                .collect(),
            last_trades: self
                .trades
                .iter()
                .map(|(address, at)| (address.clone(), *at))
                .chain(self.orders.values().filter_map(trade_of_new))
                .map(|((agent, symbol, buys), at)| {
                    let side = if buys { Side::Buy } else { Side::Sell };
                    (agent, symbol, side, at)
                })
                .collect(),
            promotions: self.promotions.values().cloned().collect(),
            realised: self.realised.clone(),
            ..LedgerRows::default()
        };
        Ledger::from_rows(
            rows,
            Vec::new(),
            InstrumentAliases::default(),
            Duration::from_millis(TTL),
            Millis(now),
        )
    }

    /// What was opened and closed adds up: closes took from open orders what they filled, and nothing else did.
    fn check_conservation(&self) {
        let mut sums: HashMap<(&Name, char), (u64, u64)> = HashMap::new();
        for order in self.orders.values() {
            let first = order.symbol.chars().next().unwrap().to_ascii_uppercase();
            let (closed, closing) = sums.entry((&order.agent, first)).or_default();
            *closed += order.closed.units();
            if order.purpose == MarketOrderPurpose::Close {
                *closing += order.filled.saturating_sub(order.opened).units();
            } else {
                assert_eq!(order.opened, order.filled, "{order:?}");
            }
        }
        for (who, (closed, closing)) in sums {
            assert_eq!(closed, closing, "{who:?}");
        }
    }
}

/// The actions that the sequences propose.
struct Forms {
    agents: [Name; 2],
    trade: Action,
    close: Action,
    publish: Action,
    findings: Findings,
}

impl Forms {
    fn new() -> Self {
        let form = |text: &str| {
            parse_action(parse_json(text.as_bytes()).unwrap())
                .unwrap()
                .action
        };
        Self {
            agents: ["ann".parse().unwrap(), "ben".parse().unwrap()],
            trade: form(
                r#"{"agent":"ann","action_type":"trade","parameters":{"symbol":"X","position_size_pct":0.01}}"#,
            ),
            close: form(
                r#"{"agent":"ann","action_type":"close_position","parameters":{"symbol":"X"}}"#,
            ),
            publish: form(
                r#"{"agent":"ann","action_type":"publish","parameters":{"topic":"t","text":"t"}}"#,
            ),
            findings: Findings::default(),
        }
    }

    fn trade(&self, symbol: &str, side: Side, size: u64) -> Action {
        let mut action = self.trade.clone();
        if let Parameters::Trade(trade) = &mut action.parameters {
            symbol.clone_into(&mut trade.symbol);
            trade.side = side;
            trade.position_size_pct = size as f64 / 1e9;
        }
        action
    }

    fn close(&self, symbol: &str, size: Option<u64>) -> Action {
        let parameters = ClosePosition {
            symbol: symbol.to_owned(),
            position_size_pct: size.map(|size| size as f64 / 1e9),
            extra_json: "{}".to_owned(),
        };
        Action {
            parameters: Parameters::ClosePosition(parameters),
            ..self.close.clone()
        }
    }

    fn query<'a>(&'a self, agent: usize, action: &'a Action) -> FactQuery<'a> {
        FactQuery {
            agent: &self.agents[agent],
            action,
            instrument: None,
            repetition_key: Digest::from_bytes([0; 32]),
            findings: &self.findings,
            data_subject: None,
            subject_digest: None,
            causal_depth: 0,
        }
    }
}

#[test]
fn an_order_without_a_report_ends_once_whichever_way_the_clock_goes() {
    let forms = Forms::new();
    let mut rows = Rows::default();
    let start = 20_000 * DAY;
    let mut ledger = rows.load(start);
    let action = forms.trade("BTC-USD", Side::Buy, 50_000_000);
    let query = forms.query(0, &action);
    let id = DecisionId::fresh();
    rows.commit(ledger.record_decision(id, query, Outcome::Approved, Millis(start)));
    // The time of the clock, and the exposure then. A clock that comes back finds what has ended as it ended.
    for (now, exposure) in [
        (start + TTL - 1, 0.05),
        (start - DAY, 0.05),
        (start + TTL - 1, 0.05),
        (start + TTL, 0.0),
        (start, 0.0),
    ] {
        ledger.advance_to(Millis(now));
        let found = ledger.gather_facts(query, Millis(now)).symbol_exposure;
        assert!((found - exposure).abs() < 1e-12, "{now}: {found}");
    }
    // What a dry run moved on is committed with the next unit, once.
    let changes = ledger.take_changes();
    assert_eq!(changes.len(), 1, "{changes:?}");
    ledger.return_changes(changes);
    let changes = ledger.take_changes();
    assert_eq!((changes.len(), ledger.take_changes().len()), (1, 0));
    rows.commit(changes);
    assert_eq!(rows.orders[&id].state, MarketOrderState::Expired);
    assert_eq!(rows.load(start).find_order(id), None);
}

#[test]
fn an_order_that_is_restored_keeps_the_number_of_its_row_and_gets_one_where_it_has_none() {
    let forms = Forms::new();
    let mut rows = Rows::default();
    let mut ledger = rows.load(1);
    let action = forms.trade("BTC-USD", Side::Buy, 10);
    let mut approve = |ledger: &mut Ledger| {
        let id = DecisionId::fresh();
        let query = forms.query(0, &action);
        rows.commit(ledger.record_decision(id, query, Outcome::Approved, Millis(1)));
        rows.orders[&id].clone()
    };
    let [first, second] = [approve(&mut ledger), approve(&mut ledger)];
    assert_eq!([first.number.0, second.number.0], [1, 2]);
    // The book of a ledger that has forgotten both, while the database still has the row of one.
    let mut ledger = Rows::default().load(1);
    let restored = ledger.restore_order(second.clone(), Millis(1));
    assert!(restored.is_empty(), "{restored:?}");
    assert_eq!(ledger.find_order(second.decision_id), Some(&second));
    let ended = MarketOrder {
        number: OrderNumber::NONE,
        state: MarketOrderState::Cancelled,
        ..first.clone()
    };
    let restored = ledger.restore_order(ended, Millis(1));
    assert!(restored.is_empty(), "{restored:?}");
    let restored = ledger.find_order(first.decision_id).unwrap();
    assert_eq!(restored.number.0, 3);
    assert_eq!(approve(&mut ledger).number.0, 4);
}

#[test]
fn a_live_order_that_is_restored_after_its_time_ends_before_its_report_is_booked() {
    let forms = Forms::new();
    let mut rows = Rows::default();
    let start = 20_000 * DAY;
    let mut ledger = rows.load(start);
    let action = forms.trade("BTC-USD", Side::Buy, 50_000_000);
    let id = DecisionId::fresh();
    let query = forms.query(0, &action);
    rows.commit(ledger.record_decision(id, query, Outcome::Approved, Millis(start)));
    let row = rows.orders[&id].clone();
    // The time of the restoring: in the order's time its report is one in time.
    for (now, state, alerts) in [
        (start + TTL - 1, MarketOrderState::New, Vec::new()),
        (
            start + TTL,
            MarketOrderState::Expired,
            vec![FillAlert::Late {
                size: Size::from_units(50_000_000),
            }],
        ),
    ] {
        // A book that has forgotten the order, while the row is still that of a live one.
        let mut ledger = Rows::default().load(start);
        let changes = ledger.restore_order(row.clone(), Millis(now));
        assert_eq!(ledger.find_order(id).unwrap().state, state, "{now}");
        let ends = usize::from(state == MarketOrderState::Expired);
        assert_eq!(changes.len(), ends, "{now}");
        let fill = Fill {
            status: ExecutionStatus::Filled,
            filled: None,
            price: None,
            realised: None,
            at: Millis(now),
        };
        let booking = ledger.book_report(id, &fill).unwrap().unwrap();
        assert_eq!(booking.alerts, alerts, "{now}");
    }
}

#[test]
fn times_of_a_clock_that_was_far_ahead_count_as_now_after_a_restart() {
    let forms = Forms::new();
    let mut rows = Rows::default();
    let ahead = 30_000 * DAY;
    let mut ledger = rows.load(ahead);
    let action = forms.trade("BTC-USD", Side::Buy, 50_000_000);
    let query = forms.query(0, &action);
    rows.commit(ledger.record_decision(
        DecisionId::fresh(),
        query,
        Outcome::Approved,
        Millis(ahead),
    ));
    let sell = forms.trade("BTC-USD", Side::Sell, 1);
    let now = 20_000 * DAY;
    let mut ledger = rows.load(now);
    for (later, age, exposure) in [(0, 0.0, 0.05), (TTL - 1, 59.999, 0.05), (TTL, 60.0, 0.0)] {
        let at = Millis(now + later);
        ledger.advance_to(at);
        let facts = ledger.gather_facts(forms.query(0, &sell), at);
        assert_eq!(facts.opposite_trade_age, Some(age), "{later}");
        assert!((facts.symbol_exposure - exposure).abs() < 1e-12, "{later}");
    }
    let changes = ledger.take_changes();
    // An hour ahead is a clock that was set back: it protects until it is there again.
    let ledger = rows.load(ahead - 3_600_000);
    let facts = ledger.gather_facts(forms.query(0, &sell), Millis(ahead + 5_000));
    assert_eq!(facts.opposite_trade_age, Some(5.0));
    // When the order has ended, what is kept of the trade is the time that it counts as.
    rows.commit(changes);
    let later = now + DAY;
    let ledger = rows.load(later);
    let facts = ledger.gather_facts(forms.query(0, &sell), Millis(later));
    assert_eq!(facts.opposite_trade_age, Some(86_400.0 - 60.0));
}

#[test]
fn the_ledger_agrees_with_a_model_of_the_account_whatever_happens_in_which_order() {
    let sequences: u64 = std::env::var("ARK_ACCOUNT_SEQUENCES")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(3_000);
    let forms = Forms::new();
    let mut counts = [0; 6];
    for seed in 0..sequences {
        let mut dice = Dice(seed);
        let rows = Rows::default();
        // Near midnight, so that steps cross it.
        let now = 20_000 * DAY + dice.below(2 * 120_000) - 120_000;
        let mut sequence = Sequence {
            forms: &forms,
            dice,
            now,
            latest: now,
            ledger: rows.load(now),
            rows,
            model: Model::default(),
            held: Vec::new(),
            counts: &mut counts,
        };
        let guard = SeedOnPanic(seed);
        for _ in 0..30 {
            sequence.step();
            sequence.check();
        }
        std::mem::forget(guard);
    }
    let [trades, closes, approvals, restarts, reports, alerts] = counts;
    println!(
        "{sequences} sequences: {trades} trades, {closes} closes, {approvals} approvals, {restarts} restarts, {reports} reports booked, {alerts} alerts"
    );
    for count in counts {
        assert!(
            count > sequences / 100,
            "a kind of step hardly happens: {counts:?}"
        );
    }
}

/// Names the sequence that failed.
struct SeedOnPanic(u64);

impl Drop for SeedOnPanic {
    fn drop(&mut self) {
        eprintln!("sequence {} failed", self.0);
    }
}
