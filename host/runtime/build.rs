//! Builds the probe (`src/probe/`), a guest written as WebAssembly text, as a component of the agents' world; and lists the Graveyards of earlier
//! releases, so that they are compiled into the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

const SOURCES: [&str; 3] = [
    "../../wit/agent",
    "src/probe/probe.wit",
    "src/probe/probe.wat",
];

/// Modules and locks of earlier releases: `graveyard-VERSION.wasm`, `graveyard-VERSION.lock`.
const RELEASED: &str = "../../policies/released";

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    // A build script reports an error by panicking: cargo shows the message.
    let component =
        build_probe().unwrap_or_else(|error| panic!("the probe cannot be built: {error:#}"));
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let out = out.unwrap_or_else(|| panic!("cargo sets OUT_DIR"));
    std::fs::write(out.join("probe.wasm"), component)
        .unwrap_or_else(|error| panic!("{}: {error}", out.display()));
    let list = list_released()
        .unwrap_or_else(|error| panic!("the earlier Graveyards cannot be listed: {error:#}"));
    std::fs::write(out.join("released.rs"), list)
        .unwrap_or_else(|error| panic!("{}: {error}", out.display()));
}

/// Returns an array of `(version, module, lock)`, one for each module in `policies/released`.
fn list_released() -> anyhow::Result<String> {
    println!("cargo::rerun-if-changed={RELEASED}");
    let mut modules: Vec<PathBuf> = std::fs::read_dir(RELEASED)?
        .map(|entry| Ok(entry?.path()))
        .collect::<std::io::Result<_>>()?;
    modules.retain(|path| {
        path.extension()
            .is_some_and(|extension| extension == "wasm")
    });
    modules.sort();
    let mut list = "[".to_owned();
    for module in modules {
        let version = module
            .file_stem()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_prefix("graveyard-"))
            .ok_or_else(|| anyhow::anyhow!("{}: not graveyard-VERSION.wasm", module.display()))?;
        let file = |extension: &str| {
            format!(
                "concat!(env!(\"CARGO_MANIFEST_DIR\"), \"/{RELEASED}/graveyard-{version}.{extension}\")"
            )
        };
        writeln!(
            list,
            "({version:?}, include_bytes!({}), include_str!({})),",
            file("wasm"),
            file("lock")
        )?;
    }
    list.push(']');
    Ok(list)
}

fn build_probe() -> anyhow::Result<Vec<u8>> {
    let [agent, world, module] = SOURCES;
    let contract = [Path::new(agent), Path::new(world)];
    Ok(ark_componentize::build_guest_component(
        &contract,
        None,
        wat::parse_file(module)?,
    )?)
}
