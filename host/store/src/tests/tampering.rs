//! A change of the database from outside is found.

use ark_model::ids::Millis;
use ark_model::state::StateWrite;

use super::state::roll_back;
use super::{KEY, check_state, commit_change, make_name, set_value, with_key};
use crate::*;

/// A database with an agent's and an operator's writes, a deletion, a rollback and a secret.
fn write_rows(dir: &std::path::Path) {
    let store = with_key(dir, KEY).unwrap();
    commit_change(&store, 10, set_value("k", Some("1"), None)).unwrap();
    let unit = Unit {
        agent: Some(make_name("kyle")),
        trace_id: Some(ark_model::ids::TraceId::fresh()),
        at: Millis(20),
        state: vec![StateWrite {
            key: "k".to_owned(),
            value_json: Some("\"two\"".to_owned()),
            expected: 1,
            was_live: true,
        }],
        ..Unit::default()
    };
    store.commit(unit).unwrap();
    commit_change(&store, 30, set_value("secret/s", Some("\"hunter2\""), None)).unwrap();
    commit_change(&store, 40, set_value("k", None, None)).unwrap();
    commit_change(&store, 50, roll_back("k", RollbackTarget::Steps(1))).unwrap();
    store.close();
}

fn tamper_with(dir: &std::path::Path, sql: &str) -> usize {
    rusqlite::Connection::open(dir.join("ark.db"))
        .unwrap()
        .execute(sql, [])
        .unwrap()
}

/// For each column an SQL expression that changes it.
const CHANGES: [(&str, &str, &str); 27] = [
    ("state_history", "seq", "seq + 100"),
    ("state_history", "agent", "'x' || substr(agent, 2)"),
    (
        "state_history",
        "key",
        "substr(key, 1, length(key) - 1) || 'x'",
    ),
    ("state_history", "revision", "revision + 100"),
    (
        "state_history",
        "value",
        "iif(substr(value, 1, 1) = '0', '1', '0') || substr(value, 2)",
    ),
    ("state_history", "key_id", "'x' || substr(key_id, 2)"),
    (
        "state_history",
        "digest",
        "cast(x'00' || substr(digest, 2) AS BLOB)",
    ),
    ("state_history", "at", "at + 1"),
    (
        "state_history",
        "trace_id",
        "iif(substr(trace_id, 1, 1) = '0', '1', '0') || substr(trace_id, 2)",
    ),
    ("state_history", "origin", "'x' || substr(origin, 2)"),
    (
        "state_history",
        "hash",
        "cast(x'00' || substr(hash, 2) AS BLOB)",
    ),
    ("agents_state", "agent", "'x' || substr(agent, 2)"),
    ("agents_state", "key", "'x' || substr(key, 2)"),
    ("agents_state", "revision", "revision - 1"),
    (
        "agents_state",
        "value",
        "iif(substr(value, 1, 1) = '0', '1', '0') || substr(value, 2)",
    ),
    ("agents_state", "at", "at + 1"),
    ("agents_state", "key_id", "'x' || substr(key_id, 2)"),
    ("audit_log", "seq", "seq + 100"),
    ("audit_log", "at", "at + 1"),
    ("audit_log", "kind", "'x' || substr(kind, 2)"),
    ("audit_log", "id", "'x' || substr(id, 2)"),
    ("audit_log", "trace_id", "'x'"),
    ("audit_log", "agent", "'x' || substr(agent, 2)"),
    ("audit_log", "action_type", "'x' || substr(action_type, 2)"),
    ("audit_log", "outcome", "'approved'"),
    (
        "audit_log",
        "body",
        "substr(body, 1, length(body) - 1) || ' '",
    ),
    (
        "audit_log",
        "hash",
        "cast(x'00' || substr(hash, 2) AS BLOB)",
    ),
];

#[test]
fn one_changed_byte_in_any_column_of_the_history_or_the_audit_log_is_found() {
    let whole = tempfile::tempdir().unwrap();
    write_rows(whole.path());
    let report = check_state(whole.path(), Some(KEY));
    assert_eq!(
        (report.revisions, report.keys, report.secrets, report.fault),
        (5, 2, 1, None)
    );
    for (table, column, changed) in CHANGES {
        let rows = if table == "agents_state" {
            2
        } else if table == "audit_log" {
            4
        } else {
            5
        };
        for row in 0..rows {
            let dir = tempfile::tempdir().unwrap();
            for entry in std::fs::read_dir(whole.path()).unwrap() {
                let path = entry.unwrap().path();
                std::fs::copy(&path, dir.path().join(path.file_name().unwrap())).unwrap();
            }
            let order = if table == "agents_state" {
                "key"
            } else {
                "seq"
            };
            let sql = format!(
                "UPDATE {table} SET {column} = {changed} WHERE ({order}) = (SELECT {order} FROM {table} ORDER BY {order} LIMIT 1 OFFSET {row})
                 AND {column} IS NOT {changed}"
            );
            if tamper_with(dir.path(), &sql) == 0 {
                // Null there, or (one in 256) the byte was the new one already.
                continue;
            }
            let archive = ReadOnlyStore::open(dir.path()).unwrap();
            let found = archive.check_state(Some(&SecretKey::parse(KEY, "t").unwrap()));
            let state = !matches!(found, Ok(StateReport { fault: None, .. }));
            let audit = !matches!(
                archive.verify_audit_log(),
                Ok(ChainReport { fault: None, .. })
            );
            assert!(
                if table == "audit_log" { audit } else { state },
                "{table}.{column}, row {row}"
            );
        }
    }
    for sql in [
        "DELETE FROM state_history WHERE seq = 3",
        "DELETE FROM state_history WHERE seq = 5",
        "DELETE FROM agents_state WHERE key = 'k'",
        "INSERT INTO agents_state VALUES ('kyle', 'new', 1, '1', 1, NULL)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        write_rows(dir.path());
        assert_eq!(tamper_with(dir.path(), sql), 1);
        assert!(check_state(dir.path(), Some(KEY)).fault.is_some(), "{sql}");
    }
}
