//! `ark agent list|show|upload|canary|rollout|rollback|delete`: the versions of a running host's agents.

use std::path::Path;
use std::process::ExitCode;

use ark_client::members::{array_field, is_true, text_field};
use ark_model::ids::Name;
use ark_runtime::Manifest;
use clap::Subcommand;
use serde_json::{Value, json};

use crate::built::BuiltPath;
use crate::output::{print_empty, print_json, print_line};
use crate::usage::UsageError;

use super::connection::Connection;
use super::request::{ApiRequest, OptionalReasonArgs, ShowArgs};
use super::upload::{read_component, read_signature};

#[derive(Debug, Subcommand)]
pub(crate) enum AgentVersionCommand {
    /// Lists the agents of a running host.
    List {
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Shows an agent: the serving version, its health, all versions. As JSON.
    Show {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        connection: Connection,
    },
    /// Uploads a version and lets it serve. MANIFEST is the one that `ark agent build` writes, with the component beside it.
    Upload {
        /// The manifest, or the directory of the project that was built.
        manifest: BuiltPath,
        /// Keep the version without letting it serve.
        #[arg(long)]
        no_rollout: bool,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
    /// Tries a version out on a share of the agent's signals, beside the serving one. What would quarantine an agent ends the trial.
    Canary {
        /// The agent.
        agent: Name,
        /// The number of the version; 0: the version in the agents' directory. Without it, give --end.
        #[arg(requires = "share")]
        number: Option<u64>,
        /// The share of the signals: 0.05 is 5 %.
        #[arg(long, requires = "number")]
        share: Option<f64>,
        /// End the trial.
        #[arg(long, conflicts_with_all = ["number", "share"])]
        end: bool,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
    /// Lets an uploaded version serve.
    Rollout {
        /// The agent.
        agent: Name,
        /// The number of the version; 0: the version in the agents' directory.
        number: u64,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
    /// Lets the version serve that served before.
    Rollback {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
    /// Takes an agent out of service. Its versions and its state stay.
    Delete {
        /// The agent.
        agent: Name,
        /// Delete it even if signals wait for it; these fail.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        reason: OptionalReasonArgs,
    },
}

impl AgentVersionCommand {
    /// Checks what the argument parser does not: that one of two arguments is given where the command needs one.
    ///
    /// # Errors
    /// Neither is given.
    pub(crate) fn check_usage(&self) -> Result<(), UsageError> {
        match self {
            Self::Canary {
                agent,
                number: None,
                end: false,
                ..
            } => Err(UsageError::new(format_args!(
                "give NUMBER, a version that `ark agent show {agent}` lists, and --share to begin a trial; or --end to end it"
            ))),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run_command(command: AgentVersionCommand) -> anyhow::Result<ExitCode> {
    match command {
        AgentVersionCommand::List { show } => {
            show.show_list(&["v1", "agents"], "agents", print_agents)?;
        }
        AgentVersionCommand::Show { agent, connection } => {
            print_json(&ApiRequest::get(&["v1", "agents", agent.as_str()]).send(&connection)?)?;
        }
        AgentVersionCommand::Upload {
            manifest,
            no_rollout,
            reason,
        } => print_rollout(
            &upload_request(&manifest.find()?, !no_rollout)?.send_with_optional_reason(&reason)?,
        ),
        AgentVersionCommand::Rollout {
            agent,
            number,
            reason,
        } => print_rollout(
            &change_request(&agent, "rollout")
                .with_fields(&[("number", json!(number))])
                .send_with_optional_reason(&reason)?,
        ),
        AgentVersionCommand::Canary {
            agent,
            number,
            share,
            end: _,
            reason,
        } => {
            let answer = change_request(&agent, "canary")
                .with_fields(&[
                    ("share", json!(share.unwrap_or(0.0))),
                    ("number", json!(number)),
                ])
                .send_with_optional_reason(&reason)?;
            match &answer["canary"] {
                Value::Null => print_line!("no version of {agent} is on trial any more"),
                trial => print_line!(
                    "version {} of {agent} is on trial with a share of {}; version {} serves",
                    trial["number"],
                    trial["share"],
                    answer["serving"]
                ),
            }
        }
        AgentVersionCommand::Rollback { agent, reason } => print_rollout(
            &change_request(&agent, "rollback")
                .with_fields(&[])
                .send_with_optional_reason(&reason)?,
        ),
        AgentVersionCommand::Delete {
            agent,
            force,
            reason,
        } => {
            let answer = ApiRequest::new("DELETE", &["v1", "agents", agent.as_str()])
                .with_query("force", Some(force))
                .send_with_optional_reason(&reason)?;
            print_line!(
                "{agent} is deleted; {} waiting signals have failed",
                answer["failed_signals"]
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn upload_request(path: &Path, rollout: bool) -> anyhow::Result<ApiRequest> {
    let mut manifest = Manifest::read_file(path)?;
    let component = read_component(
        path,
        &manifest.component,
        manifest.sha256,
        "run `ark agent build` again",
    )?;
    if manifest.signature.is_none() {
        manifest.signature = read_signature(&path.with_file_name(&manifest.component))?;
    }
    let request = ApiRequest::new("PUT", &["v1", "agents", manifest.name.as_str()]);
    let fields = [("manifest", json!(manifest)), ("rollout", json!(rollout))];
    Ok(request.with_fields(&fields).with_component(&component))
}

fn change_request(agent: &Name, change: &str) -> ApiRequest {
    ApiRequest::new("POST", &["v1", "agents", agent.as_str(), change]).awaiting_compilation()
}

fn print_agents(answer: &Value) {
    let agents = array_field(answer, "agents");
    if agents.is_empty() {
        print_empty!("no agents serve; `ark agent upload` puts one on the host");
    }
    for agent in agents {
        print_line!(
            "{:<16} {:<10} {:.12}  handled {}, failed {}, waiting {}{}{}",
            text_field(agent, "name"),
            text_field(agent, "version"),
            text_field(agent, "sha256"),
            agent["handled"],
            agent["failed"],
            agent["waiting"],
            if is_true(agent, "quarantined") {
                "  in quarantine"
            } else {
                ""
            },
            match &agent["canary"] {
                Value::Null => String::new(),
                trial => format!(
                    "  version {} ({}) on trial with a share of {}",
                    trial["number"],
                    text_field(trial, "version"),
                    trial["share"]
                ),
            }
        );
    }
    for refused in array_field(answer, "refused") {
        print_line!(
            "refused: {}: {}",
            text_field(refused, "manifest"),
            text_field(refused, "reason")
        );
    }
}

fn print_rollout(answer: &Value) {
    let agent = text_field(answer, "agent");
    let number = &answer["number"];
    if answer["serving"] != *number {
        print_line!("version {number} of {agent} is kept and does not serve");
    } else if is_true(answer, "drained") {
        print_line!("version {number} of {agent} serves");
    } else {
        print_line!(
            "version {number} of {agent} serves; the version before it still finishes its running invocations"
        );
    }
}
