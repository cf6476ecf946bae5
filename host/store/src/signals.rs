//! Signals, their deliveries and the outbox: accepted once, delivered once to each receiver.

use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::ids::{DecisionId, Digest, Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;

use super::Store;
use super::audit::{
    AuditEntry, AuditFilter, AuditKind, AuditRow, digest_column, parse_column, parse_required,
};
use super::error::{CommitError, ReadError};
use super::writer::WriteError;

/// A signal to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSignal {
    /// The signal.
    pub signal: Signal,
    /// Under which key it is accepted once only.
    pub key: Option<SignalKey>,
    /// Who receives it.
    pub deliver_to: Vec<Name>,
    /// Who would receive it, but has too much waiting: recorded as a failed delivery.
    pub shed: Vec<Name>,
    /// The name of the token it came with: then the audit log says so.
    pub by: Option<String>,
}

impl NewSignal {
    /// The audit row that says who sent it, where a token does.
    pub(super) fn audit_entry(&self) -> Option<AuditEntry> {
        let body = serde_json::json!({
            "by": self.by.as_ref()?,
            "signal_id": self.signal.id,
            "topic": self.signal.topic,
        });
        Some(AuditEntry {
            kind: AuditKind::Operator,
            id: DecisionId::fresh().to_string(),
            trace_id: Some(self.signal.trace_id),
            agent: None,
            action_type: Some("signal.send".to_owned()),
            outcome: None,
            at: self.signal.accepted_at,
            body: body.to_string(),
        })
    }
}

/// Why a delivery that was shed has failed.
const SHED_REASON: &str = "shed: too many signals are waiting for the agent";

/// An idempotency key of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalKey {
    /// Where the key is unique.
    pub source: String,
    /// The key.
    pub key: String,
    /// Digest of the request.
    pub request: Digest,
}

/// What became of a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalReceipt {
    /// It was stored.
    Accepted,
    /// Its key was seen before: that signal stands, this one was not stored.
    Duplicate {
        /// The first signal.
        id: SignalId,
        /// Its trace.
        trace_id: TraceId,
    },
}

/// A message on its way to becoming a signal.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxMessage {
    /// Its topic.
    pub topic: String,
    /// The one receiver; `None`: all subscribers.
    pub to: Option<Name>,
    /// One JSON value.
    pub payload_json: String,
    /// Its trace.
    pub trace_id: TraceId,
    /// Whose message it is; `None`: the host's.
    pub sender: Option<Name>,
    /// How many signals led to it, itself included.
    pub causal_depth: u32,
    /// When.
    pub at: Millis,
}

/// A message in the outbox.
#[derive(Debug, Clone, PartialEq)]
pub struct OutboxRow {
    /// Its place.
    pub seq: i64,
    /// The message.
    pub message: OutboxMessage,
}

/// What became of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The agent handled it.
    Done,
    /// It failed: why.
    Failed(String),
}

/// Settles a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryCompletion {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
    /// What became of it.
    pub result: DeliveryResult,
    /// When.
    pub at: Millis,
}

/// A pending delivery of a signal whose time is over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredDelivery {
    /// The receiver.
    pub agent: Name,
    /// The signal.
    pub signal: SignalId,
    /// Its trace.
    pub trace_id: TraceId,
}

/// A delivery, as listed in a trace.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub struct DeliveryRow {
    /// The signal.
    pub signal_id: SignalId,
    /// The receiver.
    pub agent: Name,
    /// `pending`, `done` or `failed`.
    pub status: String,
    /// Why it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// When it was settled.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settled_at: Option<Millis>,
}

/// The most rows of each kind that a trace is read with.
pub const TRACE_ROWS: u32 = 1000;

/// Everything the store holds of a trace.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceRows {
    /// Its signals, in order of acceptance.
    pub signals: Vec<Signal>,
    /// Their deliveries.
    pub deliveries: Vec<DeliveryRow>,
    /// Its audit rows, newest first.
    pub audit: Vec<AuditRow>,
    /// Messages of it that wait in the outbox to become signals.
    pub waiting_messages: u64,
    /// Decisions of it whose approval nobody has given or refused.
    pub open_approvals: Vec<String>,
}

