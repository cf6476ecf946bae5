//! The documents that a registry keeps: manifests, their descriptors and configurations.

use std::collections::BTreeMap;

use ark_model::ids::Digest;
use serde::{Deserialize, Serialize};
use serde_json::json;

/// The media type of a manifest.
pub(crate) const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// The media type of the configuration of a WebAssembly artifact.
pub(crate) const WASM_CONFIG: &str = "application/vnd.wasm.config.v0+json";
/// The media type of a component.
pub(crate) const WASM_LAYER: &str = "application/wasm";
/// The media type of the configuration of an artifact with signatures.
pub(crate) const SIGNATURE_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// The media type of what is signed.
pub(crate) const SIGNATURE_LAYER: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of a layer that holds the signature of it, base64.
pub(crate) const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// The annotation of an artifact with the manifest of its agent or policy, TOML.
pub(crate) const MANIFEST_ANNOTATION: &str = "ark.manifest.toml";
/// The annotation of an artifact or layer with its title.
pub(crate) const TITLE_ANNOTATION: &str = "org.opencontainers.image.title";
/// The annotation of an artifact with its version.
pub(crate) const VERSION_ANNOTATION: &str = "org.opencontainers.image.version";
/// The largest manifest that is read, in bytes.
pub(crate) const MAX_MANIFEST_BYTES: u64 = 1024 * 1024;
/// The longest manifest of an agent or a policy that is pushed, in bytes.
pub const MAX_ANNOTATION_BYTES: usize = 256 * 1024;
/// Signatures of one artifact that are read.
pub(crate) const MAX_SIGNATURES: usize = 32;
/// The largest signed payload that is read, in bytes.
pub(crate) const MAX_PAYLOAD_BYTES: u64 = 64 * 1024;

/// A descriptor in a manifest: media type, digest and size of one part.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    pub(crate) media_type: String,
    pub(crate) digest: String,
    pub(crate) size: u64,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn of(media_type: &str, bytes: &[u8]) -> Self {
        Self {
            media_type: media_type.to_owned(),
            digest: format!("sha256:{}", Digest::hash_bytes(bytes)),
            size: bytes.len() as u64,
            annotations: BTreeMap::new(),
        }
    }

    pub(crate) fn with_annotation(mut self, key: &str, value: String) -> Self {
        self.annotations.insert(key.to_owned(), value);
        self
    }

    /// The digest; `None`: it is not a SHA-256.
    pub(crate) fn sha256(&self) -> Option<Digest> {
        self.digest.strip_prefix("sha256:")?.parse().ok()
    }
}

/// A manifest.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct OciManifest {
    pub(crate) schema_version: u32,
    pub(crate) media_type: String,
    pub(crate) config: Descriptor,
    pub(crate) layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) annotations: BTreeMap<String, String>,
}

impl OciManifest {
    pub(crate) fn new(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            schema_version: 2,
            media_type: MANIFEST.to_owned(),
            config,
            layers,
            annotations: BTreeMap::new(),
        }
    }

    /// Reads a manifest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub(crate) fn parse(bytes: &[u8]) -> Result<Self, String> {
        let manifest: Self = serde_json::from_slice(bytes)
            .map_err(|error| format!("its manifest cannot be read: {error}"))?;
        if manifest.schema_version != 2 || manifest.media_type != MANIFEST {
            return Err(format!(
                "its manifest is {:?} of version {}, not {MANIFEST} of version 2",
                manifest.media_type, manifest.schema_version
            ));
        }
        Ok(manifest)
    }

    /// Returns the layer with the component, if this is the manifest of one.
    ///
    /// # Errors
    /// Why it is none.
    pub(crate) fn component_layer(&self) -> Result<&Descriptor, String> {
        if self.config.media_type != WASM_CONFIG {
            return Err(format!(
                "its configuration is {:?}, not {WASM_CONFIG}",
                self.config.media_type
            ));
        }
        match &*self.layers {
            [layer] if layer.media_type == WASM_LAYER => Ok(layer),
            [layer] => Err(format!(
                "its layer is {:?}, not {WASM_LAYER}",
                layer.media_type
            )),
            layers => Err(format!("it has {} layers, not one", layers.len())),
        }
    }
}

/// The configuration of a component's artifact. It states no moment, so that the same component is the same artifact.
pub(crate) fn write_component_config(
    component: &Descriptor,
    exports: &[String],
    imports: &[String],
) -> Vec<u8> {
    let config = json!({
        "created": "1970-01-01T00:00:00Z",
        "architecture": "wasm",
        "os": "wasip2",
        "layerDigests": [component.digest],
        "component": {"exports": exports, "imports": imports, "target": null},
    });
    config.to_string().into_bytes()
}

/// The configuration of an artifact with signatures, as cosign writes it.
pub(crate) fn write_signature_config(layers: &[Descriptor]) -> Vec<u8> {
    let digests: Vec<&str> = layers.iter().map(|layer| layer.digest.as_str()).collect();
    let config = json!({
        "architecture": "",
        "created": "0001-01-01T00:00:00Z",
        "config": {},
        "history": layers.iter().map(|_| json!({"created": "0001-01-01T00:00:00Z"})).collect::<Vec<_>>(),
        "os": "",
        "rootfs": {"type": "layers", "diff_ids": digests},
    });
    config.to_string().into_bytes()
}
