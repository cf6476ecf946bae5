//! The ledger: the positions, reservations, recent actions and lists from which the facts of an action are gathered.
//!
//! The arbiter's thread owns it. It is a cache of tables of the store and changes in step with them: every method that changes it returns the
//! [`LedgerChange`]s that must be committed with the decision. When a commit fails, the ledger is discarded and loaded again.
//!
//! Invariants: instruments are compared by their key, whatever the spelling of the symbol; exposures are exact sums, in integers of 1e-9 of the capital with sizes rounded up, so that they do not drift; a reservation counts
//! from the moment its decision is made, not from its commit.
//!
//! Must not know: rules and their limits (it reports ages and sums, the Graveyard compares them), wasmtime, HTTP.

mod lists;

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::time::Duration;

use ark_model::action::{Action, Parameters, Side, Trade};
use ark_model::decision::Outcome;
use ark_model::facts::{ApprovalFact, Facts};
use ark_model::ids::{DecisionId, Digest, Fraction, Millis, Name};
use ark_model::instrument::{InstrumentAliases, InstrumentKey};
use ark_store::{LedgerChange, LedgerRows, List, ListEntry, Position, PositionStatus};

use super::redaction::Findings;
use super::request::ExecutionStatus;
use lists::OperatorLists;

pub(super) use lists::is_same_entry;

/// How long an action counts as a recent one: the fact `identical-actions` of `ark:types` is defined by it.
pub(super) const IDENTICAL_WINDOW: Duration = Duration::from_mins(1);
/// How long the last trade in a symbol is kept for the fact `opposite-trade-age`. It must exceed every age that the Graveyard compares it with.
const TRADE_RETENTION: Duration = Duration::from_hours(1);
/// How long a promotion is kept for the fact `promotion-age`. It must exceed every age that the Graveyard compares it with.
const PROMOTION_RETENTION: Duration = Duration::from_hours(25);
/// How often entries that exceed their retention are removed.
const CLEANUP_INTERVAL: Duration = Duration::from_mins(1);

/// The parts of a proposal from which its facts are gathered.
#[derive(Debug, Clone, Copy)]
pub struct FactQuery<'a> {
    /// The agent.
    pub agent: &'a Name,
    /// The action, redacted.
    pub action: &'a Action,
    /// Digest of the agent and the canonical action.
    pub identity: Digest,
    /// What redaction found.
    pub findings: &'a Findings,
    /// The data subject's name before redaction.
    pub data_subject: Option<&'a str>,
    /// The digest of that name, for an action that was held and whose name is no longer known.
    pub subject_digest: Option<Digest>,
    /// Number of signals that led to it.
    pub causal_depth: u32,
}

/// The part of an execution report that changes the ledger.
#[derive(Debug, Clone, Copy)]
pub struct Fill {
    /// What became of the action.
    pub status: ExecutionStatus,
    /// Size carried out in all so far, as a fraction of the capital. `None`: all of it.
    pub filled: Option<Fraction>,
    /// The realised result, as a fraction of the capital; a loss is negative.
    pub realised: Option<f64>,
    /// When it was reported.
    pub at: Millis,
}

/// The ledger of one account.
#[derive(Debug, Default)]
pub struct Ledger {
    positions: HashMap<DecisionId, Position>,
    exposure: HashMap<InstrumentKey, u64>,
    expiries: BTreeSet<(Millis, DecisionId)>,
    last_trades: HashMap<(Name, InstrumentKey, Side), Millis>,
    promotions: HashMap<(Name, InstrumentKey), Millis>,
    recent: VecDeque<(Millis, u64)>,
    recent_counts: HashMap<u64, u32>,
    realised_day: u64,
    realised: f64,
    capital: Option<f64>,
    lists: OperatorLists,
    aliases: InstrumentAliases,
    cleaned_up_at: Millis,
}

