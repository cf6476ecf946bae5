//! Running other programs, and failing with the command that failed.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

/// Returns `cargo`, to be run in `root`.
pub fn cargo_in(root: &Path) -> Command {
    let mut command = Command::new("cargo");
    command.current_dir(root);
    command
}

/// Runs a command to its end. What it writes is shown as it comes.
///
/// # Errors
/// The command cannot be started, or ends with another status than 0.
pub fn run_command(command: &mut Command) -> Result<()> {
    let shown = format!("{command:?}");
    let status = command
        .status()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(status.success(), "{shown} failed: {status}");
    Ok(())
}

/// Runs a command to its end and returns what it wrote to standard output.
///
/// # Errors
/// As [`run_command`]; or the output is not UTF-8.
pub fn read_output(command: &mut Command) -> Result<String> {
    let shown = format!("{command:?}");
    let output = command
        .stdin(Stdio::null())
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("cannot run {shown}"))?;
    ensure!(output.status.success(), "{shown} failed: {}", output.status);
    Ok(String::from_utf8(output.stdout)?)
}

/// Runs `cargo build` with the arguments of `build`, for the program `name` alone. Returns where cargo wrote it: variables and configuration of the user
/// choose that directory too.
///
/// # Errors
/// As [`run_command`]; or cargo does not say where the program is.
pub fn build_program(build: &mut Command, name: &str) -> Result<PathBuf> {
    build.args(["--message-format", "json-render-diagnostics", "--bin", name]);
    let said = read_output(build)?;
    let program = said.lines().rev().find_map(parse_executable);
    program.with_context(|| format!("cargo did not say where it built {name}"))
}

/// Returns the program that a line of cargo's JSON output announces; `None` for other lines.
fn parse_executable(line: &str) -> Option<PathBuf> {
    #[derive(Deserialize)]
    struct CompilerArtifact {
        executable: Option<PathBuf>,
    }
    serde_json::from_str::<CompilerArtifact>(line)
        .ok()?
        .executable
}

/// Waits until no other process holds a lock below `target`. The turn ends when what is returned is dropped.
///
/// # Errors
/// The file of the lock cannot be made.
pub fn take_turn(root: &Path, lock: &str) -> Result<File> {
    let directory = root.join("target");
    fs::create_dir_all(&directory).with_context(|| directory.display().to_string())?;
    let path = directory.join(lock);
    let file = File::create(&path).with_context(|| path.display().to_string())?;
    file.lock().with_context(|| path.display().to_string())?;
    Ok(file)
}

/// Returns whether `cargo <subcommand> --version` succeeds.
pub fn has_cargo_subcommand(subcommand: &str) -> bool {
    Command::new("cargo")
        .args([subcommand, "--version"])
        .output()
        .is_ok_and(|output| output.status.success())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hermetic::Workspace;

    /// The configuration of a user, or a variable, may have cargo build elsewhere than below `target`.
    #[test]
    fn a_program_is_found_where_cargo_is_told_to_build() {
        let mut workspace = Workspace::find().unwrap();
        let project = workspace.create_test_directory();
        let root = project.path();
        let manifest = "[package]\nname = \"counter\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[[bin]]\nname = \"one\"\npath = \"one.rs\"\n[[bin]]\nname = \"two\"\npath = \"two.rs\"\n[workspace]\n";
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        for name in ["one", "two"] {
            let program = format!("fn main() {{ println!(\"{name}\"); }}");
            fs::write(root.join(format!("{name}.rs")), program).unwrap();
        }
        fs::create_dir(root.join(".cargo")).unwrap();
        let config = "[build]\ntarget-dir = \"by-config\"\n";
        fs::write(root.join(".cargo/config.toml"), config).unwrap();
        workspace.root = root.to_owned();
        let mut by_config = workspace.command("cargo");
        by_config.arg("build");
        let mut by_variable = workspace.command("cargo");
        by_variable.args(["build", "--release"]);
        by_variable.env("CARGO_TARGET_DIR", "by-variable");
        for (mut build, name, directory) in [
            (by_config, "one", "by-config"),
            (by_variable, "two", "by-variable"),
        ] {
            let program = build_program(&mut build, name).unwrap();
            let directory = root.join(directory);
            assert!(program.starts_with(directory), "{}", program.display());
            let said = read_output(&mut Command::new(program)).unwrap();
            assert_eq!(said, format!("{name}\n"));
        }
    }
}
