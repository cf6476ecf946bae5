//! The `ark` command: the edge where errors become messages and an exit code. A library, so that `main.rs` (what is released) and `next.rs` (the
//! newer version of the tests) are one program.
//!
//! Reading order: [`commands`] (the command line), [`serve`] (the host), [`client`] (commands that talk to a running host), [`operate`]
//! (commands on a data directory and on files, without a host), [`production`] (what leads to production), [`author`] (for authors of agents and policies), [`registry`] (components by way of an OCI registry), [`explain`], [`demo`].
//!
//! Exit codes: 0 success; 1 a failure, or something checked that is not as it should be; 2 a wrong command line.

#![deny(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "texts from outside reach a terminal only through `output`"
)]

mod args;
mod author;
mod built;
mod client;
mod commands;
mod demo;
mod environment;
mod explain;
mod files;
mod operate;
mod output;
mod production;
mod registry;
mod serve;
mod time;
mod usage;

use std::process::ExitCode;

/// Runs the command line of this process. Returns its exit code.
#[must_use]
pub fn run() -> ExitCode {
    commands::run()
}
