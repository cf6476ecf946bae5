//! The ledger: positions, executions, and what was traded and promoted lately.

use ark_model::action::Side;
use ark_model::ids::{DecisionId, Fraction, Millis, Name};
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{
    execute, malformed_column, millis_column, optional_millis, parse_required, select_rows,
    select_value,
};
use crate::reader::Reader;

use super::account::latest_capital;
use super::lists::{List, ListEntry, load_lists};

/// How far back [`Reader::load_ledger`] reads trades, in milliseconds: an hour.
const TRADES_SINCE: u64 = 3_600_000;
/// How far back [`Reader::load_ledger`] reads promotions, in milliseconds: 25 hours.
const PROMOTIONS_SINCE: u64 = 90_000_000;

/// The status of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionStatus {
    /// Approved and not yet executed. It counts as exposure until it expires.
    Reserved,
    /// Executed.
    Open,
    /// Executed, and closed again.
    Closed,
    /// Not executed, and no longer reserved.
    Released,
}

impl PositionStatus {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Reserved => "reserved",
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Released => "released",
        }
    }
}

/// The exposure of an approved trade.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// The decision that approved it.
    pub decision_id: DecisionId,
    /// The agent that proposed it.
    pub agent: Name,
    /// The instrument.
    pub symbol: String,
    /// The direction.
    pub side: Side,
    /// The size, as a fraction of capital.
    pub size: Fraction,
    /// The leverage.
    pub leverage: f64,
    /// The status.
    pub status: PositionStatus,
    /// When it got this status.
    pub since: Millis,
    /// When a reservation ends by itself.
    pub expires_at: Option<Millis>,
}

/// A change of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub enum LedgerChange {
    /// Creates or replaces a position.
    Position(Position),
    /// Records that a trade was approved.
    LastTrade {
        /// The agent that trades.
        agent: Name,
        /// The instrument.
        symbol: String,
        /// The direction.
        side: Side,
        /// When it was approved.
        at: Millis,
    },
    /// Records that a message on a symbol was approved.
    Promotion {
        /// The agent that sends it.
        agent: Name,
        /// The instrument.
        symbol: String,
        /// When it was approved.
        at: Millis,
    },
    /// Records an execution report.
    Execution {
        /// The executor's id of the report.
        execution_id: String,
        /// The decision that was executed.
        decision_id: DecisionId,
        /// The status that the report gives.
        status: String,
        /// How much was carried out, as a fraction of capital.
        filled: Option<Fraction>,
        /// The price.
        price: Option<f64>,
        /// The realised result, as a fraction of capital.
        realised: Option<f64>,
        /// When the report came.
        at: Millis,
    },
    /// Adds to the realised result of a day.
    Realised {
        /// The UTC day, as days since the Unix epoch.
        day: u64,
        /// The result to add, as a fraction of capital.
        delta: f64,
    },
}

/// The ledger as it is loaded at a start.
#[derive(Debug, Default)]
pub struct LedgerRows {
    /// The positions that are reserved or open.
    pub positions: Vec<Position>,
    /// The last trades of the past hour, by agent, symbol and side.
    pub last_trades: Vec<(Name, String, Side, Millis)>,
    /// The last promotions of the past 25 hours, by agent and symbol.
    pub promotions: Vec<(Name, String, Millis)>,
    /// The result realised today (UTC), as a fraction of capital.
    pub realised_today: f64,
    /// The entries that the configuration puts on the lists.
    pub from_config: Vec<ListEntry>,
    /// The entries that operators put on the lists over the API, by list and key.
    pub from_api: Vec<(List, String, ListEntry)>,
    /// The capital in the account's currency; `None` when no operator has stated it.
    pub capital: Option<f64>,
}

const fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn side_column(row: &Row<'_>, column: usize) -> rusqlite::Result<Side> {
    let text: String = row.get(column)?;
    match text.as_str() {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        other => Err(malformed_column(column, other)),
    }
}

