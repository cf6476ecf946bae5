//! `ark agent new|build|test|inspect|run`: what an author of agents needs, without a running host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use serde::Deserialize;
use serde_json::Value;

use ark_host::agents::load_agent;
use ark_host::api::view::{DecisionView, read_decision};
use ark_host::app::App;
use ark_host::config::{Config, Overrides};
use ark_host::router::IncomingSignal;
use ark_model::decision::Decision;
use ark_model::ids::{Digest, TraceId};
use ark_runtime::{Engine, EngineConfig, Limits, Manifest};
use ark_store::{AuditFilter, AuditKind};

use super::guest_crate::{self, NewCrateArgs};

/// What agents are built for.
const TARGET: &str = "wasm32-wasip2";
/// What a new agent is made of.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/agent/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/agent/lib.rs.in")),
    ("sample.json", include_str!("template/agent/sample.json.in")),
    (
        "{{name}}.toml",
        include_str!("template/agent/manifest.toml.in"),
    ),
    (".gitignore", "/target\n/dist\n"),
];
/// How long everything that a signal leads to may take.
const IDLE_TIMEOUT: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(super) enum AuthorCommand {
    /// Makes a crate of a working agent: source, manifest, tests, a sample signal.
    New(NewCrateArgs),
    /// Builds an agent's component, completes its manifest, and loads both as a host would. They go into `dist`.
    Build {
        /// The crate's directory.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Runs its tests, builds it, and hands it its `sample.json` on the real engine.
    Test {
        /// The crate's directory.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Says what a component is, what it imports, and why it would be refused.
    Inspect(super::inspect::InspectArgs),
    /// Hands one signal to an agent on a host of its own that is gone afterwards, and prints what came of it.
    Run {
        /// Its manifest, the component beside it.
        manifest: PathBuf,
        #[command(flatten)]
        signal: SignalArgs,
        /// The decisions as JSON, one a line.
        #[arg(long)]
        json: bool,
    },
}

/// The signal.
#[derive(Debug, Args)]
pub(super) struct SignalArgs {
    /// Its topic.
    #[arg(long, required_unless_present = "sample")]
    topic: Option<String>,
    /// Its payload: any JSON.
    #[arg(long, default_value = "null")]
    payload: String,
    /// A file with both: {"topic": …, "payload": …}.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["topic", "payload"])]
    sample: Option<PathBuf>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sample {
    topic: String,
    payload: Value,
}

pub(super) fn run(command: AuthorCommand) -> anyhow::Result<ExitCode> {
    match command {
        AuthorCommand::New(new) => {
            new.write_template("agent", &TEMPLATE)?;
            Ok(ExitCode::SUCCESS)
        }
        AuthorCommand::Build { dir } => {
            let built = build_agent(&dir)?;
            println!("{}", built.display());
            Ok(ExitCode::SUCCESS)
        }
        AuthorCommand::Test { dir } => {
            guest_crate::run_tests(&dir)?;
            let manifest = build_agent(&dir)?;
            let sample = read_sample(&dir.join("sample.json"))?;
            run_sample(&manifest, sample, false)
        }
        AuthorCommand::Inspect(args) => super::inspect::run(&args),
        AuthorCommand::Run {
            manifest,
            signal,
            json,
        } => {
            let sample = match (signal.sample, signal.topic) {
                (Some(file), _) => read_sample(&file)?,
                (None, Some(topic)) => Sample {
                    topic,
                    payload: serde_json::from_str(&signal.payload)
                        .context("--payload is not JSON; text needs quotes: '\"text\"'")?,
                },
                (None, None) => bail!("give --topic or --sample"),
            };
            run_sample(&manifest, sample, json)
        }
    }
}

/// Builds the component and completes the manifest; the manifest's path.
fn build_agent(dir: &Path) -> anyhow::Result<PathBuf> {
    let source = find_manifest(dir)?;
    let text = std::fs::read_to_string(&source).with_context(|| source.display().to_string())?;
    let component = guest_crate::build_library(dir, TARGET)?;
    let text = with_digest(&text, Digest::hash_bytes(&component))
        .with_context(|| source.display().to_string())?;
    #[derive(Deserialize)]
    struct ComponentName {
        component: String,
    }
    let ComponentName { component: file } =
        toml::from_str(&text).with_context(|| source.display().to_string())?;
    anyhow::ensure!(
        !file.is_empty() && !file.contains(['/', '\\']),
        "{}: component is not a file's name",
        source.display()
    );
    let dist = dir.join("dist");
    std::fs::create_dir_all(&dist).with_context(|| dist.display().to_string())?;
    let manifest = dist.join(source.file_name().context("the manifest has a name")?);
    std::fs::write(dist.join(file), component).with_context(|| dist.display().to_string())?;
    std::fs::write(&manifest, text).with_context(|| manifest.display().to_string())?;
    let engine = Engine::new(&EngineConfig::default())?;
    let agent = load_agent(&engine, &manifest, &Limits::default())?;
    eprintln!(
        "{} {} would be loaded: SHA-256 {}",
        agent.manifest().name,
        agent.manifest().version,
        agent.digest()
    );
    Ok(manifest)
}

/// The one manifest of an agent among the directory's TOML files.
fn find_manifest(dir: &Path) -> anyhow::Result<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        let toml = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        let text = if toml {
            std::fs::read_to_string(&path).unwrap_or_default()
        } else {
            continue;
        };
        let table: toml::Table = toml::from_str(&text).unwrap_or_default();
        if table.contains_key("component") {
            found.push(path);
        }
    }
    match found.as_slice() {
        [one] => Ok(one.clone()),
        [] => bail!(
            "{} has no agent's manifest: a TOML file with name, version, component, sha256",
            dir.display()
        ),
        _ => bail!("{} has more than one agent's manifest", dir.display()),
    }
}

/// The manifest with its top-level `sha256` set, all else as its author wrote it.
fn with_digest(manifest: &str, digest: Digest) -> anyhow::Result<String> {
    let mut done = false;
    let mut top = true;
    let filled: String = manifest
        .split_inclusive('\n')
        .map(|line| {
            top = top && !line.trim_start().starts_with('[');
            match line.split_once('=') {
                Some((key, _)) if top && !done && key.trim() == "sha256" => {
                    done = true;
                    format!("sha256 = \"{digest}\"\n")
                }
                _ => line.to_owned(),
            }
        })
        .collect();
    anyhow::ensure!(done, "it needs a line `sha256 = \"\"` before its tables");
    Ok(filled)
}

fn read_sample(path: &Path) -> anyhow::Result<Sample> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    serde_json::from_str(&text).with_context(|| path.display().to_string())
}

