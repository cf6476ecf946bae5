//! Operator policies: their components and settings (once each, by digest, and for good: decisions in the log name them), their versions,
//! and what is in force under each name.

use rusqlite::types::FromSql;
use rusqlite::{Connection, OptionalExtension, Row, params};

use ark_model::ids::{Digest, Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};

use super::audit::{digest_column, parse_required};
use super::error::ReadError;
use super::readers::Readers;
use super::{ReadOnlyStore, Store, schema};

/// A change of what is kept of operator policies. Who may make it, and whether it makes sense, was decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    /// Keeps a version; of one that is kept already, makes sure that component and settings are as they were brought.
    Version(NewPolicyVersion),
    /// Says what is in force under a name.
    Slot(PolicySlot),
}

/// A version to be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicyVersion {
    /// Whose.
    pub policy: Name,
    /// What is kept of it.
    pub version: PolicyVersion,
    /// Its component.
    pub component: Vec<u8>,
    /// The canonical text of its settings.
    pub settings_json: Option<String>,
}

/// A version as it is kept, without its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// Its number.
    pub number: u64,
    /// SHA-256 of its component.
    pub sha256: Digest,
    /// SHA-256 of its settings.
    pub settings: Option<Digest>,
    /// What the component says of itself.
    pub version: String,
    /// How many test vectors it carries.
    pub vectors: u32,
    /// Where it is from.
    pub source: PolicySource,
    /// As what it came.
    pub mode: PolicyMode,
    /// Who brought it.
    pub by: String,
    /// When.
    pub at: Millis,
}

/// What is in force under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySlot {
    /// The name.
    pub policy: Name,
    /// Who has the say over it.
    pub source: PolicySource,
    /// Its place among the others: lower ones are asked first, equal ones by name.
    pub order: u32,
    /// The version whose verdict counts; `None`: none.
    pub enforced: Option<u64>,
    /// The version on trial; `None`: none.
    pub shadow: Option<u64>,
    /// The version whose verdict counted before.
    pub previous: Option<u64>,
    /// The last number that was given to a version.
    pub last_number: u64,
    /// Rises with every change.
    pub revision: u64,
    /// Who made the last change.
    pub by: String,
    /// When.
    pub at: Millis,
}

impl PolicySlot {
    /// Of a name about which nothing was said before.
    #[must_use]
    pub fn new_empty(policy: &Name, order: u32, by: String) -> Self {
        Self {
            policy: policy.clone(),
            source: PolicySource::Api,
            order,
            enforced: None,
            shadow: None,
            previous: None,
            last_number: 0,
            revision: 1,
            by,
            at: Millis::now(),
        }
    }

    /// Whether nothing is in force.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.enforced.is_none() && self.shadow.is_none()
    }

    /// Lets a version count, or none; the one that did is remembered.
    pub fn set_enforced(&mut self, number: Option<u64>) {
        if self.enforced != number {
            self.previous = self
                .enforced
                .or(self.previous.filter(|it| Some(*it) != number));
            self.enforced = number;
        }
    }

    /// Puts a version in a mode. It is in one of them at a time.
    pub fn set_mode(&mut self, number: u64, mode: PolicyMode) {
        match mode {
            PolicyMode::Enforce => {
                self.shadow = self.shadow.filter(|shadow| *shadow != number);
                self.set_enforced(Some(number));
            }
            PolicyMode::Shadow => {
                if self.enforced == Some(number) {
                    self.set_enforced(None);
                }
                self.shadow = Some(number);
            }
        }
    }
}

pub(super) fn write_policy_change(
    connection: &Connection,
    change: &PolicyChange,
) -> rusqlite::Result<()> {
    match change {
        PolicyChange::Version(new) => write_version(connection, new),
        PolicyChange::Slot(slot) => connection
            .prepare_cached(
                "INSERT OR REPLACE INTO policy_slots
                 (policy, source, place, enforced, shadow, previous, last_number, revision, by, at)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                slot.policy.as_str(),
                slot.source.as_str(),
                slot.order,
                slot.enforced,
                slot.shadow,
                slot.previous,
                slot.last_number,
                slot.revision,
                slot.by,
                slot.at.0
            ])
            .map(drop),
    }
}

