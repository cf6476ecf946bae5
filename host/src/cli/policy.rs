//! `ark policy`

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    #[command(flatten)]
    InForce(super::policies::PoliciesCommand),
}

pub(super) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::InForce(command) => super::policies::run(command),
    }
}
