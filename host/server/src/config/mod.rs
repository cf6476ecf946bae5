//! The operator's configuration, read and checked once, at the edge.
//!
//! Precedence: command-line flag, then environment variable (`ARK_CAPACITY_WORKERS` for `capacity.workers`), then `ark.toml`, then the
//! default. Unknown keys and unknown `ARK_…` variables are refused.
//!
//! Reading order: [`file`] (the keys), [`layers`] (how the sources are merged), this file (from what is written to each part's own
//! configuration), [`show`].

mod file;
mod layers;
mod show;

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::api::{AccessConfig, TlsFiles};
use crate::hrm::HrmConfig;
use crate::policies::{Declaration, LAST_PLACE};
use crate::router::RouterConfig;
use crate::telemetry::{TelemetryConfig, TelemetryListen};
use crate::watchdog::{
    CapsuleRetention, FleetConfig, RedisWatchConfig, Thresholds, WatchdogConfig,
};
use ark_model::ids::Name;
use ark_model::policy::PolicySource;
use ark_runtime::{EngineConfig, GraveyardSource, LimitError, Limits, POLICY_FUEL};
use ark_store::{ListEntry, SecretKey, SecretKeyError, StoreConfig};

pub use file::{CapacityFile, ConfigFile, ListsFile, PolicyFile, TlsFile, VetoFile, WatchdogFile};
pub use layers::{Layers, Source};

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
    /// It is not of the right form.
    #[error("{origin}: {problem}")]
    Malformed {
        /// Where it is from.
        origin: Source,
        /// What and where.
        problem: String,
    },
    /// A key that there is not.
    #[error("{origin}: there is no key {key}{}", suggestion.as_ref().map_or_else(String::new, |known| format!("; did you mean {known}?")))]
    UnknownKey {
        /// Where it is from.
        origin: Source,
        /// The key as given.
        key: String,
        /// The key that is most like it.
        suggestion: Option<String>,
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

/// What flags say.
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
    /// Further submitters: they are added to those of the other sources.
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
    /// The operator policies that the configuration declares.
    pub policies: Vec<Declaration>,
    /// Where further ones are declared.
    pub policies_dir: Option<PathBuf>,
    /// How many may be in force.
    pub max_policies: usize,
    /// Fuel of one evaluation of one of them.
    pub policy_fuel: u64,
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
    /// How long the host may take to end what runs once it is told to stop.
    pub drain: Duration,
    /// Versions kept of each uploaded agent.
    pub agent_versions: u32,
}

impl Config {
    /// Reads and checks the configuration. `path` absent: `ark.toml` in the working directory if there is one.
    ///
    /// # Errors
    /// See [`ConfigError`]; it names the field.
    pub fn read(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config = Self::from_layers(&Layers::read(path, overrides)?)?;
        // From the environment only: a key in the configuration would be backed up and shown with it.
        config.store.secret_key = SecretKey::from_environment()?;
        Ok(config)
    }

