//! Options for opening a store.

use std::path::PathBuf;
use std::sync::Arc;

use ark_model::meters::StoreMeters;

use crate::secrets::SecretKey;

/// Where the store keeps its data, and its limits.
#[derive(Debug, Clone)]
pub struct StoreConfig {
    /// The data directory. It is created with mode 0700 when it does not exist.
    pub dir: PathBuf,
    /// Whether a start is refused where there is no database: it is expected, and its disk may not be mounted.
    pub require_database: bool,
    /// How many units may wait for the writer; further ones are refused with [`crate::SubmitError::Full`]. At least 1.
    pub queue: usize,
    /// How many units are written in one transaction at most. At least 1.
    pub batch: usize,
    /// How many connections all readers share. At least 1.
    pub readers: usize,
    /// The size the database and its write-ahead log may grow to together, in bytes. `None`: only the disk limits it.
    pub max_bytes: Option<u64>,
    /// The key that encrypts secrets. `None`: secrets can neither be read nor written.
    pub secret_key: Option<SecretKey>,
    /// Where the writer counts what it commits.
    pub meters: Arc<StoreMeters>,
}

impl StoreConfig {
    /// The default configuration for a data directory: a database is made where there is none, a queue of 8192 units, 512 units in a transaction,
    /// 4 readers, no limit of size and no key.
    #[must_use]
    pub fn in_dir(dir: impl Into<PathBuf>) -> Self {
        Self {
            dir: dir.into(),
            require_database: false,
            queue: 8192,
            batch: 512,
            readers: 4,
            max_bytes: None,
            secret_key: None,
            meters: Arc::default(),
        }
    }
}
