//! `cargo xtask pgo`: builds the host for the load of the benchmark (profile-guided optimisation, as the rustc book describes it).
//!
//! The program is built twice with the release profile: with counters, which a run of the benchmark fills, and then by what they counted. What the run does
//! not reach is built to be small, so the run is the whole benchmark: decisions, invocations, starts, isolation and growth.
//!
//! Both are built by the compiler of the checkout, without the caller's flags, profiles and wrappers, as guests are ([`crate::hermetic`]): the program that
//! merges counters reads those of its own version only.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::bench;
use crate::files::remove_if_present;
use crate::hermetic::{Toolchain, Workspace};
use crate::process::{build_program, cargo_in, run_command, take_turn};

/// Where everything is written, from the root of the workspace.
const DIR: &str = "target/pgo";
/// The files of the counters: one for each process and program.
const COUNTER_FILES: &str = "%p-%m.profraw";

/// Builds the program twice, as the module says, and puts it at `target/pgo/ark`. There is none while this runs, nor after it failed.
///
/// # Errors
/// `RUSTFLAGS` or `CARGO_ENCODED_RUSTFLAGS` are set, the toolchain has no `llvm-profdata`, a build or the benchmark fails, or no counters were written.
pub fn build_guided_program() -> Result<()> {
    let workspace = Workspace::find()?;
    let root = &workspace.root;
    let _turn = take_turn(root, "pgo.lock")?;
    let dir = root.join(DIR);
    let program = dir.join("ark");
    remove_if_present(&program)?;
    for name in ["RUSTFLAGS", "CARGO_ENCODED_RUSTFLAGS"] {
        ensure!(
            std::env::var_os(name).is_none(),
            "{name} is set: unset it, this command needs flags of its own"
        );
    }
    let toolchain = workspace.toolchain()?;
    let profdata = install_profdata(&workspace, &toolchain)?;
    let counted = dir.join("counted");
    remove_if_present(&counted)?;
    fs::create_dir_all(&counted).with_context(|| counted.display().to_string())?;

    println!("== 1 of 3: the program with counters");
    let instrumented = build_instrumented(&workspace, &toolchain, &counted)?;
    println!(
        "== 2 of 3: the benchmark with this program; its figures do not show the speed of the host"
    );
    bench::build_guests(&workspace)?;
    let benchmark = build_program(cargo_in(root).args(["build", "--locked"]), "ark-bench")?;
    run_command(
        Command::new(benchmark)
            .current_dir(root)
            .args(["--quick", "--ark"])
            .arg(&instrumented)
            .env("LLVM_PROFILE_FILE", counted.join(COUNTER_FILES)),
    )?;
    println!("== 3 of 3: the program by what was counted");
    let profile = merge_counters(&profdata, &counted)?;
    let guided = build_guided(&workspace, &toolchain, &profile)?;
    let copy = dir.join("ark.partial");
    fs::copy(&guided, &copy).with_context(|| copy.display().to_string())?;
    fs::rename(&copy, &program).with_context(|| program.display().to_string())?;
    println!("{}", program.display());
    Ok(())
}

/// Installs the program of the toolchain that merges counters, where it is missing, and returns where it is. Each version of the compiler has its own form of
/// counters.
///
/// # Errors
/// It is missing, and rustup cannot add it or is not there.
pub fn install_profdata(workspace: &Workspace, toolchain: &Toolchain) -> Result<PathBuf> {
    let below = format!("lib/rustlib/{}/bin/llvm-profdata", toolchain.host);
    let path = toolchain.sysroot.join(below);
    if path.exists() {
        return Ok(path);
    }
    let mut rustup = workspace.command("rustup");
    let added = run_command(rustup.args(["--quiet", "component", "add", "llvm-tools"]));
    let remedy = || {
        let path = path.display();
        format!("{path} is missing: install the component llvm-tools of this toolchain")
    };
    added.with_context(remedy)?;
    ensure!(path.exists(), remedy());
    Ok(path)
}

fn build_instrumented(
    workspace: &Workspace,
    toolchain: &Toolchain,
    counted: &Path,
) -> Result<PathBuf> {
    let flag = format!("-Cprofile-generate={}", counted.display());
    build_ark(workspace, toolchain, "instrumented", &flag)
}

/// Builds `ark` by what was counted. Cargo builds again what was built by other counters: the compiler names the profile among the files that it read.
fn build_guided(workspace: &Workspace, toolchain: &Toolchain, profile: &Path) -> Result<PathBuf> {
    let flag = format!("-Cprofile-use={}", profile.display());
    build_ark(workspace, toolchain, "guided", &flag)
}

