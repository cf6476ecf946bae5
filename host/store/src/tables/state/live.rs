//! Agents' state: the last revision of each key, and every way to write one.

use ark_model::ids::{Digest, Millis, Name};
use ark_model::state::{StateEntry, is_secret};
use rusqlite::{Connection, Row, params};

use crate::chain::ChainHead;
use crate::error::{CommitError, MissingItem, ReadError, WriteError};
use crate::query::{execute_cached, millis_column, parse_required, select_row};
use crate::reader::Reader;
use crate::revision::{Content, RollbackTarget, StateRow};
use crate::secrets::{SecretError, SecretKey, StateAddress, find_lost_key};
use crate::usage::{UnitUsage, count_revision, to_signed};
use ark_model::usage::QuotaHolder;

use super::history::{NewRevision, append_revision};

/// Writes agents' state within a transaction.
pub(crate) struct StateWriter<'a> {
    pub(crate) connection: &'a Connection,
    pub(crate) secret_key: Option<&'a SecretKey>,
    /// The head of the history. Each write moves it on.
    pub(crate) head: &'a mut ChainHead,
    pub(crate) at: Millis,
    pub(crate) trace_id: Option<&'a str>,
    /// The quota holder that the revisions are counted for.
    pub(crate) charged_to: Option<&'a QuotaHolder>,
    /// Where writes are counted.
    pub(crate) usage: &'a mut UnitUsage,
}

/// The revision a key is at before a write.
struct CurrentRevision {
    /// The number; 0 when the key never existed.
    revision: u64,
    /// When it was written, in milliseconds.
    at: u64,
    /// The bytes of its value as it is stored; `None`: the key was deleted or never existed.
    live_bytes: Option<u64>,
}

impl CurrentRevision {
    const fn is_live(&self) -> bool {
        self.live_bytes.is_some()
    }
}

/// A revision that was written.
pub(crate) struct WrittenRevision {
    pub(crate) revision: u64,
    /// The digest that the history has of the value; `None` for a deletion.
    pub(crate) digest: Option<Digest>,
}

