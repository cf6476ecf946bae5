//! The address of a Redis: a server, or Sentinels that know which server is the master.

use redis::{Client, ConnectionAddr, ConnectionInfo, IntoConnectionInfo};

/// What to give instead of an address that is refused.
const REMEDY: &str = "give redis://HOST:PORT/DATABASE, rediss:// for TLS, or redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DATABASE";
/// The port of a Sentinel whose address names none.
const SENTINEL_PORT: u16 = 26379;

/// Why an address cannot be used. The text is read after the name of the key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("is refused: {problem}; {REMEDY}")]
pub struct AddressError {
    problem: String,
}

impl AddressError {
    fn new(problem: impl Into<String>) -> Self {
        Self {
            problem: problem.into(),
        }
    }
}

/// The address of a Redis, with the database and, if it names them, user and password.
#[derive(Debug, Clone)]
pub struct RedisAddress {
    /// The address without a password, for people.
    shown: String,
    pub(super) place: RedisPlace,
    /// Database, user and password.
    pub(super) settings: redis::RedisConnectionInfo,
}

/// Where a Redis is.
#[derive(Debug, Clone)]
pub(super) enum RedisPlace {
    /// At this address.
    Server(ConnectionAddr),
    /// Where one of these Sentinels says that the master of this name is.
    Sentinels {
        sentinels: Vec<ConnectionAddr>,
        master: String,
        tls: bool,
    },
}

impl RedisAddress {
    /// Returns the password in the address; `None`: it has none.
    #[must_use]
    pub fn password(&self) -> Option<&str> {
        self.settings.password()
    }

    /// Reads an address.
    ///
    /// # Errors
    /// It is malformed.
    pub fn parse(url: &str) -> Result<Self, AddressError> {
        for (scheme, tls) in [("redis+sentinel://", false), ("rediss+sentinel://", true)] {
            if let Some(rest) = url.strip_prefix(scheme) {
                return parse_sentinels(rest, scheme, tls);
            }
        }
        let info = Client::open(url)
            .map_err(|error| AddressError::new(error.to_string()))?
            .get_connection_info()
            .clone();
        Ok(Self {
            shown: format!("{}/{}", show_place(info.addr()), info.redis_settings().db()),
            place: RedisPlace::Server(info.addr().clone()),
            settings: info.redis_settings().clone(),
        })
    }

    /// The address without user and password.
    #[must_use]
    pub fn shown(&self) -> &str {
        &self.shown
    }

    /// Host and port of the server; `None`: it has a Unix socket, or Sentinels say where it is.
    #[must_use]
    pub fn host_and_port(&self) -> Option<(&str, u16)> {
        match &self.place {
            RedisPlace::Server(
                ConnectionAddr::Tcp(host, port) | ConnectionAddr::TcpTls { host, port, .. },
            ) => Some((host.as_str(), *port)),
            RedisPlace::Server(_) | RedisPlace::Sentinels { .. } => None,
        }
    }

    /// Whether connections are encrypted.
    #[must_use]
    pub fn uses_tls(&self) -> bool {
        match &self.place {
            RedisPlace::Server(address) => matches!(address, ConnectionAddr::TcpTls { .. }),
            RedisPlace::Sentinels { tls, .. } => *tls,
        }
    }
}

fn show_place(address: &ConnectionAddr) -> String {
    let scheme = match address {
        ConnectionAddr::TcpTls { .. } => "rediss://",
        ConnectionAddr::Unix(_) => "unix://",
        _ => "redis://",
    };
    format!("{scheme}{address}")
}

