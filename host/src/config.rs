//! The operator's configuration: `ark.toml`, read and checked once, at the edge.
//!
//! Precedence: command-line flag, then environment variable (`ARK_…`), then `ark.toml`, then the default. Unknown keys are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::api::{AccessConfig, TlsFiles};
use crate::hrm::HrmConfig;
use crate::model::ids::{Digest, Name};
use crate::router::RouterConfig;
use crate::runtime::{EngineConfig, GraveyardSource, LimitError, Limits, LimitsTable};
use crate::store::{ListEntry, SecretKey, SecretKeyError, StoreConfig};
use crate::telemetry::{TelemetryConfig, TelemetryFile, TelemetryListen};
use crate::watchdog::{FleetConfig, RedisWatch, Retention, Thresholds, WatchdogConfig};

/// Why a configuration is refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is not TOML of the right form.
    #[error("{path}: {problem}", path = path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What and where.
        problem: String,
    },
    /// The key for secrets cannot be used.
    #[error(transparent)]
    SecretKey(#[from] SecretKeyError),
    /// A value is out of range.
    #[error("{field}: {problem}")]
    Value {
        /// Which.
        field: &'static str,
        /// What is wrong, and what would be right.
        problem: String,
    },
    /// A limit is out of range.
    #[error(transparent)]
    Limit(#[from] LimitError),
}

/// `ark.toml` as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Where the host keeps its data.
    pub data_dir: Option<PathBuf>,
    /// Address and port of the HTTP API. Without tokens it must be a loopback address.
    pub listen: Option<SocketAddr>,
    /// Address and port of telemetry, or `off`.
    pub telemetry_listen: Option<String>,
    /// A proxy stands before the host, ends TLS and passes on what others send.
    pub behind_proxy: Option<bool>,
    /// Certificate and key of the HTTP API.
    pub tls: Option<TlsFiles>,
    /// A directory with agents: `NAME.toml` manifests, their components beside them.
    pub agents_dir: Option<PathBuf>,
    /// A file with the Graveyard, mode 0444; absent: the one in the program.
    pub graveyard: Option<PathBuf>,
    /// API consumers that may propose in their own name.
    pub submitters: Option<Vec<String>>,
    /// Operator policies, in the order they are asked.
    pub policies: Vec<PolicyFile>,
    /// The ceiling of every agent's limits.
    pub limits: LimitsTable,
    /// Work that may wait or run at the same time.
    pub capacity: CapacityFile,
    /// When agents are stopped or warned about.
    pub watchdog: WatchdogFile,
    /// Log lines and traces.
    pub telemetry: TelemetryFile,
    /// What the host attests from the operator's own knowledge.
    pub lists: ListsFile,
}

/// An operator policy.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The component.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: Digest,
}

/// `[capacity]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CapacityFile {
    /// Invocations at the same time, those that run for longer than 10 ms not counted.
    pub workers: Option<usize>,
    /// Invocations that run for longer, at the same time.
    pub slow_workers: Option<usize>,
    /// Proposals that may wait to be judged; those that reduce risk have a quarter as many places of their own.
    pub proposals: Option<usize>,
    /// Deliveries that may wait in all.
    pub backlog: Option<usize>,
    /// Deliveries that may wait for one agent.
    pub agent_queue: Option<usize>,
    /// How long a signal that names no `ttl_ms` waits at most, in milliseconds; absent: for good.
    pub signal_ttl_ms: Option<u64>,
    /// Connections at the same time.
    pub connections: Option<usize>,
    /// Requests each token may send in a second.
    pub token_requests_per_second: Option<u32>,
    /// The size the database may grow to, in bytes.
    pub max_database_bytes: Option<u64>,
    /// Seconds an approved trade holds its exposure without an execution report.
    pub reservation_seconds: Option<u64>,
    /// Seconds a held action waits for an approval.
    pub approval_seconds: Option<u64>,
    /// Held actions that may wait in all; each proposer may take up a tenth of it.
    pub approvals: Option<usize>,
}

