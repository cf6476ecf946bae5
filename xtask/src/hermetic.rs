//! Builds whose bytes depend only on the source, the lock file and the toolchain.
//!
//! Nothing of the caller's environment reaches the compiler (flags, wrappers, profiles, another toolchain), and every path that
//! could appear in a binary (checkout, target directory, cargo's home, the toolchain's sources) is mapped to a fixed name.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::process::read_output;

/// The profile in the root Cargo.toml that guests are built with.
pub const PROFILE: &str = "guest";

/// A checkout of the workspace, and the home directory of the cargo that builds it.
pub struct Workspace {
    /// The directory of the root Cargo.toml.
    pub root: PathBuf,
    /// Cargo's home directory. Its registry must hold every dependency.
    pub cargo_home: PathBuf,
}

/// The compiler that rust-toolchain.toml selects.
pub struct Toolchain {
    /// The version, as `rustc -V` prints it.
    pub version: String,
    /// The platform that the compiler runs on.
    pub host: String,
    /// The directory of the toolchain.
    pub sysroot: PathBuf,
    commit: String,
}

/// A package built for a WebAssembly target.
pub struct Built {
    /// The directory of the package's Cargo.toml.
    pub directory: PathBuf,
    /// The file with the module or component.
    pub wasm: PathBuf,
}

impl Built {
    /// Returns the name of the package's directory.
    ///
    /// # Errors
    /// The name is not UTF-8.
    pub fn name(&self) -> Result<&str> {
        let name = self.directory.file_name().and_then(|name| name.to_str());
        name.context("the name of a guest's directory is not UTF-8")
    }
}

