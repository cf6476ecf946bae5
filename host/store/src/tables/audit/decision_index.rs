//! The index of decisions: what lists of decisions show and search, without reading the records.
//!
//! Invariants: every decision in `audit_log` has its row here, or is behind those that are written (`derived.rs`); a page costs a bounded number
//! of rows, whatever its filter is. The index is derived: the audit log is the record.

use std::collections::HashMap;

use ark_model::decision::Outcome;
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::instrument::InstrumentKey;
use ark_model::verdict::{Metadata, RuleResult};
use rusqlite::{CachedStatement, Connection, Row, Rows, params};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::error::ReadError;
use crate::query::{
    MAX_SEQ, execute_cached, json_column, malformed_column, millis_column, parse_column,
    select_row, to_json_text,
};
use crate::reader::Reader;

use super::audit_log::AuditKind;
use super::derived::{read_derived_until, read_underived_rows};

/// The most rows of the index that one page is looked for in.
const SCANNED_ROWS: usize = 50_000;

/// A rule that warned, held, was violated or could not be evaluated.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FiredRule {
    /// The name of the policy.
    pub policy: String,
    /// The number of the rule in the policy.
    pub number: u16,
    /// The name of the rule.
    pub rule: String,
    /// What it answered.
    pub answer: RuleResult,
}

/// What the index holds of a decision beside the columns of its audit row.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct IndexedFields {
    /// The instrument, in the proposer's spelling; absent: the action concerns none.
    pub symbol: Option<String>,
    /// The size as a fraction of capital; absent: the action has none, or concerns all of a position.
    pub size: Option<f64>,
    /// The rules that fired, in the order of the policies.
    pub fired: Vec<FiredRule>,
}

/// Which decisions to list. A decision must match everything that is given.
#[derive(Debug, Clone, Default)]
pub struct DecisionFilter {
    /// The agent.
    pub agent: Option<Name>,
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// The action type.
    pub action_type: Option<String>,
    /// The trace.
    pub trace_id: Option<TraceId>,
    /// Decided at this time or later.
    pub since: Option<Millis>,
    /// Decided before this time.
    pub until: Option<Millis>,
    /// The keys of the instrument's spellings, each without aliases; `None`: any instrument, or none.
    pub instruments: Option<Vec<InstrumentKey>>,
    /// The name of a rule that fired.
    pub rule: Option<String>,
}

/// A decision in a list.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionLine {
    /// The number of its audit row.
    pub seq: u64,
    /// Its id.
    pub id: String,
    /// When it was made.
    pub at: Millis,
    /// The trace it belongs to.
    pub trace_id: Option<TraceId>,
    /// The requester.
    pub agent: Option<Name>,
    /// The type of the action.
    pub action_type: Option<String>,
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// What it concerned, and what fired.
    pub subject: IndexedFields,
}

/// A page of decisions.
#[derive(Debug, Clone, PartialEq)]
pub struct IndexPage {
    /// The decisions, newest first.
    pub lines: Vec<DecisionLine>,
    /// The row before which the next page begins; `None`: there is no other decision that matches. A page with fewer lines than asked for, even
    /// with none, may have a next one: only so many rows are looked at for one page.
    pub next: Option<u64>,
}

/// Writes the row of a decision.
pub(super) fn write_decision_row(
    connection: &Connection,
    (seq, at): (u64, Millis),
    agent: Option<&str>,
    action_type: Option<&str>,
    outcome: Option<&str>,
    subject: &IndexedFields,
) -> rusqlite::Result<()> {
    let instrument = subject.symbol.as_deref().map(InstrumentKey::from_symbol);
    let fired = match subject.fired.as_slice() {
        [] => None,
        fired => Some(to_json_text(&fired)?),
    };
    execute_cached(
        connection,
        "INSERT INTO decision_index (seq, at, latest_at, agent, action_type, outcome, symbol, instrument, size, fired)
         VALUES (?1, ?2, max(?2, coalesce((SELECT latest_at FROM decision_index ORDER BY seq DESC LIMIT 1), 0)), ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        params![
            seq,
            at.0,
            agent,
            action_type,
            outcome,
            subject.symbol,
            instrument.as_ref().map(InstrumentKey::as_str),
            subject.size,
            fired,
        ],
    )
    .map(drop)
}

/// Deletes the rows of decisions that are in an archive.
pub(crate) fn delete_decision_rows_until(
    connection: &Connection,
    last: u64,
) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "DELETE FROM decision_index WHERE seq <= ?1",
        [last],
    )
    .map(drop)
}

