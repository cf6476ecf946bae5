//! The program `ark-next`: a newer version of `ark`, for the tests of canaries, upgrades and rollbacks ([`ark_host::faults`]).

use std::process::ExitCode;

/// As that of `ark`: the two are compared.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ark_cli::run()
}
