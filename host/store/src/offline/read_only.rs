//! A store that is only read.

use std::ops::Deref;
use std::path::{Path, PathBuf};

use crate::directory::database_path;
use crate::error::OpenError;
use crate::reader::Reader;
use crate::schema;

/// A store that is only read, e.g. for `ark audit`. A host may run on its directory. It dereferences to the [`Reader`], which has the
/// methods that read.
///
/// The database may have an earlier schema. It is not migrated, and methods that need a later table fail with
/// [`crate::ReadError::EarlierSchema`].
pub struct ReadOnlyStore {
    reader: Reader,
    dir: PathBuf,
}

impl ReadOnlyStore {
    /// Opens the database of a data directory.
    ///
    /// # Errors
    /// There is no database, it is broken, or a later version of the program wrote it.
    pub fn open(dir: &Path) -> Result<Self, OpenError> {
        let path = database_path(dir);
        if !path.is_file() {
            return Err(OpenError::Missing { path });
        }
        Ok(Self {
            // One connection for a walk along the log, one for what is looked up on the way.
            reader: schema::open_reader(&path, 2, None)?,
            dir: dir.to_owned(),
        })
    }

    /// The version of the schema that the database has.
    #[must_use]
    pub fn schema_version(&self) -> u32 {
        self.reader.schema()
    }

    /// The data directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Deref for ReadOnlyStore {
    type Target = Reader;

    fn deref(&self) -> &Reader {
        &self.reader
    }
}