/// `[watchdog]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct WatchdogFile {
    /// How often each agent is asked for a heartbeat.
    pub heartbeat_ms: Option<u64>,
    /// How long it may take to answer.
    pub heartbeat_deadline_ms: Option<u64>,
    /// Missed heartbeats in a row that quarantine.
    pub missed_heartbeats: Option<u32>,
    /// How often the Graveyard is hashed anew.
    pub graveyard_ms: Option<u64>,
    /// Decisions of a minute that may break rules before there is an alert.
    pub violations_per_minute: Option<u32>,
    /// Failures in a row that quarantine.
    pub consecutive_failures: Option<u32>,
    /// Part of the last 100 invocations that may fail.
    pub failure_rate: Option<f64>,
    /// The failure rate counts from more than so many invocations on.
    pub failure_rate_over: Option<u32>,
    /// Mean latency that is still good.
    pub latency_ms: Option<u64>,
    /// The mean latency counts from more than so many invocations on.
    pub latency_over: Option<u32>,
    /// A Redis to be watched, e.g. `redis://127.0.0.1:6379/0`.
    pub redis_url: Option<String>,
    /// The fleet this host belongs to, by its stream in that Redis, e.g. `ark:orders`: halts and quarantines reach all its hosts.
    pub fleet: Option<String>,
    /// A 0400 file with the key that all hosts of the fleet share, 64 hexadecimal digits.
    pub fleet_key_file: Option<PathBuf>,
    /// Its queue: a stream or a list.
    pub redis_queue: Option<String>,
    /// How often it is looked at.
    pub redis_ms: Option<u64>,
    /// How long it may take to answer.
    pub redis_latency_ms: Option<u64>,
    /// How much may wait in the queue.
    pub redis_depth: Option<u64>,
    /// Part of a limit that warns.
    pub warning: Option<f64>,
    /// Part of a limit that warns loudly.
    pub critical: Option<f64>,
    /// The largest capsule.
    pub capsule_bytes: Option<usize>,
    /// Capsules kept of one agent.
    pub capsules_per_agent: Option<usize>,
    /// All capsules together.
    pub capsules_bytes: Option<u64>,
    /// Days a capsule is kept.
    pub capsule_days: Option<u64>,
}

/// `[lists]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ListsFile {
    /// Symbols nobody may trade (rule 1).
    pub restricted_symbols: Vec<String>,
    /// Symbols with a client's order pending (rule 4).
    pub client_orders: Vec<String>,
    /// Data sources that are trusted (rule 21).
    pub validated_sources: Vec<String>,
    /// Data subjects and whether they consent (rule 16).
    pub consents: BTreeMap<String, bool>,
    /// Standing vetoes (rule 23).
    pub vetoes: Vec<VetoFile>,
}

/// A veto. It matches when every part it names matches.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VetoFile {
    /// The agent.
    pub agent: Option<Name>,
    /// The action type.
    pub action_type: Option<String>,
    /// The symbol.
    pub symbol: Option<String>,
    /// The user's words.
    pub words: String,
}

/// What flags and environment variables say.
#[derive(Debug, Clone, Default)]
pub struct Overrides {
    /// See [`ConfigFile::data_dir`].
    pub data_dir: Option<PathBuf>,
    /// See [`ConfigFile::listen`].
    pub listen: Option<SocketAddr>,
    /// See [`ConfigFile::telemetry_listen`].
    pub telemetry_listen: Option<TelemetryListen>,
    /// See [`ConfigFile::behind_proxy`].
    pub behind_proxy: bool,
    /// See [`ConfigFile::agents_dir`].
    pub agents_dir: Option<PathBuf>,
    /// See [`ConfigFile::graveyard`].
    pub graveyard: Option<PathBuf>,
    /// Further submitters.
    pub submitters: Vec<Name>,
}

