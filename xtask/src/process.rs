//! Running other programs, and failing with the command that failed.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};

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
