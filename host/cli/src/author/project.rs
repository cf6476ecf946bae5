//! The project of an agent: its tests, its component, its manifest.

use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow, bail};
use ark_host::agents::Ceiling;
use ark_model::ids::Digest;
use ark_runtime::{Agent, Engine, EngineConfig, LoadError, Manifest};

use crate::output::print_notice;

use super::guest_crate::{build_library, run_tests, write_dist};
use super::toolchain::{Language, build_javascript, build_python, test_javascript, test_python};

/// The target that agents are built for.
const TARGET: &str = "wasm32-wasip2";

/// Runs a project's own tests.
///
/// # Errors
/// The tests fail, or cannot be run.
pub(super) fn test_project(dir: &Path) -> anyhow::Result<()> {
    match Language::of_project(dir)? {
        Language::Rust => run_tests(dir),
        Language::Python => test_python(dir),
        Language::Javascript => test_javascript(dir),
    }
}

/// Builds the component, completes the manifest, loads both, and only then writes them into `dist`. Returns the path of the completed manifest.
/// `compiled` gets the compiled modules.
pub(super) fn build_agent(dir: &Path, compiled: Option<&Path>) -> anyhow::Result<PathBuf> {
    let source = find_manifest(dir)?;
    let context = || source.display().to_string();
    let text = std::fs::read_to_string(&source).with_context(context)?;
    let ceiling = Ceiling::default();
    // Before anything is built, with a digest that stands for the one to come.
    let unfinished = set_digest(&text, Digest::hash_bytes(b"")).with_context(context)?;
    let unfinished = Manifest::parse(&unfinished).map_err(|problem| anyhow!(problem));
    let unfinished = unfinished.with_context(context)?;
    ceiling
        .limits
        .tightened_by(&unfinished.limits)
        .with_context(context)?;
    ceiling
        .quotas
        .tightened_by(&unfinished.quotas)
        .with_context(context)?;
    let language = Language::of_project(dir)?;
    let component = match language {
        Language::Rust => build_library(dir, TARGET)?,
        Language::Python => build_python(dir)?,
        Language::Javascript => build_javascript(dir)?,
    };
    let text = set_digest(&text, Digest::hash_bytes(&component)).with_context(context)?;
    let manifest = Manifest::parse(&text).map_err(|problem| anyhow!(problem));
    let manifest = manifest.with_context(context)?;
    let file = manifest.component.clone();
    let engine = Engine::new(&EngineConfig {
        cache_dir: compiled.map(Path::to_owned),
        ..EngineConfig::default()
    })?;
    let agent = Agent::load(&engine, &component, manifest, &ceiling.limits);
    let agent = agent.map_err(|error| name_files(error, &source, dir, language))?;
    write_dist(dir, &file, &component)?;
    let name = source.file_name().and_then(|name| name.to_str());
    let name = name.context("the name of the manifest is not UTF-8")?;
    let manifest = write_dist(dir, name, text.as_bytes())?;
    print_notice!(
        "{} {} would be loaded: SHA-256 {}",
        agent.manifest().name,
        agent.manifest().version,
        agent.digest()
    );
    Ok(manifest)
}

/// Says in which files of a project name or version differ, or that the manifest at `source` is refused.
fn name_files(error: LoadError, source: &Path, dir: &Path, language: Language) -> anyhow::Error {
    match error {
        LoadError::WrongMetadata {
            field,
            expected,
            found,
        } => anyhow!(
            "{} says {field} {found:?}, {} says {field} {expected:?}; let both say the same, and build again",
            dir.join(language.metadata_file(field)).display(),
            source.display()
        ),
        error => anyhow::Error::new(error).context(source.display().to_string()),
    }
}

/// The manifest of an agent among the TOML files of a directory.
///
/// # Errors
/// There is none, or more than one.
fn find_manifest(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path.extension().is_none_or(|extension| extension != "toml") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap_or_default();
        let table: toml::Table = toml::from_str(&text).unwrap_or_default();
        if table.contains_key("component") {
            found.push(path);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!(
            "{} holds no manifest of an agent: a TOML file with name, version, component, sha256",
            dir.display()
        ),
        _ => bail!(
            "{} holds more than one manifest of an agent; keep one",
            dir.display()
        ),
    }
}

/// The manifest with its top-level `sha256` set; all else stays as its author wrote it.
fn set_digest(manifest: &str, digest: Digest) -> anyhow::Result<String> {
    let mut done = false;
    let mut top_level = true;
    let filled: String = manifest
        .split_inclusive('\n')
        .map(|line| {
            top_level = top_level && !line.trim_start().starts_with('[');
            match line.split_once('=') {
                Some((key, _)) if top_level && !done && key.trim() == "sha256" => {
                    done = true;
                    format!("sha256 = \"{digest}\"\n")
                }
                _ => line.to_owned(),
            }
        })
        .collect();
    anyhow::ensure!(
        done,
        "the manifest needs a line `sha256 = \"\"` before its tables"
    );
    Ok(filled)
}
