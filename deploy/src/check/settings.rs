//! The file of the configuration, and the file of environment variables.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ark_host::config::{DEFAULT_FILE, ValueSource};
use serde_json::Value;

use crate::env_file::{EnvFile, EnvFileError};

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// Variables whose value is a secret.
const SECRET_VARIABLES: [&str; 2] = ["ARK_SECRET_KEY", "ARK_TOKEN"];

/// The bits of a file's permissions; `None`: it cannot be looked at.
pub(super) fn read_permissions(path: &Path) -> Option<u32> {
    Some(std::fs::metadata(path).ok()?.mode() & 0o7777)
}

/// Says that a file of environment variables cannot be used.
pub(super) fn refuse_env_file(error: &EnvFileError, lines: &mut CheckLines) {
    let remedy = match error {
        EnvFileError::Unreadable { .. } => "name a file that this user can read (--env-file)",
        EnvFileError::Line { .. } => {
            "correct the line; deploy/env.production.example documents every variable"
        }
    };
    lines.add_error(error.to_string(), remedy);
}

/// The file can be read as one, and shows its secrets to nobody else.
pub(super) fn check_env_file(inputs: &CheckInputs, lines: &mut CheckLines) {
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
