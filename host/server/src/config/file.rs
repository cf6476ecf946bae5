//! `ark.toml`: every key, stated once. Each statement is a key of the file, an `ARK_…` variable, a line of `ark config show` and a line
//! of `docs/configuration.md`.
//!
//! A default is written at its key. Where another part needs the same default without a configuration, that part has the number and the
//! key refers to it.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::front::OwnerAddress;
use crate::redis::RedisAddress;
use crate::telemetry::{LogFormat, TelemetryListen};
use crate::watchdog::{CapsuleRetention, Thresholds};
use ark_model::action::{Criticality, Family};
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_runtime::{Limits, POLICY_FUEL, Quotas};

use super::keys::{Allowed, Any, CheckedText, Item, Key, Section, Table};
use super::keys::{add_example, at_least, between_values, items, join_key, list_entries, table};

/// The longest interval between two rounds of the watchdog, in milliseconds: its heartbeat counts for 30 s.
const MAX_INTERVAL_MS: u64 = 20_000;
/// A year, in seconds.
const YEAR_SECONDS: u64 = 31_536_000;

table! {
    /// These keys stand at the top of the file, before the first table.
    pub struct ConfigFile {
        /// The directory in which the host keeps its data. Flag: `--data-dir`.
        data_dir: PathBuf = "ark-data".into(), Any;
        /// Whether a start is refused where `data_dir` has no database. A data directory that is lost as a whole, or whose disk is not mounted, then opens nothing. `ark token create --data-dir` makes the database of a new host.
        require_database: bool = false, Any;
        /// Address and port of the HTTP API; port 0: a free one. Without `[tls]` and `behind_proxy` it must be a loopback address. Flag: `--listen`.
        listen: SocketAddr = SocketAddr::from(([127, 0, 0, 1], 8000)), Any;
        /// Address and port on which metrics are served, or `off`. The port asks for no token. Flag: `--telemetry-listen`.
        telemetry_listen: TelemetryListen = TelemetryListen::default(), Any;
        /// Whether a proxy stands before the host, ends TLS and forwards requests of other machines. Such a host answers only requests that carry a token. Flag: `--behind-proxy`.
        behind_proxy: bool = false, Any;
        /// A directory with agents: `NAME.toml` manifests, each with its component beside it. Flag: `--agents`; the variable may be called `ARK_AGENTS` for short.
        agents_dir: Option<PathBuf> = None, Any;
        /// A file with the Graveyard, mode 0444. Without it the host uses the one in its program. Flag: `--graveyard`.
        graveyard: Option<PathBuf> = None, Any;
        /// The names that may propose actions over HTTP, in addition to the agents and the names that tokens are bound to. Flag: `--submitter`, which adds a name.
        submitters: Vec<Name> = "api".parse().into_iter().collect(), Any;
        /// The operator policies, asked after the Graveyard in their order. They can only tighten what it decides.
        policies: Vec<PolicyFile> = Vec::new(), list_entries(), reloaded;
        /// A directory with more operator policies: `NAME.toml` manifests (`name`, `component`, `sha256`, `mode`, `order`, `[settings]`), each with its component beside it.
        policies_dir: Option<PathBuf> = None, Any, reloaded;
        /// The action types besides the built-in ones. What is neither built in nor declared here is denied. A name is the key of a table: `[action_types.place_order]`.
        action_types: BTreeMap<String, ActionTypeFile> = BTreeMap::new(), list_entries(), reloaded;
        /// Where events are sent to, signed. [Webhooks](webhooks.md) says what is guaranteed.
        webhooks: Vec<WebhookFile> = Vec::new(), list_entries();
        [tls]: TlsFile;
        [api]: ApiFile;
        [limits]: Limits;
        [quotas]: Quotas;
        [token_quotas]: TokenQuotasFile;
        [capacity]: CapacityFile;
        [telemetry]: TelemetryFile;
        [watchdog]: WatchdogFile;
        [redis]: RedisFile;
        [signatures]: SignaturesFile;
        [lists]: ListsFile;
        [instruments]: InstrumentsFile;
        [front]: FrontFile;
    }
}

