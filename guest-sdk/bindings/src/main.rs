//! Writes the SDK's bindings from the WIT of the checkout whose directory is the one argument.

use std::path::PathBuf;

use anyhow::{Context, Result};
use ark_bindings::generate_bindings;

fn main() -> Result<()> {
    let root = std::env::args_os()
        .nth(1)
        .context("give the directory of the checkout")?;
    for file in generate_bindings(&PathBuf::from(root))? {
        std::fs::write(&file.path, &file.text).with_context(|| file.path.display().to_string())?;
    }
    Ok(())
}
