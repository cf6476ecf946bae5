//! Versions as the store keeps them.

use ark_model::ids::Digest;
use ark_store::ReadError;

/// Why a stored version cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoredVersionError {
    /// The store has no component of this digest.
    #[error("its component is not kept")]
    MissingComponent,
    /// The stored bytes no longer have the digest under which they were stored.
    #[error("its component was changed on disk: its SHA-256 is another")]
    ChangedComponent,
    /// The store has no settings of this digest.
    #[error("its settings are not kept")]
    MissingSettings,
    /// The stored settings no longer have the digest under which they were stored.
    #[error("its settings were changed on disk")]
    ChangedSettings,
    /// This program cannot read the stored manifest.
    #[error("its manifest cannot be read: {0}")]
    Manifest(#[source] serde_json::Error),
    /// The store cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

/// Returns a stored component if its bytes still have the digest under which they were stored.
///
/// # Errors
/// [`StoredVersionError::MissingComponent`] and [`StoredVersionError::ChangedComponent`].
pub fn check_stored_component(
    component: Option<Vec<u8>>,
    sha256: Digest,
) -> Result<Vec<u8>, StoredVersionError> {
    let component = component.ok_or(StoredVersionError::MissingComponent)?;
    if Digest::hash_bytes(&component) == sha256 {
        Ok(component)
    } else {
        Err(StoredVersionError::ChangedComponent)
    }
}

/// Returns the end of the message that there is no such version: the numbers of those that are kept.
#[must_use]
pub fn describe_kept_versions(kept: &[u64]) -> String {
    if kept.is_empty() {
        return "none was uploaded".to_owned();
    }
    let numbers: Vec<String> = kept.iter().map(u64::to_string).collect();
    format!("there are: {}", numbers.join(", "))
}
