//! `ark agent sign` and `ark policy sign`.

use std::path::PathBuf;

use anyhow::Context;
use ark_signature::{ComponentSignature, SigningKey, signature_path};
use clap::Args;

use crate::output::print_line;

use super::source::ComponentSource;

#[derive(Debug, Args)]
pub(crate) struct SignArgs {
    /// The component, or the manifest with the component beside it, or a directory with one of them.
    path: PathBuf,
    /// The private key: a PEM file (PKCS #8) with an Ed25519 key, or an ECDSA key over P-256.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
}

pub(super) fn run_command(args: &SignArgs) -> anyhow::Result<()> {
    let source = ComponentSource::read(&args.path)?;
    let key = SigningKey::read_file(&args.key)?;
    let signature = ComponentSignature::sign(&key, &source.component)?;
    let path = signature_path(&source.file);
    std::fs::write(&path, signature.to_text()).with_context(|| path.display().to_string())?;
    print_line!("wrote {}", path.display());
    Ok(())
}
