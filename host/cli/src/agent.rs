//! `ark agent`

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use clap::Subcommand;
use serde_json::json;

use ark_host::watchdog::{Capsule, CapsuleDirectory, CapsuleRetention, read_capsule};
use ark_model::ids::{Digest, Name};
use ark_runtime::{Agent, Engine, EngineConfig, InvocationFailure};

/// How long a replay may take that is not about time.
const MIN_REPLAY_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(super) enum AgentCommand {
    #[command(flatten)]
    Author(super::author::AuthorCommand),
    #[command(flatten)]
    Versions(super::versions::VersionsCommand),
    /// Lists the capsules that failed invocations left behind, oldest first.
    Capsules {
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// Of this agent only.
        #[arg(long)]
        agent: Option<Name>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Runs a failed invocation again, offline: same component, same input, same answers of the host.
    Replay {
        /// The capsule's id, or its file.
        capsule: String,
        /// The data directory.
        #[arg(long, env = "ARK_DATA_DIR", default_value = "ark-data")]
        data_dir: PathBuf,
        /// The agent's component.
        #[arg(long, value_name = "FILE", conflicts_with = "agents")]
        component: Option<PathBuf>,
        /// A directory in which the component is.
        #[arg(long, env = "ARK_AGENTS", value_name = "DIR")]
        agents: Option<PathBuf>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
}

pub(super) fn run(command: AgentCommand) -> anyhow::Result<ExitCode> {
    match command {
        AgentCommand::Author(command) => super::author::run(command),
        AgentCommand::Versions(command) => super::versions::run(command),
        AgentCommand::Capsules {
            data_dir,
            agent,
            json,
        } => list_capsules(&data_dir, agent.as_ref(), json),
        AgentCommand::Replay {
            capsule,
            data_dir,
            component,
            agents,
            json,
        } => {
            let capsule = CapsuleDirectory::in_data_dir(&data_dir, CapsuleRetention::default())
                .find_capsule(&capsule)?;
            let bytes = find_component(&capsule, component.as_deref(), agents.as_deref())?;
            replay_capsule(capsule, &bytes, json)
        }
    }
}

fn list_capsules(data_dir: &Path, agent: Option<&Name>, json: bool) -> anyhow::Result<ExitCode> {
    if !data_dir.is_dir() {
        bail!(
            "there is no data directory {}; check --data-dir",
            data_dir.display()
        );
    }
    for listed in
        CapsuleDirectory::in_data_dir(data_dir, CapsuleRetention::default()).list_capsules(agent)?
    {
        let capsule = match read_capsule(&listed.path) {
            Ok(capsule) => capsule,
            Err(error) => {
                eprintln!("ark: {error}");
                continue;
            }
        };
        if json {
            println!(
                "{}",
                json!({
                    "id": capsule.id,
                    "at_ms": capsule.at_ms,
                    "agent": capsule.manifest.name,
                    "version": capsule.manifest.version,
                    "kind": capsule.kind,
                    "reason": capsule.reason,
                    "trace_id": capsule.signal.trace_id,
                    "bytes": listed.bytes,
                    "file": listed.path,
                })
            );
        } else {
            println!(
                "{}  {}  {} {}  {}: {}",
                capsule.id,
                capsule.at_ms.0,
                capsule.manifest.name,
                capsule.manifest.version,
                capsule.kind,
                capsule.reason
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The very bytes that failed, found by their digest.
fn find_component(
    capsule: &Capsule,
    component: Option<&Path>,
    agents: Option<&Path>,
) -> anyhow::Result<Vec<u8>> {
    if let Some(path) = component {
        let bytes = std::fs::read(path).with_context(|| path.display().to_string())?;
        let found = Digest::hash_bytes(&bytes);
        if found != capsule.component {
            bail!(
                "{} is another component: its SHA-256 is {found}, the capsule's {}",
                path.display(),
                capsule.component
            );
        }
        return Ok(bytes);
    }
    let Some(dir) = agents else {
        bail!("say where the component is: --component FILE or --agents DIR");
    };
    for entry in std::fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "wasm")
            && let Ok(bytes) = std::fs::read(&path)
            && Digest::hash_bytes(&bytes) == capsule.component
        {
            return Ok(bytes);
        }
    }
    bail!(
        "no component in {} has the SHA-256 {}; give the version of {} that failed",
        dir.display(),
        capsule.component,
        capsule.manifest.name
    )
}

fn replay_capsule(capsule: Capsule, bytes: &[u8], json: bool) -> anyhow::Result<ExitCode> {
    let engine = Engine::new(&EngineConfig {
        memory_bytes: EngineConfig::default()
            .memory_bytes
            .max(capsule.limits.memory_bytes),
        stack_bytes: capsule.limits.stack_bytes,
        ..EngineConfig::default()
    })?;
    let mut manifest = capsule.manifest;
    manifest.limits = ark_runtime::LimitsTable::default();
    let mut limits = capsule.limits;
    if capsule.kind != "deadline" {
        // What failed for another reason must not fail now because this machine is slower.
        limits.deadline = limits.deadline.max(MIN_REPLAY_DEADLINE);
    }
    let agent = Agent::load(&engine, bytes, manifest, &limits)?;
    let dropped = capsule.recording.dropped;
    let (report, diverged) = agent.replay_recording(&capsule.signal, capsule.recording);
    let (kind, reason, backtrace) = match &report.result {
        Ok(_) => ("ok", "it ended well".to_owned(), ""),
        Err(failure) => {
            let backtrace = match failure {
                InvocationFailure::Trap { backtrace, .. } => backtrace.as_str(),
                _ => "",
            };
            (failure.kind(), failure.to_string(), backtrace)
        }
    };
    let same = kind == capsule.kind && diverged.is_none();
    if json {
        println!(
            "{}",
            json!({
                "same": same,
                "then": {"kind": capsule.kind, "reason": capsule.reason, "fuel": capsule.fuel, "memory_peak": capsule.memory_peak},
                "now": {"kind": kind, "reason": reason, "fuel": report.fuel, "memory_peak": report.memory_peak},
                "diverged": diverged,
                "dropped_answers": dropped,
                "log": report.log,
            })
        );
    } else {
        println!(
            "then: {} ({}), fuel {}, memory {}",
            capsule.reason, capsule.kind, capsule.fuel, capsule.memory_peak
        );
        println!(
            "now:  {reason} ({kind}), fuel {}, memory {}",
            report.fuel, report.memory_peak
        );
        for line in &report.log {
            println!("log:  {}", line.text);
        }
        if !backtrace.is_empty() {
            println!("{backtrace}");
        }
        match &diverged {
            Some(place) => println!("not the same: {place}"),
            None if dropped > 0 => {
                println!("the recording lacks {dropped} answers that were too large to keep");
            }

            None => {}
        }
        println!(
            "{}",
            if same {
                "the same failure"
            } else {
                "NOT the same failure"
            }
        );
    }
    Ok(if same {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
