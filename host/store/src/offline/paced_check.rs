//! The check of a database that a host serves from, or is about to serve from.
//!
//! [`check_recent_rows`] is quick: a start does it. [`check_beside_host`] checks everything in slices of a connection of its own, and rests between
//! them, so that it holds up neither the writer nor the write-ahead log: no slice reads for longer than [`LONGEST_SLICE`].

use std::path::Path;
use std::time::{Duration, Instant};

use ark_model::ids::Digest;
use rusqlite::Connection;

use crate::anchors::{Anchor, AnchorWalk, read_anchors};
use crate::chain::{ChainFault, ChainHead};
use crate::directory::database_path;
use crate::query::{is_damage, is_interrupted, limit_statements, select_rows};
use crate::schema;
use crate::tables::audit::{archived_head, audit_columns, read_audit_head};
use crate::tables::state::read_state_head;

use super::error::MaintenanceError;
use super::verify_audit::check_audit_row;
use super::verify_state::{REVISION_COLUMNS, StateReport, check_gaps, check_keys, check_revision};

/// How many rows at the end of each chain a start checks.
const RECENT_ROWS: u64 = 1_000;
/// How many rows of a chain are read in one slice.
const SLICE_ROWS: u32 = 500;
/// How long a slice may read. What takes longer is left out and named.
const LONGEST_SLICE: Duration = Duration::from_secs(5);

/// What a check of the whole database found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PacedReport {
    /// How many rows of the audit log were checked; those in archive files are not.
    pub rows: u64,
    /// How many revisions of the state were checked.
    pub revisions: u64,
    /// How many anchors were compared.
    pub anchors: u64,
    /// What would have held up the host for too long and was left out: names of tables, and of comparisons.
    pub skipped: Vec<String>,
    /// The first fault; `None`: the database is as it was written.
    pub fault: Option<String>,
}

/// Why a check ends before it has looked at everything.
enum Ended {
    /// It found a fault.
    Fault(String),
    /// It was told to stop.
    Stopped,
    /// The database or the anchors cannot be read.
    Failed(MaintenanceError),
}

impl From<rusqlite::Error> for Ended {
    fn from(error: rusqlite::Error) -> Self {
        if is_damage(&error) {
            Self::Fault(error.to_string())
        } else {
            Self::Failed(error.into())
        }
    }
}

/// Checks pages, audit log, anchors and state of a database while a host may write to it. After each slice `rest` is given the time that it took,
/// and rests; it returns false when the check is to stop. Returns `None` when it was stopped.
///
/// # Errors
/// The database or the anchors cannot be read. A fault is no error but part of the report.
pub fn check_beside_host(
    dir: &Path,
    rest: &mut dyn FnMut(Duration) -> bool,
) -> Result<Option<PacedReport>, MaintenanceError> {
    let connection = schema::open_connection(&database_path(dir))?;
    let mut check = PacedCheck {
        connection,
        dir,
        rest,
        report: PacedReport::default(),
    };
    match check.check_all() {
        Ok(()) => {}
        Err(Ended::Fault(fault)) => check.report.fault = Some(fault),
        Err(Ended::Stopped) => return Ok(None),
        Err(Ended::Failed(error)) => return Err(error),
    }
    Ok(Some(check.report))
}

struct PacedCheck<'a> {
    connection: Connection,
    dir: &'a Path,
    rest: &'a mut dyn FnMut(Duration) -> bool,
    report: PacedReport,
}

