//! Operator policies: their components and settings, their versions, and which version is in force under each name.
//!
//! Components and settings are stored once each, by digest, and never deleted: decisions in the audit log name them.

use ark_model::ids::{Digest, Millis, Name};
use ark_model::policy::{PolicyMode, PolicySource};
use rusqlite::types::FromSql;
use rusqlite::{Connection, Row, params};

use crate::error::ReadError;
use crate::query::{
    digest_column, execute_cached, millis_column, optional_digest, parse_required, select_rows,
};
use crate::reader::Reader;
use crate::schema::POLICY_COMPONENTS_SINCE;

/// A policy that was in force once. Decisions name it by its digest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyRecord {
    /// The SHA-256 of the component.
    pub digest: Digest,
    /// The metadata, as JSON.
    pub metadata_json: String,
}

/// A change of the versions and slots of operator policies. Whether it is allowed was decided before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PolicyChange {
    /// Stores a version. For one that is stored already, it repairs the component and the settings.
    Version(NewPolicyVersion),
    /// Sets what is in force under a name.
    Slot(PolicySlot),
}

/// A version to be stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewPolicyVersion {
    /// The policy.
    pub policy: Name,
    /// The version.
    pub version: PolicyVersion,
    /// The component.
    pub component: Vec<u8>,
    /// The canonical text of the settings.
    pub settings_json: Option<String>,
}

/// A version as it is stored, without its component.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyVersion {
    /// The number.
    pub number: u64,
    /// The SHA-256 of the component.
    pub sha256: Digest,
    /// The SHA-256 of the settings.
    pub settings: Option<Digest>,
    /// The version that the component states.
    pub version: String,
    /// How many test vectors the component contains.
    pub vectors: u32,
    /// Where the version is from.
    pub source: PolicySource,
    /// The mode it was submitted for.
    pub mode: PolicyMode,
    /// Who submitted it.
    pub by: String,
    /// When it was submitted.
    pub at: Millis,
}

/// What is in force under a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicySlot {
    /// The name.
    pub policy: Name,
    /// The source that controls the slot.
    pub source: PolicySource,
    /// The slot's place in the sequence: policies with lower numbers judge first, those with equal numbers by name.
    pub place: u32,
    /// The version whose verdict is enforced.
    pub enforced: Option<u64>,
    /// The version that judges in shadow.
    pub shadow: Option<u64>,
    /// The version whose verdict was enforced before.
    pub previous: Option<u64>,
    /// The last number that was given to a version.
    pub last_number: u64,
    /// Rises with every change of the slot.
    pub revision: u64,
    /// Who made the last change.
    pub by: String,
    /// When the last change was made.
    pub at: Millis,
}

impl PolicySlot {
    /// The slot of a name that had no change before.
    #[must_use]
    pub fn new_empty(policy: &Name, place: u32, by: String) -> Self {
        Self {
            policy: policy.clone(),
            source: PolicySource::Api,
            place,
            enforced: None,
            shadow: None,
            previous: None,
            last_number: 0,
            revision: 1,
            by,
            at: Millis::now(),
        }
    }

    /// Whether no version is in force.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.enforced.is_none() && self.shadow.is_none()
    }

    /// Enforces a version, or none. The version that was enforced before is remembered.
    pub fn set_enforced(&mut self, number: Option<u64>) {
        if self.enforced != number {
            self.previous = self
                .enforced
                .or(self.previous.filter(|it| Some(*it) != number));
            self.enforced = number;
        }
    }

    /// Puts a version in a mode. A version is in one mode at a time.
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

/// Stores a policy that is in force, unless it is stored already.
pub(crate) fn write_policy_record(
    connection: &Connection,
    record: &PolicyRecord,
) -> rusqlite::Result<()> {
    execute_cached(
        connection,
        "INSERT OR IGNORE INTO policies (digest, metadata) VALUES (?1, ?2)",
        params![record.digest.to_string(), record.metadata_json],
    )
    .map(drop)
}

/// Every policy that was in force once, by digest.
pub(crate) fn read_policy_records(connection: &Connection) -> rusqlite::Result<Vec<PolicyRecord>> {
    select_rows(
        connection,
        "SELECT digest, metadata FROM policies ORDER BY digest",
        [],
        |row| {
            Ok(PolicyRecord {
                digest: parse_required(row, 0)?,
                metadata_json: row.get(1)?,
            })
        },
    )
}

