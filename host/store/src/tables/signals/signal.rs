//! Signals and their deliveries.

use ark_model::ids::{AuditId, Digest, Millis, Name, SignalId, TraceId};
use ark_model::signal::Signal;
use rusqlite::{Connection, Row, params};

use crate::error::{CommitError, ReadError, WriteError};
use crate::query::{
    digest_column, execute_cached, millis_column, optional_millis, parse_column, parse_required,
    select_row,
};
use crate::reader::Reader;

/// A signal to be stored.
#[derive(Debug, Clone, PartialEq)]
pub struct NewSignal {
    /// The signal.
    pub signal: Signal,
    /// The idempotency key under which the signal is accepted once.
    pub key: Option<SignalKey>,
    /// The agents that receive it.
    pub deliver_to: Vec<Name>,
    /// The agents that would receive it but have too many signals waiting. Each gets a failed delivery.
    pub shed: Vec<Name>,
    /// The name of the token the signal came with. The audit log then has a row that names it.
    pub by: Option<String>,
}

/// An idempotency key of a signal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignalKey {
    /// The scope within which the key is unique.
    pub source: String,
    /// Where an earlier version kept the key. The same request under it there counts as this one.
    pub legacy_source: Option<&'static str>,
    /// The key.
    pub key: String,
    /// The digest of the request.
    pub request: Digest,
    /// The digest of the same request as an earlier version made it. A key stored with it counts as the same request.
    pub legacy_request: Option<Digest>,
}

/// What happened to a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalReceipt {
    /// The signal was stored.
    Accepted,
    /// A signal was stored under the same key before, and this one was not.
    Duplicate {
        /// The id of the first signal.
        id: SignalId,
        /// The trace of the first signal.
        trace_id: TraceId,
    },
}

/// The end of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DeliveryCompletion {
    /// The signal.
    pub signal: SignalId,
    /// The receiver.
    pub agent: Name,
    /// The result.
    pub result: DeliveryResult,
    /// When it was completed.
    pub at: Millis,
}

/// The result of a delivery.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryResult {
    /// The agent handled the signal.
    Done,
    /// The delivery failed.
    Failed {
        /// Why it failed.
        reason: String,
        /// The row of the audit log about the failure.
        failure: AuditId,
    },
}

/// A pending delivery of a signal that has expired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ExpiredDelivery {
    /// The receiver.
    pub agent: Name,
    /// The signal.
    pub signal: SignalId,
    /// The trace of the signal.
    pub trace_id: TraceId,
}

/// The reason of a delivery that was shed.
const SHED_REASON: &str = "shed: too many signals are waiting for the agent";

/// Stores a signal with its deliveries, unless its key was used before.
pub(crate) fn write_signal(
    connection: &Connection,
    new: &NewSignal,
) -> Result<SignalReceipt, WriteError> {
    if let Some(key) = &new.key {
        if let Some(duplicate) = find_duplicate(connection, key)? {
            return Ok(duplicate);
        }
        execute_cached(
            connection,
            "INSERT INTO signal_keys (source, key, request, signal_id) VALUES (?1, ?2, ?3, ?4)",
            params![
                key.source,
                key.key,
                key.request.as_bytes(),
                new.signal.id.to_string()
            ],
        )?;
    }
    let signal = &new.signal;
    let id = signal.id.to_string();
    execute_cached(
        connection,
        "INSERT INTO signals (id, topic, payload, trace_id, sender, causal_depth, accepted_at, expires_at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        params![
            id,
            signal.topic,
            signal.payload_json,
            signal.trace_id.to_string(),
            signal.sender.as_ref().map(Name::as_str),
            signal.causal_depth,
            signal.accepted_at.0,
            signal.expires_at.map(|at| at.0),
        ],
    )?;
    for agent in &new.shed {
        execute_cached(
            connection,
            "INSERT INTO deliveries (agent, signal_id, status, reason, settled_at) VALUES (?1, ?2, 'failed', ?3, ?4)",
            params![agent.as_str(), id, SHED_REASON, signal.accepted_at.0],
        )?;
    }
    for agent in &new.deliver_to {
        execute_cached(
            connection,
            "INSERT INTO deliveries (agent, signal_id, status) VALUES (?1, ?2, 'pending')",
            params![agent.as_str(), id],
        )?;
    }
    Ok(SignalReceipt::Accepted)
}