items! {
    /// An entry of `[action_types]`.
    pub struct ActionTypeFile {
        /// The family whose rules judge it: `trade`, `close_position`, `data`, `file`, `code`, `message`, or `custom` for one without typed fields.
        family: Family;
        /// What it is, for people.
        description: Option<String>;
        /// The fields of a request that have other names than the family's typed fields, e.g. `{ quantity = "position_size_pct" }`. A field that only policies read is mapped to `extra`; any other field is refused.
        fields: Option<BTreeMap<String, String>>;
        /// Typed fields that have one value in every such action, e.g. `{ side = "sell" }`: those that take one of some texts, or true or false.
        fixed: Option<BTreeMap<String, serde_json::Value>>;
        /// Whether it can be undone: `false` holds whatever a proposal says.
        reversible: Option<bool>;
        /// Whether it has an effect outside the host: `true` holds whatever a proposal says, `false` unless it says otherwise.
        external: Option<bool>;
        /// How much damage a mistake would do, at least: `low`, `normal`, `high` or `critical`.
        criticality: Option<Criticality>;
    }
}

items! {
    /// An entry of `[[policies]]`.
    pub struct PolicyFile {
        /// The component.
        file: PathBuf;
        /// The SHA-256 of the component, in hexadecimal.
        sha256: Digest;
        /// The policy's name. It is checked against the component's own.
        name: Option<Name>;
        /// The settings of the policy, a table. The policy itself says whether it takes them.
        settings: Option<Settings>;
        /// `enforce` (the default) or `shadow`: the verdicts are recorded and compared, and change no outcome.
        mode: Option<PolicyMode>;
        /// The place among all policies: a lower one is asked earlier. The default is 10 for the first entry, 20 for the second and so on.
        order: Option<u32>;
    }
}

items! {
    /// An entry of `[[webhooks]]`.
    pub struct WebhookFile {
        /// Its name. How far events were sent is kept under it: under a new name it begins with what happens from then on.
        name: Name;
        /// Where events are sent: an `https://` address; `http://` only on this machine.
        url: String;
        /// A file (mode 0400) with the secrets that sign, one a line and 4 at most, each made with `echo whsec_$(openssl rand -base64 32)`. It is read for each attempt, so a secret can be changed while the host runs.
        secret_file: PathBuf;
        /// The types of events that are sent, e.g. `["ark.decision.*", "ark.alert.critical"]`; all if it is left out.
        events: Option<Vec<String>>;
        /// A PEM file with the authorities that may have signed the receiver's certificate; without it, the public ones.
        ca_file: Option<PathBuf>;
        /// Networks that may be connected to besides the public Internet, e.g. `["10.1.2.0/24"]`.
        allow_networks: Option<Vec<String>>;
        /// Milliseconds that an attempt may take in all, 100 to 60,000; 10,000 if it is left out.
        timeout_ms: Option<u64>;
        /// Attempts at an event until it becomes a dead letter, 1 to 100; 10 if it is left out.
        max_attempts: Option<u64>;
        /// Milliseconds until the second attempt, 10 to 3,600,000; 1,000 if it is left out. Each further one waits twice as long.
        retry_ms: Option<u64>;
        /// Milliseconds that an attempt waits at most, whatever the receiver asks for: `retry_ms` to 86,400,000; 600,000 if it is left out.
        max_retry_ms: Option<u64>;
        /// Dead letters that are kept, 1 to 10,000; 1,000 if it is left out. The oldest are dropped.
        dead_letters: Option<u64>;
    }
}

table! {
    /// Certificate and key of the HTTP API. Other machines need them, or a proxy that ends TLS. Both keys are given or neither. The files are
    /// read again when they change, and on SIGHUP.
    pub struct TlsFile {
        /// A PEM file with the certificate and those that lead to its authority.
        certificate: Option<PathBuf> = None, Any;
        /// A PEM file with the private key. Not every user may be able to read it.
        key: Option<PathBuf> = None, Any;
    }
}

table! {
    /// The HTTP API.
    pub struct ApiFile {
        [cors]: CorsFile;
    }
}

table! {
    /// Which pages of other origins may call the HTTP API from a browser (CORS).
    pub struct CorsFile {
        /// The origins, e.g. `["https://desk.example"]`: scheme, host and, if it is not the scheme's own, port. Each is named; there is no wildcard. Without one, browsers let no other page read an answer. A page must send a token where the host has tokens.
        origins: Vec<String> = Vec::new(), Any;
    }
}

