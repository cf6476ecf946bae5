//! The broker of the demo: an outsider who executes approved trades, reports them, and closes positions.

use ark_host::hrm::{ExecutionReport, ProposalAnswer};
use ark_model::action::{Parameters, Side};
use ark_model::decision::{Decision, Outcome};
use ark_model::execution::ExecutionStatus;
use ark_model::form::parse_action;
use ark_model::ids::{DecisionId, Fraction, Name, TraceId};
use serde::Deserialize;
use serde_json::json;

use crate::output::print_line;

use super::host::{DecisionObserver, DemoHost};

/// The agent that trades.
const TRADER: &str = "kenny";
/// The number of ticks of its symbol after which a position is closed that reached neither stop nor target.
const MAX_HOLDING_TICKS: u32 = 40;

/// A price of the market.
#[derive(Debug, Deserialize)]
pub(super) struct Tick {
    symbol: String,
    price: f64,
}

#[derive(Default)]
pub(super) struct Broker {
    /// Executed trades that are not reported yet: decision, size, price.
    unconfirmed: Vec<(DecisionId, Fraction, f64)>,
    holdings: Vec<DemoPosition>,
    /// The trace of the last approved trade of [`TRADER`].
    traded_trace: Option<TraceId>,
}

/// An open position.
struct DemoPosition {
    agent: Name,
    symbol: String,
    side: Side,
    /// The size, as a fraction of capital.
    size: f64,
    leverage: f64,
    entry: f64,
    stop: Option<f64>,
    target: Option<f64>,
    /// The ticks of the symbol since the position was opened.
    ticks: u32,
}

impl DemoPosition {
    /// Whether the price reached the stop or the target, or the position is old.
    fn is_due(&self, price: f64) -> bool {
        let reached = |limit: Option<f64>, from_below: bool| {
            limit.is_some_and(|limit| {
                if from_below {
                    price >= limit
                } else {
                    price <= limit
                }
            })
        };
        let long = self.side == Side::Buy;
        reached(self.stop, !long) || reached(self.target, long) || self.ticks >= MAX_HOLDING_TICKS
    }

    /// The result at this price, as a fraction of capital.
    fn compute_result(&self, price: f64) -> f64 {
        let change = (price - self.entry) / self.entry;
        self.size
            * self.leverage
            * if self.side == Side::Buy {
                change
            } else {
                -change
            }
    }
}

impl DecisionObserver for Broker {
    /// Executes an approved trade.
    fn observe_decision(&mut self, decision: &Decision) {
        let Parameters::Trade(trade) = &decision.action.parameters else {
            return;
        };
        if decision.outcome != Outcome::Approved {
            return;
        }
        if decision.agent.as_str() == TRADER {
            self.traded_trace = Some(decision.trace_id);
        }
        let (Some(entry), Some(size)) = (trade.entry_price, Fraction::new(trade.position_size_pct))
        else {
            return;
        };
        self.unconfirmed.push((decision.id, size, entry));
        self.holdings.push(DemoPosition {
            agent: decision.agent.clone(),
            symbol: trade.symbol.clone(),
            side: trade.side,
            size: trade.position_size_pct,
            leverage: trade.leverage,
            entry,
            stop: trade.stop_loss,
            target: trade.take_profit,
            ticks: 0,
        });
    }
}

impl Broker {
    /// A trace with an approved trade in it.
    pub(super) const fn traded_trace(&self) -> Option<TraceId> {
        self.traded_trace
    }

    /// Reports what was executed, and closes the positions that are due at this tick.
    pub(super) fn act_on_tick(&mut self, host: &DemoHost<'_>, tick: &Tick) -> anyhow::Result<()> {
        for (decision_id, size, price) in self.unconfirmed.drain(..) {
            host.report_execution(ExecutionReport {
                execution_id: format!("open-{decision_id}"),
                decision_id,
                status: ExecutionStatus::Filled,
                filled: Some(size),
                price: Some(price),
                realised: None,
                by: None,
            })?;
        }
        for (agent, result) in self.close_due_positions(tick) {
            let close = parse_action(json!({
                "agent": agent,
                "action_type": "close_position",
                "parameters": {"symbol": tick.symbol},
                "reasoning": "stop, target or holding time reached",
            }))?;
            let ProposalAnswer::Decided(decision) = host.propose(close.agent, close.action)? else {
                continue;
            };
            if decision.outcome != Outcome::Approved {
                continue;
            }
            host.report_execution(ExecutionReport {
                execution_id: format!("close-{}", decision.id),
                decision_id: decision.id,
                status: ExecutionStatus::Filled,
                filled: None,
                price: Some(tick.price),
                realised: Some(result),
                by: None,
            })?;
            print_line!(
                "{:<9} {:<9} {} closed at {:.2}: {:+.2} % of capital",
                "broker",
                "",
                tick.symbol,
                tick.price,
                result * 100.0
            );
        }
        Ok(())
    }

    /// Removes the positions in the tick's symbol of each agent that has a due one there, and returns the agents with their results as
    /// fractions of capital.
    fn close_due_positions(&mut self, tick: &Tick) -> Vec<(Name, f64)> {
        let mut due: Vec<Name> = Vec::new();
        for holding in self
            .holdings
            .iter_mut()
            .filter(|holding| holding.symbol == tick.symbol)
        {
            holding.ticks += 1;
            if holding.is_due(tick.price) && !due.contains(&holding.agent) {
                due.push(holding.agent.clone());
            }
        }
        due.into_iter()
            .map(|agent| {
                let mut result = 0.0;
                self.holdings.retain(|holding| {
                    let closes = holding.symbol == tick.symbol && holding.agent == agent;
                    if closes {
                        result += holding.compute_result(tick.price);
                    }
                    !closes
                });
                (agent, result)
            })
            .collect()
    }
}
