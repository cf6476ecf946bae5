//! What the tests share: one engine with a small pool, the guests, and services of an empty host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ark_model::action::Action;
use ark_model::ids::{Digest, Millis, SignalId, TraceId};
use ark_model::signal::Signal;
use ark_model::state::{Memory, StateEntry, Truth};
use ark_runtime::{
    Agent, Engine, EngineConfig, HostServices, InvocationFailure, InvocationReport, Limits,
    LoadError, Manifest, Preview, ServiceError,
};

/// A time that no guest of these tests needs, even on a machine that is busy with other things: the longest deadline there is.
const FAR: Duration = Duration::from_mins(10);
/// Fuel that no guest uses up within a test's time.
const ENDLESS_FUEL: u64 = 1_000_000_000_000;

/// Returns a directory of guests below `target`.
pub fn guests(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target")
        .join(set)
}

/// The engine of all tests. It has room for few instances, so that one that is not given back is soon noticed.
pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = EngineConfig {
        instances: 16,
        ..EngineConfig::default()
    };
    Engine::new(&config).expect("an engine")
});

/// Cannot reach its deadline or use up its fuel: each fault ends at the limit that it is about.
pub static CHAOS: LazyLock<Agent> =
    LazyLock::new(|| load("guests-hostile", "chaos", ENDLESS_FUEL, FAR));
/// Cannot reach its deadline, and has little fuel.
pub static CHAOS_WITH_LITTLE_FUEL: LazyLock<Agent> =
    LazyLock::new(|| load("guests-hostile", "chaos", 20_000_000, FAR));
/// Cannot use up its fuel, and has little time.
pub static CHAOS_WITH_LITTLE_TIME: LazyLock<Agent> = LazyLock::new(|| {
    load(
        "guests-hostile",
        "chaos",
        ENDLESS_FUEL,
        Duration::from_secs(2),
    )
});
/// Has the fuel that its manifest says, which one case is about; the others need a small part of it.
pub static MISFIT: LazyLock<Agent> =
    LazyLock::new(|| load("guests-hostile", "misfit", 20_000_000, FAR));
/// Calls what toolchains import and no agent gets.
pub static FILES: LazyLock<Agent> =
    LazyLock::new(|| load("guests-hostile", "files", ENDLESS_FUEL, FAR));
/// An honest agent.
pub static KYLE: LazyLock<Agent> = LazyLock::new(|| load("guests", "kyle", ENDLESS_FUEL, FAR));

fn load(set: &str, name: &str, fuel: u64, deadline: Duration) -> Agent {
    let path = guests(set).join(name).with_extension("toml");
    let hint = "run `cargo xtask guests` first";
    let mut manifest = Manifest::read_file(&path).expect(hint);
    manifest.limits.fuel = None;
    manifest.limits.deadline_ms = None;
    let bytes = std::fs::read(path.with_file_name(&manifest.component)).expect(hint);
    let ceiling = Limits {
        fuel,
        deadline,
        ..Limits::default()
    };
    Agent::load(&ENGINE, &bytes, manifest, &ceiling).expect(hint)
}

/// Loads bytes as the agent that a manifest of the hostile guests describes, with the digest of the bytes. The deadline is far, so that fuel ends
/// what does not end.
pub fn load_bytes(name: &str, bytes: &[u8]) -> Result<Agent, LoadError> {
    let manifest = guests("guests-hostile").join(name).with_extension("toml");
    let mut manifest = Manifest::read_file(&manifest).expect("run `cargo xtask guests` first");
    manifest.sha256 = Digest::hash_bytes(bytes);
    manifest.limits.deadline_ms = None;
    let ceiling = Limits {
        deadline: FAR,
        ..Limits::default()
    };
    Agent::load(&ENGINE, bytes, manifest, &ceiling)
}

/// A signal from outside.
pub fn signal(topic: &str, payload_json: &str) -> Signal {
    Signal {
        id: SignalId::fresh(),
        topic: topic.to_owned(),
        payload_json: payload_json.to_owned(),
        trace_id: TraceId::fresh(),
        sender: None,
        causal_depth: 0,
        accepted_at: Millis::now(),
        expires_at: None,
    }
}

/// Invokes an agent on an empty host.
pub fn invoke(agent: &Agent, signal: &Signal) -> InvocationReport {
    // The agent's own deadline is earlier.
    let deadline = Instant::now() + 2 * FAR;
    agent.invoke(signal, Arc::new(EmptyHost), deadline)
}

/// Asks an agent for its heartbeat on an empty host.
pub fn heartbeat(agent: &Agent) -> Result<(), InvocationFailure> {
    agent.check_heartbeat(Arc::new(EmptyHost), Instant::now() + FAR)
}

/// Returns the resident memory of this process, in KiB.
pub fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmRSS"))
        .expect("VmRSS");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse().ok())
        .expect("a number")
}

/// The services of a host without state.
struct EmptyHost;

impl HostServices for EmptyHost {
    fn state_get(&self, _: &str) -> Result<(u64, Option<StateEntry>), ServiceError> {
        Ok((0, None))
    }

    fn state_list(&self, _: &str, _: u32) -> Result<Vec<String>, ServiceError> {
        Ok(Vec::new())
    }

    fn memory_recent(&self, _: Option<&str>, _: u32) -> Result<Vec<Memory>, ServiceError> {
        Ok(Vec::new())
    }

    fn truth_get(&self, _: &str) -> Result<Option<Truth>, ServiceError> {
        Ok(None)
    }

    fn check_action(&self, _: Action) -> Result<Preview, ServiceError> {
        Err(ServiceError("not in this test".to_owned()))
    }
}