table! {
    /// How much work may wait and run at the same time, and how much is kept.
    pub struct CapacityFile {
        /// Invocations of agents at the same time, those included that wait for a thread. Those that run for longer than 10 ms are not counted.
        workers: usize = 16, between_values(1, 128);
        /// Invocations that run for longer than 10 ms, at the same time.
        slow_workers: usize = 48, between_values(0, 128);
        /// Proposals that may wait for a decision. Each proposer may fill a quarter of it. Proposals that reduce risk have another quarter of their own.
        proposals: usize = 4096, between_values(4, 1_000_000);
        /// Deliveries of signals that may wait, for all agents together.
        backlog: usize = 100_000, at_least(1);
        /// Deliveries of signals that may wait for one agent.
        agent_queue: usize = 10_000, at_least(1);
        /// Milliseconds for which a signal without a `ttl_ms` of its own waits at most. Without a value it waits until it is delivered.
        signal_ttl_ms: Option<u64> = None, at_least(1);
        /// Connections to the HTTP API at the same time. The limit of open files may allow fewer; the host then says so at the start.
        connections: usize = 16_384, at_least(1);
        /// Event streams (`GET /v1/events`) at the same time.
        event_streams: usize = 1_024, at_least(1);
        /// Event streams of each token at the same time. Callers without a token count as one.
        event_streams_per_token: usize = 64, at_least(1);
        /// Requests that each token may send in a second.
        token_requests_per_second: u32 = 5_000, at_least(1);
        /// Milliseconds that the host takes at most to finish what runs once it is told to stop.
        drain_ms: u64 = 10_000, between_values(100, 3_600_000);
        /// Versions kept of each uploaded agent, the serving one included.
        agent_versions: u32 = 10, between_values(2, 100);
        /// Operator policies that may be in force. Each can delay every decision for as long as its fuel lasts.
        policies: usize = 16, between_values(1, 64);
        /// Fuel of one evaluation of an operator policy: about one unit a WebAssembly instruction.
        policy_fuel: u64 = 5_000_000, between_values(100_000, POLICY_FUEL);
        /// Bytes that the database and its write-ahead log may grow to together. Without a value: 64 GiB, or twice its size at the start if that is more, but no more than nine tenths of what it has and the disk has free then. The last sixteenth of it (256 MiB at most) is the host's reserve: from there on only orders, changes of operators, and what reduces risk are recorded.
        max_database_bytes: Option<u64> = None, at_least(1_000_000);
        /// Seconds for which an approved trade reserves its exposure without an execution report.
        reservation_seconds: u64 = 600, at_least(1);
        /// Seconds for which a held action waits for an approval.
        approval_seconds: u64 = 3_600, between_values(1, YEAR_SECONDS);
        /// Held actions that may wait for an approval. Each proposer may fill a tenth of it.
        approvals: usize = 10_000, between_values(1, 1_000_000);
    }
}

table! {
    /// What may be written over the API with one token, over time. Callers of a host without tokens may together write as much. Orders, tokens,
    /// approvals, execution reports and what reduces risk are never refused for it.
    pub struct TokenQuotasFile {
        /// Bytes that are kept of what was written with a token: signals with their deliveries, and the history of state, truths and configuration values.
        stored_bytes: u64 = 16 * 1024 * 1024 * 1024, at_least(1), reloaded;
        /// Bytes that may be added to those within a minute.
        stored_bytes_per_minute: u64 = 1024 * 1024 * 1024, at_least(1), reloaded;
        /// Bytes of the audit log about what a token proposes and changes within a minute. A request is refused when they are used up before it.
        audit_bytes_per_minute: u64 = 4 * 1024 * 1024 * 1024, at_least(1), reloaded;
    }
}

table! {
    /// Log lines and traces.
    pub struct TelemetryFile {
        /// The form of log lines: `human` or `json`. `ARK_LOG_FORMAT` comes before it.
        log_format: LogFormat = LogFormat::default(), Any;
        /// The address to which traces are sent (OTLP over HTTP, protobuf), e.g. `http://127.0.0.1:4318/v1/traces`. Without a value none are sent.
        otlp_endpoint: Option<String> = None, CheckedText { check: check_endpoint, description: "an http or https address with a path" };
    }
}

