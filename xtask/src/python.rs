//! What the tests need of Python: schemathesis, in an environment of its own below `target`.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What is installed, with its version.
const REQUIREMENTS: &str = "tests/openapi/requirements.txt";

/// Makes the environment, or brings it up to date. Does nothing if it is.
///
/// # Errors
/// There is no Python, or the packages cannot be installed: says what to do.
pub fn set_up(root: &Path) -> Result<()> {
    let venv = root.join("target/venv");
    let marker = venv.join("requirements.txt");
    let wanted = std::fs::read_to_string(root.join(REQUIREMENTS)).context(REQUIREMENTS)?;
    // Its programs name it by its path: in a checkout that was moved it must be made anew.
    let wanted = format!("# {}\n{wanted}", venv.display());
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    println!("Installing schemathesis in target/venv, for the tests of the HTTP API.");
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv)
        .status();
    ensure!(
        made.is_ok_and(|status| status.success()),
        "the tests of the HTTP API need Python 3.10 or later with venv: install python3 and python3-venv, or run the other tests with `cargo \
         xtask test -- -E 'not binary(openapi)'`"
    );
    let installed = Command::new(venv.join("bin/python"))
        .args([
            "-m",
            "pip",
            "install",
            "--quiet",
            "--disable-pip-version-check",
            "--requirement",
        ])
        .arg(root.join(REQUIREMENTS))
        .status();
    ensure!(
        installed.is_ok_and(|status| status.success()),
        "{REQUIREMENTS} cannot be installed: is PyPI reachable?"
    );
    std::fs::write(&marker, wanted).context("the environment's marker")
}
