//! The two commands a newcomer types. Both do all the set-up they need.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::guests;
use crate::hermetic::Workspace;
use crate::python;

/// Builds guests and host, then runs `ark demo`.
///
/// # Errors
/// A build fails, or the demo does.
pub fn demo(args: &[String]) -> Result<()> {
    let workspace = Workspace::here()?;
    guests::run()?;
    build(&workspace.root)?;
    run(Command::new(workspace.root.join("target/debug/ark"))
        .arg("demo")
        .args(args))
}

/// Builds everything once, then runs every test; with nextest where it is installed.
///
/// # Errors
/// A build fails, or a test does.
pub fn test(args: &[String]) -> Result<()> {
    let workspace = Workspace::here()?;
    // Tests that are chosen may need no Python: then its absence stops nobody.
    match python::set_up(&workspace.root) {
        Err(problem) if !args.is_empty() => eprintln!("{problem:#}"),
        result => result?,
    }
    guests::run()?;
    build(&workspace.root)?;
    let nextest = Command::new("cargo")
        .args(["nextest", "--version"])
        .output();
    let mut tests = cargo(&workspace.root);
    if nextest.is_ok_and(|output| output.status.success()) {
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        tests.args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]);
    }
    // First, so that a run ends with the summary of the tests proper.
    run(cargo(&workspace.root).args(["test", "--workspace", "--doc", "--quiet"]))?;
    run(tests.args(args))
}

/// Binaries and tests in one go: apart, they would be built with other features of the same crates, and wasmtime twice.
fn build(root: &Path) -> Result<()> {
    run(cargo(root).args(["build", "--workspace", "--bins", "--tests", "--locked"]))
}

fn cargo(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    command
}

fn run(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command.status().with_context(|| shown.clone())?;
    ensure!(status.success(), "{shown} failed");
    Ok(())
}
