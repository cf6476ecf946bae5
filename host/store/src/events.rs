//! What happened since: audit rows and alerts in the order they were committed, and a bell that rings at every commit.

use rusqlite::params;
use tokio::sync::watch;

use super::Store;
use super::audit::{AuditRow, COLUMNS, read_row};
use super::control::{ALERT_COLUMNS, AlertRow, read_alert};
use super::error::ReadError;

/// How far somebody has read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Place {
    /// The last audit row.
    pub audit: u64,
    /// The last alert.
    pub alert: u64,
}

impl Store {
    /// Rings (changes) after every commit.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.inner.commits.subscribe()
    }

    /// The place behind everything that is committed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn last_place(&self) -> Result<Place, ReadError> {
        self.inner.readers.with(|connection| {
            Ok(Place {
                audit: super::audit::head(connection)?.seq,
                alert: connection
                    .prepare_cached("SELECT COALESCE(max(seq), 0) FROM watchdog_events")?
                    .query_row([], |row| row.get(0))?,
            })
        })
    }

    /// The first audit row that is still in the database, and not in an archive; `None`: there is none.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn first_kept(&self) -> Result<Option<u64>, ReadError> {
        self.inner.readers.with(|connection| {
            connection
                .prepare_cached("SELECT min(seq) FROM audit_log")?
                .query_row([], |row| row.get(0))
        })
    }

    /// What was committed behind a place, in its order: `limit` audit rows and as many alerts at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn since(
        &self,
        place: Place,
        limit: u32,
    ) -> Result<(Vec<AuditRow>, Vec<AlertRow>), ReadError> {
        self.inner.readers.with(|connection| {
            let rows = connection
                .prepare_cached(&format!(
                    "SELECT {COLUMNS} FROM audit_log WHERE seq > ?1 ORDER BY seq LIMIT ?2"
                ))?
                .query_map(params![place.audit, limit], read_row)?
                .collect::<rusqlite::Result<_>>()?;
            let alerts = connection
                .prepare_cached(&format!(
                    "SELECT {ALERT_COLUMNS} FROM watchdog_events WHERE seq > ?1 ORDER BY seq LIMIT ?2"
                ))?
                .query_map(params![place.alert, limit], read_alert)?
                .collect::<rusqlite::Result<_>>()?;
            Ok((rows, alerts))
        })
    }
}
