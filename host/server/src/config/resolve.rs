//! From the merged sources to each part's own configuration.
//!
//! What one key allows is checked where the key is stated (`file.rs`); this module checks what depends on several keys.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use axum::http::{HeaderValue, Uri};

use crate::api::{AccessConfig, StreamLimits, TlsFiles};
use crate::front::{FrontConfig, FrontPolicies, OwnerAddress};
use crate::hrm::{HrmConfig, check_veto};
use crate::policies::{Declaration, LAST_PLACE};
use crate::quotas::{QuotaConfig, TokenQuotas};
use crate::redis::{RedisConfig, RedisSettings};
use crate::router::RouterConfig;
use crate::telemetry::TelemetryConfig;
use crate::watchdog::{
    CapsuleRetention, FleetConfig, RedisWatchConfig, RedisWatchLimits, Thresholds, WatchdogConfig,
};
use crate::webhooks::WebhookConfig;
use ark_model::action_types::{ActionTypes, DeclaredType};
use ark_model::check::{FieldError, check_label, check_symbol, clip_for_error};
use ark_model::ids::Name;
use ark_model::instrument::InstrumentAliases;
use ark_model::policy::PolicySource;
use ark_runtime::{EngineConfig, GraveyardSource, Limits};
use ark_store::{ListEntry, SecretKey, StoreConfig};

use super::error::{ConfigError, KeyProblem};
use super::file::{
    ActionTypeFile, FrontFile, InstrumentsFile, ListsFile, PolicyFile, TlsFile, WatchdogFile,
};
use super::keys::{Table, join_key};
use super::layers::Layers;
use super::overrides::Overrides;
use super::redis::resolve_redis;
use super::webhooks::resolve_webhooks;

/// The configuration: that of every part.
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
    /// What the Redis is used for; `None`: there is none.
    pub redis: Option<RedisConfig>,
    /// Where events are sent.
    pub webhooks: Vec<WebhookConfig>,
    /// The configuration of telemetry.
    pub telemetry: TelemetryConfig,
    /// Where the Graveyard is.
    pub graveyard: GraveyardSource,
    /// The operator policies that the configuration declares.
    pub policies: Vec<Declaration>,
    /// The directory in which further ones are declared.
    pub policies_dir: Option<PathBuf>,
    /// How many operator policies may be in force.
    pub max_policies: usize,
    /// Fuel of one evaluation of an operator policy.
    pub policy_fuel: u64,
    /// The files with the keys that may sign agents; none: no signature is demanded.
    pub agent_signature_keys: Vec<PathBuf>,
    /// The files with the keys that may sign policies; none: no signature is demanded.
    pub policy_signature_keys: Vec<PathBuf>,
    /// The directory of the agents.
    pub agents_dir: Option<PathBuf>,
    /// The ceiling of every agent's limits.
    pub limits: Limits,
    /// What agents and tokens may use over time.
    pub quotas: QuotaConfig,
    /// The names that may propose, apart from the agents.
    pub submitters: Vec<Name>,
    /// What the host attests from the operator's own knowledge.
    pub lists: Vec<ListEntry>,
    /// Where the API listens.
    pub listen: SocketAddr,
    /// How the API is reached.
    pub access: AccessConfig,
    /// How long the host takes at most to finish what runs once it is told to stop.
    pub drain: Duration,
    /// Versions kept of each uploaded agent.
    pub agent_versions: u32,
    /// That of a front, which `ark serve` does not read; `None`: no owner is named.
    pub front: Option<FrontConfig>,
}

impl Config {
    /// Reads and checks the configuration of this process. Without a `path` the file is `ark.toml` in the working directory, if there is one.
    ///
    /// # Errors
    /// See [`ConfigError`]; it names the key.
    pub fn read(path: Option<&Path>, overrides: &Overrides) -> Result<Self, ConfigError> {
        let mut config = Self::from_layers(&Layers::read(path, overrides)?)?;
        // From the environment only: a key in the configuration would be backed up and shown with it.
        config.store.secret_key = SecretKey::from_environment()?;
        Ok(config)
    }

