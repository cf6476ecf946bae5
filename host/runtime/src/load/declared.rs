//! The size of a component in what it declares, checked before it is compiled.
//!
//! A few bytes can declare a lot: a million functions without instructions, tens of thousands of locals in a function of four bytes. The time
//! and memory of compilation depend on these counts, not on the bytes, and compilation cannot be interrupted.

use wasmparser::{Parser, Payload};

use super::error::LoadError;

/// What is counted.
#[derive(Clone, Copy)]
enum Declared {
    Functions,
    Locals,
    Types,
    Names,
    Globals,
    Storage,
    Elements,
    Data,
    Parts,
}

impl Declared {
    const COUNT: usize = 9;

    /// Returns the name in errors and the most that a component may declare, all its modules and inner components together. The largest of the
    /// example agents has a few thousand functions.
    const fn bound(self) -> (&'static str, u64) {
        match self {
            Self::Functions => ("functions", 50_000),
            Self::Locals => ("local variables", 1_000_000),
            Self::Types => ("types", 50_000),
            Self::Names => ("imports and exports", 50_000),
            Self::Globals => ("globals", 50_000),
            Self::Storage => ("tables and memories", 1_000),
            Self::Elements => ("segments of elements", 50_000),
            Self::Data => ("segments of data", 50_000),
            Self::Parts => ("modules, components and instances", 10_000),
        }
    }
}

#[derive(Default)]
struct DeclaredCounts([u64; Declared::COUNT]);

impl DeclaredCounts {
    fn add(&mut self, what: Declared, count: u32) -> Result<(), LoadError> {
        let sum = &mut self.0[what as usize];
        *sum = sum.saturating_add(count.into());
        let (name, most) = what.bound();
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

/// Refuses a component that declares too much. A malformed component may pass, since compiling it fails.
///
/// # Errors
/// [`LoadError::TooComplex`], or [`LoadError::Malformed`] where counting fails.
pub(super) fn check_declared_counts(bytes: &[u8]) -> Result<(), LoadError> {
    let malformed = |error: wasmparser::BinaryReaderError| LoadError::Malformed(error.to_string());
    let mut counts = DeclaredCounts::default();
    let mut parser = Parser::new(0);
    parser.set_features(wasmparser::WasmFeatures::all());
    for payload in parser.parse_all(bytes) {
        let (what, count) = match payload.map_err(malformed)? {
            Payload::CodeSectionEntry(body) => {
                for local in body.get_locals_reader().map_err(malformed)? {
                    let (count, _) = local.map_err(malformed)?;
                    counts.add(Declared::Locals, count)?;
                }
                continue;
            }
            Payload::FunctionSection(section) => (Declared::Functions, section.count()),
            Payload::ComponentCanonicalSection(section) => (Declared::Functions, section.count()),
            Payload::TypeSection(section) => (Declared::Types, section.count()),
            Payload::CoreTypeSection(section) => (Declared::Types, section.count()),
            Payload::ComponentTypeSection(section) => (Declared::Types, section.count()),
            Payload::ImportSection(section) => (Declared::Names, section.count()),
            Payload::ExportSection(section) => (Declared::Names, section.count()),
            Payload::ComponentImportSection(section) => (Declared::Names, section.count()),
            Payload::ComponentExportSection(section) => (Declared::Names, section.count()),
            Payload::ComponentAliasSection(section) => (Declared::Names, section.count()),
            Payload::GlobalSection(section) => (Declared::Globals, section.count()),
            Payload::TableSection(section) => (Declared::Storage, section.count()),
            Payload::MemorySection(section) => (Declared::Storage, section.count()),
            Payload::ElementSection(section) => (Declared::Elements, section.count()),
            Payload::DataSection(section) => (Declared::Data, section.count()),
            Payload::DataCountSection { count, .. } => (Declared::Data, count),
            Payload::InstanceSection(section) => (Declared::Parts, section.count()),
            Payload::ComponentInstanceSection(section) => (Declared::Parts, section.count()),
            Payload::ModuleSection { .. } | Payload::ComponentSection { .. } => {
                (Declared::Parts, 1)
            }
            _ => continue,
        };
        counts.add(what, count)?;
    }
    Ok(())
}