/// The configuration: every part's own.
#[derive(Debug, Clone)]
pub struct Config {
    /// The store's.
    pub store: StoreConfig,
    /// The engine's.
    pub engine: EngineConfig,
    /// The HRM's.
    pub hrm: HrmConfig,
    /// The router's.
    pub router: RouterConfig,
    /// The watchdog's.
    pub watchdog: WatchdogConfig,
    /// Telemetry's.
    pub telemetry: TelemetryConfig,
    /// Where the Graveyard is.
    pub graveyard: GraveyardSource,
    /// The operator policies.
    pub policies: Vec<PolicyFile>,
    /// Where the agents are.
    pub agents_dir: Option<PathBuf>,
    /// The ceiling of every agent's limits.
    pub limits: Limits,
    /// Who may propose besides the agents.
    pub submitters: Vec<Name>,
    /// What the host attests from the operator's own knowledge.
    pub lists: Vec<ListEntry>,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// How the API is reached.
    pub access: AccessConfig,
}

impl Config {
    /// Reads and checks the configuration. `path` absent: `ark.toml` in the working directory if there is one.
    ///
    /// # Errors
    /// See [`ConfigError`]; it names the field.
    pub fn read(path: Option<&Path>, overrides: Overrides) -> Result<Self, ConfigError> {
        let file = match path {
            Some(path) => read_file(path)?,
            None if Path::new("ark.toml").is_file() => read_file(Path::new("ark.toml"))?,
            None => ConfigFile::default(),
        };
        let mut config = Self::resolve(file, overrides)?;
        // From the environment only: a key in the configuration would be backed up and shown with it.
        config.store.secret_key = SecretKey::from_environment()?;
        Ok(config)
    }

    fn resolve(file: ConfigFile, overrides: Overrides) -> Result<Self, ConfigError> {
        let data_dir = overrides
            .data_dir
            .or(file.data_dir)
            .unwrap_or_else(|| PathBuf::from("ark-data"));
        let listen = overrides
            .listen
            .or(file.listen)
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8000)));
        let behind_proxy = overrides.behind_proxy || file.behind_proxy.unwrap_or(false);
        if !listen.ip().is_loopback() && file.tls.is_none() && !behind_proxy {
            return Err(ConfigError::Value {
                field: "listen",
                problem: format!(
                    "{listen} can be reached from other machines, where tokens would travel in clear; give [tls] certificate and key, or --behind-proxy when a proxy ends TLS, or a loopback address, e.g. 127.0.0.1:8000"
                ),
            });
        }
        let limits = Limits::ceiling(&file.limits)?;
        let mut submitters = overrides.submitters;
        for name in file.submitters.unwrap_or_else(|| vec!["api".to_owned()]) {
            submitters.push(
                name.parse()
                    .map_err(
                        |error: crate::model::ids::ParseIdError| ConfigError::Value {
                            field: "submitters",
                            problem: error.to_string(),
                        },
                    )?,
            );
        }
        let hrm = HrmConfig::default();
        let router = RouterConfig::default();
        let engine = EngineConfig::default();
        Ok(Self {
            engine: EngineConfig {
                cache_dir: Some(data_dir.join("cache")),
                memory_bytes: engine.memory_bytes.max(limits.memory_bytes),
                stack_bytes: limits.stack_bytes,
                ..engine
            },
            store: StoreConfig {
                max_bytes: file.capacity.max_database_bytes,
                ..StoreConfig::in_dir(data_dir)
            },
            hrm: HrmConfig {
                queue: between("capacity.proposals", file.capacity.proposals, 4, 1_000_000)?
                    .unwrap_or(hrm.queue),
                reservation_ttl: at_least(
                    "capacity.reservation_seconds",
                    file.capacity.reservation_seconds,
                    1,
                )?
                .map_or(hrm.reservation_ttl, Duration::from_secs),
                approval_ttl: between(
                    "capacity.approval_seconds",
                    file.capacity.approval_seconds,
                    1,
                    31_536_000,
                )?
                .map_or(hrm.approval_ttl, Duration::from_secs),
                approvals: between("capacity.approvals", file.capacity.approvals, 1, 1_000_000)?
                    .unwrap_or(hrm.approvals),
                ..hrm
            },
            router: RouterConfig {
                workers: between("capacity.workers", file.capacity.workers, 1, 128)?
                    .unwrap_or(router.workers),
                slow_workers: between("capacity.slow_workers", file.capacity.slow_workers, 0, 128)?
                    .unwrap_or(router.slow_workers),
                backlog: at_least("capacity.backlog", file.capacity.backlog, 1)?
                    .unwrap_or(router.backlog),
                agent_queue: at_least("capacity.agent_queue", file.capacity.agent_queue, 1)?
                    .unwrap_or(router.agent_queue),
                signal_ttl_ms: at_least("capacity.signal_ttl_ms", file.capacity.signal_ttl_ms, 1)?
                    .or(router.signal_ttl_ms),
            },
            watchdog: watchdog(&file.watchdog)?,
            telemetry: TelemetryConfig::resolve(
                file.telemetry,
                file.telemetry_listen.as_deref(),
                overrides.telemetry_listen,
            )
            .map_err(|(field, problem)| ConfigError::Value { field, problem })?,
            graveyard: overrides
                .graveyard
                .or(file.graveyard)
                .map_or(GraveyardSource::Embedded, GraveyardSource::File),
            policies: file.policies,
            agents_dir: overrides.agents_dir.or(file.agents_dir),
            limits,
            submitters,
            lists: lists(file.lists),
            listen,
            access: AccessConfig {
                tls: file.tls,
                behind_proxy,
                rate: at_least(
                    "capacity.token_requests_per_second",
                    file.capacity.token_requests_per_second,
                    1,
                )?
                .and_then(NonZeroU32::new)
                .unwrap_or(NonZeroU32::MIN.saturating_add(4_999)),
                connections: at_least("capacity.connections", file.capacity.connections, 1)?
                    .unwrap_or(16_384),
            },
        })
    }
}