fn write_version(connection: &Connection, new: &NewPolicyVersion) -> rusqlite::Result<()> {
    let version = &new.version;
    connection
        .prepare_cached(
            "INSERT INTO policy_components (sha256, bytes) VALUES (?1, ?2)
             ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes WHERE bytes != excluded.bytes",
        )?
        .execute(params![version.sha256.as_bytes(), new.component])?;
    if let (Some(digest), Some(json)) = (version.settings, &new.settings_json) {
        connection
            .prepare_cached(
                "INSERT INTO policy_settings (sha256, json) VALUES (?1, ?2)
                 ON CONFLICT (sha256) DO UPDATE SET json = excluded.json WHERE json != excluded.json",
            )?
            .execute(params![digest.as_bytes(), json])?;
    }
    connection
        .prepare_cached(
            "INSERT OR IGNORE INTO policy_versions (policy, number, sha256, settings, version, vectors, source, mode, by, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        )?
        .execute(params![
            new.policy.as_str(),
            version.number,
            version.sha256.as_bytes(),
            version.settings.as_ref().map(Digest::as_bytes),
            version.version,
            version.vectors,
            version.source.as_str(),
            version.mode.as_str(),
            version.by,
            version.at.0
        ])
        .map(drop)
}

const SELECT_SLOT: &str = "SELECT policy, source, place, enforced, shadow, previous, last_number, revision, by, at FROM policy_slots";

fn read_slot(row: &Row<'_>) -> rusqlite::Result<PolicySlot> {
    Ok(PolicySlot {
        policy: parse_required(row, 0)?,
        source: parse_required(row, 1)?,
        order: row.get(2)?,
        enforced: row.get(3)?,
        shadow: row.get(4)?,
        previous: row.get(5)?,
        last_number: row.get(6)?,
        revision: row.get(7)?,
        by: row.get(8)?,
        at: Millis(row.get(9)?),
    })
}

fn read_version(row: &Row<'_>) -> rusqlite::Result<PolicyVersion> {
    let settings: Option<[u8; 32]> = row.get(2)?;
    Ok(PolicyVersion {
        number: row.get(0)?,
        sha256: digest_column(row, 1)?,
        settings: settings.map(Digest::from_bytes),
        version: row.get(3)?,
        vectors: row.get(4)?,
        source: parse_required(row, 5)?,
        mode: parse_required(row, 6)?,
        by: row.get(7)?,
        at: Millis(row.get(8)?),
    })
}

/// What is kept under a digest in one of the two tables; `None` too where the database is older than they are.
fn find_by_digest<T: FromSql>(
    readers: &Readers,
    query: &str,
    digest: Digest,
) -> Result<Option<T>, ReadError> {
    readers.with_connection(|connection| {
        if schema::read_version(connection)? < schema::WITH_POLICIES {
            return Ok(None);
        }
        connection
            .prepare_cached(query)?
            .query_row(params![digest.as_bytes()], |row| row.get(0))
            .optional()
    })
}

const SELECT_COMPONENT: &str = "SELECT bytes FROM policy_components WHERE sha256 = ?1";
const SELECT_SETTINGS: &str = "SELECT json FROM policy_settings WHERE sha256 = ?1";

impl Store {
    /// What is in force under each name about which something was ever said, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_slots(&self) -> Result<Vec<PolicySlot>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!("{SELECT_SLOT} ORDER BY policy"))?
                .query_map([], read_slot)?
                .collect()
        })
    }

    /// As [`Store::policy_slots`], of one name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_slot(&self, policy: &Name) -> Result<Option<PolicySlot>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(&format!("{SELECT_SLOT} WHERE policy = ?1"))?
                .query_row([policy.as_str()], read_slot)
                .optional()
        })
    }

    /// The versions of a policy, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_versions(&self, policy: &Name) -> Result<Vec<PolicyVersion>, ReadError> {
        self.inner.readers.with_connection(|connection| {
            connection
                .prepare_cached(
                    "SELECT number, sha256, settings, version, vectors, source, mode, by, at
                     FROM policy_versions WHERE policy = ?1 ORDER BY number DESC",
                )?
                .query_map([policy.as_str()], read_version)?
                .collect()
        })
    }

    /// A component that is kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_component(&self, sha256: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        find_by_digest(&self.inner.readers, SELECT_COMPONENT, sha256)
    }

    /// The canonical text of settings that are kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_settings(&self, sha256: Digest) -> Result<Option<String>, ReadError> {
        find_by_digest(&self.inner.readers, SELECT_SETTINGS, sha256)
    }
}

impl ReadOnlyStore {
    /// As [`Store::policy_component`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_component(&self, sha256: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        find_by_digest(self.readers(), SELECT_COMPONENT, sha256)
    }

    /// As [`Store::policy_settings`].
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_settings(&self, sha256: Digest) -> Result<Option<String>, ReadError> {
        find_by_digest(self.readers(), SELECT_SETTINGS, sha256)
    }
}
