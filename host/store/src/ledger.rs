//! The ledger's tables: positions, executions, what was traded and promoted lately, and the operator's lists.

use rusqlite::{Connection, OptionalExtension, params};

use ark_model::action::Side;
use ark_model::ids::{DecisionId, Fraction, Millis, Name};

use super::Store;
use super::audit::{malformed_column, parse_required};
use super::error::ReadError;
use super::lists::{List, ListEntry};
use super::readers::Readers;
use super::unit::{IdempotencyRecord, PolicyRecord};

/// The state of a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PositionStatus {
    /// Approved, not yet executed: it holds its exposure until it expires.
    Reserved,
    /// Executed.
    Open,
    /// Executed and closed again.
    Closed,
    /// Never executed.
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

/// What an approved trade holds.
#[derive(Debug, Clone, PartialEq)]
pub struct Position {
    /// The decision that approved it.
    pub decision_id: DecisionId,
    /// Whose it is.
    pub agent: Name,
    /// The instrument.
    pub symbol: String,
    /// The direction.
    pub side: Side,
    /// The size, as a fraction of capital.
    pub size: Fraction,
    /// The leverage.
    pub leverage: f64,
    /// Its state.
    pub status: PositionStatus,
    /// Since when it is in this state.
    pub since: Millis,
    /// When a reservation ends by itself.
    pub expires_at: Option<Millis>,
}

/// A change of the ledger.
#[derive(Debug, Clone, PartialEq)]
pub enum LedgerChange {
    /// A position is as given from now on.
    Position(Position),
    /// A trade was approved.
    LastTrade {
        /// Whose.
        agent: Name,
        /// In what.
        symbol: String,
        /// Which way.
        side: Side,
        /// When.
        at: Millis,
    },
    /// A message on a symbol was approved.
    Promotion {
        /// Whose.
        agent: Name,
        /// On what.
        symbol: String,
        /// When.
        at: Millis,
    },
    /// An execution was reported.
    Execution {
        /// The executor's id of the report.
        execution_id: String,
        /// The decision it is about.
        decision_id: DecisionId,
        /// What became of it.
        status: String,
        /// How much was carried out.
        filled: Option<Fraction>,
        /// At which price.
        price: Option<f64>,
        /// What it realised, as a fraction of capital.
        realised: Option<f64>,
        /// When.
        at: Millis,
    },
    /// A day's realised result changes.
    Realised {
        /// The UTC day, as days since the Unix epoch.
        day: u64,
        /// By how much, as a fraction of capital.
        delta: f64,
    },
}

/// The ledger as stored.
#[derive(Debug, Default)]
pub struct LedgerRows {
    /// Positions that are reserved or open.
    pub positions: Vec<Position>,
    /// The last trades by agent, symbol and side.
    pub last_trades: Vec<(Name, String, Side, Millis)>,
    /// The last promotions by agent and symbol.
    pub promotions: Vec<(Name, String, Millis)>,
    /// What was realised today (UTC).
    pub realised_today: f64,
    /// What the configuration puts on the lists.
    pub from_config: Vec<ListEntry>,
    /// What operators put on the lists over the API, by list and key.
    pub from_api: Vec<(List, String, ListEntry)>,
    /// The capital, in the account's currency, if an operator said it.
    pub capital: Option<f64>,
}

const fn side_text(side: Side) -> &'static str {
    match side {
        Side::Buy => "buy",
        Side::Sell => "sell",
    }
}

fn parse_side(text: &str, column: usize) -> rusqlite::Result<Side> {
    match text {
        "buy" => Ok(Side::Buy),
        "sell" => Ok(Side::Sell),
        other => Err(malformed_column(column, other)),
    }
}

pub(super) fn write_ledger_change(
    connection: &Connection,
    change: &LedgerChange,
) -> rusqlite::Result<()> {
    match change {
        LedgerChange::Position(position) => connection
            .prepare_cached(
                "INSERT INTO positions (decision_id, agent, symbol, side, size, leverage, status, since, expires_at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)
                 ON CONFLICT (decision_id) DO UPDATE SET size = ?5, status = ?7, since = ?8, expires_at = ?9",
            )?
            .execute(params![
                position.decision_id.to_string(),
                position.agent.as_str(),
                position.symbol,
                side_text(position.side),
                position.size.get(),
                position.leverage,
                position.status.as_str(),
                position.since.0,
                position.expires_at.map(|at| at.0),
            ])?,
        LedgerChange::LastTrade { agent, symbol, side, at } => connection
            .prepare_cached("INSERT OR REPLACE INTO last_trades (agent, symbol, side, at) VALUES (?1, ?2, ?3, ?4)")?
            .execute(params![agent.as_str(), symbol, side_text(*side), at.0])?,
        LedgerChange::Promotion { agent, symbol, at } => connection
            .prepare_cached("INSERT OR REPLACE INTO promotions (agent, symbol, at) VALUES (?1, ?2, ?3)")?
            .execute(params![agent.as_str(), symbol, at.0])?,
        LedgerChange::Execution { execution_id, decision_id, status, filled, price, realised, at } => connection
            .prepare_cached(
                "INSERT INTO executions (execution_id, decision_id, status, filled, price, realised, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
            )?
            .execute(params![
                execution_id,
                decision_id.to_string(),
                status,
                filled.map(Fraction::get),
                price,
                realised,
                at.0
            ])?,
        LedgerChange::Realised { day, delta } => connection
            .prepare_cached(
                "INSERT INTO realised (day, result) VALUES (?1, ?2) ON CONFLICT (day) DO UPDATE SET result = result + ?2",
            )?
            .execute(params![day, delta])?,
    };
    Ok(())
}