fn read_file(path: &Path) -> Result<ConfigFile, ConfigError> {
    let text = std::fs::read_to_string(path).map_err(|source| ConfigError::Unreadable {
        path: path.to_owned(),
        source,
    })?;
    toml::from_str(&text).map_err(|error| ConfigError::Malformed {
        path: path.to_owned(),
        problem: error.to_string(),
    })
}

fn at_least<T: PartialOrd + std::fmt::Display + Copy>(
    field: &'static str,
    value: Option<T>,
    least: T,
) -> Result<Option<T>, ConfigError> {
    match value {
        Some(value) if value < least => Err(ConfigError::Value {
            field,
            problem: format!("is {value}; give {least} or more"),
        }),
        value => Ok(value),
    }
}

/// As [`at_least`], with an upper bound too.
fn between<T: PartialOrd + std::fmt::Display + Copy>(
    field: &'static str,
    value: Option<T>,
    least: T,
    most: T,
) -> Result<Option<T>, ConfigError> {
    match value {
        // Written so that a NaN is refused too.
        Some(value) if !(value >= least && value <= most) => Err(ConfigError::Value {
            field,
            problem: format!("is {value}; give {least} to {most}"),
        }),
        value => Ok(value),
    }
}

/// The longest interval that makes sense for a loop: the watchdog's beat counts for 30 s.
const LONGEST_INTERVAL_MS: u64 = 20_000;