impl StateWriter<'_> {
    fn read_current(&self, agent: &Name, key: &str) -> rusqlite::Result<CurrentRevision> {
        let current = select_row(
            self.connection,
            "SELECT revision, at, octet_length(value) FROM agents_state WHERE agent = ?1 AND key = ?2",
            [agent.as_str(), key],
            |row| {
                Ok(CurrentRevision {
                    revision: row.get(0)?,
                    at: row.get(1)?,
                    live_bytes: row.get(2)?,
                })
            },
        )?;
        Ok(current.unwrap_or(CurrentRevision {
            revision: 0,
            at: 0,
            live_bytes: None,
        }))
    }

    /// Reads the current revision and compares it with the expected one, if there is one. A caller that expects revision 0 accepts a
    /// deleted key too.
    fn check_expected(
        &self,
        agent: &Name,
        key: &str,
        expected: Option<u64>,
    ) -> Result<CurrentRevision, WriteError> {
        let current = self.read_current(agent, key)?;
        match expected {
            Some(expected)
                if expected != current.revision && (expected != 0 || current.is_live()) =>
            {
                Err(revision_conflict(agent, key, expected, &current))
            }
            _ => Ok(current),
        }
    }

    /// Writes the next revision of a key; a value of `None` deletes it. A refusal comes before anything is written.
    pub(crate) fn write_value(
        &mut self,
        agent: &Name,
        key: &str,
        value: Option<&str>,
        expected: Option<u64>,
        origin: &str,
    ) -> Result<WrittenRevision, WriteError> {
        let current = self.check_expected(agent, key, expected)?;
        if value.is_none() && !current.is_live() {
            return Err(WriteError::refuse(MissingItem::StateKey {
                agent: agent.clone(),
                key: key.to_owned(),
            }));
        }
        self.append_value(agent, key, value, &current, origin)
    }

    /// As [`StateWriter::write_value`] for an agent's own write, which must name the current revision exactly.
    pub(crate) fn write_exact(
        &mut self,
        agent: &Name,
        key: &str,
        value: Option<&str>,
        expected: u64,
    ) -> Result<u64, WriteError> {
        let current = self.read_current(agent, key)?;
        if current.revision != expected {
            return Err(revision_conflict(agent, key, expected, &current));
        }
        let written = self.append_value(agent, key, value, &current, "agent")?;
        Ok(written.revision)
    }

    /// Writes the value (or the deletion) of an earlier revision as the next revision.
    pub(crate) fn roll_back(
        &mut self,
        agent: &Name,
        key: &str,
        target: RollbackTarget,
        expected: Option<u64>,
    ) -> Result<WrittenRevision, WriteError> {
        let current = self.check_expected(agent, key, expected)?;
        let revision = match target {
            RollbackTarget::Revision(revision) => Some(revision),
            RollbackTarget::Steps(steps) => current.revision.checked_sub(steps),
        };
        let no_such_revision = || {
            WriteError::refuse(CommitError::NoSuchRevision {
                key: key.to_owned(),
                target,
                current: current.revision,
            })
        };
        let revision = revision
            .filter(|revision| (1..=current.revision).contains(revision))
            .ok_or_else(no_such_revision)?;
        let (value, key_id) = select_row(
            self.connection,
            "SELECT value, key_id FROM state_history WHERE agent = ?1 AND key = ?2 AND revision = ?3",
            params![agent.as_str(), key, revision],
            |row| Ok((row.get(0)?, row.get::<_, Option<String>>(1)?)),
        )?
        .ok_or_else(no_such_revision)?;
        let address = StateAddress {
            agent: agent.as_str(),
            key,
            revision,
        };
        let value = decrypt_value(self.secret_key, address, value, key_id.as_deref())
            .map_err(WriteError::refuse)?;
        let origin = format!("rollback to {revision}");
        self.append_value(agent, key, value.as_deref(), &current, &origin)
    }

    fn append_value(
        &mut self,
        agent: &Name,
        key: &str,
        value: Option<&str>,
        current: &CurrentRevision,
        origin: &str,
    ) -> Result<WrittenRevision, WriteError> {
        let address = StateAddress {
            agent: agent.as_str(),
            key,
            revision: current.revision + 1,
        };
        let sealed = match value {
            Some(value) if is_secret(key) => {
                let secret_key = self
                    .secret_key
                    .ok_or_else(|| WriteError::refuse(no_key(key)))?;
                let sealed = secret_key
                    .seal_value(address, value)
                    .map_err(WriteError::refuse)?;
                Some((secret_key.id(), sealed))
            }
            _ => None,
        };
        let (stored, key_id, digest) = match (&sealed, value) {
            (Some((id, sealed)), _) => (Some(sealed.text.as_str()), Some(*id), Some(sealed.digest)),
            (None, Some(value)) => (
                Some(value),
                None,
                Some(Digest::hash_bytes(value.as_bytes())),
            ),
            (None, None) => (None, None, None),
        };
        // A clock that was set back must not make a later revision look earlier: reads at a moment rely on the order.
        let at = self.at.0.max(current.at);
        execute_cached(
            self.connection,
            "INSERT INTO agents_state (agent, key, revision, value, key_id, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
             ON CONFLICT (agent, key) DO UPDATE SET revision = ?3, value = ?4, key_id = ?5, at = ?6",
            params![agent.as_str(), key, address.revision, stored, key_id, at],
        )?;
        let new = NewRevision {
            address,
            value: stored,
            key_id,
            digest,
            at,
            trace_id: self.trace_id,
            origin,
        };
        append_revision(self.connection, self.head, &new)?;
        self.count_write(agent, key, stored, current);
        Ok(WrittenRevision {
            revision: address.revision,
            digest,
        })
    }
}

impl StateWriter<'_> {
    /// Counts a revision that was written: its row for the writer, the live value for the agent.
    fn count_write(
        &mut self,
        agent: &Name,
        key: &str,
        stored: Option<&str>,
        previous: &CurrentRevision,
    ) {
        let owner = QuotaHolder::Agent(agent.clone());
        self.usage.add_stored(
            Some(self.charged_to.unwrap_or(&owner)),
            count_revision(key, stored),
        );
        let live = stored.map_or(0, |value| to_signed(value.len() as u64));
        let before = previous.live_bytes.map_or(0, to_signed);
        self.usage.add_kept(agent, live - before, self.charged_to);
        let is_live = i64::from(stored.is_some());
        self.usage.of_holder(&owner).keys += is_live - i64::from(previous.is_live());
    }
}

fn revision_conflict(
    agent: &Name,
    key: &str,
    expected: u64,
    current: &CurrentRevision,
) -> WriteError {
    WriteError::refuse(CommitError::Conflict {
        agent: agent.clone(),
        key: key.to_owned(),
        expected,
        current: current.revision,
    })
}

