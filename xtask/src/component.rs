//! From a core module to a policy component.

use std::borrow::Cow;

use anyhow::{Context, Result, bail};
use wasm_encoder::{ComponentSection, CustomSection, Module, RawSection};
use wasmparser::{Parser, Payload};
use wit_component::ComponentEncoder;

/// The name of the custom section that carries a policy's test vectors.
pub const VECTORS: &str = "ark:vectors";

/// Makes a core module that was built for wasm32-unknown-unknown a component, with its test vectors as a custom section.
///
/// # Errors
/// The module imports something, or does not describe its world.
pub fn of_policy(module: &[u8], vectors: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = ComponentEncoder::default();
    encoder
        .module(&bare(module)?)
        .context("the module does not describe its world")?
        .validate(true);
    let mut component = encoder
        .encode()
        .context("the module cannot be made a component")?;
    let section = CustomSection {
        name: VECTORS.into(),
        data: Cow::Borrowed(vectors),
    };
    section.append_to_component(&mut component);
    Ok(component)
}

/// The module without the custom sections that say how it was built. Those that describe its world stay: the encoder reads them.
fn bare(module: &[u8]) -> Result<Vec<u8>> {
    let mut bare = Module::new();
    for payload in Parser::new(0).parse_all(module) {
        let payload = payload.context("the compiler wrote no valid module")?;
        match &payload {
            Payload::ImportSection(imports) if imports.count() > 0 => {
                bail!(
                    "a policy imports nothing, but this module has {} imports",
                    imports.count()
                )
            }
            Payload::CustomSection(custom) if !custom.name().starts_with("component-type") => {
                continue;
            }
            _ => {}
        }
        if let Some((id, range)) = payload.as_section() {
            let range = usize::try_from(range.start)?..usize::try_from(range.end)?;
            bare.section(&RawSection {
                id,
                data: &module[range],
            });
        }
    }
    Ok(bare.finish())
}