/// Builds `ark` with a further flag in a directory of its own. The platform is named, so that cargo builds what runs at build time without the flag.
fn build_ark(
    workspace: &Workspace,
    toolchain: &Toolchain,
    name: &str,
    flag: &str,
) -> Result<PathBuf> {
    let dir = workspace.root.join(DIR).join(name);
    let mut build = workspace.command("cargo");
    build.args(["build", "--release", "--locked", "--package", "ark-cli"]);
    build.args(["--target", &toolchain.host, "--target-dir"]);
    build.arg(&dir).env("CARGO_ENCODED_RUSTFLAGS", flag);
    build_program(&mut build, "ark")
}

/// Merges what was counted into one file, and removes the others.
fn merge_counters(profdata: &Path, counted: &Path) -> Result<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(counted).with_context(|| counted.display().to_string())? {
        let entry = entry.with_context(|| counted.display().to_string())?;
        files.push(entry.path());
    }
    ensure!(
        !files.is_empty(),
        "{} is empty: the instrumented program writes its counters when it ends, so see whether each of its processes ended by itself",
        counted.display()
    );
    files.sort();
    let profile = counted.join("merged.profdata");
    let mut merge = Command::new(profdata);
    merge.args(["merge", "--output"]).arg(&profile);
    run_command(merge.args(&files))?;
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

    /// The steps of [`build_guided_program`], with a small program and runs of it in place of the host and the benchmark.
    #[test]
    fn a_program_is_built_by_what_a_run_of_it_counted() {
        let mut workspace = Workspace::find().unwrap();
        let project = workspace.create_test_directory();
        let root = project.path();
        let manifest = "[package]\nname = \"ark-cli\"\nversion = \"0.0.0\"\nedition = \"2024\"\n[[bin]]\nname = \"ark\"\npath = \"main.rs\"\n[workspace]\n";
        fs::write(root.join("Cargo.toml"), manifest).unwrap();
        fs::write(root.join("main.rs"), PROGRAM).unwrap();
        let lock = "version = 4\n[[package]]\nname = \"ark-cli\"\nversion = \"0.0.0\"\n";
        fs::write(root.join("Cargo.lock"), lock).unwrap();
        workspace.root = root.to_owned();
        let toolchain = workspace.toolchain().unwrap();
        let profdata = install_profdata(&workspace, &toolchain).unwrap();
        let counted = root.join("counted");
        fs::create_dir(&counted).unwrap();

        let nothing = merge_counters(&profdata, &counted).unwrap_err();
        let nothing = nothing.to_string();
        assert!(nothing.contains("counted is empty"), "{nothing}");

        let instrumented = build_instrumented(&workspace, &toolchain, &counted).unwrap();
        let run_and_build = |argument: Option<&str>, printed: &str, counts: [&str; 2]| {
            let mut run = Command::new(&instrumented);
            run.env("LLVM_PROFILE_FILE", counted.join(COUNTER_FILES));
            assert_eq!(read_output(run.args(argument)).unwrap(), printed);
            let profile = merge_counters(&profdata, &counted).unwrap();
            let mut show = Command::new(&profdata);
            show.args(["show", "--all-functions", "--counts"]);
            let shown = read_output(show.arg(&profile)).unwrap();
            for (function, calls) in ["count_up", "count_down"].into_iter().zip(counts) {
                let (_, counts) = shown.split_once(function).expect(function);
                let counts = counts.lines().find(|line| line.contains("counts:"));
                assert!(counts.unwrap().ends_with(calls), "{function}:\n{shown}");
            }
            let guided = build_guided(&workspace, &toolchain, &profile).unwrap();
            let mut run = Command::new(&guided);
            assert_eq!(read_output(run.args(argument)).unwrap(), printed);
            fs::remove_file(&profile).unwrap();
            fs::read(&guided).unwrap()
        };
        let by_up = run_and_build(None, "6234\n", ["[1234]", "[0]"]);
        let by_down = run_and_build(Some("down"), "3766\n", ["[0]", "[1234]"]);
        let by_up_again = run_and_build(None, "6234\n", ["[1234]", "[0]"]);
        assert!(by_up != by_down, "the counters change the program");
        assert!(by_up == by_up_again, "nothing else does");

        let has_counters = |bytes: &[u8]| {
            let name = b"__llvm_prf_cnt";
            bytes.windows(name.len()).any(|window| window == name)
        };
        assert!(has_counters(&fs::read(&instrumented).unwrap()));
        assert!(!has_counters(&by_up) && !has_counters(&by_down));
    }
}
