//! What a component imports and exports, read from its types: no code is compiled or validated for it.
//!
//! Compiling a large component takes tens of seconds, and what it imports mostly decides that it is refused. So the obvious is found here, in
//! time that depends on what the component declares; the final check uses the compiled component ([`super::imports`]) and its linking.

use wasmparser::component_types::ComponentEntityType;
use wasmparser::types::TypesRef;
use wasmparser::{Parser, Payload, ValidPayload, Validator, WasmFeatures};

use super::error::LoadError;
use super::imports::{AgentImport, resolve_agent_import};

/// The functions that an agent exports.
const AGENT_EXPORTS: [&str; 3] = ["metadata", "handle", "heartbeat"];
/// The functions that a policy exports.
const POLICY_EXPORTS: [&str; 2] = ["metadata", "evaluate"];

/// An interface that a component imports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ImportedInterface {
    /// The name of the interface, e.g. `wasi:clocks/wall-clock@0.2.6`; of a function that is imported by itself, its name.
    pub(crate) name: String,
    /// The functions, and everything else that is not a type, as `interface#function`.
    pub(crate) functions: Vec<String>,
}

/// What a component imports and exports.
#[derive(Debug, Default)]
pub(crate) struct Interface {
    pub(crate) imports: Vec<ImportedInterface>,
    /// The names of what the component exports, except types.
    pub(crate) exports: Vec<String>,
}

/// For what a component is loaded.
#[derive(Debug, Clone, Copy)]
pub(crate) enum LoadedAs {
    /// As an agent.
    Agent,
    /// As a policy.
    Policy,
}

impl LoadedAs {
    /// Refuses a component that cannot be what it is loaded as. One that cannot be read here passes: compiling it fails.
    ///
    /// # Errors
    /// [`LoadError::IsPolicy`], [`LoadError::IsAgent`], [`LoadError::NotGranted`] or [`LoadError::WrongWorld`].
    pub(super) fn check_interface(self, bytes: &[u8]) -> Result<(), LoadError> {
        let Ok(interface) = Interface::read(bytes) else {
            return Ok(());
        };
        let missing = interface.list_missing_exports(self);
        // Each import of the other kind is wrong here; that it is the other kind says it all.
        if !missing.is_empty() {
            let (other, mistaken) = match self {
                Self::Agent => (Self::Policy, LoadError::IsPolicy),
                Self::Policy => (Self::Agent, LoadError::IsAgent),
            };
            if interface.list_missing_exports(other).is_empty() {
                return Err(mistaken);
            }
        }
        let refused = interface.list_refused_imports(self);
        if !refused.is_empty() {
            return Err(LoadError::NotGranted(refused));
        }
        if !missing.is_empty() {
            return Err(LoadError::WrongWorld {
                world: match self {
                    Self::Agent => "ark:agent/agent",
                    Self::Policy => "ark:policy/policy",
                },
                problem: format!("it does not export {}", missing.join(", ")),
            });
        }
        Ok(())
    }
}

impl Interface {
    /// Reads imports and exports.
    ///
    /// # Errors
    /// [`LoadError::Malformed`]: the types of the component are not valid.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, LoadError> {
        let malformed =
            |error: wasmparser::BinaryReaderError| LoadError::Malformed(error.to_string());
        let mut validator = Validator::new_with_features(WasmFeatures::all());
        let (mut import_names, mut export_names) = (Vec::new(), Vec::new());
        let mut types = None;
        let mut depth = 0_usize;
        for payload in Parser::new(0).parse_all(bytes) {
            let payload = payload.map_err(malformed)?;
            match &payload {
                Payload::ComponentImportSection(section) if depth == 0 => {
                    for import in section.clone() {
                        import_names.push(import.map_err(malformed)?.name.name.to_owned());
                    }
                }
                Payload::ComponentExportSection(section) if depth == 0 => {
                    for export in section.clone() {
                        export_names.push(export.map_err(malformed)?.name.name.to_owned());
                    }
                }
                _ => {}
            }
            match validator.payload(&payload).map_err(malformed)? {
                ValidPayload::Parser(_) => depth += 1,
                ValidPayload::End(of_part) => {
                    depth = depth.saturating_sub(1);
                    types = Some(of_part);
                }
                // Code is left alone.
                ValidPayload::Func(..) | ValidPayload::Ok => {}
            }
        }
        // The end that comes last is that of the component.
        let Some(types) = types else {
            return Ok(Self::default());
        };
        let types = types.as_ref();
        let mut interface = Self::default();
        for name in import_names {
            let mut functions = Vec::new();
            if let Some(item) = types.component_item_for_import(&name) {
                collect_functions(types, &name, item.ty, &mut functions);
            }
            interface
                .imports
                .push(ImportedInterface { name, functions });
        }
        interface.exports = export_names;
        interface.exports.retain(|name| {
            let item = types.component_item_for_export(name);
            item.is_some_and(|item| !matches!(item.ty, ComponentEntityType::Type { .. }))
        });
        Ok(interface)
    }

    /// Returns what is imported and not there to be linked, as `interface#function`.
    pub(crate) fn list_refused_imports(&self, loaded_as: LoadedAs) -> Vec<String> {
        let functions = self.imports.iter().flat_map(|import| &import.functions);
        functions
            .filter(|import| match loaded_as {
                LoadedAs::Agent => resolve_agent_import(import) == AgentImport::Refused,
                LoadedAs::Policy => true,
            })
            .cloned()
            .collect()
    }

    /// Returns the names of the functions that are missing.
    pub(crate) fn list_missing_exports(&self, loaded_as: LoadedAs) -> Vec<&'static str> {
        let wanted: &[&str] = match loaded_as {
            LoadedAs::Agent => &AGENT_EXPORTS,
            LoadedAs::Policy => &POLICY_EXPORTS,
        };
        let is_missing = |name: &&str| !self.exports.iter().any(|export| export == name);
        wanted.iter().copied().filter(is_missing).collect()
    }
}

fn collect_functions(
    types: TypesRef<'_>,
    name: &str,
    item: ComponentEntityType,
    found: &mut Vec<String>,
) {
    match item {
        ComponentEntityType::Instance(instance) => {
            let separator = if name.contains('#') { '.' } else { '#' };
            for (inner, export) in &types[instance].exports {
                let name = format!("{name}{separator}{inner}");
                collect_functions(types, &name, export.ty, found);
            }
        }
        // A type has no effect. The functions of a resource are listed by themselves.
        ComponentEntityType::Type { .. } => {}
        ComponentEntityType::Func(_)
        | ComponentEntityType::Module(_)
        | ComponentEntityType::Component(_)
        | ComponentEntityType::Value(_) => found.push(name.to_owned()),
    }
}
