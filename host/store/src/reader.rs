//! Reading: connections that only read, shared by all threads.
//!
//! Each table of [`crate::tables`] adds the methods that read it.

use crossbeam_channel::{Receiver, Sender};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Params, Row};

use crate::error::ReadError;
use crate::query;
use crate::schema::current_schema;
use crate::secrets::SecretKey;

/// Reads the database. What one call returns is of one moment, unless its documentation says otherwise.
///
/// A method waits for a connection when all of them are busy, and blocks its thread until the answer is there.
pub struct Reader {
    idle: Receiver<Connection>,
    returned: Sender<Connection>,
    schema: u32,
    secret_key: Option<SecretKey>,
}

impl Reader {
    /// Shares connections to a database of the given schema.
    pub(crate) fn new(
        connections: Vec<Connection>,
        schema: u32,
        secret_key: Option<SecretKey>,
    ) -> Self {
        let (returned, idle) = crossbeam_channel::bounded(connections.len());
        for connection in connections {
            // The channel has a place for each of them.
            let _ = returned.send(connection);
        }
        Self {
            idle,
            returned,
            schema,
            secret_key,
        }
    }

    /// Runs a query on one of the connections.
    pub(crate) fn with_connection<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        let connection = self.idle.recv().map_err(|_| ReadError::Closed)?;
        let result = query(&connection);
        let _ = self.returned.send(connection);
        Ok(result?)
    }

    /// Runs queries on one of the connections, which all see the database of one moment.
    pub(crate) fn with_snapshot<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<T, ReadError> {
        self.with_connection(|connection| query(&*connection.unchecked_transaction()?))
    }

    /// Reads every row of a query.
    pub(crate) fn select_rows<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, ReadError> {
        self.with_connection(|connection| query::select_rows(connection, sql, params, read))
    }

    /// Reads the first row of a query; `None` when it has no row.
    pub(crate) fn select_row<T>(
        &self,
        sql: &str,
        params: impl Params,
        read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, ReadError> {
        self.with_connection(|connection| query::select_row(connection, sql, params, read))
    }

    /// Reads the first column of a query that has always a row.
    pub(crate) fn select_value<T: FromSql>(
        &self,
        sql: &str,
        params: impl Params,
    ) -> Result<T, ReadError> {
        self.with_connection(|connection| query::select_value(connection, sql, params))
    }

    /// The schema the database had when it was opened.
    pub(crate) const fn schema(&self) -> u32 {
        self.schema
    }

    /// Refuses a database of an earlier schema, for tables that it lacks.
    pub(crate) fn require_current_schema(&self) -> Result<(), ReadError> {
        let current = current_schema();
        if self.schema == current {
            return Ok(());
        }
        Err(ReadError::EarlierSchema {
            found: self.schema,
            current,
        })
    }

    /// The key that decrypts secrets.
    pub(crate) const fn secret_key(&self) -> Option<&SecretKey> {
        self.secret_key.as_ref()
    }
}
