//! Writes the SDK's bindings of ARK's worlds from the WIT.
//!
//! The bindings are files of the SDK, and not expanded from a macro: an author's first build would otherwise spend most of its time on the
//! macro's dependencies. A test compares the files with what the WIT says now.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use wit_bindgen_core::{Files, WorldGenerator};
use wit_bindgen_rust::{Opts, WithOption};
use wit_parser::{Resolve, UnresolvedPackageGroup};

/// One world and its bindings.
struct World {
    /// The file of the bindings, below the SDK's `src`, and the name of their module.
    module: &'static str,
    /// The packages of the world, below `wit`, each after those that it uses.
    packages: &'static [&'static str],
    package: &'static str,
    world: &'static str,
    /// Interfaces whose types are those of another module of the SDK.
    shared: &'static [(&'static str, &'static str)],
}

const WORLDS: [World; 3] = [
    World {
        module: "agent_world",
        packages: &["types", "agent"],
        package: "agent",
        world: "agent",
        shared: &[],
    },
    World {
        module: "policy_world",
        packages: &["types", "policy"],
        package: "policy",
        world: "policy",
        shared: &[],
    },
    World {
        module: "configurable_policy_world",
        packages: &["types", "policy"],
        package: "policy",
        world: "configurable-policy",
        // So that actions and rules are the same for policies with and without settings.
        shared: &[
            (
                "ark:types/actions@1.0.0",
                "crate::policy_world::ark::types::actions",
            ),
            (
                "ark:types/facts@1.0.0",
                "crate::policy_world::ark::types::facts",
            ),
            (
                "ark:types/verdicts@1.0.0",
                "crate::policy_world::ark::types::verdicts",
            ),
        ],
    },
];

/// The packages that use `ark:types`. Their directories have a copy of it below `deps`, the layout that every tool of WIT reads.
const USERS_OF_TYPES: [&str; 2] = ["agent", "policy"];

/// A file that is made from the WIT.
pub struct BindingsFile {
    /// Its path.
    pub path: PathBuf,
    /// What it must contain.
    pub text: String,
}

/// Returns the bindings of all worlds and the copies of `ark:types`, from the WIT of the checkout at `root`.
///
/// # Errors
/// The WIT cannot be read or is wrong, or lacks a world.
pub fn generate_bindings(root: &Path) -> Result<Vec<BindingsFile>> {
    let wit = root.join("wit");
    let types = std::fs::read_to_string(wit.join("types/types.wit")).context("ark:types")?;
    let copies = USERS_OF_TYPES.iter().map(|package| {
        Ok(BindingsFile {
            path: wit.join(package).join("deps/types/types.wit"),
            text: types.clone(),
        })
    });
    let bindings = WORLDS.iter().map(|world| {
        let text =
            generate_world(root, world).with_context(|| format!("the world {}", world.world))?;
        let path = root
            .join("guest-sdk/src")
            .join(world.module)
            .with_extension("rs");
        Ok(BindingsFile { path, text })
    });
    copies.chain(bindings).collect()
}

fn generate_world(root: &Path, world: &World) -> Result<String> {
    let mut resolve = Resolve::default();
    let mut package = None;
    for name in world.packages {
        let group = UnresolvedPackageGroup::parse_dir(root.join("wit").join(name))?;
        let id = resolve.push_group(group)?;
        if *name == world.package {
            package = Some(id);
        }
    }
    let package = package.context("its package is not among its packages")?;
    let id = resolve.select_world(&[package], Some(world.world))?;
    let options = Opts {
        format: true,
        generate_all: true,
        pub_export_macro: true,
        export_macro_name: Some(format!("export_{}", world.module)),
        additional_derive_attributes: vec!["PartialEq".to_owned()],
        default_bindings_module: Some(format!("ark_guest::{}", world.module)),
        with: world
            .shared
            .iter()
            .map(|(interface, module)| {
                (
                    (*interface).to_owned(),
                    WithOption::Path((*module).to_owned()),
                )
            })
            .collect(),
        ..Opts::default()
    };
    let mut files = Files::default();
    options.build().generate(&mut resolve, id, &mut files)?;
    let mut generated = files.iter();
    let (_, source) = generated.next().context("nothing was generated")?;
    ensure!(
        generated.next().is_none(),
        "more than one file was generated"
    );
    let source = std::str::from_utf8(source)?;
    Ok(format!(
        "//! The bindings of the world `ark:{}/{}`, written by `cargo xtask bindings` from the WIT. Do not edit.\n\n{source}",
        world.package, world.world
    ))
}

#[cfg(test)]
mod tests {
    use super::generate_bindings;
    use std::path::Path;

    #[test]
    fn the_bindings_are_those_of_the_wit() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        for file in generate_bindings(&root).expect("bindings") {
            let found = std::fs::read_to_string(&file.path).unwrap_or_default();
            assert!(
                found == file.text,
                "{} is not what the WIT says; run `cargo xtask bindings`",
                file.path.display()
            );
        }
    }
}
