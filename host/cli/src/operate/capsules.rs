//! `ark agent capsules|replay`: the capsules that failed invocations leave behind, and running such an invocation again.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use ark_host::watchdog::{Capsule, CapsuleDirectory, CapsuleError, CapsuleRetention, read_capsule};
use ark_model::ids::{Digest, Name};
use ark_runtime::{Agent, Engine, EngineConfig, LimitsTable};
use clap::{Args, Subcommand};
use serde_json::json;

use crate::args::DataDirArgs;
use crate::output::{
    exit_code, print_empty, print_json_line, print_line, print_lines, print_notice,
};
use crate::time::format_moment;

/// The deadline of a replay, at least, unless the deadline is what failed.
const MIN_REPLAY_DEADLINE: Duration = Duration::from_secs(60);

#[derive(Debug, Subcommand)]
pub(crate) enum CapsuleCommand {
    /// Lists the capsules of failed invocations, oldest first.
    Capsules {
        #[command(flatten)]
        data: DataDirArgs,
        /// Only capsules of this agent.
        #[arg(long)]
        agent: Option<Name>,
        /// Print JSON, one capsule a line.
        #[arg(long)]
        json: bool,
    },
    /// Runs a failed invocation again, offline: the same component, the same input, the same answers of the host.
    Replay(ReplayArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ReplayArgs {
    /// The id of the capsule, or its file.
    capsule: String,
    #[command(flatten)]
    data: DataDirArgs,
    /// The component of the agent.
    #[arg(long, value_name = "FILE", conflicts_with = "agents")]
    component: Option<PathBuf>,
    /// A directory that holds the component.
    #[arg(long, env = "ARK_AGENTS", value_name = "DIR")]
    agents: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

pub(crate) fn run_command(command: CapsuleCommand) -> anyhow::Result<ExitCode> {
    match command {
        CapsuleCommand::Capsules { data, agent, json } => {
            list_capsules(&data.find_data_dir()?, agent.as_ref(), json)
        }
        CapsuleCommand::Replay(args) => replay_capsule(&args),
    }
}

fn list_capsules(data_dir: &Path, agent: Option<&Name>, json: bool) -> anyhow::Result<ExitCode> {
    if !data_dir.is_dir() {
        bail!(
            "there is no data directory {}; name the host's with --data-dir or ARK_DATA_DIR. Capsules hold inputs as they came, so they stay on the host's machine and are read there, as the host's user",
            data_dir.display()
        );
    }
    let found = CapsuleDirectory::in_data_dir(data_dir, CapsuleRetention::default())
        .list_capsules(agent)?;
    if found.is_empty() {
        let of = agent.map_or_else(String::new, |agent| format!(" of {agent}"));
        print_empty!(
            "no capsules{of} in {}; a host with another data directory keeps its own: name it with --data-dir or ARK_DATA_DIR",
            data_dir.display()
        );
    }
    for listed in found {
        let capsule = match read_capsule(&listed.path) {
            Ok(capsule) => capsule,
            Err(error) => {
                print_notice!("{error}");
                continue;
            }
        };
        if json {
            print_json_line(&json!({
                "id": capsule.id,
                "at_ms": capsule.at_ms,
                "agent": capsule.manifest.name,
                "version": capsule.manifest.version,
                "kind": capsule.kind,
                "reason": capsule.reason,
                "trace_id": capsule.signal.trace_id,
                "bytes": listed.bytes,
                "file": listed.path,
            }))?;
        } else {
            print_line!(
                "{}  {}  {} {}  {}: {}",
                capsule.id,
                format_moment(capsule.at_ms),
                capsule.manifest.name,
                capsule.manifest.version,
                capsule.kind,
                capsule.reason
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// The bytes of the component that failed, found by their digest.
fn find_component(capsule: &Capsule, args: &ReplayArgs) -> anyhow::Result<Vec<u8>> {
    if let Some(path) = &args.component {
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
    let Some(dir) = &args.agents else {
        bail!("the component is needed; give --component FILE or --agents DIR");
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

/// Replays and prints. Fails unless the invocation ends as it did.
fn replay_capsule(args: &ReplayArgs) -> anyhow::Result<ExitCode> {
    let data_dir = args.data.find_data_dir()?;
    let capsule = CapsuleDirectory::in_data_dir(&data_dir, CapsuleRetention::default())
        .find_capsule(&args.capsule)
        .map_err(|error| match error {
            CapsuleError::Unknown(id) => anyhow!(
                "there is no capsule {id} in {dir}; name the host's data directory with --data-dir, `ark agent capsules --data-dir {dir}` lists what is there",
                dir = data_dir.display()
            ),
            other => other.into(),
        })?;
    let bytes = find_component(&capsule, args)?;
    let engine = Engine::new(&EngineConfig {
        memory_bytes: EngineConfig::default()
            .memory_bytes
            .max(capsule.limits.memory_bytes),
        stack_bytes: capsule.limits.stack_bytes,
        ..EngineConfig::default()
    })?;
    let mut manifest = capsule.manifest;
    manifest.limits = LimitsTable::default();
    let mut limits = capsule.limits;
    if capsule.kind != "deadline" {
        // A failure of another kind must not become a deadline because this machine is slower.
        limits.deadline = limits.deadline.max(MIN_REPLAY_DEADLINE);
    }
    let agent = Agent::load(&engine, &bytes, manifest, &limits)?;
    let dropped = capsule.recording.dropped;
    let (report, diverged) = agent.replay_recording(&capsule.signal, capsule.recording);
    let (kind, reason, backtrace) = match &report.result {
        Ok(_) => ("ok", "the invocation succeeded".to_owned(), ""),
        Err(failure) => {
            let reason = agent.describe_failure(failure);
            (failure.kind(), reason, failure.backtrace())
        }
    };
    let same = kind == capsule.kind && diverged.is_none();
    if args.json {
        print_json_line(&json!({
            "same": same,
            "then": {"kind": capsule.kind, "reason": capsule.reason, "fuel": capsule.fuel, "memory_peak": capsule.memory_peak},
            "now": {"kind": kind, "reason": reason, "fuel": report.fuel, "memory_peak": report.memory_peak},
            "diverged": diverged,
            "dropped_answers": dropped,
            "log": report.log,
        }))?;
        return Ok(exit_code(same));
    }
    print_line!(
        "then: {} ({}), fuel {}, memory {}",
        capsule.reason,
        capsule.kind,
        capsule.fuel,
        capsule.memory_peak
    );
    print_line!(
        "now:  {reason} ({kind}), fuel {}, memory {}",
        report.fuel,
        report.memory_peak
    );
    for line in &report.log {
        print_line!("log:  {}", line.text);
    }
    if !backtrace.is_empty() {
        print_lines("  ", backtrace);
    }
    match &diverged {
        Some(call) => print_line!("the replay differs: {call}"),
        None if dropped > 0 => {
            print_line!("the recording lacks {dropped} answers that were too large to keep");
        }
        None => {}
    }
    print_line!(
        "{}",
        if same {
            "the same failure"
        } else {
            "NOT the same failure"
        }
    );
    Ok(exit_code(same))
}
