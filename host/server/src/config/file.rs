//! `ark.toml` as written: every key of the configuration. What is a field here is a key in the file, an `ARK_…` variable, and a line of
//! `ark config show`; nothing else has to be told of it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::hrm::HrmConfig;
use crate::router::RouterConfig;
use crate::telemetry::{TelemetryFile, TelemetryListen};
use crate::watchdog::WatchdogConfig;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_runtime::{Limits, LimitsTable};

/// `ark.toml` as written.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
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
    pub tls: TlsFile,
    /// A directory with agents: `NAME.toml` manifests, their components beside them.
    pub agents_dir: Option<PathBuf>,
    /// A file with the Graveyard, mode 0444; absent: the one in the program.
    pub graveyard: Option<PathBuf>,
    /// API consumers that may propose in their own name.
    pub submitters: Option<Vec<String>>,
    /// Operator policies, in the order they are asked.
    pub policies: Vec<PolicyFile>,
    /// A directory with operator policies: `NAME.toml` manifests, their components beside them.
    pub policies_dir: Option<PathBuf>,
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

/// `[tls]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct TlsFile {
    /// The certificate and those that lead to its authority, PEM.
    pub certificate: Option<PathBuf>,
    /// Its private key, PEM; a file that not everybody may read.
    pub key: Option<PathBuf>,
}

/// An operator policy.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct PolicyFile {
    /// The component.
    pub file: PathBuf,
    /// Its SHA-256.
    pub sha256: Digest,
    /// Its name, to be sure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<Name>,
    /// Its settings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub settings: Option<Settings>,
    /// `enforce` (unless it is said), or `shadow`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mode: Option<PolicyMode>,
    /// Its place among all policies; lower ones are asked first. Absent: 10 for the first of the list, 20 for the second and so on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub order: Option<u32>,
}

/// `[capacity]`
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
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
    /// How long the host may take to end what runs once it is told to stop, in milliseconds.
    pub drain_ms: Option<u64>,
    /// Versions kept of each uploaded agent, the one that serves included.
    pub agent_versions: Option<u32>,
    /// Operator policies that may be in force.
    pub policies: Option<usize>,
    /// Fuel of one evaluation of an operator policy; about one a WebAssembly instruction.
    pub policy_fuel: Option<u64>,
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
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
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
#[derive(Debug, Clone, Deserialize, Serialize)]
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

/// Where the API listens unless told otherwise.
const LISTEN: ([u8; 4], u16) = ([127, 0, 0, 1], 8000);
/// Connections at the same time, unless told otherwise.
pub(super) const CONNECTIONS: usize = 16_384;
/// Operator policies that may be in force, unless told otherwise.
pub(super) const POLICIES: usize = 16;
/// Fuel of one evaluation of an operator policy, unless told otherwise: some milliseconds at most.
pub(super) const POLICY_FUEL: u64 = 5_000_000;
/// Requests of each token in a second, unless told otherwise.
pub(super) const RATE: NonZeroU32 = NonZeroU32::MIN.saturating_add(4_999);

impl ConfigFile {
    /// What stands where nothing is said. A key without a value here has none by default.
    #[must_use]
    pub fn defaults() -> Self {
        let (hrm, router) = (HrmConfig::default(), RouterConfig::default());
        let limits = Limits::default();
        Self {
            data_dir: Some("ark-data".into()),
            listen: Some(SocketAddr::from(LISTEN)),
            telemetry_listen: Some(TelemetryListen::default().to_string()),
            behind_proxy: Some(false),
            submitters: Some(vec!["api".to_owned()]),
            limits: LimitsTable {
                fuel: Some(limits.fuel),
                deadline_ms: Some(to_millis(limits.deadline)),
                memory_bytes: Some(limits.memory_bytes),
                table_elements: Some(limits.table_elements),
                instances: Some(limits.instances),
                stack_bytes: Some(limits.stack_bytes),
                resources: Some(limits.resources),
                host_calls: Some(limits.host_calls),
                host_call_bytes: Some(limits.host_call_bytes),
                writes: Some(limits.writes),
                actions: Some(limits.actions),
                output_bytes: Some(limits.output_bytes),
                log_bytes: Some(limits.log_bytes),
                concurrency: Some(limits.concurrency),
                actions_per_minute: Some(limits.actions_per_minute),
            },
            capacity: CapacityFile {
                workers: Some(router.workers),
                slow_workers: Some(router.slow_workers),
                proposals: Some(hrm.queue),
                backlog: Some(router.backlog),
                agent_queue: Some(router.agent_queue),
                signal_ttl_ms: router.signal_ttl_ms,
                connections: Some(CONNECTIONS),
                token_requests_per_second: Some(RATE.get()),
                drain_ms: Some(10_000),
                agent_versions: Some(10),
                policies: Some(POLICIES),
                policy_fuel: Some(POLICY_FUEL),
                max_database_bytes: None,
                reservation_seconds: Some(hrm.reservation_ttl.as_secs()),
                approval_seconds: Some(hrm.approval_ttl.as_secs()),
                approvals: Some(hrm.approvals),
            },
            watchdog: WatchdogFile::defaults(),
            telemetry: TelemetryFile::defaults(),
            ..Self::default()
        }
    }
}

impl WatchdogFile {
    fn defaults() -> Self {
        let default = WatchdogConfig::default();
        let (stands, kept) = (default.thresholds, default.retention);
        Self {
            heartbeat_ms: Some(to_millis(default.heartbeat_interval)),
            heartbeat_deadline_ms: Some(to_millis(default.heartbeat_deadline)),
            missed_heartbeats: Some(stands.missed_heartbeats),
            graveyard_ms: Some(to_millis(default.graveyard_interval)),
            violations_per_minute: Some(default.violations_per_minute),
            consecutive_failures: Some(stands.consecutive_failures),
            failure_rate: Some(stands.failure_rate),
            failure_rate_over: Some(stands.failure_rate_over),
            latency_ms: Some(stands.latency_ms),
            latency_over: Some(stands.latency_over),
            warning: Some(stands.warning),
            critical: Some(stands.critical),
            capsule_bytes: Some(kept.capsule_bytes),
            capsules_per_agent: Some(kept.per_agent),
            capsules_bytes: Some(kept.total_bytes),
            capsule_days: Some(kept.days),
            ..Self::default()
        }
    }
}

fn to_millis(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
