//! `ark graveyard`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Subcommand;

use ark_runtime::{Engine, EngineConfig, GraveyardSource, Pin, PinnedGraveyard};

#[derive(Debug, Subcommand)]
pub(super) enum GraveyardCommand {
    /// Lists the rules.
    Show {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Checks a module (without a file: the one in this program) against the pin, and runs its test vectors.
    Verify {
        /// The module.
        file: Option<PathBuf>,
    },
}

pub(super) fn run(command: GraveyardCommand) -> anyhow::Result<ExitCode> {
    let engine = Engine::new(&EngineConfig::default())?;
    let pin = Pin::compiled_in()?;
    match command {
        GraveyardCommand::Show { json } => {
            let graveyard = PinnedGraveyard::load(&engine, &GraveyardSource::Embedded, pin)?;
            let metadata = &graveyard.policy.identity().metadata;
            if json {
                println!("{}", serde_json::to_string_pretty(metadata)?);
                return Ok(ExitCode::SUCCESS);
            }
            println!(
                "{} {}  sha256 {}",
                metadata.name,
                metadata.version,
                pin.digest()
            );
            let mut category = "";
            for rule in &metadata.rules {
                if rule.category != category {
                    category = &rule.category;
                    println!("\n{category}");
                }
                let severity = format!("{:?}", rule.severity).to_uppercase();
                let kind = if rule.hold {
                    format!("{severity}, hold")
                } else {
                    severity
                };
                println!(
                    "  {:>2} {:<24} {:<14} {}",
                    rule.number, rule.name, kind, rule.description
                );
            }
        }
        GraveyardCommand::Verify { file } => {
            let source = file.map_or(GraveyardSource::Embedded, GraveyardSource::File);
            let graveyard = PinnedGraveyard::load(&engine, &source, pin)?;
            println!(
                "the pin holds: sha256 {}; imports nothing; {} rules; {} test vectors passed",
                pin.digest(),
                graveyard.policy.identity().metadata.rules.len(),
                graveyard.vectors
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}
