//! Hostile guests against the runtime: each way to misbehave ends in its own failure, within its time, and leaves nothing behind.
//!
//! The guests are real components, built by `cargo xtask guests`: `chaos` from Rust, `misfit` by hand. What is refused before it is ever
//! invoked stands in [`loading`].

mod loading;
mod support;

use std::time::Duration;

use ark_runtime::{Agent, InvocationFailure, InvocationReport};

use support::{CHAOS, KYLE, MISFIT, SHORT, SLEEPER, resident_kib, signal};

/// How much later than its deadline an invocation may end on a busy machine. The guests that do not end by themselves would go on for an
/// hour.
pub const FOR_THE_MACHINE: Duration = Duration::from_mins(2);

fn invoke(how: &str) -> InvocationReport {
    support::invoke(&CHAOS, &signal("chaos.go", &format!("\"{how}\"")))
}

/// A case of the table in `tests/handwritten/misfit.wat`.
fn misfit(how: u32) -> InvocationReport {
    support::invoke(&MISFIT, &signal("misfit.go", &how.to_string()))
}

/// It ended as one of `kinds`, in time and within its memory. A failed invocation returns no effects at all: the type says so.
fn assert_ends(how: &str, agent: &Agent, report: &InvocationReport, kinds: &[&str]) {
    let failure = report
        .result
        .as_ref()
        .err()
        .unwrap_or_else(|| panic!("{how} ended well"));
    assert!(kinds.contains(&failure.kind()), "{how}: {failure:?}");
    let limits = agent.limits();
    assert!(
        report.duration < limits.deadline + FOR_THE_MACHINE,
        "{how} took {:?}",
        report.duration
    );
    assert!(
        report.memory_peak <= limits.memory_bytes,
        "{how} held {}",
        report.memory_peak
    );
    let logged: usize = report.log.iter().map(|line| line.text.len()).sum();
    assert!(logged <= limits.log_bytes, "{how} logged {logged} bytes");
}

/// An honest agent in the same engine answers: one tick, one state write, nothing to say yet.
fn assert_kyle_is_well() {
    let tick = r#"{"symbol":"BTC","price":100.0,"volume":1.0,"at":1}"#;
    let effects = support::invoke(&KYLE, &signal("market.tick", tick))
        .result
        .expect("kyle is well");
    let written: Vec<&str> = effects
        .state
        .iter()
        .map(|write| write.key.as_str())
        .collect();
    assert_eq!(written, ["statistics/BTC"]);
    assert_eq!(effects.actions.len(), 0);
}

#[test]
fn each_misdeed_ends_in_its_own_failure() {
    for (how, kinds) in [
        ("loop", &["fuel"][..]),
        ("memory", &["memory_bytes"]),
        ("panic", &["trap"]),
        ("stack", &["stack"]),
        ("exit", &["trap"]),
        ("host-call-flood", &["host_calls"]),
        ("write-flood", &["writes"]),
        ("huge-values", &["host_call_bytes"]),
        ("print-forever", &["fuel"]),
        ("actions", &["actions"]),
        ("many-actions", &["memory_bytes"]),
        ("strings", &["output_bytes"]),
        ("nan", &["invalid_output"]),
        ("infinite", &["invalid_output"]),
        ("negative", &["invalid_output"]),
        ("twice", &["invalid_output"]),
        ("forged-topic", &["invalid_output"]),
        ("mislabelled", &["invalid_output"]),
        ("nonsense", &["rejected_signal"]),
    ] {
        assert_ends(how, &CHAOS, &invoke(how), kinds);
        assert_kyle_is_well();
    }
}

#[test]
fn a_guest_that_sleeps_is_ended_by_its_deadline() {
    let report = support::invoke(&SLEEPER, &signal("chaos.go", "\"sleep\""));
    assert_ends("sleep", &SLEEPER, &report, &["deadline"]);
    assert!(report.duration >= SHORT, "{:?}", report.duration);
    assert_kyle_is_well();
}

#[test]
fn what_no_compiler_would_write_ends_in_its_own_failure() {
    for (how, kind, reason) in [
        (10, "trap", "utf-8"),
        (11, "trap", "discriminant"),
        (12, "trap", "discriminant"),
        (13, "host_call_bytes", ""),
        (14, "trap", "out of bounds"),
        (15, "trap", "out of bounds"),
        (16, "trap", "unreachable"),
        (17, "memory_bytes", ""),
        (18, "table_elements", ""),
        (20, "trap", "align"),
    ] {
        let report = misfit(how);
        assert_ends(&how.to_string(), &MISFIT, &report, &[kind]);
        let failure = report.result.expect_err("a failure").to_string();
        assert!(failure.contains(reason), "{how}: {failure}");
        assert_kyle_is_well();
    }
}

#[test]
fn work_just_within_the_fuel_ends_well() {
    let report = misfit(19);
    assert!(report.result.is_ok(), "{:?}", report.result);
    let fuel = MISFIT.limits().fuel;
    assert!(
        (fuel * 9 / 10..=fuel).contains(&report.fuel),
        "{} of {fuel}",
        report.fuel
    );
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
    for how in ["log-flood", "stderr-flood", "log-huge"] {
        let report = invoke(how);
        assert!(report.result.is_ok(), "{how}: {:?}", report.result);
        let bytes: usize = report.log.iter().map(|line| line.text.len()).sum();
        assert!(bytes <= CHAOS.limits().log_bytes, "{how}: {bytes}");
        let notes = report
            .log
            .iter()
            .filter(|line| line.text.contains("log limit"));
        assert_eq!(notes.count(), 1, "{how}");
    }
}

#[test]
fn an_agent_sees_nothing_but_its_own() {
    for (how, symbol) in [
        ("foreign-scope", "NOTHING"),
        ("environment", "EMPTY"),
        ("bad-key", "REFUSED"),
        // The first three are keys like any other, in the agent's own scope.
        ("keys", "TTTRRRRRR"),
    ] {
        let effects = invoke(how)
            .result
            .unwrap_or_else(|failure| panic!("{how}: {failure}"));
        assert_eq!(effects.actions[0].symbol(), Some(symbol), "{how}");
    }
}

#[test]
fn memory_and_pool_return_to_their_level() {
    // Each holds what it can of memory, of its stack, or of instances at the moment it is ended.
    let round = || {
        for how in ["memory", "stack", "panic", "huge-values"] {
            assert!(invoke(how).result.is_err(), "{how}");
        }
        for how in [10, 13, 17, 18] {
            assert!(misfit(how).result.is_err(), "{how}");
        }
    };
    // Until the pool has its warm slots and the allocator its arenas.
    for _ in 0..8 {
        round();
    }
    let before = resident_kib();
    // More than the pool has instances (16) by far: one kept by each failure would leave no room. Were the memory of one in four
    // kept, 8 MiB each, it would be 240 MiB.
    let rounds = 60;
    for _ in 0..rounds {
        round();
    }
    let after = resident_kib();
    // 32 MiB: what 64 warm slots may keep resident (256 KiB each) and as much again for other tests in this process.
    assert!(
        after < before + 32 * 1024,
        "{before} KiB before, {after} KiB after {rounds} rounds"
    );
    assert_kyle_is_well();
}
