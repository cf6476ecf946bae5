//! Developer chores: `cargo xtask <command>`.

mod bench;
mod chores;
mod fuzz;
mod graveyard;
mod guests;
mod handwritten;
mod hermetic;
mod python;

use anyhow::Result;
use clap::{Parser, Subcommand};

/// Developer chores of ARK.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the host against the goals of its design and prints a table.
    Bench(bench::Args),
    /// Fuzzes what reads bytes that nobody vouches for; installs cargo-fuzz where it is missing. Needs a C++ compiler.
    Fuzz(fuzz::Args),
    /// Builds the Graveyard from source and pins it: writes policies/graveyard.wasm and policies/graveyard.lock.
    Graveyard(graveyard::Args),
    /// Builds the example agents and completes their manifests, in target/guests; and the operator policies, in target/policies.
    Guests,
    /// Does all set-up and runs the demo. Arguments go to `ark demo`.
    Demo {
        /// For `ark demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Does all set-up and runs every test. Arguments go to the test runner.
    Test {
        /// For the test runner.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Bench(args) => bench::run(&args),
        Command::Fuzz(args) => fuzz::run(&args),
        Command::Graveyard(args) => graveyard::run(&args),
        Command::Guests => guests::run(),
        Command::Demo { args } => chores::demo(&args),
        Command::Test { args } => chores::test(&args),
    }
}
