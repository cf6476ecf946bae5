//! `cargo xtask graveyard`: builds the Graveyard, pins it, and proves that the pinned bytes come from the source.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use sha2::{Digest, Sha256};

use crate::hermetic::{PROFILE, Workspace};

/// The name of its package.
pub const PACKAGE: &str = "ark-graveyard";
/// The compilation target of policies.
pub const TARGET: &str = "wasm32-unknown-unknown";
/// The package that makes the module a component: its version is part of the pin.
const COMPONENTIZE: &str = "ark-componentize";
const MODULE: &str = "policies/graveyard.wasm";
const LOCK: &str = "policies/graveyard.lock";
/// Where the modules of earlier releases are kept.
const RELEASED: &str = "policies/released";
const VECTORS: &str = "policies/graveyard/vectors.json";

/// Arguments of `cargo xtask graveyard`.
#[derive(clap::Args)]
pub struct GraveyardArgs {
    /// Write nothing: rebuild from source, apart from earlier builds, and compare with the pinned module.
    #[arg(long)]
    verify: bool,
    /// Rebuild from a copy of the source at another path, with cargo's home at another path.
    #[arg(long, requires = "verify")]
    relocated: bool,
}

/// What is read from policies/graveyard.lock.
#[derive(Deserialize)]
struct Lock {
    sha256: String,
    size: u64,
    toolchain: String,
    host: String,
}

/// Builds and pins the Graveyard, or verifies the pin.
///
/// # Errors
/// The build fails; or, when verifying, the module, the lock and the source do not agree.
pub fn run_graveyard(args: &GraveyardArgs) -> Result<()> {
    let workspace = Workspace::find()?;
    match (args.verify, args.relocated) {
        (false, _) => write_pin(&workspace),
        (true, false) => {
            // Not the directory that `write_pin` builds in, and emptied, so that nothing of an earlier build is reused.
            let target_dir = workspace.root.join("target/graveyard-verify");
            if target_dir.exists() {
                fs::remove_dir_all(&target_dir)?;
            }
            verify_pin(&workspace, &workspace, &target_dir)
        }
        (true, true) => {
            let elsewhere = tempfile::Builder::new()
                .prefix("ark-elsewhere-")
                .tempdir()?;
            let copy = relocate_workspace(&workspace, elsewhere.path())?;
            verify_pin(&workspace, &copy, &elsewhere.path().join("out"))
        }
    }
}

/// Builds the Graveyard's component, with its test vectors, below `target_dir`.
fn build_component(workspace: &Workspace, target_dir: &Path) -> Result<Vec<u8>> {
    let vectors = fs::read(workspace.root.join(VECTORS)).context(VECTORS)?;
    let read: Vec<serde_json::Value> =
        serde_json::from_slice(&vectors).with_context(|| format!("{VECTORS} is no array"))?;
    ensure!(!read.is_empty(), "{VECTORS} is empty");
    let built = workspace.build_packages(&[PACKAGE.to_owned()], TARGET, target_dir)?;
    let [built] = built.as_slice() else {
        bail!("{PACKAGE} is one package")
    };
    ark_componentize::build_policy_component(&fs::read(&built.wasm)?, &vectors).context(PACKAGE)
}

fn write_pin(workspace: &Workspace) -> Result<()> {
    let module = build_component(workspace, &workspace.root.join("target/graveyard"))?;
    let lock = render_lock(workspace, &module)?;
    keep_release(workspace, &lock)?;
    replace_file(&workspace.root.join(MODULE), &module, 0o444)?;
    replace_file(&workspace.root.join(LOCK), lock.as_bytes(), 0o644)?;
    println!(
        "{MODULE}: {} bytes, sha256 {}",
        module.len(),
        sha256_hex(&module)
    );
    Ok(())
}

/// Keeps the module and the lock that are about to be replaced, when the new ones are of another version: decisions that the old module judged
/// are replayed with it. Within a version nothing is kept, since only the last module of it is released.
fn keep_release(workspace: &Workspace, new_lock: &str) -> Result<()> {
    #[derive(Deserialize)]
    struct Version {
        version: String,
    }
    let (module, lock) = (workspace.root.join(MODULE), workspace.root.join(LOCK));
    if !module.exists() || !lock.exists() {
        return Ok(());
    }
    let old_lock = fs::read_to_string(&lock).context(LOCK)?;
    let old: Version = toml::from_str(&old_lock).context(LOCK)?;
    let new: Version = toml::from_str(new_lock)?;
    if old.version == new.version {
        return Ok(());
    }
    let kept = workspace.root.join(RELEASED);
    fs::create_dir_all(&kept)?;
    let name = format!("graveyard-{}", old.version);
    replace_file(
        &kept.join(format!("{name}.wasm")),
        &fs::read(&module).context(MODULE)?,
        0o444,
    )?;
    replace_file(
        &kept.join(format!("{name}.lock")),
        old_lock.as_bytes(),
        0o644,
    )?;
    println!("{RELEASED}/{name}.wasm: kept for decisions that it judged");
    Ok(())
}

