//! Prepared statements, which each connection caches, and the types that columns hold.

use std::str::FromStr;
use std::time::{Duration, Instant};

use rusqlite::types::{FromSql, Type};
use rusqlite::{
    Connection, Error, ErrorCode, OptionalExtension, Params, Result, Row, Statement, ToSql,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use ark_model::check::clip_for_error;
use ark_model::ids::{Digest, Millis};

/// The greatest number a column holds. A page that starts at the end is "before" it.
pub(crate) const MAX_SEQ: u64 = i64::MAX.unsigned_abs();

/// After how many steps of `SQLite`'s machine the time is looked at.
const STEPS_BETWEEN_LOOKS: i32 = 10_000;

/// Runs a statement. Returns how many rows it changed.
pub(crate) fn execute_cached(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<usize> {
    connection.prepare_cached(sql)?.execute(params)
}

/// This many rows are inserted by one statement at most. To begin and end a statement takes about as long as a row.
const ROWS_AT_ONCE: usize = 16;

/// A statement that inserts rows, many at once.
///
/// Its failure must end the transaction. So it says `OR FAIL` where it can: `SQLite` then need not keep the pages as they were before the statement, to take back
/// the rows before the one that failed.
pub(crate) struct RowInsert {
    /// Its text for each number of rows, from one row on.
    texts: Vec<String>,
}

impl RowInsert {
    /// `start` is what comes before the rows, `row` one row with a `?` for each of its values, and `end` what follows the rows.
    pub(crate) fn new(start: &str, row: &str, end: &str) -> Self {
        let texts = (1..=ROWS_AT_ONCE)
            .map(|rows| format!("{start} VALUES {} {end}", vec![row; rows].join(", ")))
            .collect();
        Self { texts }
    }

    /// Inserts rows in their order. `bind` gives the values of a row, in the order of their columns.
    pub(crate) fn execute<T>(
        &self,
        connection: &Connection,
        rows: &[T],
        mut bind: impl FnMut(&mut RowValues<'_, '_>, &T) -> Result<()>,
    ) -> Result<()> {
        for rows in rows.chunks(ROWS_AT_ONCE) {
            let mut statement = connection.prepare_cached(&self.texts[rows.len() - 1])?;
            let mut values = RowValues {
                statement: &mut statement,
                given: 0,
            };
            for row in rows {
                bind(&mut values, row)?;
            }
            let given = values.given;
            let expected = statement.parameter_count();
            if given != expected {
                return Err(Error::InvalidParameterCount(given, expected));
            }
            statement.raw_execute()?;
        }
        Ok(())
    }
}

/// The values of the rows of a [`RowInsert`].
pub(crate) struct RowValues<'a, 'c> {
    statement: &'a mut Statement<'c>,
    /// How many were given.
    given: usize,
}

impl RowValues<'_, '_> {
    /// Gives the next value.
    pub(crate) fn push(&mut self, value: impl ToSql) -> Result<()> {
        self.given += 1;
        self.statement.raw_bind_parameter(self.given, value)
    }
}

/// Reads every row of a query.
pub(crate) fn select_rows<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> Result<T>,
) -> Result<Vec<T>> {
    connection
        .prepare_cached(sql)?
        .query_map(params, read)?
        .collect()
}

/// Reads the first row of a query; `None` when the query has no row.
pub(crate) fn select_row<T>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> Result<T>,
) -> Result<Option<T>> {
    connection
        .prepare_cached(sql)?
        .query_row(params, read)
        .optional()
}

/// Reads the first column of a query that has always a row.
pub(crate) fn select_value<T: FromSql>(
    connection: &Connection,
    sql: &str,
    params: impl Params,
) -> Result<T> {
    connection
        .prepare_cached(sql)?
        .query_row(params, |row| row.get(0))
}

/// A text column that holds an id, a name or a keyword; `None` when it is null.
pub(crate) fn parse_column<T: FromStr>(row: &Row<'_>, column: usize) -> Result<Option<T>> {
    let text: Option<String> = row.get(column)?;
    text.map(|text| text.parse().map_err(|_| malformed_column(column, &text)))
        .transpose()
}

