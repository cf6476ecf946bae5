//! The halt and the quarantines that are in force, so that a start finds them at once. The audit log has who ordered them, and when.

use ark_model::control::{Halt, Quarantine};
use ark_model::ids::Name;
use rusqlite::types::Type;
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{execute_cached, millis_column, parse_required, select_row, select_rows};
use crate::reader::Reader;

/// A change of what is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlChange {
    /// A halt begins.
    Halt(Halt),
    /// The halt ends.
    Resume,
    /// A quarantine begins.
    Quarantine(Quarantine),
    /// The quarantine of an agent ends.
    Restore(Name),
}

/// The halt and the quarantines in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlRows {
    /// The halt; `None`: agents may act.
    pub halt: Option<Halt>,
    /// The quarantines, by agent.
    pub quarantines: Vec<Quarantine>,
}

pub(crate) fn write_control_change(
    connection: &Connection,
    change: &ControlChange,
) -> rusqlite::Result<()> {
    match change {
        ControlChange::Halt(halt) => execute_cached(
            connection,
            "INSERT INTO halts (id, reason, by, at) VALUES (1, ?1, ?2, ?3) ON CONFLICT (id) DO NOTHING",
            params![halt.reason, halt.by, halt.at_ms.0],
        ),
        ControlChange::Resume => execute_cached(connection, "DELETE FROM halts", []),
        ControlChange::Quarantine(quarantine) => execute_cached(
            connection,
            "INSERT INTO quarantines (agent, cause, reason, by, at) VALUES (?1, ?2, ?3, ?4, ?5)
             ON CONFLICT (agent) DO NOTHING",
            params![
                quarantine.agent.as_str(),
                quarantine.cause.as_str(),
                quarantine.reason,
                quarantine.by,
                quarantine.at_ms.0
            ],
        ),
        ControlChange::Restore(agent) => execute_cached(
            connection,
            "DELETE FROM quarantines WHERE agent = ?1",
            [agent.as_str()],
        ),
    }
    .map(drop)
}

fn read_quarantine(row: &Row<'_>) -> rusqlite::Result<Quarantine> {
    let cause: String = row.get(1)?;
    let cause = serde_json::from_value(cause.into()).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, Type::Text, Box::new(error))
    })?;
    Ok(Quarantine {
        agent: parse_required(row, 0)?,
        cause,
        reason: row.get(2)?,
        by: row.get(3)?,
        at_ms: millis_column(row, 4)?,
    })
}

impl Reader {
    /// The halt and the quarantines that are in force.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn control_rows(&self) -> Result<ControlRows, ReadError> {
        self.with_connection(|connection| {
            Ok(ControlRows {
                halt: select_row(connection, "SELECT reason, by, at FROM halts", [], |row| {
                    Ok(Halt {
                        reason: row.get(0)?,
                        by: row.get(1)?,
                        at_ms: millis_column(row, 2)?,
                    })
                })?,
                quarantines: select_rows(
                    connection,
                    "SELECT agent, cause, reason, by, at FROM quarantines ORDER BY agent",
                    [],
                    read_quarantine,
                )?,
            })
        })
    }
}
