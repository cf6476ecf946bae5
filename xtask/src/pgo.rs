//! `cargo xtask pgo`: builds the host for the load of the benchmark (profile-guided optimisation, as the rustc book describes it).
//!
//! The program is built twice with the release profile: with counters, which a run of the benchmark fills, and then by what they counted. What the run does
//! not reach is built to be small, so the run is the whole benchmark: decisions, invocations, starts, isolation and growth.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench;
use crate::graveyard::sha256_hex;
use crate::hermetic::{Toolchain, Workspace};
use crate::process::{cargo_in, run_command, take_turn};

/// Where everything is written, from the root of the workspace.
const DIR: &str = "target/pgo";
/// The files of the counters: one for each process and program.
const COUNTER_FILES: &str = "%p-%m.profraw";

/// Builds the program twice, as the module says, and copies it to `target/pgo/ark`.
///
/// # Errors
/// `RUSTFLAGS` are set, the toolchain has no `llvm-profdata`, a build or the benchmark fails, or no counters were written.
pub fn build_program() -> Result<()> {
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        ensure!(
            std::env::var_os(name).is_none(),
            "{name} is set: unset it, this command needs flags of its own"
        );
    }
    let workspace = Workspace::find()?;
    let toolchain = workspace.toolchain()?;
    let root = &workspace.root;
    let profdata = find_profdata(root, &toolchain)?;
    let _turn = take_turn(root, "pgo.lock")?;
    let dir = root.join(DIR);
    let counted = dir.join("counted");
    if counted.exists() {
        fs::remove_dir_all(&counted).with_context(|| counted.display().to_string())?;
    }
    fs::create_dir_all(&counted).with_context(|| counted.display().to_string())?;

    println!("== 1 of 3: the program with counters");
    let instrumented = build_instrumented(root, &toolchain, &counted)?;
    println!("== 2 of 3: a run of the benchmark, whose figures are those of the counters");
    bench::build_guests(&workspace)?;
    // Not where the caller builds: it is run from here.
    let mut build = cargo_in(root);
    build.args(["build", "--locked", "--bin", "ark-bench"]);
    for name in ["CARGO_TARGET_DIR", "CARGO_BUILD_TARGET"] {
        build.env_remove(name);
    }
    run_command(&mut build)?;
    run_command(
        Command::new(root.join("target/debug/ark-bench"))
            .current_dir(root)
            .args(["--quick", "--ark"])
            .arg(&instrumented)
            .env("LLVM_PROFILE_FILE", counted.join(COUNTER_FILES)),
    )?;
    println!("== 3 of 3: the program by what was counted");
    let profile = merge_counters(&profdata, &counted)?;
    let guided = build_guided(root, &toolchain, &profile)?;
    let program = dir.join("ark");
    fs::copy(&guided, &program).with_context(|| guided.display().to_string())?;
    println!("{}", program.display());
    Ok(())
}

/// Returns the program of the toolchain that merges counters: each version of the compiler has its own form of them. It is installed where it is missing.
fn find_profdata(root: &Path, toolchain: &Toolchain) -> Result<PathBuf> {
    let below = format!("lib/rustlib/{}/bin/llvm-profdata", toolchain.host);
    let path = toolchain.sysroot.join(below);
    if !path.exists() {
        let mut rustup = Command::new("rustup");
        rustup.args(["--quiet", "component", "add", "llvm-tools"]);
        run_command(rustup.current_dir(root))?;
    }
    ensure!(
        path.exists(),
        "{} is missing: install the component llvm-tools of this toolchain",
        path.display()
    );
    Ok(path)
}

fn build_instrumented(root: &Path, toolchain: &Toolchain, counted: &Path) -> Result<PathBuf> {
    let flag = format!("-Cprofile-generate={}", counted.display());
    build_ark(root, toolchain, "instrumented", &flag)
}

fn build_guided(root: &Path, toolchain: &Toolchain, profile: &Path) -> Result<PathBuf> {
    let flag = format!("-Cprofile-use={}", profile.display());
    build_ark(root, toolchain, "guided", &flag)
}

