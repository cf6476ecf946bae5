//! The history of agents' state: every revision ever written, as a chain of hashes like the audit log's.
//!
//! `hash(n) = SHA-256(hash(n-1) || canonical row n)` over seq, revision, at, agent, key, digest, `trace_id`, origin. `digest` is the
//! SHA-256 of the value's JSON text (for a secret: of 16 random bytes and that text, see [`super::secrets`]; absent for a deletion), so
//! the chain covers every value without holding secrets, and a rotation of the encryption key leaves it as it is.
//!
//! The head is anchored outside the database together with the audit log's. What the chain does not cover: `key_id` and the ciphertext
//! of a secret, which the cipher itself authenticates when the key is at hand.

use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::ids::{Digest, Millis, TraceId};
use ark_model::state::is_secret;

use super::ReadOnlyStore;
use super::audit::{ChainFault, GENESIS, Head, chain_hash, digest_column, parse_column};
use super::error::ReadError;
use super::schema::MigrationError;
use super::secrets::{SecretError, SecretKey, StateAddress};

/// What a revision holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// A value, as JSON text.
    Plain(String),
    /// A secret, which is shown to its agent only.
    Secret,
    /// Nothing: the key was deleted.
    Deleted,
}

/// One revision of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revision {
    /// Its number.
    pub revision: u64,
    /// What it holds.
    pub content: Content,
    /// When.
    pub at: Millis,
    /// In which trace.
    pub trace_id: Option<TraceId>,
    /// Who wrote it: `agent`, an operator's name, or `rollback to N`.
    pub origin: String,
}

/// A revision on its way into the history.
pub(super) struct NewRevision<'a> {
    pub(super) address: StateAddress<'a>,
    pub(super) value: Option<&'a str>,
    pub(super) key_id: Option<&'a str>,
    pub(super) digest: Option<Digest>,
    pub(super) at: u64,
    pub(super) trace_id: Option<&'a str>,
    pub(super) origin: &'a str,
}

/// What a check of the state found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct StateReport {
    /// Revisions whose link and value were checked.
    pub revisions: u64,
    /// The hash of the last.
    pub head: Digest,
    /// Live and deleted keys that were compared with their last revision.
    pub keys: u64,
    /// Secrets that were decrypted and compared.
    pub secrets: u64,
    /// Secrets that could not be checked, for want of the encryption key.
    pub secrets_unchecked: u64,
    /// Anchors of the state that were compared.
    pub anchors: u64,
    /// The first fault; `None`: all is as it was written.
    pub fault: Option<ChainFault>,
}

pub(super) fn read_state_head(connection: &Connection) -> rusqlite::Result<Head> {
    let last = connection
        .query_row(
            "SELECT seq, hash FROM state_history ORDER BY seq DESC LIMIT 1",
            [],
            |row| {
                Ok(Head {
                    seq: row.get(0)?,
                    hash: digest_column(row, 1)?,
                })
            },
        )
        .optional()?;
    Ok(last.unwrap_or(GENESIS))
}

/// Appends a revision behind `head` and moves it on.
pub(super) fn append_revision(
    connection: &Connection,
    head: &mut Head,
    new: &NewRevision<'_>,
) -> rusqlite::Result<()> {
    let seq = head.seq + 1;
    let digest = new.digest.map(|digest| digest.to_string());
    let hash = chain_hash(
        head.hash,
        &[seq, new.address.revision, new.at],
        &[
            Some(new.address.agent),
            Some(new.address.key),
            digest.as_deref(),
            new.trace_id,
            Some(new.origin),
        ],
    );
    connection
        .prepare_cached(
            "INSERT INTO state_history (seq, agent, key, revision, value, key_id, digest, at, trace_id, origin, hash)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        )?
        .execute(params![
            seq,
            new.address.agent,
            new.address.key,
            new.address.revision,
            new.value,
            new.key_id,
            new.digest.as_ref().map(Digest::as_bytes),
            new.at,
            new.trace_id,
            new.origin,
            hash.as_bytes(),
        ])?;
    *head = Head { seq, hash };
    Ok(())
}

/// Makes the live secrets those of the history again, after they were encrypted anew.
pub(super) const UPDATE_LIVE_SECRETS: &str = "UPDATE agents_state SET (value, key_id) = (SELECT h.value, h.key_id FROM state_history h
         WHERE h.agent = agents_state.agent AND h.key = agents_state.key AND h.revision = agents_state.revision)
     WHERE key >= 'secret/' AND key < 'secret0';";