table! {
    /// When agents are quarantined or warned of, what else is watched, and how many capsules of failed invocations are kept.
    pub struct WatchdogFile {
        /// Milliseconds between two heartbeats that each agent is asked for.
        heartbeat_ms: u64 = 5_000, between_values(10, MAX_INTERVAL_MS);
        /// Milliseconds that an agent's heartbeat may take; the agent's own deadline if that is shorter.
        heartbeat_deadline_ms: u64 = 1_000, between_values(10, MAX_INTERVAL_MS);
        /// Missed heartbeats in a row that quarantine an agent.
        missed_heartbeats: u32 = Thresholds::default().missed_heartbeats, at_least(1), reloaded;
        /// Milliseconds between two checks of the Graveyard's bytes against the pin.
        graveyard_ms: u64 = 10_000, between_values(10, MAX_INTERVAL_MS);
        /// Decisions of one minute that may violate rules; more raise an alert.
        violations_per_minute: u32 = 10, at_least(1);
        /// Failures in a row that quarantine an agent.
        consecutive_failures: u32 = Thresholds::default().consecutive_failures, at_least(1), reloaded;
        /// The part of an agent's last 100 invocations that may fail; more quarantine it.
        failure_rate: f64 = Thresholds::default().failure_rate, between_values(0.0, 1.0), reloaded;
        /// `failure_rate` counts once there are more invocations than this.
        failure_rate_over: u32 = Thresholds::default().failure_rate_over, between_values(0, 99), reloaded;
        /// The mean latency of an agent's last 100 invocations that is allowed, in milliseconds; more quarantine it.
        latency_ms: u64 = Thresholds::default().latency_ms, at_least(1), reloaded;
        /// `latency_ms` counts once there are more invocations than this.
        latency_over: u32 = Thresholds::default().latency_over, between_values(0, 99), reloaded;
        /// Invocations that an agent's quotas refuse within ten minutes and that quarantine it.
        quota_refusals: u32 = Thresholds::default().quota_refusals, at_least(1), reloaded;
        /// The earlier name of `redis.url`. Give one of them.
        redis_url: Option<String> = None, Any;
        /// The fleet of this host, named by its stream in that Redis, e.g. `ark:orders`. Halts and quarantines reach every host of a fleet.
        fleet: Option<String> = None, Any;
        /// A file (mode 0400) with the key that all hosts of the fleet share: 64 hexadecimal digits, as `openssl rand -hex 32` prints them.
        fleet_key_file: Option<PathBuf> = None, Any;
        /// The queue in that Redis whose length is watched: a stream or a list.
        redis_queue: String = "ark:signals".to_owned(), Any;
        /// Milliseconds between two looks at the Redis.
        redis_ms: u64 = 2_000, between_values(10, MAX_INTERVAL_MS);
        /// Milliseconds that an answer of the Redis may take; more raise an alert.
        redis_latency_ms: u64 = 100, at_least(1);
        /// Entries that may wait in the queue; more raise an alert.
        redis_depth: u64 = 1_000, at_least(1);
        /// Entries that a stream of signals may hold, read ones included; more raise an alert.
        redis_stream_depth: u64 = 1_000_000, at_least(1);
        /// Entries of a stream of signals that may wait to be read; more raise an alert.
        redis_lag: u64 = 10_000, at_least(1);
        /// Milliseconds that an entry that was read may wait for its acknowledgement; more raise an alert.
        redis_pending_ms: u64 = 60_000, at_least(1);
        /// Entries that a dead-letter stream may hold; more raise an alert.
        redis_dead_letters: u64 = 1_000, at_least(1);
        /// Events that may wait to be sent to the Redis; more raise an alert.
        redis_events_waiting: u64 = 10_000, at_least(1);
        /// Milliseconds that an event may wait to be sent to the Redis; more raise an alert.
        redis_events_age_ms: u64 = 60_000, at_least(1);
        /// Milliseconds for which no attempt of a webhook may succeed; more raise an alert.
        webhook_failing_ms: u64 = 900_000, at_least(1);
        /// The part of a limit from which on an agent is warned of.
        warning: f64 = Thresholds::default().warning, between_values(0.01, 1.0), reloaded;
        /// The part of a limit from which on the warning is critical. Not below `warning`.
        critical: f64 = Thresholds::default().critical, between_values(0.01, 1.0), reloaded;
        /// Hours between two checks of the whole database, which run beside serving; the first one begins with the host.
        store_check_hours: u64 = 24, between_values(1, 8_760);
        /// Bytes of the largest capsule that is kept.
        capsule_bytes: usize = CapsuleRetention::default().capsule_bytes, at_least(16 * 1024);
        /// Capsules kept of one agent.
        capsules_per_agent: usize = CapsuleRetention::default().per_agent, at_least(1);
        /// Bytes of all capsules together.
        capsules_bytes: u64 = CapsuleRetention::default().total_bytes, at_least(16 * 1024);
        /// Days for which a capsule is kept.
        capsule_days: u64 = CapsuleRetention::default().days, at_least(1);
    }
}

