//! The crate of a guest, agent or policy: made from a template, tested, built for WebAssembly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use clap::Args;

use ark_model::ids::Name;

/// What is made.
#[derive(Debug, Args)]
pub(super) struct NewCrateArgs {
    /// Its name; also that of its directory, unless --dir says another.
    pub(super) name: Name,
    /// The SDK: the directory `guest-sdk` of ARK's sources.
    #[arg(long, env = "ARK_SDK", value_name = "DIR")]
    sdk: PathBuf,
    /// Where the crate goes.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl NewCrateArgs {
    /// Writes the files of a template, each a path and its text, in which `{{name}}`, `{{crate}}` and `{{sdk}}` are filled in. Returns the
    /// crate's directory. `kind` begins the name of the package.
    pub(super) fn write_template(
        &self,
        kind: &str,
        template: &[(&str, &str)],
    ) -> anyhow::Result<PathBuf> {
        let dir = self
            .dir
            .clone()
            .unwrap_or_else(|| PathBuf::from(self.name.as_str()));
        let sdk = self
            .sdk
            .canonicalize()
            .with_context(|| format!("the SDK {}", self.sdk.display()))?;
        let its = std::fs::read_to_string(sdk.join("Cargo.toml")).unwrap_or_default();
        anyhow::ensure!(
            its.contains("name = \"ark-guest\""),
            "{} is not the SDK: give the directory guest-sdk of ARK's sources",
            sdk.display()
        );
        anyhow::ensure!(
            !dir.exists(),
            "{} is there already; name another --dir",
            dir.display()
        );
        let sdk = sdk
            .to_str()
            .context("the SDK's path is not UTF-8; put it elsewhere")?
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        // A crate's name may not begin with a digit, and has no dots.
        let package = self
            .name
            .as_str()
            .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
        let package = format!("{kind}-{package}");
        let filled = |text: &str| {
            text.replace("{{name}}", self.name.as_str())
                .replace("{{crate}}", &package)
                .replace("{{sdk}}", &sdk)
        };
        for (file, text) in template {
            let file = dir.join(filled(file));
            if let Some(parent) = file.parent() {
                std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
            }
            std::fs::write(&file, filled(text)).with_context(|| file.display().to_string())?;
        }
        println!(
            "{} is {}; next: ark {kind} test {}",
            dir.display(),
            if kind == "agent" {
                "an agent"
            } else {
                "a policy"
            },
            dir.display()
        );
        Ok(dir)
    }
}

/// Runs a crate's own tests.
pub(super) fn run_tests(dir: &Path) -> anyhow::Result<()> {
    run_cargo(dir, &["test"])
}

/// Builds a crate's library for a target; the bytes of its module or component.
pub(super) fn build_library(dir: &Path, target: &str) -> anyhow::Result<Vec<u8>> {
    let out = dir.join("target");
    // Relative paths are the crate's, since cargo runs in it.
    let target_dir = if dir.is_absolute() {
        out.to_str().context("the path is not UTF-8")?
    } else {
        "target"
    };
    run_cargo(
        dir,
        &[
            "build",
            "--release",
            "--lib",
            "--target",
            target,
            "--target-dir",
            target_dir,
        ],
    )
    .with_context(|| format!("for {target}: rustup target add {target}"))?;
    let library = library_name(dir)?;
    let wasm = out
        .join(target)
        .join("release")
        .join(format!("{library}.wasm"));
    std::fs::read(&wasm).with_context(|| {
        format!(
            "{} was not built; Cargo.toml needs [lib] crate-type = [\"cdylib\", \"rlib\"]",
            wasm.display()
        )
    })
}

/// The name that cargo gives the library's file.
fn library_name(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let name = |part: &str| table.get(part)?.get("name")?.as_str();
    let name = name("lib")
        .or_else(|| name("package"))
        .with_context(|| format!("{}: no package name", path.display()))?;
    Ok(name.replace('-', "_"))
}

fn run_cargo(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(program)
        .args(args)
        .current_dir(dir)
        .status()
        .context("cargo cannot be started; install Rust (https://rustup.rs)")?;
    anyhow::ensure!(
        status.success(),
        "cargo {} failed",
        args.first().unwrap_or(&"")
    );
    Ok(())
}
