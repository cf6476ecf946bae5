//! The ledger: orders, reports on their execution, results by day, and what was traded and promoted lately.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use ark_model::action::Side;
use ark_model::execution::ExecutionStatus;
use ark_model::ids::{DecisionId, Fraction, Millis, Name};
use rusqlite::{Connection, params};

use crate::error::ReadError;
use crate::query::{RowInsert, execute_cached, millis_column, parse_required, select_rows};
use crate::reader::Reader;

use super::account::latest_capital;
use super::lists::{List, ListEntry, load_lists};
use super::orders::{
    MarketOrder, load_live_orders, side_column, side_text, write_new_orders, write_order,
};

/// A change of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub enum LedgerChange {
    /// Creates an order that is approved. The ledger has the same one in memory.
    NewOrder(Arc<MarketOrder>),
    /// Changes an order, which the ledger has in memory, too.
    ChangedOrder(Arc<MarketOrder>),
    /// Records when an agent last traded a side of an instrument. Not needed for an order that opens: as long as it is new its own row tells, and the change
    /// to another state records it.
    LastTrade {
        /// The agent that trades.
        agent: Name,
        /// The instrument, as the action spells it.
        symbol: Arc<str>,
        /// The direction.
        side: Side,
        /// When it was approved.
        at: Millis,
    },
    /// Records that a promotion of an instrument was approved.
    Promotion(Promotion),
    /// Removes a promotion that is past every window.
    PromotionForgotten {
        /// The agent that sent it.
        agent: Name,
        /// The instrument, as it was recorded.
        symbol: String,
        /// Whether it counted for every agent.
        account_wide: bool,
    },
    /// Records an execution report.
    Execution(ReportedExecution),
    /// Adds to the realised result of a day.
    Realised {
        /// The UTC day, as days since the Unix epoch.
        day: u64,
        /// The result to add, as a fraction of capital.
        delta: f64,
    },
}

/// An approved message, publication or report that names an instrument.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Promotion {
    /// The agent that sends it.
    pub agent: Name,
    /// The instrument, as the message spells it.
    pub symbol: String,
    /// Whether it counts for every agent that sells, not for the sender alone.
    pub account_wide: bool,
    /// When it was approved.
    pub at: Millis,
}

/// A report on the execution of an order, as it came.
#[derive(Debug, Clone, PartialEq)]
pub struct ReportedExecution {
    /// The name of the token it came with; empty for a caller without one.
    pub reporter: String,
    /// The reporter's id of the report.
    pub execution_id: String,
    /// The decision that was executed.
    pub decision_id: DecisionId,
    /// The status that the report gives.
    pub status: ExecutionStatus,
    /// How much was carried out in all, as a fraction of capital.
    pub filled: Option<Fraction>,
    /// The price.
    pub price: Option<f64>,
    /// The realised result, as a fraction of capital.
    pub realised: Option<f64>,
    /// When the report came.
    pub at: Millis,
}

/// The ledger as it is loaded at a start.
#[derive(Debug, Default)]
pub struct LedgerRows {
    /// The orders that are in the market, or of which something is open.
    pub orders: Vec<MarketOrder>,
    /// When each agent traded a side of an instrument. The latest of several rows counts.
    pub last_trades: Vec<(Name, String, Side, Millis)>,
    /// The last promotions. A row for each spelling.
    pub promotions: Vec<Promotion>,
    /// The realised results by UTC day, as fractions of capital.
    pub realised: BTreeMap<u64, f64>,
    /// The entries that the configuration puts on the lists.
    pub from_config: Vec<ListEntry>,
    /// The entries that operators put on the lists over the API, by list and key.
    pub from_api: Vec<(List, String, ListEntry)>,
    /// The capital in the account's currency; `None` when no operator has stated it.
    pub capital: Option<f64>,
}

/// What approved trades write, and what is not written yet, since one statement writes many: new orders, and when an instrument was last traded.
#[derive(Default)]
pub(crate) struct NewTrades<'a> {
    orders: Vec<&'a MarketOrder>,
    last_trades: Vec<LastTrade<'a>>,
}

/// The fields of [`LedgerChange::LastTrade`].
struct LastTrade<'a> {
    agent: &'a Name,
    symbol: &'a str,
    side: Side,
    at: Millis,
}