impl Ledger {
    /// Makes the ledger from the rows of the store. `recent` are the identities of the actions within [`IDENTICAL_WINDOW`], oldest first.
    #[must_use]
    pub fn from_rows(
        rows: LedgerRows,
        recent: Vec<(Millis, Digest)>,
        aliases: InstrumentAliases,
        now: Millis,
    ) -> Self {
        let mut ledger = Self {
            realised_day: now.utc_day(),
            realised: rows.realised_today,
            aliases,
            ..Self::default()
        };
        for position in rows.positions {
            ledger.insert_position(position);
        }
        // Rows have the symbol as it was given: of several spellings the latest time counts.
        for (agent, symbol, side, at) in rows.last_trades {
            let instrument = ledger.aliases.find_key(&symbol);
            let latest = ledger.last_trades.entry((agent, instrument, side));
            let latest = latest.or_insert(at);
            *latest = at.max(*latest);
        }
        for (agent, symbol, at) in rows.promotions {
            let instrument = ledger.aliases.find_key(&symbol);
            let latest = ledger.promotions.entry((agent, instrument)).or_insert(at);
            *latest = at.max(*latest);
        }
        for (at, identity) in recent {
            ledger.remember_action(identity, at);
        }
        ledger.lists = OperatorLists::new(rows.from_config, rows.from_api, ledger.aliases.clone());
        ledger.capital = rows.capital;
        ledger
    }

    /// Moves the ledger on to `now`: releases expired reservations and removes what exceeds its retention.
    pub fn advance_to(&mut self, now: Millis) -> Vec<LedgerChange> {
        if now.utc_day() != self.realised_day {
            self.realised_day = now.utc_day();
            self.realised = 0.0;
        }
        while let Some((at, key)) = self.recent.front().copied() {
            if now.seconds_since(at) < IDENTICAL_WINDOW.as_secs_f64() {
                break;
            }
            self.recent.pop_front();
            if let Some(count) = self.recent_counts.get_mut(&key) {
                *count -= 1;
                if *count == 0 {
                    self.recent_counts.remove(&key);
                }
            }
        }
        if now.seconds_since(self.cleaned_up_at) >= CLEANUP_INTERVAL.as_secs_f64() {
            self.cleaned_up_at = now;
            self.last_trades
                .retain(|_, at| now.seconds_since(*at) < TRADE_RETENTION.as_secs_f64());
            self.promotions
                .retain(|_, at| now.seconds_since(*at) < PROMOTION_RETENTION.as_secs_f64());
        }
        let mut changes = Vec::new();
        while let Some((expires, id)) = self.expiries.first().copied() {
            if expires > now {
                break;
            }
            self.expiries.remove(&(expires, id));
            if let Some(mut position) = self.remove_position(id) {
                position.status = PositionStatus::Released;
                changes.push(LedgerChange::Position(position));
            }
        }
        changes
    }

    /// Gathers the facts about an action. Those about the host itself (halt, pin, watchdog, audit log) are left at their defaults.
    #[must_use]
    pub fn gather_facts(&self, query: FactQuery<'_>, now: Millis) -> Facts {
        let FactQuery { agent, action, .. } = query;
        let mut facts = Facts {
            agent: agent.to_string(),
            now_ms: now.0,
            approval: ApprovalFact::None,
            daily_loss: self.daily_loss(),
            open_positions: u32::try_from(self.positions.len()).unwrap_or(u32::MAX),
            personal_data: query.findings.personal_data.clone(),
            credentials: query.findings.credentials.clone(),
            causal_depth: query.causal_depth,
            identical_actions: self
                .recent_counts
                .get(&identity_prefix(query.identity))
                .copied()
                .unwrap_or(0),
            veto: self.lists.find_veto(agent, action),
            ..Facts::default()
        };
        facts.unvalidated_sources = action
            .sources
            .iter()
            .filter(|source| !self.lists.validated_sources.contains(*source))
            .cloned()
            .collect();
        match &action.parameters {
            Parameters::Trade(trade) => {
                let opposite = match trade.side {
                    Side::Buy => Side::Sell,
                    Side::Sell => Side::Buy,
                };
                let instrument = self.aliases.find_key(&trade.symbol);
                facts.symbol_restricted = self.lists.is_restricted(&instrument);
                facts.client_order_pending = self.lists.has_client_order(&instrument);
                facts.symbol_exposure =
                    from_nanos(self.exposure.get(&instrument).copied().unwrap_or(0));
                facts.opposite_trade_age = self
                    .last_trades
                    .get(&(agent.clone(), instrument.clone(), opposite))
                    .map(|at| now.seconds_since(*at));
                facts.promotion_age = self
                    .promotions
                    .get(&(agent.clone(), instrument))
                    .map(|at| now.seconds_since(*at));
            }
            Parameters::Data(data) => {
                facts.consent =
                    self.lists
                        .find_consent(data, query.data_subject, query.subject_digest);
            }
            _ => {}
        }
        facts
    }

