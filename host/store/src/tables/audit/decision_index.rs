//! The index of decisions: what lists of decisions show and search, without reading the records.
//!
//! Invariants: every decision in `audit_log` has its row here, or is behind those that are written (`derived.rs`); a page costs a bounded number
//! of rows, whatever its filter is. The index is derived: the audit log is the record.

use std::collections::HashMap;
use std::sync::LazyLock;

use ark_model::decision::Outcome;
use ark_model::ids::{Millis, Name, TraceId};
use ark_model::instrument::InstrumentKey;
use ark_model::verdict::{Metadata, RuleResult};
use rusqlite::{CachedStatement, Connection, Row, Rows, params};
use serde::Deserialize;
use serde_json::Value;

use crate::error::ReadError;
use crate::query::{
    MAX_SEQ, RowInsert, execute_cached, json_column, malformed_column, millis_column, parse_column,
    select_row, select_rows, to_json_text,
};
use crate::reader::Reader;

use super::audit_log::{audit_columns, read_audit_row};
use super::entry::{AuditKind, FiredRule, IndexedFields, parse_outcome};
use super::underived::{UnderivedRow, read_index_until, read_underived_rows, skip_unreadable};

/// The most rows of the index that one page is looked for in.
const SCANNED_ROWS: usize = 50_000;

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

/// A row of the index, to be written.
pub(super) struct IndexRow<'a> {
    pub(super) seq: u64,
    pub(super) at: Millis,
    pub(super) agent: Option<&'a str>,
    pub(super) action_type: Option<&'a str>,
    pub(super) outcome: Option<&'a str>,
    pub(super) subject: Option<&'a IndexedFields>,
}

static INSERT_DECISIONS: LazyLock<RowInsert> = LazyLock::new(|| {
    RowInsert::new(
        "INSERT OR FAIL INTO decision_index (seq, at, latest_at, agent, action_type, outcome, symbol, instrument, size, fired)",
        "(?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        "",
    )
});

/// Writes rows of decisions behind the last one, in their order.
pub(super) fn write_decision_rows(
    connection: &Connection,
    rows: &[IndexRow<'_>],
) -> rusqlite::Result<()> {
    // A database of an earlier schema may lack the table, where nothing is to be written into it.
    if rows.is_empty() {
        return Ok(());
    }
    let mut latest_at = read_latest_at(connection)?;
    INSERT_DECISIONS.execute(connection, rows, |values, row| {
        latest_at = latest_at.max(row.at);
        let symbol = row.subject.and_then(|subject| subject.symbol.as_deref());
        let folded = symbol
            .filter(|symbol| !is_own_key(symbol))
            .map(InstrumentKey::from_symbol);
        let fired = match row.subject.map(|subject| subject.fired.as_slice()) {
            None | Some([]) => None,
            Some(fired) => Some(to_json_text(&fired)?),
        };
        values.push(row.seq)?;
        values.push(row.at.0)?;
        values.push(latest_at.0)?;
        values.push(row.agent)?;
        values.push(row.action_type)?;
        values.push(row.outcome)?;
        values.push(symbol)?;
        values.push(folded.as_ref().map(InstrumentKey::as_str).or(symbol))?;
        values.push(row.subject.and_then(|subject| subject.size))?;
        values.push(fired)
    })
}

/// Whether a symbol is seen at once to be its own [`InstrumentKey`], as most are.
fn is_own_key(symbol: &str) -> bool {
    symbol
        .bytes()
        .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit())
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
        let indexed = IndexRow {
            seq: row.get(0)?,
            at: millis_column(row, 1)?,
            agent,
            action_type,
            outcome,
            subject: Some(&subject),
        };
        write_decision_rows(connection, &[indexed])?;
    }
    Ok(())
}

