//! `cargo xtask bench`: builds everything the benchmark needs and runs it.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use crate::guests;
use crate::hermetic::Workspace;
use crate::process::{build_program, cargo_in, run_command};

/// The package of the benchmark's own agent.
const AGENT: &str = "agent-bench";

/// Arguments of `cargo xtask bench`.
#[derive(clap::Args)]
pub struct BenchArgs {
    /// Arguments for the benchmark, see `cargo xtask bench -- --help`: `--quick`, `--seconds`, `--rounds`, `--only`.
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<String>,
}

/// Builds the agents and policies, then the benchmark and, where the arguments name no other program, `ark`, both with the release profile. Then runs the
/// benchmark.
///
/// # Errors
/// A build fails, or the benchmark does.
pub fn run_benchmark(args: &BenchArgs) -> Result<()> {
    let workspace = Workspace::find()?;
    build_guests(&workspace)?;
    let build = |name| {
        let mut build = cargo_in(&workspace.root);
        build_program(build.args(["build", "--release", "--locked"]), name)
    };
    let mut benchmark = Command::new(build("ark-bench")?);
    if !names_program(&args.arguments) {
        benchmark.arg("--ark").arg(build("ark")?);
    }
    run_command(benchmark.current_dir(&workspace.root).args(&args.arguments))
}

/// Returns whether arguments of the benchmark name the program that is measured.
fn names_program(arguments: &[String]) -> bool {
    arguments
        .iter()
        .any(|argument| argument == "--ark" || argument.starts_with("--ark="))
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_name_the_program_by_one_option() {
        for (arguments, named) in [
            (&["--quick"][..], false),
            (&["--only", "http", "--ark", "target/pgo/ark"], true),
            (&["--ark=target/pgo/ark", "--quick"], true),
        ] {
            let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
            assert_eq!(names_program(&arguments), named, "{arguments:?}");
        }
    }
}
