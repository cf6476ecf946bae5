//! The file of the configuration, and the file of environment variables.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ark_host::config::{Config, DEFAULT_FILE, Layers, ValueSource};
use ark_host::telemetry::logs::check_log_variables;
use serde_json::Value;

use crate::env_file::{EnvFile, EnvFileError};

use super::client_variables::check_client_variables;
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// Variables whose value is a secret.
const SECRET_VARIABLES: [&str; 2] = ["ARK_SECRET_KEY", "ARK_TOKEN"];

/// The bytes that are kept for one agent.
const STORED_BYTES: &str = "quotas.stored_bytes";

/// The bits of a file's permissions; `None`: it cannot be looked at.
pub(super) fn read_permissions(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.mode() & 0o7777)
}

/// Says that a file of environment variables cannot be used.
pub(super) fn refuse_env_file(error: &EnvFileError, lines: &mut CheckLines) {
    let remedy = match error {
        EnvFileError::Unreadable { .. } => {
            "the host would not start; name the file that its service has, or leave --env-file out"
        }
        EnvFileError::Line { .. } => {
            "correct the line; deploy/env.production.example documents every variable"
        }
    };
    lines.add_error(error.to_string(), remedy);
}

/// The variables of the log are of their form, and with those of commands these do their work, whether a file sets them or not; the file can be read as one and
/// shows its secrets to nobody else.
pub(super) fn check_env_file(inputs: &CheckInputs, lines: &mut CheckLines) {
    if let Err(problem) = check_log_variables() {
        lines.add_error(
            format!("{problem}: `ark serve` refuses to start"),
            "correct the variable, or take it away; deploy/env.production.example documents it",
        );
    }
    check_client_variables(inputs, lines);
    let file = match &inputs.options.env_file {
        None => return,
        Some(Err(error)) => return refuse_env_file(error, lines),
        Some(Ok(file)) => file,
    };
    let path = file.path.display();
    inputs.host_user.check_unchanged(&file.path, "0640", lines);
    if holds_secret(file)
        && let Ok(Some(problem)) = inputs.host_user.find_reader(&file.path)
    {
        lines.add_error(
            format!("{problem}, and it holds a secret"),
            format!("chmod 0600 {path}, or 0640 with the group of the host"),
        );
    }
    if lines.is_good() {
        lines.add_ok(format!("{path}: {} variables", file.variables.len()));
    }
}

fn holds_secret(file: &EnvFile) -> bool {
    let mut variables = file.variables.iter();
    variables.any(|variable| {
        !variable.value.is_empty()
            && (SECRET_VARIABLES.contains(&variable.name.as_str())
                || holds_password(&variable.value))
    })
}

/// Whether a text is an address with a password in it.
fn holds_password(text: &str) -> bool {
    let authority = text.split_once("://").map_or("", |(_, rest)| rest);
    let authority = authority.split('/').next().unwrap_or_default();
    authority
        .rsplit_once('@')
        .is_some_and(|(user, _)| user.contains(':'))
}

/// No quota of agents was set that the host lowers: it keeps each agent below a quarter of the database.
pub(super) fn check_lowered_quota(config: &Config, layers: &Layers, lines: &mut CheckLines) {
    let values = layers.lines();
    let set = values
        .iter()
        .find(|line| line.key == STORED_BYTES && !matches!(line.source, ValueSource::Default));
    let set = set.and_then(|line| line.value.as_ref()?.as_u64());
    let limit = config.store.max_bytes.unwrap_or(u64::MAX);
    let in_force = config.quotas.within_database(limit).agents.stored_bytes;
    if let Some(set) = set.filter(|set| *set > in_force) {
        lines.add_warning(
            format!("{STORED_BYTES} is {set}, and {in_force} is in force: a quarter of capacity.max_database_bytes"),
            format!("set {STORED_BYTES} to {in_force} or less, or raise capacity.max_database_bytes"),
        );
    }
}

/// The configuration file cannot be changed by others, nor read by them if it holds a password.
pub(super) fn check_config_file(inputs: &CheckInputs, lines: &mut CheckLines) {
    let file = inputs.options.config.as_deref();
    let file = file.unwrap_or_else(|| Path::new(DEFAULT_FILE));
    let Some(mode) = read_permissions(file) else {
        return;
    };
    let path = file.display();
    let values = inputs.layers.lines();
    let mut from_file = values
        .iter()
        .filter(|line| matches!(line.source, ValueSource::File(_)));
    let has_password = from_file.any(|line| {
        let value = line.value.as_ref().and_then(Value::as_str);
        value.is_some_and(holds_password)
    });
    inputs.host_user.check_file(file, "0640", lines);
    if has_password && let Ok(Some(problem)) = inputs.host_user.find_reader(file) {
        lines.add_error(
            format!("{problem}, and it holds a password"),
            format!(
                "chmod 0640 {path}, or keep the password in a file of its own (redis.password_file)"
            ),
        );
    }
    if lines.is_good() {
        lines.add_ok(format!("{path} has mode {mode:04o}"));
    }
}