impl PacedCheck<'_> {
    fn check_all(&mut self) -> Result<(), Ended> {
        self.check_pages()?;
        let anchors = read_anchors(self.dir).map_err(|error| Ended::Failed(error.into()))?;
        self.check_log(&anchors)?;
        self.check_state(&anchors)
    }

    /// Checks the pages of each table and its indexes.
    fn check_pages(&mut self) -> Result<(), Ended> {
        let tables: Vec<String> = select_rows(
            &self.connection,
            "SELECT name FROM sqlite_schema WHERE type = 'table' AND name NOT LIKE 'sqlite_%'
                 AND sql NOT LIKE 'CREATE VIRTUAL TABLE%' ORDER BY name",
            [],
            |row| row.get(0),
        )?;
        for table in tables {
            let sql = format!("PRAGMA quick_check('{table}')");
            let finding = self.run_bounded(&table, |connection| {
                connection.query_row(&sql, [], |row| row.get::<_, String>(0))
            })?;
            if let Some(finding) = finding.filter(|finding| finding != "ok") {
                return Err(Ended::Fault(format!("the table {table}: {finding}")));
            }
        }
        Ok(())
    }

    /// Checks the chain of the audit log and its anchors.
    fn check_log(&mut self, anchors: &[Anchor]) -> Result<(), Ended> {
        let mut walk = AnchorWalk::new(anchors.iter().map(Anchor::audit).collect());
        self.report.anchors = walk.remaining();
        let mut head = ChainHead::GENESIS;
        loop {
            let started = Instant::now();
            let before = head.seq;
            let fault = {
                let moment = self.connection.unchecked_transaction()?;
                let archived = archived_head(&moment)?;
                if archived.seq > head.seq {
                    // What came before is in an archive, since the check began or before.
                    head = archived;
                }
                let skipped_to = head.seq;
                let fault = walk_slice(&moment, &mut head, &mut walk)?;
                self.report.rows += head.seq - skipped_to;
                fault
            };
            if let Some(fault) = fault {
                return Err(log_fault("audit log", &fault));
            }
            if head.seq - before < u64::from(SLICE_ROWS) {
                break;
            }
            self.pause_between(started)?;
        }
        match walk.first_behind(head) {
            None => Ok(()),
            Some(anchor) => Err(Ended::Fault(format!(
                "the audit log ends with row {}, and was anchored with {} rows",
                head.seq, anchor.seq
            ))),
        }
    }

    /// Checks the chain of the state's history, its anchors, and the live keys.
    fn check_state(&mut self, anchors: &[Anchor]) -> Result<(), Ended> {
        let mut walk = AnchorWalk::new(anchors.iter().filter_map(|anchor| anchor.state).collect());
        let mut head = ChainHead::GENESIS;
        loop {
            let started = Instant::now();
            let before = head.seq;
            if let Some(fault) = walk_revisions(&self.connection, &mut head, &mut walk)? {
                return Err(log_fault("history of state", &fault));
            }
            self.report.revisions += head.seq - before;
            if head.seq - before < u64::from(SLICE_ROWS) {
                break;
            }
            self.pause_between(started)?;
        }
        if let Some(anchor) = walk.first_behind(head) {
            return Err(Ended::Fault(format!(
                "the history of state ends with revision {}, and was anchored with {}",
                head.seq, anchor.seq
            )));
        }
        for (name, comparison) in [
            (
                "revisions without a gap",
                check_gaps as fn(&Connection) -> rusqlite::Result<Option<ChainFault>>,
            ),
            ("keys as their last revision says", check_keys),
        ] {
            if let Some(fault) = self.run_bounded(name, comparison)?.flatten() {
                return Err(log_fault("history of state", &fault));
            }
        }
        Ok(())
    }

    /// Runs a statement for [`LONGEST_SLICE`] at most; `None`: it took longer, and `name` is noted as left out.
    fn run_bounded<T>(
        &mut self,
        name: &str,
        statement: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> Result<Option<T>, Ended> {
        let started = Instant::now();
        limit_statements(&mut self.connection, Some(LONGEST_SLICE))?;
        let result = statement(&self.connection);
        limit_statements(&mut self.connection, None)?;
        let result = match result {
            Ok(result) => Some(result),
            Err(error) if is_interrupted(&error) => {
                self.report.skipped.push(name.to_owned());
                None
            }
            Err(error) => return Err(error.into()),
        };
        self.pause_between(started)?;
        Ok(result)
    }

    fn pause_between(&mut self, started: Instant) -> Result<(), Ended> {
        if (self.rest)(started.elapsed()) {
            Ok(())
        } else {
            Err(Ended::Stopped)
        }
    }
}

fn log_fault(chain: &str, fault: &ChainFault) -> Ended {
    Ended::Fault(describe_fault(chain, fault))
}

