//! Compilation, and the checks that come before it.

use wasmtime::component::Component;

use crate::engine::Engine;

use super::declared::check_declared_counts;
use super::error::{LoadError, MAX_COMPONENT_BYTES};
use super::interface::LoadedAs;

/// Compiles a component after checking its form, what it imports and what it exports.
///
/// # Errors
/// See [`LoadError`].
pub(crate) fn compile_component(
    engine: &Engine,
    bytes: &[u8],
    loaded_as: LoadedAs,
) -> Result<Component, LoadError> {
    check_before_compilation(bytes, loaded_as)?;
    engine
        .compile(bytes)
        .map_err(|error| LoadError::Malformed(format!("{error:#}")))
}

/// Checks what can be known of a component without compiling it: its form, what it imports and what it exports.
///
/// # Errors
/// As [`check_form`]; [`LoadError::IsPolicy`], [`LoadError::IsAgent`], [`LoadError::NotGranted`] or [`LoadError::WrongWorld`].
pub(crate) fn check_before_compilation(bytes: &[u8], loaded_as: LoadedAs) -> Result<(), LoadError> {
    check_form(bytes)?;
    loaded_as.check_interface(bytes)
}

/// Checks the size of a component, its first bytes and what it declares.
///
/// # Errors
/// [`LoadError::TooLarge`], [`LoadError::CoreModule`], [`LoadError::NotWasm`], [`LoadError::TooComplex`] or [`LoadError::Malformed`].
pub(crate) fn check_form(bytes: &[u8]) -> Result<(), LoadError> {
    if bytes.len() > MAX_COMPONENT_BYTES {
        return Err(LoadError::TooLarge { bytes: bytes.len() });
    }
    match bytes.get(..8) {
        Some([0, b'a', b's', b'm', 1, 0, 0, 0]) => return Err(LoadError::CoreModule),
        Some([0, b'a', b's', b'm', ..]) => {}
        _ => return Err(LoadError::NotWasm),
    }
    check_declared_counts(bytes)
}
