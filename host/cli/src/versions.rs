//! `ark agent list|show|upload|canary|rollout|rollback|delete`: the versions of a running host's agents.

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ark_model::ids::{Digest, Name};
use ark_runtime::Manifest;

use super::call::CallerArgs;
use super::remote::Remote;

#[derive(Debug, Subcommand)]
pub(super) enum VersionsCommand {
    /// Lists a running host's agents.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Shows an agent: what serves, how it does, its versions.
    Show {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        remote: Remote,
    },
    /// Uploads a version and lets it serve: MANIFEST as `ark agent build` writes it, its component beside it.
    Upload {
        /// The manifest.
        manifest: PathBuf,
        /// Keeps it without letting it serve.
        #[arg(long)]
        no_rollout: bool,
        #[command(flatten)]
        words: ReasonArgs,
    },
    /// Tries a version out on a share of the agent's signals, beside the one that serves. What would quarantine an agent ends the trial.
    Canary {
        /// The agent.
        agent: Name,
        /// The version's number; 0: that of the agents' directory.
        #[arg(required_unless_present = "end", requires = "share")]
        number: Option<u64>,
        /// Its part of the signals: 0.05 is 5 %.
        #[arg(long, requires = "number")]
        share: Option<f64>,
        /// Ends the trial.
        #[arg(long, conflicts_with_all = ["number", "share"])]
        end: bool,
        #[command(flatten)]
        words: ReasonArgs,
    },
    /// Lets an uploaded version serve.
    Rollout {
        /// The agent.
        agent: Name,
        /// The version's number; 0: that of the agents' directory.
        number: u64,
        #[command(flatten)]
        words: ReasonArgs,
    },
    /// Lets the version serve that served before.
    Rollback {
        /// The agent.
        agent: Name,
        #[command(flatten)]
        words: ReasonArgs,
    },
    /// Lets no version serve any more. Versions and state stay.
    Delete {
        /// The agent.
        agent: Name,
        /// Even if signals wait for it: they fail.
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        words: ReasonArgs,
    },
}

/// Who and why, for the audit log.
#[derive(Debug, Args)]
pub(super) struct ReasonArgs {
    /// Why.
    #[arg(long)]
    reason: Option<String>,
    #[command(flatten)]
    pub(super) caller: CallerArgs,
}

impl ReasonArgs {
    /// Each with its name.
    pub(super) fn named_fields(&self) -> [(&'static str, Option<&str>); 2] {
        [
            ("reason", self.reason.as_deref()),
            ("by", self.caller.actor()),
        ]
    }

    fn add_to_body(&self, mut body: Value) -> Value {
        for (field, text) in self.named_fields() {
            if let Some(text) = text {
                body[field] = json!(text);
            }
        }
        body
    }
}

pub(super) fn run(command: VersionsCommand) -> anyhow::Result<ExitCode> {
    match command {
        VersionsCommand::List { json, remote } => {
            let answer = remote.get("/v1/agents?limit=500")?;
            if json {
                println!("{}", serde_json::to_string_pretty(&answer)?);
            } else {
                print_agents(&answer);
            }
        }
        VersionsCommand::Show { agent, remote } => {
            let answer = remote.get(&format!("/v1/agents/{agent}"))?;
            println!("{}", serde_json::to_string_pretty(&answer)?);
        }
        VersionsCommand::Upload {
            manifest: path,
            no_rollout,
            words,
        } => {
            let manifest = Manifest::read_file(&path)?;
            let file = path.with_file_name(&manifest.component);
            let component = std::fs::read(&file).with_context(|| file.display().to_string())?;
            let found = Digest::hash_bytes(&component);
            anyhow::ensure!(
                found == manifest.sha256,
                "{} has the SHA-256 {found}, its manifest states {}; run `ark agent build` again",
                file.display(),
                manifest.sha256
            );
            let body = words.add_to_body(json!({
                "manifest": manifest,
                "component": STANDARD.encode(&component),
                "rollout": !no_rollout,
            }));
            let path = format!("/v1/agents/{}", manifest.name);
            print_rollout(
                &words
                    .caller
                    .remote
                    .send("PUT", &path, Some(body.to_string()))?,
            );
        }
        VersionsCommand::Rollout {
            agent,
            number,
            words,
        } => {
            let body = words.add_to_body(json!({"number": number}));
            print_rollout(
                &words
                    .caller
                    .remote
                    .post(&format!("/v1/agents/{agent}/rollout"), &body)?,
            );
        }
        VersionsCommand::Canary {
            agent,
            number,
            share,
            end: _,
            words,
        } => {
            let mut body = json!({"share": share.unwrap_or(0.0)});
            if let Some(number) = number {
                body["number"] = json!(number);
            }
            let body = words.add_to_body(body);
            let path = format!("/v1/agents/{agent}/canary");
            let answer = words.caller.remote.post(&path, &body)?;
            match &answer["canary"] {
                Value::Null => println!("no version of {agent} is on trial any more"),
                trial => println!(
                    "version {} of {agent} is on trial with a share of {}; version {} serves",
                    trial["number"], trial["share"], answer["serving"]
                ),
            }
        }
        VersionsCommand::Rollback { agent, words } => {
            let body = words.add_to_body(json!({}));
            print_rollout(
                &words
                    .caller
                    .remote
                    .post(&format!("/v1/agents/{agent}/rollback"), &body)?,
            );
        }
        VersionsCommand::Delete {
            agent,
            force,
            words,
        } => {
            let mut path = format!("/v1/agents/{agent}?force={force}");
            for (field, text) in words.named_fields() {
                if let Some(text) = text {
                    let plain = percent_encoding::NON_ALPHANUMERIC;
                    let text = percent_encoding::utf8_percent_encode(text, plain);
                    path = format!("{path}&{field}={text}");
                }
            }
            let answer = words.caller.remote.send("DELETE", &path, None)?;
            println!(
                "{agent} is deleted; {} waiting signals have failed",
                answer["failed_signals"]
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn print_agents(answer: &Value) {
    for agent in answer["agents"].as_array().into_iter().flatten() {
        let text = |field: &str| agent[field].as_str().unwrap_or("").to_owned();
        println!(
            "{:<16} {:<10} {:.12}  handled {}, failed {}, waiting {}{}",
            text("name"),
            text("version"),
            text("sha256"),
            agent["handled"],
            agent["failed"],
            agent["waiting"],
            if agent["quarantined"] == json!(true) {
                "  in quarantine"
            } else {
                ""
            }
        );
    }
    for refused in answer["refused"].as_array().into_iter().flatten() {
        let text = |field: &str| refused[field].as_str().unwrap_or("").to_owned();
        println!("refused: {}: {}", text("manifest"), text("reason"));
    }
}

fn print_rollout(answer: &Value) {
    let agent = answer["agent"].as_str().unwrap_or("");
    let number = &answer["number"];
    if answer["serving"] == *number {
        let drained = if answer["drained"] == json!(true) {
            ""
        } else {
            "; the version before it still ends what it has under way"
        };
        println!("version {number} of {agent} serves{drained}");
    } else {
        println!("version {number} of {agent} is kept and does not serve");
    }
}