table! {
    /// What the host attests from the operator's own knowledge; rules judge by it. Entries can also be put on these lists while the host runs
    /// (`ark lists put`).
    pub struct ListsFile {
        /// Symbols that nobody may trade (rule `no_insider_trading`). Every spelling of a symbol is meant: `RES-USD` is `RES/USD` too.
        restricted_symbols: Vec<String> = Vec::new(), Any;
        /// Symbols in which a client's order is pending (rule `no_front_running`), in any spelling.
        client_orders: Vec<String> = Vec::new(), Any;
        /// Data sources that an operator validated (rule `validate_data_sources`).
        validated_sources: Vec<String> = Vec::new(), Any;
        /// Data subjects and whether they consent (rule `require_consent`), e.g. `{ "customer-17" = true }`.
        consents: BTreeMap<String, bool> = BTreeMap::new(), Any;
        /// Standing vetoes of users (rule `preserve_user_autonomy`). A veto matches an action that has every part the veto names.
        vetoes: Vec<VetoFile> = Vec::new(), list_entries();
    }
}

items! {
    /// An entry of `lists.vetoes`.
    pub struct VetoFile {
        /// The agent whose actions it forbids.
        agent: Option<Name>;
        /// The type of the actions it forbids. The general words of a family (`trade`, `data_handling`, `file_operation`, `message`) hold for the whole family, `buy` and `delete` for what does that under another name.
        action_type: Option<String>;
        /// The symbol of the actions it forbids, in any spelling.
        symbol: Option<String>;
        /// What the user said.
        words: String;
    }
}

table! {
    /// Which components this host accepts. Where keys are named, one of them must have signed a component; the signature is beside it (`NAME.wasm.sig`) or comes with the upload. `ark agent sign`, `ark policy sign` and `pull --verify-key` write it; keys and signatures of cosign have the same form. Without keys no signature is checked.
    pub struct SignaturesFile {
        /// PEM files with the public keys that may sign agents. They are checked at every start and every upload, for kept versions too.
        agents: Vec<PathBuf> = Vec::new(), Any;
        /// PEM files with the public keys that may sign operator policies. They are checked when a policy comes in: at a start, a reload and an upload. An uploaded version that is kept already is not checked again.
        policies: Vec<PathBuf> = Vec::new(), Any;
    }
}

table! {
    /// Which symbols mean the same instrument. Case and separators make no difference in any case: `BTC-USD`, `btc/usd` and `BTCUSD` are one.
    pub struct InstrumentsFile {
        /// Other names of an instrument or a currency, e.g. `{ XBT = "BTC", WBTC = "BTC" }`. A name is replaced where it is a whole symbol, or the first or the last part of one: `XBT/USD` is then `BTC-USD` for exposure, time windows, lists and vetoes.
        aliases: BTreeMap<String, String> = BTreeMap::new(), Any;
    }
}

