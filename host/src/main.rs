//! The `ark` command.

use std::process::ExitCode;

/// The host allocates on one thread and frees on another all the time; the system's allocator is slow at that.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ark_host::cli::run()
}
