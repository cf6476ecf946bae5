//! What is refused before any signal reaches it: within bounds of time, with the reason, and without harm to the engine.

use std::fmt::Write;
use std::time::Instant;

use ark_host::agents::load_agent;
use ark_model::ids::Digest;
use ark_runtime::{Agent, Limits, LoadError, Manifest, Policy};

use super::FOR_THE_MACHINE;
use super::support::{ENGINE, UNHURRIED, guests, heartbeat, invoke, signal};

/// Loads bytes as the agent that a manifest of the hostile guests describes, with the digest made to fit.
fn load(name: &str, bytes: &[u8]) -> Result<Agent, LoadError> {
    let manifest = guests("guests-hostile").join(name).with_extension("toml");
    let mut manifest =
        Manifest::read_file(&manifest).expect("a manifest; run `cargo xtask guests`");
    manifest.sha256 = Digest::hash_bytes(bytes);
    manifest.limits.deadline_ms = None;
    let ceiling = Limits {
        deadline: UNHURRIED,
        ..Limits::default()
    };
    Agent::load(&ENGINE, bytes, manifest, &ceiling)
}

fn component(name: &str) -> Vec<u8> {
    let path = guests("guests-hostile").join(name).with_extension("wasm");
    std::fs::read(path).expect("a component; run `cargo xtask guests`")
}

#[test]
fn what_is_not_granted_is_refused_before_it_runs() {
    let files = guests("guests-hostile").join("files.toml");
    let refused = load_agent(&ENGINE, &files, &Limits::default()).err();
    let reason = refused.map(|error| error.to_string()).unwrap_or_default();
    assert!(
        reason.contains("wasi:filesystem") && reason.contains("wasi:sockets"),
        "{reason}"
    );
}

#[test]
fn a_start_function_that_never_returns_is_ended_and_the_agent_refused() {
    let started = Instant::now();
    let refused = load("endless-start", &component("endless-start")).expect_err("a refusal");
    assert!(
        matches!(&refused, LoadError::Failed(why) if why.contains("fuel")),
        "{refused:?}"
    );
    assert!(started.elapsed() < FOR_THE_MACHINE);
}

#[test]
fn a_heartbeat_that_misbehaves_is_ended_and_no_part_of_the_handling_of_signals() {
    for (name, kinds) in [
        ("stuck-heart", &["fuel"][..]),
        ("trapping-heart", &["trap"]),
        ("erring-heart", &["reported"]),
    ] {
        let agent = load(name, &component(name)).expect(name);
        let failure = heartbeat(&agent).expect_err(name);
        assert!(kinds.contains(&failure.kind()), "{name}: {failure}");
        let effects = invoke(&agent, &signal("heart.go", "{}"))
            .result
            .expect(name);
        assert!(
            effects.actions.is_empty() && effects.state.is_empty(),
            "{name}"
        );
    }
}

#[test]
fn ten_thousand_exports_of_a_component_or_its_module_are_refused_in_time() {
    let many = |export: &dyn Fn(usize) -> String| {
        (0..10_000).fold(String::new(), |mut text, index| {
            let _ = write!(text, "{}", export(index));
            text
        })
    };
    let module = many(&|index| format!("(func (export \"f{index}\"))"));
    let exports = many(&|index| format!("(export \"f{index}\" (func $f))"));
    for (what, text) in [
        (
            "a module",
            format!("(component (core module $m {module}) (core instance (instantiate $m)))"),
        ),
        (
            "a component",
            format!(
                "(component (core module $m (func (export \"f\"))) (core instance $i (instantiate $m)) \
                 (func $f (canon lift (core func $i \"f\"))) {exports})"
            ),
        ),
    ] {
        let bytes = wat::parse_str(&text).expect("a component");
        let started = Instant::now();
        let refused = load("misfit", &bytes).expect_err(what);
        assert!(
            matches!(refused, LoadError::WrongWorld { .. }),
            "{what}: {refused:?}"
        );
        let refused = Policy::load(&ENGINE, &bytes).expect_err(what);
        assert!(
            matches!(refused, LoadError::WrongWorld { .. }),
            "{what}: {refused:?}"
        );
        assert!(started.elapsed() < FOR_THE_MACHINE, "{what}");
    }
}

#[test]
fn whatever_is_cut_off_is_refused() {
    for (name, step) in [("erring-heart", 16), ("chaos", 30_000)] {
        let whole = component(name);
        assert!(load(name, &whole).is_ok(), "{name}");
        for length in (0..whole.len()).step_by(step) {
            let refused = load(name, &whole[..length]).expect_err("a refusal");
            assert!(
                matches!(
                    refused,
                    LoadError::NotWasm | LoadError::Malformed(_) | LoadError::WrongWorld { .. }
                ),
                "{name} cut to {length} bytes: {refused:?}"
            );
            assert!(!refused.to_string().is_empty());
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_or_harmless() {
    let whole = component("erring-heart");
    let mut refusals = 0;
    for at in (0..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        match load("erring-heart", &flipped) {
            Err(refusal) => {
                assert!(!refusal.to_string().is_empty());
                refusals += 1;
            }
            // A byte of its data or of its debugging names: whatever it does now, it does within its limits.
            Ok(agent) => {
                let report = invoke(&agent, &signal("heart.go", "{}"));
                assert!(
                    report.duration < agent.limits().deadline + FOR_THE_MACHINE,
                    "byte {at}"
                );
            }
        }
    }
    assert!(refusals > whole.len() / 20, "{refusals}");
    // Unless its manifest vouches for the very bytes, nothing of it is looked at.
    let manifest = guests("guests-hostile").join("erring-heart.toml");
    let manifest = Manifest::read_file(&manifest).expect("a manifest");
    let mut flipped = whole;
    flipped[100] ^= 1;
    let refused = Agent::load(&ENGINE, &flipped, manifest, &Limits::default());
    assert!(matches!(refused, Err(LoadError::WrongDigest { .. })));
}
