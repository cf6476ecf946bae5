//! Deliveries that failed, and how they become pending again.

use ark_model::ids::{AuditId, Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;
use rusqlite::{Connection, params};

use crate::error::{CommitError, ReadError, WriteError};
use crate::query::{execute_cached, millis_column, optional_millis, parse_column, parse_required};
use crate::reader::Reader;
use crate::tables::audit::select_has_row;

use super::signal::{SIGNAL_COLUMNS, read_signal};

/// A delivery that failed and is to be pending again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redelivery {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
}

/// A delivery that failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedDelivery {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
    /// The topic of the signal.
    pub topic: String,
    /// The trace of the signal.
    pub trace_id: TraceId,
    /// When the signal was accepted.
    pub accepted_at: Millis,
    /// When the signal's time to live is over.
    pub expires_at: Option<Millis>,
    /// When the delivery failed.
    pub failed_at: Millis,
    /// Why it failed.
    pub reason: String,
    /// The row of the audit log about the failure, which has the capsule's id; `None` when the row is archived or there never was one.
    pub failure: Option<AuditId>,
}

/// Where a page of failed deliveries begins: behind this one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FailedCursor {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
}

/// How many deliveries of an agent failed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FailedCounts {
    /// Those that can be delivered again.
    pub deliverable: u64,
    /// Those of signals that have expired meanwhile.
    pub expired: u64,
}

/// Makes a delivery that failed pending again.
pub(crate) fn write_redelivery(
    connection: &Connection,
    redelivery: &Redelivery,
) -> Result<(), WriteError> {
    let changed = execute_cached(
        connection,
        "UPDATE deliveries SET status = 'pending', reason = NULL, failure = NULL, settled_at = NULL
         WHERE signal_id = ?1 AND agent = ?2 AND status = 'failed'",
        params![redelivery.signal.to_string(), redelivery.agent.as_str()],
    )?;
    if changed == 1 {
        return Ok(());
    }
    Err(WriteError::refuse(CommitError::DeliveryNotFailed {
        agent: redelivery.agent.clone(),
        signal: redelivery.signal,
    }))
}

/// The query of a page of failed deliveries. Each of the four forms searches an index for the rows of the page, and finds what belongs to a
/// row by its key, and once what the log has behind its index: the work is bounded by the page and by that.
fn select_failed(of_agent: bool, behind: bool) -> String {
    let agent = if of_agent {
        "d.agent = ?1"
    } else {
        "?1 IS NULL"
    };
    let place = match (of_agent, behind) {
        (_, false) => "?2 IS NULL AND ?3 IS NULL",
        (true, true) => "d.signal_id <= ?2 AND (d.signal_id, d.agent) < (?2, ?3)",
        (false, true) => "(d.signal_id, d.agent) < (?2, ?3)",
    };
    let is_in_log = select_has_row("d.failure");
    format!(
        "SELECT d.signal_id, d.agent, s.topic, s.trace_id, s.accepted_at, s.expires_at, d.settled_at, d.reason,
             iif({is_in_log}, d.failure, NULL)
         FROM deliveries d CROSS JOIN signals s ON s.id = d.signal_id
         WHERE d.status = 'failed' AND {agent} AND {place}
         ORDER BY d.signal_id DESC, d.agent DESC LIMIT ?4"
    )
}

