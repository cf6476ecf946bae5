//! `cargo xtask structure`: keeps the structure of the host that ARCHITECTURE.md describes.
//!
//! Five rules hold for the crates below `host/` and for `deploy/`:
//! * a crate depends only on the crates of the project that [`CRATES`] allows it, and not on what it must not know;
//! * a crate that describes the API is named only in the API's modules ([`API_CRATES`]);
//! * no two files of a crate import each other, directly or over others;
//! * a module imports only modules of lower layers ([`SERVER_LAYERS`]);
//! * what reaches a live host as a client names no crate of the host ([`CLIENT_ROOMS`]).
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
use source::{ModulePath, contains_word};

/// The dependencies that a crate of the host may have.
struct Wall {
    /// The crate's directory.
    directory: &'static str,
    /// The crates of this project that it may depend on.
    allowed: &'static [&'static str],
    /// Other crates that it must not know.
    forbidden: &'static [&'static str],
}

/// The host's crates, from the lowest to the highest.
const CRATES: [Wall; 12] = [
    Wall {
        directory: "host/authorities",
        allowed: &[],
        forbidden: &["wasmtime", "rusqlite", "axum", "hyper", "utoipa", "clap"],
    },
    Wall {
        directory: "host/json",
        allowed: &[],
        forbidden: &["wasmtime", "rusqlite", "axum", "hyper", "utoipa"],
    },
    Wall {
        directory: "host/model",
        allowed: &["ark-instrument", "ark-json"],
        // Not wasmtime: the page of the crate (`lib.rs`) says why it may derive wasmtime's traits.
        forbidden: &["rusqlite", "axum", "hyper", "utoipa"],
    },
    Wall {
        directory: "host/redaction",
        allowed: &["ark-json"],
        forbidden: &["wasmtime", "rusqlite", "axum", "hyper"],
    },
    Wall {
        directory: "host/store",
        allowed: &["ark-model"],
        forbidden: &["wasmtime", "axum", "hyper", "utoipa"],
    },
    Wall {
        directory: "host/runtime",
        allowed: &["ark-model"],
        forbidden: &["rusqlite", "axum", "hyper", "utoipa"],
    },
    Wall {
        directory: "host/signature",
        allowed: &["ark-model"],
        forbidden: &[
            "wasmtime", "rusqlite", "axum", "hyper", "utoipa", "ureq", "clap",
        ],
    },
    Wall {
        directory: "host/registry",
        allowed: &["ark-authorities", "ark-model"],
        forbidden: &[
            "wasmtime", "rusqlite", "axum", "hyper", "utoipa", "ring", "clap",
        ],
    },
    Wall {
        directory: "host/server",
        allowed: &[
            "ark-authorities",
            "ark-json",
            "ark-model",
            "ark-redaction",
            "ark-store",
            "ark-runtime",
            "ark-signature",
        ],
        forbidden: &["rusqlite", "clap"],
    },
    Wall {
        directory: "host/client",
        allowed: &["ark-authorities", "ark-model"],
        forbidden: &["wasmtime", "rusqlite", "axum", "hyper", "utoipa", "clap"],
    },
    Wall {
        directory: "deploy",
        allowed: &[
            "ark-client",
            "ark-model",
            "ark-store",
            "ark-runtime",
            "ark-host",
        ],
        forbidden: &["wasmtime", "rusqlite", "axum", "hyper", "utoipa", "clap"],
    },
    Wall {
        directory: "host/cli",
        allowed: &[
            "ark-client",
            "ark-deploy",
            "ark-model",
            "ark-store",
            "ark-runtime",
            "ark-host",
            "ark-componentize",
            "ark-registry",
            "ark-signature",
        ],
        forbidden: &["rusqlite", "utoipa"],
    },
];

