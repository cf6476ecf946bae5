//! The programs that check files of Compose and Kubernetes, in environments for Python that `cargo xtask test` makes.

use std::process::Command;

use ark_tests::artefacts::checkout_path;

/// A program of the environment with validators that `cargo xtask test` makes.
pub(super) fn find_validator(name: &str) -> Command {
    find_in_environment("venv-deployment", name)
}

/// A program of an environment for Python that `cargo xtask test` makes below `target`.
pub(super) fn find_in_environment(environment: &str, name: &str) -> Command {
    let program = checkout_path("target")
        .join(environment)
        .join("bin")
        .join(name);
    assert!(
        program.exists(),
        "{name} is not installed; run the tests with `cargo xtask test`"
    );
    Command::new(program)
}
