//! `ark agent push` and `ark policy push`.

use std::path::PathBuf;

use anyhow::{Context, bail};
use ark_host::policies::PolicyManifest;
use ark_model::ids::Name;
use ark_registry::{Artifact, ArtifactDescription, Reference, SignatureLayer};
use ark_runtime::{
    Engine, EngineConfig, Inspection, Manifest, inspect_component, read_agent_metadata,
};
use ark_signature::{ArtifactSignature, SigningKey};
use clap::Args;

use crate::author::GuestKind;
use crate::output::print_line;

use super::access::RegistryArgs;
use super::source::ComponentSource;

#[derive(Debug, Args)]
pub(crate) struct PushArgs {
    /// The component, or the manifest with the component beside it, or a directory with one of them (or with `dist`).
    path: PathBuf,
    /// Where to push it: REGISTRY/NAME:TAG.
    reference: Reference,
    /// Sign what is pushed, as `cosign sign` does, with this private key: a PEM file (PKCS #8), Ed25519 or ECDSA over P-256.
    #[arg(long, value_name = "FILE")]
    sign_key: Option<PathBuf>,
    #[command(flatten)]
    registry: RegistryArgs,
}

/// Pushes what a host would load, and prints its reference by digest.
pub(super) fn run_command(kind: GuestKind, args: &PushArgs) -> anyhow::Result<()> {
    anyhow::ensure!(
        args.reference.digest().is_none(),
        "{} names a digest; give a tag to push to, e.g. :1.0.0",
        args.reference
    );
    let key = args.sign_key.as_deref().map(SigningKey::read_file);
    let key = key.transpose()?;
    let source = ComponentSource::read(&args.path)?;
    let shown = source.file.display().to_string();
    let engine = Engine::new(&EngineConfig::default())?;
    let inspection =
        inspect_component(&engine, &source.component).with_context(|| shown.clone())?;
    let (name, version) =
        identify_guest(kind, &engine, &source, &inspection).with_context(|| shown.clone())?;
    check_manifest(kind, &source, &name)?;
    let description = ArtifactDescription {
        title: name,
        version,
        file: source.file_name()?.to_owned(),
        exports: inspection.exports,
        imports: inspection
            .imports
            .into_iter()
            .map(|import| import.interface)
            .collect(),
        manifest: source.manifest.map(|(_, text)| text),
    };
    let artifact = Artifact::new(source.component, description)?;
    let mut registry = args.registry.connect(&args.reference)?;
    let digest = registry.push_artifact(&args.reference, &artifact)?;
    if let Some(key) = key {
        let name = args.reference.full_name();
        let signed = ArtifactSignature::sign(&key, &name, artifact.manifest().to_vec())?;
        let layer = SignatureLayer {
            payload: signed.payload,
            signature: signed.signature,
        };
        registry.push_signature(&args.reference, digest, &layer)?;
    }
    print_line!("{}", args.reference.with_digest(digest));
    Ok(())
}

/// Returns the name and version that a component gives itself.
///
/// # Errors
/// A host would refuse it as what it is pushed as.
fn identify_guest(
    kind: GuestKind,
    engine: &Engine,
    source: &ComponentSource,
    inspection: &Inspection,
) -> anyhow::Result<(String, String)> {
    let refused = match kind {
        GuestKind::Agent => &inspection.refused_as_agent,
        GuestKind::Policy => &inspection.refused_as_policy,
    };
    if !refused.is_empty() {
        bail!("a host would refuse it: {}", refused.join("; "));
    }
    match kind {
        GuestKind::Agent => {
            let metadata = read_agent_metadata(engine, &source.component)?;
            Ok((metadata.name.to_string(), metadata.version))
        }
        GuestKind::Policy => {
            let policy = inspection.policy.as_ref().context("it is no policy")?;
            let name: Name = policy.metadata.name.parse()?;
            Ok((name.to_string(), policy.metadata.version.clone()))
        }
    }
}

/// Checks that the manifest that is pushed is one, and that of this component.
fn check_manifest(kind: GuestKind, source: &ComponentSource, name: &str) -> anyhow::Result<()> {
    let Some((path, text)) = &source.manifest else {
        return Ok(());
    };
    let stated = match kind {
        GuestKind::Agent => Manifest::read_file(path)?.name,
        GuestKind::Policy => {
            let manifest: PolicyManifest =
                toml::from_str(text).with_context(|| path.display().to_string())?;
            manifest.name
        }
    };
    anyhow::ensure!(
        stated.as_str() == name,
        "{}: name is {stated}, and the component calls itself {name}",
        path.display()
    );
    Ok(())
}
