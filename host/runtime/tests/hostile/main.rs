//! Hostile guests in the runtime: each way to misbehave ends in its own failure, and leaves nothing behind.
//!
//! The guests are real components, built by `cargo xtask guests`: `chaos` from Rust, `invoke_misfit` by hand. What is refused before it is invoked is
//! tested in [`loading`]. In each case all limits but the one it is about are out of reach, so that no outcome depends on the machine's speed.

mod loading;
mod support;

use std::time::{Duration, Instant};

use ark_runtime::{Agent, InvocationFailure, InvocationReport};

use support::{
    CHAOS, CHAOS_WITH_LITTLE_FUEL, CHAOS_WITH_LITTLE_TIME, FILES, KYLE, MISFIT, resident_kib,
    signal,
};

fn invoke(how: &str) -> InvocationReport {
    invoke_chaos(&CHAOS, how)
}

fn invoke_chaos(agent: &Agent, how: &str) -> InvocationReport {
    support::invoke(agent, &signal("chaos.go", &format!("\"{how}\"")))
}

/// Invokes `invoke_misfit` with a case of the table in `tests/handwritten/misfit.wat`.
fn invoke_misfit(how: u32) -> InvocationReport {
    support::invoke(&MISFIT, &signal("misfit.go", &how.to_string()))
}

