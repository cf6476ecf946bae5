//! Developer chores: `cargo xtask <command>`.

mod component;
mod graveyard;
mod guests;
mod hermetic;

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
    /// Builds the Graveyard from source and pins it: writes policies/graveyard.wasm and policies/graveyard.lock.
    Graveyard(graveyard::Args),
    /// Builds the example agents and completes their manifests, in target/guests.
    Guests(guests::Args),
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Graveyard(args) => graveyard::run(&args),
        Command::Guests(args) => guests::run(&args),
    }
}
