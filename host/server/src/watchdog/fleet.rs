//! Shares orders with the other hosts of a fleet, through a stream in Redis.
//!
//! Orders given at this host are read from its audit log and appended to the stream; orders that other hosts appended are carried out here.
//! How far both have come is kept in the database ([`FleetCursor`]), so that neither a Redis nor a host that was down loses an order.
//!
//! Invariants: an entry counts only if it is encrypted with the fleet's key; each is carried out once, under its origin and sequence number as
//! idempotency key; where two hosts give opposite orders at the same time, all hosts end with the order that is last in the stream.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use ark_model::control::Order;
use ark_model::ids::{Digest, Millis, Name, TraceId};
use ark_store::{CommitError, FleetCursor, ReadError, SecretError, Unit};

use crate::hrm::{HrmError, IdempotencyKey, IssuedOrder};
use crate::redis::{LinkError, RedisLink};
use crate::reply::ask_blocking;

use super::config::{FleetConfig, WatchdogDeps};

/// How often a round of sharing orders runs.
pub(super) const ROUND_INTERVAL: Duration = Duration::from_millis(200);
/// How long the Redis may take for one command.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);
/// How many orders are read or written in one round.
const ORDERS_PER_ROUND: u32 = 100;
/// About how many orders the stream keeps. A host that missed more does not learn of the oldest.
const STREAM_MAX_LENGTH: &str = "100000";

/// How far orders were shared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetStatus {
    /// The key of the stream.
    pub stream: String,
    /// This host's name in the fleet; absent: it could not join yet.
    pub origin: Option<String>,
    /// The row of the audit log up to which orders are in the stream.
    pub published: u64,
    /// The last entry of the stream that was read.
    pub read: String,
    /// Entries since the start that no host of the fleet can have written.
    pub refused: u64,
    /// Why orders cannot be shared now.
    pub problem: Option<String>,
}

/// An entry of the stream before it is encrypted.
#[derive(Serialize, Deserialize)]
struct FleetEntry {
    /// The host at which the order was given, and the order's row in its audit log.
    origin: String,
    seq: u64,
    at_ms: Millis,
    by: String,
    reason: String,
    order: Order,
}

