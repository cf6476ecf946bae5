//! Builds the probe of a validation (`src/validate/`), a guest written as WebAssembly text, as a component of the agents' world.

use std::path::{Path, PathBuf};

const SOURCES: [&str; 3] = [
    "../wit/agent",
    "src/validate/probe.wit",
    "src/validate/probe.wat",
];

fn main() {
    for source in SOURCES {
        println!("cargo::rerun-if-changed={source}");
    }
    // A build script reports an error by panicking: cargo shows the message.
    let component =
        build_probe().unwrap_or_else(|error| panic!("the probe cannot be built: {error:#}"));
    let out = std::env::var_os("OUT_DIR").map(PathBuf::from);
    let out = out.unwrap_or_else(|| panic!("cargo sets OUT_DIR"));
    std::fs::write(out.join("validation-probe.wasm"), component)
        .unwrap_or_else(|error| panic!("{}: {error}", out.display()));
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