/// The crate whose modules have layers.
const LAYERED: &str = "host/server";
/// The module of [`LAYERED`] that is the public API, and the crates that describe an API: no other module names them.
const API_MODULE: &str = "api";
/// See [`API_MODULE`].
const API_CRATES: &[&str] = &["utoipa", "utoipa_axum"];
/// The layers of [`LAYERED`], from the highest to the lowest: a module imports only modules of lower layers.
const SERVER_LAYERS: &[&[&str]] = &[
    &["app"],
    &["config"],
    &["front"],
    &["api", "telemetry"],
    &["readiness", "listen"],
    &["agents", "policies"],
    &["router"],
    &["watchdog"],
    &["redis", "webhooks"],
    &["outgoing_events"],
    &["hrm"],
    &["quotas", "changes", "reply", "background"],
    &["faults"],
];

/// The crate with rooms that reach a live host as any client does.
const DEPLOY: &str = "deploy";
/// Those rooms of [`DEPLOY`], and the crates that they must not name.
const CLIENT_ROOMS: &[&str] = &[
    "event_lines",
    "journal",
    "prometheus",
    "proposal",
    "synthetic",
    "validate",
];
/// See [`CLIENT_ROOMS`].
const HOST_CRATES: &[&str] = &["ark_host", "ark_runtime", "ark_store"];

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
        if wall.directory == DEPLOY {
            breaches.extend(find_shortcuts(&sources));
        }
        if wall.directory == LAYERED {
            breaches.extend(find_leaks(&sources));
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

/// Returns a line for each module outside the API that names a crate of [`API_CRATES`].
fn find_leaks(sources: &BTreeMap<ModulePath, String>) -> Vec<String> {
    let outside = sources
        .iter()
        .filter(|(module, _)| module.first().is_none_or(|first| first != API_MODULE));
    outside
        .flat_map(|(module, text)| {
            API_CRATES
                .iter()
                .filter(|name| contains_word(text, name))
                .map(move |name| {
                    let module = module.join("::");
                    format!("{LAYERED}: {module} must not name {name}: only `{API_MODULE}` describes the API")
                })
        })
        .collect()
}

/// Returns a line for each module that reaches a live host as a client and names a crate of the host.
fn find_shortcuts(sources: &BTreeMap<ModulePath, String>) -> Vec<String> {
    let clients = sources.iter().filter(|(module, _)| {
        let room = module.first();
        room.is_some_and(|room| CLIENT_ROOMS.contains(&room.as_str()))
    });
    clients
        .flat_map(|(module, text)| {
            HOST_CRATES
                .iter()
                .filter(|name| contains_word(text, name))
                .map(move |name| {
                    let module = module.join("::");
                    format!("{DEPLOY}: {module} must not name {name}: it reaches a host by its API")
                })
        })
        .collect()
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
    use std::collections::BTreeMap;

    use super::{Wall, check_dependencies, find_leaks, find_shortcuts};

    #[test]
    fn a_description_of_the_api_elsewhere_is_found() {
        let module = |path: &str, text: &str| {
            let path = path.split("::").map(str::to_owned).collect();
            (path, text.to_owned())
        };
        let sources = BTreeMap::from([
            module("api::v1::agents", "use utoipa::ToSchema;"),
            module(
                "agents::load",
                "#[derive(Clone, utoipa::ToSchema)] struct A;",
            ),
            module(
                "agents::names",
                "// Not utoipa.\nconst A: &str = \"utoipa\";",
            ),
            module("router", "use utoipa_axum::routes;"),
        ]);
        assert_eq!(
            find_leaks(&sources),
            [
                "host/server: agents::load must not name utoipa: only `api` describes the API",
                "host/server: router must not name utoipa_axum: only `api` describes the API"
            ]
        );
    }

    #[test]
    fn a_shortcut_into_the_host_is_found() {
        let module = |path: &str, text: &str| {
            let path = path.split("::").map(str::to_owned).collect();
            (path, text.to_owned())
        };
        let sources = BTreeMap::from([
            module("check::database", "use ark_store::ReadOnlyStore;"),
            module("synthetic::plan", "use ark_model::ids::Millis;"),
            module("synthetic::traces", "use ark_store::TraceRows;"),
        ]);
        assert_eq!(
            find_shortcuts(&sources),
            ["deploy: synthetic::traces must not name ark_store: it reaches a host by its API"]
        );
    }

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
