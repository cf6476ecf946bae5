//! Measures a Redis: whether it answers, how fast, and how much waits in its queue. It only reads.

use std::time::{Duration, Instant};

use redis::{Client, Connection};

/// Which Redis is measured, and from when on there are alerts.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisWatchConfig {
    /// Its address, e.g. `redis://127.0.0.1:6379/0`.
    pub url: String,
    /// The key of its queue, which is a stream or a list.
    pub queue: String,
    /// How often it is measured, and how long it may take to answer.
    pub interval: Duration,
    /// The latency that the alert `redis_latency` is graded by.
    pub latency: Duration,
    /// The number of entries in the queue that the alert `redis_depth` is graded by.
    pub depth: u64,
}

impl RedisWatchConfig {
    /// Checks that an address of a Redis can be used.
    ///
    /// # Errors
    /// The address is malformed. The text says what is wrong and what to give, and is read after the name of the key.
    pub fn check_url(url: &str) -> Result<(), String> {
        Client::open(url)
            .map(drop)
            .map_err(|error| format!("is refused: {error}; give redis://HOST:PORT/DATABASE"))
    }
}

/// The last measurement of a Redis.
#[derive(Debug, Clone, PartialEq)]
pub struct RedisStatus {
    /// How long it took to answer a PING, in milliseconds; absent: it did not answer.
    pub latency_ms: Option<f64>,
    /// How many entries the queue has; absent: it did not answer.
    pub depth: Option<u64>,
    /// Why it could not be measured.
    pub problem: Option<String>,
}

/// Measures a Redis over one connection, and connects again when that fails.
pub(super) struct RedisProbe {
    config: RedisWatchConfig,
    connection: Option<Connection>,
}

impl RedisProbe {
    pub(super) const fn new(config: RedisWatchConfig) -> Self {
        Self {
            config,
            connection: None,
        }
    }

    /// Measures once. Blocks for up to the interval for each of its commands.
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
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(open_connection(&self.config.url, self.config.interval)?),
        };
        let asked_at = Instant::now();
        redis::cmd("PING").query::<String>(connection)?;
        let latency = asked_at.elapsed();
        let kind: String = redis::cmd("TYPE")
            .arg(&self.config.queue)
            .query(connection)?;
        let length = match kind.as_str() {
            "stream" => "XLEN",
            "list" => "LLEN",
            // The queue does not exist yet: nothing waits.
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

/// Connects to a Redis. `timeout` bounds the connection and each of its reads and writes.
pub(super) fn open_connection(url: &str, timeout: Duration) -> redis::RedisResult<Connection> {
    let connection = Client::open(url)?.get_connection_with_timeout(timeout)?;
    connection.set_read_timeout(Some(timeout))?;
    connection.set_write_timeout(Some(timeout))?;
    Ok(connection)
}
