//! Halts, quarantines and alerts: what is in force now, and what the watchdog noticed.
//!
//! Who ordered what and when stands in the audit log; the tables here hold what is in force, so that a start finds it at once.

use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::control::{Alert, AlertSeverity, Halt, Quarantine};
use ark_model::ids::{Millis, Name};

use super::Store;
use super::audit::{parse_column, parse_required};
use super::error::ReadError;

/// How many alerts are kept; older ones are dropped.
const MAX_ALERTS: u32 = 100_000;

/// A change of what is in force.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ControlChange {
    /// A halt begins.
    Halt(Halt),
    /// The halt ends.
    Resume,
    /// A quarantine begins.
    Quarantine(Quarantine),
    /// An agent's quarantine ends.
    Restore(Name),
}

/// What is in force.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ControlRows {
    /// The halt.
    pub halt: Option<Halt>,
    /// The quarantines, by agent.
    pub quarantines: Vec<Quarantine>,
}

/// Which alerts to list. Everything given must match.
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    /// The agent.
    pub agent: Option<Name>,
    /// At least as bad.
    pub severity: Option<AlertSeverity>,
    /// The kind.
    pub kind: Option<String>,
}

/// An alert with its place.
#[derive(Debug, Clone, PartialEq, serde::Serialize, utoipa::ToSchema)]
pub struct AlertRow {
    /// Its place: rising, not necessarily without a gap.
    pub seq: u64,
    /// The alert.
    #[serde(flatten)]
    pub alert: Alert,
}

pub(super) fn write_control_change(
    connection: &Connection,
    change: &ControlChange,
) -> rusqlite::Result<()> {
    match change {
        ControlChange::Halt(halt) => connection
            .prepare_cached("INSERT INTO halts (id, reason, by, at) VALUES (1, ?1, ?2, ?3) ON CONFLICT (id) DO NOTHING")?
            .execute(params![halt.reason, halt.by, halt.at_ms.0]),
        ControlChange::Resume => connection
            .prepare_cached("DELETE FROM halts")?
            .execute([]),
        ControlChange::Quarantine(quarantine) => connection
            .prepare_cached(
                "INSERT INTO quarantines (agent, cause, reason, by, at) VALUES (?1, ?2, ?3, ?4, ?5)
                 ON CONFLICT (agent) DO NOTHING",
            )?
            .execute(params![
                quarantine.agent.as_str(),
                quarantine.cause.as_str(),
                quarantine.reason,
                quarantine.by,
                quarantine.at_ms.0
            ]),
        ControlChange::Restore(agent) => connection
            .prepare_cached("DELETE FROM quarantines WHERE agent = ?1")?
            .execute([agent.as_str()]),
    }
    .map(drop)
}

pub(super) fn write_alert(connection: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO watchdog_events (at, severity, kind, agent, message, observed, \"limit\")
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        )?
        .execute(params![
            alert.at_ms.0,
            alert.severity.as_str(),
            alert.kind,
            alert.agent.as_ref().map(Name::as_str),
            alert.message,
            alert.observed,
            alert.limit,
        ])?;
    connection
        .prepare_cached(
            "DELETE FROM watchdog_events WHERE seq <= (SELECT max(seq) FROM watchdog_events) - ?1",
        )?
        .execute([MAX_ALERTS])?;
    Ok(())
}

fn read_quarantine(row: &Row<'_>) -> rusqlite::Result<Quarantine> {
    let cause: String = row.get(1)?;
    let cause = serde_json::from_value(cause.into()).map_err(|error| {
        rusqlite::Error::FromSqlConversionFailure(1, rusqlite::types::Type::Text, Box::new(error))
    })?;
    Ok(Quarantine {
        agent: parse_required(row, 0)?,
        cause,
        reason: row.get(2)?,
        by: row.get(3)?,
        at_ms: Millis(row.get(4)?),
    })
}

pub(super) const ALERT_COLUMNS: &str =
    "seq, at, severity, kind, agent, message, observed, \"limit\"";

pub(super) fn read_alert(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let severity: String = row.get(2)?;
    Ok(AlertRow {
        seq: row.get(0)?,
        alert: Alert {
            at_ms: Millis(row.get(1)?),
            // The table's own check lets nothing else in.
            severity: AlertSeverity::parse(&severity).unwrap_or(AlertSeverity::Critical),
            kind: row.get(3)?,
            agent: parse_column(row, 4)?,
            message: row.get(5)?,
            observed: row.get(6)?,
            limit: row.get(7)?,
        },
    })
}

impl Store {
    /// What is in force.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn control_rows(&self) -> Result<ControlRows, ReadError> {
        self.inner.readers.with_connection(|connection| {
            let halt = connection
                .prepare_cached("SELECT reason, by, at FROM halts")?
                .query_row([], |row| {
                    Ok(Halt {
                        reason: row.get(0)?,
                        by: row.get(1)?,
                        at_ms: Millis(row.get(2)?),
                    })
                })
                .optional()?;
            let quarantines = connection
                .prepare_cached(
                    "SELECT agent, cause, reason, by, at FROM quarantines ORDER BY agent",
                )?
                .query_map([], read_quarantine)?
                .collect::<rusqlite::Result<_>>()?;
            Ok(ControlRows { halt, quarantines })
        })
    }

    /// Alerts, newest first, those before `before`, `limit` at most.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn alerts_page(
        &self,
        filter: &AlertFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<AlertRow>, ReadError> {
        let severities: Vec<&str> = [
            AlertSeverity::Info,
            AlertSeverity::Warning,
            AlertSeverity::Critical,
        ]
        .into_iter()
        .filter(|severity| filter.severity.is_none_or(|least| *severity >= least))
        .map(AlertSeverity::as_str)
        .collect();
        let severities = severities.join(",");
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {ALERT_COLUMNS} FROM watchdog_events
                     WHERE seq < ?1 AND (?2 IS NULL OR agent = ?2) AND (?3 IS NULL OR kind = ?3)
                       AND instr(?4, severity) > 0
                     ORDER BY seq DESC LIMIT ?5"
                ))?
                .query_map(
                    params![
                        before.unwrap_or(i64::MAX as u64),
                        filter.agent.as_ref().map(Name::as_str),
                        filter.kind,
                        severities,
                        limit
                    ],
                    read_alert,
                )?
                .collect()
        })
    }
}