pub(crate) fn write_policy_change(
    connection: &Connection,
    change: &PolicyChange,
) -> rusqlite::Result<()> {
    match change {
        PolicyChange::Version(new) => write_version(connection, new),
        PolicyChange::Slot(slot) => execute_cached(
            connection,
            "INSERT OR REPLACE INTO policy_slots
             (policy, source, place, enforced, shadow, previous, last_number, revision, by, at)
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
            params![
                slot.policy.as_str(),
                slot.source.as_str(),
                slot.place,
                slot.enforced,
                slot.shadow,
                slot.previous,
                slot.last_number,
                slot.revision,
                slot.by,
                slot.at.0
            ],
        )
        .map(drop),
    }
}

fn write_version(connection: &Connection, new: &NewPolicyVersion) -> rusqlite::Result<()> {
    let version = &new.version;
    execute_cached(
        connection,
        "INSERT INTO policy_components (sha256, bytes) VALUES (?1, ?2)
         ON CONFLICT (sha256) DO UPDATE SET bytes = excluded.bytes WHERE bytes != excluded.bytes",
        params![version.sha256.as_bytes(), new.component],
    )?;
    if let (Some(digest), Some(json)) = (version.settings, &new.settings_json) {
        execute_cached(
            connection,
            "INSERT INTO policy_settings (sha256, json) VALUES (?1, ?2)
             ON CONFLICT (sha256) DO UPDATE SET json = excluded.json WHERE json != excluded.json",
            params![digest.as_bytes(), json],
        )?;
    }
    execute_cached(
        connection,
        "INSERT OR IGNORE INTO policy_versions (policy, number, sha256, settings, version, vectors, source, mode, by, at)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
        params![
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
        ],
    )
    .map(drop)
}

const SELECT_SLOT: &str = "SELECT policy, source, place, enforced, shadow, previous, last_number, revision, by, at FROM policy_slots";

fn read_slot(row: &Row<'_>) -> rusqlite::Result<PolicySlot> {
    Ok(PolicySlot {
        policy: parse_required(row, 0)?,
        source: parse_required(row, 1)?,
        place: row.get(2)?,
        enforced: row.get(3)?,
        shadow: row.get(4)?,
        previous: row.get(5)?,
        last_number: row.get(6)?,
        revision: row.get(7)?,
        by: row.get(8)?,
        at: millis_column(row, 9)?,
    })
}

fn read_policy_version(row: &Row<'_>) -> rusqlite::Result<PolicyVersion> {
    Ok(PolicyVersion {
        number: row.get(0)?,
        sha256: digest_column(row, 1)?,
        settings: optional_digest(row, 2)?,
        version: row.get(3)?,
        vectors: row.get(4)?,
        source: parse_required(row, 5)?,
        mode: parse_required(row, 6)?,
        by: row.get(7)?,
        at: millis_column(row, 8)?,
    })
}

impl Reader {
    /// Every policy that was in force once, by digest.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_records(&self) -> Result<Vec<PolicyRecord>, ReadError> {
        self.with_connection(read_policy_records)
    }

    /// The slots that had a change, by name.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_slots(&self) -> Result<Vec<PolicySlot>, ReadError> {
        self.select_rows(&format!("{SELECT_SLOT} ORDER BY policy"), [], read_slot)
    }

    /// The slot of a name; `None` when it had no change.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_slot(&self, policy: &Name) -> Result<Option<PolicySlot>, ReadError> {
        let sql = format!("{SELECT_SLOT} WHERE policy = ?1");
        self.select_row(&sql, [policy.as_str()], read_slot)
    }

    /// The versions of a policy, newest first.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_versions(&self, policy: &Name) -> Result<Vec<PolicyVersion>, ReadError> {
        self.select_rows(
            "SELECT number, sha256, settings, version, vectors, source, mode, by, at
             FROM policy_versions WHERE policy = ?1 ORDER BY number DESC",
            [policy.as_str()],
            read_policy_version,
        )
    }

    /// The component with this digest; `None` when it is not kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_component(&self, sha256: Digest) -> Result<Option<Vec<u8>>, ReadError> {
        self.find_by_digest(
            "SELECT bytes FROM policy_components WHERE sha256 = ?1",
            sha256,
        )
    }

    /// The canonical text of the settings with this digest; `None` when they are not kept.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn policy_settings(&self, sha256: Digest) -> Result<Option<String>, ReadError> {
        self.find_by_digest("SELECT json FROM policy_settings WHERE sha256 = ?1", sha256)
    }

    /// A database of an earlier schema has neither of the two tables, so it keeps nothing.
    fn find_by_digest<T: FromSql>(
        &self,
        sql: &str,
        digest: Digest,
    ) -> Result<Option<T>, ReadError> {
        if self.schema() < POLICY_COMPONENTS_SINCE {
            return Ok(None);
        }
        self.select_row(sql, [digest.as_bytes()], |row| row.get(0))
    }
}