/// What a key of a signal came with before.
enum KeyUse {
    /// The same request, which has this receipt.
    SameRequest(SignalReceipt),
    OtherRequest,
}

/// The signal that was stored under this key before. A key that came with another request is refused.
fn find_duplicate(
    connection: &Connection,
    key: &SignalKey,
) -> Result<Option<SignalReceipt>, WriteError> {
    match find_use(connection, key)? {
        None => Ok(None),
        Some(KeyUse::SameRequest(duplicate)) => Ok(Some(duplicate)),
        Some(KeyUse::OtherRequest) => Err(WriteError::refuse(CommitError::KeyReused {
            key: key.key.clone(),
        })),
    }
}

fn find_use(connection: &Connection, key: &SignalKey) -> rusqlite::Result<Option<KeyUse>> {
    let is_same = |request: Digest| request == key.request || Some(request) == key.legacy_request;
    if let Some((request, duplicate)) = find_key(connection, &key.source, &key.key)? {
        return Ok(Some(if is_same(request) {
            KeyUse::SameRequest(duplicate)
        } else {
            KeyUse::OtherRequest
        }));
    }
    let Some(source) = key.legacy_source else {
        return Ok(None);
    };
    // Another request there may be another caller's.
    let seen = find_key(connection, source, &key.key)?;
    Ok(seen
        .filter(|(request, _)| is_same(*request))
        .map(|(_, duplicate)| KeyUse::SameRequest(duplicate)))
}

/// Returns the request that came with a key, and its signal.
fn find_key(
    connection: &Connection,
    source: &str,
    key: &str,
) -> rusqlite::Result<Option<(Digest, SignalReceipt)>> {
    select_row(
        connection,
        "SELECT k.request, s.id, s.trace_id FROM signal_keys k JOIN signals s ON s.id = k.signal_id
         WHERE k.source = ?1 AND k.key = ?2",
        [source, key],
        |row| {
            let duplicate = SignalReceipt::Duplicate {
                id: parse_required(row, 1)?,
                trace_id: parse_required(row, 2)?,
            };
            Ok((digest_column(row, 0)?, duplicate))
        },
    )
}

/// Completes a delivery that is pending.
pub(crate) fn complete_delivery(
    connection: &Connection,
    completion: &DeliveryCompletion,
) -> Result<(), WriteError> {
    let (status, reason, failure) = match &completion.result {
        DeliveryResult::Done => ("done", None, None),
        DeliveryResult::Failed { reason, failure } => ("failed", Some(reason), Some(failure)),
    };
    let changed = execute_cached(
        connection,
        "UPDATE deliveries SET status = ?1, reason = ?2, failure = ?3, settled_at = ?4
         WHERE agent = ?5 AND signal_id = ?6 AND status = 'pending'",
        params![
            status,
            reason,
            failure.map(ToString::to_string),
            completion.at.0,
            completion.agent.as_str(),
            completion.signal.to_string()
        ],
    )?;
    if changed == 1 {
        return Ok(());
    }
    Err(WriteError::refuse(CommitError::DeliveryNotPending {
        agent: completion.agent.clone(),
    }))
}

/// Fails every pending delivery of an agent for the same reason. Returns how many there were.
pub(crate) fn close_pending_deliveries(
    connection: &Connection,
    agent: &Name,
    reason: &str,
    at: Millis,
) -> rusqlite::Result<u64> {
    let closed = execute_cached(
        connection,
        "UPDATE deliveries SET status = 'failed', reason = ?1, settled_at = ?2
         WHERE agent = ?3 AND status = 'pending'",
        params![reason, at.0, agent.as_str()],
    )?;
    Ok(closed as u64)
}

