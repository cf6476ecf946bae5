//! What operators state about the account: its capital, and results that no execution report contains.

use ark_model::ids::Millis;
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{MAX_SEQ, execute_cached, millis_column, select_row};
use crate::reader::Reader;

/// A statement of an operator about the account.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountChange {
    /// The capital, in the account's currency; `None` when the statement is about a result.
    pub capital: Option<f64>,
    /// A result, in the account's currency; a loss is negative.
    pub realised: Option<f64>,
    /// The result as a fraction of the capital.
    pub fraction: Option<f64>,
    /// The operator.
    pub by: String,
    /// The operator's reason.
    pub reason: String,
    /// When it was stated.
    pub at: Millis,
}

/// A statement about the account, as it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct AccountRow {
    /// The number of the row.
    pub seq: u64,
    /// `capital` or `realised`.
    pub field: String,
    /// The amount, in the account's currency.
    pub amount: f64,
    /// A result as a fraction of the capital at that time.
    pub fraction: Option<f64>,
    /// The operator.
    pub by: String,
    /// The operator's reason.
    pub reason: String,
    /// When it was stated.
    pub at_ms: Millis,
}

pub(crate) fn write_account_change(
    connection: &Connection,
    change: &AccountChange,
) -> rusqlite::Result<()> {
    for (field, amount) in [("capital", change.capital), ("realised", change.realised)] {
        let Some(amount) = amount else { continue };
        execute_cached(
            connection,
            "INSERT INTO account_history (field, amount, fraction, by, reason, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
            params![
                field,
                amount,
                change.fraction,
                change.by,
                change.reason,
                change.at.0
            ],
        )?;
    }
    Ok(())
}

/// The capital that was stated last.
pub(crate) fn latest_capital(connection: &Connection) -> rusqlite::Result<Option<f64>> {
    select_row(
        connection,
        "SELECT amount FROM account_history WHERE field = 'capital' ORDER BY seq DESC LIMIT 1",
        [],
        |row| row.get(0),
    )
}

fn read_account_row(row: &Row<'_>) -> rusqlite::Result<AccountRow> {
    Ok(AccountRow {
        seq: row.get(0)?,
        field: row.get(1)?,
        amount: row.get(2)?,
        fraction: row.get(3)?,
        by: row.get(4)?,
        reason: row.get(5)?,
        at_ms: millis_column(row, 6)?,
    })
}

impl Reader {
    /// The statements about the account, newest first, before the row `before` when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn account_history(
        &self,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AccountRow>, ReadError> {
        self.select_rows(
            "SELECT seq, field, amount, fraction, by, reason, at FROM account_history
             WHERE seq < ?1 ORDER BY seq DESC LIMIT ?2",
            params![before.unwrap_or(MAX_SEQ), limit],
            read_account_row,
        )
    }
}
