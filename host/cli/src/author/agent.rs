//! `ark agent new|build|test|add|inspect|run`: for authors of agents.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use ark_host::agents::{Ceiling, load_agent};
use ark_model::check::read_json_field;
use ark_model::ids::Digest;
use ark_runtime::{Engine, EngineConfig};
use clap::{Args, Subcommand};
use serde::Deserialize;

use crate::output::{exit_code, print_line, print_notice};

use super::add::{self, AddArgs};
use super::guest_crate::{CrateArgs, NewAgentArgs, build_library, run_tests, write_dist};
use super::inspect::{self, InspectArgs};
use super::sample::{Sample, run_sample};
use super::toolchain::{Language, build_javascript, build_python, test_javascript, test_python};

/// The target that agents are built for.
const TARGET: &str = "wasm32-wasip2";

#[derive(Debug, Subcommand)]
pub(crate) enum AgentAuthorCommand {
    /// Makes the project of a working agent: source, manifest, tests, a sample signal.
    New(NewAgentArgs),
    /// Makes any component an agent: reads its metadata and writes its manifest, with digest, topics and grants.
    Add(AddArgs),
    /// Builds an agent's component, completes its manifest, and loads both as a host would. They go into `dist`.
    Build(CrateArgs),
    /// Runs an agent's tests, builds it, and gives it its `sample.json` on the real engine.
    Test(CrateArgs),
    /// Shows what a component is, what it imports, and why it would be refused.
    Inspect(InspectArgs),
    /// Gives one signal to an agent on a temporary host, and prints the results.
    Run {
        /// The manifest of the agent, with the component beside it.
        manifest: PathBuf,
        #[command(flatten)]
        signal: SignalArgs,
        /// Print the decisions as JSON, one a line.
        #[arg(long)]
        json: bool,
    },
}

/// The signal to give.
#[derive(Debug, Args)]
pub(crate) struct SignalArgs {
    /// The topic.
    #[arg(long, required_unless_present = "sample")]
    topic: Option<String>,
    /// The payload: any JSON.
    #[arg(long, default_value = "null")]
    payload: String,
    /// A file with both: {"topic": …, "payload": …}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topic", "payload"])]
    sample: Option<PathBuf>,
}

pub(crate) fn run(command: AgentAuthorCommand) -> anyhow::Result<ExitCode> {
    match command {
        AgentAuthorCommand::New(new) => new.write_project()?,
        AgentAuthorCommand::Add(args) => add::run(args)?,
        AgentAuthorCommand::Build(args) => {
            print_line!("{}", build_agent(&args.dir, None)?.display());
        }
        AgentAuthorCommand::Test(args) => {
            match Language::of_project(&args.dir)? {
                Language::Rust => run_tests(&args.dir)?,
                Language::Python => test_python(&args.dir)?,
                Language::Javascript => test_javascript(&args.dir)?,
            }
            let compiled = tempfile::tempdir().context("no temporary directory")?;
            let manifest = build_agent(&args.dir, Some(compiled.path()))?;
            let sample = Sample::read(&args.dir.join("sample.json"))?;
            let run = run_sample(&manifest, sample, false, Some(compiled.path()))?;
            return Ok(exit_code(run.succeeded && !run.denied));
        }
        AgentAuthorCommand::Inspect(args) => return inspect::run(&args),
        AgentAuthorCommand::Run {
            manifest,
            signal,
            json,
        } => {
            let sample = match (signal.sample, signal.topic) {
                (Some(file), _) => Sample::read(&file)?,
                (None, Some(topic)) => Sample {
                    topic,
                    payload: read_json_field("--payload", &signal.payload)
                        .context("text needs quotes: '\"text\"'")?,
                },
                (None, None) => bail!("give --topic or --sample"),
            };
            return Ok(exit_code(
                run_sample(&manifest, sample, json, None)?.succeeded,
            ));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the component, completes the manifest, loads both, and returns the path of the completed manifest. `compiled` gets the compiled modules.
fn build_agent(dir: &Path, compiled: Option<&Path>) -> anyhow::Result<PathBuf> {
    #[derive(Deserialize)]
    struct ComponentName {
        component: String,
    }
    let source = find_manifest(dir)?;
    let context = || source.display().to_string();
    let text = std::fs::read_to_string(&source).with_context(context)?;
    let component = match Language::of_project(dir)? {
        Language::Rust => build_library(dir, TARGET)?,
        Language::Python => build_python(dir)?,
        Language::Javascript => build_javascript(dir)?,
    };
    let text = set_digest(&text, Digest::hash_bytes(&component)).with_context(context)?;
    let ComponentName { component: file } = toml::from_str(&text).with_context(context)?;
    anyhow::ensure!(
        !file.is_empty() && !file.contains(['/', '\\']),
        "{}: component is not the name of a file",
        source.display()
    );
    write_dist(dir, &file, &component)?;
    let name = source.file_name().and_then(|name| name.to_str());
    let name = name.context("the name of the manifest is not UTF-8")?;
    let manifest = write_dist(dir, name, text.as_bytes())?;
    let engine = Engine::new(&EngineConfig {
        cache_dir: compiled.map(Path::to_owned),
        ..EngineConfig::default()
    })?;
    let agent = load_agent(&engine, &manifest, &Ceiling::default())?;
    print_notice!(
        "{} {} would be loaded: SHA-256 {}",
        agent.manifest().name,
        agent.manifest().version,
        agent.digest()
    );
    Ok(manifest)
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
