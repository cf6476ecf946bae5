//! `ark policy list|show|upload|rollout|rollback|settings|shadow|order|delete`: a running host's operator policies.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use ark_host::policies::PolicyManifest;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_runtime::{Engine, EngineConfig, Policy};

use super::call::ApiRequest;
use super::remote::Remote;
use super::versions::ReasonArgs;

#[derive(Debug, Subcommand)]
pub(super) enum PoliciesCommand {
    /// Lists a running host's operator policies, in the order they are asked.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        remote: Remote,
    },
    /// Shows a policy: what is in force and on trial, how it does, its versions, why the last change was refused.
    Show {
        /// The policy.
        policy: Name,
        #[command(flatten)]
        remote: Remote,
    },
    /// Uploads a version and puts it in force. FILE is a component, or a manifest with the component beside it.
    Upload {
        /// The component, or the manifest (`.toml`).
        file: PathBuf,
        /// A file with its settings, a JSON object.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// On trial: its verdicts are recorded and compared, and change no outcome.
        #[arg(long)]
        shadow: bool,
        /// Its place; lower ones are asked first.
        #[arg(long)]
        order: Option<u32>,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Puts a kept version in force.
    Rollout {
        /// The policy.
        policy: Name,
        /// The version's number.
        number: u64,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Enforces the version that was enforced before.
    Rollback {
        /// The policy.
        policy: Name,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Gives a policy other settings; its component stays.
    Settings {
        /// The policy.
        policy: Name,
        /// A file with the settings, a JSON object.
        #[arg(required_unless_present = "none")]
        file: Option<PathBuf>,
        /// It gets none.
        #[arg(long, conflicts_with = "file")]
        none: bool,
        /// On trial, beside those in force.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Puts a kept version on trial; without a number, the one that is enforced, which then is no longer.
    Shadow {
        /// The policy.
        policy: Name,
        /// The version's number.
        number: Option<u64>,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Enforces what is on trial.
    Enforce {
        /// The policy.
        policy: Name,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Gives a policy another place; lower ones are asked first.
    Order {
        /// The policy.
        policy: Name,
        /// Its place.
        place: u32,
        #[command(flatten)]
        changing: ChangeArgs,
    },
    /// Takes a policy out of force. Its versions stay.
    Delete {
        /// The policy.
        policy: Name,
        /// Only what is on trial.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        changing: ChangeArgs,
    },
}

/// On which state, who, and why.
#[derive(Debug, Args)]
pub(super) struct ChangeArgs {
    /// Only if the policy is at this revision; 0: only if there is none.
    #[arg(long)]
    expected_revision: Option<u64>,
    #[command(flatten)]
    words: ReasonArgs,
}

impl ChangeArgs {
    /// Sends a change; nulls among the fields are left out, `settings` is put in as it is.
    fn send_change(
        &self,
        method: &'static str,
        segments: &[&str],
        settings: Option<&str>,
        more: &[(&str, Value)],
    ) -> anyhow::Result<ExitCode> {
        let mut path = vec!["v1", "policies"];
        path.extend(segments);
        let mut fields = more.to_vec();
        fields.push(("expected_revision", json!(self.expected_revision)));
        let words = self.words.named_fields();
        fields.extend(words.map(|(name, text)| (name, json!(text))));
        let call = ApiRequest::new(method, &path)
            .with_fields(settings.map(|text| ("settings", text)), &fields);
        print_change(&call.send(&self.words.caller.remote)?);
        Ok(ExitCode::SUCCESS)
    }
}

pub(super) fn run(command: PoliciesCommand) -> anyhow::Result<ExitCode> {
    match command {
        PoliciesCommand::List { json, remote } => {
            let answer = remote.get("/v1/policies?limit=500")?;
            if json {
                println!("{}", serde_json::to_string_pretty(&answer)?);
            } else {
                print_policies(&answer);
            }
            Ok(ExitCode::SUCCESS)
        }
        PoliciesCommand::Show { policy, remote } => {
            let answer = remote.get(&format!("/v1/policies/{policy}"))?;
            println!("{}", serde_json::to_string_pretty(&answer)?);
            Ok(ExitCode::SUCCESS)
        }
        PoliciesCommand::Upload {
            file,
            settings,
            shadow,
            order,
            changing,
        } => {
            let found = PolicyUpload::from_file(&file)?;
            let settings = match settings {
                Some(file) => Some(read_settings(&file)?),
                None => found.settings,
            };
            let mode = if shadow {
                PolicyMode::Shadow
            } else {
                found.mode
            };
            let more = [
                ("component", json!(STANDARD.encode(&found.component))),
                ("sha256", json!(Digest::hash_bytes(&found.component))),
                ("mode", json!(mode)),
                ("order", json!(order.or(found.order))),
            ];
            let settings = settings.as_ref().map(Settings::as_str);
            changing.send_change("PUT", &[found.name.as_str()], settings, &more)
        }
        PoliciesCommand::Rollout {
            policy,
            number,
            changing,
        } => {
            let more = [("number", json!(number))];
            changing.send_change("POST", &[policy.as_str(), "rollout"], None, &more)
        }
        PoliciesCommand::Rollback { policy, changing } => {
            changing.send_change("POST", &[policy.as_str(), "rollback"], None, &[])
        }
        PoliciesCommand::Settings {
            policy,
            file,
            none: _,
            shadow,
            changing,
        } => {
            let settings = file.as_deref().map(read_settings).transpose()?;
            let settings = settings.as_ref().map_or("null", Settings::as_str);
            let more = [("mode", json!(shadow.then_some(PolicyMode::Shadow)))];
            changing.send_change("PATCH", &[policy.as_str()], Some(settings), &more)
        }
        PoliciesCommand::Shadow {
            policy,
            number: Some(number),
            changing,
        } => {
            let more = [
                ("number", json!(number)),
                ("mode", json!(PolicyMode::Shadow)),
            ];
            changing.send_change("POST", &[policy.as_str(), "rollout"], None, &more)
        }
        PoliciesCommand::Shadow {
            policy,
            number: None,
            changing,
        } => {
            let more = [("mode", json!(PolicyMode::Shadow))];
            changing.send_change("PATCH", &[policy.as_str()], None, &more)
        }
        PoliciesCommand::Enforce { policy, changing } => {
            let more = [("mode", json!(PolicyMode::Enforce))];
            changing.send_change("PATCH", &[policy.as_str()], None, &more)
        }
        PoliciesCommand::Order {
            policy,
            place,
            changing,
        } => {
            let more = [("order", json!(place))];
            changing.send_change("PATCH", &[policy.as_str()], None, &more)
        }
        PoliciesCommand::Delete {
            policy,
            shadow,
            changing,
        } => {
            let [reason, by] = changing.words.named_fields();
            let call = ApiRequest::new("DELETE", &["v1", "policies", policy.as_str()])
                .with_query("mode", shadow.then_some("shadow"))
                .with_query("expected_revision", changing.expected_revision)
                .with_query("reason", reason.1)
                .with_query("by", by.1);
            print_change(&call.send(&changing.words.caller.remote)?);
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// What is to be uploaded.
struct PolicyUpload {
    name: Name,
    component: Vec<u8>,
    settings: Option<Settings>,
    mode: PolicyMode,
    order: Option<u32>,
}

impl PolicyUpload {
    fn from_file(path: &Path) -> anyhow::Result<Self> {
        let read = |path: &Path| std::fs::read(path).with_context(|| path.display().to_string());
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            let text = String::from_utf8(read(path)?).context("the manifest is no UTF-8")?;
            let manifest: PolicyManifest =
                toml::from_str(&text).with_context(|| path.display().to_string())?;
            let file = path.with_file_name(&manifest.component);
            let component = read(&file)?;
            let found = Digest::hash_bytes(&component);
            anyhow::ensure!(
                found == manifest.sha256,
                "{} has the SHA-256 {found}, its manifest states {}; if the change is meant, update the manifest",
                file.display(),
                manifest.sha256
            );
            return Ok(Self {
                name: manifest.name,
                component,
                settings: manifest.settings,
                mode: manifest.mode,
                order: manifest.order,
            });
        }
        let component = read(path)?;
        let engine = Engine::new(&EngineConfig::default())?;
        let policy =
            Policy::load(&engine, &component).with_context(|| path.display().to_string())?;
        Ok(Self {
            name: policy.identity().metadata.name.parse()?,
            component,
            settings: None,
            mode: PolicyMode::Enforce,
            order: None,
        })
    }
}

fn read_settings(path: &Path) -> anyhow::Result<Settings> {
    let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
    Settings::parse(&text).with_context(|| path.display().to_string())
}

fn print_policies(answer: &Value) {
    for policy in answer["policies"].as_array().into_iter().flatten() {
        let version = |place: &str| match &policy[place] {
            Value::Null => "-".to_owned(),
            found => format!(
                "{} ({}, {:.12})",
                found["number"],
                found["version"].as_str().unwrap_or("?"),
                found["sha256"].as_str().unwrap_or("")
            ),
        };
        println!(
            "{:<8} {:<20} enforced {:<30} on trial {:<30} {}{}",
            policy["order"],
            policy["name"].as_str().unwrap_or(""),
            version("enforced"),
            version("shadow"),
            policy["source"].as_str().unwrap_or(""),
            match policy["broken"].as_str() {
                Some(reason) => format!("  DENIES EVERYTHING: {reason}"),
                None => String::new(),
            }
        );
    }
}

fn print_change(answer: &Value) {
    let policy = answer["policy"].as_str().unwrap_or("");
    let version = |place: &str| match &answer[place] {
        Value::Null => "none".to_owned(),
        number => format!("version {number}"),
    };
    println!(
        "{policy}: {} enforced, {} on trial, place {}, revision {}",
        version("enforced"),
        version("shadow"),
        answer["order"],
        answer["revision"]
    );
    for remark in answer["remarks"].as_array().into_iter().flatten() {
        println!("  {}", remark.as_str().unwrap_or(""));
    }
}
