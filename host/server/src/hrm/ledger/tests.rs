//! The ledger against a model of the account.
//!
//! The model is written apart from the ledger, without sums, keys or indexes: it keeps a list of orders and goes through it for every question. Random
//! sequences of proposals, reports (late, repeated, reordered, contradictory), approvals, dry runs, restarts and steps of the clock are given to both.
//! `ARK_ACCOUNT_SEQUENCES` sets their number.

use std::collections::HashMap;
use std::time::Duration;

use ark_model::action::{Action, ClosePosition, Parameters, Side};
use ark_model::decision::Outcome;
use ark_model::facts::Facts;
use ark_model::form::{parse_action, parse_json};
use ark_model::ids::{DecisionId, Digest, Fraction, Millis, Name};
use ark_model::instrument::InstrumentAliases;
use ark_model::size::Size;
use ark_store::{LedgerChange, LedgerRows, OrderPurpose, OrderState, Promotion, TradeOrder};

use super::{FactQuery, Fill, FillAlert, Ledger};
use crate::hrm::redaction::Findings;
use crate::hrm::request::ExecutionStatus;

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

/// A generator of numbers that a seed determines (splitmix64).
struct Dice(u64);

impl Dice {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.next() % limit
    }

    fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(length as u64)).unwrap()
    }

    fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

/// An order as the model knows it.
#[derive(Debug, Clone)]
struct ModelOrder {
    id: DecisionId,
    agent: usize,
    instrument: usize,
    closes: bool,
    side: Side,
    size: u64,
    filled: u64,
    state: &'static str,
    deadline: Option<u64>,
    lapsed: bool,
    open: u64,
    /// Pieces that were opened: size divided by price; `None` once a price is missing.
    pieces: Option<f64>,
    opened: u64,
    results: Vec<f64>,
}

impl ModelOrder {
    fn works(&self) -> bool {
        matches!(self.state, "new" | "partially_filled")
    }

    fn rest(&self) -> u64 {
        if self.works() {
            self.size.saturating_sub(self.filled)
        } else {
            0
        }
    }
}

/// What the model says of a report.
#[derive(Debug, PartialEq)]
enum Said {
    Refused,
    Booked { added: u64, excess: bool },
}

#[derive(Debug, Default)]
struct Model {
    orders: Vec<ModelOrder>,
    days: HashMap<u64, f64>,
    trades: HashMap<(usize, usize, bool), u64>,
    promotions: HashMap<usize, u64>,
    /// What was filled late, beyond an approval or beyond what was open, by instrument.
    excess: [u64; 2],
}

impl Model {
    fn expire(&mut self, now: u64) {
        for order in &mut self.orders {
            if order.works() && order.deadline.is_some_and(|deadline| deadline <= now) {
                order.state = "expired";
                order.lapsed = true;
            }
        }
    }

    fn exposure(&self, instrument: usize) -> u64 {
        self.orders
            .iter()
            .filter(|order| order.instrument == instrument)
            .map(|order| order.open + if order.closes { 0 } else { order.rest() })
            .sum()
    }

    fn open(&self, agent: usize, instrument: usize) -> u64 {
        let mine = |order: &&ModelOrder| order.agent == agent && order.instrument == instrument;
        self.orders
            .iter()
            .filter(mine)
            .map(|order| order.open)
            .sum()
    }

    fn closable(&self, agent: usize, instrument: usize) -> u64 {
        let mine = |order: &&ModelOrder| order.agent == agent && order.instrument == instrument;
        let closing: u64 = self
            .orders
            .iter()
            .filter(mine)
            .filter(|order| order.closes)
            .map(ModelOrder::rest)
            .sum();
        self.open(agent, instrument).saturating_sub(closing)
    }

    fn loss(&self, now: u64) -> f64 {
        (-self.days.get(&(now / DAY)).copied().unwrap_or(0.0)).max(0.0)
    }

