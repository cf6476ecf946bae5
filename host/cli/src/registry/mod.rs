//! `ark agent push|pull|sign` and `ark policy push|pull|sign`: components by way of an OCI registry, and their signatures.
//!
//! Nothing of what a registry sends is written before it has the digest that was asked for, carries the signature that was asked for, and was
//! loaded as a host would load it. No file that is there is replaced.

mod access;
mod agent;
mod place;
mod policy;
mod pull;
mod push;
mod sign;
mod source;

use std::process::ExitCode;

use clap::Subcommand;

use crate::author::GuestKind;

use agent::PullAgentArgs;
use pull::PullArgs;
use push::PushArgs;
use sign::SignArgs;

#[derive(Debug, Subcommand)]
pub(crate) enum AgentRegistryCommand {
    /// Pushes an agent's component to an OCI registry, with its manifest, and prints the digest it has there.
    Push(PushArgs),
    /// Pulls an agent from an OCI registry, checks it as a host would, and writes its component and manifest.
    Pull(PullAgentArgs),
    /// Signs an agent's component: writes the signature beside it, in a file of its name with `.sig` behind it.
    Sign(SignArgs),
}

#[derive(Debug, Subcommand)]
pub(crate) enum PolicyRegistryCommand {
    /// Pushes a policy's component to an OCI registry, with its manifest if there is one, and prints the digest it has there.
    Push(PushArgs),
    /// Pulls a policy from an OCI registry, checks it as a host would, and writes its component and manifest.
    Pull(PullArgs),
    /// Signs a policy's component: writes the signature beside it, in a file of its name with `.sig` behind it.
    Sign(SignArgs),
}

pub(crate) fn run_agent(command: AgentRegistryCommand) -> anyhow::Result<ExitCode> {
    match command {
        AgentRegistryCommand::Push(args) => push::run_command(GuestKind::Agent, &args)?,
        AgentRegistryCommand::Pull(args) => agent::pull_agent(args)?,
        AgentRegistryCommand::Sign(args) => sign::run_command(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn run_policy(command: PolicyRegistryCommand) -> anyhow::Result<ExitCode> {
    match command {
        PolicyRegistryCommand::Push(args) => push::run_command(GuestKind::Policy, &args)?,
        PolicyRegistryCommand::Pull(args) => policy::pull_policy(&args)?,
        PolicyRegistryCommand::Sign(args) => sign::run_command(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