    /// Checks what the sources say together. The key for secrets is not read.
    ///
    /// # Errors
    /// See [`ConfigError`]; it names the field.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        Self::from_file(layers.to_file()?)
    }

    fn from_file(file: ConfigFile) -> Result<Self, ConfigError> {
        let data_dir = file.data_dir.unwrap_or_else(|| PathBuf::from("ark-data"));
        let listen = file
            .listen
            .unwrap_or_else(|| SocketAddr::from(([127, 0, 0, 1], 8000)));
        let behind_proxy = file.behind_proxy.unwrap_or(false);
        let tls = resolve_tls(file.tls)?;
        if !listen.ip().is_loopback() && tls.is_none() && !behind_proxy {
            return Err(ConfigError::Value {
                field: "listen",
                problem: format!(
                    "{listen} can be reached from other machines, where tokens would travel in clear; give [tls] certificate and key, or --behind-proxy when a proxy ends TLS, or a loopback address, e.g. 127.0.0.1:8000"
                ),
            });
        }
        let limits = Limits::ceiling_from_table(&file.limits)?;
        let mut submitters = Vec::new();
        for name in file.submitters.unwrap_or_default() {
            submitters.push(
                name.parse()
                    .map_err(|error: ark_model::ids::ParseIdError| ConfigError::Value {
                        field: "submitters",
                        problem: error.to_string(),
                    })?,
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
                queue: check_between("capacity.proposals", file.capacity.proposals, 4, 1_000_000)?
                    .unwrap_or(hrm.queue),
                reservation_ttl: check_at_least(
                    "capacity.reservation_seconds",
                    file.capacity.reservation_seconds,
                    1,
                )?
                .map_or(hrm.reservation_ttl, Duration::from_secs),
                approval_ttl: check_between(
                    "capacity.approval_seconds",
                    file.capacity.approval_seconds,
                    1,
                    31_536_000,
                )?
                .map_or(hrm.approval_ttl, Duration::from_secs),
                approvals: check_between(
                    "capacity.approvals",
                    file.capacity.approvals,
                    1,
                    1_000_000,
                )?
                .unwrap_or(hrm.approvals),
                ..hrm
            },
            router: RouterConfig {
                workers: check_between("capacity.workers", file.capacity.workers, 1, 128)?
                    .unwrap_or(router.workers),
                slow_workers: check_between(
                    "capacity.slow_workers",
                    file.capacity.slow_workers,
                    0,
                    128,
                )?
                .unwrap_or(router.slow_workers),
                backlog: check_at_least("capacity.backlog", file.capacity.backlog, 1)?
                    .unwrap_or(router.backlog),
                agent_queue: check_at_least("capacity.agent_queue", file.capacity.agent_queue, 1)?
                    .unwrap_or(router.agent_queue),
                signal_ttl_ms: check_at_least(
                    "capacity.signal_ttl_ms",
                    file.capacity.signal_ttl_ms,
                    1,
                )?
                .or(router.signal_ttl_ms),
            },
            watchdog: resolve_watchdog(&file.watchdog)?,
            telemetry: TelemetryConfig::from_file(file.telemetry, file.telemetry_listen.as_deref())
                .map_err(|(field, problem)| ConfigError::Value { field, problem })?,
            graveyard: file
                .graveyard
                .map_or(GraveyardSource::Embedded, GraveyardSource::File),
            policies: resolve_policies(file.policies)?,
            policies_dir: file.policies_dir,
            // Each may hold up every decision for as long as its fuel lasts.
            max_policies: check_between("capacity.policies", file.capacity.policies, 1, 64)?
                .unwrap_or(file::POLICIES),
            policy_fuel: check_between(
                "capacity.policy_fuel",
                file.capacity.policy_fuel,
                100_000,
                POLICY_FUEL,
            )?
            .unwrap_or(file::POLICY_FUEL),
            agents_dir: file.agents_dir,
            limits,
            submitters,
            lists: resolve_lists(file.lists),
            listen,
            access: AccessConfig {
                tls,
                behind_proxy,
                rate: check_at_least(
                    "capacity.token_requests_per_second",
                    file.capacity.token_requests_per_second,
                    1,
                )?
                .and_then(NonZeroU32::new)
                .unwrap_or(file::RATE),
                connections: check_at_least("capacity.connections", file.capacity.connections, 1)?
                    .unwrap_or(file::CONNECTIONS),
            },
            drain: check_between("capacity.drain_ms", file.capacity.drain_ms, 100, 3_600_000)?
                .map_or(Duration::from_secs(10), Duration::from_millis),
            agent_versions: check_between(
                "capacity.agent_versions",
                file.capacity.agent_versions,
                2,
                100,
            )?
            .unwrap_or(10),
        })
    }
}

/// `[[policies]]`, with what is not said filled in.
fn resolve_policies(files: Vec<PolicyFile>) -> Result<Vec<Declaration>, ConfigError> {
    files
        .into_iter()
        .zip(1_u32..)
        .map(|(file, place)| {
            let order = check_between("policies.order", file.order, 0, LAST_PLACE)?;
            Ok(Declaration {
                source: PolicySource::Configuration,
                origin: file.file.clone(),
                file: file.file,
                sha256: file.sha256,
                name: file.name,
                settings: file.settings,
                mode: file.mode.unwrap_or_default(),
                order: order.unwrap_or_else(|| place.saturating_mul(10).min(LAST_PLACE)),
            })
        })
        .collect()
}

