//! A restore does not bring tokens back to life that were revoked after the snapshot was made.

use std::path::Path;

use ark_model::ids::{Digest, Millis};
use ark_model::principal::Role;

use super::*;

/// Makes a token whose secret is its name.
fn create_token(store: &Store, token: &str, role: Role, expires_at: Option<Millis>) {
    let new = NewToken {
        name: make_name(token),
        hash: Digest::hash_bytes(token.as_bytes()),
        role,
        agents: Vec::new(),
        actions: Vec::new(),
        expires_at,
        unproved: false,
    };
    commit_change(store, 1, OperatorChange::Token(TokenChange::Create(new))).unwrap();
}

fn revoke_token(store: &Store, token: &str) {
    let change = OperatorChange::Token(TokenChange::Revoke(make_name(token)));
    commit_change(store, 2, change).unwrap();
}

/// The names of the tokens that are live.
fn list_live_tokens(dir: &Path) -> Vec<String> {
    let now = Millis::now();
    let rows = ReadOnlyStore::open(dir).unwrap().all_tokens().unwrap();
    let mut names: Vec<String> = rows
        .iter()
        .filter(|row| row.status(now) == "live")
        .map(|row| row.name.to_string())
        .collect();
    names.sort();
    names
}

fn list_names(tokens: &[Name]) -> Vec<&str> {
    tokens.iter().map(Name::as_str).collect()
}

/// Takes a snapshot with the tokens `root` (admin), `bot`, `desk` and `old`, which has expired, and revokes some of them afterwards.
fn snapshot_and_revoke(data: &Path, snapshot: &Path, revoked: &[&str]) {
    let store = open(data);
    create_token(&store, "root", Role::Admin, None);
    create_token(&store, "bot", Role::Operator, None);
    create_token(&store, "desk", Role::Reader, None);
    create_token(&store, "old", Role::Reader, Some(Millis(1)));
    create_snapshot(data, snapshot).unwrap();
    for token in revoked {
        revoke_token(&store, token);
    }
    store.close();
}

#[test]
fn tokens_that_were_revoked_since_a_snapshot_stay_revoked() {
    let root = tempfile::tempdir().unwrap();
    let cases: [(&str, &[&str], &[&str]); 3] = [
        ("none", &[], &["bot", "desk", "root"]),
        ("one", &["bot"], &["desk", "root"]),
        ("with-expired", &["bot", "old"], &["desk", "root"]),
    ];
    for (case, revoked, expected_live) in cases {
        let (data, snapshot) = (
            root.path().join(format!("data-{case}")),
            root.path().join(format!("snapshot-{case}")),
        );
        snapshot_and_revoke(&data, &snapshot, revoked);
        let report = restore_snapshot(&snapshot, &data, true, None).unwrap();
        let carried: Vec<&str> = revoked
            .iter()
            .copied()
            .filter(|token| *token != "old")
            .collect();
        assert_eq!(list_names(&report.revoked_tokens), carried, "{case}");
        assert_eq!(list_names(&report.live_tokens), [""; 0], "{case}");
        assert_eq!(report.token, None, "{case}");
        assert_eq!(list_live_tokens(&data), expected_live, "{case}");
        assert_eq!(verify_chains(&data).fault, None, "{case}");
        // The audit log says which.
        let rows = open(&data)
            .audit_page(&AuditFilter::default(), None, 1)
            .unwrap();
        let body: serde_json::Value = serde_json::from_str(&rows[0].body).unwrap();
        assert_eq!(body["revoked_tokens"], serde_json::json!(carried), "{body}");
    }
}

#[test]
fn an_interrupted_restore_goes_by_the_database_that_it_replaced_first() {
    let root = tempfile::tempdir().unwrap();
    let (data, snapshot) = (root.path().join("data"), root.path().join("snapshot"));
    snapshot_and_revoke(&data, &snapshot, &["bot", "root"]);
    // The token that is made, since no administrator's is left, cannot be kept.
    let failed = restore_snapshot_keeping(&snapshot, &data, true, None, "first", &mut |_| {
        Err(MaintenanceError::Token("no room".to_owned()))
    });
    assert!(matches!(failed, Err(MaintenanceError::Token(_))));
    let report = restore_snapshot(&snapshot, &data, true, None).unwrap();
    assert_eq!(list_names(&report.revoked_tokens), ["bot", "root"]);
    let made = Digest::hash_bytes(report.token.unwrap().as_bytes());
    let rows = open(&data).all_tokens().unwrap();
    let admins: Vec<&TokenRow> = rows
        .iter()
        .filter(|row| row.role == Role::Admin && row.revoked_at.is_none())
        .collect();
    assert_eq!(admins.len(), 1, "{rows:?}");
    assert_eq!(admins[0].hash, made);
}

/// What is done to a data directory before the restore, and whether a database is there to be replaced.
type RevocationDamage = (&'static str, fn(&Path), bool);

#[test]
fn where_the_replaced_database_does_not_tell_the_live_tokens_are_named() {
    let root = tempfile::tempdir().unwrap();
    let damages: [RevocationDamage; 3] = [
        (
            "gone",
            |dir| std::fs::remove_file(dir.join("ark.db")).unwrap(),
            false,
        ),
        (
            "unreadable",
            |dir| std::fs::write(dir.join("ark.db"), [7_u8; 8192]).unwrap(),
            true,
        ),
        (
            "another host's without tokens",
            |dir| {
                std::fs::remove_dir_all(dir).unwrap();
                drop(open(dir));
            },
            true,
        ),
    ];
    for (number, (case, damage, replace)) in damages.into_iter().enumerate() {
        let (data, snapshot) = (
            root.path().join(format!("data-{number}")),
            root.path().join(format!("snapshot-{number}")),
        );
        snapshot_and_revoke(&data, &snapshot, &["bot"]);
        damage(&data);
        let report = restore_snapshot(&snapshot, &data, replace, None).unwrap();
        assert_eq!(
            list_names(&report.live_tokens),
            ["bot", "desk", "root"],
            "{case}"
        );
        assert_eq!(list_names(&report.revoked_tokens), [""; 0], "{case}");
        assert_eq!(list_live_tokens(&data), ["bot", "desk", "root"], "{case}");
    }
}
