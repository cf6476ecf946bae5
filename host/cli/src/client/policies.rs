//! `ark policy list|show|upload|rollout|rollback|settings|shadow|enforce|order|delete`: a running host's operator policies.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use ark_client::ClientError;
use ark_client::members::{array_field, text_field};
use ark_host::policies::PolicyManifest;
use ark_model::ids::{Digest, Name};
use ark_model::policy::PolicyMode;
use ark_model::settings::Settings;
use ark_runtime::{Engine, EngineConfig, Policy};
use clap::{Args, Subcommand};
use serde_json::{Value, json};

use crate::built::BuiltPath;
use crate::files::{name_argument, read_file, read_text_file};
use crate::output::{print_empty, print_json, print_line};
use crate::usage::UsageError;

use super::connection::Connection;
use super::request::{ApiRequest, OptionalReasonArgs, ShowArgs};
use super::upload::{read_component, read_signature};

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyVersionCommand {
    /// Lists the operator policies of a running host, in the order in which they are asked.
    List {
        #[command(flatten)]
        show: ShowArgs,
    },
    /// Shows a policy: what is enforced and on trial, how its trial differs, its versions, why the last change was refused. As JSON.
    Show {
        /// The policy.
        policy: Name,
        #[command(flatten)]
        connection: Connection,
    },
    /// Uploads a version and puts it in force. FILE is a component, or a manifest with the component beside it.
    Upload {
        /// The component, or the manifest (`.toml`), or the directory of the project that was built.
        file: BuiltPath,
        /// A file with the settings of the policy, a JSON object.
        #[arg(long, value_name = "FILE")]
        settings: Option<PathBuf>,
        /// Upload it without settings, although the version before it has some.
        #[arg(long, conflicts_with = "settings")]
        no_settings: bool,
        /// Put it on trial: its verdicts are recorded and compared, and change no outcome.
        #[arg(long)]
        shadow: bool,
        /// Its place among the policies; a lower one is asked earlier.
        #[arg(long)]
        order: Option<u32>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Puts a kept version in force.
    Rollout {
        /// The policy.
        policy: Name,
        /// The number of the version.
        number: u64,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Enforces the version that was enforced before.
    Rollback {
        /// The policy.
        policy: Name,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Changes the settings of a policy; the component stays.
    Settings {
        /// The policy.
        policy: Name,
        /// A file with the settings, a JSON object; without it, give --none.
        file: Option<PathBuf>,
        /// Remove the settings.
        #[arg(long, conflicts_with = "file")]
        none: bool,
        /// Put the settings on trial, beside those in force.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Puts a kept version on trial. Without a number it is the enforced version, which then is no longer enforced.
    Shadow {
        /// The policy.
        policy: Name,
        /// The number of the version.
        number: Option<u64>,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Enforces the version on trial.
    Enforce {
        /// The policy.
        policy: Name,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Changes the place of a policy; a lower one is asked earlier.
    Order {
        /// The policy.
        policy: Name,
        /// The place.
        place: u32,
        #[command(flatten)]
        change: ChangeArgs,
    },
    /// Takes a policy out of force. Its versions stay.
    Delete {
        /// The policy.
        policy: Name,
        /// Only end the trial.
        #[arg(long)]
        shadow: bool,
        #[command(flatten)]
        change: ChangeArgs,
    },
}

/// Which revision is changed, by whom, and why.
#[derive(Debug, Args)]
pub(crate) struct ChangeArgs {
    /// Change the policy only if it is at this revision; 0: only if there is none.
    #[arg(long)]
    expected_revision: Option<u64>,
    #[command(flatten)]
    reason: OptionalReasonArgs,
}

impl ChangeArgs {
    /// Sends a change and prints what is in force after it.
    fn send(&self, request: ApiRequest) -> anyhow::Result<()> {
        let request = request
            .awaiting_compilation()
            .with_fields(&[("expected_revision", json!(self.expected_revision))]);
        print_change(&request.send_with_optional_reason(&self.reason)?);
        Ok(())
    }
}

impl PolicyVersionCommand {
    /// Checks what the argument parser does not: that one of two arguments is given where the command needs one.
    ///
    /// # Errors
    /// Neither is given.
    pub(crate) fn check_usage(&self) -> Result<(), UsageError> {
        match self {
            Self::Settings {
                file: None,
                none: false,
                ..
            } => Err(UsageError::new(
                "give FILE with the settings, a JSON object, or --none to remove them",
            )),
            _ => Ok(()),
        }
    }
}

pub(crate) fn run_command(command: PolicyVersionCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyVersionCommand::List { show } => {
            show.show_list(&["v1", "policies"], "policies", print_policies)?;
        }
        PolicyVersionCommand::Show { policy, connection } => {
            print_json(&ApiRequest::get(&["v1", "policies", policy.as_str()]).send(&connection)?)?;
        }
        PolicyVersionCommand::Upload {
            file,
            settings,
            no_settings,
            shadow,
            order,
            change,
        } => {
            let upload = UploadFiles::read(&file.find()?)?;
            let settings = match settings {
                Some(path) => Some(read_settings("--settings", &path)?),
                None => upload.settings.clone().filter(|_| !no_settings),
            };
            if settings.is_none() && !no_settings {
                refuse_to_drop_settings(&upload.name, change.reason.connection())?;
            }
            change.send(upload.request(settings.as_ref(), shadow, order)?)?;
        }
        PolicyVersionCommand::Rollout {
            policy,
            number,
            change,
        } => {
            let request = ApiRequest::new("POST", &["v1", "policies", policy.as_str(), "rollout"]);
            change.send(request.with_fields(&[("number", json!(number))]))?;
        }
        PolicyVersionCommand::Rollback { policy, change } => {
            let path = ["v1", "policies", policy.as_str(), "rollback"];
            change.send(ApiRequest::new("POST", &path))?;
        }
        PolicyVersionCommand::Settings {
            policy,
            file,
            none: _,
            shadow,
            change,
        } => {
            let settings = file.as_deref().map(|path| read_settings("", path));
            let settings = settings.transpose()?;
            let settings = settings.as_ref().map_or("null", Settings::as_str);
            let request = patch_request(&policy)
                .with_raw_field("settings", settings)
                .with_fields(&[("mode", json!(shadow.then_some(PolicyMode::Shadow)))]);
            change.send(request)?;
        }
        PolicyVersionCommand::Shadow {
            policy,
            number: Some(number),
            change,
        } => {
            let request = ApiRequest::new("POST", &["v1", "policies", policy.as_str(), "rollout"]);
            let fields = [
                ("number", json!(number)),
                ("mode", json!(PolicyMode::Shadow)),
            ];
            change.send(request.with_fields(&fields))?;
        }
        PolicyVersionCommand::Shadow {
            policy,
            number: None,
            change,
        } => change
            .send(patch_request(&policy).with_fields(&[("mode", json!(PolicyMode::Shadow))]))?,
        PolicyVersionCommand::Enforce { policy, change } => {
            change.send(
                patch_request(&policy).with_fields(&[("mode", json!(PolicyMode::Enforce))]),
            )?;
        }
        PolicyVersionCommand::Order {
            policy,
            place,
            change,
        } => change.send(patch_request(&policy).with_fields(&[("order", json!(place))]))?,
        PolicyVersionCommand::Delete {
            policy,
            shadow,
            change,
        } => {
            let answer = ApiRequest::new("DELETE", &["v1", "policies", policy.as_str()])
                .with_query("mode", shadow.then_some("shadow"))
                .with_query("expected_revision", change.expected_revision)
                .send_with_optional_reason(&change.reason)?;
            print_change(&answer);
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn patch_request(policy: &Name) -> ApiRequest {
    ApiRequest::new("PATCH", &["v1", "policies", policy.as_str()])
}

/// What a component, or a manifest with the component beside it, brings to a host.
struct UploadFiles {
    name: Name,
    /// The file of the component.
    file: PathBuf,
    component: Vec<u8>,
    /// The settings in the manifest.
    settings: Option<Settings>,
    mode: PolicyMode,
    place: Option<u32>,
}

impl UploadFiles {
    /// Reads the component or the manifest at `path`.
    ///
    /// # Errors
    /// A file cannot be read, or is neither a manifest nor a policy.
    fn read(path: &Path) -> anyhow::Result<Self> {
        let context = || path.display().to_string();
        let remedy = "give the component of a policy, or its manifest (.toml)";
        let is_manifest = path
            .extension()
            .is_some_and(|extension| extension == "toml");
        if is_manifest {
            let text = read_text_file("", path, remedy)?;
            let manifest: PolicyManifest = toml::from_str(&text).with_context(context)?;
            let component = read_component(
                path,
                &manifest.component,
                manifest.sha256,
                "if the component was meant to change, update the manifest",
            )?;
            return Ok(Self {
                name: manifest.name,
                file: path.with_file_name(&manifest.component),
                component,
                settings: manifest.settings,
                mode: manifest.mode,
                place: manifest.place,
            });
        }
        let component = read_file("", path, remedy)?;
        let engine = Engine::new(&EngineConfig::default())?;
        let policy = Policy::load(&engine, &component).with_context(context)?;
        Ok(Self {
            name: policy.identity().metadata.name.parse()?,
            file: path.to_owned(),
            component,
            settings: None,
            mode: PolicyMode::Enforce,
            place: None,
        })
    }

    /// The request that uploads it. What the command line gives comes before the manifest.
    fn request(
        &self,
        settings: Option<&Settings>,
        shadow: bool,
        place: Option<u32>,
    ) -> anyhow::Result<ApiRequest> {
        let mode = if shadow {
            PolicyMode::Shadow
        } else {
            self.mode
        };
        let request = ApiRequest::new("PUT", &["v1", "policies", self.name.as_str()])
            .with_component(&self.component)
            .with_fields(&[
                ("sha256", json!(Digest::hash_bytes(&self.component))),
                ("mode", json!(mode)),
                ("order", json!(place.or(self.place))),
                ("signature", json!(read_signature(&self.file)?)),
            ]);
        Ok(match settings {
            Some(settings) => request.with_raw_field("settings", settings.as_str()),
            None => request,
        })
    }
}

/// Refuses an upload without settings where the version before it has some: the new one would judge by the policy's default.
///
/// # Errors
/// The enforced version, or without one the version on trial, has settings; or the host does not answer.
fn refuse_to_drop_settings(policy: &Name, connection: &Connection) -> anyhow::Result<()> {
    let shown = match ApiRequest::get(&["v1", "policies", policy.as_str()]).send(connection) {
        Ok(shown) => shown,
        Err(error) => {
            // Nothing is dropped of a policy that the host does not have.
            return match error.downcast_ref::<ClientError>() {
                Some(ClientError::Problem { status: 404, .. }) => Ok(()),
                _ => Err(error),
            };
        }
    };
    let in_force = ["enforced", "shadow"].into_iter().find_map(|slot| {
        let version = shown.get(slot).filter(|version| !version.is_null())?;
        Some((slot, version))
    });
    if let Some((slot, version)) = in_force
        && version
            .get("settings")
            .is_some_and(|settings| !settings.is_null())
    {
        bail!(
            "version {} of {policy} has settings, which this upload would drop; give --settings FILE (`ark policy show {policy} | jq .{slot}.settings` prints them), or --no-settings to judge without",
            version["number"]
        );
    }
    Ok(())
}

fn read_settings(argument: &str, path: &Path) -> anyhow::Result<Settings> {
    let remedy = "give a file with the settings, a JSON object";
    let text = read_text_file(argument, path, remedy)?;
    Settings::parse(&text).with_context(|| name_argument(argument, path))
}

fn print_policies(answer: &Value) {
    let policies = array_field(answer, "policies");
    if policies.is_empty() {
        print_empty!("no operator policies; the Graveyard judges alone (`ark graveyard show`)");
    }
    for policy in policies {
        let version = |slot: &str| match &policy[slot] {
            Value::Null => "-".to_owned(),
            version => format!(
                "{} ({}, {:.12})",
                version["number"],
                version["version"].as_str().unwrap_or("?"),
                text_field(version, "sha256")
            ),
        };
        print_line!(
            "{:<8} {:<20} enforced {:<30} on trial {:<30} {}{}",
            policy["order"],
            text_field(policy, "name"),
            version("enforced"),
            version("shadow"),
            text_field(policy, "source"),
            match policy["broken"].as_str() {
                Some(reason) => format!("  DENIES EVERYTHING: {reason}"),
                None => String::new(),
            }
        );
    }
}

fn print_change(answer: &Value) {
    let version = |slot: &str| match &answer[slot] {
        Value::Null => "none".to_owned(),
        number => format!("version {number}"),
    };
    print_line!(
        "{}: {} enforced, {} on trial, place {}, revision {}",
        text_field(answer, "policy"),
        version("enforced"),
        version("shadow"),
        answer["order"],
        answer["revision"]
    );
    for remark in array_field(answer, "remarks") {
        print_line!("  {}", remark.as_str().unwrap_or(""));
    }
}
