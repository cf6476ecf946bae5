//! Building the example agents (components and completed manifests, ready to be loaded) and the operator policies.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::graveyard::{self, sha256};
use crate::handwritten;
use crate::hermetic::Workspace;

/// Where guests' crates are, and where their components go: the examples, and those that the tests attack the host with.
const SETS: [(&str, &str); 2] = [
    ("guest-sdk/examples", "target/guests"),
    ("tests/guests", "target/guests-hostile"),
];
/// Guests that are WebAssembly text, not crates, and where their components go.
const HANDWRITTEN: (&str, &str) = ("tests/handwritten", "target/guests-hostile");
/// Where operator policies' crates are, and where their components go: those of the house, and those that the tests misbehave with. The
/// Graveyard beside the former is built by its own command.
const POLICIES: [(&str, &str); 2] = [
    ("policies", "target/policies"),
    ("tests/policies", "target/policies-test"),
];
/// A policy's test vectors, in its crate.
const VECTORS: &str = "vectors.json";
/// What agents are built for.
pub const TARGET: &str = "wasm32-wasip2";

/// Builds every guest and every operator policy. For each directory `<name>`, the set's target directory gets `<name>.wasm` and, from the manifest
/// `<name>/<name>.toml`, `<name>.toml` with the component's digest. So it does for each handwritten `<name>.wat`.
///
/// # Errors
/// A build fails; or a manifest is missing, is no TOML or has no `sha256` line.
pub fn run() -> Result<()> {
    let workspace = Workspace::here()?;
    for (sources, guests) in SETS {
        build(&workspace, sources, &workspace.root.join(guests))?;
    }
    let (sources, guests) = HANDWRITTEN;
    let sources = workspace.root.join(sources);
    for (name, component) in handwritten::build(&workspace.root.join("wit"), &sources)? {
        finish(&sources, &name, &component, &workspace.root.join(guests))?;
    }
    for (sources, components) in POLICIES {
        policies(&workspace, sources, components)?;
    }
    Ok(())
}

/// Makes each policy's module a component with its test vectors.
fn policies(workspace: &Workspace, sources: &str, components: &str) -> Result<()> {
    let policies = workspace.root.join(components);
    fs::create_dir_all(&policies)?;
    let target_dir = workspace.root.join("target/guests-build");
    let mut packages = packages(&workspace.root.join(sources))?;
    packages.retain(|package| package != graveyard::PACKAGE);
    for built in workspace.build(&packages, graveyard::TARGET, &target_dir)? {
        let name = built.name()?;
        let vectors = built.directory.join(VECTORS);
        let vectors = fs::read(&vectors).with_context(|| vectors.display().to_string())?;
        let component = ark_componentize::policy(&fs::read(&built.wasm)?, &vectors)
            .with_context(|| name.to_owned())?;
        let wasm = policies.join(format!("{name}.wasm"));
        fs::write(&wasm, &component)?;
        println!("{}: {} bytes", wasm.display(), component.len());
    }
    Ok(())
}

/// The names of the packages in a directory, sorted.
fn packages(sources: &Path) -> Result<Vec<String>> {
    let shown = sources.display();
    let mut packages = Vec::new();
    for entry in fs::read_dir(sources).with_context(|| shown.to_string())? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            packages.push(package_name(&manifest)?);
        }
    }
    packages.sort();
    ensure!(!packages.is_empty(), "{shown} has no crates");
    Ok(packages)
}

fn build(workspace: &Workspace, sources: &str, guests: &Path) -> Result<()> {
    let packages = packages(&workspace.root.join(sources))?;
    fs::create_dir_all(guests)?;
    let target_dir = workspace.root.join("target/guests-build");
    let mut all = Vec::new();
    for package in packages {
        // One by one: built together they would share the SDK's features, and each would import what only one of them asks for.
        all.extend(workspace.build(&[package], TARGET, &target_dir)?);
    }
    for built in all {
        finish(
            &built.directory,
            built.name()?,
            &fs::read(&built.wasm)?,
            guests,
        )?;
    }
    Ok(())
}

/// Writes a guest's component, and its manifest with the component's digest.
fn finish(sources: &Path, name: &str, component: &[u8], guests: &Path) -> Result<()> {
    let manifest = sources.join(format!("{name}.toml"));
    let manifest = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let manifest =
        with_digest(&manifest, &sha256(component)).with_context(|| format!("{name}.toml"))?;
    let wasm = guests.join(format!("{name}.wasm"));
    fs::write(&wasm, component)?;
    fs::write(guests.join(format!("{name}.toml")), manifest)?;
    println!("{}: {} bytes", wasm.display(), component.len());
    Ok(())
}

fn package_name(manifest: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct Manifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let text = fs::read_to_string(manifest)?;
    let manifest: Manifest =
        toml::from_str(&text).with_context(|| manifest.display().to_string())?;
    Ok(manifest.package.name)
}

/// The manifest with its top-level `sha256` set, all else as its author wrote it.
fn with_digest(manifest: &str, digest: &str) -> Result<String> {
    #[derive(Deserialize)]
    struct Pinned {
        sha256: String,
    }
    let filled: String = manifest
        .split_inclusive('\n')
        .map(|line| match line.split_once('=') {
            Some((key, _)) if key.trim() == "sha256" => format!("sha256 = \"{digest}\"\n"),
            _ => line.to_owned(),
        })
        .collect();
    let pinned: Pinned =
        toml::from_str(&filled).context("it needs a top-level line `sha256 = \"\"`")?;
    ensure!(
        pinned.sha256 == digest,
        "its `sha256` is not on a line of its own"
    );
    Ok(filled)
}

#[cfg(test)]
mod tests {
    use super::with_digest;

    #[test]
    fn a_manifest_gets_its_digest_and_keeps_the_rest() {
        let manifest =
            "# an agent\nname = \"kyle\"\nsha256   = \"\" # filled in\n\n[limits]\nfuel = 1\n";
        let expected = "# an agent\nname = \"kyle\"\nsha256 = \"abc\"\n\n[limits]\nfuel = 1\n";
        assert_eq!(with_digest(manifest, "abc").ok().as_deref(), Some(expected));
        for bad in [
            "name = \"kyle\"\n",
            "name = \n",
            "[limits]\nsha256 = \"\"\n",
        ] {
            assert!(with_digest(bad, "abc").is_err(), "{bad}");
        }
    }
}
