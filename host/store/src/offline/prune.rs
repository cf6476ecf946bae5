//! Pruning: signals whose deliveries have ended, and lines of the session log, leave the database by order once they are old.
//!
//! What was decided stays: decisions are rows of the audit log, which leave it only into archives. Nothing that a host still works on is
//! removed: a signal stays while a delivery of it is pending, and while its trace has a message in the outbox or an open approval.

use std::path::Path;

use ark_model::ids::Millis;
use ark_model::usage::QuotaHolder;
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::json;

use crate::query::{execute_cached, select_rows, select_value};
use crate::usage::ROW_BYTES;

use super::error::MaintenanceError;
use super::exclusive::{OfflineStore, record_maintenance};

/// The action type of the audit row that attests a pruning.
const PRUNE_ACTION: &str = "state.prune";
/// Signals younger than this, in milliseconds, stay: the rules count causes and repetitions of the last minutes, and a sender that was not
/// answered repeats a signal under its key within a day.
const MIN_PRUNE_AGE_MS: u64 = 86_400_000;

/// What was removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PrunedRows {
    /// Signals.
    pub signals: u64,
    /// Deliveries of these signals.
    pub deliveries: u64,
    /// Those of the deliveries that had failed, and can be redelivered no more.
    pub failed_deliveries: u64,
    /// Idempotency keys of these signals: a signal under one of them is a new signal from now on.
    pub keys: u64,
    /// Lines of the session log.
    pub session_lines: u64,
    /// Signals from before the moment that stay, since the host still works on them.
    pub kept: u64,
}

/// Removes signals that were accepted before a moment, with their deliveries and keys, and the lines of the session log from before it. What
/// they count of their senders' quotas is given back. One transaction, which a row of the audit log attests.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs, or the moment is within the last day. Nothing was removed.
pub fn prune_signals(dir: &Path, before: Millis) -> Result<PrunedRows, MaintenanceError> {
    if before.0.saturating_add(MIN_PRUNE_AGE_MS) > Millis::now().0 {
        return Err(MaintenanceError::TooRecentToPrune);
    }
    let mut store = OfflineStore::open(dir, None)?;
    let transaction = store.connection.transaction()?;
    select_prunable(&transaction, before)?;
    give_back(&transaction)?;
    let pruned = delete_prunable(&transaction, before)?;
    let body = json!({"before": before, "pruned": pruned});
    record_maintenance(&transaction, PRUNE_ACTION, &body)?;
    transaction.commit()?;
    store.finish()?;
    Ok(pruned)
}

/// Fills the temporary table `prunable` with the ids of the signals to be removed.
fn select_prunable(connection: &Connection, before: Millis) -> rusqlite::Result<()> {
    connection.execute_batch(
        "CREATE TEMP TABLE prunable (id TEXT PRIMARY KEY NOT NULL) STRICT, WITHOUT ROWID",
    )?;
    execute_cached(
        connection,
        "INSERT INTO prunable SELECT s.id FROM signals s WHERE s.accepted_at < ?1
         AND NOT EXISTS (SELECT 1 FROM deliveries d WHERE d.signal_id = s.id AND d.status = 'pending')
         AND s.trace_id NOT IN (SELECT trace_id FROM outbox)
         AND s.trace_id NOT IN (SELECT trace_id FROM approvals WHERE status = 'open')",
        [before.0],
    )
    .map(drop)
}

/// Takes from the stored bytes of each sender what the signals to be removed count, as the writer counted it.
fn give_back(connection: &Connection) -> rusqlite::Result<()> {
    let senders = select_rows(
        connection,
        "SELECT s.sender, sum(octet_length(s.topic) + octet_length(s.payload)
             + ?1 * (1 + (SELECT count(*) FROM deliveries d WHERE d.signal_id = s.id)))
         FROM prunable p JOIN signals s ON s.id = p.id WHERE s.sender IS NOT NULL GROUP BY s.sender",
        [ROW_BYTES],
        |row| Ok((row.get::<_, String>(0)?, row.get::<_, u64>(1)?)),
    )?;
    for (sender, bytes) in senders {
        let Ok(sender) = sender.parse() else {
            continue;
        };
        execute_cached(
            connection,
            "UPDATE quota_usage SET stored_bytes = max(0, stored_bytes - ?2) WHERE consumer = ?1",
            params![QuotaHolder::Agent(sender).to_string(), bytes],
        )?;
    }
    Ok(())
}

fn delete_prunable(connection: &Connection, before: Millis) -> rusqlite::Result<PrunedRows> {
    const OF_PRUNABLE: &str = "signal_id IN (SELECT id FROM prunable)";
    let delete = |sql: String| execute_cached(connection, &sql, []).map(|count| count as u64);
    let failed_deliveries = select_value(
        connection,
        &format!("SELECT count(*) FROM deliveries WHERE status = 'failed' AND {OF_PRUNABLE}"),
        [],
    )?;
    let pruned = PrunedRows {
        failed_deliveries,
        deliveries: delete(format!("DELETE FROM deliveries WHERE {OF_PRUNABLE}"))?,
        keys: delete(format!("DELETE FROM signal_keys WHERE {OF_PRUNABLE}"))?,
        signals: delete("DELETE FROM signals WHERE id IN (SELECT id FROM prunable)".to_owned())?,
        session_lines: execute_cached(
            connection,
            "DELETE FROM session_log WHERE at < ?1",
            [before.0],
        )? as u64,
        kept: select_value(
            connection,
            "SELECT count(*) FROM signals WHERE accepted_at < ?1",
            [before.0],
        )?,
    };
    connection.execute_batch("DROP TABLE prunable")?;
    Ok(pruned)
}
