//! `cargo xtask demo`: builds what the demo needs and runs it.

use std::process::Command;

use anyhow::Result;

use crate::guests;
use crate::hermetic::Workspace;
use crate::process::{build_program, cargo_in, run_command};

/// What a newcomer reads first. The times are of a machine with two cores.
const PLAN: &str = "\
ARK demo. Two things are built from this checkout first: the six example agents, as WebAssembly components
(target/guests), and the program `ark`. From a clean clone that takes 10 to 30 minutes, most of it for wasmtime; the
next time it takes seconds. Then `ark demo` runs for about half a minute.
";

/// Builds the example agents and `ark`, and runs `ark demo`.
///
/// # Errors
/// A build fails, or the demo does.
pub fn run_demo(args: &[String]) -> Result<()> {
    println!("{PLAN}");
    let workspace = Workspace::find()?;
    println!("== 1 of 3: the example agents");
    guests::build_examples(&workspace)?;
    println!("== 2 of 3: the program `ark`");
    let ark = build_program(cargo_in(&workspace.root).args(["build", "--locked"]), "ark")?;
    println!("== 3 of 3: ark demo");
    run_command(Command::new(ark).arg("demo").args(args))
}