fn no_key(key: &str) -> SecretError {
    SecretError::NoKey {
        key: key.to_owned(),
    }
}

/// Decrypts a value that has the id of an encryption key; any other value is returned as it is.
fn decrypt_value(
    secret_key: Option<&SecretKey>,
    address: StateAddress<'_>,
    value: Option<String>,
    key_id: Option<&str>,
) -> Result<Option<String>, SecretError> {
    match (value, key_id) {
        (Some(text), Some(key_id)) => {
            if let Some(lost) = find_lost_key(key_id) {
                return Err(SecretError::GivenUp {
                    key: address.key.to_owned(),
                    lost: lost.to_owned(),
                });
            }
            let secret_key = secret_key.ok_or_else(|| no_key(address.key))?;
            Ok(Some(secret_key.open_value(address, key_id, &text)?.0))
        }
        (value, _) => Ok(value),
    }
}

fn read_state_row(row: &Row<'_>) -> rusqlite::Result<StateRow> {
    let key: String = row.get(0)?;
    let value: String = row.get(2)?;
    Ok(StateRow {
        revision: row.get(1)?,
        content: if is_secret(&key) {
            Content::Secret
        } else {
            Content::Plain(value)
        },
        at: millis_column(row, 3)?,
        key,
    })
}

impl Reader {
    /// A key of an agent's state as the agent sees it, with secrets decrypted: the revision, and the entry unless the key was deleted. The
    /// revision is 0 when the key never existed.
    ///
    /// # Errors
    /// The database cannot be read, or a secret cannot be decrypted.
    pub fn get_state(
        &self,
        agent: &Name,
        key: &str,
    ) -> Result<(u64, Option<StateEntry>), ReadError> {
        let row = self.select_row(
            "SELECT revision, value, key_id FROM agents_state WHERE agent = ?1 AND key = ?2",
            [agent.as_str(), key],
            |row| Ok((row.get(0)?, row.get(1)?, row.get::<_, Option<String>>(2)?)),
        )?;
        let (revision, value, key_id) = row.unwrap_or((0, None, None));
        let address = StateAddress {
            agent: agent.as_str(),
            key,
            revision,
        };
        let value = decrypt_value(self.secret_key(), address, value, key_id.as_deref())?;
        let entry = value.map(|value_json| StateEntry {
            value_json,
            revision,
        });
        Ok((revision, entry))
    }

    /// Checks that a value could be stored under this key.
    ///
    /// # Errors
    /// The key is one of a secret, and there is no encryption key.
    pub fn check_state_writable(&self, key: &str) -> Result<(), SecretError> {
        if is_secret(key) && self.secret_key().is_none() {
            return Err(no_key(key));
        }
        Ok(())
    }

    /// How many values of agents' states are encrypted secrets.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn count_secrets(&self) -> Result<u64, ReadError> {
        let count = self.select_row(
            "SELECT count(*) FROM agents_state WHERE key_id IS NOT NULL",
            [],
            |row| row.get(0),
        )?;
        Ok(count.unwrap_or(0))
    }

    /// The keys of an agent that start with `prefix`, in order, at most `limit`. Deleted keys are left out.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn list_state_keys(
        &self,
        agent: &Name,
        prefix: &str,
        limit: u32,
    ) -> Result<Vec<String>, ReadError> {
        let rows = self.state_page(agent, prefix, None, limit)?;
        Ok(rows.into_iter().map(|row| row.key).collect())
    }

    /// The keys of an agent that start with `prefix`, with their contents, in order, behind the key `after` when it is given, at most
    /// `limit`. Deleted keys are left out, and secrets are masked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_page(
        &self,
        agent: &Name,
        prefix: &str,
        after: Option<&str>,
        limit: u32,
    ) -> Result<Vec<StateRow>, ReadError> {
        self.select_rows(
            "SELECT key, revision, value, at FROM agents_state WHERE agent = ?1 AND key >= ?2
             AND key > ?4 AND substr(key, 1, length(?2)) = ?2 AND value IS NOT NULL ORDER BY key LIMIT ?3",
            params![agent.as_str(), prefix, limit, after.unwrap_or("")],
            read_state_row,
        )
    }

    /// The agents that have state, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn agents_with_state(&self) -> Result<Vec<Name>, ReadError> {
        self.select_rows(
            "SELECT DISTINCT agent FROM agents_state ORDER BY agent",
            [],
            |row| parse_required(row, 0),
        )
    }
}
