//! `cargo xtask guests`: builds agents (components and completed manifests, ready to be loaded) and operator policies.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use serde::Deserialize;

use crate::graveyard::{self, sha256_hex};
use crate::handwritten;
use crate::hermetic::Workspace;

/// A directory of crates, and the directory that their components are written to.
struct GuestSet {
    sources: &'static str,
    components: &'static str,
}

/// The example agents, which the demo runs.
const EXAMPLES: GuestSet = GuestSet {
    sources: "guest-sdk/examples",
    components: "target/guests",
};
/// Agents that the tests attack the host with.
const HOSTILE: GuestSet = GuestSet {
    sources: "tests/guests",
    components: "target/guests-hostile",
};
/// Agents of the tests that are WebAssembly text, not crates.
const HANDWRITTEN: GuestSet = GuestSet {
    sources: "tests/handwritten",
    components: "target/guests-hostile",
};
/// Operator policies. The Graveyard, which is beside them, has its own command.
const POLICIES: GuestSet = GuestSet {
    sources: "policies",
    components: "target/policies",
};
/// Operator policies of the tests.
const TEST_POLICIES: GuestSet = GuestSet {
    sources: "tests/policies",
    components: "target/policies-test",
};
/// The file with a policy's test vectors, in its crate.
const VECTORS: &str = "vectors.json";
/// The compilation target of agents.
pub const TARGET: &str = "wasm32-wasip2";
/// Where cargo builds guests, from the root of the workspace.
pub const BUILD_DIR: &str = "target/guests-build";

/// Builds every agent and every operator policy.
///
/// # Errors
/// As [`build_examples`].
pub fn build_all(workspace: &Workspace) -> Result<()> {
    for set in [EXAMPLES, HOSTILE] {
        build_agents(workspace, &set)?;
    }
    let sources = workspace.root.join(HANDWRITTEN.sources);
    let components = workspace.root.join(HANDWRITTEN.components);
    for (name, component) in handwritten::build_guests(&workspace.root.join("wit"), &sources)? {
        write_agent(&sources, &name, &component, &components)?;
    }
    for set in [POLICIES, TEST_POLICIES] {
        build_policies(workspace, &set)?;
    }
    Ok(())
}

/// Builds the example agents: for each crate `<name>`, `target/guests` gets `<name>.wasm` and, from the manifest `<name>.toml` in the crate,
/// `<name>.toml` with the component's digest.
///
/// # Errors
/// A build fails; or a manifest is missing, is not TOML, or has no `sha256` line.
pub fn build_examples(workspace: &Workspace) -> Result<()> {
    build_agents(workspace, &EXAMPLES)
}

/// Builds policies: each core module becomes a component with its test vectors.
fn build_policies(workspace: &Workspace, set: &GuestSet) -> Result<()> {
    let components = workspace.root.join(set.components);
    fs::create_dir_all(&components)?;
    let mut packages = list_packages(&workspace.root.join(set.sources))?;
    packages.retain(|package| package != graveyard::PACKAGE);
    let target_dir = workspace.root.join(BUILD_DIR);
    for built in workspace.build_packages(&packages, graveyard::TARGET, &target_dir)? {
        let name = built.name()?;
        let vectors = built.directory.join(VECTORS);
        let vectors = fs::read(&vectors).with_context(|| vectors.display().to_string())?;
        let component = ark_componentize::build_policy_component(&fs::read(&built.wasm)?, &vectors)
            .with_context(|| name.to_owned())?;
        let wasm = components.join(format!("{name}.wasm"));
        fs::write(&wasm, &component)?;
        println!("{}: {} bytes", wasm.display(), component.len());
    }
    Ok(())
}

/// Returns the names of the packages in a directory, sorted.
fn list_packages(sources: &Path) -> Result<Vec<String>> {
    let shown = sources.display();
    let mut packages = Vec::new();
    for entry in fs::read_dir(sources).with_context(|| shown.to_string())? {
        let manifest = entry?.path().join("Cargo.toml");
        if manifest.is_file() {
            packages.push(read_package_name(&manifest)?);
        }
    }
    packages.sort();
    ensure!(!packages.is_empty(), "{shown} has no crates");
    Ok(packages)
}

fn build_agents(workspace: &Workspace, set: &GuestSet) -> Result<()> {
    let packages = list_packages(&workspace.root.join(set.sources))?;
    let components = workspace.root.join(set.components);
    fs::create_dir_all(&components)?;
    let target_dir = workspace.root.join(BUILD_DIR);
    for package in packages {
        // One by one: built together they would share the SDK's features, and each would import what only one of them asks for.
        for built in workspace.build_packages(&[package], TARGET, &target_dir)? {
            let component = fs::read(&built.wasm)?;
            write_agent(&built.directory, built.name()?, &component, &components)?;
        }
    }
    Ok(())
}

/// Writes an agent's component, and its manifest with the component's digest.
fn write_agent(sources: &Path, name: &str, component: &[u8], components: &Path) -> Result<()> {
    let manifest = sources.join(format!("{name}.toml"));
    let manifest = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let manifest =
        insert_digest(&manifest, &sha256_hex(component)).with_context(|| format!("{name}.toml"))?;
    let wasm = components.join(format!("{name}.wasm"));
    fs::write(&wasm, component)?;
    fs::write(components.join(format!("{name}.toml")), manifest)?;
    println!("{}: {} bytes", wasm.display(), component.len());
    Ok(())
}

fn read_package_name(manifest: &Path) -> Result<String> {
    #[derive(Deserialize)]
    struct CargoManifest {
        package: Package,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
    }
    let text = fs::read_to_string(manifest)?;
    let manifest: CargoManifest =
        toml::from_str(&text).with_context(|| manifest.display().to_string())?;
    Ok(manifest.package.name)
}

/// Returns the manifest with its top-level `sha256` set and all else as its author wrote it.
fn insert_digest(manifest: &str, digest: &str) -> Result<String> {
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
    use super::insert_digest;

    #[test]
    fn a_manifest_gets_its_digest_and_keeps_the_rest() {
        let manifest =
            "# an agent\nname = \"kyle\"\nsha256   = \"\" # filled in\n\n[limits]\nfuel = 1\n";
        let expected = "# an agent\nname = \"kyle\"\nsha256 = \"abc\"\n\n[limits]\nfuel = 1\n";
        assert_eq!(
            insert_digest(manifest, "abc").ok().as_deref(),
            Some(expected)
        );
        for bad in [
            "name = \"kyle\"\n",
            "name = \n",
            "[limits]\nsha256 = \"\"\n",
        ] {
            assert!(insert_digest(bad, "abc").is_err(), "{bad}");
        }
    }
}
