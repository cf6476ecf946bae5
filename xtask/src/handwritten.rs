//! Agents written as WebAssembly text, for what the SDK does not let an agent do.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The file whose text is put before each agent's, without its extension.
const PRELUDE: &str = "prelude";
/// The world that the components implement.
const WORLD: &str = "ark:agent/agent";

/// Makes each `<name>.wat` of a directory, except the prelude, a component. Returns name and component of each, sorted by name.
///
/// # Errors
/// A file cannot be read, or its module does not fit the world.
pub fn build_guests(wit: &Path, sources: &Path) -> Result<Vec<(String, Vec<u8>)>> {
    let prelude = sources.join(PRELUDE).with_extension("wat");
    let prelude = fs::read_to_string(&prelude).with_context(|| prelude.display().to_string())?;
    let mut files: Vec<PathBuf> = fs::read_dir(sources)
        .with_context(|| sources.display().to_string())?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    files.retain(|file| file.extension().is_some_and(|extension| extension == "wat"));
    files.sort();
    let mut guests = Vec::new();
    for file in files {
        let name = file
            .file_stem()
            .and_then(|name| name.to_str())
            .context("a guest's name is UTF-8")?
            .to_owned();
        if name == PRELUDE {
            continue;
        }
        ensure!(
            name.len() <= 32,
            "{name}: the prelude has room for 32 bytes"
        );
        let body = fs::read_to_string(&file)?;
        let text = format!("(module\n{prelude}{body})")
            .replace("NAMELEN", &name.len().to_string())
            .replace("NAME", &name);
        let component = build_component(wit, &text).with_context(|| file.display().to_string())?;
        guests.push((name, component));
    }
    Ok(guests)
}

fn build_component(wit: &Path, text: &str) -> Result<Vec<u8>> {
    let contract = [&*wit.join("agent")];
    let module = wat::parse_str(text)?;
    Ok(ark_componentize::build_guest_component(
        &contract,
        Some(WORLD),
        module,
    )?)
}