    fn trade(&mut self, agent: usize, instrument: usize, side: Side, now: u64) {
        let at = self
            .trades
            .entry((agent, instrument, side == Side::Buy))
            .or_insert(now);
        *at = now.max(*at);
    }

    /// Takes `amount` from the agent's oldest open orders. Returns each part with its side, stake and price of entry, and what is missing.
    fn take_open(
        &mut self,
        index: usize,
        amount: u64,
        dry: bool,
    ) -> (Vec<(u64, Side, Option<f64>)>, u64) {
        let (agent, instrument) = (self.orders[index].agent, self.orders[index].instrument);
        let mut left = amount;
        let mut parts = Vec::new();
        for (other, order) in self.orders.iter_mut().enumerate() {
            if other == index || order.agent != agent || order.instrument != instrument {
                continue;
            }
            let part = order.open.min(left);
            if part == 0 {
                continue;
            }
            left -= part;
            let entry = order.pieces.map(|pieces| order.opened as f64 / pieces);
            parts.push((part, order.side, entry));
            if !dry {
                order.open -= part;
            }
        }
        (parts, left)
    }

    /// Books a report. `claim_is_close`: the claimed result is too near a bound to be told apart from it.
    fn report(
        &mut self,
        index: usize,
        status: &'static str,
        stated: Option<u64>,
        price: Option<f64>,
        claim: Option<f64>,
        now: u64,
    ) -> Option<Said> {
        let order = self.orders[index].clone();
        let fills = status == "filled" || status == "partially_filled";
        let total = match stated {
            Some(0) | None if status == "partially_filled" => return Some(Said::Refused),
            Some(0) if status == "filled" => return Some(Said::Refused),
            Some(size) if size > 0 && status == "rejected" => return Some(Said::Refused),
            Some(size) => size,
            None if status == "filled" => order.size.max(order.filled),
            None => order.filled,
        };
        if total < order.filled {
            return Some(Said::Refused);
        }
        let added = total - order.filled;
        let next = if order.works() {
            if status == "rejected" && order.filled > 0 {
                return Some(Said::Refused);
            }
            status
        } else if added > 0 || fills || status == order.state {
            order.state
        } else if order.lapsed {
            status
        } else {
            return Some(Said::Refused);
        };
        let late = !order.works() && added > 0;
        // The result first: it may refuse the whole report.
        let mut counted = None;
        if let Some(claim) = claim.filter(|claim| *claim != 0.0 || (order.closes && added > 0)) {
            if !order.closes {
                return Some(Said::Refused);
            }
            if added == 0 {
                let total: f64 = order.results.iter().sum();
                let known = |booked: f64| (booked - claim).abs() < 1e-12;
                if !(known(total) || order.results.last().copied().is_some_and(known)) {
                    return Some(Said::Refused);
                }
            } else {
                let (parts, _) = self.take_open(index, added, true);
                let (mut least, mut most) = (0.0, 0.0);
                for (part, side, entry) in parts {
                    let stake = part as f64 / 1e9;
                    match (entry, price) {
                        (Some(entry), Some(price)) => {
                            let sign = if side == Side::Buy { 1.0 } else { -1.0 };
                            let result = sign * stake * (price / entry - 1.0);
                            most += result + stake / 1000.0;
                            least += result.min(0.0) - stake / 10.0;
                        }
                        _ => {
                            most += stake;
                            least -= stake * if side == Side::Buy { 1.1 } else { 100.0 };
                        }
                    }
                }
                if (claim - most).abs() < 1e-6 || (claim - least).abs() < 1e-6 {
                    return None;
                }
                if claim > most || claim < least {
                    return Some(Said::Refused);
                }
                counted = Some(claim);
            }
        }
        let over = total.saturating_sub(order.size.max(order.filled));
        let mut excess = over.max(if late { added } else { 0 });
        let opened = if order.closes {
            self.take_open(index, added, false).1
        } else {
            added
        };
        if order.closes {
            // What a close filled late of what is still open frees exposure: only what it opens is more.
            excess = opened;
        }
        self.excess[order.instrument] += excess;
        let order = &mut self.orders[index];
        if next != order.state || added > 0 {
            order.lapsed = late && order.lapsed;
        }
        if opened > 0 {
            order.pieces = match (price, order.opened, order.pieces) {
                (Some(price), 0, _) => Some(opened as f64 / price),
                (Some(price), _, Some(pieces)) => Some(pieces + opened as f64 / price),
                _ => None,
            };
        }
        order.deadline = None;
        order.state = next;
        order.filled = total;
        order.opened += opened;
        order.open += opened;
        if let Some(result) = counted {
            order.results.push(result);
            *self.days.entry(now / DAY).or_default() += result;
        }
        Some(Said::Booked {
            added,
            excess: late || over > 0 || (order.closes && opened > 0),
        })
    }
}

