//! What another program changes in the schema.

use rusqlite::Connection;

use super::{check_state, open};
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
            "CREATE VIEW spy AS SELECT * FROM tokens",
            "the view spy was not made by this program",
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
