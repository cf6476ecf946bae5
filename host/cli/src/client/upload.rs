//! What an upload of an agent or a policy sends: a component that is the one its manifest states, and the signature beside it.

use std::path::Path;

use anyhow::Context;
use ark_model::ids::Digest;
use ark_signature::read_signature_file;

use crate::files::read_file;

/// Reads the component beside a manifest.
///
/// # Errors
/// The file cannot be read, or is not the stated one; the error ends with `remedy`.
pub(super) fn read_component(
    manifest: &Path,
    file: &str,
    stated: Digest,
    remedy: &str,
) -> anyhow::Result<Vec<u8>> {
    let path = manifest.with_file_name(file);
    let component = read_file(
        "",
        &path,
        &format!("{} names it as its component", manifest.display()),
    )?;
    let found = Digest::hash_bytes(&component);
    anyhow::ensure!(
        found == stated,
        "{} has the SHA-256 {found}, its manifest states {stated}; {remedy}",
        path.display(),
    );
    Ok(component)
}

/// Reads the signature beside a component; `None`: there is none.
///
/// # Errors
/// The file is there and cannot be read.
pub(super) fn read_signature(component: &Path) -> anyhow::Result<Option<String>> {
    read_signature_file(component)
        .with_context(|| format!("the signature of {}", component.display()))
}
