//! The history of agents' state: every revision ever written, as a chain of hashes ([`crate::chain`]).
//!
//! The canonical row is seq, revision, at, agent, key, digest, `trace_id`, origin. `digest` is the SHA-256 of the value's JSON text (for a
//! secret: of 16 random bytes and that text, see [`crate::secrets`]; absent for a deletion), so the chain covers every value without
//! holding secrets, and another encryption key leaves it as it is.
//!
//! The chain does not cover `key_id` and the ciphertext of a secret. The cipher authenticates both when the key is at hand.

use ark_model::ids::{Digest, Millis, Name};
use ark_model::state::is_secret;
use rusqlite::{Connection, Row, params};

use crate::chain::{ChainHead, chain_hash};
use crate::error::ReadError;
use crate::query::{
    MAX_SEQ, execute_cached, millis_column, parse_column, select_row, select_value,
};
use crate::reader::Reader;
use crate::revision::{Content, Revision};
use crate::secrets::StateAddress;

/// A revision to be appended.
pub(crate) struct NewRevision<'a> {
    pub(crate) address: StateAddress<'a>,
    /// The value as it is stored: JSON text, or the ciphertext of a secret. `None`: the key is deleted.
    pub(crate) value: Option<&'a str>,
    /// The id of the key that encrypted the value.
    pub(crate) key_id: Option<&'a str>,
    /// The digest of the value; `None` for a deletion.
    pub(crate) digest: Option<Digest>,
    /// When it was written, in milliseconds.
    pub(crate) at: u64,
    pub(crate) trace_id: Option<&'a str>,
    /// Who wrote it: `agent`, an operator's name, or `rollback to N`.
    pub(crate) origin: &'a str,
}

impl NewRevision<'_> {
    /// The head of the chain once this revision follows `head`.
    pub(crate) fn follow(&self, head: ChainHead) -> ChainHead {
        let seq = head.seq + 1;
        let digest = self.digest.map(|digest| digest.to_string());
        let hash = chain_hash(
            head.hash,
            &[seq, self.address.revision, self.at],
            &[
                Some(self.address.agent),
                Some(self.address.key),
                digest.as_deref(),
                self.trace_id,
                Some(self.origin),
            ],
        );
        ChainHead { seq, hash }
    }
}

/// The head of the history.
pub(crate) fn read_state_head(connection: &Connection) -> rusqlite::Result<ChainHead> {
    let last = ChainHead::select(
        connection,
        "SELECT seq, hash FROM state_history ORDER BY seq DESC LIMIT 1",
    )?;
    Ok(last.unwrap_or(ChainHead::GENESIS))
}

/// Appends a revision behind `head` and moves `head` on.
pub(crate) fn append_revision(
    connection: &Connection,
    head: &mut ChainHead,
    new: &NewRevision<'_>,
) -> rusqlite::Result<()> {
    let next = new.follow(*head);
    execute_cached(
        connection,
        "INSERT INTO state_history (seq, agent, key, revision, value, key_id, digest, at, trace_id, origin, hash)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11)",
        params![
            next.seq,
            new.address.agent,
            new.address.key,
            new.address.revision,
            new.value,
            new.key_id,
            new.digest.as_ref().map(Digest::as_bytes),
            new.at,
            new.trace_id,
            new.origin,
            next.hash.as_bytes(),
        ],
    )?;
    *head = next;
    Ok(())
}

/// Copies the ciphertexts of the history to the live secrets, after they were encrypted with another key.
pub(crate) const UPDATE_LIVE_SECRETS: &str = "UPDATE agents_state SET (value, key_id) = (SELECT h.value, h.key_id FROM state_history h
         WHERE h.agent = agents_state.agent AND h.key = agents_state.key AND h.revision = agents_state.revision)
     WHERE key >= 'secret/' AND key < 'secret0';";

/// The columns that [`read_revision`] reads.
const REVISION_COLUMNS: &str = "revision, value, at, trace_id, origin, key";

fn read_revision(row: &Row<'_>) -> rusqlite::Result<Revision> {
    let value: Option<String> = row.get(1)?;
    let key: String = row.get(5)?;
    Ok(Revision {
        revision: row.get(0)?,
        content: match value {
            None => Content::Deleted,
            Some(_) if is_secret(&key) => Content::Secret,
            Some(value) => Content::Plain(value),
        },
        at: millis_column(row, 2)?,
        trace_id: parse_column(row, 3)?,
        origin: row.get(4)?,
    })
}

fn find_revision(
    connection: &Connection,
    agent: &Name,
    key: &str,
    revision: u64,
) -> rusqlite::Result<Option<Revision>> {
    select_row(
        connection,
        &format!(
            "SELECT {REVISION_COLUMNS} FROM state_history WHERE agent = ?1 AND key = ?2 AND revision = ?3"
        ),
        params![agent.as_str(), key, revision],
        read_revision,
    )
}

impl Reader {
    /// The last revision of a key, with secrets masked; `None` when the key never existed.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_state(&self, agent: &Name, key: &str) -> Result<Option<Revision>, ReadError> {
        Ok(self.state_history(agent, key, None, 1)?.pop())
    }

    /// One revision of a key, with secrets masked; `None` when it does not exist.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_revision(
        &self,
        agent: &Name,
        key: &str,
        revision: u64,
    ) -> Result<Option<Revision>, ReadError> {
        self.with_connection(|connection| find_revision(connection, agent, key, revision))
    }

    /// The revision of a key that was the last one at a moment, with secrets masked; `None` when the key did not exist yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_at(
        &self,
        agent: &Name,
        key: &str,
        moment: Millis,
    ) -> Result<Option<Revision>, ReadError> {
        self.with_connection(|connection| {
            // One view of the database for all steps: between two of them a commit would discard the pages that were read, and a purge
            // the row that is searched.
            let connection = connection.unchecked_transaction()?;
            let last: Option<u64> = select_value(
                &connection,
                "SELECT max(revision) FROM state_history WHERE agent = ?1 AND key = ?2",
                [agent.as_str(), key],
            )?;
            let mut time = connection.prepare_cached(
                "SELECT at FROM state_history WHERE agent = ?1 AND key = ?2 AND revision = ?3",
            )?;
            // Revisions are contiguous and their times never fall, so a binary search needs no index of its own.
            let (mut low, mut high) = (0, last.unwrap_or(0));
            while low < high {
                let middle = low + (high - low).div_ceil(2);
                let at: u64 =
                    time.query_row(params![agent.as_str(), key, middle], |row| row.get(0))?;
                if at <= moment.0 {
                    low = middle;
                } else {
                    high = middle - 1;
                }
            }
            find_revision(&connection, agent, key, low)
        })
    }

    /// The history of a key, newest first, before the revision `before` when it is given, at most `limit`, with secrets masked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_history(
        &self,
        agent: &Name,
        key: &str,
        before: Option<u64>,
        limit: u32,
    ) -> Result<Vec<Revision>, ReadError> {
        self.select_rows(
            &format!(
                "SELECT {REVISION_COLUMNS} FROM state_history WHERE agent = ?1 AND key = ?2 AND revision < ?3
                 ORDER BY revision DESC LIMIT ?4"
            ),
            params![agent.as_str(), key, before.unwrap_or(MAX_SEQ), limit],
            read_revision,
        )
    }
}
