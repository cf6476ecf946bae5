//! Giving up secrets whose encryption key is lost, so that the host can go on with another key.
//!
//! Every live secret under the lost key is deleted by a revision of its own. The ciphertexts stay in the history, whose chain covers their
//! digests, and are marked as given up: they are no longer asked the key for, and nobody can read them.

use std::path::Path;

use ark_model::ids::{Millis, Name};
use rusqlite::{Connection, params};
use serde::Serialize;
use serde_json::json;

use crate::query::{execute_cached, parse_required, select_rows};
use crate::secrets::mark_given_up;
use crate::tables::state::{StateWriter, read_state_head};
use crate::usage::{UnitUsage, UsageBook};

use super::error::MaintenanceError;
use super::exclusive::{OfflineStore, record_maintenance};

/// Where the revisions that delete the secrets come from.
const ORIGIN: &str = "secret given up";

/// What was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct GivenUpSecrets {
    /// The id of the lost key.
    pub key: String,
    /// The secrets that were live, as `AGENT/KEY`: they are deleted, and must be written anew.
    pub deleted: Vec<String>,
    /// How many revisions, the live ones among them, nobody can read any more.
    pub revisions: u64,
}

/// Gives up all secrets that are encrypted with a lost key. One transaction, which a row of the audit log attests.
///
/// `key`: the id of the lost key, as a refused start names it.
///
/// # Errors
/// See [`MaintenanceError`]: a host runs, or no secret is encrypted with this key. Nothing was changed.
pub fn give_up_secrets(
    dir: &Path,
    key: &str,
    by: &str,
    reason: &str,
) -> Result<GivenUpSecrets, MaintenanceError> {
    let mut store = OfflineStore::open(dir, None)?;
    let transaction = store.connection.transaction()?;
    let deleted = delete_live_secrets(&transaction, key)?;
    let revisions = execute_cached(
        &transaction,
        "UPDATE state_history SET key_id = ?2 WHERE key_id = ?1",
        [key, &mark_given_up(key)],
    )? as u64;
    if revisions == 0 {
        return Err(MaintenanceError::NoSecretsOfKey {
            key: key.to_owned(),
            present: list_keys(&transaction)?.join(", "),
        });
    }
    let given_up = GivenUpSecrets {
        key: key.to_owned(),
        deleted,
        revisions,
    };
    let body = json!({"by": by, "reason": reason, "given_up": given_up});
    record_maintenance(&transaction, "secrets.give_up", &body)?;
    transaction.commit()?;
    store.finish()?;
    Ok(given_up)
}

/// Returns the ids of the keys that secrets are encrypted with and that are not given up.
fn list_keys(connection: &Connection) -> rusqlite::Result<Vec<String>> {
    select_rows(
        connection,
        "SELECT DISTINCT key_id FROM state_history WHERE key_id IS NOT NULL AND key_id NOT GLOB 'given-up:*'",
        [],
        |row| row.get(0),
    )
}

fn delete_live_secrets(
    connection: &Connection,
    key: &str,
) -> Result<Vec<String>, MaintenanceError> {
    let live = select_rows(
        connection,
        "SELECT agent, key FROM agents_state WHERE key_id = ?1 ORDER BY agent, key",
        params![key],
        |row| Ok((parse_required::<Name>(row, 0)?, row.get::<_, String>(1)?)),
    )?;
    let mut head = read_state_head(connection)?;
    let mut usage = UnitUsage::default();
    let mut writer = StateWriter {
        connection,
        secret_key: None,
        head: &mut head,
        at: Millis::now(),
        trace_id: None,
        charged_to: None,
        usage: &mut usage,
    };
    let mut deleted = Vec::with_capacity(live.len());
    for (agent, key) in live {
        writer.write_value(&agent, &key, None, None, ORIGIN)?;
        deleted.push(format!("{agent}/{key}"));
    }
    UsageBook::load(connection)?.save_totals(connection, [&usage])?;
    Ok(deleted)
}