pub(super) fn write_idempotency(
    connection: &Connection,
    record: &IdempotencyRecord,
    operation: Option<u64>,
) -> rusqlite::Result<()> {
    let number = operation.map(|number| number.to_string());
    let answer = match number {
        Some(number) if record.answer.is_empty() => number,
        _ => record.answer.clone(),
    };
    connection
        .prepare_cached(
            "INSERT INTO idempotency (scope, key, request, answer_id) VALUES (?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            record.scope,
            record.key,
            record.request.as_bytes(),
            answer
        ])?;
    Ok(())
}

pub(super) fn find_idempotency(
    connection: &Connection,
    scope: &str,
    key: &str,
) -> rusqlite::Result<Option<IdempotencyRecord>> {
    connection
        .prepare_cached("SELECT request, answer_id FROM idempotency WHERE scope = ?1 AND key = ?2")?
        .query_row([scope, key], |row| {
            Ok(IdempotencyRecord {
                scope: scope.to_owned(),
                key: key.to_owned(),
                request: super::audit::digest_column(row, 0)?,
                answer: row.get(1)?,
            })
        })
        .optional()
}

pub(super) fn write_policy_record(
    connection: &Connection,
    record: &PolicyRecord,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR IGNORE INTO policies (digest, metadata) VALUES (?1, ?2)")?
        .execute(params![record.digest.to_string(), record.metadata_json])?;
    Ok(())
}

impl Store {
    /// The ledger as it stands. Reservations whose time is over are among the positions: the ledger releases them.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_ledger(&self, now: Millis) -> Result<LedgerRows, ReadError> {
        self.inner.readers.with_connection(|connection| {
            let positions: rusqlite::Result<Vec<Position>> = connection
                .prepare(
                    "SELECT decision_id, agent, symbol, side, size, leverage, status, since, expires_at FROM positions
                     WHERE status IN ('reserved', 'open')",
                )?
                .query_map([], |row| {
                    let side: String = row.get(3)?;
                    let size: f64 = row.get(4)?;
                    let status: String = row.get(6)?;
                    Ok(Position {
                        decision_id: parse_required(row, 0)?,
                        agent: parse_required(row, 1)?,
                        symbol: row.get(2)?,
                        side: parse_side(&side, 3)?,
                        size: Fraction::new(size).ok_or_else(|| malformed_column(4, &size.to_string()))?,
                        leverage: row.get(5)?,
                        status: if status == "open" {
                            PositionStatus::Open
                        } else {
                            PositionStatus::Reserved
                        },
                        since: Millis(row.get(7)?),
                        expires_at: row.get::<_, Option<u64>>(8)?.map(Millis),
                    })
                })?
                .collect();
            let last_trades: rusqlite::Result<Vec<_>> = connection
                .prepare("SELECT agent, symbol, side, at FROM last_trades WHERE at > ?1")?
                .query_map([now.0.saturating_sub(3_600_000)], |row| {
                    let side: String = row.get(2)?;
                    Ok((parse_required(row, 0)?, row.get(1)?, parse_side(&side, 2)?, Millis(row.get(3)?)))
                })?
                .collect();
            let promotions: rusqlite::Result<Vec<_>> = connection
                .prepare("SELECT agent, symbol, at FROM promotions WHERE at > ?1")?
                .query_map([now.0.saturating_sub(90_000_000)], |row| {
                    Ok((parse_required(row, 0)?, row.get(1)?, Millis(row.get(2)?)))
                })?
                .collect();
            let (configured, attested) = super::lists::load_lists(connection)?;
            let capital = super::account::latest_capital(connection)?;
            let realised_today = connection.query_row(
                "SELECT COALESCE(SUM(result), 0.0) FROM realised WHERE day = ?1",
                [now.utc_day()],
                |row| row.get(0),
            )?;
            Ok(LedgerRows {
                positions: positions?,
                last_trades: last_trades?,
                promotions: promotions?,
                realised_today,
                from_config: configured,
                from_api: attested,
                capital,
            })
        })
    }

    /// The request a key came with, and its answer.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn idempotency_record(
        &self,
        scope: &str,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        self.inner
            .readers
            .with_connection(|connection| find_idempotency(connection, scope, key))
    }

    /// Every policy that was in force once.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_records(&self) -> Result<Vec<PolicyRecord>, ReadError> {
        read_policy_records(&self.inner.readers)
    }
}

impl super::ReadOnlyStore {
    /// Every policy that was in force once.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_records(&self) -> Result<Vec<PolicyRecord>, ReadError> {
        read_policy_records(self.readers())
    }
}

fn read_policy_records(readers: &Readers) -> Result<Vec<PolicyRecord>, ReadError> {
    readers.with_connection(|connection| {
        connection
            .prepare("SELECT digest, metadata FROM policies")?
            .query_map([], |row| {
                Ok(PolicyRecord {
                    digest: parse_required(row, 0)?,
                    metadata_json: row.get(1)?,
                })
            })?
            .collect()
    })
}