fn watchdog(file: &WatchdogFile) -> Result<WatchdogConfig, ConfigError> {
    let default = WatchdogConfig::default();
    let (stands, kept) = (default.thresholds, default.retention);
    let interval = |field, value, default| -> Result<Duration, ConfigError> {
        Ok(between(field, value, 10, LONGEST_INTERVAL_MS)?.map_or(default, Duration::from_millis))
    };
    let warning = between("watchdog.warning", file.warning, 0.01, 1.0)?.unwrap_or(stands.warning);
    let critical =
        between("watchdog.critical", file.critical, 0.01, 1.0)?.unwrap_or(stands.critical);
    if warning > critical {
        return Err(ConfigError::Value {
            field: "watchdog.warning",
            problem: format!(
                "is {warning}, above watchdog.critical, which is {critical}; give a smaller part"
            ),
        });
    }
    Ok(WatchdogConfig {
        heartbeat: interval(
            "watchdog.heartbeat_ms",
            file.heartbeat_ms,
            default.heartbeat,
        )?,
        heartbeat_deadline: interval(
            "watchdog.heartbeat_deadline_ms",
            file.heartbeat_deadline_ms,
            default.heartbeat_deadline,
        )?,
        graveyard: interval(
            "watchdog.graveyard_ms",
            file.graveyard_ms,
            default.graveyard,
        )?,
        violations_per_minute: at_least(
            "watchdog.violations_per_minute",
            file.violations_per_minute,
            1,
        )?
        .unwrap_or(default.violations_per_minute),
        redis: redis_watch(file)?,
        fleet: fleet(file)?,
        thresholds: Thresholds {
            consecutive_failures: at_least(
                "watchdog.consecutive_failures",
                file.consecutive_failures,
                1,
            )?
            .unwrap_or(stands.consecutive_failures),
            failure_rate: between("watchdog.failure_rate", file.failure_rate, 0.0, 1.0)?
                .unwrap_or(stands.failure_rate),
            failure_rate_over: between(
                "watchdog.failure_rate_over",
                file.failure_rate_over,
                0,
                99,
            )?
            .unwrap_or(stands.failure_rate_over),
            latency_ms: at_least("watchdog.latency_ms", file.latency_ms, 1)?
                .unwrap_or(stands.latency_ms),
            latency_over: between("watchdog.latency_over", file.latency_over, 0, 99)?
                .unwrap_or(stands.latency_over),
            missed_heartbeats: at_least("watchdog.missed_heartbeats", file.missed_heartbeats, 1)?
                .unwrap_or(stands.missed_heartbeats),
            warning,
            critical,
        },
        retention: Retention {
            capsule_bytes: at_least("watchdog.capsule_bytes", file.capsule_bytes, 16 * 1024)?
                .unwrap_or(kept.capsule_bytes),
            per_agent: at_least("watchdog.capsules_per_agent", file.capsules_per_agent, 1)?
                .unwrap_or(kept.per_agent),
            total_bytes: at_least("watchdog.capsules_bytes", file.capsules_bytes, 16 * 1024)?
                .unwrap_or(kept.total_bytes),
            days: at_least("watchdog.capsule_days", file.capsule_days, 1)?.unwrap_or(kept.days),
        },
    })
}

fn fleet(file: &WatchdogFile) -> Result<Option<FleetConfig>, ConfigError> {
    let missing = |field, problem: &str| ConfigError::Value {
        field,
        problem: problem.to_owned(),
    };
    match (&file.fleet, &file.fleet_key_file, &file.redis_url) {
        (None, None, _) => Ok(None),
        (None, Some(_), _) => Err(missing(
            "watchdog.fleet",
            "is missing; name the stream, e.g. ark:orders",
        )),
        (Some(_), None, _) => Err(missing(
            "watchdog.fleet_key_file",
            "is missing: whoever can write to the Redis could resume a halt; name a 0400 file made with `openssl rand -hex 32`",
        )),
        (Some(_), _, None) => Err(missing(
            "watchdog.redis_url",
            "is missing, the fleet's orders go through it",
        )),
        (Some(stream), Some(key), Some(url)) => Ok(Some(FleetConfig {
            url: url.clone(),
            stream: stream.clone(),
            key: SecretKey::from_file(key)?,
        })),
    }
}

