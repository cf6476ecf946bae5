//! Programs of the distribution that tests run. A test that needs one fails where it is missing: it never passes without having tested.

use std::process::{Command, Stdio};

/// A command that runs a program of the distribution.
///
/// # Panics
/// The program is not installed: the message names Debian's package.
#[must_use]
pub fn find_program(name: &str, package: &str) -> Command {
    let found = Command::new(name)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    assert!(
        found.is_ok_and(|status| status.success()),
        "{name} is not installed, and this test needs it: apt-get install {package}"
    );
    Command::new(name)
}
