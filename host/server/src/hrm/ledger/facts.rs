//! The facts that the ledger attests about an action.
//!
//! Every family that a rule's text covers gets the facts of the rule: a close is a trade in its instrument, on the side opposite to what it closes.
//!
//! Must not know: rules and their limits (it reports ages and sums, the Graveyard compares them).

use ark_model::action::{Action, ClosePosition, Parameters, Side};
use ark_model::facts::{ApprovalFact, Facts};
use ark_model::ids::{Digest, Fraction, Millis, Name};
use ark_model::instrument::InstrumentKey;
use ark_model::size::Size;

use crate::hrm::redaction::Findings;

use super::Ledger;
use super::promotions::NamedInstruments;

/// The parts of a proposal from which its facts are gathered.
#[derive(Debug, Clone, Copy)]
pub struct FactQuery<'a> {
    /// The agent.
    pub agent: &'a Name,
    /// The action, redacted.
    pub action: &'a Action,
    /// The instrument that the action concerns, if it was found before; else it is found by the symbol.
    pub instrument: Option<&'a InstrumentKey>,
    /// The key by which repetitions are counted: `repetition_key`.
    pub repetition_key: Digest,
    /// What redaction found.
    pub findings: &'a Findings,
    /// The data subject's name before redaction.
    pub data_subject: Option<&'a str>,
    /// The digest of that name, for an action that was held and whose name is no longer known.
    pub subject_digest: Option<Digest>,
    /// Number of signals that led to it.
    pub causal_depth: u32,
}

impl Ledger {
    /// Gathers the facts about an action. Those about the host itself (halt, pin, watchdog, audit log) are left at their defaults. The ledger must have been
    /// moved on to `now`.
    #[must_use]
    pub fn gather_facts(&self, query: FactQuery<'_>, now: Millis) -> Facts {
        let FactQuery { agent, action, .. } = query;
        let instrument = action
            .symbol()
            .map(|symbol| self.find_instrument(query.instrument, symbol));
        let mut facts = Facts {
            agent: agent.as_str().to_owned(),
            now_ms: now.0,
            approval: ApprovalFact::None,
            daily_loss: self.results.daily_loss(now),
            open_positions: u32::try_from(self.orders.count_positions()).unwrap_or(u32::MAX),
            personal_data: query.findings.personal_data.clone(),
            credentials: query.findings.credentials.clone(),
            causal_depth: query.causal_depth,
            identical_actions: self.recent.count(query.repetition_key),
            veto: self.lists.find_veto(agent, action, instrument.as_ref()),
            ..Facts::default()
        };
        facts.unvalidated_sources = action
            .sources
            .iter()
            .filter(|source| !self.lists.validated_sources.contains(*source))
            .cloned()
            .collect();
        match (&action.parameters, &instrument) {
            (Parameters::Trade(trade), Some(key)) => {
                let sides = [trade.side];
                self.add_instrument_facts(&mut facts, agent, &trade.symbol, key, &sides, now);
            }
            (Parameters::ClosePosition(close), Some(key)) => {
                let sides = self.sides_of_close(agent, close, key);
                self.add_instrument_facts(&mut facts, agent, &close.symbol, key, &sides, now);
            }
            (Parameters::Data(data), _) => {
                facts.consent =
                    self.lists
                        .find_consent(data, query.data_subject, query.subject_digest);
            }
            _ => {}
        }
        facts
    }

    /// Adds the facts about the instrument that an action trades, on these sides.
    fn add_instrument_facts(
        &self,
        facts: &mut Facts,
        agent: &Name,
        symbol: &str,
        key: &InstrumentKey,
        sides: &[Side],
        now: Millis,
    ) {
        facts.symbol_restricted = self.lists.is_restricted(key);
        facts.client_order_pending = self.lists.has_client_order(key);
        if let Some(instrument) = self.orders.find_instrument(key) {
            facts.symbol_exposure = instrument.exposure().as_fraction();
            facts.opposite_trade_age = sides
                .iter()
                .filter_map(|side| instrument.trade_age(agent, opposite_side(*side), now))
                .min_by(f64::total_cmp);
        }
        facts.promotion_age = self.promotions.age(agent, symbol, key, &self.aliases, now);
    }

    /// Returns the sides that a close trades: the opposite of each side of what it closes.
    pub(super) fn sides_of_close(
        &self,
        agent: &Name,
        close: &ClosePosition,
        key: &InstrumentKey,
    ) -> Vec<Side> {
        let size = close_size(close).unwrap_or_else(|| self.orders.open_sizes(agent, key).open);
        let (parts, _) = self.orders.plan_close(agent, key, size, None);
        let mut sides = Vec::with_capacity(2);
        for part in parts {
            let side = opposite_side(part.side);
            if !sides.contains(&side) {
                sides.push(side);
            }
        }
        sides
    }

    /// Returns why the host itself denies an action, whatever the policies say: it closes what is not open, or names more instruments than can be
    /// remembered. `None`: the policies decide.
    #[must_use]
    pub fn refuse_action(&self, agent: &Name, action: &Action, now: Millis) -> Option<String> {
        match &action.parameters {
            Parameters::ClosePosition(close) => self.refuse_close(agent, close),
            Parameters::Message(_) => {
                let named = self.find_named_instruments(action)?;
                self.promotions.refuse_message(agent, &named, now)
            }
            _ => None,
        }
    }

    fn refuse_close(&self, agent: &Name, close: &ClosePosition) -> Option<String> {
        let key = self.aliases.find_key(&close.symbol);
        let sizes = self.orders.open_sizes(agent, &key);
        let closable = sizes.closable();
        let wanted = close_size(close);
        if wanted.is_some_and(Size::is_zero) {
            return Some(
                "it closes a size of 0; give the size to close, or leave it out to close all"
                    .to_owned(),
            );
        }
        let is_covered = wanted.unwrap_or(closable) <= closable && !closable.is_zero();
        if is_covered {
            return None;
        }
        let symbol = &close.symbol;
        let open = sizes.open;
        let pending = if sizes.being_closed.is_zero() {
            String::new()
        } else {
            format!(", of which {} is being closed already", sizes.being_closed)
        };
        Some(match wanted {
            _ if open.is_zero() => format!(
                "{agent} has nothing open in {symbol}, so there is nothing to close; an approved trade is open once its fill is reported"
            ),
            Some(wanted) => format!(
                "it closes {wanted} of capital in {symbol}, but {open} is open for {agent}{pending}; close {closable} at most"
            ),
            None => format!(
                "{open} of capital is open in {symbol} for {agent}{pending}, so nothing is left to close"
            ),
        })
    }

    /// Returns the instruments that an action promotes: see [`NamedInstruments::find`].
    pub(super) fn find_named_instruments(&self, action: &Action) -> Option<NamedInstruments> {
        NamedInstruments::find(action, &self.aliases, |key| {
            self.orders.find_instrument(key).is_some()
                || self.lists.is_restricted(key)
                || self.lists.has_client_order(key)
        })
    }
}

/// Returns the size that a close names. `None`: all that is open.
pub(super) fn close_size(close: &ClosePosition) -> Option<Size> {
    let fraction = close.position_size_pct?;
    // A checked action has a size from 0 to 1; anything else closes nothing.
    Some(Fraction::new(fraction).map_or(Size::ZERO, Size::from_fraction))
}

pub(super) const fn opposite_side(side: Side) -> Side {
    match side {
        Side::Buy => Side::Sell,
        Side::Sell => Side::Buy,
    }
}
