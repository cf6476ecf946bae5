//! What decides who may act, against what the audit log says.

use ark_model::ids::{AuditId, Digest, Millis};
use ark_model::principal::Role;
use rusqlite::Connection;
use serde_json::json;

use super::{check_state, commit_change, make_name, open};
use crate::*;

fn create_token(store: &Store, name: &str, role: Role) {
    let token = NewToken {
        name: make_name(name),
        hash: Digest::hash_bytes(name.as_bytes()),
        role,
        agents: Vec::new(),
        actions: Vec::new(),
        expires_at: Some(Millis(u64::from(u32::MAX))),
        unproved: false,
    };
    let change = OperatorChange::Token(TokenChange::Create(token));
    commit_change(store, 1, change).unwrap();
}

/// Halts as an order does.
fn halt(store: &Store) {
    let halt = ark_model::control::Halt {
        reason: "r".to_owned(),
        by: "ada".to_owned(),
        at_ms: Millis(5),
    };
    let entry = AuditEntry {
        kind: AuditKind::Control,
        id: AuditId::fresh(),
        trace_id: None,
        agent: None,
        action_type: None,
        outcome: None,
        at: Millis(5),
        body: json!({"order": "halt", "by": "ada", "reason": "r"}).to_string(),
        subject: None,
    };
    let unit = Unit {
        control: vec![ControlChange::Halt(halt)],
        audit: vec![entry],
        ..Unit::default()
    };
    store.commit(unit).unwrap();
}

#[test]
fn each_difference_from_the_log_is_named() {
    let tokens: fn(StateReport) -> Vec<String> = |report| report.tokens;
    let orders: fn(StateReport) -> Vec<String> = |report| report.orders;
    for (sql, of, named) in [
        (
            "UPDATE tokens SET role = 'admin' WHERE name = 'bot'",
            tokens,
            "the token bot: role: the log says \"reader\", the table \"admin\"",
        ),
        (
            "UPDATE tokens SET agents = 'kyle' WHERE name = 'bot'",
            tokens,
            "the token bot: agents: the log says \"\", the table \"kyle\"",
        ),
        (
            "UPDATE tokens SET actions = '*' WHERE name = 'bot'",
            tokens,
            "the token bot: actions: the log says \"\", the table \"*\"",
        ),
        (
            "UPDATE tokens SET expires_at = NULL WHERE name = 'bot'",
            tokens,
            "the token bot: expires_at_ms: the log says \"4294967295\", the table \"never\"",
        ),
        (
            "UPDATE tokens SET revoked_at = NULL, revoked_by = NULL WHERE name = 'old'",
            tokens,
            "the token old: revoked: the log says that it was revoked, and the table that it is not",
        ),
        (
            "DELETE FROM tokens WHERE name = 'bot'",
            tokens,
            "the token bot: the log says that it was created, and the table does not have it",
        ),
        (
            "INSERT INTO tokens (name, hash, role, agents, created_by, created_at)
             VALUES ('eve', zeroblob(32), 'admin', '', 'ada', 1)",
            tokens,
            "the token eve: the log does not say that it was created",
        ),
        (
            "DELETE FROM halts",
            orders,
            "the halt: the log says that one is in force, and the table does not have it",
        ),
        (
            "INSERT INTO quarantines (agent, cause, reason, by, at) VALUES ('kyle', 'operator', 'r', 'eve', 1)",
            orders,
            "the quarantine of kyle: the table has it, and the log says that it is not in force",
        ),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let store = open(dir.path());
        create_token(&store, "ada", Role::Admin);
        create_token(&store, "bot", Role::Reader);
        create_token(&store, "old", Role::Reader);
        let revoke = OperatorChange::Token(TokenChange::Revoke(make_name("old")));
        commit_change(&store, 2, revoke).unwrap();
        halt(&store);
        store.close();
        drop(store);
        let sound = check_state(dir.path(), None);
        assert!(sound.is_sound(), "{sound:?}");
        let database = Connection::open(dir.path().join("ark.db")).unwrap();
        assert_eq!(database.execute(sql, []).unwrap(), 1, "{sql}");
        let report = check_state(dir.path(), None);
        assert!(!report.is_sound(), "{sql}");
        // What restores a snapshot reads the history alone.
        let store = ReadOnlyStore::open(dir.path()).unwrap();
        assert!(store.check_state_history(None).unwrap().is_sound(), "{sql}");
        assert_eq!(of(report), [named], "{sql}");
    }
}
