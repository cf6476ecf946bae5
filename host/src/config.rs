//! The operator's configuration: `ark.toml`, read and checked once, at the edge.
//!
//! Precedence: command-line flag, then environment variable (`ARK_…`), then `ark.toml`, then the default. Unknown keys are refused.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;

use crate::hrm::HrmConfig;
use crate::model::ids::{Digest, Name};
use crate::router::RouterConfig;
use crate::runtime::{EngineConfig, GraveyardSource, Limits};
use crate::store::{ListEntry, SecretKey, SecretKeyError, StoreConfig};

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
}

/// `ark.toml` as written.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConfigFile {
    /// Where the host keeps its data.
    pub data_dir: Option<PathBuf>,
    /// Address and port of the HTTP API. Without tokens it must be a loopback address.
    pub listen: Option<SocketAddr>,
    /// A directory with agents: `NAME.toml` manifests, their components beside them.
    pub agents_dir: Option<PathBuf>,
    /// A file with the Graveyard, mode 0444; absent: the one in the program.
    pub graveyard: Option<PathBuf>,
    /// API consumers that may propose in their own name.
    pub submitters: Option<Vec<String>>,
    /// Operator policies, in the order they are asked.
    pub policies: Vec<PolicyFile>,
    /// The ceiling of every agent's limits.
    pub limits: LimitsFile,
    /// Work that may wait or run at the same time.
    pub capacity: CapacityFile,
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

/// `[limits]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsFile {
    /// Fuel of one invocation.
    pub fuel: Option<u64>,
    /// Time of one invocation, in milliseconds.
    pub deadline_ms: Option<u64>,
    /// Memory of one invocation, in bytes.
    pub memory_bytes: Option<usize>,
    /// Host calls of one invocation.
    pub host_calls: Option<u32>,
    /// Actions of one invocation.
    pub actions: Option<u32>,
    /// Log of one invocation, in bytes.
    pub log_bytes: Option<usize>,
}

/// `[capacity]`
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CapacityFile {
    /// Invocations at the same time.
    pub workers: Option<usize>,
    /// Signals that may wait.
    pub backlog: Option<usize>,
    /// Connections at the same time.
    pub connections: Option<usize>,
    /// The size the database may grow to, in bytes.
    pub max_database_bytes: Option<u64>,
    /// Seconds an approved trade holds its exposure without an execution report.
    pub reservation_seconds: Option<u64>,
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
    /// Connections at the same time.
    pub connections: usize,
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
        if !listen.ip().is_loopback() {
            return Err(ConfigError::Value {
                field: "listen",
                problem: format!(
                    "{listen} can be reached from other machines, and this API has no authentication yet; give a loopback address, e.g. 127.0.0.1:8000"
                ),
            });
        }
        let limits = limits(&file.limits)?;
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
                ..engine
            },
            store: StoreConfig {
                max_bytes: file.capacity.max_database_bytes,
                ..StoreConfig::in_dir(data_dir)
            },
            hrm: HrmConfig {
                reservation_ttl: at_least(
                    "capacity.reservation_seconds",
                    file.capacity.reservation_seconds,
                    1,
                )?
                .map_or(hrm.reservation_ttl, Duration::from_secs),
                ..hrm
            },
            router: RouterConfig {
                workers: at_least("capacity.workers", file.capacity.workers, 1)?
                    .unwrap_or(router.workers),
                backlog: at_least("capacity.backlog", file.capacity.backlog, 1)?
                    .unwrap_or(router.backlog),
            },
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
            connections: at_least("capacity.connections", file.capacity.connections, 1)?
                .unwrap_or(4096),
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

fn limits(file: &LimitsFile) -> Result<Limits, ConfigError> {
    let default = Limits::default();
    Ok(Limits {
        fuel: at_least("limits.fuel", file.fuel, 1)?.unwrap_or(default.fuel),
        deadline: at_least("limits.deadline_ms", file.deadline_ms, 1)?
            .map_or(default.deadline, Duration::from_millis),
        memory_bytes: at_least("limits.memory_bytes", file.memory_bytes, 65_536)?
            .unwrap_or(default.memory_bytes),
        host_calls: at_least("limits.host_calls", file.host_calls, 1)?
            .unwrap_or(default.host_calls),
        actions: at_least("limits.actions", file.actions, 1)?.unwrap_or(default.actions),
        log_bytes: file.log_bytes.unwrap_or(default.log_bytes),
        ..default
    })
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
            ("[[policies]]\nfile = \"p.wasm\"\nsha256 = \"12\"", "sha256"),
            ("[lists]\nrestricted = []", "restricted"),
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
