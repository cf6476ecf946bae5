//! The five agents, one after the other, over the ticks that `ark demo` replays: with mock hosts, their manifests' configuration, and a
//! small stand-in for the HRM (rules 5 and 11) and for the broker.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use aletheia::{Aletheia, Hits, Outcomes};
use ark_guest::agent::{
    Action, Agent, MockHost, Outcome, Parameters, PolicyVerdict, Preview, RuleAnswer, RuleResult,
    Side, Signal, Trade, Value as Shown,
};
use id::{Id, Profile};
use joey::Joey;
use kenny::Kenny;
use kyle::Kyle;
use serde_json::{Value, json};

/// Rule 5: the most exposure in a symbol.
const MAX_POSITION: f64 = 0.10;
/// Rule 11: what is larger waits for an approval.
const UNAPPROVED: f64 = 0.08;
/// Ticks after which the broker closes what reached neither stop nor target.
const HOLDING: u32 = 40;

/// Exposure by symbol, as rule 5 adds it up.
type Exposure = Rc<RefCell<BTreeMap<String, f64>>>;

struct Open {
    trade: Trade,
    ticks: u32,
}

/// What the run brought about.
#[derive(Debug, Default)]
struct Tally {
    scores: usize,
    patterns: BTreeMap<String, u64>,
    approved: u64,
    held: u64,
    downsized: u64,
    closed: u64,
    reports: usize,
}

struct Pipeline {
    kyle: MockHost,
    joey: MockHost,
    kenny: MockHost,
    aletheia: MockHost,
    id: MockHost,
    exposure: Exposure,
    open: Vec<Open>,
    tally: Tally,
}

/// A mock host with the `[config]` of an agent's manifest.
fn configured(manifest: &str) -> MockHost {
    let manifest: toml::Table = toml::from_str(manifest).unwrap();
    let config = manifest
        .get("config")
        .and_then(toml::Value::as_table)
        .cloned()
        .unwrap_or_default();
    config.iter().fold(MockHost::new(), |host, (key, value)| {
        host.with_config(key, value)
    })
}

fn trade_of(action: &Action) -> &Trade {
    let Parameters::Trade(trade) = &action.parameters else {
        panic!("no trade: {action:?}")
    };
    trade
}

/// The outcome of a trade under rules 5 and 11, and the size that rule 5 would let through.
fn judge(exposure: &Exposure, trade: &Trade) -> (Outcome, f64) {
    let held = exposure.borrow().get(&trade.symbol).copied().unwrap_or(0.0);
    let outcome = if trade.position_size_pct + held > MAX_POSITION {
        Outcome::Denied
    } else if trade.position_size_pct > UNAPPROVED {
        Outcome::Held
    } else {
        Outcome::Approved
    };
    (outcome, (MAX_POSITION - held).max(0.0))
}

fn preview(exposure: &Exposure, action: &Action) -> Preview {
    let trade = trade_of(action);
    let (outcome, nearest) = judge(exposure, trade);
    let answer = if outcome == Outcome::Denied {
        RuleResult::Violation
    } else {
        RuleResult::Pass
    };
    let answer = RuleAnswer {
        rule: 5,
        answer,
        observed: Shown::Number(trade.position_size_pct),
        limit: Shown::Number(MAX_POSITION),
        nearest_passing: Some(nearest),
    };
    let verdicts = vec![PolicyVerdict {
        policy: "graveyard".to_owned(),
        answers: vec![answer],
    }];
    Preview {
        outcome,
        compliance_score: 1.0,
        verdicts,
    }
}

/// Hands an agent's messages on under the trace of the signal that led to them, as the host does.
fn next(host: &mut MockHost, topic: &str, actions: &[Action], trace_id: &str) -> Vec<Signal> {
    let mut signals = Vec::new();
    for action in actions {
        let Parameters::Message(message) = &action.parameters else {
            panic!("no message: {action:?}")
        };
        assert_eq!(message.topic.as_deref(), Some(topic));
        assert_eq!(
            message.symbol, None,
            "who names a symbol may not sell it (rule 3)"
        );
        let mut signal = host.signal(topic, message.payload_json.as_deref().unwrap());
        trace_id.clone_into(&mut signal.trace_id);
        signals.push(signal);
    }
    signals
}

