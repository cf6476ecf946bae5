//! The Graveyard's pin: the one policy module whose exact bytes the host trusts.

use std::io::Read;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use ark_model::ids::Digest;

use super::engine::Engine;
use super::load::{LoadError, MAX_COMPONENT_BYTES};
use super::policy::Policy;
use super::vectors::{VectorFailure, run_vectors};

/// The digest the Graveyard must have, as compiled into this host from `policies/graveyard.lock`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pin(Digest);

static EMBEDDED: &[u8] = include_bytes!("../../../policies/graveyard.wasm");
const LOCK: &str = include_str!("../../../policies/graveyard.lock");

/// Where the Graveyard's bytes come from. Both must match the pin.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GraveyardSource {
    /// The bytes compiled into the host.
    Embedded,
    /// A file that nobody may write to.
    File(PathBuf),
}

/// Why the Graveyard is not trusted.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    /// The lock file compiled in names no digest.
    #[error("the pin compiled into this host is malformed: {0}")]
    MalformedLock(String),
    /// Other bytes than the pinned ones.
    #[error("{origin} has SHA-256 {found}, the pin is {pin}; restore the released graveyard.wasm")]
    WrongDigest {
        /// Which bytes.
        origin: String,
        /// Their digest.
        found: Digest,
        /// The pin.
        pin: Digest,
    },
    /// Somebody may change the file.
    #[error("{path} may be written to (mode {mode:04o}); run: chmod 0444 {path}", path = path.display())]
    Writable {
        /// The file.
        path: PathBuf,
        /// Its mode.
        mode: u32,
    },
    /// It is not a plain file.
    #[error("{path} is not a regular file; name the module itself, not a link to it", path = path.display())]
    NotAFile {
        /// What was named.
        path: PathBuf,
    },
    /// It cannot be read.
    #[error("{path} cannot be read: {source}", path = path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The bytes match, but are no policy.
    #[error("the Graveyard is refused: {0}")]
    Load(#[from] LoadError),
    /// It does not pass its own test vectors on this machine's engine.
    #[error("the Graveyard fails its own test vectors: {0}")]
    Vectors(#[from] VectorFailure),
}

impl Pin {
    /// The pin compiled into this host.
    ///
    /// # Errors
    /// The lock file had no digest when the host was built.
    pub fn compiled_in() -> Result<Self, PinError> {
        #[derive(serde::Deserialize)]
        struct Lock {
            sha256: Digest,
        }
        let lock: Lock =
            toml::from_str(LOCK).map_err(|error| PinError::MalformedLock(error.to_string()))?;
        Ok(Self(lock.sha256))
    }

    /// A pin of one's own choice: only for tools that look at a module without trusting it.
    #[must_use]
    pub const fn from_digest(digest: Digest) -> Self {
        Self(digest)
    }

    /// The digest.
    #[must_use]
    pub const fn digest(self) -> Digest {
        self.0
    }

    /// Whether the source still has the pinned bytes and cannot be written to.
    ///
    /// # Errors
    /// As [`PinnedGraveyard::load`], short of compiling.
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

/// The Graveyard, loaded and proved.
pub struct PinnedGraveyard {
    /// The policy.
    pub policy: Policy,
    /// How many of its test vectors were run.
    pub vectors: usize,
}

impl PinnedGraveyard {
    /// Checks the pin, loads the module, makes sure that it imports nothing and runs its test vectors on this engine.
    ///
    /// # Errors
    /// See [`PinError`]: each says which it is.
    pub fn load(engine: &Engine, source: &GraveyardSource, pin: Pin) -> Result<Self, PinError> {
        let bytes = pin.verify_source(source)?;
        let policy = Policy::load(engine, &bytes)?;
        let vectors = run_vectors(&policy)?;
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
    // Of the file that is open, not of what the name may mean by now.
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