    /// Checks the merged sources. The key that encrypts secrets is not read.
    ///
    /// # Errors
    /// See [`ConfigError`]; it names the key.
    pub fn from_layers(layers: &Layers) -> Result<Self, ConfigError> {
        let file = layers.to_file()?;
        let refused = |(key, problem): KeyProblem| ConfigError::Value {
            origin: layers.source_of(&key),
            key,
            problem,
        };
        file.check("").map_err(refused)?;
        let listen = file.listen;
        let tls = resolve_tls(file.tls).map_err(refused)?;
        if !listen.ip().is_loopback() && tls.is_none() && !file.behind_proxy {
            return Err(refused(("listen".to_owned(), describe_plaintext(listen))));
        }
        let action_types = resolve_action_types(file.action_types).map_err(refused)?;
        let lists = resolve_lists(file.lists, &action_types).map_err(refused)?;
        let redis = resolve_redis(file.redis, &file.watchdog).map_err(refused)?;
        let engine = EngineConfig::default();
        let capacity = file.capacity;
        Ok(Self {
            engine: EngineConfig {
                cache_dir: Some(file.data_dir.join("cache")),
                memory_bytes: engine.memory_bytes.max(file.limits.memory_bytes),
                stack_bytes: file.limits.stack_bytes,
                ..engine
            },
            store: StoreConfig {
                max_bytes: capacity.max_database_bytes,
                require_database: file.require_database,
                ..StoreConfig::in_dir(file.data_dir)
            },
            hrm: HrmConfig {
                queue: capacity.proposals,
                reservation_ttl: Duration::from_secs(capacity.reservation_seconds),
                approval_ttl: Duration::from_secs(capacity.approval_seconds),
                approvals: capacity.approvals,
                action_types,
                aliases: resolve_aliases(&file.instruments).map_err(refused)?,
                meters: Arc::default(),
            },
            router: RouterConfig {
                workers: capacity.workers,
                slow_workers: capacity.slow_workers,
                backlog: capacity.backlog,
                agent_queue: capacity.agent_queue,
                signal_ttl_ms: capacity.signal_ttl_ms,
            },
            watchdog: resolve_watchdog(file.watchdog, redis.as_ref(), layers)?,
            redis,
            webhooks: resolve_webhooks(file.webhooks).map_err(refused)?,
            telemetry: TelemetryConfig {
                listen: file.telemetry_listen,
                log_format: file.telemetry.log_format,
                otlp_endpoint: file.telemetry.otlp_endpoint,
            },
            graveyard: file
                .graveyard
                .map_or(GraveyardSource::Embedded, GraveyardSource::File),
            policies: resolve_policies(file.policies).map_err(refused)?,
            policies_dir: file.policies_dir,
            max_policies: capacity.policies,
            policy_fuel: capacity.policy_fuel,
            agent_signature_keys: file.signatures.agents,
            policy_signature_keys: file.signatures.policies,
            agents_dir: file.agents_dir,
            limits: file.limits,
            quotas: QuotaConfig {
                agents: file.quotas,
                tokens: TokenQuotas {
                    stored_bytes: file.token_quotas.stored_bytes,
                    stored_bytes_per_minute: file.token_quotas.stored_bytes_per_minute,
                    audit_bytes_per_minute: file.token_quotas.audit_bytes_per_minute,
                },
            },
            submitters: file.submitters,
            lists,
            listen,
            access: AccessConfig {
                tls,
                behind_proxy: file.behind_proxy,
                rate: NonZeroU32::new(capacity.token_requests_per_second)
                    .unwrap_or(NonZeroU32::MIN),
                connections: capacity.connections,
                streams: StreamLimits {
                    all: capacity.event_streams,
                    of_token: capacity.event_streams_per_token,
                },
                origins: resolve_origins(&file.api.cors.origins).map_err(refused)?,
            },
            drain: Duration::from_millis(capacity.drain_ms),
            agent_versions: capacity.agent_versions,
            front: resolve_front(file.front).map_err(refused)?,
        })
    }
}

/// What is wrong with an address on which tokens would travel unencrypted.
fn describe_plaintext(listen: SocketAddr) -> String {
    format!(
        "is {listen}, which other machines can reach and where tokens would travel unencrypted; give [tls] certificate and key, or --behind-proxy when a proxy ends TLS, or a loopback address, e.g. 127.0.0.1:8000"
    )
}

