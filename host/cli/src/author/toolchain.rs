//! The toolchains of agents in Python and JavaScript: installed into the project's own directory, with pinned versions.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, bail};

use crate::output::print_notice;

use super::child::{TOOL_TIMEOUT, wait_within};

/// The file that says for which list of packages the installation is complete.
const INSTALLED: &str = "ark-installed";
/// How Python is installed.
const PYTHON_REMEDY: &str = "install Python 3.11 or later with its module venv (Debian: apt-get install python3 python3-venv), or name it in PYTHON";
/// How Node.js and npm are installed.
const NODE_REMEDY: &str =
    "install Node.js 18 or later with npm (Debian: apt-get install nodejs npm)";
/// What a remedy says of an installation that failed.
const INSTALL_REMEDY: &str = "see the messages above; it needs the network, or a proxy or mirror in the tool's own settings. Then run the command again";

/// The language of an agent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// A crate, built with cargo.
    Rust,
    /// A Python project, built with componentize-py.
    Python,
    /// A JavaScript project, built with componentize-js.
    #[value(alias = "js")]
    Javascript,
}

impl Language {
    /// The file of a new project that says the `name` or the `version` of the agent.
    pub(super) fn metadata_file(self, field: &str) -> &'static str {
        match self {
            Self::Rust if field == "version" => "Cargo.toml",
            Self::Rust => "src/lib.rs",
            Self::Python => "src/agent.py",
            Self::Javascript => "src/agent.js",
        }
    }

    /// Finds out the language of a project by the file that its toolchain reads.
    ///
    /// # Errors
    /// The directory holds no project.
    pub(super) fn of_project(dir: &Path) -> anyhow::Result<Self> {
        for (file, language) in [
            ("Cargo.toml", Self::Rust),
            ("requirements.txt", Self::Python),
            ("package.json", Self::Javascript),
        ] {
            if dir.join(file).is_file() {
                return Ok(language);
            }
        }
        bail!(
            "{} holds no project: Cargo.toml (Rust), requirements.txt (Python) or package.json (JavaScript); make one with `ark agent new`",
            dir.display()
        )
    }
}

/// Installs the Python packages of a project into `.venv`, unless they are.
fn install_python(dir: &Path) -> anyhow::Result<PathBuf> {
    let list = dir.join("requirements.txt");
    let listed = std::fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let venv = dir.join(".venv");
    let stamp = venv.join(INSTALLED);
    let bin = std::path::absolute(venv.join("bin"))?;
    // Scripts in an environment name it by its path: in a project that was moved it must be made again.
    let wanted = format!("# {}\n{listed}", bin.display());
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(bin);
    }
    print_notice!(
        "installing the packages of requirements.txt into {} (once, some 80 MB)",
        venv.display()
    );
    let program = std::env::var_os("PYTHON").filter(|program| !program.is_empty());
    run_tool(
        Command::new(program.unwrap_or_else(|| "python3".into()))
            .args(["-m", "venv", "--clear", ".venv"])
            .current_dir(dir),
        PYTHON_REMEDY,
    )?;
    run_tool(
        Command::new(bin.join("python"))
            .args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "--disable-pip-version-check",
                // A source package would run its own program here.
                "--only-binary=:all:",
            ])
            .args(["-r", "requirements.txt"])
            .current_dir(dir),
        INSTALL_REMEDY,
    )?;
    std::fs::write(&stamp, &wanted).with_context(|| stamp.display().to_string())?;
    Ok(bin)
}

/// Runs the tests of a project in Python.
pub(super) fn test_python(dir: &Path) -> anyhow::Result<()> {
    let bin = install_python(dir)?;
    run_tool(
        Command::new(bin.join("python"))
            .args(["-m", "pytest", "-q", "-p", "no:cacheprovider"])
            .current_dir(dir),
        "see the messages above",
    )
}

