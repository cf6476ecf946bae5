//! Components and manifests in the operator's directories.

use std::path::{Path, PathBuf};

use ark_runtime::{LoadError, MAX_COMPONENT_BYTES};

/// Why a component's file is not read.
#[derive(Debug, thiserror::Error)]
pub enum ComponentFileError {
    /// The file cannot be read.
    #[error("{path}: {source}", path = path.display())]
    Unreadable {
        /// The component's file.
        path: PathBuf,
        /// The error of the file system.
        source: std::io::Error,
    },
    /// The file is larger than [`MAX_COMPONENT_BYTES`].
    #[error(transparent)]
    TooLarge(LoadError),
}

/// Lists the manifests (`*.toml`) of a directory, sorted by path.
///
/// # Errors
/// The directory cannot be read.
pub fn list_manifests(dir: &Path) -> std::io::Result<Vec<PathBuf>> {
    let mut manifests = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            manifests.push(path);
        }
    }
    manifests.sort();
    Ok(manifests)
}

/// Reads a component's file. One of more than [`MAX_COMPONENT_BYTES`] is refused by its size, before it is read.
///
/// # Errors
/// See [`ComponentFileError`].
pub fn read_component_file(path: &Path) -> Result<Vec<u8>, ComponentFileError> {
    let unreadable = |source| ComponentFileError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(unreadable)?.len();
    if size > MAX_COMPONENT_BYTES as u64 {
        let bytes = usize::try_from(size).unwrap_or(usize::MAX);
        return Err(ComponentFileError::TooLarge(LoadError::TooLarge { bytes }));
    }
    std::fs::read(path).map_err(unreadable)
}
