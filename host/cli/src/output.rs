//! What every command does with its result: JSON on standard output, log lines on standard error, the exit code.

use std::process::ExitCode;

use ark_host::telemetry::{LogFormat, logs};
use serde::Serialize;

/// The exit code of a command that checked something, or that asked for something which may not have happened.
pub(crate) const fn exit_code(success: bool) -> ExitCode {
    if success {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

/// Prints a value as indented JSON.
pub(crate) fn print_json(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string_pretty(value)?);
    Ok(())
}

/// Prints a value as one line of JSON.
pub(crate) fn print_json_line(value: &impl Serialize) -> anyhow::Result<()> {
    println!("{}", serde_json::to_string(value)?);
    Ok(())
}

/// Starts logging to standard error. `ARK_LOG` comes before `default_filter`, `ARK_LOG_FORMAT` before `format`.
pub(crate) fn start_logging(default_filter: &str, format: LogFormat) {
    if let Err(problem) = logs::init_logging(default_filter, format) {
        eprintln!("ark: {problem}");
    }
}
