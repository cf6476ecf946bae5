//! Building everything the benchmark needs, and running it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::hermetic::Workspace;

/// The benchmark's own agent.
const AGENT: &str = "agent-bench";

/// How it is run.
#[derive(clap::Args)]
pub struct Args {
    /// Passed on, see `cargo xtask bench -- --help`: `--quick`, `--seconds`, `--rounds`, `--only`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the host with its release profile, the example agents and the benchmark's agent, and runs the benchmark.
///
/// # Errors
/// A build fails, or the benchmark does.
pub fn run(args: &Args) -> Result<()> {
    let workspace = Workspace::here()?;
    guests::run()?;
    let dir = workspace.root.join("target/bench");
    fs::create_dir_all(&dir)?;
    let built = workspace.build(
        &[AGENT.to_owned()],
        guests::TARGET,
        &workspace.root.join("target/guests-build"),
    )?;
    let built = built.first().context("the agent was built")?;
    fs::copy(&built.wasm, dir.join("agent.wasm"))?;
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .current_dir(&workspace.root)
        .args([
            "build",
            "--release",
            "--locked",
            "--package",
            "ark-cli",
            "--package",
            "ark-bench",
        ])
        .status()?;
    ensure!(status.success(), "the release build failed");
    let status = Command::new(workspace.root.join("target/release/ark-bench"))
        .current_dir(&workspace.root)
        .args(&args.arguments)
        .status()?;
    ensure!(status.success(), "the benchmark failed");
    Ok(())
}
