//! Looks at a component without running anything of it: what it is, what it imports, and why it would be refused.

use serde::Serialize;
use wasmtime::component::types::ComponentItem;

use crate::model::ids::Digest;

use super::engine::Engine;
use super::load::{self, LoadError};

/// An interface that a component imports, and what of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The interface, e.g. `wasi:clocks/wall-clock@0.2.6`.
    pub interface: String,
    /// Its functions; empty: types only.
    pub functions: Vec<String>,
}

/// What was seen.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inspection {
    /// Its size in bytes.
    pub size: usize,
    /// Its SHA-256.
    pub sha256: Digest,
    /// `ark:agent/agent`, `ark:policy/policy`, or `unknown`: by its exports.
    pub world: &'static str,
    /// What it imports.
    pub imports: Vec<Import>,
    /// What it exports.
    pub exports: Vec<String>,
    /// Whether it carries test vectors.
    pub has_vectors: bool,
    /// Why it would be refused as an agent that is granted nothing beyond the ordinary; empty: it would not.
    pub refused_as_agent: Vec<String>,
    /// Why it would be refused as a policy; empty: it would not.
    pub refused_as_policy: Vec<String>,
}

/// Looks at a component.
///
/// # Errors
/// It is none, or is malformed.
pub fn inspect(engine: &Engine, bytes: &[u8]) -> Result<Inspection, LoadError> {
    let component = load::compile(engine, bytes)?;
    let ty = component.component_type();
    let mut imports: Vec<Import> = ty
        .imports(engine.wasmtime())
        .map(|(name, _)| Import {
            interface: name.to_owned(),
            functions: Vec::new(),
        })
        .collect();
    let functions = load::imports(engine, &ty);
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
    let has = |name: &str| exports.iter().any(|export| export == name);
    Ok(Inspection {
        size: bytes.len(),
        sha256: Digest::of(bytes),
        world: match (has("handle"), has("evaluate")) {
            (true, false) => "ark:agent/agent",
            (false, true) => "ark:policy/policy",
            _ => "unknown",
        },
        imports,
        exports,
        has_vectors: super::vectors::section(bytes).is_some(),
        refused_as_agent,
        refused_as_policy,
    })
}