/// Makes the index from the audit log that an earlier schema left.
pub(crate) fn fill_decision_index(connection: &Connection) -> rusqlite::Result<()> {
    let policies = read_policies(connection)?;
    let mut statement = connection.prepare(
        "SELECT seq, at, agent, action_type, outcome, body FROM audit_log WHERE kind = 'decision' ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let texts: [Option<String>; 3] = [row.get(2)?, row.get(3)?, row.get(4)?];
        let [agent, action_type, outcome] = texts.each_ref().map(Option::as_deref);
        let body = row.get_ref(5)?.as_str()?;
        let subject = find_indexed_fields(body, &policies);
        let moment = (row.get(0)?, millis_column(row, 1)?);
        write_decision_row(connection, moment, agent, action_type, outcome, &subject)?;
    }
    Ok(())
}

/// The metadata of all policies that judged, by digest.
pub(super) fn read_policies(
    connection: &Connection,
) -> rusqlite::Result<HashMap<String, Metadata>> {
    let mut statement = connection.prepare("SELECT digest, metadata FROM policies")?;
    let rows = statement.query_map([], |row| Ok((row.get(0)?, json_column(row, 1)?)))?;
    rows.collect()
}

/// What a recorded decision concerned. What cannot be read of a record is left out.
pub(super) fn find_indexed_fields(
    body: &str,
    policies: &HashMap<String, Metadata>,
) -> IndexedFields {
    let body: Value = serde_json::from_str(body).unwrap_or_default();
    let parameters = &body["action"]["parameters"];
    let mut fired = Vec::new();
    for part in body["verdicts"].as_array().into_iter().flatten() {
        let digest = part["digest"].as_str().unwrap_or_default();
        let Some(policy) = policies.get(digest) else {
            continue;
        };
        for answer in part["answers"].as_array().into_iter().flatten() {
            let Ok(result) = RuleResult::deserialize(&answer[1]) else {
                continue;
            };
            if !result.has_fired() {
                continue;
            }
            let rule = policy.rules.iter().find(|rule| answer[0] == rule.number);
            fired.extend(rule.map(|rule| FiredRule {
                policy: policy.name.clone(),
                number: rule.number,
                rule: rule.name.clone(),
                answer: result,
            }));
        }
    }
    IndexedFields {
        symbol: parameters["symbol"].as_str().map(str::to_owned),
        size: parameters["position_size_pct"].as_f64(),
        fired,
    }
}

/// The outcome in the column 7 of the log, or of the index.
pub(super) fn parse_outcome(text: &str) -> rusqlite::Result<Outcome> {
    [Outcome::Approved, Outcome::Held, Outcome::Denied]
        .into_iter()
        .find(|outcome| outcome.as_str() == text)
        .ok_or_else(|| malformed_column(7, text))
}

/// The columns of the index, in the order that [`read_candidate`] reads them.
const COLUMNS: &str = "seq, at, latest_at, agent, action_type, outcome, symbol, size, fired";

/// A row of the index.
struct Candidate {
    seq: u64,
    at: Millis,
    latest_at: Millis,
    agent: Option<String>,
    action_type: Option<String>,
    outcome: Option<String>,
    symbol: Option<String>,
    size: Option<f64>,
    fired: Option<String>,
}