/// The columns that [`read_signal`] reads, of a table named s.
pub(super) const SIGNAL_COLUMNS: &str =
    "s.id, s.topic, s.payload, s.trace_id, s.sender, s.causal_depth, s.accepted_at, s.expires_at";

pub(super) fn read_signal(row: &Row<'_>) -> rusqlite::Result<Signal> {
    Ok(Signal {
        id: parse_required(row, 0)?,
        topic: row.get(1)?,
        payload_json: row.get(2)?,
        trace_id: parse_required(row, 3)?,
        sender: parse_column(row, 4)?,
        causal_depth: row.get(5)?,
        accepted_at: millis_column(row, 6)?,
        expires_at: optional_millis(row, 7)?,
    })
}

impl Reader {
    /// The receipt of the signal that was stored under this key with the same request, if there is one.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn find_signal_receipt(&self, key: &SignalKey) -> Result<Option<SignalReceipt>, ReadError> {
        let found = self.with_connection(|connection| find_use(connection, key))?;
        Ok(match found {
            Some(KeyUse::SameRequest(receipt)) => Some(receipt),
            Some(KeyUse::OtherRequest) | None => None,
        })
    }

    /// The pending deliveries, each as its agent and its signal, in the order of the signals.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_deliveries(&self) -> Result<Vec<(Name, SignalId)>, ReadError> {
        self.select_rows(
            "SELECT agent, signal_id FROM deliveries WHERE status = 'pending' ORDER BY signal_id, agent",
            [],
            |row| Ok((parse_required(row, 0)?, parse_required(row, 1)?)),
        )
    }

    /// The signals an agent has pending deliveries of, oldest first. It looks at what is pending for other agents, too.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_deliveries_of(&self, agent: &Name) -> Result<Vec<SignalId>, ReadError> {
        self.select_rows(
            "SELECT signal_id FROM deliveries WHERE agent = ?1 AND status = 'pending' ORDER BY signal_id",
            [agent.as_str()],
            |row| parse_required(row, 0),
        )
    }

    /// Those of the signals of which a delivery to the agent is pending, in their order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_signals(
        &self,
        agent: &Name,
        signals: impl IntoIterator<Item = SignalId>,
    ) -> Result<Vec<Signal>, ReadError> {
        let sql = format!(
            "SELECT {SIGNAL_COLUMNS} FROM deliveries d JOIN signals s ON s.id = d.signal_id
             WHERE d.signal_id = ?1 AND d.agent = ?2 AND d.status = 'pending'"
        );
        self.with_snapshot(|connection| {
            let mut found = Vec::new();
            for signal in signals {
                let key = params![signal.to_string(), agent.as_str()];
                found.extend(select_row(connection, &sql, key, read_signal)?);
            }
            Ok(found)
        })
    }

    /// Pending deliveries of signals that have expired, at most `limit`.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn expired_deliveries(
        &self,
        now: Millis,
        limit: u32,
    ) -> Result<Vec<ExpiredDelivery>, ReadError> {
        self.select_rows(
            "SELECT d.agent, s.id, s.trace_id FROM signals s JOIN deliveries d ON d.signal_id = s.id
             WHERE s.expires_at <= ?1 AND d.status = 'pending' LIMIT ?2",
            params![now.0, limit],
            |row| {
                Ok(ExpiredDelivery {
                    agent: parse_required(row, 0)?,
                    signal: parse_required(row, 1)?,
                    trace_id: parse_required(row, 2)?,
                })
            },
        )
    }

    /// How many deliveries are pending, for each agent that has any.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_counts(&self) -> Result<Vec<(Name, usize)>, ReadError> {
        self.select_rows(
            "SELECT agent, count(*) FROM deliveries WHERE status = 'pending' GROUP BY agent",
            [],
            |row| Ok((parse_required(row, 0)?, row.get(1)?)),
        )
    }

    /// How many deliveries are pending for an agent.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn pending_count(&self, agent: &Name) -> Result<usize, ReadError> {
        self.select_value(
            "SELECT count(*) FROM deliveries WHERE agent = ?1 AND status = 'pending'",
            [agent.as_str()],
        )
    }
}
