//! The check of agents' state: every hash and value of the history, every live key, and the anchors.

use ark_model::ids::Digest;
use ark_model::state::is_secret;
use rusqlite::{Connection, Row};
use serde::Serialize;

use crate::anchors::{AnchorWalk, read_anchors};
use crate::chain::{ChainFault, ChainHead};
use crate::error::ReadError;
use crate::query::{select_row, select_value};
use crate::schema::{SchemaFindings, compare_schema};
use crate::secrets::{SecretKey, StateAddress, find_lost_key};
use crate::tables::state::NewRevision;

use super::read_only::ReadOnlyStore;
use super::verify_access::{AccessDifferences, compare_access};

/// The columns of a revision, as they are checked.
pub(super) const REVISION_COLUMNS: &str =
    "seq, agent, key, revision, value, key_id, digest, at, trace_id, origin, hash";

/// The result of a check of the state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct StateReport {
    /// How many revisions were checked, each with its value.
    pub revisions: u64,
    /// The hash of the last revision.
    pub head: Digest,
    /// How many keys, live and deleted, were compared with their last revision.
    pub keys: u64,
    /// How many secrets were decrypted and compared.
    pub secrets: u64,
    /// How many secrets could not be checked because the encryption key was not given.
    pub secrets_unchecked: u64,
    /// How many secrets nobody can read, since they were given up with a lost key.
    pub secrets_given_up: u64,
    /// How many anchors of the state were compared.
    pub anchors: u64,
    /// The first fault; `None`: the state is as it was written.
    pub fault: Option<ChainFault>,
    /// What the schema has that this program does not make, or lacks, and that changes what is written.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schema: Vec<String>,
    /// What the schema has beside that: unknown tables, missing indexes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub schema_notes: Vec<String>,
    /// How the tokens differ from what the audit log says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
    /// How the halt and the quarantines differ from what the audit log says.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub orders: Vec<String>,
}

impl StateReport {
    /// Whether nothing was found that must not be.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.fault.is_none()
            && self.schema.is_empty()
            && self.tokens.is_empty()
            && self.orders.is_empty()
    }
}

impl ReadOnlyStore {
    /// As [`Self::check_state_history`]; the schema is compared with this program's as well, and tokens, halt and quarantines with the audit log, which
    /// is read as a whole for that.
    ///
    /// # Errors
    /// As [`Self::check_state_history`].
    pub fn check_state(&self, secret_key: Option<&SecretKey>) -> Result<StateReport, ReadError> {
        self.check_parts(secret_key, |moment, report| {
            SchemaFindings {
                faults: report.schema,
                notes: report.schema_notes,
                ..
            } = compare_schema(moment)?;
            AccessDifferences {
                tokens: report.tokens,
                orders: report.orders,
            } = compare_access(moment)?;
            Ok(())
        })
    }

    /// Computes the chain of the history, compares every value with its digest, every key with its last revision, and the chain with the anchors. With the
    /// encryption key, secrets are decrypted and compared as well. What the report has beside that is empty.
    ///
    /// # Errors
    /// The database or the anchors cannot be read, or it has an earlier schema. A fault in the state is no error but part of the report.
    pub fn check_state_history(
        &self,
        secret_key: Option<&SecretKey>,
    ) -> Result<StateReport, ReadError> {
        self.check_parts(secret_key, |_, _| Ok(()))
    }

    /// Checks the history, and before it, in the same view of the database, what `compare` does.
    fn check_parts(
        &self,
        secret_key: Option<&SecretKey>,
        compare: impl FnOnce(&Connection, &mut StateReport) -> rusqlite::Result<()>,
    ) -> Result<StateReport, ReadError> {
        self.require_current_schema()?;
        let anchors = read_anchors(self.dir())?;
        let walk = AnchorWalk::new(anchors.iter().filter_map(|anchor| anchor.state).collect());
        let mut report = StateReport {
            anchors: walk.remaining(),
            ..StateReport::empty()
        };
        report.fault = self.with_connection(|connection| {
            // One view of the database for all of it, since a host may be writing.
            let moment = connection.unchecked_transaction()?;
            compare(&moment, &mut report)?;
            check_all(&moment, secret_key, walk, &mut report)
        })?;
        Ok(report)
    }
}

fn check_all(
    connection: &Connection,
    secret_key: Option<&SecretKey>,
    mut anchors: AnchorWalk,
    report: &mut StateReport,
) -> rusqlite::Result<Option<ChainFault>> {
    let mut head = ChainHead::GENESIS;
    let mut statement = connection.prepare(&format!(
        "SELECT {REVISION_COLUMNS} FROM state_history ORDER BY seq"
    ))?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        if let Some(fault) = check_revision(&mut head, row, secret_key, report)? {
            return Ok(Some(fault));
        }
        if !anchors.advance_to(head) {
            let problem = "is not the revision that was anchored";
            return Ok(Some(ChainFault::new(head.seq, problem)));
        }
        report.revisions += 1;
    }
    report.head = head.hash;
    // A history without a revision may be anchored too.
    if let Some(anchor) = anchors.first_behind(head) {
        let problem = format!(
            "is missing: the history was anchored with {} revisions",
            anchor.seq
        );
        return Ok(Some(ChainFault::new(head.seq + 1, problem)));
    }
    if let Some(fault) = check_gaps(connection)? {
        return Ok(Some(fault));
    }
    report.keys = select_value(connection, "SELECT count(*) FROM agents_state", [])?;
    check_keys(connection)
}

