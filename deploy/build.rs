//! Builds the probe of a validation (`src/validate/`), a guest written as WebAssembly text, as a component of the agents' world.

use std::path::{Path, PathBuf};

use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

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
    let mut resolve = Resolve::default();
    resolve.push_dir(Path::new(agent))?;
    let package = resolve.push_file(Path::new(world))?;
    let world = resolve.select_world(&[package], None)?;
    let mut module = wat::parse_file(module)?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .module(&module)?
        .validate(true)
        .encode()
}
