//! The watchdog's look at a Redis: does it answer, how fast, and how much waits in its queue.
//!
//! It only reads. A Redis that is not configured is not watched.

use std::time::{Duration, Instant};

use redis::{Client, Connection};
use serde::Serialize;

/// Which Redis, and what is too much.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisWatchConfig {
    /// Its address, e.g. `redis://127.0.0.1:6379/0`.
    pub url: String,
    /// The queue: a stream or a list.
    pub queue: String,
    /// How often it is looked at.
    pub interval: Duration,
    /// How long an answer may take; longer is an alert.
    pub latency: Duration,
    /// How much may wait; more is an alert.
    pub depth: u64,
}

impl RedisWatchConfig {
    /// Checks that an address of a Redis can be used.
    ///
    /// # Errors
    /// The address is malformed; the text says what is wrong and what to give, to be read after the name of the key.
    pub fn check_url(url: &str) -> Result<(), String> {
        Client::open(url)
            .map(drop)
            .map_err(|error| format!("is refused: {error}; give redis://HOST:PORT/DATABASE"))
    }
}

/// What was seen at the last look.
#[derive(Debug, Clone, PartialEq, Serialize, utoipa::ToSchema)]
pub struct RedisStatus {
    /// How long a PING took, in milliseconds; `None`: it did not answer.
    pub latency_ms: Option<f64>,
    /// How much waits in the queue.
    pub depth: Option<u64>,
    /// Why it did not answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// Looks at a Redis, over one connection as long as that holds.
pub(super) struct RedisProbe {
    config: RedisWatchConfig,
    connection: Option<Connection>,
}

impl RedisProbe {
    pub(super) const fn new(watch: RedisWatchConfig) -> Self {
        Self {
            config: watch,
            connection: None,
        }
    }

    /// One look. Blocks for the watch's interval at most, several times over.
    pub(super) fn check_status(&mut self) -> RedisStatus {
        match self.measure_queue() {
            Ok((latency, depth)) => RedisStatus {
                latency_ms: Some(latency.as_secs_f64() * 1e3),
                depth: Some(depth),
                problem: None,
            },
            Err(error) => {
                self.connection = None;
                RedisStatus {
                    latency_ms: None,
                    depth: None,
                    problem: Some(error.to_string()),
                }
            }
        }
    }

    fn measure_queue(&mut self) -> redis::RedisResult<(Duration, u64)> {
        if self.connection.is_none() {
            let client = Client::open(self.config.url.as_str())?;
            let connection = client.get_connection_with_timeout(self.config.interval)?;
            connection.set_read_timeout(Some(self.config.interval))?;
            connection.set_write_timeout(Some(self.config.interval))?;
            self.connection = Some(connection);
        }
        let Some(connection) = &mut self.connection else {
            return Ok((Duration::ZERO, 0));
        };
        let asked = Instant::now();
        redis::cmd("PING").query::<String>(connection)?;
        let latency = asked.elapsed();
        let kind: String = redis::cmd("TYPE")
            .arg(&self.config.queue)
            .query(connection)?;
        let length = match kind.as_str() {
            "stream" => "XLEN",
            "list" => "LLEN",
            // There is none yet: nothing waits.
            "none" => return Ok((latency, 0)),
            _ => {
                let problem = (
                    redis::ErrorKind::UnexpectedReturnType,
                    "the queue is neither a stream nor a list",
                );
                return Err(problem.into());
            }
        };
        let depth = redis::cmd(length)
            .arg(&self.config.queue)
            .query(connection)?;
        Ok((latency, depth))
    }
}
