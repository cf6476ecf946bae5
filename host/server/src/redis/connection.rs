//! A connection to the Redis, opened again when it fails. Every part that uses the Redis has one of its own, under the same rules.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use redis::{Client, Connection, RedisError, TlsCertificates};

use super::address::{RedisAddress, RedisPlace, connection_info, tcp_address};

/// How long a failed connection waits until it is opened again, at first. Each further failure doubles it.
const FIRST_DELAY: Duration = Duration::from_millis(50);
/// How long it waits at most.
const LONGEST_DELAY: Duration = Duration::from_secs(3);
/// The longest password that is read from a file, in bytes.
const MAX_PASSWORD_BYTES: u64 = 4096;
/// The longest file of certificates that is read, in bytes.
const MAX_CA_BYTES: u64 = 1 << 20;

/// How a Redis is reached. The files are read at every connection, so a password can be changed while the host runs.
#[derive(Debug, Clone)]
pub struct RedisSettings {
    /// Where it is.
    pub address: RedisAddress,
    /// The user; before that of the address.
    pub username: Option<String>,
    /// A file with the password; before that of the address.
    pub password_file: Option<PathBuf>,
    /// A PEM file with the authorities that the server's certificate may come from; without it, those of the system.
    pub ca_file: Option<PathBuf>,
}

/// Why there is no connection, or why it failed.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// The Redis refuses, does not answer, or answers with an error.
    #[error("{}", describe_redis_error(.0))]
    Redis(#[from] RedisError),
    /// A file that a connection needs cannot be read.
    #[error("{path} cannot be read: {cause}", path = path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// What the system reports.
        cause: std::io::Error,
    },
    /// No Sentinel knows the master.
    #[error("no Sentinel knows where {master} is: {cause}")]
    NoMaster {
        /// The name of the master.
        master: String,
        /// What the last Sentinel answered.
        cause: String,
    },
    /// The server that the Sentinels name is a replica still.
    #[error("{address}, which a Sentinel calls the master, is a replica (yet)")]
    Replica {
        /// The server.
        address: String,
    },
    /// It failed a moment ago and is not tried again yet.
    #[error("{0}")]
    Waiting(String),
}

/// An error of the Redis in words: the system's name for a silence says something else.
fn describe_redis_error(error: &RedisError) -> String {
    if error.is_timeout() {
        "the Redis has not answered in time".to_owned()
    } else {
        format!("the Redis: {error}")
    }
}

/// A connection that is opened when it is needed, and again after a failure: at once after one that worked, then after a delay that doubles
/// from 50 ms to 3 s.
pub struct RedisLink {
    settings: Arc<RedisSettings>,
    timeout: Duration,
    connection: Option<Connection>,
    delay: Duration,
    retry_at: Option<Instant>,
    /// The reason of the last failure.
    problem: String,
}

impl RedisLink {
    /// `timeout` bounds the opening of a connection and each of its reads and writes.
    #[must_use]
    pub fn new(settings: Arc<RedisSettings>, timeout: Duration) -> Self {
        Self {
            settings,
            timeout,
            connection: None,
            delay: FIRST_DELAY,
            retry_at: None,
            problem: String::new(),
        }
    }

    /// Whether there is a connection that has not failed.
    #[must_use]
    pub const fn is_connected(&self) -> bool {
        self.connection.is_some()
    }

    /// The connection; opened if there is none.
    ///
    /// # Errors
    /// It cannot be opened, or it failed a moment ago.
    pub fn connect(&mut self) -> Result<&mut Connection, LinkError> {
        if self.connection.is_none() {
            if self.retry_at.is_some_and(|at| Instant::now() < at) {
                return Err(LinkError::Waiting(self.problem.clone()));
            }
            match open_connection(&self.settings, self.timeout) {
                Ok(connection) => self.connection = Some(connection),
                Err(error) => {
                    self.record_failure(&error);
                    return Err(error);
                }
            }
        }
        self.connection
            .as_mut()
            .ok_or_else(|| LinkError::Waiting(self.problem.clone()))
    }

    /// The connection did what it was asked for: the next failure is the first one again.
    pub fn record_success(&mut self) {
        self.delay = FIRST_DELAY;
        self.retry_at = None;
    }

    /// Closes the connection after an error. The next is opened after a delay.
    pub fn record_failure(&mut self, error: &LinkError) {
        self.connection = None;
        if matches!(error, LinkError::Waiting(_)) {
            return;
        }
        self.problem = error.to_string();
        self.retry_at = Some(Instant::now() + self.delay);
        self.delay = (self.delay * 2).min(LONGEST_DELAY);
    }

    /// How long until the connection may be opened again.
    #[must_use]
    pub fn retry_delay(&self) -> Duration {
        self.retry_at
            .map(|at| at.saturating_duration_since(Instant::now()))
            .unwrap_or_default()
    }
}