pub(crate) fn write_ledger_change(
    connection: &Connection,
    change: &LedgerChange,
) -> rusqlite::Result<()> {
    match change {
        LedgerChange::Position(position) => execute(
            connection,
            "INSERT INTO positions (decision_id, agent, symbol, side, size, leverage, status, since, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
             ON CONFLICT (decision_id) DO UPDATE SET size = ?5, status = ?7, since = ?8, expires_at = ?9",
            params![
                position.decision_id.to_string(),
                position.agent.as_str(),
                position.symbol,
                side_text(position.side),
                position.size.get(),
                position.leverage,
                position.status.as_str(),
                position.since.0,
                position.expires_at.map(|at| at.0),
            ],
        ),
        LedgerChange::LastTrade { agent, symbol, side, at } => execute(
            connection,
            "INSERT OR REPLACE INTO last_trades (agent, symbol, side, at) VALUES (?1, ?2, ?3, ?4)",
            params![agent.as_str(), symbol, side_text(*side), at.0],
        ),
        LedgerChange::Promotion { agent, symbol, at } => execute(
            connection,
            "INSERT OR REPLACE INTO promotions (agent, symbol, at) VALUES (?1, ?2, ?3)",
            params![agent.as_str(), symbol, at.0],
        ),
        LedgerChange::Execution { execution_id, decision_id, status, filled, price, realised, at } => execute(
            connection,
            "INSERT INTO executions (execution_id, decision_id, status, filled, price, realised, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            params![
                execution_id,
                decision_id.to_string(),
                status,
                filled.map(Fraction::get),
                price,
                realised,
                at.0
            ],
        ),
        LedgerChange::Realised { day, delta } => execute(
            connection,
            "INSERT INTO realised (day, result) VALUES (?1, ?2) ON CONFLICT (day) DO UPDATE SET result = result + ?2",
            params![day, delta],
        ),
    }
    .map(drop)
}

fn read_live_position(row: &Row<'_>) -> rusqlite::Result<Position> {
    let size: f64 = row.get(4)?;
    let status: String = row.get(6)?;
    Ok(Position {
        decision_id: parse_required(row, 0)?,
        agent: parse_required(row, 1)?,
        symbol: row.get(2)?,
        side: side_column(row, 3)?,
        size: Fraction::new(size).ok_or_else(|| malformed_column(4, &size.to_string()))?,
        leverage: row.get(5)?,
        status: if status == "open" {
            PositionStatus::Open
        } else {
            PositionStatus::Reserved
        },
        since: millis_column(row, 7)?,
        expires_at: optional_millis(row, 8)?,
    })
}

impl Reader {
    /// Loads the ledger. The positions include reservations that have expired: the ledger releases them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_ledger(&self, now: Millis) -> Result<LedgerRows, ReadError> {
        self.with_connection(|connection| {
            let (from_config, from_api) = load_lists(connection)?;
            Ok(LedgerRows {
                positions: select_rows(
                    connection,
                    "SELECT decision_id, agent, symbol, side, size, leverage, status, since, expires_at FROM positions
                     WHERE status IN ('reserved', 'open')",
                    [],
                    read_live_position,
                )?,
                last_trades: select_rows(
                    connection,
                    "SELECT agent, symbol, side, at FROM last_trades WHERE at > ?1",
                    [now.0.saturating_sub(TRADES_SINCE)],
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
                    "SELECT agent, symbol, at FROM promotions WHERE at > ?1",
                    [now.0.saturating_sub(PROMOTIONS_SINCE)],
                    |row| Ok((parse_required(row, 0)?, row.get(1)?, millis_column(row, 2)?)),
                )?,
                realised_today: select_value(
                    connection,
                    "SELECT COALESCE(SUM(result), 0.0) FROM realised WHERE day = ?1",
                    [now.utc_day()],
                )?,
                from_config,
                from_api,
                capital: latest_capital(connection)?,
            })
        })
    }
}
