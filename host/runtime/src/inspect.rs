//! Looks at a component: what it is, what it imports, and why it would be refused. Nothing of an agent is run; a policy that imports nothing
//! is loaded as a host loads it, so that its rules and whether its vectors hold can be told.

use serde::Serialize;
use wasmtime::component::types::ComponentItem;

use ark_model::ids::Digest;
use ark_model::verdict::Metadata;

use super::engine::Engine;
use super::load::{self, LoadError};
use super::policy::Policy;
use super::vectors::{VectorFailure, run_vectors};

/// An interface that a component imports, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The interface, e.g. `wasi:clocks/wall-clock@0.2.6`.
    pub interface: String,
    /// Its functions; empty: types only.
    pub functions: Vec<String>,
}

/// What a policy says of itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PolicyInspection {
    /// Its name, version and rules.
    #[serde(flatten)]
    pub metadata: Metadata,
    /// Whether it takes settings.
    pub takes_settings: bool,
    /// How many test vectors it carries that hold; 0: it carries none, or one does not hold.
    pub vectors: usize,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Inspection {
    /// Its size in bytes.
    pub size: usize,
    /// Its SHA-256.
    pub sha256: Digest,
    /// `ark:agent/agent`, `ark:policy/policy`, `ark:policy/configurable-policy` or `unknown`: by its exports.
    pub world: &'static str,
    /// What it imports.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Whether it carries test vectors.
    pub has_vectors: bool,
    /// What it says of itself, where it is a policy that can be loaded.
    pub policy: Option<PolicyInspection>,
    /// Why it would be refused as an agent that is granted nothing beyond the ordinary; empty: it would not.
    pub refused_as_agent: Vec<String>,
    /// Why it would be refused as a policy; empty: it would not.
    pub refused_as_policy: Vec<String>,
}

/// Looks at a component.
///
/// # Errors
/// It is none, or is malformed.
pub fn inspect_component(engine: &Engine, bytes: &[u8]) -> Result<Inspection, LoadError> {
    let component = load::compile_component(engine, bytes)?;
    let ty = component.component_type();
    let mut imports: Vec<Import> = ty
        .imports(engine.wasmtime())
        .map(|(name, _)| Import {
            interface: name.to_owned(),
            functions: Vec::new(),
        })
        .collect();
    let functions = load::list_imports(engine, &ty);
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
    let lacks = |wanted: &[&str]| -> Vec<String> {
        wanted
            .iter()
            .filter(|name| !exports.iter().any(|export| export == *name))
            .map(|name| format!("it does not export {name}"))
            .collect()
    };
    let mut refused_as_agent = lacks(&["metadata", "handle", "heartbeat"]);
    refused_as_agent.extend(
        functions
            .iter()
            .filter(|import| !load::agent_may_import(import, &[]))
            .map(|import| format!("it imports {import}, which is not granted")),
    );
    let mut refused_as_policy = lacks(&["metadata", "evaluate"]);
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
        has_vectors: super::vectors::find_vectors_section(bytes).is_some(),
        policy,
        refused_as_agent,
        refused_as_policy,
    })
}

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