impl Config {
    /// Checks the address of a socket that was passed in the place of `listen`, as [`Self::from_layers`] checks that.
    ///
    /// # Errors
    /// Other machines can reach it, and tokens would travel unencrypted. Returns what is wrong and the remedy.
    pub fn check_passed_address(&self, address: SocketAddr) -> Result<(), String> {
        let is_safe =
            address.ip().is_loopback() || self.access.tls.is_some() || self.access.behind_proxy;
        if is_safe {
            return Ok(());
        }
        Err(describe_plaintext(address))
    }

    /// What a front judges with: the host's own policies. Its cache of compiled ones is its own, since that of the host is in the data directory.
    #[must_use]
    pub fn front_policies(&self) -> FrontPolicies {
        FrontPolicies {
            engine: EngineConfig {
                cache_dir: self.front.as_ref().and_then(|it| it.cache_dir.clone()),
                ..self.engine.clone()
            },
            graveyard: self.graveyard.clone(),
            declared: self.policies.clone(),
            directory: self.policies_dir.clone(),
            signature_keys: self.policy_signature_keys.clone(),
            fuel: self.policy_fuel,
            action_types: self.hrm.action_types.clone(),
        }
    }
}

/// The configuration of a front, where an owner is named.
fn resolve_front(file: FrontFile) -> Result<Option<FrontConfig>, KeyProblem> {
    let Some(owner) = file.owner else {
        return Ok(None);
    };
    let owner =
        OwnerAddress::parse(&owner).map_err(|problem| ("front.owner".to_owned(), problem))?;
    Ok(Some(FrontConfig {
        owner,
        owner_ca: file.owner_ca,
        token_file: file.token_file,
        hold_for: Duration::from_millis(file.hold_ms),
        hold_limit: file.hold_limit,
        cache_dir: file.cache_dir,
    }))
}

/// The origins whose pages may call the API.
fn resolve_origins(origins: &[String]) -> Result<Vec<HeaderValue>, KeyProblem> {
    let parse = |origin: &String| {
        let uri: Uri = origin.parse().ok()?;
        let is_web = matches!(uri.scheme_str(), Some("http" | "https"));
        let authority = uri.authority().filter(|it| !it.as_str().contains('@'))?;
        let written = format!("{}://{authority}", uri.scheme_str()?);
        let is_whole = *origin == written && *origin == origin.to_ascii_lowercase();
        (is_web && is_whole).then(|| HeaderValue::from_str(origin).ok())?
    };
    origins
        .iter()
        .map(|origin| {
            parse(origin).ok_or_else(|| {
                let shown = clip_for_error(origin);
                let problem = format!(
                    "has {shown:?}, which is no origin; give scheme, host and port in lower case and nothing else, e.g. \"https://desk.example\""
                );
                ("api.cors.origins".to_owned(), problem)
            })
        })
        .collect()
}

/// The declarations of `[[policies]]`, with the order that is not given filled in.
fn resolve_policies(files: Vec<PolicyFile>) -> Result<Vec<Declaration>, KeyProblem> {
    files
        .into_iter()
        .zip(1_u32..)
        .map(|(file, place)| match file.order {
            Some(order) if order > LAST_PLACE => Err((
                "policies.order".to_owned(),
                format!("is {order}; give 0 to {LAST_PLACE}"),
            )),
            order => Ok(Declaration {
                source: PolicySource::Configuration,
                origin: file.file.clone(),
                file: file.file,
                sha256: file.sha256,
                name: file.name,
                settings: file.settings,
                mode: file.mode.unwrap_or_default(),
                place: order.unwrap_or_else(|| place.saturating_mul(10).min(LAST_PLACE)),
            }),
        })
        .collect()
}

/// The declared action types.
fn resolve_action_types(
    files: BTreeMap<String, ActionTypeFile>,
) -> Result<ActionTypes, KeyProblem> {
    let declared = files.into_iter().map(|(name, file)| {
        let declaration = DeclaredType {
            family: file.family,
            fields: file.fields.unwrap_or_default(),
            fixed: file.fixed.unwrap_or_default(),
            reversible: file.reversible,
            external: file.external,
            criticality: file.criticality,
        };
        (name, declaration)
    });
    ActionTypes::new(declared.collect()).map_err(|error| {
        let problem = format!("{}; {}", error.problem, error.remedy);
        (join_key("action_types", &error.field), problem)
    })
}