pub(super) fn write_signal(
    connection: &Connection,
    new: &NewSignal,
) -> Result<SignalReceipt, WriteError> {
    if let Some(key) = &new.key {
        let seen = connection
            .prepare_cached(
                "SELECT k.request, s.id, s.trace_id FROM signal_keys k JOIN signals s ON s.id = k.signal_id
                 WHERE k.source = ?1 AND k.key = ?2",
            )?
            .query_row([&key.source, &key.key], |row| {
                Ok((digest_column(row, 0)?, parse_required(row, 1)?, parse_required(row, 2)?))
            })
            .optional()?;
        match seen {
            Some((request, ..)) if request != key.request => {
                return Err(WriteError::Refused(CommitError::KeyReused {
                    key: key.key.clone(),
                }));
            }
            Some((_, id, trace_id)) => return Ok(SignalReceipt::Duplicate { id, trace_id }),
            None => {}
        }
        connection
            .prepare_cached(
                "INSERT INTO signal_keys (source, key, request, signal_id) VALUES (?1, ?2, ?3, ?4)",
            )?
            .execute(params![
                key.source,
                key.key,
                key.request.as_bytes(),
                new.signal.id.to_string()
            ])?;
    }
    let signal = &new.signal;
    let id = signal.id.to_string();
    connection
        .prepare_cached(
            "INSERT INTO signals (id, topic, payload, trace_id, sender, causal_depth, accepted_at, expires_at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            id,
            signal.topic,
            signal.payload_json,
            signal.trace_id.to_string(),
            signal.sender.as_ref().map(Name::as_str),
            signal.causal_depth,
            signal.accepted_at.0,
            signal.expires_at.map(|at| at.0),
        ])?;
    for agent in &new.shed {
        connection
            .prepare_cached(
                "INSERT INTO deliveries (agent, signal_id, status, reason, settled_at) VALUES (?1, ?2, 'failed', ?3, ?4)",
            )?
            .execute(params![agent.as_str(), &id, SHED_REASON, signal.accepted_at.0])?;
    }
    for agent in &new.deliver_to {
        connection
            .prepare_cached(
                "INSERT INTO deliveries (agent, signal_id, status) VALUES (?1, ?2, 'pending')",
            )?
            .execute([agent.as_str(), &id])?;
    }
    Ok(SignalReceipt::Accepted)
}

pub(super) fn complete_delivery(
    connection: &Connection,
    done: &DeliveryCompletion,
) -> Result<(), WriteError> {
    let (status, reason) = match &done.result {
        DeliveryResult::Done => ("done", None),
        DeliveryResult::Failed(reason) => ("failed", Some(reason)),
    };
    let changed = connection
        .prepare_cached(
            "UPDATE deliveries SET status = ?1, reason = ?2, settled_at = ?3
             WHERE agent = ?4 AND signal_id = ?5 AND status = 'pending'",
        )?
        .execute(params![
            status,
            reason,
            done.at.0,
            done.agent.as_str(),
            done.signal.to_string()
        ])?;
    if changed == 1 {
        Ok(())
    } else {
        Err(WriteError::Refused(CommitError::DeliveryNotPending {
            agent: done.agent.clone(),
        }))
    }
}

pub(super) fn insert_outbox_message(
    connection: &Connection,
    message: &OutboxMessage,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO outbox (topic, receiver, payload, trace_id, sender, causal_depth, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            message.topic,
            message.to.as_ref().map(Name::as_str),
            message.payload_json,
            message.trace_id.to_string(),
            message.sender.as_ref().map(Name::as_str),
            message.causal_depth,
            message.at.0,
        ])?;
    Ok(())
}

pub(super) fn delete_outbox_row(connection: &Connection, seq: i64) -> Result<(), WriteError> {
    let changed = connection
        .prepare_cached("DELETE FROM outbox WHERE seq = ?1")?
        .execute([seq])?;
    if changed == 1 {
        Ok(())
    } else {
        Err(WriteError::Refused(CommitError::Storage(format!(
            "outbox row {seq} was taken before"
        ))))
    }
}

const SIGNAL_COLUMNS: &str =
    "s.id, s.topic, s.payload, s.trace_id, s.sender, s.causal_depth, s.accepted_at, s.expires_at";

fn read_signal(row: &Row<'_>) -> rusqlite::Result<Signal> {
    Ok(Signal {
        id: parse_required(row, 0)?,
        topic: row.get(1)?,
        payload_json: row.get(2)?,
        trace_id: parse_required(row, 3)?,
        sender: parse_column(row, 4)?,
        causal_depth: row.get(5)?,
        accepted_at: Millis(row.get(6)?),
        expires_at: row.get::<_, Option<u64>>(7)?.map(Millis),
    })
}

