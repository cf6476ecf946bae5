//! Orders reach every host of a fleet, through a stream in Redis.
//!
//! What was ordered here is read from the audit log and appended to the stream; what the others appended is carried out here. The place in
//! both is kept in the database, so that neither a Redis nor a host that was down loses an order.
//!
//! Invariants: an entry counts only if it is encrypted with the fleet's key; each is carried out once, under its origin and place as
//! idempotency key; where two hosts order the opposite at the same time, all end with what stands last in the stream.

use std::collections::HashMap;
use std::time::Duration;

use redis::{Client, Connection};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::hrm::{HrmError, IdempotencyKey, IssuedOrder};
use ark_model::control::Order;
use ark_model::ids::{Digest, Millis, Name, TraceId};
use ark_store::{FleetCursor, SecretKey, Unit};

use super::WatchdogDeps;

/// How often orders are exchanged.
pub(super) const EXCHANGE_INTERVAL: Duration = Duration::from_millis(200);
/// How long Redis may take to answer.
const REDIS_TIMEOUT: Duration = Duration::from_secs(2);
/// How many orders are exchanged at once.
const ORDERS_PER_EXCHANGE: u32 = 100;
/// About how many orders the stream keeps: a host that missed more must be told by hand.
const STREAM_MAX_LENGTH: &str = "100000";

/// Which fleet.
#[derive(Debug, Clone)]
pub struct FleetConfig {
    /// The address of its Redis.
    pub url: String,
    /// Its stream.
    pub stream: String,
    /// The key that all its hosts share.
    pub key: SecretKey,
}

/// How far the orders have come.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct FleetStatus {
    /// The stream.
    pub stream: String,
    /// This host's name in the fleet.
    pub origin: Option<String>,
    /// Rows of the audit log whose orders the others can read.
    pub published: u64,
    /// The last entry of the stream that was read.
    pub read: String,
    /// Entries that were not from a host of the fleet, since the start.
    pub refused: u64,
    /// Why orders are not exchanged now.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// An entry of the stream, before it is encrypted.
#[derive(Serialize, Deserialize)]
struct FleetEntry {
    origin: String,
    seq: u64,
    at_ms: Millis,
    by: String,
    reason: String,
    order: Order,
}

/// Why orders are not exchanged.
#[derive(Debug, thiserror::Error)]
enum FleetError {
    #[error("the Redis: {0}")]
    Redis(#[from] redis::RedisError),
    #[error("{0}")]
    Store(String),
    #[error("an order could not be carried out: {0}")]
    Order(HrmError),
}

/// What an order is about: the whole host, or an agent.
type Subject = Option<Name>;

/// This host's part in the fleet.
pub(super) struct Fleet {
    config: FleetConfig,
    connection: Option<Connection>,
    cursor: Option<FleetCursor>,
    /// When an order of another host was last carried out here, and this host's own last order, by subject.
    last_foreign: HashMap<Subject, Millis>,
    last_own: HashMap<Subject, u64>,
    refused: u64,
}

/// A stream's entries as Redis gives them: by stream, each with its id and its names and values in turn.
type Streams = Option<Vec<(String, Vec<(String, Vec<String>)>)>>;

impl Fleet {
    pub(super) fn new(config: FleetConfig) -> Self {
        Self {
            config,
            connection: None,
            cursor: None,
            last_foreign: HashMap::new(),
            last_own: HashMap::new(),
            refused: 0,
        }
    }

    /// Hands on what was ordered here and carries out what the others ordered.
    pub(super) fn exchange_orders(&mut self, watched: &WatchdogDeps) -> FleetStatus {
        let result = self.try_exchange(watched);
        if let Err(error) = &result {
            self.connection = None;
            tracing::debug!(%error, "orders are not exchanged with the fleet");
        }
        self.to_status(result)
    }

    /// Takes its place in the fleet, without Redis. Before the host serves: an order given at a host without a place would be taken for one
    /// from before it joined, and stay its own.
    pub(super) fn join_fleet(&mut self, watched: &WatchdogDeps) -> FleetStatus {
        let result = load_cursor(watched).map(|place| self.cursor = Some(place));
        self.to_status(result)
    }

    fn to_status(&self, result: Result<(), FleetError>) -> FleetStatus {
        FleetStatus {
            stream: self.config.stream.clone(),
            origin: self.cursor.as_ref().map(|place| place.origin.clone()),
            published: self.cursor.as_ref().map_or(0, |place| place.published_seq),
            read: self
                .cursor
                .as_ref()
                .map(|place| place.last_applied.clone())
                .unwrap_or_default(),
            refused: self.refused,
            problem: result.err().map(|error| error.to_string()),
        }
    }

    fn try_exchange(&mut self, watched: &WatchdogDeps) -> Result<(), FleetError> {
        let mut place = match self.cursor.clone() {
            Some(place) => place,
            None => load_cursor(watched)?,
        };
        self.cursor = Some(place.clone());
        let before = place.clone();
        let result = self
            .publish_orders(watched, &mut place)
            .and_then(|()| self.read_orders(watched, &mut place));
        if place != before {
            let unit = Unit {
                fleet: Some(place.clone()),
                ..Unit::default()
            };
            watched.store.commit(unit).map_err(store_error)?;
            self.cursor = Some(place);
        }
        result
    }

    fn connect(&mut self) -> Result<&mut Connection, FleetError> {
        if self.connection.is_none() {
            let client = Client::open(self.config.url.as_str())?;
            let connection = client.get_connection_with_timeout(REDIS_TIMEOUT)?;
            connection.set_read_timeout(Some(REDIS_TIMEOUT))?;
            connection.set_write_timeout(Some(REDIS_TIMEOUT))?;
            self.connection = Some(connection);
        }
        self.connection
            .as_mut()
            .ok_or_else(|| FleetError::Store("there is no connection".to_owned()))
    }