fn resolve_watchdog(
    file: WatchdogFile,
    redis: Option<&RedisConfig>,
    layers: &Layers,
) -> Result<WatchdogConfig, ConfigError> {
    let refused = |(key, problem): KeyProblem| ConfigError::Value {
        origin: layers.source_of(&key),
        key,
        problem,
    };
    if file.warning > file.critical {
        let problem = format!(
            "is {}, above watchdog.critical, which is {}; give a smaller part",
            file.warning, file.critical
        );
        return Err(refused(("watchdog.warning".to_owned(), problem)));
    }
    let settings = redis.map(|redis| &redis.settings);
    let fleet = check_fleet(&file, settings).map_err(refused)?;
    if let (Some((_, stream, _)), Some(redis)) = (fleet, redis) {
        check_fleet_stream(stream, redis).map_err(refused)?;
    }
    Ok(WatchdogConfig {
        heartbeat_interval: Duration::from_millis(file.heartbeat_ms),
        heartbeat_deadline: Duration::from_millis(file.heartbeat_deadline_ms),
        graveyard_interval: Duration::from_millis(file.graveyard_ms),
        violations_per_minute: file.violations_per_minute,
        webhook_failing: Duration::from_millis(file.webhook_failing_ms),
        fleet: fleet
            .map(|(settings, stream, key)| -> Result<_, ConfigError> {
                Ok(FleetConfig {
                    redis: Arc::clone(settings),
                    stream: stream.to_owned(),
                    key: SecretKey::from_file(key)?,
                })
            })
            .transpose()?,
        redis: settings.map(|settings| RedisWatchConfig {
            settings: Arc::clone(settings),
            queue: file.redis_queue,
            interval: Duration::from_millis(file.redis_ms),
            limits: RedisWatchLimits {
                latency: Duration::from_millis(file.redis_latency_ms),
                depth: file.redis_depth,
                stream_depth: file.redis_stream_depth,
                lag: file.redis_lag,
                pending_age: Duration::from_millis(file.redis_pending_ms),
                dead_letters: file.redis_dead_letters,
                events_waiting: file.redis_events_waiting,
                events_age: Duration::from_millis(file.redis_events_age_ms),
            },
        }),
        thresholds: Thresholds {
            consecutive_failures: file.consecutive_failures,
            failure_rate: file.failure_rate,
            failure_rate_over: file.failure_rate_over,
            latency_ms: file.latency_ms,
            latency_over: file.latency_over,
            missed_heartbeats: file.missed_heartbeats,
            quota_refusals: file.quota_refusals,
            warning: file.warning,
            critical: file.critical,
        },
        store_check_interval: Duration::from_hours(file.store_check_hours),
        retention: CapsuleRetention {
            capsule_bytes: file.capsule_bytes,
            per_agent: file.capsules_per_agent,
            total_bytes: file.capsules_bytes,
            days: file.capsule_days,
        },
    })
}

/// Certificate and key: both or neither.
fn resolve_tls(file: TlsFile) -> Result<Option<TlsFiles>, KeyProblem> {
    let missing = |key: &str| {
        let problem = "is missing; give both tls.certificate and tls.key, or neither";
        Err((key.to_owned(), problem.to_owned()))
    };
    match (file.certificate, file.key) {
        (None, None) => Ok(None),
        (None, Some(_)) => missing("tls.certificate"),
        (Some(_), None) => missing("tls.key"),
        (Some(certificate), Some(key)) => Ok(Some(TlsFiles { certificate, key })),
    }
}

/// The Redis, the stream and the key file of a fleet.
type FleetParts<'a> = (&'a Arc<RedisSettings>, &'a str, &'a Path);

