//! Connections that only read, shared by all threads.

use std::path::Path;

use crossbeam_channel::{Receiver, Sender};
use rusqlite::Connection;

use super::error::{OpenError, ReadError};
use super::schema;

pub(crate) struct Readers {
    idle: Receiver<Connection>,
    returned: Sender<Connection>,
}

impl Readers {
    pub(super) fn open(path: &Path, count: usize) -> Result<Self, OpenError> {
        let (back, idle) = crossbeam_channel::bounded(count);
        for _ in 0..count {
            // A fresh channel of this capacity takes them all.
            let _ = back.send(schema::open_reader(path)?);
        }
        Ok(Self {
            idle,
            returned: back,
        })
    }

    /// Runs a query on one of the connections, waiting for one when all are busy.
    pub(super) fn with_connection<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let connection = self
            .idle
            .recv()
            .map_err(|_| ReadError("the store is closed".to_owned()))?;
        let result = query(&connection);
        let _ = self.returned.send(connection);
        Ok(result?)
    }
}
