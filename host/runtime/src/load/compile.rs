//! Compilation, and the checks that come before it.

use wasmtime::component::Component;

use crate::engine::Engine;

use super::declared::check_declared_counts;
use super::error::{LoadError, MAX_COMPONENT_BYTES};

/// Compiles a component after checking its size, its first bytes and what it declares.
pub(crate) fn compile_component(engine: &Engine, bytes: &[u8]) -> Result<Component, LoadError> {
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(LoadError::TooLarge { bytes: bytes.len() });
    }
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => return Err(LoadError::CoreModule),
        Some([0, b'a', b's', b'm', ..]) => {}
        _ => return Err(LoadError::NotWasm),
    }
    check_declared_counts(bytes)?;
    Component::from_binary(engine.wasmtime(), bytes)
        .map_err(|error| LoadError::Malformed(format!("{error:#}")))
}