/// Builds the component of a project in Python.
pub(super) fn build_python(dir: &Path) -> anyhow::Result<Vec<u8>> {
    let bin = install_python(dir)?;
    print_notice!("building the component with componentize-py");
    build_component(dir, |out| {
        let mut command = Command::new(bin.join("componentize-py"));
        command
            .args(["--quiet", "--wit-path", "wit", "--world", "agent"])
            .args(["componentize", "--python-path", "src"])
            .args(["--python-path", "sdk", "--output"])
            .arg(out)
            .arg("component")
            // Packages in pure Python that the project adds are found there.
            .env("VIRTUAL_ENV", bin.parent().unwrap_or(&bin));
        command
    })
}

/// Installs the packages of a project in JavaScript into `node_modules`, unless they are.
fn install_javascript(dir: &Path) -> anyhow::Result<()> {
    let list = dir.join("package-lock.json");
    let wanted = std::fs::read_to_string(&list).with_context(|| list.display().to_string())?;
    let stamp = dir.join("node_modules").join(INSTALLED);
    if std::fs::read_to_string(&stamp).is_ok_and(|installed| installed == wanted) {
        return Ok(());
    }
    print_notice!(
        "installing the packages of package-lock.json into {} (once, some 190 MB)",
        dir.join("node_modules").display()
    );
    run_tool(
        Command::new("npm")
            // A package's own programs do not run at its installation.
            .args(["ci", "--ignore-scripts"])
            .args(["--no-audit", "--no-fund", "--loglevel=error"])
            .current_dir(dir),
        INSTALL_REMEDY,
    )?;
    std::fs::write(&stamp, &wanted).with_context(|| stamp.display().to_string())
}

/// Runs the tests of a project in JavaScript.
pub(super) fn test_javascript(dir: &Path) -> anyhow::Result<()> {
    run_tool(
        Command::new("node").arg("--test").current_dir(dir),
        "see the messages above; Node.js 18 or later is needed",
    )
}

/// Builds the component of a project in JavaScript.
pub(super) fn build_javascript(dir: &Path) -> anyhow::Result<Vec<u8>> {
    install_javascript(dir)?;
    print_notice!("building the component with componentize-js");
    build_component(dir, |out| {
        let mut command = Command::new("node");
        command
            .arg("node_modules/.bin/componentize-js")
            .args(["--wit", "wit", "--world-name", "agent", "--out"])
            .arg(out)
            .arg("src/component.js");
        command
    })
}

/// Runs a tool that writes a component, and returns the component.
fn build_component(dir: &Path, tool: impl FnOnce(&Path) -> Command) -> anyhow::Result<Vec<u8>> {
    let scratch = tempfile::tempdir().context("no temporary directory")?;
    let out = scratch.path().join("component.wasm");
    run_tool(
        tool(&out).current_dir(dir),
        "the source is at fault, or wit/ is not the contract that the source was written for",
    )?;
    std::fs::read(&out).context("the tool wrote no component")
}

/// Runs a program to its end. Its output goes to the standard error, since what a command prints is its own.
///
/// # Errors
/// It cannot be started: the error says how it is installed. Or it fails: the error ends with `remedy`.
#[expect(
    clippy::disallowed_methods,
    reason = "the child process gets the handle; nothing is printed through it"
)]
fn run_tool(command: &mut Command, remedy: &str) -> anyhow::Result<()> {
    let program = command.get_program().to_string_lossy().into_owned();
    let mut child = command
        .stdin(std::process::Stdio::null())
        .stdout(std::io::stderr())
        .spawn()
        .with_context(|| {
            let remedy = match program.as_str() {
                "node" | "npm" => NODE_REMEDY,
                _ => PYTHON_REMEDY,
            };
            format!("{program} cannot be started: {remedy}")
        })?;
    let status = wait_within(&mut child, TOOL_TIMEOUT, &program)?;
    anyhow::ensure!(status.success(), "{program} failed ({status}): {remedy}");
    Ok(())
}