fn read_candidate(row: &Row<'_>) -> rusqlite::Result<Candidate> {
    Ok(Candidate {
        seq: row.get(0)?,
        at: millis_column(row, 1)?,
        latest_at: millis_column(row, 2)?,
        agent: row.get(3)?,
        action_type: row.get(4)?,
        outcome: row.get(5)?,
        symbol: row.get(6)?,
        size: row.get(7)?,
        fired: row.get(8)?,
    })
}

impl Candidate {
    /// The line, if the decision matches.
    fn match_filter(
        self,
        connection: &Connection,
        filter: &DecisionFilter,
    ) -> rusqlite::Result<Option<DecisionLine>> {
        let agent = filter.agent.as_ref().map(Name::as_str);
        let outcome = filter.outcome.map(Outcome::as_str);
        let matches = |wanted: Option<&str>, found: &Option<String>| {
            wanted.is_none_or(|wanted| found.as_deref() == Some(wanted))
        };
        if !matches(agent, &self.agent)
            || !matches(outcome, &self.outcome)
            || !matches(filter.action_type.as_deref(), &self.action_type)
            || filter.since.is_some_and(|since| self.at < since)
            || filter.until.is_some_and(|until| self.at >= until)
        {
            return Ok(None);
        }
        let fired: Vec<FiredRule> = match &self.fired {
            None => Vec::new(),
            Some(text) => serde_json::from_str(text).map_err(|_| malformed_column(8, text))?,
        };
        let names = |rule: &String| fired.iter().any(|fired| fired.rule == *rule);
        if !filter.rule.as_ref().is_none_or(names) {
            return Ok(None);
        }
        let identity: Option<(String, Option<TraceId>)> = select_row(
            connection,
            "SELECT id, trace_id FROM audit_log WHERE seq = ?1",
            [self.seq],
            |row| Ok((row.get(0)?, parse_column(row, 1)?)),
        )?;
        let Some((id, trace_id)) = identity else {
            return Ok(None);
        };
        let agent = self.agent.as_deref().map(str::parse).transpose();
        Ok(Some(DecisionLine {
            seq: self.seq,
            id,
            at: self.at,
            trace_id,
            agent: agent
                .map_err(|_| malformed_column(3, self.agent.as_deref().unwrap_or_default()))?,
            action_type: self.action_type,
            outcome: self.outcome.as_deref().map(parse_outcome).transpose()?,
            subject: IndexedFields {
                symbol: self.symbol,
                size: self.size,
                fired,
            },
        }))
    }
}

/// The rows before `before` that are not written yet, latest first, of the filter's instruments and its trace.
fn derive_missing_decisions(
    connection: &Connection,
    filter: &DecisionFilter,
    before: u64,
) -> rusqlite::Result<Vec<Candidate>> {
    let rows = read_underived_rows(connection, read_derived_until(connection)?)?;
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let policies = read_policies(connection)?;
    let mut latest_at: Millis = select_row(
        connection,
        "SELECT latest_at FROM decision_index ORDER BY seq DESC LIMIT 1",
        [],
        |row| millis_column(row, 0),
    )?
    .unwrap_or_default();
    let mut missing = Vec::new();
    for row in rows.into_iter().rev() {
        if row.kind != AuditKind::Decision {
            continue;
        }
        latest_at = latest_at.max(row.at);
        let subject = find_indexed_fields(&row.body, &policies);
        let is_of = |keys: &Vec<InstrumentKey>| {
            let instrument = subject.symbol.as_deref().map(InstrumentKey::from_symbol);
            instrument.is_some_and(|instrument| keys.contains(&instrument))
        };
        if row.seq >= before
            || !filter.instruments.as_ref().is_none_or(is_of)
            || (filter.trace_id.is_some() && filter.trace_id != row.trace_id)
        {
            continue;
        }
        let fired = match subject.fired.as_slice() {
            [] => None,
            fired => Some(to_json_text(&fired)?),
        };
        missing.push(Candidate {
            seq: row.seq,
            at: row.at,
            latest_at,
            agent: row.agent.map(|agent| agent.as_str().to_owned()),
            action_type: row.action_type,
            outcome: row.outcome.map(|outcome| outcome.as_str().to_owned()),
            symbol: subject.symbol,
            size: subject.size,
            fired,
        });
    }
    missing.reverse();
    Ok(missing)
}