impl Pipeline {
    fn new() -> Self {
        let exposure = Exposure::default();
        let known = Rc::clone(&exposure);
        Self {
            kyle: configured(include_str!("../../kyle/kyle.toml")),
            joey: configured(include_str!("../../joey/joey.toml")),
            kenny: configured(include_str!("../kenny.toml"))
                .with_check(move |action| preview(&known, action)),
            aletheia: configured(include_str!("../../aletheia/aletheia.toml")),
            id: configured(include_str!("../../id/id.toml")),
            exposure,
            open: Vec::new(),
            tally: Tally::default(),
        }
    }

    fn tick(&mut self, tick: &str) {
        let market = self.kyle.signal("market.tick", tick);
        let trace = market.trace_id.clone();
        let scores = self.kyle.deliver_signal::<Kyle>(&market).unwrap();
        self.tally.scores += scores.len();
        for score in next(&mut self.joey, "kyle.score", &scores, &trace) {
            let patterns = self.joey.deliver_signal::<Joey>(&score).unwrap();
            for pattern in next(&mut self.kenny, "joey.pattern", &patterns, &trace) {
                let kind = pattern.payload::<Value>().unwrap()["pattern"]
                    .as_str()
                    .unwrap()
                    .to_owned();
                *self.tally.patterns.entry(kind).or_default() += 1;
                self.aletheia.deliver_signal::<Aletheia>(&pattern).unwrap();
                let before = self.kenny.log_lines().len();
                let orders = self.kenny.deliver_signal::<Kenny>(&pattern).unwrap();
                self.tally.downsized += u64::from(self.kenny.log_lines().len() > before);
                for order in &orders {
                    self.decide(order, &trace);
                }
            }
        }
        let tick: Value = serde_json::from_str(tick).unwrap();
        self.broker(
            tick["symbol"].as_str().unwrap(),
            tick["price"].as_f64().unwrap(),
        );
    }

    fn decide(&mut self, order: &Action, trace: &str) {
        let trade = trade_of(order);
        let sign = if trade.side == Side::Buy { 1.0 } else { -1.0 };
        let (entry, stop, target) = (
            trade.entry_price.unwrap(),
            trade.stop_loss.unwrap(),
            trade.take_profit.unwrap(),
        );
        let (risk, gain) = ((entry - stop) * sign, (target - entry) * sign);
        assert!(risk > 0.0 && gain / risk >= 2.0 - 1e-9, "{trade:?}");
        assert!(
            order.reasoning.is_some() && !order.sources.is_empty(),
            "{order:?}"
        );
        let (outcome, _) = judge(&self.exposure, trade);
        match outcome {
            Outcome::Approved => {
                *self
                    .exposure
                    .borrow_mut()
                    .entry(trade.symbol.clone())
                    .or_default() += trade.position_size_pct;
                self.open.push(Open {
                    trade: trade.clone(),
                    ticks: 0,
                });
                self.tally.approved += 1;
            }
            Outcome::Held => self.tally.held += 1,
            Outcome::Denied => panic!("kenny asked first: {trade:?}"),
        }
        let decision = json!({"decision_id": "d", "agent": "kenny", "action_type": order.action_type,
            "outcome": if outcome == Outcome::Held { "held" } else { "approved" }, "compliance_score": 1.0,
            "symbol": trade.symbol, "position_size_pct": trade.position_size_pct,
            "side": if sign > 0.0 { "buy" } else { "sell" }, "fired": [], "decided_at_ms": 0});
        self.tell("ark.decision", &decision, trace);
    }

