//! What every test here stands on: one engine with a small pool, the guests, an empty host.

use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ark_model::action::Action;
use ark_model::ids::{Millis, SignalId, TraceId};
use ark_model::signal::Signal;
use ark_model::state::{Memory, StateEntry, Truth};
use ark_runtime::{
    Agent, Engine, EngineConfig, InvocationFailure, InvocationReport, Limits, Manifest, Preview,
    ServiceError, Services,
};

/// Returns a directory below `target`.
pub fn guests(set: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../target")
        .join(set)
}

/// All tests share one engine, with room for few instances: what a guest does not give back is soon missed.
pub static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = EngineConfig {
        instances: 16,
        ..EngineConfig::default()
    };
    Engine::new(&config).expect("an engine")
});

/// No deadline of these ends what a busy machine holds up: which limit ends a guest is what is tested.
pub const UNHURRIED: Duration = Duration::from_mins(5);
/// The deadline of the guest that is to reach it.
pub const SHORT: Duration = Duration::from_millis(500);

pub static CHAOS: LazyLock<Agent> =
    LazyLock::new(|| load_agent("guests-hostile", "chaos", UNHURRIED));
pub static SLEEPER: LazyLock<Agent> =
    LazyLock::new(|| load_agent("guests-hostile", "chaos", SHORT));
pub static MISFIT: LazyLock<Agent> =
    LazyLock::new(|| load_agent("guests-hostile", "misfit", UNHURRIED));
pub static KYLE: LazyLock<Agent> = LazyLock::new(|| load_agent("guests", "kyle", UNHURRIED));

fn load_agent(set: &str, name: &str, deadline: Duration) -> Agent {
    let path = guests(set).join(name).with_extension("toml");
    let hint = "run `cargo xtask guests` first";
    let mut manifest = Manifest::read_file(&path).expect(hint);
    manifest.limits.deadline_ms = None;
    let bytes = std::fs::read(path.with_file_name(&manifest.component)).expect(hint);
    let ceiling = Limits {
        deadline,
        ..Limits::default()
    };
    Agent::load(&ENGINE, &bytes, manifest, &ceiling).expect(hint)
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

pub fn invoke(agent: &Agent, signal: &Signal) -> InvocationReport {
    let deadline = Instant::now() + UNHURRIED;
    agent.invoke(signal, Arc::new(Nothing), deadline)
}

pub fn heartbeat(agent: &Agent) -> Result<(), InvocationFailure> {
    agent.check_heartbeat(Arc::new(Nothing), Instant::now() + UNHURRIED)
}

/// Resident memory of this process.
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

/// An empty host.
struct Nothing;

impl Services for Nothing {
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