/// Rows of the index in descending order: those that are not written yet, then those of one query for each key of the instrument.
struct Candidates<'a> {
    missing: std::vec::IntoIter<Candidate>,
    parts: Vec<(Option<Candidate>, Rows<'a>)>,
}

impl<'a> Candidates<'a> {
    fn begin(
        connection: &Connection,
        statements: &'a mut [CachedStatement<'_>],
        filter: &DecisionFilter,
        before: u64,
    ) -> rusqlite::Result<Self> {
        let missing = derive_missing_decisions(connection, filter, before)?.into_iter();
        let mut parts = Vec::with_capacity(statements.len());
        let trace_id = filter.trace_id.map(|id| id.to_string());
        for (index, statement) in statements.iter_mut().enumerate() {
            let instrument = filter.instruments.as_ref().and_then(|keys| keys.get(index));
            let instrument = instrument.map(InstrumentKey::as_str);
            let mut rows = statement.query(params![before, instrument, trace_id])?;
            parts.push((rows.next()?.map(read_candidate).transpose()?, rows));
        }
        Ok(Self { missing, parts })
    }

    /// The next row, which is the latest that is left.
    fn take_next(&mut self) -> rusqlite::Result<Option<Candidate>> {
        if let Some(missing) = self.missing.next() {
            return Ok(Some(missing));
        }
        let latest = self
            .parts
            .iter_mut()
            .max_by_key(|(head, _)| head.as_ref().map(|row| row.seq));
        let Some((head, rows)) = latest else {
            return Ok(None);
        };
        let taken = head.take();
        if taken.is_some() {
            *head = rows.next()?.map(read_candidate).transpose()?;
        }
        Ok(taken)
    }
}

impl Reader {
    /// The decisions that match, newest first, before the row `before` when it is given, at most `limit`. It looks at a bounded number of rows:
    /// [`IndexPage::next`] says where to go on.
    ///
    /// # Errors
    /// The database cannot be read, or has an earlier schema.
    pub fn decision_page(
        &self,
        filter: &DecisionFilter,
        before: Option<u64>,
        limit: u32,
    ) -> Result<IndexPage, ReadError> {
        self.require_current_schema()?;
        // The conditions that have an index. A statement whose parameter is not in it must still name it.
        let condition = match (&filter.instruments, &filter.trace_id) {
            (_, Some(_)) => {
                "(?2 IS NULL OR instrument = ?2) AND seq IN (SELECT seq FROM audit_log WHERE trace_id = ?3)"
            }
            (Some(_), None) => "instrument = ?2 AND ?3 IS NULL",
            (None, None) => "?2 IS NULL AND ?3 IS NULL",
        };
        let sql = format!(
            "SELECT {COLUMNS} FROM decision_index WHERE seq < ?1 AND {condition} ORDER BY seq DESC"
        );
        let queries = filter.instruments.as_ref().map_or(1, Vec::len);
        self.with_snapshot(|connection| {
            let mut statements = (0..queries)
                .map(|_| connection.prepare_cached(&sql))
                .collect::<rusqlite::Result<Vec<_>>>()?;
            let mut candidates = Candidates::begin(
                connection,
                &mut statements,
                filter,
                before.unwrap_or(MAX_SEQ),
            )?;
            let mut lines = Vec::new();
            for looked_at in 1.. {
                let Some(candidate) = candidates.take_next()? else {
                    break;
                };
                // No decision before it is later than this.
                if filter
                    .since
                    .is_some_and(|since| candidate.latest_at < since)
                {
                    break;
                }
                let seq = candidate.seq;
                lines.extend(candidate.match_filter(connection, filter)?);
                if lines.len() >= limit as usize || looked_at == SCANNED_ROWS {
                    return Ok(IndexPage {
                        lines,
                        next: Some(seq),
                    });
                }
            }
            Ok(IndexPage { lines, next: None })
        })
    }
}
