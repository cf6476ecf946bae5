//! The program `ark`.

use std::process::ExitCode;

/// An action is allocated where its request is read, judged there or on the HRM's thread, and freed on the writer's. An allocator whose threads
/// return each other's memory without a lock saves more time than any other choice made here.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ark_cli::run()
}
