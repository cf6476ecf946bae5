//! Commands that lead a host to production and look after it there. What they do is in `ark-deploy`; here are their arguments and what they
//! print.

pub(crate) mod canary;
pub(crate) mod check;
mod host_commands;
pub(crate) mod interrupts;
mod journals;
mod junit_file;
pub(crate) mod rollback;
pub(crate) mod synthetic;
mod telemetry;
pub(crate) mod upgrade;
pub(crate) mod validate;

use ark_deploy::exchange::ExchangeError;
use serde_json::{Value, json};

use crate::output::{describe_error, print_json, print_line, print_notice};

/// A step of a deployment on one line.
fn describe_step(step: &str, detail: &Value) -> String {
    let text = |name: &str| match detail.get(name) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        // A variant with what is known of it, e.g. {"failure": "denials"}.
        Some(Value::Object(parts)) => {
            let parts = parts.iter().map(|(name, value)| {
                let value = value
                    .as_str()
                    .map_or_else(|| value.to_string(), str::to_owned);
                format!("{name} {value}")
            });
            parts.collect::<Vec<_>>().join(" ")
        }
        Some(other) => other.to_string(),
    };
    let parts = ["share_pct", "phase", "result", "reason"];
    let mut line = format!("{step:<10}");
    for part in parts {
        let text = text(part);
        if !text.is_empty() {
            let unit = if part == "share_pct" { " %" } else { "" };
            line = format!("{line} {text}{unit}");
        }
    }
    if detail["paused"] == true {
        line.push_str(" (paused)");
    }
    line
}

/// With `json`, prints the failure of a command that has printed no report, so that standard output has one in any case.
///
/// # Errors
/// As `result`.
fn report_problems<T>(json: bool, result: anyhow::Result<T>) -> anyhow::Result<T> {
    if json && let Err(error) = &result {
        print_json(&json!({
            "passed": false,
            "error": describe_error(error),
            "problems": list_problems(error),
        }))?;
    }
    result
}

/// Everything that a dry run found, one by one; of any other failure its error.
fn list_problems(error: &anyhow::Error) -> Vec<String> {
    let mut causes = error.chain();
    let found = causes.find_map(|cause| match cause.downcast_ref() {
        Some(ExchangeError::Rehearsal(problems)) => Some(problems.clone()),
        _ => None,
    });
    found.unwrap_or_else(|| vec![describe_error(error)])
}

/// Says which steps the host has no record of.
fn print_unrecorded(steps: &[String]) {
    for step in steps {
        print_notice!("not recorded at the host: {step}");
    }
}

/// Prints what a dry run found would be done.
fn print_steps(steps: &[String], json: bool) -> anyhow::Result<()> {
    if json {
        return print_json(&steps);
    }
    for step in steps {
        print_line!("{step}");
    }
    Ok(())
}
