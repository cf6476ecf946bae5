//! The command line: what it prints, configuration, authoring of agents and policies, registries, approvals.

mod agent_author;
mod approvals;
mod config;
mod doctor;
mod environment;
mod lists;
mod newcomer;
mod output;
mod policy_author;
mod registry;
mod slips;

use std::path::Path;
use std::process::{Command, Output, Stdio};

use ark_tests::ark_program;

/// Runs a command in a directory, with the API's address and this environment alone.
fn ark(dir: &Path, url: &str, args: &[&str], environment: &[(&str, &str)]) -> Output {
    Command::new(ark_program())
        .args(args)
        .current_dir(dir)
        .env_clear()
        .env("ARK_URL", url)
        .envs(environment.iter().copied())
        .stdin(Stdio::null())
        .output()
        .expect("ark starts")
}

fn printed(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}
