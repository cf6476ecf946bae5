//! `ark agent new|build|test|dev|add|inspect|run`: for authors of agents.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use ark_model::check::read_json_field;
use clap::{Args, Subcommand};

use crate::built::BuiltPath;
use crate::output::{exit_code, print_line};

use super::add::{self, AddArgs};
use super::compiling::find_module_cache;
use super::dev::{self, DevArgs};
use super::guest_crate::{CrateArgs, GuestKind, NewAgentArgs};
use super::inspect::{self, InspectArgs};
use super::project::{build_agent, test_project};
use super::sample::{SampleSignal, print_run, run_sample};

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
    /// Watches a project: after every change it runs the tests, builds the agent, gives it its samples, and shows what they lead to. Ctrl-C ends it.
    Dev(DevArgs),
    /// Shows what a component is, what it imports, and why it would be refused.
    Inspect(InspectArgs),
    /// Gives one signal to an agent on a temporary host, and prints the results.
    Run {
        /// The manifest of the agent, with the component beside it; or the directory of the project that was built.
        manifest: BuiltPath,
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

pub(crate) fn run_command(command: AgentAuthorCommand) -> anyhow::Result<ExitCode> {
    match command {
        AgentAuthorCommand::New(new) => new.write_project()?,
        AgentAuthorCommand::Add(args) => add::run_command(args)?,
        AgentAuthorCommand::Build(args) => {
            print_line!("{}", build_agent(&args.dir, None)?.display());
        }
        AgentAuthorCommand::Test(args) => {
            test_project(&args.dir)?;
            let compiled = tempfile::tempdir().context("no temporary directory")?;
            let manifest = build_agent(&args.dir, Some(compiled.path()))?;
            let sample = SampleSignal::read(&args.dir.join("sample.json"))?;
            let run = run_sample(&manifest, sample, Some(compiled.path()))?;
            print_run(&run, false)?;
            return Ok(exit_code(run.is_handled() && !run.is_denied()));
        }
        AgentAuthorCommand::Dev(args) => dev::run_command(&args)?,
        AgentAuthorCommand::Inspect(args) => {
            return inspect::run_command(&args, Some(GuestKind::Agent));
        }
        AgentAuthorCommand::Run {
            manifest,
            signal,
            json,
        } => {
            let sample = match (signal.sample, signal.topic) {
                (Some(file), _) => SampleSignal::read(&file)?,
                (None, Some(topic)) => SampleSignal {
                    topic,
                    payload: read_json_field("--payload", &signal.payload)
                        .map_err(|error| anyhow!("{error}; text needs quotes: '\"text\"'"))?,
                },
                (None, None) => bail!("give --topic or --sample"),
            };
            let run = run_sample(&manifest.find()?, sample, find_module_cache().as_deref())?;
            print_run(&run, json)?;
            return Ok(exit_code(run.is_handled()));
        }
    }
    Ok(ExitCode::SUCCESS)
}