/// Redis, stream and key file of the fleet: all three, or neither stream nor key file.
fn check_fleet<'a>(
    file: &'a WatchdogFile,
    redis: Option<&'a Arc<RedisSettings>>,
) -> Result<Option<FleetParts<'a>>, KeyProblem> {
    let missing = |key: &str, problem: &str| Err((key.to_owned(), problem.to_owned()));
    match (&file.fleet, &file.fleet_key_file, redis) {
        (None, None, _) => Ok(None),
        (None, Some(_), _) => missing(
            "watchdog.fleet",
            "is missing; name the fleet's stream, e.g. ark:orders",
        ),
        (Some(_), None, _) => missing(
            "watchdog.fleet_key_file",
            "is missing, and without a key anyone who can write to the Redis could resume a halt; name a file (mode 0400) made with `openssl rand -hex 32`",
        ),
        (Some(_), _, None) => missing(
            "redis.url",
            "is missing; the fleet's orders go through that Redis, e.g. redis://127.0.0.1:6379/0",
        ),
        (Some(stream), Some(key), Some(redis)) => Ok(Some((redis, stream, key))),
    }
}

/// The orders of a fleet have a stream that carries nothing else: an entry that is not an order would be refused, and its length is kept short.
fn check_fleet_stream(stream: &str, redis: &RedisConfig) -> Result<(), KeyProblem> {
    let signals = redis.signals.iter().enumerate();
    let taken = signals.flat_map(|(index, signals)| {
        let key = |name: &str| format!("redis.signals[{index}].{name}");
        [
            (key("stream"), &signals.stream),
            (key("dead_letters"), &signals.dead_letters),
        ]
    });
    let events = redis.events.iter();
    let events = events.map(|events| ("redis.events.stream".to_owned(), &events.stream));
    match taken.chain(events).find(|(_, used)| *used == stream) {
        None => Ok(()),
        Some((key, _)) => Err((
            "watchdog.fleet".to_owned(),
            format!(
                "is {stream:?}, which {key} uses; give the fleet a stream of its own, e.g. ark:orders"
            ),
        )),
    }
}

fn resolve_aliases(file: &InstrumentsFile) -> Result<InstrumentAliases, KeyProblem> {
    let pairs = file
        .aliases
        .iter()
        .map(|(alias, meaning)| (alias.as_str(), meaning.as_str()));
    InstrumentAliases::new(pairs).map_err(|error| {
        let problem = format!("cannot be used: {error}");
        ("instruments.aliases".to_owned(), problem)
    })
}

/// The entries of the lists. One that can match no action is refused.
fn resolve_lists(
    file: ListsFile,
    action_types: &ActionTypes,
) -> Result<Vec<ListEntry>, KeyProblem> {
    let refused = |error: FieldError| (error.field, format!("{}; {}", error.problem, error.remedy));
    let mut entries = Vec::new();
    for (index, symbol) in file.restricted_symbols.into_iter().enumerate() {
        check_symbol(&format!("lists.restricted_symbols[{index}]"), &symbol).map_err(refused)?;
        entries.push(ListEntry::Restricted(symbol));
    }
    for (index, symbol) in file.client_orders.into_iter().enumerate() {
        check_symbol(&format!("lists.client_orders[{index}]"), &symbol).map_err(refused)?;
        entries.push(ListEntry::ClientOrder(symbol));
    }
    for (index, source) in file.validated_sources.into_iter().enumerate() {
        check_label(&format!("lists.validated_sources[{index}]"), &source).map_err(refused)?;
        entries.push(ListEntry::ValidatedSource(source));
    }
    for (subject, granted) in file.consents {
        check_label("lists.consents", &subject).map_err(refused)?;
        entries.push(ListEntry::Consent { subject, granted });
    }
    for (index, veto) in file.vetoes.into_iter().enumerate() {
        if let Some(symbol) = &veto.symbol {
            check_symbol(&format!("lists.vetoes[{index}].symbol"), symbol).map_err(refused)?;
        }
        check_veto(
            action_types,
            veto.action_type.as_deref(),
            veto.symbol.as_deref(),
        )
        .map_err(|error| {
            refused(FieldError {
                field: format!("lists.vetoes[{index}].{}", error.field),
                ..error
            })
        })?;
        entries.push(ListEntry::Veto {
            agent: veto.agent,
            action_type: veto.action_type,
            symbol: veto.symbol,
            words: veto.words,
        });
    }
    Ok(entries)
}