/// What the ledger had committed, as the store keeps it.
#[derive(Default)]
struct Rows {
    orders: HashMap<DecisionId, TradeOrder>,
    trades: HashMap<(Name, String, bool), Millis>,
    promotions: HashMap<(Name, String, bool), Promotion>,
    realised: std::collections::BTreeMap<u64, f64>,
}

impl Rows {
    fn commit(&mut self, changes: Vec<LedgerChange>) {
        for change in changes {
            match change {
                LedgerChange::Order(order) => {
                    self.orders.insert(order.decision_id, *order);
                }
                LedgerChange::LastTrade {
                    agent,
                    symbol,
                    side,
                    at,
                } => {
                    self.trades.insert((agent, symbol, side == Side::Buy), at);
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
                .map(|((agent, symbol, buys), at)| {
                    let side = if *buys { Side::Buy } else { Side::Sell };
                    (agent.clone(), symbol.clone(), side, *at)
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
            if order.purpose == OrderPurpose::Close {
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
            identity: Digest::from_bytes([0; 32]),
            findings: &self.findings,
            data_subject: None,
            subject_digest: None,
            causal_depth: 0,
        }
    }
}

/// One sequence: the ledger, its rows and the model, at one clock.
struct Sequence<'a> {
    forms: &'a Forms,
    dice: Dice,
    now: u64,
    /// The latest time of the clock so far.
    latest: u64,
    ledger: Ledger,
    rows: Rows,
    model: Model,
    /// Actions that wait for an approval.
    held: Vec<(usize, usize, Action)>,
    counts: &'a mut [u64; 6],
}

impl Sequence<'_> {
    fn advance(&mut self) {
        self.ledger.advance_to(Millis(self.now));
        self.model.expire(self.now);
    }

    fn commit_time(&mut self) {
        let changes = self.ledger.take_changes();
        self.rows.commit(changes);
    }

    fn facts(&self, agent: usize, action: &Action) -> Facts {
        self.ledger
            .gather_facts(self.forms.query(agent, action), Millis(self.now))
    }

    fn step(&mut self) {
        match self.dice.below(20) {
            0..=5 => self.propose_trade(),
            6..=8 => self.propose_close(),
            9..=13 => self.report(),
            14 => self.publish(),
            15 => self.approve(),
            16 => self.restart(),
            17 => {
                let results = [-0.03, -0.01, 0.02];
                let result = self.dice.pick(&results);
                let change = self.ledger.record_result(result, Millis(self.now));
                self.rows.commit(vec![change]);
                *self.model.days.entry(self.now / DAY).or_default() += result;
            }
            _ => {
                let steps = [1, 500, 30_000, TTL, 3_600_000, DAY];
                let step = self.dice.pick(&steps);
                // Not a whole day behind the latest time: what is further ahead is taken for the time of a wrong clock, which has a test of its own.
                if self.dice.below(3) > 0 {
                    self.now += step;
                } else if self.latest < self.now - step + DAY {
                    self.now -= step;
                }
                self.latest = self.latest.max(self.now);
            }
        }
    }

    fn choose(&mut self) -> (usize, usize, &'static str) {
        let (agent, instrument) = (self.dice.index(2), self.dice.index(2));
        (agent, instrument, self.dice.pick(&INSTRUMENTS[instrument]))
    }

    fn propose_trade(&mut self) {
        let (agent, instrument, symbol) = self.choose();
        let side = self.dice.pick(&[Side::Buy, Side::Buy, Side::Sell]);
        let size = self
            .dice
            .pick(&[10_000_000, 30_000_000, 50_000_000, 80_000_000, 1, 0]);
        let action = self.forms.trade(symbol, side, size);
        if self.dice.below(8) == 0 {
            self.held.push((agent, instrument, action));
            return;
        }
        self.judge_trade(agent, instrument, &action);
    }

    fn judge_trade(&mut self, agent: usize, instrument: usize, action: &Action) {
        self.advance();
        let Parameters::Trade(trade) = &action.parameters else {
            return self.judge_close(agent, instrument, action);
        };
        let facts = self.facts(agent, action);
        assert_eq!(
            Size::from_fraction(Fraction::new(facts.symbol_exposure).unwrap()).units(),
            self.model.exposure(instrument)
        );
        let opposite = (agent, instrument, trade.side == Side::Sell);
        let age = |at: &u64| self.now.saturating_sub(*at) as f64 / 1000.0;
        assert_eq!(
            facts.opposite_trade_age,
            self.model.trades.get(&opposite).map(age)
        );
        assert_eq!(
            facts.promotion_age,
            self.model.promotions.get(&instrument).map(age)
        );
        assert_eq!(
            self.ledger
                .refuse_action(&self.forms.agents[agent], action, Millis(self.now)),
            None
        );
        if self.dice.below(6) == 0 {
            // A dry run: nothing comes of it.
            return;
        }
        let size = Size::from_fraction(Fraction::new(trade.position_size_pct).unwrap()).units();
        let fits = trade.position_size_pct + facts.symbol_exposure <= LIMIT as f64 / 1e9 + 1e-9
            && facts.daily_loss < LOSS_LIMIT - 1e-9;
        let outcome = if fits {
            Outcome::Approved
        } else {
            Outcome::Denied
        };
        self.commit_time();
        let id = DecisionId::fresh();
        let query = self.forms.query(agent, action);
        let changes = self
            .ledger
            .record_decision(id, query, outcome, Millis(self.now));
        self.rows.commit(changes);
        if !fits {
            return;
        }
        self.counts[0] += 1;
        self.model.trade(agent, instrument, trade.side, self.now);
        self.add_order(id, agent, instrument, false, trade.side, size);
    }

    fn add_order(
        &mut self,
        id: DecisionId,
        agent: usize,
        instrument: usize,
        closes: bool,
        side: Side,
        size: u64,
    ) {
        self.model.orders.push(ModelOrder {
            id,
            agent,
            instrument,
            closes,
            side,
            size,
            filled: 0,
            state: "new",
            deadline: Some(self.now + TTL),
            lapsed: false,
            open: 0,
            pieces: None,
            opened: 0,
            results: Vec::new(),
        });
    }

    fn propose_close(&mut self) {
        let (agent, instrument, symbol) = self.choose();
        let size = match self.dice.below(4) {
            0 | 1 => None,
            2 => Some(self.dice.pick(&[10_000_000, 30_000_000])),
            _ => Some(self.model.open(agent, instrument)),
        };
        let action = self.forms.close(symbol, size);
        if self.dice.below(8) == 0 {
            self.held.push((agent, instrument, action));
            return;
        }
        self.judge_close(agent, instrument, &action);
    }

    fn judge_close(&mut self, agent: usize, instrument: usize, action: &Action) {
        let Parameters::ClosePosition(close) = &action.parameters else {
            return;
        };
        self.advance();
        let facts = self.facts(agent, action);
        assert_eq!(
            Size::from_fraction(Fraction::new(facts.symbol_exposure).unwrap()).units(),
            self.model.exposure(instrument)
        );
        let closable = self.model.closable(agent, instrument);
        let wanted = close.position_size_pct.map_or(closable, |size| {
            Size::from_fraction(Fraction::new(size).unwrap()).units()
        });
        let refusal =
            self.ledger
                .refuse_action(&self.forms.agents[agent], action, Millis(self.now));
        assert_eq!(
            refusal.is_some(),
            wanted == 0 || wanted > closable,
            "{wanted} of {closable}: {refusal:?}"
        );
        if refusal.is_some() || self.dice.below(6) == 0 {
            return;
        }
        self.commit_time();
        // The sides of what would be closed, the oldest first.
        let held = close
            .position_size_pct
            .map_or_else(|| self.model.open(agent, instrument), |_| wanted);
        let mut left = held;
        let mut sides = Vec::new();
        for order in &self.model.orders {
            if order.agent == agent && order.instrument == instrument && order.open > 0 && left > 0
            {
                left = left.saturating_sub(order.open);
                sides.push(if order.side == Side::Buy {
                    Side::Sell
                } else {
                    Side::Buy
                });
            }
        }
        let id = DecisionId::fresh();
        let query = self.forms.query(agent, action);
        let changes = self
            .ledger
            .record_decision(id, query, Outcome::Approved, Millis(self.now));
        self.rows.commit(changes);
        for side in &sides {
            self.model.trade(agent, instrument, *side, self.now);
        }
        self.counts[1] += 1;
        self.add_order(id, agent, instrument, true, sides[0], wanted);
    }

    fn publish(&mut self) {
        let (agent, instrument, symbol) = self.choose();
        let mut action = self.forms.publish.clone();
        if let Parameters::Message(message) = &mut action.parameters {
            message.text = Some(format!("look at {symbol}, now"));
        }
        self.advance();
        // A word that is no pair is found only where it names an instrument that was traded.
        let is_found = symbol != "BTCUSD" && symbol != "eth.usd"
            || self
                .model
                .orders
                .iter()
                .any(|order| order.instrument == instrument);
        self.commit_time();
        let query = self.forms.query(agent, &action);
        let changes = self.ledger.record_decision(
            DecisionId::fresh(),
            query,
            Outcome::Approved,
            Millis(self.now),
        );
        self.rows.commit(changes);
        if is_found {
            let at = self.model.promotions.entry(instrument).or_insert(self.now);
            *at = self.now.max(*at);
        }
    }

    fn approve(&mut self) {
        if let Some((agent, instrument, action)) = self.held.pop() {
            self.counts[2] += 1;
            self.judge_trade(agent, instrument, &action);
        }
    }

    fn restart(&mut self) {
        self.counts[3] += 1;
        let probe = self.forms.trade("BTC-USD", Side::Sell, 1);
        self.advance();
        self.commit_time();
        let before = self.facts(0, &probe);
        self.ledger = self.rows.load(self.now);
        self.ledger.advance_to(Millis(self.now));
        assert_eq!(
            self.facts(0, &probe),
            Facts {
                identical_actions: 0,
                ..before
            }
        );
    }

    fn report(&mut self) {
        if self.model.orders.is_empty() {
            return;
        }
        // Mostly a recent order, sometimes an old one.
        let all = self.model.orders.len();
        let index = if self.dice.below(3) == 0 {
            self.dice.index(all)
        } else {
            all - 1
        };
        let (status, word) = self.dice.pick(&[
            (ExecutionStatus::Filled, "filled"),
            (ExecutionStatus::Filled, "filled"),
            (ExecutionStatus::PartiallyFilled, "partially_filled"),
            (ExecutionStatus::PartiallyFilled, "partially_filled"),
            (ExecutionStatus::Cancelled, "cancelled"),
            (ExecutionStatus::Rejected, "rejected"),
            (ExecutionStatus::Expired, "expired"),
        ]);
        let order = &self.model.orders[index];
        let (size, filled) = (order.size, order.filled);
        let stated = match self.dice.below(8) {
            0..=2 => None,
            3 => Some(size),
            4 => Some(filled),
            5 => Some(size / 3),
            6 => Some(size + 20_000_000),
            _ => Some(self.dice.pick(&[0, 10_000_000, 25_000_000])),
        };
        let price = self
            .dice
            .pick(&[None, Some(90.0), Some(100.0), Some(110.0)]);
        let stake = size as f64 / 1e9;
        let claim = match self.dice.below(4) {
            0 | 1 => None,
            _ => Some(stake * self.dice.pick(&[-1.5, -0.12, -0.05, 0.0, 0.02, 0.08, 1.5])),
        };
        self.advance();
        self.commit_time();
        let loss_before = self.ledger.daily_loss(Millis(self.now));
        let id = self.model.orders[index].id;
        if self.ledger.find_order(id).is_none() {
            self.ledger.restore_order(self.rows.orders[&id].clone());
        }
        let fill = Fill {
            status,
            filled: stated.map(Size::from_units),
            price,
            realised: claim,
            at: Millis(self.now),
        };
        let booked = self
            .ledger
            .book_report(id, &fill)
            .expect("the order is in the book");
        let mut model = std::mem::take(&mut self.model);
        let said = model.report(index, word, stated, price, claim, self.now);
        self.model = model;
        let Some(said) = said else {
            // Too near a bound to be told apart: the sequence ends here.
            self.model.orders.clear();
            self.rows = Rows::default();
            self.model = Model::default();
            self.ledger = self.rows.load(self.now);
            return;
        };
        let heard = match booked {
            Err(_) => Said::Refused,
            Ok(booking) => {
                self.rows.commit(booking.changes);
                self.counts[5] += booking.alerts.len() as u64;
                let over = booking.alerts.iter().any(|alert| match alert {
                    FillAlert::Late { size }
                    | FillAlert::Over { size }
                    | FillAlert::Unmatched { size } => !size.is_zero(),
                });
                Said::Booked {
                    added: booking.added.units(),
                    excess: over,
                }
            }
        };
        assert_eq!(
            heard, said,
            "{word} {stated:?} {claim:?} at {price:?} of {:?}",
            self.model.orders[index]
        );
        if let Said::Booked { added, .. } = said {
            self.counts[4] += 1;
            let eased = loss_before - self.ledger.daily_loss(Millis(self.now));
            assert!(
                eased <= 1e-12 || added > 0,
                "a loss of {loss_before} shrank by {eased} without a fill"
            );
        }
    }

    /// What must hold after every step.
    fn check(&self) {
        let now = Millis(self.now);
        assert!((self.ledger.daily_loss(now) - self.model.loss(self.now)).abs() < 1e-9);
        self.rows.check_conservation();
        for (instrument, spellings) in INSTRUMENTS.iter().enumerate() {
            let probe = self.forms.trade(spellings[1], Side::Buy, 1);
            let facts = self.facts(1, &probe);
            let exposure = self.model.exposure(instrument);
            let attested =
                Size::from_fraction(Fraction::new(facts.symbol_exposure).unwrap()).units();
            assert_eq!(attested, exposure);
            // One unit for each size that rounds up at the limit.
            let bound = LIMIT + 1 + self.model.excess[instrument];
            assert!(
                exposure <= bound,
                "{exposure} is open or reserved of {bound}"
            );
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
    assert_eq!(rows.orders[&id].state, OrderState::Expired);
    assert_eq!(rows.load(start).find_order(id), None);
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
    // An hour ahead is a clock that was set back: it protects until it is there again.
    let ledger = rows.load(ahead - 3_600_000);
    let facts = ledger.gather_facts(forms.query(0, &sell), Millis(ahead + 5_000));
    assert_eq!(facts.opposite_trade_age, Some(5.0));
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
