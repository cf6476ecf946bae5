//! The administrator's token that a restore makes where the snapshot has none: kept in a file beside the journal, and used for the later steps.
//!
//! Invariant: the token is on disk before the restore that makes it is committed, so that no kill leaves a host whose token nobody has. A file may
//! hold the token of a restore that was not committed; the one that is repeated replaces it.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use ark_client::HostClient;
use ark_store::MaintenanceError;

use crate::durable::place_file;

use crate::exchange::error::ExchangeError;

/// The file of a token.
pub(crate) struct TokenFile(PathBuf);

impl TokenFile {
    /// The file of the token of a deployment, beside its journal.
    pub(crate) fn place_beside(journal: &Path, id: &str) -> Self {
        Self(journal.with_file_name(format!("{id}-admin.token")))
    }

    /// Its path.
    pub(crate) fn into_path(self) -> PathBuf {
        self.0
    }

    /// The description for the operator.
    pub(crate) fn describe_token(&self) -> String {
        format!(
            "the snapshot has no token; a new one of an administrator is in {}",
            self.0.display()
        )
    }

    /// Writes a token to the file, which its owner alone can read. It is on disk when this returns.
    pub(crate) fn write_token(&self, token: &str) -> Result<(), MaintenanceError> {
        place_file(&self.0, |file| writeln!(file, "{token}")).map_err(|cause| {
            MaintenanceError::File {
                path: self.0.clone(),
                cause,
            }
        })
    }

    /// A client with the token that a restore kept; `None`: none was made.
    pub(crate) fn read_client(
        &self,
        client: &HostClient,
    ) -> Result<Option<HostClient>, ExchangeError> {
        match std::fs::read_to_string(&self.0) {
            Ok(token) => {
                let client = client.with_token(token.trim());
                client.map(Some).map_err(ExchangeError::Token)
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(cause) => Err(ExchangeError::for_file(&self.0)(cause)),
        }
    }
}
