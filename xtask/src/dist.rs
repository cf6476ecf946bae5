//! `cargo xtask dist`: what operators install: a Debian package and a tarball, with a list of all that is in the program and checksums.
//!
//! The files depend on the program, the sources and `SOURCE_DATE_EPOCH` alone.

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::graveyard::sha256_hex;
use crate::hermetic::Workspace;
use crate::process::{self, cargo_in, read_output, run_command, take_turn};

/// Where everything is written by default, from the root of the workspace.
const DIST: &str = "target/dist";
/// What is packed is put here first, from the root of the workspace; the assets of the package (host/cli/Cargo.toml) are taken from here.
const STAGE: &str = "target/dist-stage";
/// The scripts that dpkg runs are put here, from the root of the workspace: beside the stage, since the tarball has none.
const SCRIPTS: &str = "target/dist-scripts";
/// Where they come from, from the root of the workspace, and which of them there are.
const SCRIPT_SOURCES: (&str, [&str; 3]) = ("deploy/debian", ["preinst", "postinst", "prerm"]);
/// What stands in a script for the digest of a file of the stage: mark and file.
const DIGESTS: [(&str, &str); 2] = [
    ("@PROGRAM_SHA256@", "ark"),
    ("@GRAVEYARD_SHA256@", "graveyard.wasm"),
];
/// The commands of cargo that are used, below a directory of their own ([`TOOLS_DIR`]), so that every machine packs with the same ones.
const TOOLS: [Tool; 2] = [CARGO_DEB, CARGO_SBOM];
const CARGO_DEB: Tool = Tool {
    name: "cargo-deb",
    subcommand: "deb",
    version: "3.8.0",
};
const CARGO_SBOM: Tool = Tool {
    name: "cargo-sbom",
    subcommand: "sbom",
    version: "0.10.0",
};
/// Where they are installed, from the root of the workspace.
const TOOLS_DIR: &str = "target/tools";
/// Files that are packed as they are: from where, where below the stage, with which mode.
const FILES: [(&str, &str, u32); 14] = [
    // A host refuses a Graveyard that can be written to.
    ("policies/graveyard.wasm", "graveyard.wasm", 0o444),
    ("policies/graveyard.lock", "graveyard.lock", 0o644),
    ("deploy/systemd/ark.service", "ark.service", 0o644),
    ("deploy/systemd/ark.socket", "ark.socket", 0o644),
    (
        "deploy/systemd/ark-snapshot.service",
        "ark-snapshot.service",
        0o644,
    ),
    (
        "deploy/systemd/ark-snapshot.timer",
        "ark-snapshot.timer",
        0o644,
    ),
    (
        "deploy/systemd/ark-check.service",
        "ark-check.service",
        0o644,
    ),
    ("deploy/systemd/ark-check.timer", "ark-check.timer", 0o644),
    ("deploy/systemd/ark.sysusers", "ark.sysusers", 0o644),
    ("deploy/systemd/ark.tmpfiles", "ark.tmpfiles", 0o644),
    (
        "deploy/env.production.example",
        "env.production.example",
        0o644,
    ),
    ("LICENSE", "LICENSE", 0o644),
    ("CHANGELOG.md", "CHANGELOG.md", 0o644),
    ("docs/installation.md", "installation.md", 0o644),
];
/// What stands in a program with the faults of `host/server/src/faults.rs`.
const FAULTS: &str = "TEST_ARK_FAULT_FILE";
/// The shells that get completions, and the names under which these look for them.
const COMPLETIONS: [(&str, &str); 3] = [("bash", "ark"), ("zsh", "_ark"), ("fish", "ark.fish")];

/// Arguments of `cargo xtask dist`.
#[derive(clap::Args)]
pub struct DistArgs {
    /// A program that is built already [default: it is built with the release profile].
    #[arg(long, value_name = "FILE")]
    program: Option<PathBuf>,
    /// Where everything is written: a directory that is empty, or that is made [default: target/dist, which is emptied].
    #[arg(long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Compress less: for tests.
    #[arg(long)]
    fast: bool,
}

/// A command of cargo that this one needs.
struct Tool {
    /// The name of its package and its program.
    name: &'static str,
    subcommand: &'static str,
    version: &'static str,
}

