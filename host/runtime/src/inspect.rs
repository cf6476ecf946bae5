//! Inspecting a component: what it is, what it imports, and why it would be refused.
//!
//! No agent is run. A policy that imports nothing is loaded as the host loads it, so that its rules and the result of its test vectors are known.

use serde::Serialize;

use ark_model::check::{clip_for_error, to_printable};
use ark_model::ids::{Digest, Name};
use ark_model::verdict::Metadata;

use super::agent::Agent;
use super::engine::Engine;
use super::limits::Limits;
use super::load::{
    AgentImport, Interface, LoadError, LoadedAs, check_form, compile_component,
    find_vectors_section, resolve_agent_import,
};
use super::manifest::Manifest;
use super::policy::Policy;
use super::vectors::{VectorFailure, run_vectors};

/// The most characters of an agent's description that are taken into a manifest.
const MAX_DESCRIPTION_CHARS: usize = 400;

/// An interface that a component imports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Import {
    /// The name of the interface, e.g. `wasi:clocks/wall-clock@0.2.6`.
    pub interface: String,
    /// The functions that the component imports; empty: it imports only types.
    pub functions: Vec<String>,
    /// Whether an agent gets only stubs for them, which refuse every call.
    pub stubbed: bool,
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
    /// Why the component would be refused as an agent; empty: it would not be refused.
    pub refused_as_agent: Vec<String>,
    /// Why the component would be refused as a policy; empty: it would not be refused.
    pub refused_as_policy: Vec<String>,
}

/// What an agent says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AgentMetadata {
    /// The name.
    pub name: Name,
    /// The version (semver).
    pub version: String,
    /// What it does.
    pub description: String,
}

/// Asks a component for its metadata as an agent, under the default limits of an invocation.
///
/// # Errors
/// The component would be refused as an agent, fails, or has a name that no agent can have. See [`LoadError`].
pub fn read_agent_metadata(engine: &Engine, bytes: &[u8]) -> Result<AgentMetadata, LoadError> {
    let name = |text: &str| {
        text.parse::<Name>()
            .map_err(|error| LoadError::BadMetadata(format!("name: {error}")))
    };
    let manifest = Manifest::granting_nothing(name("unnamed")?, Digest::hash_bytes(bytes));
    let metadata = Agent::link(engine, bytes, manifest, &Limits::default())?.ask_metadata()?;
    Ok(AgentMetadata {
        name: name(&metadata.name)?,
        version: clip_for_error(&metadata.version),
        description: to_printable(&metadata.description, MAX_DESCRIPTION_CHARS),
    })
}

/// Inspects a component.
///
/// # Errors
/// The bytes are not a component, or it cannot be compiled as the agent that it may be. See [`LoadError`].
pub fn inspect_component(engine: &Engine, bytes: &[u8]) -> Result<Inspection, LoadError> {
    check_form(bytes)?;
    let interface = Interface::read(bytes)?;
    let as_agent = LoadedAs::Agent;
    let missing_exports = |loaded_as: LoadedAs| {
        let missing = interface.list_missing_exports(loaded_as);
        missing
            .into_iter()
            .map(|name| format!("it does not export {name}"))
    };
    let mut refused_as_agent: Vec<String> = missing_exports(as_agent).collect();
    let refused = interface.list_refused_imports(as_agent);
    refused_as_agent.extend(
        refused
            .iter()
            .map(|import| format!("it imports {import}, which no agent gets")),
    );
    let mut refused_as_policy: Vec<String> = missing_exports(LoadedAs::Policy).collect();
    let refused = interface.list_refused_imports(LoadedAs::Policy);
    refused_as_policy.extend(
        refused
            .iter()
            .map(|import| format!("it imports {import}; a policy imports nothing")),
    );
    if refused_as_agent.is_empty() {
        compile_component(engine, bytes, as_agent)?;
    }
    let policy = if refused_as_policy.is_empty() {
        inspect_policy(engine, bytes, &mut refused_as_policy)
    } else {
        None
    };
    let imports = interface.imports.iter().map(|import| Import {
        interface: import.name.clone(),
        stubbed: resolve_agent_import(&import.name) == AgentImport::Stubbed,
        functions: import
            .functions
            .iter()
            .map(|function| function.split_once('#').map_or("", |(_, name)| name))
            .map(str::to_owned)
            .collect(),
    });
    let imports = imports.collect();
    let exports = interface.exports;
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
