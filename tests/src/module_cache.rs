//! Compiled modules that hosts of tests start with.
//!
//! In a new data directory a host compiles the Graveyard, its probes, its agents and its policies, which takes it several seconds of CPU time in a debug
//! build. Nearly every test starts such a host. One host compiles them for all tests; each other host gets a copy of that cache in its new
//! data directory. An entry is found by the digest of its module, so a copy changes nothing but the time.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use crate::artefacts::{
    ark_program, checkout_path, copy_agent, guests_dir, hostile_guests_dir, policies_dir,
};
use crate::encoding::sha256;
use crate::host::Host;

/// Hostile agents that a host loads.
const HOSTILE: [&str; 5] = ["chaos", "files", "forger", "proposer", "spammer"];

/// Copies the compiled modules into a data directory that has none yet. A data directory that is no directory, or stands in none, is left
/// as it is.
///
/// # Panics
/// The modules cannot be compiled or copied.
pub fn seed_module_cache(data_dir: &Path) {
    let cache = data_dir.join("cache");
    if cache.exists() || !data_dir.parent().is_some_and(Path::is_dir) {
        return;
    }
    match make_dir(data_dir) {
        Ok(()) => {}
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists && data_dir.is_dir() => {}
        Err(_) => return,
    }
    copy_module_cache(&cache);
}

/// Copies the compiled modules to a directory that is not there yet, as a front takes them with `--cache-dir`.
///
/// # Panics
/// The modules cannot be compiled or copied.
pub(crate) fn copy_module_cache(cache: &Path) {
    static COMPILED: OnceLock<PathBuf> = OnceLock::new();
    copy_dir(COMPILED.get_or_init(find_or_compile), cache).expect("a copy of the module cache");
}

/// Returns the directory with the modules that this build's `ark` has compiled; compiles them if no process of the tests has.
fn find_or_compile() -> PathBuf {
    let root = checkout_path("target/tmp/module-cache");
    fs::create_dir_all(&root).expect("target/tmp");
    let lock = File::create(root.join("lock")).expect("a lock file");
    lock.lock().expect("the lock");
    let program = fs::metadata(ark_program()).expect("ark is built");
    let name = format!("{}-{}", program.mtime(), program.mtime_nsec());
    let compiled = root.join(&name);
    if !compiled.is_dir() {
        for entry in fs::read_dir(&root).expect("target/tmp").flatten() {
            // Those of an earlier build.
            let _ = fs::remove_dir_all(entry.path());
        }
        let dir = tempfile::tempdir_in(&root).expect("a directory");
        compile_modules(dir.path());
        fs::rename(dir.path().join("data/cache"), &compiled).expect("a module cache");
    }
    compiled
}

/// Runs a host with the agents and operator policies that most tests use in `dir` until it is ready. Its cache is `data/cache`.
fn compile_modules(dir: &Path) {
    let agents = dir.join("agents");
    fs::create_dir(&agents).expect("a directory");
    for entry in fs::read_dir(guests_dir()).expect("agents").flatten() {
        if let Some(name) = entry
            .file_name()
            .to_str()
            .and_then(|n| n.strip_suffix(".wasm"))
        {
            copy_agent(&guests_dir(), name, &agents);
        }
    }
    for name in HOSTILE {
        copy_agent(&hostile_guests_dir(), name, &agents);
    }
    let config = dir.join("ark.toml");
    fs::write(&config, declare_policies()).expect("a configuration");
    let data = dir.join("data");
    make_dir(&data).expect("a data directory");
    make_dir(&data.join("cache")).expect("a directory");
    let path = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let arguments = [
        "--config".to_owned(),
        path(&config),
        "--agents".to_owned(),
        path(&agents),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let host = Host::start(&data, &arguments);
    assert_eq!(host.terminate(), Some(0));
}

/// A configuration with the operator policies that most tests use.
fn declare_policies() -> String {
    let declarations = ["market-hours", "symbol-allowlist"].map(|name| {
        let file = policies_dir().join(name).with_extension("wasm");
        let digest = sha256(&fs::read(&file).expect("a policy"));
        format!(
            "[[policies]]\nfile = \"{}\"\nsha256 = \"{digest}\"\nmode = \"shadow\"\n",
            file.display()
        )
    });
    declarations.concat()
}

fn make_dir(dir: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(dir)
}

fn copy_dir(from: &Path, to: &Path) -> io::Result<()> {
    make_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy_dir(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