/// Why orders cannot be shared.
#[derive(Debug, thiserror::Error)]
enum FleetError {
    #[error(transparent)]
    Link(#[from] LinkError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Commit(#[from] CommitError),
    #[error("an order cannot be encoded: {0}")]
    Encode(#[from] serde_json::Error),
    #[error("an order cannot be encrypted: {0}")]
    Encrypt(#[from] SecretError),
    #[error("an order could not be carried out: {0}")]
    Order(#[source] HrmError),
}

impl From<redis::RedisError> for FleetError {
    fn from(error: redis::RedisError) -> Self {
        Self::Link(error.into())
    }
}

/// What an order is about: an agent, or with `None` the whole host.
type OrderSubject = Option<Name>;

/// A stream's entries as Redis returns them: for each stream its entries, each with its id and its names and values in turn.
type OrderStreamReply = Option<Vec<(String, Vec<(String, Vec<String>)>)>>;

/// This host's part in the fleet.
pub(super) struct Fleet {
    link: RedisLink,
    config: FleetConfig,
    cursor: Option<FleetCursor>,
    /// When an order of another host was last carried out here, by subject.
    last_foreign: HashMap<OrderSubject, Millis>,
    /// The row of the last order given here, by subject.
    last_own: HashMap<OrderSubject, u64>,
    refused: u64,
}

impl Fleet {
    pub(super) fn new(config: FleetConfig) -> Self {
        Self {
            link: RedisLink::new(Arc::clone(&config.redis), REDIS_TIMEOUT),
            config,
            cursor: None,
            last_foreign: HashMap::new(),
            last_own: HashMap::new(),
            refused: 0,
        }
    }

    /// Publishes the orders given here and carries out those of the other hosts.
    pub(super) fn share_orders(&mut self, deps: &WatchdogDeps) -> FleetStatus {
        let result = self.run_round(deps);
        if let Err(error) = &result {
            if let FleetError::Link(error) = error {
                self.link.record_failure(error);
            }
            tracing::debug!(%error, "orders are not shared with the fleet");
        }
        self.to_status(result)
    }

    /// Takes a place in the fleet, without Redis. It must come before the host serves: an order given before that counts as one from before
    /// the host joined, and is not published.
    pub(super) fn join_fleet(&mut self, deps: &WatchdogDeps) -> FleetStatus {
        let result = load_cursor(deps).map(|cursor| self.cursor = Some(cursor));
        self.to_status(result)
    }

    fn to_status(&self, result: Result<(), FleetError>) -> FleetStatus {
        let cursor = self.cursor.as_ref();
        FleetStatus {
            stream: self.config.stream.clone(),
            origin: cursor.map(|cursor| cursor.origin.clone()),
            published: cursor.map_or(0, |cursor| cursor.published_seq),
            read: cursor
                .map(|cursor| cursor.last_applied.clone())
                .unwrap_or_default(),
            refused: self.refused,
            problem: result.err().map(|error| error.to_string()),
        }
    }

    fn run_round(&mut self, deps: &WatchdogDeps) -> Result<(), FleetError> {
        let before = match self.cursor.clone() {
            Some(cursor) => cursor,
            None => load_cursor(deps)?,
        };
        self.cursor = Some(before.clone());
        let mut cursor = before.clone();
        let result = self
            .publish_orders(deps, &mut cursor)
            .and_then(|()| self.read_orders(deps, &mut cursor));
        if cursor != before {
            store_cursor(deps, &cursor)?;
            self.cursor = Some(cursor);
        }
        result
    }

    /// Appends the orders given here since the last round to the stream.
    fn publish_orders(
        &mut self,
        deps: &WatchdogDeps,
        cursor: &mut FleetCursor,
    ) -> Result<(), FleetError> {
        let rows = deps
            .store
            .orders_since(cursor.published_seq, ORDERS_PER_ROUND)?;
        for row in rows {
            if let Some((order, body)) = parse_own_order(&row.body) {
                self.last_own.insert(order.agent().cloned(), row.seq);
                let entry = FleetEntry {
                    origin: cursor.origin.clone(),
                    seq: row.seq,
                    at_ms: row.at,
                    by: body["by"].as_str().unwrap_or_default().to_owned(),
                    reason: body["reason"].as_str().unwrap_or_default().to_owned(),
                    order,
                };
                let text = serde_json::to_string(&entry)?;
                let stream = self.config.stream.clone();
                let sealed = self.config.key.seal_message(&stream, &text)?;
                redis::cmd("XADD")
                    .arg(&stream)
                    .arg(&["MAXLEN", "~", STREAM_MAX_LENGTH, "*", "order", &sealed])
                    .query::<String>(self.link.connect()?)?;
            }
            cursor.published_seq = row.seq;
        }
        Ok(())
    }

    /// Carries out the orders that were appended since the last round.
    fn read_orders(
        &mut self,
        deps: &WatchdogDeps,
        cursor: &mut FleetCursor,
    ) -> Result<(), FleetError> {
        let stream = self.config.stream.clone();
        let reply: OrderStreamReply = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(ORDERS_PER_ROUND)
            .arg("STREAMS")
            .arg(&stream)
            .arg(&cursor.last_applied)
            .query(self.link.connect()?)?;
        self.link.record_success();
        let streams = reply.into_iter().flatten();
        for (id, fields) in streams.flat_map(|(_, entries)| entries) {
            let sealed = fields
                .chunks_exact(2)
                .find_map(|pair| (pair[0] == "order").then_some(&pair[1]));
            let entry = sealed
                .and_then(|sealed| self.config.key.open_message(&stream, sealed).ok())
                .and_then(|text| serde_json::from_str::<FleetEntry>(&text).ok());
            match entry {
                Some(entry) => self.execute_entry(deps, cursor, entry)?,
                None => {
                    self.refused += 1;
                    tracing::error!(
                        stream,
                        id,
                        "an entry was refused: no host of the fleet can have written it"
                    );
                }
            }
            cursor.last_applied = id;
        }
        Ok(())
    }

    fn execute_entry(
        &mut self,
        deps: &WatchdogDeps,
        cursor: &FleetCursor,
        entry: FleetEntry,
    ) -> Result<(), FleetError> {
        let subject: OrderSubject = entry.order.agent().cloned();
        let mut key = format!("{}-{}", entry.origin, entry.seq);
        if entry.origin == cursor.origin {
            if !self.must_repeat(deps, cursor, &subject, &entry)? {
                return Ok(());
            }
            key.push_str("-again");
        }
        let order = IssuedOrder {
            order: entry.order,
            trace_id: TraceId::fresh(),
            reason: entry.reason,
            by: entry.by,
            origin_host: Some(entry.origin),
            idempotency: Some(IdempotencyKey {
                legacy_digest: None,
                request_digest: Digest::hash_bytes(key.as_bytes()),
                key,
            }),
        };
        let result = ask_blocking(|reply| deps.hrm.carry_out_order(order, reply));
        // This order may undo one that was given here before this moment. That one is repeated when its own entry is read.
        self.last_foreign.insert(subject, Millis::now());
        match result {
            // There was nothing to end here, which is what the order wants.
            Ok(_) | Err(HrmError::OrderNotApplicable(_) | HrmError::KeyReused) => Ok(()),
            Err(error) => Err(FleetError::Order(error)),
        }
    }

    /// Returns whether an order given here must be carried out again. It has been in force since it was given, unless an order of another host
    /// was carried out in between: that one is before it in the stream, so this one counts. An order about the same subject that was given
    /// here later makes the repetition unnecessary.
    fn must_repeat(
        &self,
        deps: &WatchdogDeps,
        cursor: &FleetCursor,
        subject: &OrderSubject,
        entry: &FleetEntry,
    ) -> Result<bool, FleetError> {
        let is_overtaken = self
            .last_foreign
            .get(subject)
            .is_some_and(|applied_at| *applied_at >= entry.at_ms);
        let last_own = self.last_own.get(subject);
        let is_latest = last_own.is_none_or(|seq| *seq <= entry.seq);
        if !is_overtaken || !is_latest {
            return Ok(false);
        }
        // Orders that are not in the stream yet come after this one at every host.
        let unpublished = deps
            .store
            .orders_since(cursor.published_seq, ORDERS_PER_ROUND)?;
        Ok(!unpublished
            .iter()
            .any(|row| row.agent == *subject && parse_own_order(&row.body).is_some()))
    }
}

/// Returns the order of an audit row and the row's body. `None`: the order came from another host, so it is in the stream already; or the row
/// holds no order.
fn parse_own_order(body: &str) -> Option<(Order, Value)> {
    let body: Value = serde_json::from_str(body).ok()?;
    let order = serde_json::from_value(body.clone()).ok()?;
    body["from"].is_null().then_some((order, body))
}

/// Returns this host's cursor. A host that joins now gets a name and a cursor: orders given here before are not published, and all orders in
/// the stream are carried out here.
fn load_cursor(deps: &WatchdogDeps) -> Result<FleetCursor, FleetError> {
    if let Some(cursor) = deps.store.fleet_cursor()? {
        return Ok(cursor);
    }
    let published_seq = deps.store.last_event_cursor()?.audit_seq;
    let cursor = FleetCursor::for_new_host(published_seq, "0-0".to_owned());
    store_cursor(deps, &cursor)?;
    Ok(cursor)
}

fn store_cursor(deps: &WatchdogDeps, cursor: &FleetCursor) -> Result<(), FleetError> {
    deps.store.commit(Unit {
        may_use_reserve: true,
        fleet: Some(cursor.clone()),
        ..Unit::default()
    })?;
    Ok(())
}