/// Writes packages, list of parts and checksums.
///
/// # Errors
/// A build fails, a tool cannot be installed, or a file cannot be written.
pub fn build_distribution(args: &DistArgs) -> Result<()> {
    let root = Workspace::find()?.root;
    let dist = match &args.output {
        Some(dist) => make_empty(dist)?,
        None => empty_directory(&root.join(DIST))?,
    };
    install_tools(&root)?;
    // Two of these commands would stage in the same place, so they take turns.
    let _turn = take_turn(&root, "dist.lock")?;
    let stage = empty_directory(&root.join(STAGE))?;
    let program = match &args.program {
        Some(program) => program.clone(),
        None => build_program(&root)?,
    };
    let moment = find_moment(&root)?;
    println!("== 1 of 4: what is packed");
    stage_files(&root, &stage, &program)?;
    let scripts = empty_directory(&root.join(SCRIPTS))?;
    write_scripts(&root, &stage, &scripts)?;
    println!("== 2 of 4: the list of parts");
    let version = read_version(&stage.join("ark"))?;
    write_sbom(&root, &dist.join(format!("ark-{version}.cdx.json")))?;
    println!("== 3 of 4: the Debian package");
    let mut deb = CARGO_DEB.command(&root);
    deb.args(["--package", "ark-cli", "--no-build", "--no-strip"]);
    if args.fast {
        deb.arg("--fast");
    }
    run_command(
        deb.arg("--output")
            .arg(&dist)
            .env("SOURCE_DATE_EPOCH", &moment),
    )?;
    println!("== 4 of 4: the tarball and the checksums");
    let level = if args.fast { 1 } else { 9 };
    write_tarball(&stage, &dist, &version, &moment, level)?;
    fs::remove_dir_all(&stage)?;
    fs::remove_dir_all(&scripts)?;
    write_checksums(&dist)
}

/// Makes a directory where there is none yet, or takes one without files. Returns its full path.
fn make_empty(dir: &Path) -> Result<PathBuf> {
    fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
    ensure!(
        fs::read_dir(dir)?.next().is_none(),
        "{} is not empty: give another directory, or empty it",
        dir.display()
    );
    dir.canonicalize()
        .with_context(|| dir.display().to_string())
}

/// Makes a directory of this command's own, without what an earlier run left there.
fn empty_directory(dir: &Path) -> Result<PathBuf> {
    if dir.exists() {
        fs::remove_dir_all(dir).with_context(|| dir.display().to_string())?;
    }
    make_empty(dir)
}

impl Tool {
    fn program(&self, root: &Path) -> PathBuf {
        root.join(TOOLS_DIR).join("bin").join(self.name)
    }

    /// The command, as cargo runs it.
    fn command(&self, root: &Path) -> Command {
        let mut command = Command::new(self.program(root));
        command.arg(self.subcommand).current_dir(root);
        command
    }

    fn is_installed(&self, root: &Path) -> bool {
        let mut command = self.command(root);
        let said = command.arg("--version").output();
        said.is_ok_and(|said| {
            let said = String::from_utf8_lossy(&said.stdout).into_owned();
            said.split_whitespace().any(|word| word == self.version)
        })
    }
}

/// Installs the commands of cargo that a distribution needs, where they are missing or of another version.
///
/// # Errors
/// One cannot be downloaded or built.
pub fn install_tools(root: &Path) -> Result<()> {
    for tool in &TOOLS {
        if tool.is_installed(root) {
            continue;
        }
        let mut install = cargo_in(root);
        install
            // They run for seconds, and are built for longer.
            .args(["install", "--locked", "--debug", "--force", "--version"])
            .args([tool.version, tool.name, "--root"])
            .arg(root.join(TOOLS_DIR))
            .env("CARGO_PROFILE_DEV_DEBUG", "false");
        run_command(&mut install)?;
    }
    Ok(())
}

/// Builds the program as it is released. Returns where it is.
fn build_program(root: &Path) -> Result<PathBuf> {
    let mut build = cargo_in(root);
    build.args(["build", "--release", "--locked", "--package", "ark-cli"]);
    process::build_program(&mut build, "ark")
}

/// The moment that all files have, in seconds since 1970: `SOURCE_DATE_EPOCH`, else that of the last commit.
///
/// # Errors
/// The variable is no moment, or there is no git.
pub fn find_moment(root: &Path) -> Result<String> {
    if let Ok(moment) = std::env::var("SOURCE_DATE_EPOCH") {
        ensure!(
            moment.parse::<u64>().is_ok(),
            "SOURCE_DATE_EPOCH={moment}: give seconds since 1970"
        );
        return Ok(moment);
    }
    let mut git = Command::new("git");
    let moment = read_output(git.args(["log", "-1", "--format=%ct"]).current_dir(root));
    let moment = moment.context("set SOURCE_DATE_EPOCH where there is no git")?;
    Ok(moment.trim().to_owned())
}

