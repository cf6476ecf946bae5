//! What another program changes in the schema.

use std::path::Path;

use rusqlite::Connection;

use super::{check_state, commit_change, open, set_value};
use crate::*;

/// Changes the schema of a stopped database.
fn change_schema(sql: &str) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).close();
    let database = Connection::open(dir.path().join("ark.db")).unwrap();
    database.execute_batch(sql).unwrap();
    dir
}

#[test]
fn what_changes_writes_ends_a_start_and_is_named() {
    for (sql, named) in [
        (
            "CREATE TRIGGER evil AFTER INSERT ON halts BEGIN DELETE FROM halts; END",
            "the trigger evil on halts was not made by this program",
        ),
        (
            "DROP TRIGGER memory_added",
            "the trigger memory_added on memory_index is missing",
        ),
        (
            "DROP TRIGGER memory_dropped;
             CREATE TRIGGER memory_dropped AFTER DELETE ON memory_index BEGIN SELECT 1; END",
            "the trigger memory_dropped on memory_index is another one",
        ),
        (
            "CREATE TRIGGER evil AFTER INSERT ON HALTS BEGIN DELETE FROM halts; END",
            "the trigger evil on HALTS was not made by this program",
        ),
        (
            "CREATE TABLE spy (name TEXT REFERENCES Tokens (name))",
            "the table spy was not made by this program",
        ),
        (
            "CREATE INDEX picky ON halts (json(reason))",
            "the index picky on halts was not made by this program",
        ),
        (
            "CREATE UNIQUE INDEX one_reason ON quarantines (reason)",
            "the index one_reason on quarantines was not made by this program",
        ),
        (
            "ALTER TABLE halts ADD COLUMN more TEXT",
            "the table halts is another one",
        ),
        (
            "ALTER TABLE quarantines RENAME TO kept_quarantines",
            "the table quarantines is missing",
        ),
    ] {
        let dir = change_schema(sql);
        let refused = Store::open(&StoreConfig::in_dir(dir.path())).err().unwrap();
        assert!(
            matches!(&refused, OpenError::ForeignSchema { findings, .. } if findings.contains(named)),
            "{sql}: {refused}"
        );
        assert_eq!(refused.find_damage(), None, "{sql}");
        let checked = check_directory(dir.path()).unwrap_err();
        assert_eq!(checked.to_string(), refused.to_string(), "{sql}");
    }
}

#[test]
fn the_check_of_the_state_names_a_trigger() {
    let dir = change_schema("DROP TRIGGER memory_added");
    let report = check_state(dir.path(), None);
    assert_eq!(
        report.schema,
        ["the trigger memory_added on memory_index is missing"]
    );
    assert!(report.fault.is_none() && !report.is_sound());
}

#[test]
fn what_changes_no_row_is_told_and_ends_no_start() {
    for (sql, named) in [
        (
            "CREATE TABLE foreigner (n UNIQUE)",
            "the table foreigner was not made by this program",
        ),
        (
            "CREATE VIEW report AS SELECT name, role FROM tokens",
            "the view report was not made by this program",
        ),
        (
            "CREATE INDEX halts_by_reason ON halts (reason)",
            "the index halts_by_reason on halts was not made by this program",
        ),
        (
            "DROP INDEX decision_index_instrument",
            "the index decision_index_instrument on decision_index is missing",
        ),
        (
            "DROP INDEX deliveries_pending",
            "the index deliveries_pending on deliveries is missing",
        ),
    ] {
        let dir = change_schema(sql);
        let report = check_state(dir.path(), None);
        assert_eq!(report.schema_notes, [named]);
        assert!(report.is_sound(), "{sql}");
        open(dir.path()).close();
    }
    // What `SQLite` makes for itself.
    let dir = change_schema("ANALYZE");
    let report = check_state(dir.path(), None);
    assert_eq!(report.schema_notes, [""; 0]);
    assert!(report.is_sound());
}

#[test]
fn a_trigger_on_what_is_not_the_hosts_ends_no_start() {
    let dir = change_schema(
        "CREATE TABLE foreigner (n);
         CREATE TRIGGER count AFTER INSERT ON foreigner BEGIN DELETE FROM foreigner; END;
         CREATE VIEW report AS SELECT name FROM tokens;
         CREATE TRIGGER write INSTEAD OF INSERT ON report BEGIN SELECT 1; END",
    );
    let report = check_state(dir.path(), None);
    let notes = [
        "the table foreigner",
        "the trigger count on foreigner",
        "the trigger write on report",
        "the view report",
    ];
    let notes = notes.map(|object| format!("{object} was not made by this program"));
    assert_eq!(report.schema_notes, notes);
    assert!(report.is_sound(), "{report:?}");
    check_known_schema(dir.path()).unwrap();
    open(dir.path()).close();
}

