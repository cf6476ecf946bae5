//! The Graveyard and its pin: the host trusts this policy only if its bytes have the SHA-256 that was compiled into the host.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;

use super::engine::Engine;
use super::load::{LoadError, MAX_COMPONENT_BYTES};
use super::policy::Policy;
use super::vectors::{VectorFailure, run_vectors_in_one_instance};

/// The SHA-256 that the Graveyard must have, as compiled into the host from `policies/graveyard.lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(Digest);

static EMBEDDED: &[u8] = include_bytes!("../../../policies/graveyard.wasm");
const LOCK: &str = include_str!("../../../policies/graveyard.lock");

/// The Graveyards of earlier releases: version, module, lock.
static RELEASED: &[(&str, &[u8], &str)] = &include!(concat!(env!("OUT_DIR"), "/released.rs"));

/// A Graveyard of this release or an earlier one, as bytes. It is for tools that judge recorded decisions again: a host loads
/// [`PinnedGraveyard`] only.
#[derive(Debug, Clone, Copy)]
pub struct ReleasedGraveyard {
    /// The version.
    pub version: &'static str,
    /// The component.
    pub component: &'static [u8],
}

impl ReleasedGraveyard {
    /// Returns those of the earlier releases, oldest first.
    pub fn list_earlier() -> impl Iterator<Item = Self> {
        RELEASED
            .iter()
            .map(|&(version, component, _)| Self { version, component })
    }

    /// Returns the Graveyard of an earlier release with this SHA-256.
    #[must_use]
    pub fn find_earlier(digest: Digest) -> Option<Self> {
        Self::list_earlier().find(|released| Digest::hash_bytes(released.component) == digest)
    }

    /// Returns the bytes of this release's Graveyard. Anyone who judges with them checks the pin: see [`PinnedGraveyard::load`].
    #[must_use]
    pub const fn embedded_component() -> &'static [u8] {
        EMBEDDED
    }
}

/// Where the Graveyard's bytes come from. They must match the pin in either case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraveyardSource {
    /// The bytes that are compiled into the host.
    Embedded,
    /// A file without any permission to write.
    File(PathBuf),
}

/// Why the Graveyard is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The lock file that was compiled into the host names no digest.
    #[error("the pin compiled into this host is malformed: {0}")]
    MalformedLock(#[source] toml::de::Error),
    /// The bytes have another SHA-256 than the pin.
    #[error("{origin} has SHA-256 {found}, the pin is {pin}; restore the released graveyard.wasm")]
    WrongDigest {
        /// Where the bytes come from.
        origin: String,
        /// The SHA-256 of the bytes.
        found: Digest,
        /// The pin.
        pin: Digest,
    },
    /// The permissions of the file allow writing.
    #[error("{path} may be written to (mode {mode:04o}); run: chmod 0444 {path}", path = path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// The permissions of the file.
        mode: u32,
    },
    /// The path is not a regular file.
    #[error("{path} is not a regular file; name the module itself, not a link to it", path = path.display())]
    NotAFile {
        /// The path.
        path: PathBuf,
    },
    /// The file cannot be read.
    #[error("the Graveyard's file {path} cannot be read: {source}; correct graveyard (--graveyard), or leave it out: the program holds the Graveyard itself", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        source: std::io::Error,
    },
    /// The bytes match the pin but cannot be loaded as a policy.
    #[error("the Graveyard is refused: {0}")]
    Load(#[from] LoadError),
    /// The Graveyard fails its own test vectors on this machine.
    #[error("the Graveyard fails its own test vectors: {0}")]
    Vectors(#[from] VectorFailure),
}

impl Pin {
    /// Returns the pin that is compiled into this host.
    ///
    /// # Errors
    /// The lock file had no digest when the host was built.
    pub fn compiled_in() -> Result<Self, PinError> {
        #[derive(serde::Deserialize)]
        struct PinLock {
            sha256: Digest,
        }
        let lock: PinLock = toml::from_str(LOCK).map_err(PinError::MalformedLock)?;
        Ok(Self(lock.sha256))
    }

    /// Makes a pin from any digest. Only for tools that inspect a module without trusting it.
    #[must_use]
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// Returns the digest.
    #[must_use]
    pub const fn digest(self) -> Digest {
        self.0
    }

    /// Checks that the source cannot be written to and has the pinned bytes, and returns them.
    ///
    /// # Errors
    /// As [`PinnedGraveyard::load`], except for those of loading and of the test vectors.
    pub fn verify_source(self, source: &GraveyardSource) -> Result<Vec<u8>, PinError> {
        let (origin, bytes) = match source {
            GraveyardSource::Embedded => ("the embedded module".to_owned(), EMBEDDED.to_vec()),
            GraveyardSource::File(path) => (path.display().to_string(), read_unwritable(path)?),
        };
        let found = Digest::hash_bytes(&bytes);
        if found != self.0 {
            return Err(PinError::WrongDigest {
                origin,
                found,
                pin: self.0,
            });
        }
        Ok(bytes)
    }
}

/// The Graveyard, loaded and tested.
pub struct PinnedGraveyard {
    /// The policy.
    pub policy: Policy,
    /// The number of test vectors that were run.
    pub vectors: usize,
}

impl PinnedGraveyard {
    /// Checks the pin, loads the policy and runs its test vectors on this engine.
    ///
    /// # Errors
    /// See [`PinError`].
    pub fn load(engine: &Engine, source: &GraveyardSource, pin: Pin) -> Result<Self, PinError> {
        let bytes = pin.verify_source(source)?;
        let policy = Policy::load(engine, &bytes)?;
        let vectors = run_vectors_in_one_instance(&policy)?;
        Ok(Self { policy, vectors })
    }
}

fn read_unwritable(path: &Path) -> Result<Vec<u8>, PinError> {
    let unreadable = |source| PinError::Unreadable {
        path: path.to_owned(),
        source,
    };
    let link = std::fs::symlink_metadata(path).map_err(unreadable)?;
    if !link.file_type().is_file() {
        return Err(PinError::NotAFile {
            path: path.to_owned(),
        });
    }
    let file = std::fs::File::open(path).map_err(unreadable)?;
    // Of the open file: the path may refer to another one by now.
    let metadata = file.metadata().map_err(unreadable)?;
    if metadata.mode() & 0o222 != 0 {
        return Err(PinError::Writable {
            path: path.to_owned(),
            mode: metadata.mode() & 0o7777,
        });
    }
    let mut bytes = Vec::new();
    file.take(MAX_COMPONENT_BYTES as u64 + 1)
        .read_to_end(&mut bytes)
        .map_err(unreadable)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn earlier_releases_are_what_their_locks_say() {
        #[derive(serde::Deserialize)]
        struct ReleaseLock {
            version: String,
            sha256: Digest,
            size: usize,
        }
        assert!(RELEASED.iter().any(|(version, ..)| *version == "1.0.0"));
        for (version, module, lock) in RELEASED {
            let lock: ReleaseLock = toml::from_str(lock).unwrap();
            assert_eq!(lock.version, *version);
            assert_eq!(lock.size, module.len(), "{version}");
            assert_eq!(lock.sha256, Digest::hash_bytes(module), "{version}");
            assert_ne!(*module, EMBEDDED, "{version} is this release");
            let found = ReleasedGraveyard::find_earlier(lock.sha256).unwrap();
            assert_eq!(found.version, *version);
        }
        assert!(ReleasedGraveyard::find_earlier(Digest::hash_bytes(EMBEDDED)).is_none());
    }
}
