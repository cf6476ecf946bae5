//! Inspecting a component: what it is, what it imports, and why it would be refused.
//!
//! No agent is run. A policy that imports nothing is loaded as the host loads it, so that its rules and the result of its test vectors are known.

use serde::Serialize;
use wasmtime::component::types::ComponentItem;

use ark_model::ids::Digest;
use ark_model::verdict::Metadata;

use super::engine::Engine;
use super::load::{
    LoadError, agent_may_import, compile_component, find_vectors_section, list_imports,
};
use super::policy::Policy;
use super::vectors::{VectorFailure, run_vectors};

/// An interface that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The name of the interface, e.g. `wasi:clocks/wall-clock@0.2.6`.
    pub interface: String,
    /// The functions that the component imports; empty: it imports only types.
    pub functions: Vec<String>,
}

/// What a policy says about itself, and the result of its test vectors.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyInspection {
    /// The name, version and rules.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Whether the policy takes settings.
    pub takes_settings: bool,
    /// The number of its test vectors; 0 when it carries none or fails one.
    pub vectors: usize,
}

/// The result of an inspection.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// The size, in bytes.
    pub size: usize,
    /// The SHA-256.
    pub sha256: Digest,
    /// The world, judged by the exports: `ark:agent/agent`, `ark:policy/policy`, `ark:policy/configurable-policy` or `unknown`.
    pub world: &'static str,
    /// The interfaces that the component imports.
    pub imports: Vec<Import>,
    /// The names of what the component exports, except types.
    pub exports: Vec<String>,
    /// Whether the component carries test vectors.
    pub has_vectors: bool,
    /// The policy; absent when the component cannot be loaded as one.
    pub policy: Option<PolicyInspection>,
    /// Why the component would be refused as an agent without capabilities; empty: it would not be refused.
    pub refused_as_agent: Vec<String>,
    /// Why the component would be refused as a policy; empty: it would not be refused.
    pub refused_as_policy: Vec<String>,
}

/// Inspects a component.
///
/// # Errors
/// The bytes are not a component, or it cannot be compiled. See [`LoadError`].
pub fn inspect_component(engine: &Engine, bytes: &[u8]) -> Result<Inspection, LoadError> {
    let component = compile_component(engine, bytes)?;
    let ty = component.component_type();
    let mut imports: Vec<Import> = ty
        .imports(engine.wasmtime())
        .map(|(name, _)| Import {
            interface: name.to_owned(),
            functions: Vec::new(),
        })
        .collect();
    let functions = list_imports(engine, &ty);
    for function in &functions {
        let (interface, name) = function.split_once('#').unwrap_or((function, ""));
        if let Some(import) = imports
            .iter_mut()
            .find(|import| import.interface == interface)
        {
            import.functions.push(name.to_owned());
        }
    }
    let exports: Vec<String> = ty
        .exports(engine.wasmtime())
        .filter(|(_, export)| !matches!(export.ty, ComponentItem::Type(_)))
        .map(|(name, _)| name.to_owned())
        .collect();
    let missing_exports = |wanted: &[&str]| -> Vec<String> {
        wanted
            .iter()
            .filter(|name| !exports.iter().any(|export| export == *name))
            .map(|name| format!("it does not export {name}"))
            .collect()
    };
    let mut refused_as_agent = missing_exports(&["metadata", "handle", "heartbeat"]);
    refused_as_agent.extend(
        functions
            .iter()
            .filter(|import| !agent_may_import(import, &[]))
            .map(|import| format!("it imports {import}, which is not granted")),
    );
    let mut refused_as_policy = missing_exports(&["metadata", "evaluate"]);
    refused_as_policy.extend(
        functions
            .iter()
            .map(|import| format!("it imports {import}; a policy imports nothing")),
    );
    let policy = if refused_as_policy.is_empty() {
        inspect_policy(engine, bytes, &mut refused_as_policy)
    } else {
        None
    };
    let has = |name: &str| exports.iter().any(|export| export == name);
    Ok(Inspection {
        size: bytes.len(),
        sha256: Digest::hash_bytes(bytes),
        world: match (has("handle"), has("evaluate")) {
            (true, false) => "ark:agent/agent",
            (false, true) if has("evaluate-with") => "ark:policy/configurable-policy",
            (false, true) => "ark:policy/policy",
            _ => "unknown",
        },
        imports,
        exports,
        has_vectors: find_vectors_section(bytes).is_some(),
        policy,
        refused_as_agent,
        refused_as_policy,
    })
}

/// Loads a component as a policy and runs its test vectors. Adds to `refused` why that fails.
fn inspect_policy(
    engine: &Engine,
    bytes: &[u8],
    refused: &mut Vec<String>,
) -> Option<PolicyInspection> {
    let policy = match Policy::load(engine, bytes) {
        Ok(policy) => policy,
        Err(error) => {
            refused.push(error.to_string());
            return None;
        }
    };
    let vectors = match run_vectors(&policy) {
        Ok(count) => count,
        Err(VectorFailure::Absent) => 0,
        Err(failure) => {
            refused.push(failure.to_string());
            0
        }
    };
    Some(PolicyInspection {
        metadata: policy.identity().metadata.clone(),
        takes_settings: policy.takes_settings(),
        vectors,
    })
}
