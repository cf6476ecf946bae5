//! `ark policy`

use std::process::ExitCode;

use clap::Subcommand;

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    #[command(flatten)]
    Author(super::policy_author::PolicyAuthorCommand),
    #[command(flatten)]
    InForce(super::policies::PoliciesCommand),
}

pub(super) fn run(command: PolicyCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyCommand::Author(command) => super::policy_author::run(command),
        PolicyCommand::InForce(command) => super::policies::run(command),
    }
}