/// Checks the number, the hash and the value of the revision behind `head`, and moves `head` to it.
pub(super) fn check_revision(
    head: &mut ChainHead,
    row: &Row<'_>,
    secret_key: Option<&SecretKey>,
    report: &mut StateReport,
) -> rusqlite::Result<Option<ChainFault>> {
    let seq: u64 = row.get(0)?;
    let fault = |problem: &str| Ok(Some(ChainFault::new(seq, problem)));
    if seq != head.seq + 1 {
        return Ok(Some(ChainFault::new(head.seq + 1, "is missing")));
    }
    let (agent, key): (String, String) = (row.get(1)?, row.get(2)?);
    let (value, key_id): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    let digest: Option<Vec<u8>> = row.get(6)?;
    let Ok(digest) = digest.map(<[u8; 32]>::try_from).transpose() else {
        return fault("has a digest of another length than 32 bytes");
    };
    let (trace_id, origin): (Option<String>, String) = (row.get(8)?, row.get(9)?);
    let revision = NewRevision {
        address: StateAddress {
            agent: &agent,
            key: &key,
            revision: row.get(3)?,
        },
        value: value.as_deref(),
        key_id: key_id.as_deref(),
        digest: digest.map(Digest::from_bytes),
        at: row.get(7)?,
        trace_id: trace_id.as_deref(),
        origin: &origin,
    };
    let next = revision.follow(*head);
    if row.get::<_, Vec<u8>>(10)? != next.hash.as_bytes() {
        return fault(ChainFault::CHANGED);
    }
    *head = next;
    match check_value(&revision, secret_key, report) {
        Ok(()) => Ok(None),
        Err(problem) => fault(&problem),
    }
}

/// Compares the value of a revision with its digest. The error is what is wrong with the revision.
fn check_value(
    revision: &NewRevision<'_>,
    secret_key: Option<&SecretKey>,
    report: &mut StateReport,
) -> Result<(), String> {
    let problem = match (revision.value, revision.key_id, revision.digest) {
        (None, None, None) => return Ok(()),
        (Some(_), None, Some(_)) if is_secret(revision.address.key) => {
            "holds an unencrypted secret"
        }
        (Some(value), None, Some(digest)) => {
            if Digest::hash_bytes(value.as_bytes()) == digest {
                return Ok(());
            }
            "holds another value than was written"
        }
        (Some(_), Some(key_id), Some(_)) if find_lost_key(key_id).is_some() => {
            report.secrets_given_up += 1;
            return Ok(());
        }
        (Some(value), Some(key_id), Some(digest)) => {
            let Some(secret_key) = secret_key else {
                report.secrets_unchecked += 1;
                return Ok(());
            };
            let (_, found) = secret_key
                .open_value(revision.address, key_id, value)
                .map_err(|error| error.to_string())?;
            if found == digest {
                report.secrets += 1;
                return Ok(());
            }
            "holds another secret than was written"
        }
        _ => "holds a value without a digest, or a digest without a value",
    };
    Err(problem.to_owned())
}

/// Finds a key whose revisions are not contiguous from 1.
pub(super) fn check_gaps(connection: &Connection) -> rusqlite::Result<Option<ChainFault>> {
    let gap = select_row(
        connection,
        "SELECT min(seq) FROM state_history GROUP BY agent, key HAVING count(*) <> max(revision) OR min(revision) <> 1 LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    Ok(gap.map(|seq| ChainFault::new(seq, "begins a key whose revisions are not contiguous")))
}

/// Finds a key that is not as its last revision says. The fault is at that revision.
pub(super) fn check_keys(connection: &Connection) -> rusqlite::Result<Option<ChainFault>> {
    let differs: Option<Option<u64>> = select_row(
        connection,
        "SELECT h.seq FROM agents_state s LEFT JOIN state_history h
             ON h.agent = s.agent AND h.key = s.key AND h.revision = s.revision
         WHERE h.seq IS NULL OR h.value IS NOT s.value OR h.key_id IS NOT s.key_id OR h.at <> s.at LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    if let Some(seq) = differs {
        let problem = "is not what its key holds now";
        return Ok(Some(ChainFault::new(seq.unwrap_or(0), problem)));
    }
    let missing = select_row(
        connection,
        "SELECT max(h.seq) FROM state_history h LEFT JOIN agents_state s ON s.agent = h.agent AND s.key = h.key
         GROUP BY h.agent, h.key HAVING max(h.revision) <> coalesce(max(s.revision), 0) LIMIT 1",
        [],
        |row| row.get(0),
    )?;
    Ok(missing.map(|seq| {
        ChainFault::new(
            seq,
            "is the last revision of its key, which is missing or older",
        )
    }))
}
