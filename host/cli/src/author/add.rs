//! `ark agent add`: any component becomes an agent, with a manifest that says what it may do.

use std::io::{BufRead, IsTerminal};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use ark_host::agents::{Ceiling, load_agent};
use ark_model::action::Family;
use ark_model::check::check_topic;
use ark_model::ids::Digest;
use ark_runtime::{AgentMetadata, Engine, EngineConfig, TRUTH_SET, read_agent_metadata};
use clap::Args;
use serde_json::json;

use crate::files::read_file;
use crate::output::{print_line, print_notice};

#[derive(Debug, Args)]
pub(crate) struct AddArgs {
    /// The component.
    file: PathBuf,
    #[command(flatten)]
    grants: GrantArgs,
    /// The manifest to write; otherwise NAME.toml beside the component.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
}

/// What an agent receives and may do.
#[derive(Debug, Args)]
pub(crate) struct GrantArgs {
    /// A topic that the agent receives: exact, or `prefix.*`. Can be given several times.
    #[arg(long = "topic", value_name = "TOPIC")]
    topics: Vec<String>,
    /// An action type that the agent may propose, or the capability truth-set. Can be given several times; `none`: it may propose nothing.
    #[arg(long = "grant", value_name = "ACTION")]
    grants: Vec<String>,
}

impl GrantArgs {
    /// Returns whether nothing is given.
    pub(crate) fn is_empty(&self) -> bool {
        self.topics.is_empty() && self.grants.is_empty()
    }

    /// Returns the text of the manifest of a component whose file has the name `file`. What is not given is asked for on the terminal.
    ///
    /// # Errors
    /// Something is not given and there is no terminal, or a topic is none.
    pub(crate) fn compose_manifest(
        self,
        metadata: &AgentMetadata,
        file: &str,
        component: &[u8],
    ) -> anyhow::Result<String> {
        let topics = ask_missing(self.topics, "--topic", "topics that it receives")?;
        for topic in &topics {
            check_topic("--topic", topic.strip_suffix(".*").unwrap_or(topic))?;
        }
        let grants = ask_missing(
            self.grants,
            "--grant",
            "action types that it may propose (none: nothing)",
        )?;
        let (capabilities, actions): (Vec<String>, Vec<String>) = grants
            .into_iter()
            .filter(|grant| grant != "none")
            .partition(|grant| grant == TRUTH_SET);
        for action in &actions {
            if Family::of_built_in(action).is_none() {
                print_notice!(
                    "{action} is not built in: it is denied unless the operator declares it under [action_types] in ark.toml"
                );
            }
        }
        // A text or a list of texts has the same form in JSON as in TOML.
        let lines = [
            ("name", json!(metadata.name)),
            ("version", json!(metadata.version)),
            ("component", json!(file)),
            ("sha256", json!(Digest::hash_bytes(component))),
            ("description", json!(metadata.description)),
            ("topics", json!(topics)),
            ("actions", json!(actions)),
            ("capabilities", json!(capabilities)),
        ]
        .map(|(key, value)| format!("{key} = {value}\n"));
        Ok(lines.concat())
    }
}

/// Reads what the component says of itself, and writes its manifest. Nothing is written before the component has been loaded as a host would.
pub(super) fn run_command(args: AddArgs) -> anyhow::Result<()> {
    let shown = args.file.display().to_string();
    let component = read_file("", &args.file, "give the component of an agent (.wasm)")?;
    let file = args.file.file_name().and_then(|name| name.to_str());
    let file = file.with_context(|| format!("{shown}: the name of the file is not UTF-8"))?;
    let engine = Engine::new(&EngineConfig::default())?;
    let metadata = read_agent_metadata(&engine, &component).with_context(|| shown.clone())?;
    print_notice!(
        "{} {}: {}",
        metadata.name,
        metadata.version,
        metadata.description
    );
    let manifest = args
        .manifest
        .unwrap_or_else(|| args.file.with_file_name(format!("{}.toml", metadata.name)));
    check_place(&manifest, &args.file)?;
    let text = args.grants.compose_manifest(&metadata, file, &component)?;
    std::fs::write(&manifest, text).with_context(|| manifest.display().to_string())?;
    if let Err(error) = load_agent(&engine, &manifest, &Ceiling::default()) {
        // Nothing stays of what no host would load.
        let _ = std::fs::remove_file(&manifest);
        return Err(error.into());
    }
    print_line!(
        "wrote {}; next: ark agent run {0} --topic …, then ark agent upload {0}",
        manifest.display()
    );
    Ok(())
}

/// Refuses a manifest that is there, or that is not beside its component.
fn check_place(manifest: &Path, component: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(
        !manifest.exists(),
        "{} exists already; give another --manifest, or remove it",
        manifest.display()
    );
    let directory = |path: &Path| -> anyhow::Result<PathBuf> {
        let parent = path
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty());
        let parent = parent.unwrap_or_else(|| Path::new("."));
        parent
            .canonicalize()
            .with_context(|| parent.display().to_string())
    };
    anyhow::ensure!(
        directory(manifest)? == directory(component)?,
        "{}: a manifest is in the directory of its component",
        manifest.display()
    );
    Ok(())
}

/// Returns what was given, or asks for it on the terminal.
///
/// # Errors
/// Nothing was given and there is no terminal, or the answer is empty.
fn ask_missing(given: Vec<String>, flag: &str, what: &str) -> anyhow::Result<Vec<String>> {
    if !given.is_empty() {
        return Ok(given);
    }
    let input = std::io::stdin();
    if !input.is_terminal() {
        bail!("give {flag}: the {what}");
    }
    print_notice!("{what}, separated by blanks:");
    let mut line = String::new();
    input.lock().read_line(&mut line)?;
    let words: Vec<String> = line
        .split([' ', ',', '\t', '\n', '\r'])
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect();
    anyhow::ensure!(!words.is_empty(), "give {flag}: the {what}");
    Ok(words)
}
