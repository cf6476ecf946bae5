//! Hostile guests against the runtime: each way to misbehave ends in its own failure, within its time, and leaves nothing behind.
//!
//! The guests are real components, built by `cargo xtask guests`.

use std::path::PathBuf;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ark_host::app::load_agent;
use ark_host::model::action::Action;
use ark_host::model::ids::{Millis, SignalId, TraceId};
use ark_host::model::signal::Signal;
use ark_host::model::state::{Memory, StateEntry, Truth};
use ark_host::runtime::{
    Agent, Engine, EngineConfig, InvocationFailure, InvocationReport, Limits, Preview,
    ServiceError, Services,
};

fn guests() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../target/guests-hostile")
}

static ENGINE: LazyLock<Engine> =
    LazyLock::new(|| Engine::new(&EngineConfig::default()).expect("an engine"));

static CHAOS: LazyLock<Agent> = LazyLock::new(|| {
    load_agent(&ENGINE, &guests().join("chaos.toml"), &Limits::default())
        .unwrap_or_else(|error| panic!("{error}; run `cargo xtask guests` first"))
});

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

    fn check(&self, _: Action) -> Result<Preview, ServiceError> {
        Err(ServiceError("not in this test".to_owned()))
    }
}

fn invoke(how: &str) -> InvocationReport {
    let signal = Signal {
        id: SignalId::fresh(),
        topic: "chaos.go".to_owned(),
        payload_json: format!("\"{how}\""),
        trace_id: TraceId::fresh(),
        sender: None,
        causal_depth: 0,
        accepted_at: Millis::now(),
        expires_at: None,
    };
    CHAOS.invoke(
        &signal,
        Arc::new(Nothing),
        Instant::now() + Duration::from_secs(30),
    )
}

#[test]
fn each_misdeed_ends_in_its_own_failure() {
    let limit = CHAOS.limits().deadline;
    for (how, kinds) in [
        ("loop", &["fuel", "deadline"][..]),
        ("memory", &["memory_bytes"]),
        ("panic", &["trap"]),
        ("stack", &["stack"]),
        ("sleep", &["deadline"]),
        ("exit", &["trap"]),
        ("host-call-flood", &["host_calls"]),
        ("write-flood", &["writes"]),
        ("actions", &["actions"]),
        ("strings", &["output_bytes"]),
        ("nan", &["invalid_output"]),
        ("infinite", &["invalid_output"]),
        ("negative", &["invalid_output"]),
        ("twice", &["invalid_output"]),
        ("forged-topic", &["invalid_output"]),
        ("mislabelled", &["invalid_output"]),
        ("nonsense", &["rejected_signal"]),
    ] {
        let report = invoke(how);
        let failure = report
            .result
            .as_ref()
            .err()
            .unwrap_or_else(|| panic!("{how} ended well"));
        assert!(kinds.contains(&failure.kind()), "{how}: {failure:?}");
        assert!(
            report.duration < limit + Duration::from_secs(2),
            "{how} took {:?}",
            report.duration
        );
        assert!(
            report.memory_peak <= CHAOS.limits().memory_bytes,
            "{how} held {}",
            report.memory_peak
        );
    }
}

#[test]
fn a_failure_says_which_field_is_at_fault_and_a_trap_where() {
    for (how, field) in [
        ("nan", "position_size_pct"),
        ("infinite", "leverage"),
        ("negative", "position_size_pct"),
        ("twice", "position_size_pct"),
        ("forged-topic", "topic"),
    ] {
        let Err(InvocationFailure::InvalidOutput(reason)) = invoke(how).result else {
            panic!("{how}")
        };
        assert!(reason.contains(field), "{how}: {reason}");
    }
    let report = invoke("panic");
    assert!(
        report
            .log
            .iter()
            .any(|line| line.text.contains("on purpose")),
        "{:?}",
        report.log
    );
}

#[test]
fn a_log_flood_is_cut_off_with_a_note_and_the_agent_goes_on() {
    let report = invoke("log-flood");
    assert!(report.result.is_ok(), "{:?}", report.result);
    let bytes: usize = report.log.iter().map(|line| line.text.len()).sum();
    assert!(bytes <= CHAOS.limits().log_bytes, "{bytes}");
    assert_eq!(
        report
            .log
            .iter()
            .filter(|line| line.text.contains("log limit"))
            .count(),
        1
    );
}

#[test]
fn an_agent_sees_nothing_but_its_own() {
    for (how, symbol) in [
        ("foreign-scope", "NOTHING"),
        ("environment", "EMPTY"),
        ("bad-key", "REFUSED"),
    ] {
        let effects = invoke(how)
            .result
            .unwrap_or_else(|failure| panic!("{how}: {failure}"));
        assert_eq!(effects.actions[0].symbol(), Some(symbol), "{how}");
    }
}

#[test]
fn what_is_not_granted_is_refused_before_it_runs() {
    let refused = load_agent(&ENGINE, &guests().join("files.toml"), &Limits::default()).err();
    let reason = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(
        reason.contains("wasi:filesystem") && reason.contains("wasi:sockets"),
        "{reason}"
    );
}

#[test]
fn memory_returns_to_its_level() {
    let resident = || {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status
            .lines()
            .find(|line| line.starts_with("VmRSS"))
            .expect("VmRSS");
        line.split_whitespace()
            .nth(1)
            .and_then(|kib| kib.parse::<u64>().ok())
            .expect("a number")
    };
    for _ in 0..50 {
        let _ = invoke("memory");
    }
    let before = resident();
    for _ in 0..200 {
        let _ = invoke("memory");
    }
    let after = resident();
    assert!(
        after < before + 32 * 1024,
        "{before} KiB before, {after} KiB after"
    );
}