/// Reads what is behind the scheme: `[USER:PASSWORD@]HOST[:PORT][,…]/MASTER[/DATABASE]`.
fn parse_sentinels(rest: &str, scheme: &str, tls: bool) -> Result<RedisAddress, AddressError> {
    let (user_info, rest) = match rest.rsplit_once('@') {
        Some((user_info, rest)) => (Some(user_info), rest),
        None => (None, rest),
    };
    let mut parts = rest.split('/');
    let hosts = parts.next().unwrap_or_default();
    let master = parts.next().unwrap_or_default();
    let database = parts.next().unwrap_or("0");
    if master.is_empty() || parts.next().is_some() {
        return Err(AddressError::new(
            "the name of the master is not the first part of its path",
        ));
    }
    // What is left is read by the rules of a plain address: user, password and database.
    let plain = format!(
        "redis://{}{}localhost/{database}",
        user_info.unwrap_or_default(),
        if user_info.is_some() { "@" } else { "" }
    );
    let info = plain
        .as_str()
        .into_connection_info()
        .map_err(|error| AddressError::new(error.to_string()))?;
    let sentinels = hosts
        .split(',')
        .map(|host| {
            let (host, port) = match host.rsplit_once(':') {
                Some((host, port)) => (
                    host,
                    port.parse()
                        .map_err(|_| AddressError::new(format!("{port:?} is not a port")))?,
                ),
                None => (host, SENTINEL_PORT),
            };
            if host.is_empty() {
                return Err(AddressError::new("a Sentinel has no host"));
            }
            Ok(tcp_address(host, port, tls))
        })
        .collect::<Result<_, _>>()?;
    Ok(RedisAddress {
        shown: format!("{scheme}{hosts}/{master}/{}", info.redis_settings().db()),
        place: RedisPlace::Sentinels {
            sentinels,
            master: master.to_owned(),
            tls,
        },
        settings: info.redis_settings().clone(),
    })
}

pub(super) fn tcp_address(host: &str, port: u16, tls: bool) -> ConnectionAddr {
    if tls {
        ConnectionAddr::TcpTls {
            host: host.to_owned(),
            port,
            insecure: false,
            tls_params: None,
        }
    } else {
        ConnectionAddr::Tcp(host.to_owned(), port)
    }
}

/// How a place is connected to: address, database, user and password.
///
/// # Errors
/// The address is none.
pub(super) fn connection_info(
    address: ConnectionAddr,
    settings: redis::RedisConnectionInfo,
) -> redis::RedisResult<ConnectionInfo> {
    Ok(address.into_connection_info()?.set_redis_settings(settings))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_read_or_refused_and_never_show_a_password() {
        for (url, shown) in [
            ("redis://127.0.0.1:6379/3", "redis://127.0.0.1:6379/3"),
            ("redis://localhost", "redis://localhost:6379/0"),
            ("redis://ada:hunter2@db:1/2", "redis://db:1/2"),
            ("rediss://db:6380/0", "rediss://db:6380/0"),
            (
                "redis+sentinel://a:1,b:2/main/4",
                "redis+sentinel://a:1,b:2/main/4",
            ),
            (
                "rediss+sentinel://ada:hunter2@a,b/main",
                "rediss+sentinel://a,b/main/0",
            ),
        ] {
            let address = RedisAddress::parse(url).unwrap();
            assert_eq!(address.shown(), shown, "{url}");
            assert_eq!(address.uses_tls(), url.starts_with("rediss"), "{url}");
            let has_password = url.contains("hunter2");
            assert_eq!(
                address.settings.password(),
                has_password.then_some("hunter2"),
                "{url}"
            );
            assert!(!format!("{address:?}").contains("hunter2"), "{url}");
        }
        for (url, place) in [
            ("redis://127.0.0.1:6379/3", Some(("127.0.0.1", 6379))),
            ("rediss://ada:hunter2@db/0", Some(("db", 6379))),
            ("unix:///run/redis.sock", None),
            ("redis+sentinel://a:1,b:2/main/4", None),
        ] {
            let address = RedisAddress::parse(url).unwrap();
            assert_eq!(address.host_and_port(), place, "{url}");
        }
        for url in [
            "",
            "http://localhost",
            "redis://",
            "redis://localhost:port",
            "redis://localhost/words",
            "redis+sentinel://a:1,b:2",
            "redis+sentinel://a:1/main/0/more",
            "redis+sentinel://a:port/main",
            "redis+sentinel://:1/main",
            "redis+sentinel://a/main/words",
        ] {
            let error = RedisAddress::parse(url).expect_err(url).to_string();
            assert!(error.contains("redis://HOST:PORT"), "{url}: {error}");
        }
    }
}
