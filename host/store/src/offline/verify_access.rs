//! The check of what decides who may act: tokens, the halt and the quarantines, against what the audit log says of them.
//!
//! What was archived is not compared. A token that is revoked without a row is not named: a restore revokes tokens, and nobody gains by it.

use std::collections::{BTreeMap, BTreeSet};

use rusqlite::Connection;
use serde_json::Value;

use crate::error::ReadError;
use crate::query::{select_row, select_rows};
use crate::tables::audit::archived_head;

use super::read_only::ReadOnlyStore;

/// How the tables that decide who may act differ from what the audit log says.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AccessDifferences {
    /// Each difference of a token: its name, the field, and what the log says.
    pub tokens: Vec<String>,
    /// Each difference of the halt and the quarantines.
    pub orders: Vec<String>,
}

/// What the audit log says.
#[derive(Default)]
struct LoggedAccess {
    /// The body of the row of each token's creation, by its name.
    created: BTreeMap<String, Value>,
    revoked: BTreeSet<String>,
    /// Whether a halt is in force; `None`: no row says.
    halted: Option<bool>,
    /// Whether each agent that a row names is in quarantine.
    quarantined: BTreeMap<String, bool>,
}

impl ReadOnlyStore {
    /// Compares the tokens, the halt and the quarantines with what the audit log says of them. Whether the log is whole is another check.
    ///
    /// # Errors
    /// The database cannot be read, or has an earlier schema.
    pub fn compare_access(&self) -> Result<AccessDifferences, ReadError> {
        self.require_current_schema()?;
        self.with_connection(|connection| {
            let moment = connection.unchecked_transaction()?;
            compare_access(&moment)
        })
    }
}

/// As [`ReadOnlyStore::compare_access`], in the caller's view of the database.
pub(super) fn compare_access(connection: &Connection) -> rusqlite::Result<AccessDifferences> {
    let is_whole = archived_head(connection)?.seq == 0;
    let logged = read_logged(connection)?;
    Ok(AccessDifferences {
        tokens: compare_tokens(connection, &logged, is_whole)?,
        orders: compare_orders(connection, &logged, is_whole)?,
    })
}

/// Reads what the log says. Columns that another program has made unreadable are passed over: the check of the chain finds them.
fn read_logged(connection: &Connection) -> rusqlite::Result<LoggedAccess> {
    let mut logged = LoggedAccess::default();
    let mut statement = connection.prepare(
        "SELECT action_type, body, agent FROM audit_log WHERE kind IN ('operator', 'control') ORDER BY seq",
    )?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let read = |column: usize| row.get::<_, Option<String>>(column).ok().flatten();
        let body = read(1).unwrap_or_default();
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let key = body["key"].as_str().unwrap_or_default().to_owned();
        match read(0).as_deref() {
            Some("token.create" | "state.first_token") => {
                logged.created.insert(key, body);
            }
            Some("token.revoke") => {
                logged.revoked.insert(key);
            }
            Some("state.halt") => logged.halted = Some(true),
            None => note_order(&mut logged, &body, read(2)),
            Some(_) => {}
        }
    }
    Ok(logged)
}

fn note_order(logged: &mut LoggedAccess, body: &Value, agent: Option<String>) {
    match (body["order"].as_str(), agent) {
        (Some("halt"), _) => logged.halted = Some(true),
        (Some("resume"), _) => logged.halted = Some(false),
        (Some("quarantine"), Some(agent)) => {
            logged.quarantined.insert(agent, true);
        }
        (Some("restore"), Some(agent)) => {
            logged.quarantined.insert(agent, false);
        }
        _ => {}
    }
}

/// A token as the table has it, in the texts of its columns.
struct StoredToken {
    name: String,
    role: String,
    agents: String,
    actions: String,
    expires_at: Option<i64>,
    is_revoked: bool,
}

fn compare_tokens(
    connection: &Connection,
    logged: &LoggedAccess,
    is_whole: bool,
) -> rusqlite::Result<Vec<String>> {
    let tokens = select_rows(
        connection,
        "SELECT name, role, agents, actions, expires_at, revoked_at IS NOT NULL FROM tokens ORDER BY name",
        [],
        |row| {
            Ok(StoredToken {
                name: row.get(0)?,
                role: row.get(1)?,
                agents: row.get(2)?,
                actions: row.get(3)?,
                expires_at: row.get(4)?,
                is_revoked: row.get(5)?,
            })
        },
    )?;
    let mut differences = Vec::new();
    for token in &tokens {
        let name = &token.name;
        match logged.created.get(name) {
            Some(body) => compare_token(token, body, &mut differences),
            None if is_whole => differences.push(format!(
                "the token {name}: the log does not say that it was created"
            )),
            None => {}
        }
        if logged.revoked.contains(name) && !token.is_revoked {
            differences.push(format!(
                "the token {name}: revoked: the log says that it was revoked, and the table that it is not"
            ));
        }
    }
    let stored: BTreeSet<&str> = tokens.iter().map(|token| token.name.as_str()).collect();
    for name in logged.created.keys() {
        if !stored.contains(name.as_str()) {
            differences.push(format!(
                "the token {name}: the log says that it was created, and the table does not have it"
            ));
        }
    }
    Ok(differences)
}

/// Compares the fields that the row of the creation has: an earlier version recorded fewer.
fn compare_token(token: &StoredToken, body: &Value, differences: &mut Vec<String>) {
    let mut compare = |field: &str, says: Option<String>, stored: &str| {
        if let Some(says) = says
            && says != stored
        {
            differences.push(format!(
                "the token {}: {field}: the log says {says:?}, the table {stored:?}",
                token.name
            ));
        }
    };
    let list = |field: &str| {
        let items = body[field].as_array()?;
        let texts: Vec<&str> = items.iter().filter_map(Value::as_str).collect();
        Some(texts.join(" "))
    };
    let role = body["role"].as_str().map(str::to_owned);
    compare("role", role, &token.role);
    compare("agents", list("agents"), &token.agents);
    compare("actions", list("actions"), &token.actions);
    let describe = |end: Option<i64>| end.map_or_else(|| "never".to_owned(), |end| end.to_string());
    let end = body.get("expires_at_ms").map(|end| describe(end.as_i64()));
    compare("expires_at_ms", end, &describe(token.expires_at));
}

fn compare_orders(
    connection: &Connection,
    logged: &LoggedAccess,
    is_whole: bool,
) -> rusqlite::Result<Vec<String>> {
    let mut differences = Vec::new();
    let is_halted = select_row(connection, "SELECT 1 FROM halts", [], |_| Ok(()))?.is_some();
    match logged.halted.or(is_whole.then_some(false)) {
        Some(true) if !is_halted => differences.push(
            "the halt: the log says that one is in force, and the table does not have it"
                .to_owned(),
        ),
        Some(false) if is_halted => differences
            .push("the halt: the table has one, and the log says that none is in force".to_owned()),
        _ => {}
    }
    let stored: BTreeSet<String> =
        select_rows(connection, "SELECT agent FROM quarantines", [], |row| {
            row.get(0)
        })?
        .into_iter()
        .collect();
    for (agent, is_in_force) in &logged.quarantined {
        if *is_in_force && !stored.contains(agent) {
            differences.push(format!(
                "the quarantine of {agent}: the log says that it is in force, and the table does not have it"
            ));
        }
    }
    for agent in &stored {
        let says = logged.quarantined.get(agent).copied();
        if says.or(is_whole.then_some(false)) == Some(false) {
            differences.push(format!(
                "the quarantine of {agent}: the table has it, and the log says that it is not in force"
            ));
        }
    }
    Ok(differences)
}
