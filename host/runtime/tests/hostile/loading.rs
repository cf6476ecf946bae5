//! What is refused before it is invoked: with the reason, in bounded time, and without harm to the engine.

use std::fmt::Write;
use std::time::{Duration, Instant};

use ark_runtime::{Agent, Limits, LoadError, Manifest, Policy};

use super::support::{ENGINE, guests, heartbeat, invoke, load_bytes, signal};

/// Far more than any of these tests needs on a busy machine, and far less than what is not bounded would take.
const BOUNDED: Duration = Duration::from_mins(3);

fn read_component(name: &str) -> Vec<u8> {
    let path = guests("guests-hostile").join(name).with_extension("wasm");
    std::fs::read(path).expect("a component; run `cargo xtask guests`")
}

#[test]
fn forbidden_imports_are_refused_before_the_component_runs() {
    for interface in [
        "acme:vault/keys@1.0.0",
        "wasi:keyvalue/store@0.2.0",
        "wasi:filesystem/types@0.3.0",
        "wasi:http/incoming-handler@0.2.0",
    ] {
        let text =
            format!(r#"(component (import "{interface}" (instance (export "open" (func)))))"#);
        let bytes = wat::parse_str(&text).expect("a component");
        let Err(LoadError::NotGranted(imports)) = load_bytes("files", &bytes) else {
            panic!("{interface}: not refused for its import");
        };
        assert_eq!(imports, [format!("{interface}#open")]);
    }
}

#[test]
fn a_policy_gets_no_stubs() {
    for interface in [
        "wasi:filesystem/types@0.2.6",
        "wasi:sockets/tcp@0.2.6",
        "wasi:http/types@0.2.6",
    ] {
        let text =
            format!(r#"(component (import "{interface}" (instance (export "open" (func)))))"#);
        let bytes = wat::parse_str(&text).expect("a component");
        let Err(refused) = Policy::load(&ENGINE, &bytes) else {
            panic!("a policy that imports {interface}");
        };
        assert!(
            matches!(&refused, LoadError::NotGranted(imports) if imports[0].contains(interface)),
            "{refused:?}"
        );
    }
    let Err(refused) = Policy::load(&ENGINE, &read_component("files")) else {
        panic!("an agent that imports files");
    };
    assert!(matches!(refused, LoadError::IsAgent), "{refused:?}");
}

#[test]
fn a_start_function_that_never_returns_is_ended_and_the_agent_refused() {
    let started = Instant::now();
    let refused =
        load_bytes("endless-start", &read_component("endless-start")).expect_err("a refusal");
    assert!(
        matches!(&refused, LoadError::Failed(why) if why.contains("fuel")),
        "{refused:?}"
    );
    assert!(started.elapsed() < BOUNDED);
}

#[test]
fn a_heartbeat_that_misbehaves_is_ended_and_no_part_of_the_handling_of_signals() {
    for (name, kind) in [
        ("stuck-heart", "fuel"),
        ("trapping-heart", "trap"),
        ("erring-heart", "reported"),
    ] {
        let agent = load_bytes(name, &read_component(name)).expect(name);
        let failure = heartbeat(&agent).expect_err(name);
        assert_eq!(failure.kind(), kind, "{name}: {failure}");
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
        let refused = load_bytes("misfit", &bytes).expect_err(what);
        assert!(
            matches!(refused, LoadError::WrongWorld { .. }),
            "{what}: {refused:?}"
        );
        let refused = Policy::load(&ENGINE, &bytes).expect_err(what);
        assert!(
            matches!(refused, LoadError::WrongWorld { .. }),
            "{what}: {refused:?}"
        );
        assert!(started.elapsed() < BOUNDED, "{what}");
    }
}

#[test]
fn truncated_components_are_refused() {
    for (name, step) in [("erring-heart", 16), ("chaos", 30_000)] {
        let whole = read_component(name);
        assert!(load_bytes(name, &whole).is_ok(), "{name}");
        for length in (0..whole.len()).step_by(step) {
            let refused = load_bytes(name, &whole[..length]).expect_err("a refusal");
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
    let whole = read_component("erring-heart");
    let mut refusals = 0;
    for at in (0..whole.len()).step_by(5) {
        let mut flipped = whole.clone();
        flipped[at] ^= 1 << (at % 8);
        match load_bytes("erring-heart", &flipped) {
            Err(refusal) => {
                assert!(!refusal.to_string().is_empty());
                refusals += 1;
            }
            // The byte belongs to its data or its debugging names. What it does now stays within its limits.
            Ok(agent) => {
                let report = invoke(&agent, &signal("heart.go", "{}"));
                assert!(
                    report.duration < agent.limits().deadline + BOUNDED,
                    "byte {at}"
                );
            }
        }
    }
    assert!(refusals > whole.len() / 20, "{refusals}");
    // Without the digest of these bytes in its manifest, it is refused first.
    let manifest = guests("guests-hostile").join("erring-heart.toml");
    let manifest = Manifest::read_file(&manifest).expect("a manifest");
    let mut flipped = whole;
    flipped[100] ^= 1;
    let refused = Agent::load(&ENGINE, &flipped, manifest, &Limits::default());
    assert!(matches!(refused, Err(LoadError::WrongDigest { .. })));
}

#[test]
fn imports_and_exports_are_checked_before_anything_is_compiled() {
    // A function without its result: anyone who compiles it finds it malformed.
    let invalid = "(core module (func (result i32)))";
    let foreign = "(import \"acme:vault/keys@0.2.0\" (instance (export \"open\" (func))))";
    let exported = ["metadata", "handle", "heartbeat"].map(|name| {
        format!("(core module $m-{name} (func (export \"f\"))) (core instance $i-{name} (instantiate $m-{name})) \
             (func $f-{name} (canon lift (core func $i-{name} \"f\"))) (export \"{name}\" (func $f-{name}))")
    });
    for (text, expected) in [
        (format!("(component {foreign} {invalid})"), "not granted"),
        (format!("(component {invalid})"), "it does not export"),
        (
            format!("(component {} {invalid})", exported.concat()),
            "malformed",
        ),
    ] {
        let bytes = wat::parse_str(&text).expect("a component");
        let refused = load_bytes("misfit", &bytes)
            .expect_err("a refusal")
            .to_string();
        assert!(refused.contains(expected), "{expected}: {refused}");
    }
    // A policy imports nothing at all.
    let bytes = wat::parse_str(format!("(component {foreign} {invalid})")).expect("a component");
    let refused = Policy::load(&ENGINE, &bytes).expect_err("a refusal");
    assert!(matches!(refused, LoadError::NotGranted(_)), "{refused:?}");
}
