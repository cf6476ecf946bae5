//! How large a component is in what it declares, before it is compiled.
//!
//! A few bytes can declare a lot: a million functions without instructions, tens of thousands of locals in a function of four bytes. Compiling
//! takes its time and memory from the count, not from the bytes, and cannot be interrupted; so the counts are bounded first.

use wasmparser::{Parser, Payload};

use super::load::LoadError;

/// The most of each that a component may declare, all its modules and inner components together. The largest of the examples has a few
/// thousand functions.
const MAX_DECLARED: [(&str, u64); 9] = [
    ("functions", 50_000),
    ("local variables", 1_000_000),
    ("types", 50_000),
    ("imports and exports", 50_000),
    ("globals", 50_000),
    ("tables and memories", 1_000),
    ("segments of elements", 50_000),
    ("segments of data", 50_000),
    ("modules, components and instances", 10_000),
];

#[derive(Default)]
struct DeclaredCounts([u64; MAX_DECLARED.len()]);

impl DeclaredCounts {
    fn add(&mut self, what: usize, count: u64) -> Result<(), LoadError> {
        let sum = &mut self.0[what];
        *sum = sum.saturating_add(count);
        let (name, most) = MAX_DECLARED[what];
        if *sum > most {
            return Err(LoadError::TooComplex {
                what: name,
                found: *sum,
                most,
            });
        }
        Ok(())
    }
}

/// Refuses a component that declares too much. What is malformed may pass: compiling it tells.
///
/// # Errors
/// [`LoadError::TooComplex`] names what there is too much of; [`LoadError::Malformed`].
pub(super) fn check_declared_counts(bytes: &[u8]) -> Result<(), LoadError> {
    const FUNCTIONS: usize = 0;
    const LOCALS: usize = 1;
    const TYPES: usize = 2;
    const NAMES: usize = 3;
    const GLOBALS: usize = 4;
    const STORAGE: usize = 5;
    const ELEMENTS: usize = 6;
    const DATA: usize = 7;
    const PARTS: usize = 8;
    let mut counts = DeclaredCounts::default();
    let mut parser = Parser::new(0);
    parser.set_features(wasmparser::WasmFeatures::all());
    for payload in parser.parse_all(bytes) {
        let payload = payload.map_err(|error| LoadError::Malformed(error.to_string()))?;
        let (what, count) = match payload {
            Payload::FunctionSection(section) => (FUNCTIONS, section.count()),
            Payload::CodeSectionEntry(body) => {
                let locals = body
                    .get_locals_reader()
                    .map_err(|error| LoadError::Malformed(error.to_string()))?;
                for local in locals {
                    let (count, _) =
                        local.map_err(|error| LoadError::Malformed(error.to_string()))?;
                    counts.add(LOCALS, count.into())?;
                }
                continue;
            }
            Payload::TypeSection(section) => (TYPES, section.count()),
            Payload::CoreTypeSection(section) => (TYPES, section.count()),
            Payload::ComponentTypeSection(section) => (TYPES, section.count()),
            Payload::ImportSection(section) => (NAMES, section.count()),
            Payload::ExportSection(section) => (NAMES, section.count()),
            Payload::ComponentImportSection(section) => (NAMES, section.count()),
            Payload::ComponentExportSection(section) => (NAMES, section.count()),
            Payload::ComponentAliasSection(section) => (NAMES, section.count()),
            Payload::ComponentCanonicalSection(section) => (FUNCTIONS, section.count()),
            Payload::GlobalSection(section) => (GLOBALS, section.count()),
            Payload::TableSection(section) => (STORAGE, section.count()),
            Payload::MemorySection(section) => (STORAGE, section.count()),
            Payload::ElementSection(section) => (ELEMENTS, section.count()),
            Payload::DataSection(section) => (DATA, section.count()),
            Payload::DataCountSection { count, .. } => (DATA, count),
            Payload::InstanceSection(section) => (PARTS, section.count()),
            Payload::ComponentInstanceSection(section) => (PARTS, section.count()),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => (PARTS, 1),
            _ => continue,
        };
        counts.add(what, count.into())?;
    }
    Ok(())
}
