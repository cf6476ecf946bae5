//! Whose components are taken: where the operator names keys, only those that one of them signed.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ark_runtime::LoadError;
use ark_signature::{
    ComponentSignature, KeyError, SignatureError, VerifyKeys, read_signature_file, signature_path,
};

/// Why a component is refused where a signature is demanded.
#[derive(Debug, thiserror::Error)]
pub enum UnsignedError {
    /// There is no signature.
    #[error(
        "it is not signed, and this host takes only what one of its keys signed ([signatures]); sign it (`ark agent sign`, `ark policy sign`), or pull it with --verify-key"
    )]
    Missing,
    /// The signature does not count.
    #[error("its signature is refused: {0}")]
    Refused(#[from] SignatureError),
    /// The file with the signature cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
}

impl From<UnsignedError> for LoadError {
    fn from(error: UnsignedError) -> Self {
        Self::Unsigned(Box::new(error))
    }
}

/// The keys of which one must have signed a component. Without keys no signature is demanded, and none is looked at.
#[derive(Debug, Clone, Default)]
pub struct Signers(Arc<VerifyKeys>);

impl Signers {
    /// Reads the files with the keys.
    ///
    /// # Errors
    /// The first file that holds no public key.
    pub fn read(files: &[PathBuf]) -> Result<Self, KeyError> {
        Ok(Self(Arc::new(VerifyKeys::read_files(files)?)))
    }

    /// Returns what stands in the file with the signature of a component; `None`: there is no file, or no signature is demanded.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read_beside(&self, component: &Path) -> Result<Option<String>, UnsignedError> {
        if self.0.is_empty() {
            return Ok(None);
        }
        read_signature_file(component).map_err(|source| UnsignedError::Unreadable {
            path: signature_path(component),
            source,
        })
    }

    /// Checks that one of the keys signed a component, if there are keys.
    ///
    /// # Errors
    /// There is no signature, or it does not count.
    pub fn check(&self, component: &[u8], signature: Option<&str>) -> Result<(), UnsignedError> {
        if self.0.is_empty() {
            return Ok(());
        }
        let signature = signature.ok_or(UnsignedError::Missing)?;
        let signature = ComponentSignature::parse(signature)?;
        let signer = signature.verify(component, &self.0)?;
        tracing::info!(%signer, "the signature of a component is valid");
        Ok(())
    }
}