/// Builds `ark` with a further flag in a directory of its own. The platform is named, so that cargo builds what runs at build time without the flag.
fn build_ark(root: &Path, toolchain: &Toolchain, name: &str, flag: &str) -> Result<PathBuf> {
    let dir = root.join(DIR).join(name);
    let mut build = cargo_in(root);
    build.args(["build", "--release", "--locked"]);
    build.args(["--package", "ark-cli", "--bin", "ark"]);
    build.args(["--target", &toolchain.host, "--target-dir"]);
    run_command(build.arg(&dir).env("CARGO_ENCODED_RUSTFLAGS", flag))?;
    Ok(dir.join(&toolchain.host).join("release/ark"))
}

/// Merges what was counted into one file, and removes the others. The file is named by its digest: cargo builds again where a flag has changed, not where a file
/// has that the flag names.
fn merge_counters(profdata: &Path, counted: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(counted)? {
        files.push(entry?.path());
    }
    ensure!(
        !files.is_empty(),
        "{} is empty: the program wrote no counters when it ended",
        counted.display()
    );
    files.sort();
    let merged = counted.join("merged.profdata");
    let mut merge = Command::new(profdata);
    merge.args(["merge", "--output"]).arg(&merged);
    run_command(merge.args(&files))?;
    let content = fs::read(&merged).with_context(|| merged.display().to_string())?;
    let profile = counted.join(format!("{}.profdata", sha256_hex(&content)));
    fs::rename(&merged, &profile).with_context(|| profile.display().to_string())?;
    for file in &files {
        fs::remove_file(file).with_context(|| file.display().to_string())?;
    }
    Ok(profile)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::read_output;

    /// A program by the name of the host's, which counts up.
    const PROGRAM: &str = "
#[inline(never)]
fn count_up(from: u64) -> u64 { std::hint::black_box(from) + 1 }
#[inline(never)]
fn count_down(from: u64) -> u64 { std::hint::black_box(from) - 1 }
fn main() {
    let down = std::env::args().count() > 1;
    let end = (0..1234).fold(5000, |at, _| if down { count_down(at) } else { count_up(at) });
    println!(\"{end}\");
}";

    /// The steps of [`build_program`], with a small program and a run of it in place of the host and the benchmark.
    #[test]
    fn a_program_is_built_by_what_a_run_of_it_counted() {
        let project = tempfile::tempdir().unwrap();
        let root = project.path();
        let manifest = "[package]\nname = \"ark-cli\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[[bin]]\nname = \"ark\"\npath = \"main.rs\"\n[workspace]\n";
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        fs::write(root.join("main.rs"), PROGRAM).unwrap();
        let lock = "version = 4\n[[package]]\nname = \"ark-cli\"\nversion = \"0.0.0\"\n";
        fs::write(root.join("Cargo.lock"), lock).unwrap();
        let workspace = Workspace::find().unwrap();
        let toolchain = workspace.toolchain().unwrap();
        let profdata = find_profdata(&workspace.root, &toolchain).unwrap();
        let counted = root.join("counted");
        fs::create_dir(&counted).unwrap();

        let nothing = merge_counters(&profdata, &counted).unwrap_err();
        let nothing = nothing.to_string();
        assert!(nothing.contains("wrote no counters"), "{nothing}");

        let instrumented = build_instrumented(root, &toolchain, &counted).unwrap();
        let mut run = Command::new(&instrumented);
        run.env("LLVM_PROFILE_FILE", counted.join(COUNTER_FILES));
        assert_eq!(read_output(&mut run).unwrap(), "6234\n");
        let profile = merge_counters(&profdata, &counted).unwrap();
        let mut show = Command::new(&profdata);
        show.args(["show", "--all-functions", "--counts"]);
        let shown = read_output(show.arg(&profile)).unwrap();
        for (function, calls) in [("count_up", "[1234]"), ("count_down", "[0]")] {
            let (_, counts) = shown.split_once(function).expect(function);
            let counts = counts.lines().find(|line| line.contains("counts:"));
            assert!(counts.unwrap().ends_with(calls), "{function}:\n{shown}");
        }

        let guided = build_guided(root, &toolchain, &profile).unwrap();
        let has_counters = |program: &Path| {
            let bytes = fs::read(program).unwrap();
            bytes.windows(14).any(|window| window == b"__llvm_prf_cnt")
        };
        assert!(has_counters(&instrumented));
        assert!(!has_counters(&guided));
        let mut run = Command::new(&guided);
        assert_eq!(read_output(&mut run).unwrap(), "6234\n");
    }
}