static REPLACE_LAST_TRADES: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        "INSERT OR REPLACE INTO last_trades (agent, symbol, side, at)",
        "(?, ?, ?, ?)",
        "",
    )
});

impl NewTrades<'_> {
    /// Writes them.
    pub(crate) fn write(&mut self, connection: &Connection) -> rusqlite::Result<()> {
        write_new_orders(connection, &self.orders)?;
        REPLACE_LAST_TRADES.execute(connection, &self.last_trades, |values, trade| {
            values.push(trade.agent.as_str())?;
            values.push(trade.symbol)?;
            values.push(side_text(trade.side))?;
            values.push(trade.at.0)
        })?;
        self.forget();
        Ok(())
    }

    /// Forgets them, since what they are in is rolled back.
    pub(crate) fn forget(&mut self) {
        self.orders.clear();
        self.last_trades.clear();
    }
}

/// Writes a change, or adds it to those of `trades`, which are written before the transaction ends.
pub(crate) fn write_ledger_change<'a>(
    connection: &Connection,
    change: &'a LedgerChange,
    trades: &mut NewTrades<'a>,
) -> rusqlite::Result<()> {
    match change {
        LedgerChange::NewOrder(order) => {
            trades.orders.push(order);
            return Ok(());
        }
        LedgerChange::ChangedOrder(order) => {
            // The order as it was before may be among the trades.
            trades.write(connection)?;
            return write_order(connection, order);
        }
        LedgerChange::LastTrade { agent, symbol, side, at } => {
            trades.last_trades.push(LastTrade { agent, symbol, side: *side, at: *at });
            return Ok(());
        }
        LedgerChange::Promotion(promotion) => execute_cached(
            connection,
            "INSERT OR REPLACE INTO promotions (agent, symbol, account_wide, at) VALUES (?1, ?2, ?3, ?4)",
            params![promotion.agent.as_str(), promotion.symbol, promotion.account_wide, promotion.at.0],
        ),
        LedgerChange::PromotionForgotten { agent, symbol, account_wide } => execute_cached(
            connection,
            "DELETE FROM promotions WHERE agent = ?1 AND symbol = ?2 AND account_wide = ?3",
            params![agent.as_str(), symbol, account_wide],
        ),
        LedgerChange::Execution(report) => execute_cached(
            connection,
            "INSERT INTO executions (reporter, execution_id, decision_id, status, filled, price, realised, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
            params![
                report.reporter,
                report.execution_id,
                report.decision_id.to_string(),
                report.status.as_str(),
                report.filled.map(Fraction::get),
                report.price,
                report.realised,
                report.at.0
            ],
        ),
        LedgerChange::Realised { day, delta } => execute_cached(
            connection,
            "INSERT INTO realised (day, result) VALUES (?1, ?2) ON CONFLICT (day) DO UPDATE SET result = result + ?2",
            params![day, delta],
        ),
    }
    .map(drop)
}

impl Reader {
    /// Loads the ledger. The orders include those whose time is over: the ledger ends them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_ledger(&self) -> Result<LedgerRows, ReadError> {
        self.with_connection(|connection| {
            let (from_config, from_api) = load_lists(connection)?;
            Ok(LedgerRows {
                orders: load_live_orders(connection)?,
                last_trades: select_rows(
                    connection,
                    "SELECT agent, symbol, side, at FROM last_trades
                     UNION ALL SELECT agent, symbol, side, since FROM orders WHERE state = 'new' AND purpose = 'open'",
                    [],
                    |row| {
                        Ok((
                            parse_required(row, 0)?,
                            row.get(1)?,
                            side_column(row, 2)?,
                            millis_column(row, 3)?,
                        ))
                    },
                )?,
                promotions: select_rows(
                    connection,
                    "SELECT agent, symbol, account_wide, at FROM promotions",
                    [],
                    |row| {
                        Ok(Promotion {
                            agent: parse_required(row, 0)?,
                            symbol: row.get(1)?,
                            account_wide: row.get(2)?,
                            at: millis_column(row, 3)?,
                        })
                    },
                )?,
                realised: select_rows(connection, "SELECT day, result FROM realised", [], |row| {
                    Ok((row.get(0)?, row.get(1)?))
                })?
                .into_iter()
                .collect(),
                from_config,
                from_api,
                capital: latest_capital(connection)?,
            })
        })
    }
}