impl Workspace {
    /// Returns the checkout that xtask was built from.
    ///
    /// # Errors
    /// Neither `CARGO_HOME` nor `HOME` is set.
    pub fn find() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .parent()
            .context("xtask is not in a workspace")?
            .canonicalize()?;
        let cargo_home = match std::env::var_os("CARGO_HOME") {
            Some(home) => PathBuf::from(home),
            None => PathBuf::from(std::env::var_os("HOME").context("set CARGO_HOME or HOME")?)
                .join(".cargo"),
        };
        Ok(Self { root, cargo_home })
    }

    /// Returns the compiler that rust-toolchain.toml selects.
    ///
    /// # Errors
    /// `rustc` cannot be run, or `rustc -vV` lacks a line.
    pub fn toolchain(&self) -> Result<Toolchain> {
        let about = read_output(self.command("rustc").arg("-vV"))?;
        let line = |key: &str| {
            let value = about.lines().find_map(|line| line.strip_prefix(key));
            value
                .map(str::to_owned)
                .with_context(|| format!("`rustc -vV` prints no `{key}`"))
        };
        Ok(Toolchain {
            version: about.lines().next().unwrap_or_default().to_owned(),
            host: line("host: ")?,
            commit: line("commit-hash: ")?,
            sysroot: read_output(self.command("rustc").args(["--print", "sysroot"]))?
                .trim()
                .into(),
        })
    }

    /// Builds packages for a WebAssembly target below `target_dir`. Returns them in the order in which they were built.
    ///
    /// # Errors
    /// Cargo.lock is not up to date, the build fails, or a package does not yield exactly one `.wasm` file.
    pub fn build_packages(
        &self,
        packages: &[String],
        target: &str,
        target_dir: &Path,
    ) -> Result<Vec<Built>> {
        // A toolchain that was installed before this project was cloned may lack the target. Without rustup the target must be installed.
        let added = self
            .command("rustup")
            .args(["--quiet", "target", "add", target])
            .status();
        if let Ok(status) = added {
            ensure!(status.success(), "rustup could not add the target {target}");
        }
        // The registry's directories are mapped one by one, so they must exist before the flags are made.
        let fetched = self
            .command("cargo")
            .args(["fetch", "--quiet", "--locked", "--target", target])
            .status()?;
        ensure!(
            fetched.success(),
            "cargo fetch failed: is Cargo.lock up to date?"
        );
        let mut cargo = self.command("cargo");
        cargo.args([
            "build",
            "--locked",
            "--profile",
            PROFILE,
            "--target",
            target,
        ]);
        cargo
            .args([
                "--message-format",
                "json-render-diagnostics",
                "--target-dir",
            ])
            .arg(target_dir);
        for package in packages {
            cargo.args(["--package", package]);
        }
        cargo.env("CARGO_ENCODED_RUSTFLAGS", self.encode_flags(target_dir)?);
        let built: Vec<Built> = read_output(&mut cargo)?
            .lines()
            .filter_map(parse_artifact)
            .collect();
        ensure!(
            built.len() == packages.len(),
            "{} packages yielded {} .wasm files: each needs crate-type = [\"cdylib\"]",
            packages.len(),
            built.len()
        );
        Ok(built)
    }

    /// Returns name and version of every package that is linked into `package` for `target`, sorted.
    ///
    /// # Errors
    /// `cargo tree` fails.
    pub fn list_linked_packages(
        &self,
        package: &str,
        target: &str,
    ) -> Result<Vec<(String, String)>> {
        self.list_dependencies(package, target, &[])
    }

    /// As [`Workspace::list_linked_packages`], but only the packages that `package` names itself.
    ///
    /// # Errors
    /// `cargo tree` fails.
    pub fn list_direct_dependencies(
        &self,
        package: &str,
        target: &str,
    ) -> Result<Vec<(String, String)>> {
        self.list_dependencies(package, target, &["--depth", "1"])
    }

    /// Runs `cargo tree` with further arguments.
    fn list_dependencies(
        &self,
        package: &str,
        target: &str,
        more: &[&str],
    ) -> Result<Vec<(String, String)>> {
        let mut tree = self.command("cargo");
        tree.args([
            "tree",
            "--quiet",
            "--locked",
            "--package",
            package,
            "--target",
            target,
            "--prefix",
            "none",
        ]);
        tree.args(["--edges", "normal,no-proc-macro", "--format", "{p}"]);
        tree.args(more);
        let mut linked: Vec<(String, String)> = read_output(&mut tree)?
            .lines()
            .filter_map(|line| {
                let mut words = line.split(' ');
                Some((
                    words.next()?.to_owned(),
                    words.next()?.strip_prefix('v')?.to_owned(),
                ))
            })
            .collect();
        linked.sort();
        linked.dedup();
        Ok(linked)
    }

    /// Returns a command that runs in the checkout without the variables that change what the compiler is or does.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new(program);
        command.current_dir(&self.root);
        for (name, _) in
            std::env::vars_os().filter(|(name, _)| affects_compiler(&name.to_string_lossy()))
        {
            command.env_remove(name);
        }
        command.env("CARGO_HOME", &self.cargo_home);
        command
    }

    /// Returns an empty directory for a package of a test. It is in the checkout, so that its compiler is the checkout's.
    #[cfg(test)]
    pub fn create_test_directory(&self) -> tempfile::TempDir {
        let parent = self.root.join("target/tmp");
        std::fs::create_dir_all(&parent).unwrap();
        tempfile::tempdir_in(parent).unwrap()
    }

    /// Returns flags for the compiler, in the encoding of `CARGO_ENCODED_RUSTFLAGS`.
    fn encode_flags(&self, target_dir: &Path) -> Result<OsString> {
        let toolchain = self.toolchain()?;
        // Of several prefixes that match a path, the compiler takes the last.
        let mut mapped = vec![(self.root.clone(), "/ark".to_owned())];
        mapped.push((target_dir.to_owned(), "/target".to_owned()));
        mapped.push((self.cargo_home.clone(), "/cargo".to_owned()));
        let sources = self.cargo_home.join("registry/src");
        if sources.is_dir() {
            for registry in sources.read_dir()? {
                mapped.push((registry?.path(), "/registry".to_owned()));
            }
        }
        mapped.push((
            toolchain.sysroot.join("lib/rustlib/src/rust"),
            format!("/rustc/{}", toolchain.commit),
        ));
        let mut flags = OsString::new();
        for (from, to) in mapped {
            if !flags.is_empty() {
                flags.push("\u{1f}");
            }
            flags.push("--remap-path-prefix=");
            flags.push(from);
            flags.push("=");
            flags.push(to);
        }
        Ok(flags)
    }
}

/// Returns whether an environment variable may change what the compiler is or does. Of cargo's variables, those that say how it reaches
/// its registry, what it prints and how many processes it starts do not.
fn affects_compiler(name: &str) -> bool {
    let kept = [
        "CARGO_NET_",
        "CARGO_HTTP_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "CARGO_BUILD_JOBS",
        "RUSTUP_",
    ];
    name == "RUSTUP_TOOLCHAIN"
        || name == "SOURCE_DATE_EPOCH"
        || ((name.starts_with("CARGO") || name.starts_with("RUST"))
            && !kept.iter().any(|kept| name.starts_with(kept)))
}

/// Returns the package whose `.wasm` file a line of cargo's JSON output announces; `None` for other lines.
fn parse_artifact(line: &str) -> Option<Built> {
    #[derive(Deserialize)]
    struct CompilerArtifact {
        reason: String,
        manifest_path: PathBuf,
        filenames: Vec<PathBuf>,
    }
    let artifact: CompilerArtifact = serde_json::from_str(line).ok()?;
    let wasm = artifact.filenames.into_iter().find(|name| {
        name.extension()
            .is_some_and(|extension| extension == "wasm")
    })?;
    (artifact.reason == "compiler-artifact").then_some(())?;
    Some(Built {
        directory: artifact.manifest_path.parent()?.to_owned(),
        wasm,
    })
}