/// Carries the history of schema 2 over into the chain, in the order it was written, encrypts the secrets in it, and drops the old table.
pub(super) fn migrate_state_history(
    connection: &Connection,
    secret: Option<&SecretKey>,
) -> Result<(), MigrationError> {
    let mut head = GENESIS;
    {
        let mut statement = connection.prepare(
            // A clock that was set back must not make a later revision look earlier.
            "SELECT agent, key, revision, value, max(at) OVER (PARTITION BY agent, key ORDER BY revision), trace_id
             FROM state_history_before ORDER BY 5, agent, key, revision",
        )?;
        let mut rows = statement.query([])?;
        while let Some(row) = rows.next()? {
            let (agent, key): (String, String) = (row.get(0)?, row.get(1)?);
            let value: Option<String> = row.get(3)?;
            let trace_id: Option<String> = row.get(5)?;
            let place = StateAddress {
                agent: &agent,
                key: &key,
                revision: row.get(2)?,
            };
            let sealed = match &value {
                Some(value) if is_secret(&key) => {
                    let secret = secret.ok_or_else(|| SecretError::NoKey { key: key.clone() })?;
                    Some((secret.seal_value(place, value)?, secret.id()))
                }
                _ => None,
            };
            let (stored, key_id, digest) = if let Some((sealed, id)) = &sealed {
                (Some(sealed.text.as_str()), Some(*id), Some(sealed.digest))
            } else {
                let digest = value
                    .as_deref()
                    .map(|value| Digest::hash_bytes(value.as_bytes()));
                (value.as_deref(), None, digest)
            };
            let new = NewRevision {
                address: place,
                value: stored,
                key_id,
                digest,
                at: row.get(4)?,
                trace_id: trace_id.as_deref(),
                origin: "agent",
            };
            append_revision(connection, &mut head, &new)?;
        }
    }
    connection.execute_batch(UPDATE_LIVE_SECRETS)?;
    connection.execute_batch(
        "UPDATE agents_state SET at = (SELECT max(h.at) FROM state_history h WHERE h.agent = agents_state.agent
             AND h.key = agents_state.key) WHERE EXISTS (SELECT 1 FROM state_history h WHERE h.agent = agents_state.agent
             AND h.key = agents_state.key);
         DROP TABLE state_history_before;",
    )?;
    Ok(())
}

/// The columns [`read_revision`] reads.
pub(super) const REVISION_COLUMNS: &str = "revision, value, at, trace_id, origin, key";

pub(super) fn read_revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    let value: Option<String> = row.get(1)?;
    let key: String = row.get(5)?;
    Ok(Revision {
        revision: row.get(0)?,
        content: match value {
            None => Content::Deleted,
            Some(_) if is_secret(&key) => Content::Secret,
            Some(value) => Content::Plain(value),
        },
        at: Millis(row.get(2)?),
        trace_id: parse_column(row, 3)?,
        origin: row.get(4)?,
    })
}

impl ReadOnlyStore {
    /// Walks the history's chain, compares every value with its digest, every key with its last revision, and the chain with the anchors.
    /// With the encryption key secrets are decrypted and compared as well.
    ///
    /// # Errors
    /// The database or the anchors cannot be read; a fault in the state is no error but part of the report.
    pub fn check_state(&self, secret: Option<&SecretKey>) -> Result<StateReport, ReadError> {
        self.require_current_schema()?;
        let anchors = super::verify::read_anchors(self.dir())
            .map_err(|error| ReadError(format!("anchors.jsonl: {error}")))?;
        let mut anchors: Vec<_> = anchors
            .into_iter()
            .filter_map(|anchor| anchor.state)
            .collect();
        anchors.sort_by_key(|anchor| anchor.seq);
        let mut report = StateReport {
            revisions: 0,
            head: GENESIS.hash,
            keys: 0,
            secrets: 0,
            secrets_unchecked: 0,
            anchors: anchors.len() as u64,
            fault: None,
        };
        self.readers().with_connection(|connection| {
            // One moment for both parts, though a host may be writing.
            let moment = connection.unchecked_transaction()?;
            let mut head = GENESIS;
            let mut anchors = anchors.iter().peekable();
            let mut statement = moment.prepare(
                "SELECT seq, agent, key, revision, value, key_id, digest, at, trace_id, origin, hash FROM state_history
                 ORDER BY seq",
            )?;
            let mut rows = statement.query([])?;
            while let Some(row) = rows.next()? {
                report.fault = check_revision(&mut head, row, secret, &mut report)?;
                while report.fault.is_none()
                    && let Some(anchor) = anchors.next_if(|anchor| anchor.seq <= head.seq)
                {
                    if anchor.seq == head.seq && anchor.hash != head.hash {
                        report.fault = chain_fault(head.seq, "is not the revision that was anchored");
                    }
                }
                if report.fault.is_some() {
                    return Ok(());
                }
                report.revisions += 1;
            }
            report.head = head.hash;
            // A history without a revision may be anchored too.
            if let Some(anchor) = anchors.find(|anchor| anchor.seq > head.seq) {
                let problem = format!("is missing: the history was anchored with {} revisions", anchor.seq);
                report.fault = chain_fault(head.seq + 1, &problem);
                return Ok(());
            }
            report.fault = check_gaps(&moment)?;
            if report.fault.is_none() {
                (report.keys, report.fault) = check_keys(&moment)?;
            }
            Ok(())
        })?;
        Ok(report)
    }
}

