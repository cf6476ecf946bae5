//! This host's place in a fleet.

use rusqlite::{Connection, OptionalExtension, params};

use super::Store;
use super::audit::{AUDIT_COLUMNS, AuditRow, read_audit_row};
use super::error::ReadError;

/// How far the orders of a fleet have come at this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetCursor {
    /// This host's name in the fleet: random, kept for good.
    pub origin: String,
    /// The last row of the audit log whose order the others can read.
    pub published_seq: u64,
    /// The last entry of the others that was carried out here.
    pub last_applied: String,
}

pub(super) fn write_fleet_cursor(
    connection: &Connection,
    place: &FleetCursor,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO fleet (id, origin, published, read) VALUES (1, ?1, ?2, ?3)
             ON CONFLICT (id) DO UPDATE SET published = ?2, read = ?3",
        )?
        .execute(params![
            place.origin,
            place.published_seq,
            place.last_applied
        ])?;
    Ok(())
}

impl Store {
    /// This host's place; `None`: it was in no fleet yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn fleet_cursor(&self) -> Result<Option<FleetCursor>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached("SELECT origin, published, read FROM fleet")?
                .query_row([], |row| {
                    Ok(FleetCursor {
                        origin: row.get(0)?,
                        published_seq: row.get(1)?,
                        last_applied: row.get(2)?,
                    })
                })
                .optional()
        })
    }

    /// The orders behind a row of the audit log, the oldest first, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn orders_since(&self, seq: u64, limit: u32) -> Result<Vec<AuditRow>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {AUDIT_COLUMNS} FROM audit_log WHERE seq > ?1 AND kind = 'control' ORDER BY seq LIMIT ?2"
                ))?
                .query_map(params![seq, limit], read_audit_row)?
                .collect()
        })
    }
}
