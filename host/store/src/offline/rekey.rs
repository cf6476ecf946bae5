//! A change of the encryption key.

use std::path::Path;

use rusqlite::{Connection, params};

use crate::secrets::{SecretError, SecretKey, StateAddress};
use crate::tables::state::UPDATE_LIVE_SECRETS;

use super::error::MaintenanceError;
use super::exclusive::{OfflineStore, record_maintenance};

/// Encrypts every secret, of every revision, with another key: all of them or none. Those that were given up stay as they are. Returns how many there are.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs, the old key is missing or is another one, or a secret does not decrypt. Nothing was changed.
pub fn rekey_secrets(
    dir: &Path,
    old: Option<&SecretKey>,
    new: &SecretKey,
) -> Result<u64, MaintenanceError> {
    let mut store = OfflineStore::open(dir, old)?;
    let transaction = store.connection.transaction()?;
    let count = reseal_history(&transaction, old, new)?;
    transaction.execute_batch(UPDATE_LIVE_SECRETS)?;
    let from = old.map(SecretKey::id);
    let body = serde_json::json!({"from_key": from, "to_key": new.id(), "secrets": count});
    record_maintenance(&transaction, "secrets.rekey", &body)?;
    transaction.commit()?;
    store.finish()?;
    Ok(count)
}

fn reseal_history(
    connection: &Connection,
    old: Option<&SecretKey>,
    new: &SecretKey,
) -> Result<u64, MaintenanceError> {
    let mut statement = connection.prepare(
        "SELECT seq, agent, key, revision, value, key_id FROM state_history WHERE key_id IS NOT NULL
         AND key_id NOT GLOB 'given-up:*' ORDER BY seq",
    )?;
    let mut update =
        connection.prepare("UPDATE state_history SET value = ?2, key_id = ?3 WHERE seq = ?1")?;
    let mut rows = statement.query([])?;
    let mut count = 0;
    while let Some(row) = rows.next()? {
        let (agent, key): (String, String) = (row.get(1)?, row.get(2)?);
        let (value, key_id): (String, String) = (row.get(4)?, row.get(5)?);
        let old = old.ok_or_else(|| SecretError::NoKey { key: key.clone() })?;
        let address = StateAddress {
            agent: &agent,
            key: &key,
            revision: row.get(3)?,
        };
        let sealed = old.reseal_value(new, address, &key_id, &value)?;
        update.execute(params![row.get::<_, u64>(0)?, sealed.text, new.id()])?;
        count += 1;
    }
    Ok(count)
}
