//! `ark policy new|build|test|inspect`: for authors of policies.

use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use ark_model::printable::format_count;
use ark_runtime::{Engine, EngineConfig, Policy, run_vectors};
use clap::Subcommand;

use crate::output::{print_line, print_notice};

use super::guest_crate::{
    CrateArgs, GuestKind, NewCrateArgs, build_library, run_tests, write_dist,
};
use super::inspect::{self, InspectArgs};

/// The target that policies are built for: its standard library imports nothing.
const TARGET: &str = "wasm32-unknown-unknown";
/// The file with a policy's test vectors, in its crate.
const VECTORS: &str = "vectors.json";
/// The files of a new policy.
const TEMPLATE: [(&str, &str); 5] = [
    ("Cargo.toml", include_str!("template/policy/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/policy/lib.rs.in")),
    (VECTORS, include_str!("template/policy/vectors.json.in")),
    ("README.md", include_str!("template/policy/README.md.in")),
    (".gitignore", "/target\n/dist\n"),
];

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyAuthorCommand {
    /// Makes the crate of a working policy with settings: source, test vectors, tests.
    New(NewCrateArgs),
    /// Builds a policy's component with its test vectors into `dist`, loads it and runs the vectors as a host would. Prints its SHA-256.
    Build(CrateArgs),
    /// Runs a policy's tests, builds it, and runs its vectors on the real engine.
    Test(CrateArgs),
    /// Shows what a component is, its rules, whether it takes settings, and why it would be refused.
    Inspect(InspectArgs),
}

pub(crate) fn run_command(command: PolicyAuthorCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyAuthorCommand::New(new) => new.write_template(GuestKind::Policy, &TEMPLATE)?,
        PolicyAuthorCommand::Build(args) => build_policy(&args.dir)?,
        PolicyAuthorCommand::Test(args) => {
            run_tests(&args.dir)?;
            build_policy(&args.dir)?;
        }
        PolicyAuthorCommand::Inspect(args) => {
            return inspect::run_command(&args, Some(GuestKind::Policy));
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the component, checks that a host would load it, and only then writes it into `dist`.
fn build_policy(dir: &Path) -> anyhow::Result<()> {
    let vectors = dir.join(VECTORS);
    let vectors = std::fs::read(&vectors)
        .with_context(|| format!("{}: a policy needs test vectors", vectors.display()))?;
    let module = build_library(dir, TARGET)?;
    let component = ark_componentize::build_policy_component(&module, &vectors)?;
    let engine = Engine::new(&EngineConfig::default())?;
    let policy = Policy::load(&engine, &component).context("a host would refuse the component")?;
    let run = run_vectors(&policy).context(VECTORS)?;
    let identity = policy.identity();
    let file = format!("{}.wasm", identity.metadata.name);
    let file = write_dist(dir, &file, &component)?;
    print_notice!(
        "{} {} would be loaded: {}, {} hold, {}",
        identity.metadata.name,
        identity.metadata.version,
        format_count(identity.metadata.rules.len(), "rule", "rules"),
        format_count(run, "vector", "vectors"),
        if policy.takes_settings() {
            "takes settings"
        } else {
            "takes no settings"
        }
    );
    print_line!("{}  {}", identity.digest, file.display());
    Ok(())
}
