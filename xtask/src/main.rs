//! Tasks for developers: `cargo xtask <command>`.

mod bench;
mod demo;
mod dist;
mod files;
mod fuzz;
mod graveyard;
mod guests;
mod handwritten;
mod hermetic;
mod image;
mod lint;
mod pgo;
mod process;
mod python;
mod structure;
mod test;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::hermetic::Workspace;
use crate::process::{cargo_in, run_command};

/// Tasks for developers of ARK.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Measures the host against the goals of its design and prints a table.
    Bench(bench::BenchArgs),
    /// Writes the SDK's bindings of ARK's worlds from the WIT.
    Bindings,
    /// Builds the example agents and `ark`, and runs the demo.
    Demo {
        /// Arguments for `ark demo`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
    /// Writes what operators install to target/dist: a Debian package, a tarball, a list of all parts, checksums; installs cargo-deb and
    /// cargo-sbom below target/tools where they are missing.
    Dist(dist::DistArgs),
    /// Fuzzes the code that reads untrusted bytes; installs cargo-fuzz where it is missing. Needs a C++ compiler.
    Fuzz(fuzz::FuzzArgs),
    /// Builds the Graveyard from source and pins it: writes policies/graveyard.wasm and policies/graveyard.lock.
    Graveyard(graveyard::GraveyardArgs),
    /// Builds agents and operator policies: the examples into target/guests and target/policies, and those of the tests.
    Guests,
    /// Builds the container image of Dockerfile.arch by buildah or podman, for one platform, and pushes it where that is asked for.
    Image(image::ImageArgs),
    /// Checks the spelling, shell scripts, and the dependencies: licences, versions, sources, and whether they are used.
    Lint,
    /// Builds `ark` with profile-guided optimisation into target/pgo/ark: two release builds, with a run of the benchmark between them.
    Pgo,
    /// Checks the host's structure: no circle of files, no import against the order of its layers.
    Structure,
    /// Builds everything and runs every test.
    Test {
        /// Arguments for the test runner: cargo-nextest where it is installed, otherwise `cargo test`.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        args: Vec<String>,
    },
}

fn main() -> Result<()> {
    match Cli::parse().command {
        Command::Bench(args) => bench::run_benchmark(&args),
        Command::Bindings => {
            let root = Workspace::find()?.root;
            let mut generator = cargo_in(&root);
            run_command(
                generator
                    .args(["run", "--package", "ark-bindings", "--"])
                    .arg(&root),
            )
        }
        Command::Demo { args } => demo::run_demo(&args),
        Command::Dist(args) => dist::build_distribution(&args),
        Command::Fuzz(args) => fuzz::run_fuzzers(&args),
        Command::Graveyard(args) => graveyard::run_graveyard(&args),
        Command::Image(args) => image::build_image(&args),
        Command::Guests => guests::build_all(&Workspace::find()?),
        Command::Lint => lint::run_linters(),
        Command::Pgo => pgo::build_guided_program(),
        Command::Structure => structure::check_structure(&Workspace::find()?.root),
        Command::Test { args } => test::run_tests(&args),
    }
}