table! {
    /// A Redis (or Valkey) that signals come from, that events go to, that carries the orders of a fleet, and that is watched. Without an address the host uses none.
    /// [Redis](redis.md) says what is guaranteed.
    pub struct RedisFile {
        /// Its address: `redis://HOST:PORT/DATABASE`, `rediss://…` for TLS, or `redis+sentinel://HOST:PORT,HOST:PORT/MASTER/DATABASE` (`rediss+sentinel://…`) for the master that Sentinels know.
        url: Option<String> = None, CheckedText { check: check_redis_url, description: "an address as described" };
        /// The user (ACL). Without one it is `default`, or that of the address.
        username: Option<String> = None, Any;
        /// A file with the password. It is read at every connection, so that a password can be changed while the host runs. Not every user may be able to read it.
        password_file: Option<PathBuf> = None, Any;
        /// A PEM file with the authorities that may have signed the server's certificate; without it, those of the system.
        ca_file: Option<PathBuf> = None, Any;
        /// The streams whose entries become signals.
        signals: Vec<RedisSignalsFile> = Vec::new(), list_entries();
        [events]: RedisEventsFile;
    }
}

table! {
    /// Events that are sent to the Redis: what was decided, executed, ordered, changed and noticed, as `CloudEvents` 1.0. They are those of `/v1/events`.
    pub struct RedisEventsFile {
        /// The stream that they are appended to, e.g. `ark:events`. Without one no events are sent.
        stream: Option<String> = None, Any;
        /// Entries that the stream keeps, about (`MAXLEN ~`).
        max_length: u64 = 100_000, at_least(1);
        /// Whether they are also published to the channels `agent_events`, `graveyard_events`, `system_events` and `alerts`.
        publish: bool = true, Any;
        /// What stands before the names of the channels, e.g. `host-1:`. The databases of a Redis share their channels.
        channel_prefix: String = String::new(), Any;
        /// The `source` of the events: a URI reference that names this host, e.g. `https://ark.example/hosts/1`. Without one it is `/hosts/` and a name that the host gives itself.
        source: Option<String> = None, Any;
    }
}

items! {
    /// An entry of `redis.signals`.
    pub struct RedisSignalsFile {
        /// The key of the stream.
        stream: String;
        /// The topic of the signals that its entries become.
        topic: String;
        /// The field of an entry that holds the payload, as JSON. Without it the whole entry is the payload: an object with the fields as texts.
        field: Option<String>;
        /// The field of an entry, or the member of its payload, that holds the idempotency key: an entry with the same key and payload is not accepted again. Without it an entry is known by its id and content.
        key: Option<String>;
        /// The members of the payload that agents get, each with the name it has in the entry, e.g. `{ symbol = "symbol", at = "ts" }`. Without it the payload stays as it is.
        select: Option<BTreeMap<String, String>>;
        /// The consumer group, `ark` if it is left out. Hosts with the same group share the entries.
        group: Option<String>;
        /// How often an entry is read at most before it goes to the dead-letter stream, 1 to 1000; 16 if it is left out. Only those reads count after which the host ended.
        max_attempts: Option<u64>;
        /// The stream for entries that cannot become signals; `STREAM:dead` if it is left out.
        dead_letters: Option<String>;
    }
}

table! {
    /// A front (`ark front`): a host without a database of its own, which passes requests on to the host that owns the data and judges its decisions again. `ark serve`
    /// reads none of these keys. A front reads of the others `listen`, `telemetry_listen`, `behind_proxy`, `graveyard`, `policies`, `policies_dir`, `action_types`, `[tls]`, `[telemetry]`,
    /// `capacity.connections`, `capacity.drain_ms` and `capacity.policy_fuel`. [Fronts](production.md#fronts) says what they mean there.
    pub struct FrontFile {
        /// The API of the host that owns the data, e.g. `https://ark.example.com:8000`; `http://` only on the same machine. Flag: `--owner`.
        owner: Option<String> = None, CheckedText { check: check_owner, description: "an http or https address without a path" };
        /// A PEM file with the authorities that may have signed the owner's certificate; without it, the public ones. Flag: `--owner-ca`.
        owner_ca: Option<PathBuf> = None, Any;
        /// A file with a token of the owner, of the role `reader`, with which the front reads the decisions that it judges again. Not every user may be able to read it. Without it no decision of an owner with tokens can be judged again. Flag: `--token-file`.
        token_file: Option<PathBuf> = None, Any;
        /// Milliseconds for which a request is parked at most while the owner is away. Flag: `--hold-for`.
        hold_ms: u64 = 30_000, between_values(0, 600_000);
        /// Requests that are parked at the same time; further ones are refused. Once the owner has admitted anybody, callers whom it has not admitted since the front started get a quarter of the places at most. Flag: `--hold-limit`.
        hold_limit: usize = 1_000, between_values(0, 100_000);
        /// A directory of the front's user alone, mode 0700, in which the compiled policies are kept, so that the next start need not compile them; it is made if it is missing. Without it each start compiles them, which takes about a second. Flag: `--cache-dir`.
        cache_dir: Option<PathBuf> = None, Any;
    }
}

