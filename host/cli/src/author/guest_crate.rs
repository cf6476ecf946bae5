//! The crate of a guest, agent or policy: made from a template, tested, built for WebAssembly.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;
use ark_model::ids::Name;
use clap::Args;
use clap::builder::{PathBufValueParser, TypedValueParser};

use crate::built::find_project;
use crate::output::print_line;

use super::child::{TOOL_TIMEOUT, wait_within};
use super::template::{self, TemplateFile};
use super::toolchain::Language;

/// What kind of guest a crate is.
#[derive(Debug, Clone, Copy)]
pub(crate) enum GuestKind {
    Agent,
    Policy,
}

impl GuestKind {
    /// The name of the kind, which is also its command.
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Policy => "policy",
        }
    }
}

/// Which crate is made.
#[derive(Debug, Args)]
pub(crate) struct NewCrateArgs {
    /// The name of the guest, and of its directory unless --dir gives another.
    name: Name,
    /// The SDK: the directory `guest-sdk` of ARK's sources.
    #[arg(long, env = "ARK_SDK", value_name = "DIR")]
    sdk: PathBuf,
    /// The directory to make.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// The crate that a command works on.
#[derive(Debug, Args)]
pub(crate) struct CrateArgs {
    /// The directory of the project, or its manifest.
    #[arg(default_value = ".", value_parser = PathBufValueParser::new().map(|dir| find_project(&dir)))]
    pub(super) dir: PathBuf,
}

/// Which agent is made.
#[derive(Debug, Args)]
pub(crate) struct NewAgentArgs {
    /// The name of the agent, and of its directory unless --dir gives another.
    name: Name,
    /// The language.
    #[arg(long, value_enum, default_value = "rust")]
    lang: Language,
    /// Of an agent in Rust: the SDK, which is the directory `guest-sdk` of ARK's sources. For the other languages the SDK is in this program.
    #[arg(long, env = "ARK_SDK", value_name = "DIR")]
    sdk: Option<PathBuf>,
    /// The directory to make.
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl NewAgentArgs {
    /// Writes the project of a working agent.
    ///
    /// # Errors
    /// The directory is there, or a file cannot be written; of an agent in Rust, the SDK is not there.
    pub(super) fn write_project(self) -> anyhow::Result<()> {
        let Self {
            name,
            lang,
            sdk,
            dir,
        } = self;
        match (lang, sdk) {
            (Language::Rust, Some(sdk)) => {
                let new = NewCrateArgs { name, sdk, dir };
                new.write_template(GuestKind::Agent, &template::RUST)
            }
            (Language::Rust, None) => {
                anyhow::bail!("give --sdk: the directory guest-sdk of ARK's sources")
            }
            (Language::Python, _) => {
                write_files(&name, dir, GuestKind::Agent, "", &template::PYTHON)
            }
            (Language::Javascript, _) => {
                write_files(&name, dir, GuestKind::Agent, "", &template::JAVASCRIPT)
            }
        }
    }
}

impl NewCrateArgs {
    /// Writes the files of a template, each a path and its text, in which `{{name}}`, `{{package}}` and `{{sdk}}` are filled in.
    ///
    /// # Errors
    /// The SDK is not there, the crate's directory is, or a file cannot be written.
    pub(super) fn write_template(
        &self,
        kind: GuestKind,
        template: &[TemplateFile],
    ) -> anyhow::Result<()> {
        let sdk = self
            .sdk
            .canonicalize()
            .with_context(|| format!("the SDK {}", self.sdk.display()))?;
        let manifest = std::fs::read_to_string(sdk.join("Cargo.toml")).unwrap_or_default();
        anyhow::ensure!(
            manifest.contains("name = \"ark-guest\""),
            "{} is not the SDK; give the directory guest-sdk of ARK's sources",
            sdk.display()
        );
        let sdk = sdk
            .to_str()
            .context("the path of the SDK is not UTF-8; move the SDK")?
            .replace('\\', "\\\\")
            .replace('"', "\\\"");
        write_files(&self.name, self.dir.clone(), kind, &sdk, template)
    }
}

/// Writes the files of a template into a new directory. They are written beside it first, so that it is there with all its files or not at all.
fn write_files(
    name: &Name,
    dir: Option<PathBuf>,
    kind: GuestKind,
    sdk: &str,
    template: &[TemplateFile],
) -> anyhow::Result<()> {
    let dir = dir.unwrap_or_else(|| PathBuf::from(name.as_str()));
    anyhow::ensure!(
        !dir.exists(),
        "{} exists already; give another --dir",
        dir.display()
    );
    // The name of a package may not begin with a digit, and has no dots.
    let package = name
        .as_str()
        .replace(|c: char| !c.is_ascii_alphanumeric(), "-");
    let package = format!("{}-{package}", kind.as_str());
    let fill = |text: &str| {
        text.replace("{{name}}", name.as_str())
            .replace("{{package}}", &package)
            .replace("{{sdk}}", sdk)
    };
    let parent = dir
        .parent()
        .filter(|parent| !parent.as_os_str().is_empty())
        .unwrap_or_else(|| Path::new("."));
    std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
    let scratch = tempfile::Builder::new()
        .prefix(".ark-new-")
        .tempdir_in(parent)
        .with_context(|| parent.display().to_string())?;
    let made = scratch.path().join("project");
    for (file, text) in template {
        let file = made.join(fill(file));
        if let Some(parent) = file.parent() {
            std::fs::create_dir_all(parent).with_context(|| parent.display().to_string())?;
        }
        std::fs::write(&file, fill(text)).with_context(|| file.display().to_string())?;
    }
    std::fs::rename(&made, &dir).with_context(|| dir.display().to_string())?;
    let (kind, dir) = (kind.as_str(), dir.display());
    print_line!("made the {kind} {name} in {dir}; next: ark {kind} test {dir}");
    Ok(())
}

/// Runs the crate's own tests.
pub(super) fn run_tests(dir: &Path) -> anyhow::Result<()> {
    run_cargo(dir, &["test"])
}

/// Builds the crate's library for a target and returns the bytes of its module or component.
pub(super) fn build_library(dir: &Path, target: &str) -> anyhow::Result<Vec<u8>> {
    let out = dir.join("target");
    // Cargo runs in the crate's directory, so a relative path starts there.
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
    .with_context(|| {
        format!(
            "building for {target} failed; if the target is missing: rustup target add {target}"
        )
    })?;
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

/// Writes a file into the crate's directory `dist`, which is made if it is missing, and returns its path.
pub(super) fn write_dist(dir: &Path, file: &str, content: &[u8]) -> anyhow::Result<PathBuf> {
    let dist = dir.join("dist");
    std::fs::create_dir_all(&dist).with_context(|| dist.display().to_string())?;
    let path = dist.join(file);
    std::fs::write(&path, content).with_context(|| path.display().to_string())?;
    Ok(path)
}

/// The name that cargo gives the library's file.
fn library_name(dir: &Path) -> anyhow::Result<String> {
    let path = dir.join("Cargo.toml");
    let text = std::fs::read_to_string(&path).with_context(|| path.display().to_string())?;
    let table: toml::Table = toml::from_str(&text).with_context(|| path.display().to_string())?;
    let name = |part: &str| table.get(part)?.get("name")?.as_str();
    let name = name("lib")
        .or_else(|| name("package"))
        .with_context(|| format!("{} names no package", path.display()))?;
    Ok(name.replace('-', "_"))
}

fn run_cargo(dir: &Path, args: &[&str]) -> anyhow::Result<()> {
    let program = std::env::var_os("CARGO")
        .filter(|program| !program.is_empty())
        .unwrap_or_else(|| "cargo".into());
    let mut child = Command::new(program)
        .args(args)
        .current_dir(dir)
        .spawn()
        .context("cargo cannot be started; install Rust (https://rustup.rs)")?;
    let status = wait_within(&mut child, TOOL_TIMEOUT, "cargo")?;
    anyhow::ensure!(
        status.success(),
        "cargo {} failed",
        args.first().unwrap_or(&"")
    );
    Ok(())
}