#[allow(
    clippy::unnecessary_wraps,
    reason = "what every check returns that has found something"
)]
fn chain_fault(seq: u64, problem: &str) -> Option<ChainFault> {
    Some(ChainFault {
        seq,
        problem: problem.to_owned(),
    })
}

fn check_revision(
    head: &mut Head,
    row: &Row<'_>,
    secret: Option<&SecretKey>,
    report: &mut StateReport,
) -> rusqlite::Result<Option<ChainFault>> {
    let seq: u64 = row.get(0)?;
    if seq != head.seq + 1 {
        return Ok(chain_fault(head.seq + 1, "is missing"));
    }
    let (agent, key): (String, String) = (row.get(1)?, row.get(2)?);
    let (value, key_id): (Option<String>, Option<String>) = (row.get(4)?, row.get(5)?);
    let digest: Option<Vec<u8>> = row.get(6)?;
    let digest = match digest.map(<[u8; 32]>::try_from).transpose() {
        Ok(digest) => digest.map(Digest::from_bytes),
        Err(_) => return Ok(chain_fault(seq, "has a digest that is none")),
    };
    let (trace_id, origin): (Option<String>, String) = (row.get(8)?, row.get(9)?);
    let place = StateAddress {
        agent: &agent,
        key: &key,
        revision: row.get(3)?,
    };
    let digest_text = digest.map(|digest| digest.to_string());
    let hash = chain_hash(
        head.hash,
        &[seq, place.revision, row.get(7)?],
        &[
            Some(&agent),
            Some(&key),
            digest_text.as_deref(),
            trace_id.as_deref(),
            Some(&origin),
        ],
    );
    if row.get::<_, Vec<u8>>(10)? != hash.as_bytes() {
        return Ok(chain_fault(
            seq,
            "does not match its hash: it was changed, inserted or moved",
        ));
    }
    *head = Head { seq, hash };
    match (value, key_id, digest) {
        (None, None, None) => Ok(None),
        (Some(value), None, Some(digest)) => {
            if is_secret(&key) {
                return Ok(chain_fault(seq, "holds a secret in clear"));
            }
            let same = Digest::hash_bytes(value.as_bytes()) == digest;
            Ok(if same {
                None
            } else {
                chain_fault(seq, "holds another value than was written")
            })
        }
        (Some(value), Some(key_id), Some(digest)) => {
            let Some(secret) = secret else {
                report.secrets_unchecked += 1;
                return Ok(None);
            };
            match secret.open_value(place, &key_id, &value) {
                Ok((_, found)) if found == digest => {
                    report.secrets += 1;
                    Ok(None)
                }
                Ok(_) => Ok(chain_fault(seq, "holds another secret than was written")),
                Err(error) => Ok(chain_fault(seq, &error.to_string())),
            }
        }
        _ => Ok(chain_fault(
            seq,
            "holds a value without a digest, or a digest without a value",
        )),
    }
}

/// Revisions of a key are contiguous from 1.
fn check_gaps(connection: &Connection) -> rusqlite::Result<Option<ChainFault>> {
    let gap = connection
        .query_row(
            "SELECT min(seq) FROM state_history GROUP BY agent, key HAVING count(*) <> max(revision) OR min(revision) <> 1 LIMIT 1",
            [],
            |row| row.get::<_, u64>(0),
        )
        .optional()?;
    Ok(gap.and_then(|seq| chain_fault(seq, "begins a key whose revisions are not contiguous")))
}

/// Every key is as its last revision says. A fault is placed at that revision.
fn check_keys(connection: &Connection) -> rusqlite::Result<(u64, Option<ChainFault>)> {
    let keys: u64 =
        connection.query_row("SELECT count(*) FROM agents_state", [], |row| row.get(0))?;
    let differs: Option<Option<u64>> = connection
        .query_row(
            "SELECT h.seq FROM agents_state s LEFT JOIN state_history h
                 ON h.agent = s.agent AND h.key = s.key AND h.revision = s.revision
             WHERE h.seq IS NULL OR h.value IS NOT s.value OR h.key_id IS NOT s.key_id OR h.at <> s.at LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    if let Some(seq) = differs {
        return Ok((
            keys,
            chain_fault(seq.unwrap_or(0), "is not what its key holds now"),
        ));
    }
    let missing: Option<u64> = connection
        .query_row(
            "SELECT max(h.seq) FROM state_history h LEFT JOIN agents_state s ON s.agent = h.agent AND s.key = h.key
             GROUP BY h.agent, h.key HAVING max(h.revision) <> coalesce(max(s.revision), 0) LIMIT 1",
            [],
            |row| row.get(0),
        )
        .optional()?;
    Ok((
        keys,
        missing.and_then(|seq| {
            chain_fault(
                seq,
                "is the last revision of its key, which is missing or older",
            )
        }),
    ))
}
