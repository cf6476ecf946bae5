//! The administrator's token that a restore makes where the snapshot has none: kept in a file beside the journal, and used for the later steps.

use std::io::{self, Write};
use std::path::{Path, PathBuf};

use super::error::RollbackError;

/// The file of the token of a rollback, beside its journal.
pub(super) fn token_path(journal: &Path, id: &str) -> PathBuf {
    journal.with_file_name(format!("{id}-admin.token"))
}

/// Writes a token to a file that its owner alone can read. It is on disk when this returns.
pub(super) fn write_token(path: &Path, token: &str) -> Result<(), RollbackError> {
    let failed = |cause| RollbackError::Token {
        path: path.to_owned(),
        cause,
    };
    let dir = match path.parent() {
        Some(dir) if !dir.as_os_str().is_empty() => dir,
        _ => Path::new("."),
    };
    // Mode 0600 from the beginning.
    let mut file = tempfile::NamedTempFile::new_in(dir).map_err(failed)?;
    writeln!(file, "{token}")
        .and_then(|()| file.as_file().sync_all())
        .map_err(failed)?;
    file.persist(path).map_err(|error| failed(error.error))?;
    std::fs::File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(failed)
}

/// The token that an earlier run kept; `None`: none was made.
pub(super) fn read_token(path: &Path) -> Result<Option<String>, RollbackError> {
    match std::fs::read_to_string(path) {
        Ok(token) => Ok(Some(token.trim().to_owned())),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(cause) => Err(RollbackError::Token {
            path: path.to_owned(),
            cause,
        }),
    }
}