/// Compares the module that `pinned` holds with what `source` builds.
fn verify_pin(pinned: &Workspace, source: &Workspace, target_dir: &Path) -> Result<()> {
    let path = pinned.root.join(MODULE);
    let module = fs::read(&path).context(MODULE)?;
    let lock: Lock =
        toml::from_str(&fs::read_to_string(pinned.root.join(LOCK)).context(LOCK)?).context(LOCK)?;
    let digest = sha256_hex(&module);
    ensure!(
        lock.sha256 == digest && lock.size == module.len() as u64,
        "{MODULE} is not what {LOCK} pins: {} bytes, sha256 {digest}; pinned {} bytes, sha256 {}",
        module.len(),
        lock.size,
        lock.sha256
    );
    let toolchain = source.toolchain()?;
    ensure!(
        lock.toolchain == toolchain.version,
        "{LOCK} was made with `{}`, this is `{}`: install the pinned toolchain",
        lock.toolchain,
        toolchain.version
    );
    let rebuilt = build_component(source, target_dir)?;
    if rebuilt != module {
        let at = rebuilt
            .iter()
            .zip(&module)
            .take_while(|(a, b)| a == b)
            .count();
        let rebuilt_at = target_dir.join("graveyard.wasm");
        // A temporary directory is removed at the end: a file in it would be of no use.
        if target_dir.starts_with(&pinned.root) {
            fs::write(&rebuilt_at, &rebuilt)?;
        }
        bail!(
            "{} builds another module: {} bytes, sha256 {}, pinned {} bytes, sha256 {digest}; they differ from byte {at} on. \
             The pin was made on {}, this is {}. If the source was meant to change, pin it with `cargo xtask graveyard`",
            source.root.display(),
            rebuilt.len(),
            sha256_hex(&rebuilt),
            module.len(),
            lock.host,
            toolchain.host,
        );
    }
    // After the bytes agree, so must what the lock says of how they were made.
    let described = render_lock(pinned, &module)?;
    ensure!(
        fs::read_to_string(pinned.root.join(LOCK))? == described || lock.host != toolchain.host,
        "the bytes agree, but {LOCK} does not describe how they are made; it should read:\n{described}"
    );
    println!(
        "{MODULE}: {} builds the pinned bytes, sha256 {digest}",
        source.root.display()
    );
    if fs::metadata(&path)?.permissions().mode() & 0o222 != 0 {
        println!(
            "note: {MODULE} carries a write bit; a host that loads it from the file refuses it until `chmod 0444 {MODULE}`"
        );
    }
    Ok(())
}

/// Returns the text of policies/graveyard.lock for a module.
fn render_lock(workspace: &Workspace, module: &[u8]) -> Result<String> {
    let toolchain = workspace.toolchain()?;
    let mut linked = workspace.list_linked_packages(PACKAGE, TARGET)?;
    let version_of = |linked: &[(String, String)], name: &str| {
        let found = linked.iter().find(|(package, _)| package == name);
        found
            .map(|(_, version)| version.clone())
            .with_context(|| format!("{PACKAGE} does not depend on {name}"))
    };
    let version = version_of(&linked, PACKAGE)?;
    let sdk = version_of(&linked, "ark-guest")?;
    linked.retain(|(name, _)| name != PACKAGE && name != "ark-guest");
    let tools = workspace.list_direct_dependencies(COMPONENTIZE, &toolchain.host)?;
    linked.extend(
        tools
            .into_iter()
            .filter(|(name, _)| matches!(name.as_str(), "wasm-encoder" | "wit-component")),
    );
    let mut lock = format!(
        "# The pin of policies/graveyard.wasm, which is compiled into the host. Written by `cargo xtask graveyard`, proved by\n\
         # `cargo xtask graveyard --verify`.\n\
         version = \"{version}\"\n\
         sha256 = \"{}\"\n\
         size = {}\n\
         toolchain = \"{}\"\n\
         host = \"{}\"\n\
         target = \"{TARGET}\"\n\
         profile = \"{PROFILE}\"\n\
         sdk = \"{sdk}\"\n\n\
         # What is linked in, and what made the module a component.\n\
         [dependencies]\n",
        sha256_hex(module),
        module.len(),
        toolchain.version,
        toolchain.host,
    );
    for (name, version) in linked {
        writeln!(lock, "{name} = \"{version}\"")?;
    }
    Ok(lock)
}

/// Replaces a file in one step, so that a reader sees the old content or the new content.
fn replace_file(path: &Path, bytes: &[u8], mode: u32) -> Result<()> {
    let directory = path.parent().context("the path has no directory")?;
    let mut file = tempfile::NamedTempFile::new_in(directory)?;
    file.write_all(bytes)?;
    file.as_file()
        .set_permissions(fs::Permissions::from_mode(mode))?;
    file.as_file().sync_all()?;
    file.persist(path)
        .with_context(|| path.display().to_string())?;
    Ok(())
}

/// Copies the source to another path, and gives cargo's home another path by symbolic links.
fn relocate_workspace(workspace: &Workspace, elsewhere: &Path) -> Result<Workspace> {
    let root = elsewhere.join("some/other/checkout");
    copy_sources(&workspace.root, &root)?;
    let cargo_home = elsewhere.join("cargo");
    fs::create_dir(&cargo_home)?;
    for name in ["registry", "config.toml"] {
        let original = workspace.cargo_home.join(name);
        if original.exists() {
            std::os::unix::fs::symlink(original, cargo_home.join(name))?;
        }
    }
    Ok(Workspace { root, cargo_home })
}

/// Copies a directory without `target` and `.git`.
fn copy_sources(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (name, source) = (entry.file_name(), entry.path());
        if name == "target" || name == ".git" {
            continue;
        }
        let target: PathBuf = to.join(&name);
        if entry.file_type()?.is_dir() {
            copy_sources(&source, &target)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(&source, &target).with_context(|| source.display().to_string())?;
        }
    }
    Ok(())
}

/// Returns the SHA-256 digest in lower-case hexadecimal digits.
pub fn sha256_hex(bytes: &[u8]) -> String {
    format!("{:x}", Sha256::digest(bytes))
}