    fn broker(&mut self, symbol: &str, price: f64) {
        let mut closing = Vec::new();
        self.open.retain_mut(|open| {
            if open.trade.symbol != symbol {
                return true;
            }
            open.ticks += 1;
            let sign = if open.trade.side == Side::Buy {
                1.0
            } else {
                -1.0
            };
            let beyond = |limit: Option<f64>, sign: f64| {
                limit.is_some_and(|limit| (price - limit) * sign >= 0.0)
            };
            let due = beyond(open.trade.stop_loss, -sign) || beyond(open.trade.take_profit, sign);
            let stays = !due && open.ticks < HOLDING;
            if !stays {
                let change = (price / open.trade.entry_price.unwrap() - 1.0) * sign;
                closing.push((
                    open.trade.position_size_pct,
                    change * open.trade.position_size_pct,
                ));
            }
            stays
        });
        for (size, result) in closing {
            *self.exposure.borrow_mut().get_mut(symbol).unwrap() -= size;
            self.tally.closed += 1;
            let execution = json!({"execution_id": "e", "decision_id": "c", "agent": "kenny", "symbol": symbol,
                "status": "filled", "filled_size_pct": size, "price": price, "realized_pnl_pct": result, "at_ms": 0});
            self.tell("ark.execution", &execution, &"f".repeat(32));
        }
    }

    /// Tells those who watch.
    fn tell(&mut self, topic: &str, payload: &Value, trace: &str) {
        let mut signal = self.aletheia.signal(topic, &payload.to_string());
        trace.clone_into(&mut signal.trace_id);
        self.tally.reports += self
            .aletheia
            .deliver_signal::<Aletheia>(&signal)
            .unwrap()
            .len();
        assert_eq!(self.id.deliver_signal::<Id>(&signal).unwrap(), []);
    }
}

#[test]
fn ticks_become_scores_patterns_orders_and_truths() {
    let ticks = include_str!("../../../../host/cli/assets/ticks.jsonl");
    let mut pipeline = Pipeline::new();
    for tick in ticks.lines() {
        pipeline.tick(tick);
    }
    let tally = &pipeline.tally;
    println!("{} ticks: {tally:?}", ticks.lines().count());

    // Three symbols, each silent for its 20 ticks of warm-up.
    assert_eq!(tally.scores, ticks.lines().count() - 3 * 20);
    let patterns: u64 = tally.patterns.values().sum();
    assert!((8..=60).contains(&patterns), "{tally:?}");
    assert_eq!(tally.patterns.len(), 2, "both kinds: {tally:?}");
    // Some orders pass, and some are too large on their own merits.
    assert!(tally.approved >= 3 && tally.held >= 1, "{tally:?}");
    // In a symbol it already holds, kenny wants more than there is room for, and takes what there is.
    assert!(tally.downsized >= 1, "{tally:?}");
    assert!(tally.approved + tally.held <= patterns, "{tally:?}");
    assert!(tally.closed >= 1, "{tally:?}");

    // What the watchers know is what happened.
    let outcomes: Outcomes = pipeline.aletheia.state_of("outcomes/kenny").unwrap();
    assert_eq!(
        (outcomes.approved, outcomes.held, outcomes.denied),
        (tally.approved, tally.held, 0)
    );
    assert_eq!(outcomes.closed.won + outcomes.closed.lost, tally.closed);
    let by_pattern = |kind: &str| {
        pipeline
            .aletheia
            .state_of::<Hits>(&format!("pattern/{kind}"))
            .unwrap_or_default()
    };
    let hits = [by_pattern("breakout"), by_pattern("mean_reversion")];
    assert_eq!(
        hits.iter().map(|hits| hits.won + hits.lost).sum::<u64>(),
        outcomes.closed.won + outcomes.closed.lost
    );
    assert!(pipeline.aletheia.truth_of("approval-rate/kenny").is_some());
    assert!(pipeline.aletheia.truth_of("hit-rate/kenny").is_some());
    let profile: Profile = pipeline.id.state_of("profile/kenny").unwrap();
    let counted: u64 = profile.counts.values().flat_map(BTreeMap::values).sum();
    assert_eq!(counted, tally.approved + tally.held);
    assert!(
        profile.boldness > 0.2 && profile.boldness <= 1.0,
        "{profile:?}"
    );
    assert_eq!(
        pipeline.kenny.memories().len() as u64,
        tally.approved + tally.held
    );
    assert_eq!(Kenny::metadata().name, "kenny");
}
