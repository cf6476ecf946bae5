//! Components and signatures as artifacts: what is pushed for them, and what a pulled one must be.

use ark_model::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::client::Registry;
use super::documents::{
    Descriptor, MANIFEST_ANNOTATION, MAX_ANNOTATION_BYTES, MAX_PAYLOAD_BYTES, MAX_SIGNATURES,
    OciManifest, SIGNATURE_ANNOTATION, SIGNATURE_CONFIG, SIGNATURE_LAYER, TITLE_ANNOTATION,
    VERSION_ANNOTATION, WASM_CONFIG, WASM_LAYER, write_component_config, write_signature_config,
};
use super::error::RegistryError;
use super::reference::Reference;

/// What is said of a component in its artifact, for people and other tools.
#[derive(Debug, Clone, Default)]
pub struct ArtifactDescription {
    /// The name of the agent or policy.
    pub title: String,
    /// Its version.
    pub version: String,
    /// The name of the component's file.
    pub file: String,
    /// What the component exports.
    pub exports: Vec<String>,
    /// The interfaces that the component imports.
    pub imports: Vec<String>,
    /// The manifest of the agent or policy, TOML; absent: only the component is pushed.
    pub manifest: Option<String>,
}

/// A component as an artifact. The same component with the same description is the same artifact, to the byte.
#[derive(Debug, Clone)]
pub struct Artifact {
    component: Vec<u8>,
    config: Vec<u8>,
    manifest: Vec<u8>,
}

impl Artifact {
    /// Makes the artifact of a component.
    ///
    /// # Errors
    /// The manifest of the agent or policy is too long.
    pub fn new(
        component: Vec<u8>,
        description: ArtifactDescription,
    ) -> Result<Self, RegistryError> {
        let layer = Descriptor::of(WASM_LAYER, &component)
            .with_annotation(TITLE_ANNOTATION, description.file);
        let config = write_component_config(&layer, &description.exports, &description.imports);
        let mut manifest = OciManifest::new(Descriptor::of(WASM_CONFIG, &config), vec![layer]);
        let annotations = &mut manifest.annotations;
        annotations.insert(TITLE_ANNOTATION.to_owned(), description.title);
        annotations.insert(VERSION_ANNOTATION.to_owned(), description.version);
        if let Some(text) = description.manifest {
            if text.len() > MAX_ANNOTATION_BYTES {
                return Err(RegistryError::LongAnnotation {
                    bytes: text.len(),
                    limit: MAX_ANNOTATION_BYTES,
                });
            }
            annotations.insert(MANIFEST_ANNOTATION.to_owned(), text);
        }
        Ok(Self {
            component,
            config,
            manifest: to_bytes(&manifest)?,
        })
    }

    /// Returns the bytes of the artifact's manifest, whose SHA-256 is the artifact's digest.
    #[must_use]
    pub fn manifest(&self) -> &[u8] {
        &self.manifest
    }
}

/// A pulled component, whose digest is that of its manifest.
#[derive(Debug, Clone)]
pub struct PulledArtifact {
    /// The digest of the artifact, which is that of its manifest.
    pub digest: Digest,
    /// The bytes of the artifact's manifest.
    pub manifest: Vec<u8>,
    /// The component.
    pub component: Vec<u8>,
    /// The manifest of the agent or policy, as its pusher wrote it; absent: there is none. Nothing of it was checked.
    pub ark_manifest: Option<String>,
}

/// A signature of an artifact. Nothing of it was verified.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignatureLayer {
    /// The bytes that are signed.
    pub payload: Vec<u8>,
    /// The signature.
    pub signature: Vec<u8>,
}

