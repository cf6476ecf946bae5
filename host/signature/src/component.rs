//! The signature that stands beside a component, in a file of its name with `.sig` behind it.

use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};

use super::key::{KeyError, SigningKey, VerifyKey, VerifyKeys};
use super::payload::{Payload, PayloadError};

/// The largest file with a signature that is read, in bytes: the manifest of an artifact is part of it.
pub const MAX_SIGNATURE_BYTES: usize = 2 * 1024 * 1024;

/// Returns the file with the signature of a component: its name with `.sig` behind it.
#[must_use]
pub fn signature_path(component: &Path) -> PathBuf {
    let mut path = component.as_os_str().to_owned();
    path.push(".sig");
    path.into()
}

/// Reads the file with the signature of a component; `None`: there is none. One of more than [`MAX_SIGNATURE_BYTES`] is cut off there, which no
/// signature survives.
///
/// # Errors
/// The file is there and cannot be read.
pub fn read_signature_file(component: &Path) -> std::io::Result<Option<String>> {
    let file = match std::fs::File::open(signature_path(component)) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut text = String::new();
    file.take(MAX_SIGNATURE_BYTES as u64 + 1)
        .read_to_string(&mut text)?;
    Ok(Some(text))
}

/// Why a signature does not show that a component comes from the owner of a key.
#[derive(Debug, thiserror::Error)]
pub enum SignatureError {
    /// The text is larger than [`MAX_SIGNATURE_BYTES`].
    #[error("the signature has more than {MAX_SIGNATURE_BYTES} bytes")]
    TooLarge,
    /// The text is neither of the two forms.
    #[error(
        "the signature is neither base64, as `cosign sign-blob` prints it, nor what `ark agent pull --verify-key` writes"
    )]
    Malformed,
    /// No configured key made the signature.
    #[error("the signature was made by none of the keys that may sign")]
    UnknownSigner,
    /// The signed payload does not say what is signed.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The signature is that of another artifact.
    #[error("the signature is for the artifact sha256:{signed}, and this is sha256:{found}")]
    OtherArtifact {
        /// The digest of the manifest that is signed.
        signed: Digest,
        /// The digest of the manifest that is there.
        found: Digest,
    },
    /// The signed artifact holds another component.
    #[error(
        "the signed artifact holds another component than the one with the SHA-256 {component}"
    )]
    OtherComponent {
        /// The component's digest.
        component: Digest,
    },
}

/// The signature of an artifact in a registry, with the artifact's manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSignature {
    /// The bytes of the artifact's manifest.
    #[serde(with = "base64_text")]
    pub manifest: Vec<u8>,
    /// The bytes that are signed: a [`Payload`].
    #[serde(with = "base64_text")]
    pub payload: Vec<u8>,
    /// The signature.
    #[serde(with = "base64_text")]
    pub signature: Vec<u8>,
}

impl ArtifactSignature {
    /// Signs an artifact, of which the name and the manifest's bytes are given.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign(key: &SigningKey, name: &str, manifest: Vec<u8>) -> Result<Self, KeyError> {
        let payload = Payload::write(name, Digest::hash_bytes(&manifest));
        let signature = key.sign(&payload)?;
        Ok(Self {
            manifest,
            payload,
            signature,
        })
    }

    /// Returns the key that signed the artifact.
    ///
    /// # Errors
    /// None of the keys did, or the signature is for another artifact.
    pub fn verify<'k>(&self, keys: &'k VerifyKeys) -> Result<&'k VerifyKey, SignatureError> {
        let signer = keys
            .find_signer(&self.payload, &self.signature)
            .ok_or(SignatureError::UnknownSigner)?;
        let signed = Payload::read_manifest_digest(&self.payload)?;
        let found = Digest::hash_bytes(&self.manifest);
        if signed != found {
            return Err(SignatureError::OtherArtifact { signed, found });
        }
        Ok(signer)
    }

    /// Returns whether the artifact holds a component and nothing else.
    fn holds(&self, component: Digest) -> bool {
        #[derive(Deserialize)]
        struct ManifestLayers {
            layers: Vec<Layer>,
        }
        #[derive(Deserialize)]
        struct Layer {
            digest: String,
        }
        let digest = format!("sha256:{component}");
        serde_json::from_slice::<ManifestLayers>(&self.manifest)
            .is_ok_and(|manifest| matches!(&*manifest.layers, [only] if only.digest == digest))
    }
}

/// The signature of a component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ComponentSignature {
    /// Over the component's bytes.
    Bytes(Vec<u8>),
    /// Over the artifact that holds the component.
    Artifact(ArtifactSignature),
}

impl ComponentSignature {
    /// Signs a component.
    ///
    /// # Errors
    /// The key does not sign.
    pub fn sign(key: &SigningKey, component: &[u8]) -> Result<Self, KeyError> {
        Ok(Self::Bytes(key.sign(component)?))
    }