impl Store {
    /// An agent's pending deliveries behind `after`, oldest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_deliveries(
        &self,
        agent: &Name,
        after: Option<SignalId>,
        limit: u32,
    ) -> Result<Vec<Signal>, ReadError> {
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {SIGNAL_COLUMNS} FROM deliveries d JOIN signals s ON s.id = d.signal_id
                     WHERE d.agent = ?1 AND d.status = 'pending' AND d.signal_id > ?2 ORDER BY d.signal_id LIMIT ?3"
                ))?
                .query_map(params![agent.as_str(), after, limit], read_signal)?
                .collect()
        })
    }

    /// Pending deliveries of signals whose time is over, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn expired_deliveries(
        &self,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<ExpiredDelivery>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT d.agent, s.id, s.trace_id FROM signals s JOIN deliveries d ON d.signal_id = s.id
                     WHERE s.expires_at <= ?1 AND d.status = 'pending' LIMIT ?2",
                )?
                .query_map(params![now.0, limit], |row| {
                    Ok(ExpiredDelivery {
                        agent: parse_required(row, 0)?,
                        signal: parse_required(row, 1)?,
                        trace_id: parse_required(row, 2)?,
                    })
                })?
                .collect()
        })
    }

    /// How many deliveries are pending for each agent that has any.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_counts(&self) -> Result<Vec<(Name, usize)>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT agent, count(*) FROM deliveries WHERE status = 'pending' GROUP BY agent",
                )?
                .query_map([], |row| Ok((parse_required(row, 0)?, row.get(1)?)))?
                .collect()
        })
    }

    /// The outbox, oldest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_outbox(&self, limit: u32) -> Result<Vec<OutboxRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT seq, topic, receiver, payload, trace_id, sender, causal_depth, at FROM outbox
                     ORDER BY seq LIMIT ?1",
                )?
                .query_map([limit], |row| {
                    Ok(OutboxRow {
                        seq: row.get(0)?,
                        message: OutboxMessage {
                            topic: row.get(1)?,
                            to: parse_column(row, 2)?,
                            payload_json: row.get(3)?,
                            trace_id: parse_required(row, 4)?,
                            sender: parse_column(row, 5)?,
                            causal_depth: row.get(6)?,
                            at: Millis(row.get(7)?),
                        },
                    })
                })?
                .collect()
        })
    }

    /// Everything of a trace, up to 1,000 rows of each kind.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn trace_rows(&self, trace_id: TraceId) -> Result<TraceRows, ReadError> {
        let text = trace_id.to_string();
        let (signals, deliveries, waiting_messages, open_approvals) = self.inner.readers.with_connection(|connection| {
            let signals: rusqlite::Result<Vec<Signal>> = connection
                .prepare_cached(&format!(
                    "SELECT {SIGNAL_COLUMNS} FROM signals s WHERE s.trace_id = ?1 ORDER BY s.id LIMIT 1000"
                ))?
                .query_map([&text], read_signal)?
                .collect();
            let deliveries: rusqlite::Result<Vec<DeliveryRow>> = connection
                .prepare_cached(
                    "SELECT d.signal_id, d.agent, d.status, d.reason, d.settled_at FROM signals s
                     JOIN deliveries d ON d.signal_id = s.id WHERE s.trace_id = ?1 ORDER BY s.id, d.agent LIMIT 1000",
                )?
                .query_map([&text], |row| {
                    Ok(DeliveryRow {
                        signal_id: parse_required(row, 0)?,
                        agent: parse_required(row, 1)?,
                        status: row.get(2)?,
                        reason: row.get(3)?,
                        settled_at: row.get::<_, Option<u64>>(4)?.map(Millis),
                    })
                })?
                .collect();
            let waiting_messages: u64 = connection
                .prepare_cached("SELECT count(*) FROM outbox WHERE trace_id = ?1")?
                .query_row([&text], |row| row.get(0))?;
            let open_approvals: rusqlite::Result<Vec<String>> = connection
                .prepare_cached(
                    "SELECT id FROM approvals WHERE status = 'open' AND trace_id = ?1 LIMIT 1000",
                )?
                .query_map([&text], |row| row.get(0))?
                .collect();
            Ok((signals?, deliveries?, waiting_messages, open_approvals?))
        })?;
        let filter = AuditFilter {
            trace_id: Some(trace_id),
            ..AuditFilter::default()
        };
        Ok(TraceRows {
            signals,
            deliveries,
            audit: self.audit_page(&filter, None, TRACE_ROWS)?,
            waiting_messages,
            open_approvals,
        })
    }
}