impl Registry {
    /// Pushes a component, and returns its digest.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn push_artifact(
        &mut self,
        to: &Reference,
        artifact: &Artifact,
    ) -> Result<Digest, RegistryError> {
        self.push_blob(to, &artifact.component)?;
        self.push_blob(to, &artifact.config)?;
        self.push_manifest(to, &artifact.manifest)
    }

    /// Pulls a component of at most `limit` bytes.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn pull_artifact(
        &mut self,
        from: &Reference,
        limit: u64,
    ) -> Result<PulledArtifact, RegistryError> {
        let not_wasm = |problem| RegistryError::NotWasm {
            reference: from.to_string(),
            problem,
        };
        let bytes = self.pull_manifest(from)?;
        let mut manifest = OciManifest::parse(&bytes).map_err(not_wasm)?;
        let layer = manifest.component_layer().map_err(not_wasm)?;
        let component = self.pull_blob(from, layer, limit)?;
        let ark_manifest = manifest.annotations.remove(MANIFEST_ANNOTATION);
        if ark_manifest
            .as_ref()
            .is_some_and(|text| text.len() > MAX_ANNOTATION_BYTES)
        {
            return Err(RegistryError::TooLarge {
                what: format!("the annotation {MANIFEST_ANNOTATION} of {from}"),
                limit: MAX_ANNOTATION_BYTES as u64,
            });
        }
        Ok(PulledArtifact {
            digest: Digest::hash_bytes(&bytes),
            manifest: bytes,
            component,
            ark_manifest,
        })
    }

    /// Adds a signature to those of an artifact.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn push_signature(
        &mut self,
        artifact: &Reference,
        digest: Digest,
        signature: &SignatureLayer,
    ) -> Result<(), RegistryError> {
        let tag = signature_tag(artifact, digest);
        let mut layers = self.list_signature_layers(&tag)?;
        let layer = Descriptor::of(SIGNATURE_LAYER, &signature.payload)
            .with_annotation(SIGNATURE_ANNOTATION, STANDARD.encode(&signature.signature));
        if !layers.contains(&layer) {
            layers.push(layer);
        }
        if layers.len() > MAX_SIGNATURES {
            return Err(RegistryError::Signatures {
                reference: artifact.to_string(),
                problem: format!(
                    "there are {MAX_SIGNATURES} already, which are all that are read; delete {tag}"
                ),
            });
        }
        let config = write_signature_config(&layers);
        self.push_blob(&tag, &signature.payload)?;
        self.push_blob(&tag, &config)?;
        let manifest = OciManifest::new(Descriptor::of(SIGNATURE_CONFIG, &config), layers);
        self.push_manifest(&tag, &to_bytes(&manifest)?)?;
        Ok(())
    }

    /// Pulls the signatures of an artifact; none: it is not signed.
    ///
    /// # Errors
    /// See [`RegistryError`].
    pub fn pull_signatures(
        &mut self,
        artifact: &Reference,
        digest: Digest,
    ) -> Result<Vec<SignatureLayer>, RegistryError> {
        let tag = signature_tag(artifact, digest);
        let mut signatures = Vec::new();
        for layer in self.list_signature_layers(&tag)? {
            let signature = layer.annotations.get(SIGNATURE_ANNOTATION);
            let Some(Ok(signature)) = signature.map(|text| STANDARD.decode(text)) else {
                continue;
            };
            let payload = self.pull_blob(&tag, &layer, MAX_PAYLOAD_BYTES)?;
            signatures.push(SignatureLayer { payload, signature });
        }
        Ok(signatures)
    }

    /// The layers of the artifact with the signatures; none: there is no such artifact.
    fn list_signature_layers(&mut self, tag: &Reference) -> Result<Vec<Descriptor>, RegistryError> {
        let bytes = match self.pull_manifest(tag) {
            Ok(bytes) => bytes,
            Err(RegistryError::NotFound { .. }) => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let refused = |problem| RegistryError::Signatures {
            reference: tag.to_string(),
            problem,
        };
        let manifest = OciManifest::parse(&bytes).map_err(refused)?;
        if manifest.layers.len() > MAX_SIGNATURES {
            return Err(refused(format!(
                "there are {}; at most {MAX_SIGNATURES} are read",
                manifest.layers.len()
            )));
        }
        let is_signature = |layer: &Descriptor| layer.media_type == SIGNATURE_LAYER;
        Ok(manifest.layers.into_iter().filter(is_signature).collect())
    }
}

/// Where cosign keeps the signatures of an artifact: beside it, under a tag that names its digest.
fn signature_tag(artifact: &Reference, digest: Digest) -> Reference {
    artifact.with_tag(format!("sha256-{digest}.sig"))
}

fn to_bytes(manifest: &OciManifest) -> Result<Vec<u8>, RegistryError> {
    Ok(serde_json::to_vec(manifest)?)
}