    /// Reads the text of a file with a signature.
    ///
    /// # Errors
    /// See [`SignatureError::TooLarge`] and [`SignatureError::Malformed`].
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        if text.len() > MAX_SIGNATURE_BYTES {
            return Err(SignatureError::TooLarge);
        }
        let text = text.trim();
        if text.starts_with('{') {
            return serde_json::from_str(text)
                .map(Self::Artifact)
                .map_err(|_| SignatureError::Malformed);
        }
        match STANDARD.decode(text) {
            Ok(signature) if !signature.is_empty() => Ok(Self::Bytes(signature)),
            _ => Err(SignatureError::Malformed),
        }
    }

    /// Returns the text of the file with this signature.
    #[must_use]
    pub fn to_text(&self) -> String {
        match self {
            Self::Bytes(signature) => format!("{}\n", STANDARD.encode(signature)),
            Self::Artifact(signature) => format!("{:#}\n", serde_json::json!(signature)),
        }
    }

    /// Returns the key that signed a component.
    ///
    /// # Errors
    /// None of the keys did, or what is signed is something else.
    pub fn verify<'k>(
        &self,
        component: &[u8],
        keys: &'k VerifyKeys,
    ) -> Result<&'k VerifyKey, SignatureError> {
        match self {
            Self::Bytes(signature) => keys
                .find_signer(component, signature)
                .ok_or(SignatureError::UnknownSigner),
            Self::Artifact(signature) => {
                let signer = signature.verify(keys)?;
                let component = Digest::hash_bytes(component);
                if !signature.holds(component) {
                    return Err(SignatureError::OtherComponent { component });
                }
                Ok(signer)
            }
        }
    }
}

/// Bytes as base64 in JSON.
mod base64_text {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error as _};

    pub(super) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&STANDARD.encode(bytes))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        let text = String::deserialize(from)?;
        STANDARD.decode(text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use ark_model::ids::Digest;
    use serde_json::json;

    use super::{ArtifactSignature, ComponentSignature, SignatureError};
    use crate::{SigningKey, VerifyKeys};

    fn signing_key() -> SigningKey {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ed25519.key");
        SigningKey::read_file(&path).expect("a private key")
    }

    fn keys(names: &[&str]) -> VerifyKeys {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
        let paths: Vec<_> = names.iter().map(|name| dir.join(name)).collect();
        VerifyKeys::read_files(&paths).expect("public keys")
    }

    fn artifact(layers: &serde_json::Value) -> ArtifactSignature {
        let manifest = json!({"schemaVersion": 2, "layers": layers}).to_string();
        ArtifactSignature::sign(&signing_key(), "registry.example/a", manifest.into_bytes())
            .expect("a signature")
    }

    #[test]
    fn a_signature_is_read_back_and_covers_one_component() {
        let digest = format!("sha256:{}", Digest::hash_bytes(b"component"));
        let both = keys(&["p256.pub", "ed25519.pub"]);
        for signature in [
            ComponentSignature::sign(&signing_key(), b"component").expect("a signature"),
            ComponentSignature::Artifact(artifact(&json!([{"digest": digest}]))),
        ] {
            let text = signature.to_text();
            let read = ComponentSignature::parse(&text).expect("a signature");
            assert_eq!(read, signature);
            assert!(read.verify(b"component", &both).is_ok(), "{text}");
            assert!(read.verify(b"another", &both).is_err(), "{text}");
            let other = keys(&["p256.pub"]);
            let refused = read.verify(b"component", &other);
            assert!(matches!(refused, Err(SignatureError::UnknownSigner)));
            assert!(read.verify(b"component", &VerifyKeys::default()).is_err());
        }
    }

    #[test]
    fn a_signed_artifact_counts_for_the_manifest_that_is_signed_and_its_only_layer() {
        let both = keys(&["ed25519.pub"]);
        let digest = format!("sha256:{}", Digest::hash_bytes(b"component"));
        let own = json!({"digest": digest});
        let mut moved = artifact(&json!([own]));
        moved.manifest.push(b' ');
        let error = moved.verify(&both).expect_err("another manifest");
        assert!(matches!(error, SignatureError::OtherArtifact { .. }));
        for layers in [
            json!([]),
            json!([own, own]),
            json!([{"digest": "sha256:0"}]),
        ] {
            let signature = ComponentSignature::Artifact(artifact(&layers));
            let error = signature.verify(b"component", &both).expect_err("layers");
            assert!(matches!(error, SignatureError::OtherComponent { .. }));
        }
    }

    #[test]
    fn invalid_signatures_are_refused() {
        for text in [
            "",
            "not base64!",
            "{}",
            "{\"manifest\": 1}",
            "{\"manifest\":\"\",\"payload\":\"\",\"signature\":\"\",\"more\":1}",
        ] {
            let refused = ComponentSignature::parse(text);
            assert!(matches!(refused, Err(SignatureError::Malformed)), "{text}");
        }
    }
}
