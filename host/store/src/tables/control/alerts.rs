//! The watchdog's alerts.

use ark_model::control::{Alert, AlertSeverity};
use ark_model::ids::Name;
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{MAX_SEQ, execute_cached, millis_column, parse_column};
use crate::reader::Reader;

/// How many alerts are kept; older ones are deleted.
const MAX_ALERTS: u32 = 100_000;

/// Which alerts to list. An alert must match everything that is given.
#[derive(Debug, Clone, Default)]
pub struct AlertFilter {
    /// The agent.
    pub agent: Option<Name>,
    /// The lowest severity.
    pub severity: Option<AlertSeverity>,
    /// The kind.
    pub kind: Option<String>,
}

/// An alert with its number.
#[derive(Debug, Clone, PartialEq)]
pub struct AlertRow {
    /// The number: rising, possibly with gaps.
    pub seq: u64,
    /// The alert.
    pub alert: Alert,
}

/// Writes an alert, and deletes the oldest one when there are too many.
pub(crate) fn write_alert(connection: &Connection, alert: &Alert) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT INTO watchdog_events (at, severity, kind, agent, message, observed, \"limit\")
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
        params![
            alert.at_ms.0,
            alert.severity.as_str(),
            alert.kind,
            alert.agent.as_ref().map(Name::as_str),
            alert.message,
            alert.observed,
            alert.limit,
        ],
    )?;
    execute_cached(
        connection,
        "DELETE FROM watchdog_events WHERE seq <= (SELECT max(seq) FROM watchdog_events) - ?1",
        [MAX_ALERTS],
    )
    .map(drop)
}

/// The columns that [`read_alert`] reads.
pub(crate) const ALERT_COLUMNS: &str =
    "seq, at, severity, kind, agent, message, observed, \"limit\"";

pub(crate) fn read_alert(row: &Row<'_>) -> rusqlite::Result<AlertRow> {
    let severity: String = row.get(2)?;
    Ok(AlertRow {
        seq: row.get(0)?,
        alert: Alert {
            at_ms: millis_column(row, 1)?,
            // The table's own check lets no other text in.
            severity: AlertSeverity::parse(&severity).unwrap_or(AlertSeverity::Critical),
            kind: row.get(3)?,
            agent: parse_column(row, 4)?,
            message: row.get(5)?,
            observed: row.get(6)?,
            limit: row.get(7)?,
        },
    })
}

/// The statement of [`Reader::alerts_page`]: of one agent by its index, else of all. Its parameters: the number that the page is before, agent, kind,
/// severities, limit.
fn select_page(of_agent: bool) -> String {
    let agent = if of_agent { "agent = ?2" } else { "TRUE" };
    format!(
        "SELECT {ALERT_COLUMNS} FROM watchdog_events
         WHERE seq < ?1 AND {agent} AND (?3 IS NULL OR kind = ?3) AND instr(?4, severity) > 0
         ORDER BY seq DESC LIMIT ?5"
    )
}

impl Reader {
    /// The alerts that match, newest first, before the alert `before` when it is given, at most `limit`.
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
        let params = params![
            before.unwrap_or(MAX_SEQ),
            filter.agent.as_ref().map(Name::as_str),
            filter.kind,
            severities.join(","),
            limit
        ];
        self.select_rows(&select_page(filter.agent.is_some()), params, read_alert)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::explain_plan;

    #[test]
    fn a_page_of_an_agent_is_found_by_its_index() {
        assert_eq!(
            explain_plan(&select_page(true)),
            "SEARCH watchdog_events USING INDEX watchdog_events_agent (agent=? AND seq<?)"
        );
        assert_eq!(
            explain_plan(&select_page(false)),
            "SEARCH watchdog_events USING INTEGER PRIMARY KEY (rowid<?)"
        );
    }
}
