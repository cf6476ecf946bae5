//! Reads bytes as the manifest of an agent, from a file, as the host does. Nothing may panic, and every refusal has a reason.

#![no_main]

use std::sync::LazyLock;

use ark_runtime::{Limits, Manifest};
use libfuzzer_sys::fuzz_target;
use tempfile::TempDir;

static DIR: LazyLock<TempDir> = LazyLock::new(|| tempfile::tempdir().expect("a directory"));

fuzz_target!(|bytes: &[u8]| {
    let path = DIR.path().join("fuzzed.toml");
    std::fs::write(&path, bytes).expect("a file");
    match Manifest::read_file(&path) {
        Ok(manifest) => {
            assert!(
                !manifest.component.contains(['/', '\\', '\0']),
                "the component is not beside the manifest"
            );
            // The limits are never looser than the operator's ceiling.
            let ceiling = Limits::default();
            if let Ok(limits) = ceiling.tightened_by(&manifest.limits) {
                assert!(limits.fuel <= ceiling.fuel && limits.fuel > 0);
                assert!(limits.deadline <= ceiling.deadline && !limits.deadline.is_zero());
                assert!(limits.memory_bytes <= ceiling.memory_bytes);
            }
            let _ = manifest.subscribes_to("market.tick");
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
