//! The `ark` command.

use std::process::ExitCode;

/// An action is allocated where its request is read, judged on the HRM's thread and freed on the writer's: an allocator whose threads
/// take back each other's memory without a lock saves more than any other line here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ark_host::cli::run()
}
