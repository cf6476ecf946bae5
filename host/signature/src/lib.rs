//! Signatures of components: keys, what is signed, and the file with a signature that stands beside a component.
//!
//! Keys, payloads and signatures have cosign's layouts, so that either program verifies what the other signs:
//! * a component alone is signed as `cosign sign-blob` does: the signature covers its bytes ([`ComponentSignature::Bytes`]);
//! * an artifact in a registry is signed as `cosign sign` does: the signature covers a [`Payload`] that names the digest of the artifact's
//!   manifest, and the manifest names the digest of the component ([`ComponentSignature::Artifact`]).
//!
//! Invariant: what is signed comes from outside and is believed only after its signature was verified. The cryptography is ring's.
//!
//! Must not know: HTTP, registries, which keys may sign.

mod component;
mod key;
mod payload;

pub use component::{
    ArtifactSignature, ComponentSignature, MAX_SIGNATURE_BYTES, SignatureError,
    read_signature_file, signature_path,
};
pub use key::{KeyError, SigningKey, VerifyKey, VerifyKeys};
pub use payload::{Payload, PayloadError};
