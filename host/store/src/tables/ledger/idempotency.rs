//! The idempotency keys of everything but signals, with their answers.

use rusqlite::{Connection, params};

use crate::error::ReadError;
use crate::idempotency::IdempotencyRecord;
use crate::query::{digest_column, execute_cached, select_row};
use crate::reader::Reader;

/// Stores a record. Where its answer is empty, the number of the unit's first change becomes the answer.
pub(crate) fn write_idempotency(
    connection: &Connection,
    record: &IdempotencyRecord,
    change: Option<u64>,
) -> rusqlite::Result<()> {
    let answer = match change {
        Some(number) if record.answer.is_empty() => number.to_string(),
        _ => record.answer.clone(),
    };
    execute_cached(
        connection,
        "INSERT INTO idempotency (scope, key, request, answer_id) VALUES (?1, ?2, ?3, ?4)",
        params![record.scope, record.key, record.request.as_bytes(), answer],
    )
    .map(drop)
}

/// The record of a key, if the key was used before.
pub(crate) fn find_idempotency(
    connection: &Connection,
    scope: &str,
    key: &str,
) -> rusqlite::Result<Option<IdempotencyRecord>> {
    select_row(
        connection,
        "SELECT request, answer_id FROM idempotency WHERE scope = ?1 AND key = ?2",
        [scope, key],
        |row| {
            Ok(IdempotencyRecord {
                scope: scope.to_owned(),
                key: key.to_owned(),
                request: digest_column(row, 0)?,
                answer: row.get(1)?,
            })
        },
    )
}

impl Reader {
    /// The request a key came with, and its answer; `None` when the key was not used.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn idempotency_record(
        &self,
        scope: &str,
        key: &str,
    ) -> Result<Option<IdempotencyRecord>, ReadError> {
        self.with_connection(|connection| find_idempotency(connection, scope, key))
    }
}