/// Asserts that an invocation ended with this kind of failure and within its limits. A failed invocation returns no effects: the type says so.
fn assert_ends(how: &str, agent: &Agent, report: &InvocationReport, kind: &str) {
    let failure = report
        .result
        .as_ref()
        .err()
        .unwrap_or_else(|| panic!("{how} ended well"));
    assert_eq!(failure.kind(), kind, "{how}: {failure:?}");
    let limits = agent.limits();
    // The minute is for a machine that is busy with other things.
    assert!(
        report.duration < limits.deadline + Duration::from_mins(1),
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

/// Asserts that an honest agent in the same engine works: one tick leads to one state write and no action yet.
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
fn each_fault_ends_in_its_own_failure() {
    let roomy: &Agent = &CHAOS;
    let little_fuel: &Agent = &CHAOS_WITH_LITTLE_FUEL;
    let little_time: &Agent = &CHAOS_WITH_LITTLE_TIME;
    for (agent, how, kind) in [
        (little_fuel, "loop", "fuel"),
        (little_time, "loop", "deadline"),
        (little_fuel, "print-forever", "fuel"),
        (little_time, "print-forever", "deadline"),
        (little_time, "sleep", "deadline"),
        (roomy, "memory", "memory_bytes"),
        (roomy, "panic", "trap"),
        (roomy, "stack", "stack"),
        (roomy, "exit", "trap"),
        (roomy, "host-call-flood", "host_calls"),
        (roomy, "write-flood", "writes"),
        (roomy, "huge-values", "host_call_bytes"),
        (roomy, "actions", "actions"),
        (roomy, "many-actions", "memory_bytes"),
        (roomy, "strings", "output_bytes"),
        (roomy, "nan", "invalid_output"),
        (roomy, "infinite", "invalid_output"),
        (roomy, "negative", "invalid_output"),
        (roomy, "twice", "invalid_output"),
        (roomy, "forged-topic", "invalid_output"),
        (roomy, "mislabelled", "invalid_output"),
        (roomy, "nonsense", "rejected_signal"),
    ] {
        assert_ends(how, agent, &invoke_chaos(agent, how), kind);
        assert_kyle_is_well();
    }
}

#[test]
fn handwritten_modules_end_in_their_own_failure() {
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
        let report = invoke_misfit(how);
        assert_ends(&how.to_string(), &MISFIT, &report, kind);
        let failure = report.result.expect_err("a failure").to_string();
        assert!(failure.contains(reason), "{how}: {failure}");
        assert_kyle_is_well();
    }
}

#[test]
fn work_just_within_the_fuel_ends_well() {
    let report = invoke_misfit(19);
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
fn an_instance_finds_no_traces_of_another() {
    // Far more than the places of the pool, so that places are used again. The pages of small instances are given back together, those of large
    // ones at once.
    let find_traces = |how: &str| {
        for round in 0..150 {
            let effects = invoke(how)
                .result
                .unwrap_or_else(|failure| panic!("{how}, round {round}: {failure}"));
            assert_eq!(effects.actions[0].symbol(), Some("PRISTINE"), "{how}");
        }
    };
    std::thread::scope(|scope| {
        for how in ["small-traces", "large-traces", "small-traces"] {
            scope.spawn(move || find_traces(how));
        }
    });
}

#[test]
fn the_pages_of_a_large_instance_are_given_back_when_it_ends() {
    // The pool makes its places, the allocator its arenas.
    assert!(invoke("memory").result.is_err());
    let before = resident_kib();
    // Each has written 8 MiB. The pool gives back pages by itself with the 22nd of them at the earliest, so at least 6 would wait at one moment.
    for number in 0..12 {
        assert!(invoke("memory").result.is_err());
        let after = resident_kib();
        assert!(
            after < before + 36 * 1024,
            "{before} KiB before, {after} KiB after {number}"
        );
    }
}

#[test]
fn a_component_that_is_dropped_leaves_no_code() {
    let count_code = || {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
        let is_code = |line: &&str| line.contains(" r-xp ") && line.ends_with(" 00:00 0 ");
        maps.lines().filter(is_code).count()
    };
    let path = support::guests("guests").join("kyle.wasm");
    let bytes = std::fs::read(path).expect("run `cargo xtask guests` first");
    // It is asked for its metadata, and then refused: the name in the manifest is another one.
    let load = || support::load_bytes("misfit", &bytes).expect_err("another name");
    load();
    assert_kyle_is_well();
    let before = count_code();
    assert!(before > 0, "the code of the agent that was loaded");
    for _ in 0..12 {
        load();
    }
    // Other tests in this process may load theirs meanwhile.
    let after = count_code();
    assert!(after < before + 9, "{before} before, {after} after");
}

#[test]
fn stubs_refuse_every_call_and_give_back_what_they_are_passed() {
    // Each round passes several resources: if one stayed, 2000 rounds would reach `limits.resources`.
    let report = support::invoke(&FILES, &signal("files.go", "2000"));
    assert!(report.result.is_ok(), "{:?}", report.result);
    let lines: Vec<&str> = report.log.iter().map(|line| line.text.as_str()).collect();
    assert_eq!(lines, ["2000 rounds, all refused"]);
    assert!(FILES.limits().resources < 2000);
    // Resources that a stub must return are those of the invocation.
    let report = support::invoke(&FILES, &signal("files.go", "\"hoard\""));
    assert_ends("hoard", &FILES, &report, "resources");
    assert_kyle_is_well();
}

#[test]
fn a_failure_names_the_limit_its_value_and_who_set_it() {
    let report = invoke("memory");
    let failure = report.result.expect_err("a failure");
    let said = CHAOS.describe_failure(&failure);
    let value = CHAOS.limits().memory_bytes;
    assert!(
        said.contains(&format!("limits.memory_bytes is {value}, set")),
        "{said}"
    );
    let report = invoke("panic");
    let failure = report.result.expect_err("a failure").to_string();
    assert!(failure.contains("panicked at"), "{failure}");
    assert!(failure.contains("on purpose"), "{failure}");
}

#[test]
fn memory_and_pool_return_to_their_level() {
    // Each has used much memory, stack or tables at the moment it is ended.
    let round = || {
        for how in ["memory", "stack", "panic", "huge-values"] {
            assert!(invoke(how).result.is_err(), "{how}");
        }
        for how in [10, 13, 17, 18] {
            assert!(invoke_misfit(how).result.is_err(), "{how}");
        }
    };
    // Until the pool has its warm slots and the allocator its arenas, memory grows.
    for _ in 0..8 {
        round();
    }
    let before = resident_kib();
    // Far more than the instances of the pool (16): if each failure kept one, there would soon be no room. If one in four kept its memory of
    // 8 MiB, it would be 240 MiB.
    let started = Instant::now();
    let mut rounds = 0;
    while rounds < 30 || started.elapsed() < Duration::from_secs(2) {
        round();
        rounds += 1;
    }
    let after = resident_kib();
    // What is large is given back at once. 32 MiB are for what waits of small ones, the tables of its warm slots and for other tests in this process.
    assert!(
        after < before + 32 * 1024,
        "{before} KiB before, {after} KiB after {rounds} rounds"
    );
    assert_kyle_is_well();
}