/// Refuses a program with the faults that tests switch on.
pub(crate) fn check_program(program: &Path) -> Result<()> {
    let bytes = fs::read(program).with_context(|| program.display().to_string())?;
    let has_faults = bytes
        .windows(FAULTS.len())
        .any(|window| window == FAULTS.as_bytes());
    ensure!(
        !has_faults,
        "{} has the faults of the tests: build it without the feature `faults`",
        program.display()
    );
    Ok(())
}

fn stage_files(root: &Path, stage: &Path, program: &Path) -> Result<()> {
    check_program(program)?;
    let ark = stage.join("ark");
    let mut strip = Command::new("strip");
    run_command(strip.arg("-o").arg(&ark).arg(program))?;
    set_mode(&ark, 0o755)?;
    for (from, to, mode) in FILES {
        let to = stage.join(to);
        fs::copy(root.join(from), &to).with_context(|| from.to_owned())?;
        set_mode(&to, mode)?;
    }
    let completions = stage.join("completions");
    fs::create_dir(&completions)?;
    for (shell, name) in COMPLETIONS {
        let script = read_output(Command::new(&ark).args(["completions", shell]))?;
        fs::write(completions.join(name), script)?;
    }
    run_command(Command::new(&ark).arg("manual").arg(stage.join("man")))
}

/// Writes the scripts that dpkg runs, with the digests of what is staged.
fn write_scripts(root: &Path, stage: &Path, scripts: &Path) -> Result<()> {
    let (sources, names) = SCRIPT_SOURCES;
    let digests: Vec<(&str, String)> = DIGESTS
        .iter()
        .map(|(mark, file)| {
            let path = stage.join(file);
            let content = fs::read(&path).with_context(|| path.display().to_string())?;
            Ok((*mark, sha256_hex(&content)))
        })
        .collect::<Result<_>>()?;
    for name in names {
        let path = root.join(sources).join(name);
        let source = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        let script = digests.iter().fold(source, |script, (mark, digest)| {
            script.replace(mark, digest)
        });
        let to = scripts.join(name);
        fs::write(&to, script).with_context(|| to.display().to_string())?;
        set_mode(&to, 0o755)?;
    }
    Ok(())
}

fn set_mode(path: &Path, mode: u32) -> Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
        .with_context(|| path.display().to_string())
}

/// The version, as the program says it.
fn read_version(ark: &Path) -> Result<String> {
    let said = read_output(Command::new(ark).arg("--version"))?;
    let version = said.split_whitespace().nth(1);
    Ok(version
        .context("`ark --version` names no version")?
        .to_owned())
}

/// Writes a list of every crate in the program (`CycloneDX`), without what names this machine, its user or this moment.
fn write_sbom(root: &Path, path: &Path) -> Result<()> {
    let mut list = CARGO_SBOM.command(root);
    list.args(["--cargo-package", "ark-cli"]);
    let made = read_output(list.args(["--output-format", "cyclone_dx_json_1_4"]))?;
    let mut sbom: Value = serde_json::from_str(&made).context("what cargo-sbom prints")?;
    make_reproducible(&mut sbom);
    fs::write(path, format!("{sbom:#}\n")).with_context(|| path.display().to_string())
}

fn make_reproducible(sbom: &mut Value) {
    if let Some(document) = sbom.as_object_mut() {
        document.remove("serialNumber");
    }
    if let Some(metadata) = sbom.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("authors");
        metadata.remove("timestamp");
    }
    for (list, key) in [("components", "bom-ref"), ("dependencies", "ref")] {
        if let Some(list) = sbom.get_mut(list).and_then(Value::as_array_mut) {
            list.sort_by_key(|one| one[key].to_string());
        }
    }
    let dependencies = sbom.get_mut("dependencies").and_then(Value::as_array_mut);
    for one in dependencies.into_iter().flatten() {
        if let Some(list) = one.get_mut("dependsOn").and_then(Value::as_array_mut) {
            list.sort_by_key(Value::to_string);
        }
    }
}

/// Packs the stage as a directory of its own. `level`: of the compression, 1 to 9.
fn write_tarball(stage: &Path, dist: &Path, version: &str, moment: &str, level: u8) -> Result<()> {
    let stage_name = stage.file_name().context("a name")?;
    let name = format!("ark-{version}-{}-linux", std::env::consts::ARCH);
    let mut tar = Command::new("tar");
    tar.args(["--sort=name", "--owner=0", "--group=0", "--numeric-owner"])
        .arg("--format=gnu")
        .arg(format!("--mtime=@{moment}"))
        .arg(format!("--transform=s,^{},{name},", stage_name.display()))
        // Without the moment of packing in the head of the compression.
        .arg(format!("--use-compress-program=gzip --no-name -{level}"))
        .arg("--create")
        .arg("--file")
        .arg(dist.join(format!("{name}.tar.gz")))
        .arg("--directory")
        .arg(stage.parent().context("a directory")?)
        .arg(stage_name);
    run_command(&mut tar)
}

