//! `ark policy new|build|test|inspect|diff`: what an author of policies needs, without a running host.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Subcommand;

use ark_runtime::{Engine, EngineConfig, Policy, run_vectors};

use super::guest_crate::{self, NewCrateArgs};

/// What policies are built for: a target whose standard library imports nothing.
const TARGET: &str = "wasm32-unknown-unknown";
/// A policy's test vectors, in its crate.
const VECTORS: &str = "vectors.json";
/// What a new policy is made of.
const TEMPLATE: [(&str, &str); 4] = [
    ("Cargo.toml", include_str!("template/policy/Cargo.toml.in")),
    ("src/lib.rs", include_str!("template/policy/lib.rs.in")),
    (VECTORS, include_str!("template/policy/vectors.json.in")),
    (".gitignore", "/target\n/dist\n"),
];

#[derive(Debug, Subcommand)]
pub(super) enum PolicyAuthorCommand {
    /// Makes a crate of a working policy with settings: source, test vectors, tests.
    New(NewCrateArgs),
    /// Builds a policy's component with its test vectors into `dist`, loads it and runs the vectors as a host would. Prints its SHA-256.
    Build {
        /// The crate's directory.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Runs its tests, builds it, and runs its vectors on the real engine.
    Test {
        /// The crate's directory.
        #[arg(default_value = ".")]
        dir: PathBuf,
    },
    /// Says what a component is, its rules, whether it takes settings, and why it would be refused.
    Inspect(super::inspect::InspectArgs),
    /// Judges recorded decisions under two versions of a policy, and lists every one that would come out otherwise.
    Diff(super::policy_diff::DiffArgs),
}

pub(super) fn run(command: PolicyAuthorCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyAuthorCommand::New(new) => {
            new.write_template("policy", &TEMPLATE)?;
        }
        PolicyAuthorCommand::Build { dir } => build_policy(&dir)?,
        PolicyAuthorCommand::Test { dir } => {
            guest_crate::run_tests(&dir)?;
            build_policy(&dir)?;
        }
        PolicyAuthorCommand::Inspect(args) => return super::inspect::run(&args),
        PolicyAuthorCommand::Diff(args) => return super::policy_diff::run(&args),
    }
    Ok(ExitCode::SUCCESS)
}

/// Builds the component, proves that a host would take it, and only then puts it into `dist`.
fn build_policy(dir: &Path) -> anyhow::Result<()> {
    let vectors = dir.join(VECTORS);
    let vectors = std::fs::read(&vectors)
        .with_context(|| format!("{}: a policy needs test vectors", vectors.display()))?;
    let module = guest_crate::build_library(dir, TARGET)?;
    let component = ark_componentize::policy(&module, &vectors)?;
    let engine = Engine::new(&EngineConfig::default())?;
    let policy = Policy::load(&engine, &component).context("a host would refuse it")?;
    let run = run_vectors(&policy).context(VECTORS)?;
    let identity = policy.identity();
    let dist = dir.join("dist");
    std::fs::create_dir_all(&dist).with_context(|| dist.display().to_string())?;
    let file = dist.join(format!("{}.wasm", identity.metadata.name));
    std::fs::write(&file, &component).with_context(|| file.display().to_string())?;
    eprintln!(
        "{} {} would be loaded: {} rules, {run} vectors hold, {}",
        identity.metadata.name,
        identity.metadata.version,
        identity.metadata.rules.len(),
        if policy.takes_settings() {
            "takes settings"
        } else {
            "takes no settings"
        }
    );
    println!("{}  {}", identity.digest, file.display());
    Ok(())
}
