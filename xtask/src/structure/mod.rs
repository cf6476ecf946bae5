//! `cargo xtask structure`: keeps the structure of the host that ARCHITECTURE.md describes.
//!
//! Three rules hold for the crates below `host/`:
//! * a crate depends only on the crates of the project that [`CRATES`] allows it, and not on what it must not know;
//! * no two files of a crate import each other, directly or over others;
//! * a module imports only modules of lower layers ([`SERVER_LAYERS`]).
//!
//! Imports are read from the text of the source (see [`source`]), without a compiler: macros are not expanded, and what is written in
//! `#[cfg(test)]` modules and in files whose name begins with `tests` does not count.

mod graph;
mod source;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use graph::ImportGraph;
use source::ModulePath;

/// What a crate of the host may depend on.
struct Wall {
    /// The crate's directory.
    directory: &'static str,
    /// The crates of this project that it may depend on.
    allowed: &'static [&'static str],
    /// Other crates that it must not know.
    forbidden: &'static [&'static str],
}

/// The host's crates, from the lowest to the highest.
const CRATES: [Wall; 5] = [
    Wall {
        directory: "host/model",
        allowed: &["ark-instrument"],
        // Not wasmtime: the page of the crate (`lib.rs`) says why it may derive wasmtime's traits.
        forbidden: &["rusqlite", "axum", "hyper"],
    },
    Wall {
        directory: "host/store",
        allowed: &["ark-model"],
        forbidden: &["wasmtime", "axum", "hyper"],
    },
    Wall {
        directory: "host/runtime",
        allowed: &["ark-model"],
        forbidden: &["rusqlite", "axum", "hyper"],
    },
    Wall {
        directory: "host/server",
        allowed: &["ark-model", "ark-store", "ark-runtime"],
        forbidden: &["rusqlite", "clap"],
    },
    Wall {
        directory: "host/cli",
        allowed: &[
            "ark-model",
            "ark-store",
            "ark-runtime",
            "ark-host",
            "ark-componentize",
        ],
        forbidden: &["rusqlite"],
    },
];

/// The crate whose modules have layers.
const LAYERED: &str = "host/server";
/// The layers of [`LAYERED`], from the highest to the lowest: a module imports only modules of lower layers.
const SERVER_LAYERS: &[&[&str]] = &[
    &["app"],
    &["config"],
    &["api", "telemetry"],
    &["readiness"],
    &["agents", "policies"],
    &["router"],
    &["watchdog"],
    &["hrm"],
    &["changes", "reply"],
];

/// Checks the structure of the host, and prints what was checked.
///
/// # Errors
/// A file cannot be read, or a rule is broken: the message has one line for each breach.
pub fn check_structure(root: &Path) -> Result<()> {
    let mut breaches = Vec::new();
    let mut files = 0;
    for wall in &CRATES {
        let directory = root.join(wall.directory);
        let manifest = directory.join("Cargo.toml");
        let manifest =
            fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
        breaches.extend(check_dependencies(wall, &manifest)?);
        let sources = read_modules(&directory.join("src"))?;
        files += sources.len();
        let graph = ImportGraph::new(&sources);
        breaches.extend(
            graph
                .find_circles()
                .iter()
                .map(|circle| format!("{}: a circle of files: {circle}", wall.directory)),
        );
        if wall.directory == LAYERED {
            breaches.extend(
                graph
                    .find_upward_imports(SERVER_LAYERS)
                    .iter()
                    .map(|breach| format!("{}: {breach}", wall.directory)),
            );
        }
    }
    ensure!(
        breaches.is_empty(),
        "the structure of the host is broken:\n{}",
        breaches.join("\n")
    );
    println!(
        "structure: {files} files in {} crates: no circle of files, no import of a higher layer",
        CRATES.len()
    );
    Ok(())
}

/// Returns a line for each dependency in a manifest that the wall does not allow.
fn check_dependencies(wall: &Wall, manifest: &str) -> Result<Vec<String>> {
    let manifest: toml::Table = toml::from_str(manifest).context(wall.directory)?;
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let breaks_wall = |name: &&String| {
        let name = name.as_str();
        (name.starts_with("ark-") && !wall.allowed.contains(&name))
            || wall.forbidden.contains(&name)
    };
    Ok(dependencies
        .into_iter()
        .flat_map(toml::Table::keys)
        .filter(breaks_wall)
        .map(|name| format!("{}: must not depend on {name}", wall.directory))
        .collect())
}

/// Reads the files below a crate's `src`, keyed by the module that each holds.
fn read_modules(src: &Path) -> Result<BTreeMap<ModulePath, String>> {
    let mut modules = BTreeMap::new();
    let mut directories = vec![(src.to_owned(), ModulePath::new())];
    while let Some((directory, parent)) = directories.pop() {
        let shown = directory.display();
        for entry in fs::read_dir(&directory).with_context(|| shown.to_string())? {
            let entry = entry?;
            let path = entry.path();
            let name = path
                .file_stem()
                .and_then(|name| name.to_str())
                .with_context(|| format!("{shown}: a name is not UTF-8"))?
                .to_owned();
            if name.starts_with("tests") {
                continue;
            }
            let mut module = parent.clone();
            if !matches!(name.as_str(), "mod" | "lib" | "main") {
                module.push(name);
            }
            if entry.file_type()?.is_dir() {
                directories.push((path, module));
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
                // A crate with a library and a program has two roots, whose imports are one module's here.
                modules
                    .entry(module)
                    .and_modify(|all: &mut String| all.push_str(&text))
                    .or_insert(text);
            }
        }
    }
    Ok(modules)
}

#[cfg(test)]
mod tests {
    use super::{Wall, check_dependencies};

    #[test]
    fn a_dependency_across_a_wall_is_found() {
        let wall = Wall {
            directory: "host/store",
            allowed: &["ark-model"],
            forbidden: &["wasmtime"],
        };
        let manifest = "[package]\nname = \"ark-store\"\n[dependencies]\nark-model.workspace = true\nark-runtime.workspace = true\n\
                        serde = \"1\"\nwasmtime = { version = \"48\" }\n[dev-dependencies]\nark-host.workspace = true\n";
        let breaches = check_dependencies(&wall, manifest).expect("TOML");
        assert_eq!(
            breaches,
            [
                "host/store: must not depend on ark-runtime",
                "host/store: must not depend on wasmtime"
            ]
        );
        assert!(check_dependencies(&wall, "[dependencies").is_err());
        assert_eq!(
            check_dependencies(&wall, "").expect("TOML"),
            Vec::<String>::new()
        );
    }
}