/// Writes the SHA-256 of every file that was made, as `sha256sum --check` reads them.
fn write_checksums(dist: &Path) -> Result<()> {
    let mut names: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(dist)? {
        names.push(entry?.path());
    }
    names.sort();
    let mut sums = String::new();
    for path in &names {
        let content = fs::read(path).with_context(|| path.display().to_string())?;
        let name = path.file_name().context("a name")?.to_string_lossy();
        writeln!(sums, "{}  {name}", sha256_hex(&content))?;
        println!("{}", path.display());
    }
    fs::write(dist.join("SHA256SUMS"), sums).context("SHA256SUMS")
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde_json::json;

    use super::*;

    #[test]
    fn a_list_of_parts_names_no_machine_and_no_moment() {
        let made = |first: &str, second: &str, user: &str| {
            let mut sbom = json!({
                "serialNumber": user,
                "metadata": {"authors": [{"name": user}], "timestamp": user, "component": {"name": "ark"}},
                "components": [{"bom-ref": first}, {"bom-ref": second}],
                "dependencies": [{"ref": first, "dependsOn": [first, second]}, {"ref": second}],
            });
            make_reproducible(&mut sbom);
            sbom
        };
        let one = made("a", "b", "carol");
        assert!(!one.to_string().contains("carol"), "{one}");
        assert_eq!(one["components"], made("b", "a", "bob")["components"]);
        let depends = |sbom: &Value| sbom["dependencies"][0]["dependsOn"].clone();
        assert_eq!(depends(&one), json!(["a", "b"]));
    }

    #[test]
    fn the_package_takes_what_is_staged_with_the_modes_it_is_staged_with() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../host/cli/Cargo.toml");
        let manifest: toml::Value = toml::from_str(&fs::read_to_string(manifest).unwrap()).unwrap();
        let assets = manifest["package"]["metadata"]["deb"]["assets"].as_array();
        let taken: BTreeSet<(String, String)> = assets
            .unwrap()
            .iter()
            .map(|asset| {
                let text = |index: usize| asset[index].as_str().unwrap().to_owned();
                let path = text(0);
                let staged = path.strip_prefix(&format!("../../{STAGE}/"));
                (staged.unwrap().to_owned(), text(2))
            })
            .collect();
        let mode = |mode: u32| format!("{mode:o}");
        let files = FILES.iter().map(|(_, to, rights)| (*to, mode(*rights)));
        let completions = COMPLETIONS.map(|(_, name)| (format!("completions/{name}"), mode(0o644)));
        let staged: BTreeSet<(String, String)> = files
            // The package has the licence by a field of its own.
            .filter(|(to, _)| *to != "LICENSE")
            .map(|(to, rights)| (to.to_owned(), rights))
            .chain(completions)
            .chain([
                ("ark".to_owned(), mode(0o755)),
                ("man/*.1".to_owned(), mode(0o644)),
            ])
            .collect();
        assert_eq!(taken, staged);
        for (from, ..) in FILES {
            let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(from);
            assert!(from.is_file(), "{}", from.display());
        }
    }

    #[test]
    fn the_package_takes_every_script_with_the_digests_of_what_is_staged() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let manifest = fs::read_to_string(root.join("host/cli/Cargo.toml")).unwrap();
        let manifest: toml::Value = toml::from_str(&manifest).unwrap();
        let taken = manifest["package"]["metadata"]["deb"]["maintainer-scripts"].as_str();
        assert_eq!(taken, Some(format!("../../{SCRIPTS}").as_str()));
        let (sources, names) = SCRIPT_SOURCES;
        let found: BTreeSet<String> = fs::read_dir(root.join(sources))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        assert_eq!(found, BTreeSet::from(names.map(str::to_owned)));

        let (stage, scripts) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(stage.path().join("ark"), "the program").unwrap();
        fs::write(stage.path().join("graveyard.wasm"), "the module").unwrap();
        write_scripts(&root, stage.path(), scripts.path()).unwrap();
        let script = fs::read_to_string(scripts.path().join("preinst")).unwrap();
        for content in ["the program", "the module"] {
            assert!(script.contains(&sha256_hex(content.as_bytes())), "{script}");
        }
        for name in names {
            let script = fs::read_to_string(scripts.path().join(name)).unwrap();
            assert!(!script.contains("_SHA256@"), "{name}: {script}");
        }
    }
}
