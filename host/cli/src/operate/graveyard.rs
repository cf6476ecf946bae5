//! `ark graveyard`: the rules of the pinned Graveyard, and whether a module is the pinned one.

use std::path::PathBuf;
use std::process::ExitCode;

use ark_model::verdict::Metadata;
use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard};
use clap::Subcommand;

use crate::output::{print_json, print_line};

#[derive(Debug, Subcommand)]
pub(crate) enum GraveyardCommand {
    /// Lists the rules.
    Show {
        /// Print JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checks a module against the pin and runs its test vectors.
    Verify {
        /// The module [default: the one in this program].
        file: Option<PathBuf>,
    },
}

pub(crate) fn run_command(command: GraveyardCommand) -> anyhow::Result<ExitCode> {
    let engine = Engine::new(&EngineConfig::default())?;
    let pin = Pin::compiled_in()?;
    match command {
        GraveyardCommand::Show { json } => {
            let graveyard = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin)?;
            let metadata = &graveyard.policy.identity().metadata;
            if json {
                print_json(metadata)?;
            } else {
                print_line!(
                    "{} {}  sha256 {}",
                    metadata.name,
                    metadata.version,
                    pin.digest()
                );
                print_rules(metadata);
            }
        }
        GraveyardCommand::Verify { file } => {
            let source = file.map_or(GraveyardSource::Embedded, GraveyardSource::File);
            let graveyard = PinnedGraveyard::load(&engine, &source, pin)?;
            print_line!(
                "the pin holds: sha256 {}; imports nothing; {} rules; {} test vectors passed",
                pin.digest(),
                graveyard.policy.identity().metadata.rules.len(),
                graveyard.vectors
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

/// Prints the rules, those of a category below its name.
fn print_rules(metadata: &Metadata) {
    let mut category = "";
    for rule in &metadata.rules {
        if rule.category != category {
            category = &rule.category;
            print_line!();
            print_line!("{category}");
        }
        let severity = rule.severity.as_str().to_uppercase();
        let kind = if rule.hold {
            format!("{severity}, hold")
        } else {
            severity
        };
        print_line!(
            "  {:>2} {:<24} {:<14} {}",
            rule.number,
            rule.name,
            kind,
            rule.description
        );
    }
}
