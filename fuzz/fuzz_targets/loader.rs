//! Loads bytes as a component: as an agent, as a policy, and as `ark inspect` does. That covers the checks, compilation, linking and the call for
//! the metadata. Nothing may panic; libFuzzer's `-timeout` and `-rss_limit_mb` bound time and memory.

#![no_main]

use std::collections::BTreeMap;
use std::sync::LazyLock;
use std::time::Duration;

use ark_model::ids::Digest;
use ark_runtime::{
    Agent, Engine, EngineConfig, Limits, LimitsTable, LoadError, Manifest, Policy, QuotasTable,
};
use libfuzzer_sys::fuzz_target;

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let config = EngineConfig {
        instances: 4,
        memory_bytes: 64 * 1024 * 1024,
        ..EngineConfig::default()
    };
    Engine::new(&config).expect("an engine")
});

fuzz_target!(|bytes: &[u8]| {
    let manifest = Manifest {
        name: "fuzzed".parse().expect("a name"),
        version: "0.1.0".to_owned(),
        component: "fuzzed.wasm".to_owned(),
        sha256: Digest::hash_bytes(bytes),
        description: String::new(),
        topics: Vec::new(),
        actions: Vec::new(),
        capabilities: vec!["truth-set".to_owned()],
        limits: LimitsTable::default(),
        quotas: QuotasTable::default(),
        signature: None,
        config: BTreeMap::new(),
    };
    // Low limits, so that a component that runs is ended soon.
    let limits = Limits {
        fuel: 1_000_000,
        deadline: Duration::from_millis(200),
        ..Limits::default()
    };
    // A refusal is a message for the operator: formatting it must not panic.
    let refusal = Agent::load(&ENGINE, bytes, manifest, &limits).err();
    let _ = refusal.as_ref().map(ToString::to_string);
    // Policies and `ark inspect` begin with the same checks and the same compilation, so these bytes would be refused again.
    if matches!(
        refusal,
        Some(
            LoadError::TooLarge { .. }
                | LoadError::NotWasm
                | LoadError::CoreModule
                | LoadError::Malformed(_)
        )
    ) {
        return;
    }
    if let Err(refusal) = Policy::load(&ENGINE, bytes) {
        let _ = refusal.to_string();
    }
    let _ = ark_runtime::inspect_component(&ENGINE, bytes);
});