    /// Records a decision: remembers the action, and reserves the size of an approved trade for `reservation_ttl`.
    pub fn record_decision(
        &mut self,
        id: DecisionId,
        query: FactQuery<'_>,
        outcome: Outcome,
        now: Millis,
        reservation_ttl: Duration,
    ) -> Vec<LedgerChange> {
        self.remember_action(query.identity, now);
        if outcome != Outcome::Approved {
            return Vec::new();
        }
        let agent = query.agent;
        match &query.action.parameters {
            Parameters::Trade(trade) => {
                let ttl = u64::try_from(reservation_ttl.as_millis()).unwrap_or(u64::MAX);
                let position = Position {
                    status: PositionStatus::Reserved,
                    expires_at: Some(Millis(now.0.saturating_add(ttl))),
                    ..released_position(id, agent, trade, now)
                };
                let instrument = self.aliases.find_key(&trade.symbol);
                self.insert_position(position.clone());
                self.last_trades
                    .insert((agent.clone(), instrument, trade.side), now);
                vec![
                    LedgerChange::Position(position),
                    LedgerChange::LastTrade {
                        agent: agent.clone(),
                        symbol: trade.symbol.clone(),
                        side: trade.side,
                        at: now,
                    },
                ]
            }
            Parameters::Message(message)
                if matches!(query.action.action_type.as_str(), "message" | "publish") =>
            {
                let Some(symbol) = &message.symbol else {
                    return Vec::new();
                };
                self.promotions
                    .insert((agent.clone(), self.aliases.find_key(symbol)), now);
                vec![LedgerChange::Promotion {
                    agent: agent.clone(),
                    symbol: symbol.clone(),
                    at: now,
                }]
            }
            _ => Vec::new(),
        }
    }

    /// Records the execution of an approved trade.
    ///
    /// A partial fill keeps the whole reservation and removes its expiry: only a final report releases it. A report on a position that was released
    /// meanwhile restores it, since the executor did trade.
    pub fn fill_trade(
        &mut self,
        id: DecisionId,
        agent: &Name,
        trade: &Trade,
        fill: Fill,
    ) -> Vec<LedgerChange> {
        let mut position = self
            .remove_position(id)
            .unwrap_or_else(|| released_position(id, agent, trade, fill.at));
        position.expires_at = None;
        position.since = fill.at;
        let filled = fill.filled.filter(|filled| *filled != Fraction::ZERO);
        position.status = match (fill.status, filled) {
            (ExecutionStatus::PartiallyFilled, _) | (ExecutionStatus::Filled, None) => {
                PositionStatus::Open
            }
            (ExecutionStatus::Filled | ExecutionStatus::Cancelled, Some(filled)) => {
                position.size = filled;
                PositionStatus::Open
            }
            (ExecutionStatus::Cancelled, None) | (ExecutionStatus::Rejected, _) => {
                PositionStatus::Released
            }
        };
        if position.status == PositionStatus::Open {
            self.insert_position(position.clone());
        }
        let mut changes = vec![LedgerChange::Position(position)];
        changes.extend(self.record_fill_result(fill));
        changes
    }

