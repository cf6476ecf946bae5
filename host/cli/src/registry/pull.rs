//! What pulling an agent and pulling a policy share: from a reference to a component whose digest and signature were checked.

use std::path::PathBuf;

use ark_model::printable::is_unprintable;
use ark_registry::{PulledArtifact, Reference};
use ark_runtime::MAX_COMPONENT_BYTES;
use ark_signature::{ArtifactSignature, ComponentSignature, SignatureError, VerifyKeys};
use clap::Args;

use crate::author::GuestKind;
use crate::output::print_notice;

use super::access::RegistryArgs;

#[derive(Debug, Args)]
pub(crate) struct PullArgs {
    /// What to pull: REGISTRY/NAME@sha256:DIGEST, or REGISTRY/NAME:TAG.
    pub(super) reference: Reference,
    /// The directory to write into, which is made if there is none.
    #[arg(long, value_name = "DIR", default_value = ".")]
    pub(super) dir: PathBuf,
    /// Pull only what this public key signed (a PEM file), as `cosign sign` or `push --sign-key` does. Can be given several times: one of the keys is enough.
    #[arg(long = "verify-key", value_name = "FILE")]
    verify_keys: Vec<PathBuf>,
    /// Refuse a reference without a digest: what a tag leads to can change.
    #[arg(long, env = "ARK_REQUIRE_DIGEST", value_parser = clap::builder::FalseyValueParser::new())]
    require_digest: bool,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// A component that was pulled and is what was asked for.
#[derive(Debug)]
pub(super) struct Pulled {
    /// Where it is, by digest.
    pub(super) reference: Reference,
    pub(super) component: Vec<u8>,
    /// The manifest that was pushed with it: texts of a stranger, in which every character can be printed.
    pub(super) manifest: Option<String>,
    /// The signature, where one was asked for.
    pub(super) signature: Option<ComponentSignature>,
    /// The comment that stands at the head of the manifest: where it comes from.
    pub(super) origin: String,
}

impl PullArgs {
    /// Pulls the component and checks digest and signature. Nothing is written.
    ///
    /// # Errors
    /// It is not there, is not what was asked for, or not signed as asked for.
    pub(super) fn fetch(&self, kind: GuestKind) -> anyhow::Result<Pulled> {
        anyhow::ensure!(
            !self.require_digest || self.reference.digest().is_some(),
            "{} has no digest, and one is required (--require-digest); give REGISTRY/NAME@sha256:DIGEST, as `ark {} push` prints it",
            self.reference,
            kind.as_str()
        );
        let keys = VerifyKeys::read_files(&self.verify_keys)?;
        let mut registry = self.registry.connect(&self.reference)?;
        let artifact = registry.pull_artifact(&self.reference, MAX_COMPONENT_BYTES as u64)?;
        let reference = self.reference.with_digest(artifact.digest);
        let signature = if keys.is_empty() {
            None
        } else {
            let layers = registry.pull_signatures(&self.reference, artifact.digest)?;
            let signatures = layers.into_iter().map(|layer| ArtifactSignature {
                manifest: artifact.manifest.clone(),
                payload: layer.payload,
                signature: layer.signature,
            });
            Some(find_valid(&reference, signatures, &keys)?)
        };
        let origin = match self.reference.digest() {
            Some(_) => format!("# Pulled from {reference}\n"),
            None => format!(
                "# Pulled from {}, which was\n# {reference}\n",
                self.reference
            ),
        };
        let PulledArtifact {
            component,
            ark_manifest,
            ..
        } = artifact;
        if let Some(text) = &ark_manifest {
            let unprintable = |c: char| is_unprintable(c) && !matches!(c, '\n' | '\t');
            anyhow::ensure!(
                !text.contains(unprintable),
                "the manifest that {reference} carries holds characters that cannot be printed"
            );
        }
        Ok(Pulled {
            reference,
            component,
            manifest: ark_manifest,
            signature,
            origin,
        })
    }
}

/// The first signature that one of the keys made for this artifact.
fn find_valid(
    reference: &Reference,
    signatures: impl Iterator<Item = ArtifactSignature>,
    keys: &VerifyKeys,
) -> anyhow::Result<ComponentSignature> {
    let mut refused: Option<SignatureError> = None;
    for signature in signatures {
        match signature.verify(keys) {
            Ok(signer) => {
                print_notice!("{reference} is signed by the key {signer}");
                return Ok(ComponentSignature::Artifact(signature));
            }
            Err(error) => refused = Some(error),
        }
    }
    match refused {
        Some(error) => Err(anyhow::Error::new(error).context(format!(
            "{reference} has no valid signature of the keys given"
        ))),
        None => anyhow::bail!(
            "{reference} is not signed, and a signature is required (--verify-key); its publisher signs with `push --sign-key` or `cosign sign`"
        ),
    }
}
