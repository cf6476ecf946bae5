//! What is checked of a component before any of its code runs: its size, what it declares, what it imports.
//!
//! The checks stand in order of cost: bytes, declared counts, imports and exports. Compilation comes last, since its time and memory depend on
//! what the component declares.

mod compile;
mod declared;
mod error;
mod imports;
mod interface;
mod sections;

pub(crate) use compile::{check_before_compilation, check_form, compile_component};
pub use error::{LoadError, MAX_COMPONENT_BYTES};
pub(crate) use imports::{AgentImport, list_imports, resolve_agent_import};
pub(crate) use interface::{Interface, LoadedAs};
pub(crate) use sections::{VECTORS_SECTION, find_vectors_section};
