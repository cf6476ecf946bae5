//! What is signed of an artifact in a registry: cosign's "simple signing" payload, JSON.

use ark_model::ids::Digest;
use serde::Deserialize;
use serde_json::json;

/// The kind of payload. Cosign uses this one for every artifact, images or not.
const KIND: &str = "cosign container image signature";

/// Why a payload says nothing of an artifact.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// It is not JSON of the form of a payload.
    #[error("the signed payload cannot be read: {0}")]
    Malformed(#[from] serde_json::Error),
    /// It is a payload of another kind.
    #[error("the signed payload is of another kind than that of an artifact's signature")]
    OtherKind,
    /// The digest in it is no SHA-256.
    #[error("the signed payload names no SHA-256 of a manifest")]
    NoDigest,
}

/// A payload: which artifact a signature is for.
#[derive(Debug, Clone, Deserialize)]
pub struct Payload {
    critical: Critical,
}

#[derive(Debug, Clone, Deserialize)]
struct Critical {
    image: Image,
    r#type: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Image {
    docker_manifest_digest: String,
}

impl Payload {
    /// Returns the bytes to sign for an artifact: the name it is pushed under (`REGISTRY/NAME`), and the digest of its manifest.
    #[must_use]
    pub fn write(name: &str, manifest: Digest) -> Vec<u8> {
        let payload = json!({
            "critical": {
                "identity": {"docker-reference": name},
                "image": {"docker-manifest-digest": format!("sha256:{manifest}")},
                "type": KIND,
            },
            "optional": null,
        });
        payload.to_string().into_bytes()
    }

    /// Returns the digest of the manifest that some signed bytes name.
    ///
    /// # Errors
    /// See [`PayloadError`].
    pub fn read_manifest_digest(bytes: &[u8]) -> Result<Digest, PayloadError> {
        let payload: Self = serde_json::from_slice(bytes)?;
        if payload.critical.r#type != KIND {
            return Err(PayloadError::OtherKind);
        }
        let digest = payload.critical.image.docker_manifest_digest;
        digest
            .strip_prefix("sha256:")
            .and_then(|hex| hex.parse().ok())
            .ok_or(PayloadError::NoDigest)
    }
}
