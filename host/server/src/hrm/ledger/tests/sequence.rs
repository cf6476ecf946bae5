//! A random sequence of what happens to an account, given to the ledger and to the model.

use super::*;

/// One sequence: the ledger, its rows and the model, at one clock.
pub(super) struct Sequence<'a> {
    pub(super) forms: &'a Forms,
    pub(super) dice: Dice,
    pub(super) now: u64,
    /// The latest time of the clock so far.
    pub(super) latest: u64,
    pub(super) ledger: Ledger,
    pub(super) rows: Rows,
    pub(super) model: Model,
    /// Actions that wait for an approval.
    pub(super) held: Vec<(usize, usize, Action)>,
    pub(super) counts: &'a mut [u64; 6],
}

impl Sequence<'_> {
    pub(super) fn advance(&mut self) {
        self.ledger.advance_to(Millis(self.now));
        self.model.expire(self.now);
    }

    pub(super) fn commit_time(&mut self) {
        let changes = self.ledger.take_changes();
        self.rows.commit(changes);
    }

    pub(super) fn facts(&self, agent: usize, action: &Action) -> Facts {
        self.ledger
            .gather_facts(self.forms.query(agent, action), Millis(self.now))
    }

    pub(super) fn step(&mut self) {
        match self.dice.below(20) {
            0..=5 => self.propose_trade(),
            6..=8 => self.propose_close(),
            9..=13 => self.report_execution(),
            14 => self.publish_message(),
            15 => self.approve_held(),
            16 => self.restart_ledger(),
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

    fn choose_action(&mut self) -> (usize, usize, &'static str) {
        let (agent, instrument) = (self.dice.index(2), self.dice.index(2));
        (agent, instrument, self.dice.pick(&INSTRUMENTS[instrument]))
    }

    fn propose_trade(&mut self) {
        let (agent, instrument, symbol) = self.choose_action();
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
        let (agent, instrument, symbol) = self.choose_action();
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

    fn publish_message(&mut self) {
        let (agent, instrument, symbol) = self.choose_action();
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

    fn approve_held(&mut self) {
        if let Some((agent, instrument, action)) = self.held.pop() {
            self.counts[2] += 1;
            self.judge_trade(agent, instrument, &action);
        }
    }

    fn restart_ledger(&mut self) {
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

    fn report_execution(&mut self) {
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
            // As the store reads it.
            let mut order = self.rows.orders[&id].clone();
            if !order.is_live() {
                order.number = OrderNumber::NONE;
            }
            let changes = self.ledger.restore_order(order, Millis(self.now));
            self.rows.commit(changes);
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

    /// Checks the invariants that hold after every step.
    pub(super) fn check(&self) {
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