    /// Records the execution of an approved `close_position`: takes the closed size from the agent's open positions in the symbol, oldest first.
    /// Partial fills change nothing until the final report.
    pub fn fill_close(&mut self, agent: &Name, symbol: &str, fill: Fill) -> Vec<LedgerChange> {
        let mut changes = Vec::new();
        let closes = match fill.status {
            ExecutionStatus::Filled => true,
            ExecutionStatus::Cancelled => fill.filled.is_some(),
            ExecutionStatus::PartiallyFilled | ExecutionStatus::Rejected => false,
        };
        if closes {
            let instrument = self.aliases.find_key(symbol);
            let mut open: Vec<Position> = self
                .positions
                .values()
                .filter(|p| {
                    p.status == PositionStatus::Open
                        && p.agent == *agent
                        && self.aliases.find_key(&p.symbol) == instrument
                })
                .cloned()
                .collect();
            open.sort_by_key(|position| (position.since, position.decision_id));
            let mut left = fill.filled;
            for mut position in open {
                let size = position.size;
                let closed = left.map_or(size, |left| if left < size { left } else { size });
                left = left.map(|left| left.saturating_sub(closed));
                position.size = size.saturating_sub(closed);
                self.remove_position(position.decision_id);
                if position.size == Fraction::ZERO {
                    position.status = PositionStatus::Closed;
                } else {
                    self.insert_position(position.clone());
                }
                if closed != Fraction::ZERO {
                    changes.push(LedgerChange::Position(position));
                }
            }
        }
        changes.extend(self.record_fill_result(fill));
        changes
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

    /// Today's (UTC) realised loss as a fraction of capital.
    #[must_use]
    pub fn daily_loss(&self) -> f64 {
        (-self.realised).max(0.0)
    }

    /// Adds a realised result to today's (UTC), as a fraction of the capital.
    pub fn record_result(&mut self, delta: f64, now: Millis) -> LedgerChange {
        let day = now.utc_day();
        if day == self.realised_day {
            self.realised += delta;
        }
        LedgerChange::Realised { day, delta }
    }

    fn record_fill_result(&mut self, fill: Fill) -> Option<LedgerChange> {
        Some(self.record_result(fill.realised?, fill.at))
    }

    fn insert_position(&mut self, position: Position) {
        self.remove_position(position.decision_id);
        let instrument = self.aliases.find_key(&position.symbol);
        *self.exposure.entry(instrument).or_default() += to_nanos(position.size);
        if let Some(expires_at) = position.expires_at {
            self.expiries.insert((expires_at, position.decision_id));
        }
        self.positions.insert(position.decision_id, position);
    }

    fn remove_position(&mut self, id: DecisionId) -> Option<Position> {
        let position = self.positions.remove(&id)?;
        if let Some(expires_at) = position.expires_at {
            self.expiries.remove(&(expires_at, id));
        }
        let instrument = self.aliases.find_key(&position.symbol);
        if let Some(sum) = self.exposure.get_mut(&instrument) {
            *sum = sum.saturating_sub(to_nanos(position.size));
            if *sum == 0 {
                self.exposure.remove(&instrument);
            }
        }
        Some(position)
    }

    fn remember_action(&mut self, identity: Digest, at: Millis) {
        let key = identity_prefix(identity);
        self.recent.push_back((at, key));
        *self.recent_counts.entry(key).or_default() += 1;
    }
}

/// The position that an approved trade takes, before anything is reserved or open.
fn released_position(id: DecisionId, agent: &Name, trade: &Trade, since: Millis) -> Position {
    Position {
        decision_id: id,
        agent: agent.clone(),
        symbol: trade.symbol.clone(),
        side: trade.side,
        size: Fraction::new(trade.position_size_pct).unwrap_or(Fraction::ZERO),
        leverage: trade.leverage,
        status: PositionStatus::Released,
        since,
        expires_at: None,
    }
}

/// The first 64 of the 256 bits: enough for counting. A forged collision only adds to the forger's own count.
fn identity_prefix(identity: Digest) -> u64 {
    identity
        .as_bytes()
        .iter()
        .take(8)
        .fold(0, |key, byte| key << 8 | u64::from(*byte))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a fraction is finite and not negative, and the cast saturates"
)]
fn to_nanos(size: Fraction) -> u64 {
    // The product may exceed the exact value by one unit in the last place. That must not round up to another unit.
    (size.get() * 1e9 - 1e-3).ceil().max(0.0) as u64
}

/// Sums stay far below 2^53 units (9 million times the capital), where a double is exact.
fn from_nanos(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