/// As [`parse_column`], for a column that is never null.
pub(crate) fn parse_required<T: FromStr>(row: &Row<'_>, column: usize) -> Result<T> {
    parse_column(row, column)?.ok_or_else(|| malformed_column(column, "null"))
}

/// The error for a column that holds what the program never writes.
pub(crate) fn malformed_column(column: usize, found: &str) -> Error {
    let reason = format!("{:?} is not what this column holds", clip_for_error(found));
    Error::FromSqlConversionFailure(column, Type::Text, reason.into())
}

/// A column of 32 bytes.
pub(crate) fn digest_column(row: &Row<'_>, column: usize) -> Result<Digest> {
    row.get(column).map(Digest::from_bytes)
}

/// A column of 32 bytes, or null.
pub(crate) fn optional_digest(row: &Row<'_>, column: usize) -> Result<Option<Digest>> {
    let bytes: Option<[u8; 32]> = row.get(column)?;
    Ok(bytes.map(Digest::from_bytes))
}

/// A column of milliseconds.
pub(crate) fn millis_column(row: &Row<'_>, column: usize) -> Result<Millis> {
    row.get(column).map(Millis)
}

/// A column of milliseconds, or null.
pub(crate) fn optional_millis(row: &Row<'_>, column: usize) -> Result<Option<Millis>> {
    let millis: Option<u64> = row.get(column)?;
    Ok(millis.map(Millis))
}

/// A text column that holds JSON.
pub(crate) fn json_column<T: DeserializeOwned>(row: &Row<'_>, column: usize) -> Result<T> {
    let json: String = row.get(column)?;
    serde_json::from_str(&json).map_err(|_| malformed_column(column, &json))
}

/// Has statements interrupted that run for longer; `None`: none.
pub(crate) fn limit_statements(
    connection: &mut Connection,
    longest: Option<Duration>,
) -> Result<()> {
    let handler = longest.map(|longest| {
        let started = Instant::now();
        move || started.elapsed() >= longest
    });
    connection.progress_handler(STEPS_BETWEEN_LOOKS, handler)
}

/// Whether a statement was interrupted, since it ran for longer than [`limit_statements`] allows.
pub(crate) fn is_interrupted(error: &Error) -> bool {
    error.sqlite_error_code() == Some(ErrorCode::OperationInterrupted)
}

/// Whether an error says that the database itself is damaged, or that the file is none. A lock, a missing right, a full or failing disk say nothing about
/// what the database holds.
pub(crate) fn is_damage(error: &Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
    )
}

/// A value as the JSON text of a column.
pub(crate) fn to_json_text(value: &impl Serialize) -> Result<String> {
    serde_json::to_string(value).map_err(|error| Error::ToSqlConversionFailure(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_inserted_in_their_order_whatever_their_number_is() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch("CREATE TABLE t (seq INTEGER PRIMARY KEY, a TEXT, b INTEGER) STRICT")
            .unwrap();
        let insert = RowInsert::new("INSERT INTO t (a, b)", "(?, ?)", "");
        let read = || {
            select_rows(&connection, "SELECT a, b FROM t ORDER BY seq", [], |row| {
                Ok((row.get::<_, Option<String>>(0)?, row.get::<_, u64>(1)?))
            })
            .unwrap()
        };
        for count in [0, 1, 2, 15, 16, 17, 31, 32, 50_u64] {
            let rows: Vec<_> = (0..count)
                .map(|n| ((n % 3 > 0).then(|| n.to_string()), n))
                .collect();
            insert
                .execute(&connection, &rows, |values, (a, b)| {
                    values.push(a.as_deref())?;
                    values.push(b)
                })
                .unwrap();
            assert_eq!(read(), rows);
            connection.execute_batch("DELETE FROM t").unwrap();
        }
        // A row that lacks a value is none with a null.
        for given in [1, 3] {
            let values = vec![1; given];
            let inserted = insert.execute(&connection, &[values], |row, values| {
                values.iter().try_for_each(|value| row.push(*value))
            });
            assert!(inserted.is_err());
        }
        assert!(read().is_empty());
    }
}