fn check_owner(url: &str) -> Result<(), String> {
    OwnerAddress::parse(url).map(drop)
}

fn check_redis_url(url: &str) -> Result<(), String> {
    RedisAddress::parse(url)
        .map(drop)
        .map_err(|error| error.to_string())
}

/// Tables whose keys are the operator's own.
pub(super) const FREE_TABLES: [&str; 3] = ["action_types", "instruments.aliases", "lists.consents"];

impl Table for Limits {
    fn add_sections(name: &str, sections: &mut Vec<Section>) {
        sections.push(Section {
            name: name.to_owned(),
            documentation: "The ceiling of every agent's limits. A manifest can only tighten them. All of them are always in force.".to_owned(),
            keys: Self::KEYS
                .iter()
                .map(|limit| Key {
                    name: join_key(name, limit.name),
                    documentation: limit.documentation.split_whitespace().collect::<Vec<_>>().join(" "),
                    default: limit.default.into(),
                    allowed: format!("{} to {}", limit.least, limit.most),
                    // The stack is the engine's, which is built at the start.
                    reloaded: limit.name != "stack_bytes",
                    fields: &[],
                })
                .collect(),
        });
    }

    fn check(&self, _: &str) -> Result<(), (String, String)> {
        self.check_ceiling().map_err(|error| {
            let problem = format!("is {}; give {} to {}", error.asked, error.least, error.most);
            (format!("limits.{}", error.field), problem)
        })
    }
}

impl Table for Quotas {
    fn add_sections(name: &str, sections: &mut Vec<Section>) {
        sections.push(Section {
            name: name.to_owned(),
            documentation: "How much one agent may use over time. A manifest can only tighten it for its agent. From `watchdog.warning` of a quota on there is an alert; past it the agent's invocations are refused, each as a whole, until it is below the quota again; one that goes on is quarantined (`watchdog.quota_refusals`). What is kept is counted across restarts; a minute starts again with the process.".to_owned(),
            keys: Self::KEYS
                .iter()
                .map(|quota| Key {
                    name: join_key(name, quota.name),
                    documentation: quota.documentation.split_whitespace().collect::<Vec<_>>().join(" "),
                    default: quota.default.into(),
                    allowed: format!("1 to {}", quota.most),
                    reloaded: true,
                    fields: &[],
                })
                .collect(),
        });
    }

    fn check(&self, _: &str) -> Result<(), (String, String)> {
        self.check_ceiling().map_err(|error| {
            let problem = format!("is {}; give 1 to {}", error.asked, error.most);
            (format!("quotas.{}", error.field), problem)
        })
    }
}

/// Whether a reload (SIGHUP) changes a key in a running host.
#[must_use]
pub fn is_reloaded(key: &str) -> bool {
    list_sections()
        .iter()
        .flat_map(|section| &section.keys)
        .any(|known| known.name == key && known.reloaded)
}

/// Every table with its keys, in the order of the documentation.
#[must_use]
pub fn list_sections() -> Vec<Section> {
    let mut sections = Vec::new();
    ConfigFile::add_sections("", &mut sections);
    // A table may hold nothing but other tables.
    sections.retain(|section| !section.keys.is_empty());
    sections
}

fn check_endpoint(endpoint: &str) -> Result<(), String> {
    let problem = match endpoint.parse::<axum::http::Uri>() {
        Ok(uri) if !matches!(uri.scheme_str(), Some("http" | "https")) => {
            "is not an http or https address".to_owned()
        }
        Ok(uri) if uri.path().len() < 2 => "has no path".to_owned(),
        Ok(_) => return Ok(()),
        Err(error) => format!("is {error}"),
    };
    Err(format!(
        "{problem}; give the whole address, e.g. http://127.0.0.1:4318/v1/traces"
    ))
}
