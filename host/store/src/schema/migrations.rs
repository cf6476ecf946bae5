//! The steps that bring an earlier database up to date.

use std::ops::Range;
use std::path::Path;

use ark_model::ids::Digest;
use ark_model::state::is_secret;
use rusqlite::Connection;

use crate::chain::ChainHead;
use crate::error::OpenError;
use crate::secrets::{SecretError, SecretKey, StateAddress};
use crate::tables::audit::fill_decision_index;
use crate::tables::state::{NewRevision, UPDATE_LIVE_SECRETS, append_revision};

use super::version::SCHEMA_VERSION;

/// The scripts of each version: those at index n take a database from version n to version n + 1.
const SCRIPTS: [&[&str]; SCHEMA_VERSION as usize] = [
    &[include_str!("v1.sql")],
    &[include_str!("v2.sql")],
    &[include_str!("v3.sql")],
    &[
        include_str!("v4_approvals.sql"),
        include_str!("v4_tokens.sql"),
        include_str!("v4_policies.sql"),
        include_str!("v4_agents.sql"),
        include_str!("v4_fleet.sql"),
        include_str!("v4_deliveries.sql"),
    ],
    &[
        include_str!("v5_orders.sql"),
        include_str!("v5_token_actions.sql"),
    ],
    &[include_str!("v6_quotas.sql")],
    &[include_str!("v7_redis.sql")],
    &[include_str!("v8_redis_events.sql")],
    &[
        include_str!("v9_decisions.sql"),
        include_str!("v9_failed_deliveries.sql"),
    ],
    &[include_str!("v10_notes.sql")],
    &[include_str!("v11_webhooks.sql")],
    &[
        include_str!("v12_packed_bodies.sql"),
        include_str!("v12_ended_orders.sql"),
    ],
    &[include_str!("v13_derived_rows.sql")],
    &[include_str!("v14_fewer_pages.sql")],
    &[include_str!("v15_audit_ids.sql")],
    &[include_str!("v16_order_numbers.sql")],
];

/// Why a migration step failed.
enum MigrationError {
    Database(rusqlite::Error),
    Secret(SecretError),
}

impl From<rusqlite::Error> for MigrationError {
    fn from(error: rusqlite::Error) -> Self {
        Self::Database(error)
    }
}

impl From<SecretError> for MigrationError {
    fn from(error: SecretError) -> Self {
        Self::Secret(error)
    }
}

/// Migrates a database from the first version of a range to its last. Each version is a transaction of its own.
pub(crate) fn migrate_schema(
    connection: &mut Connection,
    path: &Path,
    versions: Range<u32>,
    secret_key: Option<&SecretKey>,
) -> Result<(), OpenError> {
    for (version, scripts) in (0..).zip(SCRIPTS) {
        if !versions.contains(&version) {
            continue;
        }
        migrate_to(connection, version + 1, scripts, secret_key).map_err(|error| match error {
            MigrationError::Database(error) => OpenError::from_sqlite(path, error),
            MigrationError::Secret(cause) => OpenError::Secret {
                path: path.to_owned(),
                cause,
            },
        })?;
    }
    if versions.end > SCHEMA_VERSION {
        // A debug build that pretends to be a later version: see `current_schema`.
        connection
            .execute_batch(&format!("PRAGMA user_version = {}", versions.end))
            .map_err(|error| OpenError::from_sqlite(path, error))?;
    }
    Ok(())
}

/// Makes the schema of a version in a database in memory, by the steps that every database of that version went through.
pub(crate) fn build_schema(version: u32) -> rusqlite::Result<Connection> {
    let mut connection = Connection::open_in_memory()?;
    connection.execute_batch("PRAGMA foreign_keys = ON; PRAGMA trusted_schema = OFF;")?;
    for (from, scripts) in (0..version).zip(SCRIPTS) {
        migrate_to(&mut connection, from + 1, scripts, None).map_err(|error| match error {
            MigrationError::Database(error) => error,
            MigrationError::Secret(cause) => {
                rusqlite::Error::ToSqlConversionFailure(cause.to_string().into())
            }
        })?;
    }
    Ok(connection)
}

fn migrate_to(
    connection: &mut Connection,
    version: u32,
    scripts: &[&str],
    secret_key: Option<&SecretKey>,
) -> Result<(), MigrationError> {
    let transaction = connection.transaction()?;
    for script in scripts {
        transaction.execute_batch(script)?;
    }
    if version == 3 {
        migrate_state_history(&transaction, secret_key)?;
    }
    if version == 9 {
        fill_decision_index(&transaction)?;
    }
    transaction.execute_batch(&format!("PRAGMA user_version = {version}"))?;
    transaction.commit()?;
    Ok(())
}

/// Copies the history of schema 2 into the chain of schema 3, in the order it was written, encrypts the secrets in it, and drops the old
/// table.
fn migrate_state_history(
    connection: &Connection,
    secret_key: Option<&SecretKey>,
) -> Result<(), MigrationError> {
    let mut head = ChainHead::GENESIS;
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
        let address = StateAddress {
            agent: &agent,
            key: &key,
            revision: row.get(2)?,
        };
        let sealed = match &value {
            Some(value) if is_secret(&key) => {
                let secret_key =
                    secret_key.ok_or_else(|| SecretError::NoKey { key: key.clone() })?;
                Some((secret_key.seal_value(address, value)?, secret_key.id()))
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
            address,
            value: stored,
            key_id,
            digest,
            at: row.get(4)?,
            trace_id: trace_id.as_deref(),
            origin: "agent",
        };
        append_revision(connection, &mut head, &new)?;
    }
    drop(rows);
    drop(statement);
    connection.execute_batch(UPDATE_LIVE_SECRETS)?;
    connection.execute_batch(
        "UPDATE agents_state SET at = (SELECT max(h.at) FROM state_history h WHERE h.agent = agents_state.agent
             AND h.key = agents_state.key) WHERE EXISTS (SELECT 1 FROM state_history h WHERE h.agent = agents_state.agent
             AND h.key = agents_state.key);
         DROP TABLE state_history_before;",
    )?;
    Ok(())
}