/// Hands the agent the signal on a host that lives for nothing else.
fn run_sample(manifest: &Path, sample: Sample, json: bool) -> anyhow::Result<ExitCode> {
    super::start_logging("info,ark_host::app=warn,ark_host::agents=warn");
    let read = Manifest::read_file(manifest)?;
    ark_model::check::check_topic("topic", &sample.topic)?;
    if !read.subscribes_to(&sample.topic) {
        bail!(
            "{} does not receive {}; its topics are: {}",
            read.name,
            sample.topic,
            read.topics.join(", ")
        );
    }
    let scratch = tempfile::tempdir().context("no temporary directory")?;
    let agents = scratch.path().join("agents");
    std::fs::create_dir(&agents).context("no temporary directory")?;
    let component = manifest.with_file_name(&read.component);
    for (from, to) in [
        (manifest, "agent.toml"),
        (component.as_path(), read.component.as_str()),
    ] {
        std::fs::copy(from, agents.join(to)).with_context(|| from.display().to_string())?;
    }
    let config = scratch.path().join("ark.toml");
    std::fs::write(&config, "").context("no temporary directory")?;
    let overrides = Overrides {
        data_dir: Some(scratch.path().join("data")),
        agents_dir: Some(agents),
        ..Overrides::default()
    };
    let app = App::start(&Config::read(Some(&config), &overrides)?)?;
    if let Some(refused) = app.refused_agents.first() {
        bail!("the agent is refused: {}", refused.reason);
    }
    let failed = deliver_sample(&app, sample).and_then(|()| print_results(&app, json));
    app.stop();
    Ok(if failed? {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
}

fn deliver_sample(app: &App, sample: Sample) -> anyhow::Result<()> {
    let (reply, answer) = crossbeam_channel::bounded(1);
    let incoming = IncomingSignal {
        by: None,
        topic: sample.topic,
        payload_json: sample.payload.to_string(),
        trace_id: TraceId::fresh(),
        key: None,
        ttl_ms: None,
    };
    app.router
        .accept_signal(incoming, Box::new(move |result| drop(reply.send(result))));
    answer.recv().context("the router is gone")??;
    let until = Instant::now() + IDLE_TIMEOUT;
    while app.router.backlog() > 0 || !app.store.pending_outbox(1)?.is_empty() {
        anyhow::ensure!(
            Instant::now() < until,
            "it did not come to rest within a minute"
        );
        app.router.wake_outbox();
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}

/// Prints what came of it, oldest first; whether the agent failed.
fn print_results(app: &App, json: bool) -> anyhow::Result<bool> {
    let mut rows = app.store.audit_page(&AuditFilter::default(), None, 500)?;
    rows.reverse();
    let mut failed = false;
    let mut decided = 0;
    for row in rows {
        match row.kind {
            AuditKind::Decision => {
                let decision =
                    read_decision(&app.store, row.id.parse()?).map_err(anyhow::Error::msg)?;
                let Some(decision) = decision else { continue };
                decided += 1;
                if json {
                    let view = DecisionView::whole(&decision);
                    println!("{}", serde_json::to_string(&view)?);
                } else {
                    print_decision(&decision)?;
                }
            }
            AuditKind::Failure => {
                failed = true;
                let body: Value = serde_json::from_str(&row.body)?;
                let reason = body["reason"].as_str().unwrap_or("?");
                println!("FAILED    {reason}");
                if let Some(backtrace) = body["backtrace"].as_str().filter(|text| !text.is_empty())
                {
                    println!("{backtrace}");
                }
            }
            AuditKind::Execution
            | AuditKind::Control
            | AuditKind::Operator
            | AuditKind::Approval
            | AuditKind::Amendment => {}
        }
    }
    if decided == 0 && !failed && !json {
        println!("handled; it proposes nothing");
    }
    Ok(failed)
}

fn print_decision(decision: &Decision) -> anyhow::Result<()> {
    println!(
        "{:<9} {}  score {:.2}",
        decision.outcome.as_str().to_uppercase(),
        decision.action.action_type,
        decision.compliance_score
    );
    println!("          {}", serde_json::to_string(&decision.action)?);
    for reason in decision.reasons() {
        println!("          {reason}");
    }
    Ok(())
}