impl Reader {
    /// The deliveries that failed, of one agent or of all, the latest signal first, behind the cursor when it is given, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failed_deliveries(
        &self,
        agent: Option<&Name>,
        behind: Option<&FailedCursor>,
        limit: u32,
    ) -> Result<Vec<FailedDelivery>, ReadError> {
        let (signal, receiver) = behind.map_or((None, None), |cursor| {
            (Some(cursor.signal.to_string()), Some(cursor.agent.as_str()))
        });
        self.select_rows(
            &select_failed(agent.is_some(), behind.is_some()),
            params![agent.map(Name::as_str), signal, receiver, limit],
            |row| {
                Ok(FailedDelivery {
                    signal: parse_required(row, 0)?,
                    agent: parse_required(row, 1)?,
                    topic: row.get(2)?,
                    trace_id: parse_required(row, 3)?,
                    accepted_at: millis_column(row, 4)?,
                    expires_at: optional_millis(row, 5)?,
                    failed_at: millis_column(row, 6)?,
                    reason: row.get(7)?,
                    failure: parse_column(row, 8)?,
                })
            },
        )
    }

    /// The signals whose deliveries to an agent failed at `until` or before, or only this one, oldest first, at most `limit`. Those that
    /// have expired by `now` are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failed_signals(
        &self,
        agent: &Name,
        only: Option<SignalId>,
        until: Millis,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<Signal>, ReadError> {
        self.select_rows(
            &format!(
                "SELECT {SIGNAL_COLUMNS} FROM deliveries d JOIN signals s ON s.id = d.signal_id
                 WHERE d.status = 'failed' AND d.agent = ?1 AND (?2 IS NULL OR d.signal_id = ?2) AND d.settled_at <= ?3
                     AND (s.expires_at IS NULL OR s.expires_at > ?4)
                 ORDER BY d.signal_id LIMIT ?5"
            ),
            params![
                agent.as_str(),
                only.map(|id| id.to_string()),
                until.0,
                now.0,
                limit
            ],
            read_signal,
        )
    }

    /// How many deliveries to an agent, or of only this signal to it, failed at `until` or before.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn failed_counts(
        &self,
        agent: &Name,
        only: Option<SignalId>,
        until: Millis,
        now: Millis,
    ) -> Result<FailedCounts, ReadError> {
        let counts = self.select_row(
            "SELECT count(*) FILTER (WHERE s.expires_at IS NULL OR s.expires_at > ?4),
                 count(*) FILTER (WHERE s.expires_at <= ?4)
             FROM deliveries d JOIN signals s ON s.id = d.signal_id
             WHERE d.status = 'failed' AND d.agent = ?1 AND (?2 IS NULL OR d.signal_id = ?2) AND d.settled_at <= ?3",
            params![
                agent.as_str(),
                only.map(|id| id.to_string()),
                until.0,
                now.0
            ],
            |row| {
                Ok(FailedCounts {
                    deliverable: row.get(0)?,
                    expired: row.get(1)?,
                })
            },
        )?;
        Ok(counts.unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::StatementStatus;

    use super::*;
    use crate::schema::SCHEMA_VERSION;

    fn open_schema(versions: std::ops::Range<u32>, connection: &mut Connection) {
        let path = std::path::Path::new("memory");
        crate::schema::migrate_schema(connection, path, versions, None).expect("the schema");
    }

    /// A signal that two agents failed to handle, in a trace with `others` more failures.
    fn add_trace(connection: &Connection, signal: &str, others: usize) {
        let insert_audit = |agent: &str, id: &str, of: &str| {
            connection
                .prepare_cached(
                    "INSERT INTO audit_log (at, kind, id, trace_id, agent, body, hash)
                     VALUES (1, 'failure', ?1, 't', ?2, json_object('signal_id', ?3), x'00')",
                )
                .and_then(|mut statement| statement.execute([id, agent, of]))
                .expect("a row");
        };
        connection
            .execute(
                "INSERT INTO signals (id, topic, payload, trace_id, causal_depth, accepted_at) VALUES (?1, 'x', '1', 't', 0, 1)",
                [signal],
            )
            .expect("a signal");
        for agent in ["kenny", "kyle"] {
            // It failed before: the last failure counts.
            insert_audit(agent, &format!("{signal}-{agent}-0"), signal);
            insert_audit(agent, &format!("{signal}-{agent}"), signal);
            connection
                .execute(
                    "INSERT INTO deliveries (signal_id, agent, status, reason, settled_at) VALUES (?1, ?2, 'failed', 'r', 1)",
                    [signal, agent],
                )
                .expect("a delivery");
        }
        for other in 0..others {
            insert_audit("kyle", &format!("{signal}-other-{other}"), "another");
        }
    }

    /// The failures on the first page, and how many steps the database made for it.
    fn read_page(connection: &Connection) -> (Vec<Option<String>>, i32) {
        let mut statement = connection
            .prepare(&select_failed(true, false))
            .expect("a statement");
        let failures = statement
            .query_map(params!["kyle", None::<&str>, None::<&str>, 10], |row| {
                row.get(8)
            })
            .expect("a page")
            .collect::<Result<_, _>>()
            .expect("rows");
        (failures, statement.get_status(StatementStatus::VmStep))
    }

    #[test]
    fn a_large_trace_takes_no_more_steps_than_a_small_one_and_earlier_failures_are_found() {
        let pages = [0, 20_000].map(|others| {
            let mut connection = Connection::open_in_memory().expect("a database");
            open_schema(0..8, &mut connection);
            add_trace(&connection, "s", others);
            open_schema(8..SCHEMA_VERSION, &mut connection);
            read_page(&connection)
        });
        assert_eq!(pages[0].0, [Some("s-kyle".to_owned())]);
        assert_eq!(pages[0], pages[1]);
    }

    #[test]
    fn every_page_is_found_by_indexes_alone() {
        let mut connection = Connection::open_in_memory().expect("a database");
        open_schema(0..SCHEMA_VERSION, &mut connection);
        for (of_agent, behind) in [(false, false), (false, true), (true, false), (true, true)] {
            let explained = format!("EXPLAIN QUERY PLAN {}", select_failed(of_agent, behind));
            let mut statement = connection.prepare(&explained).expect("a statement");
            let steps: Vec<String> = statement
                .query_map(params![Some("kyle"), Some("x"), Some("kyle"), 10], |row| {
                    row.get(3)
                })
                .expect("a plan")
                .collect::<Result<_, _>>()
                .expect("steps");
            let plan = steps.join("; ");
            let index = if of_agent {
                "SEARCH d USING INDEX deliveries_failed_of_agent (agent=?"
            } else if behind {
                "SEARCH d USING INDEX deliveries_failed ((signal_id,agent)<(?,?))"
            } else {
                "SCAN d USING INDEX deliveries_failed"
            };
            assert!(plan.contains(index), "{plan}");
            assert!(!plan.contains("TEMP B-TREE"), "{plan}");
            assert!(
                plan.contains("SEARCH audit_ids USING PRIMARY KEY (id=?)"),
                "{plan}"
            );
            for scanned in ["SCAN audit_", "SCAN entry"] {
                assert!(!plan.contains(scanned), "{plan}");
            }
        }
    }
}
