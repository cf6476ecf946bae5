//! This host's cursor in a fleet of hosts.

use rusqlite::{Connection, params};
use uuid::Uuid;

use crate::error::ReadError;
use crate::query::execute_cached;
use crate::reader::Reader;

/// How far this host has published its orders to a fleet, and applied those of the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FleetCursor {
    /// The name of this host in the fleet: random, and kept permanently.
    pub origin: String,
    /// The number of the last audit row whose order was published.
    pub published_seq: u64,
    /// The id of the others' last order that was applied here.
    pub last_applied: String,
}

impl FleetCursor {
    /// The cursor of a host that joins a fleet, with a new random name.
    #[must_use]
    pub fn for_new_host(published_seq: u64, last_applied: String) -> Self {
        Self {
            origin: Uuid::now_v7().to_string(),
            published_seq,
            last_applied,
        }
    }
}

pub(crate) fn write_fleet_cursor(
    connection: &Connection,
    cursor: &FleetCursor,
) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT INTO fleet (id, origin, published, read) VALUES (1, ?1, ?2, ?3)
         ON CONFLICT (id) DO UPDATE SET published = ?2, read = ?3",
        params![cursor.origin, cursor.published_seq, cursor.last_applied],
    )
    .map(drop)
}

impl Reader {
    /// This host's cursor; `None` when it was in no fleet yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn fleet_cursor(&self) -> Result<Option<FleetCursor>, ReadError> {
        self.select_row("SELECT origin, published, read FROM fleet", [], |row| {
            Ok(FleetCursor {
                origin: row.get(0)?,
                published_seq: row.get(1)?,
                last_applied: row.get(2)?,
            })
        })
    }
}