/// Walks along the next rows of the audit log. Returns the first fault among them.
fn walk_slice(
    connection: &Connection,
    head: &mut ChainHead,
    anchors: &mut AnchorWalk,
) -> rusqlite::Result<Option<ChainFault>> {
    let columns = audit_columns(connection)?;
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {columns} FROM audit_log WHERE seq > ?1 ORDER BY seq LIMIT {SLICE_ROWS}"
    ))?;
    let mut rows = statement.query([head.seq])?;
    while let Some(row) = rows.next()? {
        if let Some(fault) = check_audit_row(head, row)? {
            return Ok(Some(fault));
        }
        if !anchors.advance_to(*head) {
            return Ok(Some(ChainFault::new(
                head.seq,
                "is not the row that was anchored",
            )));
        }
    }
    Ok(None)
}

/// Walks along the next revisions. Returns the first fault among them.
fn walk_revisions(
    connection: &Connection,
    head: &mut ChainHead,
    anchors: &mut AnchorWalk,
) -> rusqlite::Result<Option<ChainFault>> {
    let mut report = StateReport::empty();
    let mut statement = connection.prepare_cached(&format!(
        "SELECT {REVISION_COLUMNS} FROM state_history WHERE seq > ?1 ORDER BY seq LIMIT {SLICE_ROWS}"
    ))?;
    let mut rows = statement.query([head.seq])?;
    while let Some(row) = rows.next()? {
        if let Some(fault) = check_revision(head, row, None, &mut report)? {
            return Ok(Some(fault));
        }
        if !anchors.advance_to(*head) {
            return Ok(Some(ChainFault::new(
                head.seq,
                "is not the revision that was anchored",
            )));
        }
    }
    Ok(None)
}

/// Checks the last [`RECENT_ROWS`] rows of both chains, which is where an interrupted disk or a hand has most likely left something. Returns the
/// first fault, in words.
///
/// # Errors
/// The database cannot be read.
pub(crate) fn check_recent_rows(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let archived = archived_head(connection)?;
    let last = read_audit_head(connection)?;
    let from = last.seq.saturating_sub(RECENT_ROWS).max(archived.seq);
    if let Some(mut head) = select_base(connection, "audit_log", from, archived)? {
        let columns = audit_columns(connection)?;
        let mut statement = connection.prepare(&format!(
            "SELECT {columns} FROM audit_log WHERE seq > ?1 ORDER BY seq"
        ))?;
        let mut rows = statement.query([head.seq])?;
        while let Some(row) = rows.next()? {
            if let Some(fault) = check_audit_row(&mut head, row)? {
                return Ok(Some(describe_fault("audit log", &fault)));
            }
        }
    }
    let last = read_state_head(connection)?;
    let from = last.seq.saturating_sub(RECENT_ROWS);
    if let Some(mut head) = select_base(connection, "state_history", from, ChainHead::GENESIS)? {
        let mut report = StateReport::empty();
        let mut statement = connection.prepare(&format!(
            "SELECT {REVISION_COLUMNS} FROM state_history WHERE seq > ?1 ORDER BY seq"
        ))?;
        let mut rows = statement.query([head.seq])?;
        while let Some(row) = rows.next()? {
            if let Some(fault) = check_revision(&mut head, row, None, &mut report)? {
                return Ok(Some(describe_fault("history of state", &fault)));
            }
        }
    }
    Ok(None)
}

fn describe_fault(chain: &str, fault: &ChainFault) -> String {
    format!("{chain}: row {} {}", fault.seq, fault.problem)
}

/// The row of a chain behind which a walk begins, `before` if it is that one; `None`: there is no such row, which the walk of the whole chain says.
fn select_base(
    connection: &Connection,
    table: &str,
    seq: u64,
    before: ChainHead,
) -> rusqlite::Result<Option<ChainHead>> {
    if seq == before.seq {
        return Ok(Some(before));
    }
    ChainHead::select(
        connection,
        &format!("SELECT seq, hash FROM {table} WHERE seq = {seq} AND length(hash) = 32"),
    )
}

impl StateReport {
    /// The report of a check that has looked at nothing yet.
    pub(super) const fn empty() -> Self {
        Self {
            revisions: 0,
            head: Digest::from_bytes([0; 32]),
            keys: 0,
            secrets: 0,
            secrets_unchecked: 0,
            secrets_given_up: 0,
            anchors: 0,
            fault: None,
            schema: Vec::new(),
            schema_notes: Vec::new(),
            tokens: Vec::new(),
            orders: Vec::new(),
        }
    }
}
