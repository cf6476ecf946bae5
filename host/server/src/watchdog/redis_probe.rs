//! Measures a Redis: whether it answers, how fast, and how much waits in its queue. It only reads.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::redis::{LinkError, RedisLink, RedisSettings};

/// Which Redis is measured, and from when on there are alerts.
#[derive(Debug, Clone)]
pub struct RedisWatchConfig {
    /// How it is reached.
    pub settings: Arc<RedisSettings>,
    /// The key of its queue, which is a stream or a list.
    pub queue: String,
    /// How often it is measured, and how long it may take to answer.
    pub interval: Duration,
    /// The latency that the alert `redis_latency` is graded by.
    pub latency: Duration,
    /// The number of entries in the queue that the alert `redis_depth` is graded by.
    pub depth: u64,
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
    link: RedisLink,
}

impl RedisProbe {
    pub(super) fn new(config: RedisWatchConfig) -> Self {
        Self {
            link: RedisLink::new(Arc::clone(&config.settings), config.interval),
            config,
        }
    }

    /// Measures once. Blocks for up to the interval for each of its commands.
    pub(super) fn check_status(&mut self) -> RedisStatus {
        match self.measure_queue() {
            Ok((latency, depth)) => {
                self.link.record_success();
                RedisStatus {
                    latency_ms: Some(latency.as_secs_f64() * 1e3),
                    depth: Some(depth),
                    problem: None,
                }
            }
            Err(error) => {
                self.link.record_failure(&error);
                RedisStatus {
                    latency_ms: None,
                    depth: None,
                    problem: Some(error.to_string()),
                }
            }
        }
    }

    fn measure_queue(&mut self) -> Result<(Duration, u64), LinkError> {
        let connection = self.link.connect()?;
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
                return Err(LinkError::Redis(problem.into()));
            }
        };
        let depth = redis::cmd(length)
            .arg(&self.config.queue)
            .query(connection)?;
        Ok((latency, depth))
    }
}