fn check_at_least<T: PartialOrd + std::fmt::Display + Copy>(
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
fn check_between<T: PartialOrd + std::fmt::Display + Copy>(
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

fn resolve_watchdog(file: &WatchdogFile) -> Result<WatchdogConfig, ConfigError> {
    let default = WatchdogConfig::default();
    let (stands, kept) = (default.thresholds, default.retention);
    let interval = |field, value, default| -> Result<Duration, ConfigError> {
        Ok(check_between(field, value, 10, LONGEST_INTERVAL_MS)?
            .map_or(default, Duration::from_millis))
    };
    let warning =
        check_between("watchdog.warning", file.warning, 0.01, 1.0)?.unwrap_or(stands.warning);
    let critical =
        check_between("watchdog.critical", file.critical, 0.01, 1.0)?.unwrap_or(stands.critical);
    if warning > critical {
        return Err(ConfigError::Value {
            field: "watchdog.warning",
            problem: format!(
                "is {warning}, above watchdog.critical, which is {critical}; give a smaller part"
            ),
        });
    }
    Ok(WatchdogConfig {
        heartbeat_interval: interval(
            "watchdog.heartbeat_ms",
            file.heartbeat_ms,
            default.heartbeat_interval,
        )?,
        heartbeat_deadline: interval(
            "watchdog.heartbeat_deadline_ms",
            file.heartbeat_deadline_ms,
            default.heartbeat_deadline,
        )?,
        graveyard_interval: interval(
            "watchdog.graveyard_ms",
            file.graveyard_ms,
            default.graveyard_interval,
        )?,
        violations_per_minute: check_at_least(
            "watchdog.violations_per_minute",
            file.violations_per_minute,
            1,
        )?
        .unwrap_or(default.violations_per_minute),
        redis: resolve_redis(file)?,
        fleet: resolve_fleet(file)?,
        thresholds: Thresholds {
            consecutive_failures: check_at_least(
                "watchdog.consecutive_failures",
                file.consecutive_failures,
                1,
            )?
            .unwrap_or(stands.consecutive_failures),
            failure_rate: check_between("watchdog.failure_rate", file.failure_rate, 0.0, 1.0)?
                .unwrap_or(stands.failure_rate),
            failure_rate_over: check_between(
                "watchdog.failure_rate_over",
                file.failure_rate_over,
                0,
                99,
            )?
            .unwrap_or(stands.failure_rate_over),
            latency_ms: check_at_least("watchdog.latency_ms", file.latency_ms, 1)?
                .unwrap_or(stands.latency_ms),
            latency_over: check_between("watchdog.latency_over", file.latency_over, 0, 99)?
                .unwrap_or(stands.latency_over),
            missed_heartbeats: check_at_least(
                "watchdog.missed_heartbeats",
                file.missed_heartbeats,
                1,
            )?
            .unwrap_or(stands.missed_heartbeats),
            warning,
            critical,
        },
        retention: CapsuleRetention {
            capsule_bytes: check_at_least("watchdog.capsule_bytes", file.capsule_bytes, 16 * 1024)?
                .unwrap_or(kept.capsule_bytes),
            per_agent: check_at_least("watchdog.capsules_per_agent", file.capsules_per_agent, 1)?
                .unwrap_or(kept.per_agent),
            total_bytes: check_at_least("watchdog.capsules_bytes", file.capsules_bytes, 16 * 1024)?
                .unwrap_or(kept.total_bytes),
            days: check_at_least("watchdog.capsule_days", file.capsule_days, 1)?
                .unwrap_or(kept.days),
        },
    })
}

/// Both or none.
fn resolve_tls(file: TlsFile) -> Result<Option<TlsFiles>, ConfigError> {
    let missing = |field| ConfigError::Value {
        field,
        problem: "is missing; give both tls.certificate and tls.key, or neither".to_owned(),
    };
    match (file.certificate, file.key) {
        (None, None) => Ok(None),
        (None, Some(_)) => Err(missing("tls.certificate")),
        (Some(_), None) => Err(missing("tls.key")),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
    }
}

fn resolve_fleet(file: &WatchdogFile) -> Result<Option<FleetConfig>, ConfigError> {
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

fn resolve_redis(file: &WatchdogFile) -> Result<Option<RedisWatchConfig>, ConfigError> {
    let Some(url) = &file.redis_url else {
        return Ok(None);
    };
    let queue = file.redis_queue.as_deref().unwrap_or("ark:signals");
    let stands = RedisWatchConfig::from_url(url, queue).map_err(|problem| ConfigError::Value {
        field: "watchdog.redis_url",
        problem,
    })?;
    Ok(Some(RedisWatchConfig {
        interval: check_between("watchdog.redis_ms", file.redis_ms, 10, LONGEST_INTERVAL_MS)?
            .map_or(stands.interval, Duration::from_millis),
        latency: check_at_least("watchdog.redis_latency_ms", file.redis_latency_ms, 1)?
            .map_or(stands.latency, Duration::from_millis),
        depth: check_at_least("watchdog.redis_depth", file.redis_depth, 1)?.unwrap_or(stands.depth),
        ..stands
    }))
}

fn resolve_lists(file: ListsFile) -> Vec<ListEntry> {
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
mod tests;