    fn publish_orders(
        &mut self,
        watched: &WatchdogDeps,
        place: &mut FleetCursor,
    ) -> Result<(), FleetError> {
        let rows = watched
            .store
            .orders_since(place.published_seq, ORDERS_PER_EXCHANGE)
            .map_err(store_error)?;
        for row in rows {
            if let Some((order, body)) = parse_own_order(&row.body) {
                self.last_own.insert(order.agent().cloned(), row.seq);
                let entry = FleetEntry {
                    origin: place.origin.clone(),
                    seq: row.seq,
                    at_ms: row.at,
                    by: body["by"].as_str().unwrap_or_default().to_owned(),
                    reason: body["reason"].as_str().unwrap_or_default().to_owned(),
                    order,
                };
                let text = serde_json::to_string(&entry).map_err(store_error)?;
                let stream = self.config.stream.clone();
                let sealed = self
                    .config
                    .key
                    .seal_message(&stream, &text)
                    .map_err(store_error)?;
                redis::cmd("XADD")
                    .arg(&stream)
                    .arg(&["MAXLEN", "~", STREAM_MAX_LENGTH, "*", "order", &sealed])
                    .query::<String>(self.connect()?)?;
            }
            place.published_seq = row.seq;
        }
        Ok(())
    }

    fn read_orders(
        &mut self,
        watched: &WatchdogDeps,
        place: &mut FleetCursor,
    ) -> Result<(), FleetError> {
        let stream = self.config.stream.clone();
        let streams: Streams = redis::cmd("XREAD")
            .arg("COUNT")
            .arg(ORDERS_PER_EXCHANGE)
            .arg("STREAMS")
            .arg(&stream)
            .arg(&place.last_applied)
            .query(self.connect()?)?;
        for (id, fields) in streams
            .into_iter()
            .flatten()
            .flat_map(|(_, entries)| entries)
        {
            let sealed = fields
                .chunks_exact(2)
                .find_map(|pair| (pair[0] == "order").then_some(&pair[1]));
            let entry = sealed
                .and_then(|sealed| self.config.key.open_message(&stream, sealed).ok())
                .and_then(|text| serde_json::from_str::<FleetEntry>(&text).ok());
            match entry {
                Some(entry) => {
                    self.execute_entry(watched, &place.origin, place.published_seq, entry)?
                }
                None => {
                    self.refused += 1;
                    tracing::error!(
                        stream,
                        id,
                        "an entry is not from a host of the fleet: refused"
                    );
                }
            }
            place.last_applied = id;
        }
        Ok(())
    }

    fn execute_entry(
        &mut self,
        watched: &WatchdogDeps,
        origin: &str,
        published: u64,
        entry: FleetEntry,
    ) -> Result<(), FleetError> {
        let subject: Subject = entry.order.agent().cloned();
        let mut key = format!("{}-{}", entry.origin, entry.seq);
        if entry.origin == origin {
            // Its own order, in force since it was given: unless another host's overtook it on the way to the stream.
            let overtaken = self
                .last_foreign
                .get(&subject)
                .is_some_and(|applied| *applied >= entry.at_ms);
            let latest = self
                .last_own
                .get(&subject)
                .is_none_or(|seq| *seq <= entry.seq);
            if !overtaken || !latest {
                return Ok(());
            }
            let waiting = watched
                .store
                .orders_since(published, ORDERS_PER_EXCHANGE)
                .map_err(store_error)?;
            // What is not even in the stream yet comes behind this one, for everybody.
            if waiting
                .iter()
                .any(|row| row.agent == subject && parse_own_order(&row.body).is_some())
            {
                return Ok(());
            }
            key.push_str("-again");
        }
        let instruction = IssuedOrder {
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
        let (reply, answer) = crossbeam_channel::bounded(1);
        watched.hrm.carry_out_order(
            instruction,
            Box::new(move |result| drop(reply.send(result))),
        );
        let result = answer.recv().unwrap_or(Err(HrmError::Closed));
        // An own order that was given before this moment may be undone by this one, and is given again when its turn comes.
        self.last_foreign.insert(subject, Millis::now());
        match result {
            // Nothing to be ended here: that is what the order wants.
            Ok(_) | Err(HrmError::OrderNotApplicable(_) | HrmError::KeyReused) => Ok(()),
            Err(error) => Err(FleetError::Order(error)),
        }
    }
}

/// The order of a row with the rest of it. `None`: it came from another host, so it is in the stream already; or it is no order.
fn parse_own_order(body: &str) -> Option<(Order, Value)> {
    let body: Value = serde_json::from_str(body).ok()?;
    let order = serde_json::from_value(body.clone()).ok()?;
    body["from"].is_null().then_some((order, body))
}

/// Takes a place in the fleet: what was ordered here before is this host's own affair, what the fleet ordered holds here too.
fn load_cursor(watched: &WatchdogDeps) -> Result<FleetCursor, FleetError> {
    if let Some(place) = watched.store.fleet_cursor().map_err(store_error)? {
        return Ok(place);
    }
    let place = FleetCursor::for_new_host(
        watched
            .store
            .last_event_cursor()
            .map_err(store_error)?
            .audit_seq,
        "0-0".to_owned(),
    );
    let unit = Unit {
        fleet: Some(place.clone()),
        ..Unit::default()
    };
    watched.store.commit(unit).map_err(store_error)?;
    Ok(place)
}

fn store_error(error: impl std::fmt::Display) -> FleetError {
    FleetError::Store(error.to_string())
}