/// The metadata of all policies that judged, by digest. What cannot be read is left out.
pub(super) fn read_policies(
    connection: &Connection,
) -> rusqlite::Result<HashMap<String, Metadata>> {
    let rows = select_rows(
        connection,
        "SELECT digest, metadata FROM policies",
        [],
        |row| Ok((row.get(0)?, json_column(row, 1).ok())),
    )?;
    let readable = |(digest, metadata): (String, Option<Metadata>)| Some((digest, metadata?));
    Ok(rows.into_iter().filter_map(readable).collect())
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

/// What the index holds of the decision in an audit row; `None`: the row cannot be read.
fn derive_indexed_fields(
    connection: &Connection,
    seq: u64,
    policies: &HashMap<String, Metadata>,
) -> rusqlite::Result<Option<IndexedFields>> {
    let columns = audit_columns(connection)?;
    let sql = format!("SELECT {columns} FROM audit_log WHERE seq = ?1");
    let row = select_row(connection, &sql, [seq], |row| {
        skip_unreadable(read_audit_row(row))
    })?;
    Ok(row
        .flatten()
        .map(|row| find_indexed_fields(&row.body, policies)))
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
    fn from_unwritten(
        row: UnderivedRow,
        latest_at: Millis,
        subject: IndexedFields,
    ) -> rusqlite::Result<Self> {
        let fired = match subject.fired.as_slice() {
            [] => None,
            fired => Some(to_json_text(&fired)?),
        };
        Ok(Self {
            seq: row.seq,
            at: row.at,
            latest_at,
            agent: row.agent.map(|agent| agent.as_str().to_owned()),
            action_type: row.action_type,
            outcome: row.outcome.map(|outcome| outcome.as_str().to_owned()),
            symbol: subject.symbol,
            size: subject.size,
            fired,
        })
    }

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
        if filter.trace_id.is_some() && filter.trace_id != trace_id {
            return Ok(None);
        }
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

/// The decisions without a row in the index, of which the body is read only when they are asked for.
struct UnwrittenDecisions<'a> {
    connection: &'a Connection,
    instruments: Option<&'a [InstrumentKey]>,
    /// Those that may match, latest first, each with the latest time of it and all before it.
    rows: std::vec::IntoIter<(UnderivedRow, Millis)>,
    policies: Option<HashMap<String, Metadata>>,
}

impl<'a> UnwrittenDecisions<'a> {
    fn find(
        connection: &'a Connection,
        filter: &'a DecisionFilter,
        before: u64,
    ) -> rusqlite::Result<Self> {
        let rows = read_underived_rows(connection, read_index_until(connection)?)?;
        let mut latest_at = if rows.is_empty() {
            Millis::default()
        } else {
            read_latest_at(connection)?
        };
        let mut found = Vec::new();
        for row in rows.into_iter().rev() {
            if row.kind != AuditKind::Decision {
                continue;
            }
            latest_at = latest_at.max(row.at);
            if row.seq < before && filter.may_match(&row) {
                found.push((row, latest_at));
            }
        }
        found.reverse();
        Ok(Self {
            connection,
            instruments: filter.instruments.as_deref(),
            rows: found.into_iter(),
            policies: None,
        })
    }

    /// The next one of the instruments, which is the latest that is left.
    fn take_next(&mut self) -> rusqlite::Result<Option<Candidate>> {
        for (row, latest_at) in self.rows.by_ref() {
            let policies = match &mut self.policies {
                Some(policies) => policies,
                none => none.insert(read_policies(self.connection)?),
            };
            let Some(subject) = derive_indexed_fields(self.connection, row.seq, policies)? else {
                continue;
            };
            let instrument = subject.symbol.as_deref().map(InstrumentKey::from_symbol);
            let is_of = |keys: &[InstrumentKey]| {
                instrument
                    .as_ref()
                    .is_some_and(|instrument| keys.contains(instrument))
            };
            if self.instruments.is_none_or(is_of) {
                return Candidate::from_unwritten(row, latest_at, subject).map(Some);
            }
        }
        Ok(None)
    }
}

/// The latest time in the index. A negative one, which the program does not write, counts as none.
fn read_latest_at(connection: &Connection) -> rusqlite::Result<Millis> {
    let latest_at = select_row(
        connection,
        "SELECT max(latest_at, 0) FROM decision_index ORDER BY seq DESC LIMIT 1",
        [],
        |row| millis_column(row, 0),
    )?;
    Ok(latest_at.unwrap_or_default())
}

impl DecisionFilter {
    /// Whether a decision may match, by what is known without its body.
    fn may_match(&self, row: &UnderivedRow) -> bool {
        (self.agent.is_none() || self.agent == row.agent)
            && (self.outcome.is_none() || self.outcome == row.outcome)
            && (self.action_type.is_none() || self.action_type == row.action_type)
            && (self.trace_id.is_none() || self.trace_id == row.trace_id)
            && self.since.is_none_or(|since| row.at >= since)
            && self.until.is_none_or(|until| row.at < until)
    }
}

/// Rows of the index in descending order: those that are not written yet, then those of one query for each key of the instrument.
struct Candidates<'a> {
    unwritten: UnwrittenDecisions<'a>,
    parts: Vec<(Option<Candidate>, Rows<'a>)>,
}

impl<'a> Candidates<'a> {
    fn begin(
        connection: &'a Connection,
        statements: &'a mut [CachedStatement<'_>],
        filter: &'a DecisionFilter,
        before: u64,
    ) -> rusqlite::Result<Self> {
        let unwritten = UnwrittenDecisions::find(connection, filter, before)?;
        let mut parts = Vec::with_capacity(statements.len());
        let trace_id = filter.trace_id.map(|id| id.to_string());
        for (index, statement) in statements.iter_mut().enumerate() {
            let instrument = filter.instruments.as_ref().and_then(|keys| keys.get(index));
            let instrument = instrument.map(InstrumentKey::as_str);
            let mut rows = statement.query(params![before, instrument, trace_id])?;
            parts.push((rows.next()?.map(read_candidate).transpose()?, rows));
        }
        Ok(Self { unwritten, parts })
    }

    /// The next row, which is the latest that is left.
    fn take_next(&mut self) -> rusqlite::Result<Option<Candidate>> {
        if let Some(unwritten) = self.unwritten.take_next()? {
            return Ok(Some(unwritten));
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
                "(?2 IS NULL OR instrument = ?2) AND seq IN (SELECT seq FROM audit_traces WHERE trace_id = unhex(?3))"
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_symbol_that_is_its_own_key_has_that_key() {
        for number in 0..=0xFF_u8 {
            let odd = char::from(number);
            for symbol in ["BTC9USD".replace('9', &odd.to_string()), odd.to_string()] {
                let is_own = InstrumentKey::from_symbol(&symbol).as_str() == symbol;
                assert!(is_own || !is_own_key(&symbol), "{symbol:?}");
            }
        }
        assert!(is_own_key("S000000000001") && !is_own_key("BTC-USD") && !is_own_key("btc"));
    }

    #[test]
    fn each_row_has_the_latest_time_of_it_and_all_before_it() {
        let connection = Connection::open_in_memory().unwrap();
        connection
            .execute_batch(include_str!("../../schema/v9_decisions.sql"))
            .unwrap();
        let subject = IndexedFields {
            symbol: Some("btc-usd".to_owned()),
            ..IndexedFields::default()
        };
        let row = |seq, at| IndexRow {
            seq,
            at: Millis(at),
            agent: Some("kenny"),
            action_type: None,
            outcome: Some("denied"),
            subject: (seq > 1).then_some(&subject),
        };
        write_decision_rows(&connection, &[]).unwrap();
        write_decision_rows(&connection, &[row(1, 5), row(2, 3), row(4, 9)]).unwrap();
        write_decision_rows(&connection, &[row(5, 2)]).unwrap();
        let found = select_rows(
            &connection,
            "SELECT seq, latest_at, symbol, instrument FROM decision_index ORDER BY seq",
            [],
            |row| {
                let texts: [Option<String>; 2] = [row.get(2)?, row.get(3)?];
                Ok((row.get::<_, u64>(0)?, row.get::<_, u64>(1)?, texts))
            },
        )
        .unwrap();
        let named = [Some("btc-usd".to_owned()), Some("BTCUSD".to_owned())];
        let expected = [
            (1, 5, [None, None]),
            (2, 5, named.clone()),
            (4, 9, named.clone()),
            (5, 9, named),
        ];
        assert_eq!(found, expected);
        // What somebody else wrote stops no commit.
        connection
            .execute_batch("UPDATE decision_index SET latest_at = -5 WHERE seq = 5")
            .unwrap();
        write_decision_rows(&connection, &[row(6, 2)]).unwrap();
        let latest: u64 = connection
            .query_row(
                "SELECT latest_at FROM decision_index WHERE seq = 6",
                [],
                |row| row.get(0),
            )
            .unwrap();
        assert_eq!(latest, 2);
    }
}
