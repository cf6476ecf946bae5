//! The `ark` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    ark_host::cli::run()
}