const ADDED: &str = "CREATE TRIGGER \"so evil\" AFTER INSERT ON halts BEGIN DELETE FROM halts; END;
     CREATE UNIQUE INDEX one_reason ON quarantines (reason)";

/// A data directory with a revision and an audit row, to whose schema two objects were added, and a snapshot of it.
fn snapshot_changed(root: &Path, sql: &str) -> (std::path::PathBuf, std::path::PathBuf) {
    let (data, snapshot) = (root.join("data"), root.join("snapshot"));
    let store = open(&data);
    commit_change(&store, 1, set_value("k", Some("1"), None)).unwrap();
    store.close();
    drop(store);
    let database = Connection::open(data.join("ark.db")).unwrap();
    database.execute_batch(sql).unwrap();
    drop(database);
    create_snapshot(&data, &snapshot).unwrap();
    (data, snapshot)
}

#[test]
fn a_refusal_names_the_statements_that_take_out_what_was_added_and_nothing_else() {
    let root = tempfile::tempdir().unwrap();
    let (data, _) = snapshot_changed(root.path(), ADDED);
    let refused = check_known_schema(&data).unwrap_err();
    let OpenError::ForeignSchema { removals, .. } = &refused else {
        panic!("{refused}");
    };
    let expected = ["DROP INDEX \"one_reason\"", "DROP TRIGGER \"so evil\""];
    assert_eq!(removals, &expected);
    let named = "'DROP INDEX \"one_reason\"; DROP TRIGGER \"so evil\"'";
    assert!(refused.to_string().contains(named), "{refused}");
    let change = |sql: &str| {
        let database = Connection::open(data.join("ark.db")).unwrap();
        database.execute_batch(sql).unwrap();
    };
    // What is missing is not given back by a statement.
    change("DROP TRIGGER memory_added");
    let refused = check_known_schema(&data).unwrap_err();
    assert!(
        matches!(&refused, OpenError::ForeignSchema { removals, .. } if removals.is_empty()),
        "{refused}"
    );
    let told = refused.to_string();
    assert!(
        !told.contains("DROP ") && told.contains("restore a snapshot of before"),
        "{told}"
    );
    // A later version may make what this one does not know.
    change(&format!("PRAGMA user_version = {}", current_schema() + 1));
    check_known_schema(&data).unwrap();
}

#[test]
fn a_snapshot_is_restored_without_what_was_added_by_order_alone() {
    let root = tempfile::tempdir().unwrap();
    let (data, snapshot) = snapshot_changed(root.path(), ADDED);
    let rows = super::verify_chains(&data).rows;
    let refused = check_snapshot(&snapshot, None).unwrap_err();
    let option = format!("`ark state restore {} --drop-added`", snapshot.display());
    assert!(refused.to_string().contains(&option), "{refused}");
    assert!(
        matches!(
            restore_snapshot(&snapshot, &data, true, None),
            Err(MaintenanceError::ForeignSnapshot { .. })
        ),
        "nothing is replaced without the order"
    );
    let restored = restore_snapshot_dropping(&snapshot, &data, true, None).unwrap();
    assert_eq!(
        restored.dropped,
        ["DROP INDEX \"one_reason\"", "DROP TRIGGER \"so evil\""]
    );
    let aside = restored.moved_aside.unwrap();
    assert!(check_known_schema(&aside).is_err(), "the evidence stays");
    let report = check_state(&data, None);
    assert!(
        report.is_sound() && report.schema_notes.is_empty(),
        "{report:?}"
    );
    let store = open(&data);
    let kyle = super::make_name("kyle");
    assert!(store.latest_state(&kyle, "k").unwrap().is_some());
    store.close();
    drop(store);
    let chains = super::verify_chains(&data);
    assert_eq!((chains.fault, chains.rows), (None, rows + 1));
    // A snapshot without anything added restores alike.
    let sound = root.path().join("sound");
    create_snapshot(&data, &sound).unwrap();
    let restored = restore_snapshot_dropping(&sound, &data, true, None).unwrap();
    assert_eq!(restored.dropped, [""; 0]);
    // One that lacks something does not.
    let other = tempfile::tempdir().unwrap();
    let (_, lacking) = snapshot_changed(other.path(), "DROP TRIGGER memory_added");
    let refused = restore_snapshot_dropping(&lacking, &data, true, None).unwrap_err();
    assert!(
        matches!(
            &refused,
            MaintenanceError::ForeignSnapshot {
                can_drop: false,
                ..
            }
        ),
        "{refused}"
    );
}