fn redis_watch(file: &WatchdogFile) -> Result<Option<RedisWatch>, ConfigError> {
    let Some(url) = &file.redis_url else {
        return Ok(None);
    };
    let queue = file.redis_queue.as_deref().unwrap_or("ark:signals");
    let stands = RedisWatch::at(url, queue).map_err(|problem| ConfigError::Value {
        field: "watchdog.redis_url",
        problem,
    })?;
    Ok(Some(RedisWatch {
        interval: between("watchdog.redis_ms", file.redis_ms, 10, LONGEST_INTERVAL_MS)?
            .map_or(stands.interval, Duration::from_millis),
        latency: at_least("watchdog.redis_latency_ms", file.redis_latency_ms, 1)?
            .map_or(stands.latency, Duration::from_millis),
        depth: at_least("watchdog.redis_depth", file.redis_depth, 1)?.unwrap_or(stands.depth),
        ..stands
    }))
}

fn lists(file: ListsFile) -> Vec<ListEntry> {
    let upper = |symbol: String| symbol.to_ascii_uppercase();
    let mut entries = Vec::new();
    entries.extend(
        file.restricted_symbols
            .into_iter()
            .map(|symbol| ListEntry::Restricted(upper(symbol))),
    );
    entries.extend(
        file.client_orders
            .into_iter()
            .map(|symbol| ListEntry::ClientOrder(upper(symbol))),
    );
    entries.extend(
        file.validated_sources
            .into_iter()
            .map(ListEntry::ValidatedSource),
    );
    entries.extend(
        file.consents
            .into_iter()
            .map(|(subject, granted)| ListEntry::Consent { subject, granted }),
    );
    entries.extend(file.vetoes.into_iter().map(|veto| ListEntry::Veto {
        agent: veto.agent,
        action_type: veto.action_type,
        symbol: veto.symbol.map(upper),
        words: veto.words,
    }));
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resolve(toml: &str) -> Result<Config, String> {
        let file: ConfigFile = toml::from_str(toml).map_err(|error| error.to_string())?;
        Config::resolve(file, Overrides::default()).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (toml, named) in [
            ("data_dri = \"x\"", "data_dri"),
            ("listen = \"0.0.0.0:8000\"", "loopback"),
            ("listen = \"here\"", "listen"),
            ("submitters = [\"A B\"]", "submitters"),
            ("[limits]\nfuel = 0", "limits.fuel"),
            ("[limits]\nmemory_bytes = 1", "limits.memory_bytes"),
            ("[capacity]\nworkers = 0", "capacity.workers"),
            ("[limits]\nconcurrency = 0", "limits.concurrency"),
            ("[limits]\nfule = 1", "fule"),
            ("[watchdog]\nheartbeat_ms = 60000", "watchdog.heartbeat_ms"),
            ("[watchdog]\nfailure_rate = nan", "watchdog.failure_rate"),
            ("[watchdog]\nwarning = 0.95", "watchdog.warning"),
            ("[watchdog]\nhartbeat_ms = 1", "hartbeat_ms"),
            ("[watchdog]\nredis_url = \"here\"", "watchdog.redis_url"),
            ("[[policies]]\nfile = \"p.wasm\"\nsha256 = \"12\"", "sha256"),
            ("[lists]\nrestricted = []", "restricted"),
            ("telemetry_listen = \"here\"", "telemetry_listen"),
            ("[telemetry]\nlog_format = \"xml\"", "telemetry.log_format"),
        ] {
            let error = resolve(toml).unwrap_err();
            assert!(error.contains(named), "{toml}: {error}");
        }
    }

    #[test]
    fn flags_come_before_the_file_and_the_file_before_the_default() {
        let file: ConfigFile =
            toml::from_str("listen = \"127.0.0.1:1\"\ndata_dir = \"a\"").unwrap();
        let overrides = Overrides {
            data_dir: Some("b".into()),
            ..Overrides::default()
        };
        let config = Config::resolve(file, overrides).unwrap();
        assert_eq!(
            (config.store.dir, config.listen.port()),
            (PathBuf::from("b"), 1)
        );
        assert_eq!(resolve("").unwrap().submitters.len(), 1);
    }
}
