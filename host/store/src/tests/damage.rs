//! A database that is damaged is told from one that cannot be accessed.

use std::os::unix::fs::FileExt;
use std::path::Path;

use rusqlite::{Connection, ffi};

use super::open;
use crate::*;

/// Makes a database that no process has open, in one file.
fn write_database(dir: &Path) -> std::path::PathBuf {
    let store = open(dir);
    store.close();
    drop(store);
    let path = dir.join("ark.db");
    Connection::open(&path)
        .unwrap()
        .query_row("PRAGMA journal_mode = DELETE", [], |_| Ok(()))
        .unwrap();
    path
}

#[test]
fn what_sqlite_reports_is_damage_only_where_it_says_so_of_the_database() {
    for (code, is_damage) in [
        (ffi::SQLITE_NOTADB, true),
        (ffi::SQLITE_CORRUPT, true),
        (ffi::SQLITE_CORRUPT_VTAB, true),
        (ffi::SQLITE_CORRUPT_SEQUENCE, true),
        (ffi::SQLITE_IOERR, false),
        (ffi::SQLITE_IOERR_READ, false),
        (ffi::SQLITE_IOERR_SHORT_READ, false),
        (ffi::SQLITE_BUSY, false),
        (ffi::SQLITE_BUSY_RECOVERY, false),
        (ffi::SQLITE_LOCKED, false),
        (ffi::SQLITE_PERM, false),
        (ffi::SQLITE_AUTH, false),
        (ffi::SQLITE_READONLY, false),
        (ffi::SQLITE_CANTOPEN, false),
        (ffi::SQLITE_FULL, false),
        (ffi::SQLITE_NOMEM, false),
        (ffi::SQLITE_PROTOCOL, false),
        (ffi::SQLITE_ERROR, false),
    ] {
        let make = || rusqlite::Error::SqliteFailure(ffi::Error::new(code), None);
        let opened = OpenError::from_sqlite(Path::new("ark.db"), make());
        assert_eq!(opened.find_damage().is_some(), is_damage, "{code}");
        let maintained = MaintenanceError::from(opened);
        assert_eq!(maintained.find_damage().is_some(), is_damage, "{code}");
        let read = MaintenanceError::from(make());
        assert_eq!(read.find_damage().is_some(), is_damage, "{code}");
    }
}

#[test]
fn a_database_whose_file_was_overwritten_cut_or_emptied_is_damaged() {
    type Damage = fn(&Path);
    let damages: [(&str, Damage); 6] = [
        ("its first bytes", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(b"no database here", 0).unwrap();
        }),
        ("its header", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.write_all_at(&[0; 100], 0).unwrap();
        }),
        ("all of it", |path| {
            std::fs::write(path, "no database at all".repeat(500)).unwrap();
        }),
        ("cut in its header", |path| {
            let file = std::fs::OpenOptions::new().write(true).open(path).unwrap();
            file.set_len(50).unwrap();
        }),
        ("emptied", |path| std::fs::write(path, "").unwrap()),
        ("another program's", |path| {
            std::fs::remove_file(path).unwrap();
            let other = Connection::open(path).unwrap();
            other.execute_batch("CREATE TABLE other (n)").unwrap();
        }),
    ];
    for (name, damage) in damages {
        let root = tempfile::tempdir().unwrap();
        let (data, copy) = (root.path().join("data"), root.path().join("copy"));
        let path = write_database(&data);
        assert_eq!(read_schema(&data).unwrap(), current_schema());
        damage(&path);
        let error = read_schema(&data).unwrap_err();
        assert!(error.find_damage().is_some(), "{name}: {error}");
        // A copy fails for the same reason, and is not left.
        let error = create_snapshot(&data, &copy).unwrap_err();
        assert!(error.find_damage().is_some(), "{name}: {error}");
        assert!(!copy.exists(), "{name}");
    }
}

#[test]
fn a_database_that_is_not_there_or_is_locked_is_not_damaged() {
    let root = tempfile::tempdir().unwrap();
    let missing = read_schema(root.path()).unwrap_err();
    assert!(matches!(missing, OpenError::Missing { .. }), "{missing}");
    assert_eq!(missing.find_damage(), None);
    let path = write_database(root.path());
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN EXCLUSIVE").unwrap();
    let locked = read_schema(root.path()).unwrap_err();
    assert!(matches!(locked, OpenError::Inaccessible { .. }), "{locked}");
    assert_eq!(locked.find_damage(), None);
}