fn open_connection(settings: &RedisSettings, timeout: Duration) -> Result<Connection, LinkError> {
    let mut redis = settings.address.settings.clone();
    if let Some(user) = &settings.username {
        redis = redis.set_username(user);
    }
    if let Some(path) = &settings.password_file {
        let password = read_limited(path, MAX_PASSWORD_BYTES)?;
        let password = String::from_utf8_lossy(&password);
        redis = redis.set_password(password.trim_end_matches(['\n', '\r']));
    }
    let authorities = match &settings.ca_file {
        Some(path) => Some(read_limited(path, MAX_CA_BYTES)?),
        None => None,
    };
    let connect = |address: redis::ConnectionAddr, redis| {
        let info = connection_info(address, redis)?;
        let is_tls = matches!(info.addr(), redis::ConnectionAddr::TcpTls { .. });
        let client = match &authorities {
            Some(authorities) if is_tls => Client::build_with_tls(
                info,
                TlsCertificates {
                    client_tls: None,
                    root_cert: Some(authorities.clone()),
                },
            )?,
            _ => Client::open(info)?,
        };
        let connection = client.get_connection_with_timeout(timeout)?;
        connection.set_read_timeout(Some(timeout))?;
        connection.set_write_timeout(Some(timeout))?;
        Ok::<_, LinkError>(connection)
    };
    match &settings.address.place {
        RedisPlace::Server(address) => connect(address.clone(), redis),
        RedisPlace::Sentinels {
            sentinels,
            master,
            tls,
        } => {
            let mut problem = "there is none".to_owned();
            for sentinel in sentinels {
                // Sentinels have users of their own; they are asked without one.
                let asked = connect(sentinel.clone(), redis::RedisConnectionInfo::default())
                    .and_then(|mut sentinel| ask_sentinel(&mut sentinel, master));
                match asked {
                    Ok(Some((host, port))) => {
                        let mut connection = connect(tcp_address(&host, port, *tls), redis)?;
                        check_master(&mut connection, &format!("{host}:{port}"))?;
                        return Ok(connection);
                    }
                    Ok(None) => problem = format!("{sentinel} does not know it"),
                    Err(error) => problem = error.to_string(),
                }
            }
            Err(LinkError::NoMaster {
                master: master.clone(),
                cause: problem,
            })
        }
    }
}

fn ask_sentinel(
    connection: &mut Connection,
    master: &str,
) -> Result<Option<(String, u16)>, LinkError> {
    Ok(redis::cmd("SENTINEL")
        .arg("GET-MASTER-ADDR-BY-NAME")
        .arg(master)
        .query(connection)?)
}

/// A Sentinel can name a server that is not promoted yet, or not any more.
fn check_master(connection: &mut Connection, address: &str) -> Result<(), LinkError> {
    let role: Vec<redis::Value> = redis::cmd("ROLE").query(connection)?;
    let role: Option<String> = role
        .first()
        .and_then(|role| redis::from_redis_value(role.clone()).ok());
    if role.as_deref() == Some("master") {
        return Ok(());
    }
    Err(LinkError::Replica {
        address: address.to_owned(),
    })
}

fn read_limited(path: &std::path::Path, limit: u64) -> Result<Vec<u8>, LinkError> {
    use std::io::Read as _;
    let mut content = Vec::new();
    let read =
        std::fs::File::open(path).and_then(|file| file.take(limit + 1).read_to_end(&mut content));
    let too_long = || std::io::Error::other(format!("it is longer than {limit} bytes"));
    match read {
        Ok(length) if length as u64 > limit => Err(too_long()),
        Ok(_) => Ok(()),
        Err(error) => Err(error),
    }
    .map_err(|cause| LinkError::File {
        path: path.to_owned(),
        cause,
    })?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failing_connection_is_tried_after_delays_that_double_up_to_a_bound() {
        let settings = RedisSettings {
            address: RedisAddress::parse("redis://127.0.0.1:1/0").unwrap(),
            username: None,
            password_file: None,
            ca_file: None,
        };
        let mut link = RedisLink::new(Arc::new(settings), Duration::from_secs(1));
        assert!(matches!(link.connect(), Err(LinkError::Redis(_))));
        let delays: Vec<u64> = (0..9)
            .map(|_| {
                let delay = link.delay;
                link.record_failure(&LinkError::Replica {
                    address: String::new(),
                });
                u64::try_from(delay.as_millis()).unwrap()
            })
            .collect();
        assert_eq!(delays, [100, 200, 400, 800, 1600, 3000, 3000, 3000, 3000]);
        // Until then the Redis is not asked.
        assert!(matches!(link.connect(), Err(LinkError::Waiting(_))));
        link.record_success();
        assert_eq!(link.retry_delay(), Duration::ZERO);
        assert!(matches!(link.connect(), Err(LinkError::Redis(_))));
    }
}
