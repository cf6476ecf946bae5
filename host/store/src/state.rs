//! Agents' state: the live values, and every way to read and write them.

use rusqlite::{Connection, OptionalExtension, params};

use ark_model::ids::{Digest, Millis, Name};
use ark_model::state::{StateEntry, is_secret};

use super::Store;
use super::audit::Head;
use super::error::{CommitError, ReadError};
use super::history::{self, Content, NewRevision, REVISION_COLUMNS, Revision, read_revision};
use super::secrets::{SecretError, SecretKey, StateAddress};
use super::unit::Unit;
use super::writer::WriteError;

/// A live key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateRow {
    /// The key.
    pub key: String,
    /// Its revision.
    pub revision: u64,
    /// What it holds.
    pub content: Content,
    /// When it was written.
    pub at: Millis,
}

/// Which earlier revision is to hold again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RollbackTarget {
    /// So many revisions before the current one.
    Steps(u64),
    /// This one.
    Revision(u64),
}

/// What writing state stands on.
pub(super) struct StateWriter<'a> {
    pub(super) connection: &'a Connection,
    pub(super) secret: Option<&'a SecretKey>,
    pub(super) head: &'a mut Head,
    pub(super) at: Millis,
    pub(super) trace_id: Option<&'a str>,
}

/// A key as the writer finds it.
struct CurrentRevision {
    revision: u64,
    at: u64,
    live: bool,
}

