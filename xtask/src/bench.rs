//! `cargo xtask bench`: builds everything the benchmark needs and runs it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::guests;
use crate::hermetic::Workspace;
use crate::process::{cargo_in, run_command};

/// The package of the benchmark's own agent.
const AGENT: &str = "agent-bench";

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct BenchArgs {
    /// Arguments for the benchmark, see `cargo xtask bench -- --help`: `--quick`, `--seconds`, `--rounds`, `--only`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds `ark` with the release profile, the example agents and the benchmark's agent, and runs the benchmark.
///
/// # Errors
/// A build fails, or the benchmark does.
pub fn run_benchmark(args: &BenchArgs) -> Result<()> {
    let workspace = Workspace::find()?;
    build_guests(&workspace)?;
    run_command(cargo_in(&workspace.root).args([
        "build",
        "--release",
        "--locked",
        "--bin",
        "ark",
        "--bin",
        "ark-bench",
    ]))?;
    run_command(
        Command::new(workspace.root.join("target/release/ark-bench"))
            .current_dir(&workspace.root)
            .args(&args.arguments),
    )
}

/// Builds the example agents and policies, and the benchmark's own agent.
///
/// # Errors
/// A build fails.
pub fn build_guests(workspace: &Workspace) -> Result<()> {
    guests::build_all(workspace)?;
    let dir = workspace.root.join("target/bench");
    fs::create_dir_all(&dir)?;
    let built = workspace.build_packages(
        &[AGENT.to_owned()],
        guests::TARGET,
        &workspace.root.join(guests::BUILD_DIR),
    )?;
    let built = built.first().context("the agent was not built")?;
    fs::copy(&built.wasm, dir.join("agent.wasm"))?;
    Ok(())
}
