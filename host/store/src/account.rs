//! What operators say of the account: its capital, and results that no execution report told of.

use rusqlite::{Connection, OptionalExtension, params};
use serde::Serialize;

use ark_model::ids::Millis;

use super::Store;
use super::error::ReadError;

/// Something an operator says of the account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountChange {
    /// The capital, in the account's currency; `None`: it is a result.
    pub capital: Option<f64>,
    /// A result, in the account's currency; a loss is negative.
    pub realised: Option<f64>,
    /// The result as a fraction of the capital.
    pub fraction: Option<f64>,
    /// Who says so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at: Millis,
}

/// What was said of the account.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct AccountRow {
    /// Its place.
    pub seq: u64,
    /// `capital` or `realised`.
    pub field: String,
    /// In the account's currency.
    pub amount: f64,
    /// A result as a fraction of the capital of then.
    pub fraction: Option<f64>,
    /// Who said so.
    pub by: String,
    /// Why.
    pub reason: String,
    /// When.
    pub at_ms: Millis,
}

pub(super) fn write_account_change(
    connection: &Connection,
    change: &AccountChange,
) -> rusqlite::Result<()> {
    let rows = [("capital", change.capital), ("realised", change.realised)];
    for (field, amount) in rows {
        let Some(amount) = amount else { continue };
        connection
            .prepare_cached(
                "INSERT INTO account_history (field, amount, fraction, by, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            )?
            .execute(params![
                field,
                amount,
                change.fraction,
                change.by,
                change.reason,
                change.at.0
            ])?;
    }
    Ok(())
}

/// The capital as it was said last.
pub(super) fn latest_capital(connection: &Connection) -> rusqlite::Result<Option<f64>> {
    connection
        .prepare_cached(
            "SELECT amount FROM account_history WHERE field = 'capital' ORDER BY seq DESC LIMIT 1",
        )?
        .query_row([], |row| row.get(0))
        .optional()
}

impl Store {
    /// What was said of the account, the latest first, what stands before `before`, `limit` rows at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn account_history(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AccountRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, field, amount, fraction, by, reason, at FROM account_history
                     WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
                )?
                .query_map(
                    params![before.unwrap_or(i64::MAX.unsigned_abs()), limit],
                    |row| {
                        Ok(AccountRow {
                            seq: row.get(0)?,
                            field: row.get(1)?,
                            amount: row.get(2)?,
                            fraction: row.get(3)?,
                            by: row.get(4)?,
                            reason: row.get(5)?,
                            at_ms: Millis(row.get(6)?),
                        })
                    },
                )?
                .collect()
        })
    }
}