impl StateWriter<'_> {
    fn read_current(&self, agent: &Name, key: &str) -> rusqlite::Result<CurrentRevision> {
        let found = self
            .connection
            .prepare_cached(
                "SELECT revision, at, value IS NOT NULL FROM agents_state WHERE agent = ?1 AND key = ?2",
            )?
            .query_row([agent.as_str(), key], |row| {
                Ok(CurrentRevision {
                    revision: row.get(0)?,
                    at: row.get(1)?,
                    live: row.get(2)?,
                })
            })
            .optional()?;
        Ok(found.unwrap_or(CurrentRevision {
            revision: 0,
            at: 0,
            live: false,
        }))
    }

    /// The key as it is, which must be at `expected`, where that is given. For whoever expects nothing to be there, a deleted key is
    /// as good as one that never was.
    fn check_expected(
        &self,
        agent: &Name,
        key: &str,
        expected: Option<u64>,
    ) -> Result<CurrentRevision, WriteError> {
        let current = self.read_current(agent, key)?;
        match expected {
            Some(expected) if expected != current.revision && (expected != 0 || current.live) => {
                Err(WriteError::Refused(CommitError::Conflict {
                    agent: agent.clone(),
                    key: key.to_owned(),
                    expected,
                    current: current.revision,
                }))
            }
            _ => Ok(current),
        }
    }

    /// Writes the next revision of a key; `None` deletes. Nothing was written when it is refused.
    pub(super) fn write_value(
        &mut self,
        agent: &Name,
        key: &str,
        value: Option<&str>,
        expected: Option<u64>,
        origin: &str,
    ) -> Result<WrittenRevision, WriteError> {
        let current = self.check_expected(agent, key, expected)?;
        if value.is_none() && !current.live {
            return Err(WriteError::Refused(CommitError::NotFound(format!(
                "{agent} has no key {key:?}"
            ))));
        }
        self.append_value(agent, key, value, &current, origin)
    }

    /// As [`StateWriter::put`] for an agent's own write, which says exactly what it saw.
    pub(super) fn write_exact(
        &mut self,
        agent: &Name,
        key: &str,
        value: Option<&str>,
        expected: u64,
    ) -> Result<u64, WriteError> {
        let current = self.read_current(agent, key)?;
        if current.revision != expected {
            return Err(WriteError::Refused(CommitError::Conflict {
                agent: agent.clone(),
                key: key.to_owned(),
                expected,
                current: current.revision,
            }));
        }
        Ok(self
            .append_value(agent, key, value, &current, "agent")?
            .revision)
    }

    /// Writes an earlier revision's value (or deletion) as the next revision.
    pub(super) fn roll_back(
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
        let found = match revision.filter(|revision| (1..=current.revision).contains(revision)) {
            None => None,
            Some(revision) => self
                .connection
                .prepare_cached(
                    "SELECT value, key_id FROM state_history WHERE agent = ?1 AND key = ?2 AND revision = ?3",
                )?
                .query_row(params![agent.as_str(), key, revision], |row| {
                    Ok((
                        revision,
                        row.get::<_, Option<String>>(0)?,
                        row.get::<_, Option<String>>(1)?,
                    ))
                })
                .optional()?,
        };
        let Some((revision, value, key_id)) = found else {
            return Err(WriteError::Refused(CommitError::NoSuchRevision {
                key: key.to_owned(),
                target,
                current: current.revision,
            }));
        };
        let place = StateAddress {
            agent: agent.as_str(),
            key,
            revision,
        };
        let value = decrypt_value(self.secret, place, value, key_id.as_deref())
            .map_err(|error| WriteError::Refused(error.into()))?;
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
        let place = StateAddress {
            agent: agent.as_str(),
            key,
            revision: current.revision + 1,
        };
        let sealed = match value {
            Some(value) if is_secret(key) => {
                let secret = self.secret.ok_or_else(|| {
                    WriteError::Refused(CommitError::Secret(SecretError::NoKey {
                        key: key.to_owned(),
                    }))
                })?;
                let sealed = secret
                    .seal_value(place, value)
                    .map_err(|error| WriteError::Refused(error.into()))?;
                Some((secret.id(), sealed))
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
        self.connection
            .prepare_cached(
                "INSERT INTO agents_state (agent, key, revision, value, key_id, at) VALUES (?1, ?2, ?3, ?4, ?5, ?6)
                 ON CONFLICT (agent, key) DO UPDATE SET revision = ?3, value = ?4, key_id = ?5, at = ?6",
            )?
            .execute(params![agent.as_str(), key, place.revision, stored, key_id, at])?;
        let new = NewRevision {
            address: place,
            value: stored,
            key_id,
            digest,
            at,
            trace_id: self.trace_id,
            origin,
        };
        history::append_revision(self.connection, self.head, &new)?;
        Ok(WrittenRevision {
            revision: place.revision,
            digest,
        })
    }
}

/// A revision that was written.
pub(super) struct WrittenRevision {
    pub(super) revision: u64,
    /// The digest its history vouches for; `None`: a deletion.
    pub(super) digest: Option<Digest>,
}

fn decrypt_value(
    secret: Option<&SecretKey>,
    place: StateAddress<'_>,
    value: Option<String>,
    key_id: Option<&str>,
) -> Result<Option<String>, SecretError> {
    match (value, key_id) {
        (Some(text), Some(key_id)) => {
            let secret = secret.ok_or_else(|| SecretError::NoKey {
                key: place.key.to_owned(),
            })?;
            Ok(Some(secret.open_value(place, key_id, &text)?.0))
        }
        (value, _) => Ok(value),
    }
}

/// Writes the state of a unit's agent.
pub(super) fn write_unit_state(
    connection: &Connection,
    secret: Option<&SecretKey>,
    head: &mut Head,
    unit: &Unit,
    revisions: &mut Vec<u64>,
) -> Result<(), WriteError> {
    let Some(agent) = &unit.agent else {
        return Ok(());
    };
    let trace_id = unit.trace_id.map(|id| id.to_string());
    let mut writer = StateWriter {
        connection,
        secret,
        head,
        at: unit.at,
        trace_id: trace_id.as_deref(),
    };
    for write in &unit.state {
        let value = write.value_json.as_deref();
        revisions.push(writer.write_exact(agent, &write.key, value, write.expected)?);
    }
    Ok(())
}

impl Store {
    /// A key of an agent's state, for the agent: a secret is decrypted. A deleted key has no value but still a revision.
    ///
    /// # Errors
    /// The database cannot be read, or a secret not be decrypted.
    pub fn get_state(
        &self,
        agent: &Name,
        key: &str,
    ) -> Result<(u64, Option<StateEntry>), ReadError> {
        let row = self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT revision, value, key_id FROM agents_state WHERE agent = ?1 AND key = ?2",
                )?
                .query_row([agent.as_str(), key], |row| {
                    Ok((
                        row.get::<_, u64>(0)?,
                        row.get::<_, Option<String>>(1)?,
                        row.get::<_, Option<String>>(2)?,
                    ))
                })
                .optional()
        })?;
        let (revision, value, key_id) = row.unwrap_or((0, None, None));
        let place = StateAddress {
            agent: agent.as_str(),
            key,
            revision,
        };
        let value = decrypt_value(self.inner.secret.as_ref(), place, value, key_id.as_deref())
            .map_err(|error| ReadError(error.to_string()))?;
        Ok((
            revision,
            value.map(|value_json| StateEntry {
                value_json,
                revision,
            }),
        ))
    }

    /// Whether a value could be kept under this key.
    ///
    /// # Errors
    /// The key is a secret's and there is no encryption key.
    pub fn check_state_writable(&self, key: &str) -> Result<(), SecretError> {
        if is_secret(key) && self.inner.secret.is_none() {
            return Err(SecretError::NoKey {
                key: key.to_owned(),
            });
        }
        Ok(())
    }

    /// The live keys of an agent that start with `prefix`, in order, `limit` at most.
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

    /// The live keys of an agent that start with `prefix` with what they hold, in order, behind the key `after`, `limit` at most.
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
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT key, revision, value, at FROM agents_state WHERE agent = ?1 AND key >= ?2
                     AND key > ?4 AND substr(key, 1, length(?2)) = ?2 AND value IS NOT NULL ORDER BY key LIMIT ?3",
                )?
                .query_map(
                    params![agent.as_str(), prefix, limit, after.unwrap_or("")],
                    |row| {
                        let key: String = row.get(0)?;
                        let value: String = row.get(2)?;
                        Ok(StateRow {
                            revision: row.get(1)?,
                            content: if is_secret(&key) {
                                Content::Secret
                            } else {
                                Content::Plain(value)
                            },
                            at: Millis(row.get(3)?),
                            key,
                        })
                    },
                )?
                .collect()
        })
    }

    /// The agents that have state, in order.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn agents_with_state(&self) -> Result<Vec<Name>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached("SELECT DISTINCT agent FROM agents_state ORDER BY agent")?
                .query_map([], |row| super::audit::parse_required(row, 0))?
                .collect()
        })
    }

    /// The last revision of a key; secrets masked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn latest_state(&self, agent: &Name, key: &str) -> Result<Option<Revision>, ReadError> {
        Ok(self.state_history(agent, key, None, 1)?.pop())
    }

    /// One revision of a key; secrets masked.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_revision(
        &self,
        agent: &Name,
        key: &str,
        revision: u64,
    ) -> Result<Option<Revision>, ReadError> {
        self.inner
            .readers
            .with_connection(|connection| find_revision(connection, agent, key, revision))
    }

    /// The revision of a key that held at a moment; secrets masked. `None`: the key was not there yet.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn state_at(
        &self,
        agent: &Name,
        key: &str,
        moment: Millis,
    ) -> Result<Option<Revision>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            // One look at the database for all steps: between two, a commit would throw away the pages that were read, and a purge the row
            // that is looked for.
            let connection = connection.unchecked_transaction()?;
            // Revisions are contiguous and their times never fall: a binary search needs no index of its own.
            let (mut low, mut high) = (0, 0);
            let mut statement = connection.prepare_cached(
                "SELECT max(revision) FROM state_history WHERE agent = ?1 AND key = ?2",
            )?;
            let last: Option<u64> = statement.query_row([agent.as_str(), key], |row| row.get(0))?;
            high += last.unwrap_or(0);
            let mut time = connection.prepare_cached(
                "SELECT at FROM state_history WHERE agent = ?1 AND key = ?2 AND revision = ?3",
            )?;
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

    /// The history of a key, newest first, before the revision `before` when given, `limit` at most; secrets masked.
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
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!(
                    "SELECT {REVISION_COLUMNS} FROM state_history WHERE agent = ?1 AND key = ?2 AND revision < ?4
                     ORDER BY revision DESC LIMIT ?3"
                ))?
                .query_map(
                    params![
                        agent.as_str(),
                        key,
                        limit,
                        before.unwrap_or(i64::MAX.unsigned_abs())
                    ],
                    read_revision,
                )?
                .collect()
        })
    }
}

fn find_revision(
    connection: &Connection,
    agent: &Name,
    key: &str,
    revision: u64,
) -> rusqlite::Result<Option<Revision>> {
    connection
        .prepare_cached(&format!(
            "SELECT {REVISION_COLUMNS} FROM state_history WHERE agent = ?1 AND key = ?2 AND revision = ?3"
        ))?
        .query_row(params![agent.as_str(), key, revision], read_revision)
        .optional()
}
