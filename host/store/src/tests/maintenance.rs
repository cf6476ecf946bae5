//! Tests of migrations, snapshots, archives of the audit log and changes of the key.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use ark_model::ids::{Digest, Millis};
use rusqlite::Connection;

use super::{KEY, check_state, commit_change, make_name, open, set_value, verify_chains, with_key};
use crate::schema::SCHEMA_VERSION;
use crate::*;

fn digest_files(dir: &Path) -> Vec<(String, Digest)> {
    let mut files: Vec<_> = std::fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.file_name() != "ark.lock" && entry.path().is_file())
        .map(|entry| {
            let bytes = std::fs::read(entry.path()).unwrap();
            (
                entry.file_name().into_string().unwrap(),
                Digest::hash_bytes(&bytes),
            )
        })
        .collect();
    files.sort();
    files
}

#[test]
fn the_directory_around_a_snapshot_is_made_for_its_owner_alone() {
    let root = tempfile::tempdir().unwrap();
    let (data, around) = (root.path().join("d"), root.path().join("volume"));
    let store = open(&data);
    commit_change(&store, 1, set_value("before", Some("1"), None)).unwrap();
    create_snapshot(&data, &around.join("first")).unwrap();
    assert_eq!(around.metadata().unwrap().mode() & 0o777, 0o700);
    assert!(around.join("first").is_dir());
    // Two directories that are missing are a path that is wrong.
    let refused = create_snapshot(&data, &root.path().join("no/such/first")).unwrap_err();
    assert!(refused.to_string().contains("no/such"), "{refused}");
    assert!(!root.path().join("no").exists());
}

#[test]
fn a_snapshot_taken_under_load_restores_to_a_moment_of_it() {
    let root = tempfile::tempdir().unwrap();
    let (data, taken, fresh) = (
        root.path().join("d"),
        root.path().join("s"),
        root.path().join("f"),
    );
    let store = open(&data);
    commit_change(&store, 1, set_value("before", Some("1"), None)).unwrap();
    let stop = std::sync::atomic::AtomicBool::new(false);
    let manifest = std::thread::scope(|scope| {
        scope.spawn(|| {
            for number in 0.. {
                if stop.load(std::sync::atomic::Ordering::Relaxed) {
                    break;
                }
                commit_change(
                    &store,
                    2,
                    set_value(
                        &format!("k/{}", number % 50),
                        Some(&number.to_string()),
                        None,
                    ),
                )
                .unwrap();
            }
        });
        std::thread::sleep(std::time::Duration::from_millis(100));
        let manifest = create_snapshot(&data, &taken);
        stop.store(true, std::sync::atomic::Ordering::Relaxed);
        manifest.unwrap()
    });
    assert_eq!(check_snapshot(&taken, None).unwrap(), manifest);
    assert!(
        create_snapshot(&data, &taken)
            .unwrap_err()
            .to_string()
            .contains("exists")
    );
    // What a killed process left under the name of the next snapshot is removed; what a process that lives writes is not.
    let second = root.path().join("second");
    let partial = second.with_extension("partial");
    std::fs::create_dir(&partial).unwrap();
    std::fs::write(partial.join("ark.db"), "a part").unwrap();
    let writing = std::fs::File::open(&partial).unwrap();
    writing.lock().unwrap();
    assert!(matches!(
        create_snapshot(&data, &second),
        Err(MaintenanceError::SnapshotInUse { .. })
    ));
    assert!(partial.join("ark.db").exists());
    drop(writing);
    create_snapshot(&data, &second).unwrap();
    assert!(!partial.exists());
    // A host runs, so nothing is restored over it.
    assert!(matches!(
        restore_snapshot(&taken, &data, true, None),
        Err(MaintenanceError::Open(OpenError::Locked { .. }))
    ));
    commit_change(&store, 3, set_value("after", Some("1"), None)).unwrap();
    store.close();
    drop(store);

    restore_snapshot(&taken, &fresh, false, None).unwrap();
    let before = digest_files(&fresh);
    assert!(
        restore_snapshot(&taken, &fresh, false, None)
            .unwrap_err()
            .to_string()
            .contains("--replace")
    );
    assert_eq!(digest_files(&fresh), before);
    let restored = restore_snapshot(&taken, &data, true, None).unwrap();
    assert!(restored.moved_aside.unwrap().join("ark.db").is_file());
    for dir in [&data, &fresh] {
        assert_eq!(verify_chains(dir).fault, None);
        assert_eq!(check_state(dir, None).fault, None);
        let store = open(dir);
        assert!(
            store
                .latest_state(&make_name("kyle"), "before")
                .unwrap()
                .is_some()
        );
        assert!(
            store
                .latest_state(&make_name("kyle"), "after")
                .unwrap()
                .is_none()
        );
        let (rows, _) = store.audit_head().unwrap();
        assert_eq!(rows, manifest.audit.seq + 1);
        commit_change(&store, 4, set_value("k", Some("1"), None)).unwrap();
    }
}

#[test]
fn a_snapshot_that_is_not_whole_or_newer_changes_nothing() {
    let root = tempfile::tempdir().unwrap();
    let (data, taken) = (root.path().join("d"), root.path().join("s"));
    let store = open(&data);
    commit_change(&store, 1, set_value("k", Some("\"needle\""), None)).unwrap();
    store.close();
    drop(store);
    create_snapshot(&data, &taken).unwrap();
    let before = digest_files(&data);
    let manifest = std::fs::read_to_string(taken.join("manifest.json")).unwrap();
    let database = std::fs::read(taken.join("ark.db")).unwrap();
    let refused = |named: &str| {
        let error = restore_snapshot(&taken, &data, true, None)
            .unwrap_err()
            .to_string();
        assert!(error.contains(named), "{error}");
        assert_eq!(digest_files(&data), before);
    };
    let schema = |version: u32| format!("\"schema\": {version}");
    let newer = manifest.replace(&schema(SCHEMA_VERSION), &schema(SCHEMA_VERSION + 1));
    assert_ne!(newer, manifest);
    std::fs::write(taken.join("manifest.json"), &newer).unwrap();
    refused("run a newer ark");
    std::fs::write(
        taken.join("manifest.json"),
        manifest.replace("ark-snapshot/1", "x"),
    )
    .unwrap();
    refused("format");
    std::fs::write(taken.join("manifest.json"), &manifest).unwrap();
    let at = database
        .windows(6)
        .position(|part| part == b"needle")
        .unwrap();
    let mut changed = database.clone();
    changed[at] = b'N';
    std::fs::write(taken.join("ark.db"), &changed).unwrap();
    refused("checksum");
    // One who also corrects the checksum is found by the chain.
    let whole = Digest::hash_bytes(&database).to_string();
    let corrected = manifest.replace(&whole, &Digest::hash_bytes(&changed).to_string());
    assert_ne!(corrected, manifest);
    std::fs::write(taken.join("manifest.json"), corrected).unwrap();
    refused("state");
    std::fs::write(taken.join("ark.db"), &database[..database.len() / 2]).unwrap();
    std::fs::write(taken.join("manifest.json"), &manifest).unwrap();
    refused("checksum");
    std::fs::remove_file(taken.join("manifest.json")).unwrap();
    refused("there is no snapshot at");
    refused("holds no manifest.json; name a directory that `ark state snapshot` made");
    std::fs::write(taken.join("manifest.json"), &manifest).unwrap();
    let nowhere = root.path().join("nowhere");
    let error = restore_snapshot(&nowhere, &data, true, None).unwrap_err();
    assert!(
        error.to_string().contains("there is no such directory"),
        "{error}"
    );
    assert_eq!(digest_files(&data), before);
    // A restore that was cut off keeps a host from starting, until it is done again.
    std::fs::write(taken.join("ark.db"), &database).unwrap();
    std::fs::write(data.join("restore.pending"), "").unwrap();
    std::fs::remove_file(data.join("ark.db")).unwrap();
    assert!(matches!(
        Store::open(&StoreConfig::in_dir(&data)),
        Err(OpenError::RestoreInterrupted { .. })
    ));
    restore_snapshot(&taken, &data, false, None).unwrap();
    assert!(
        open(&data)
            .latest_state(&make_name("kyle"), "k")
            .unwrap()
            .is_some()
    );
}

#[test]
fn rekey_moves_every_revision_to_the_new_key_or_none() {
    let dir = tempfile::tempdir().unwrap();
    let store = with_key(dir.path(), KEY).unwrap();
    for value in ["\"one\"", "\"two\""] {
        commit_change(&store, 1, set_value("secret/s", Some(value), None)).unwrap();
    }
    store.close();
    drop(store);
    let key = |digit: &str| SecretKey::parse(&digit.repeat(64), "a test").unwrap();
    let head = check_state(dir.path(), Some(KEY)).head;
    for wrong in [None, Some(key("3"))] {
        assert!(rekey_secrets(dir.path(), wrong.as_ref(), &key("2")).is_err());
        assert_eq!(check_state(dir.path(), Some(KEY)).secrets, 2);
    }
    assert_eq!(
        rekey_secrets(dir.path(), Some(&key("1")), &key("2")).unwrap(),
        2
    );
    let report = check_state(dir.path(), Some(&"2".repeat(64)));
    assert_eq!((report.secrets, report.head, report.fault), (2, head, None));
    assert!(check_state(dir.path(), Some(KEY)).fault.is_some());
    assert_eq!(verify_chains(dir.path()).fault, None);
    let store = with_key(dir.path(), &"2".repeat(64)).unwrap();
    let value = store
        .get_state(&make_name("kyle"), "secret/s")
        .unwrap()
        .1
        .unwrap();
    assert_eq!(value.value_json, "\"two\"");
    commit_change(&store, 2, set_value("secret/s", Some("\"three\""), Some(2))).unwrap();
}

#[test]
fn archived_rows_leave_the_database_and_the_chain_stays_verifiable() {
    let root = tempfile::tempdir().unwrap();
    let data = root.path().join("d");
    let file = |name: &str| root.path().join(name);
    let now = Millis::now().0;
    let store = open(&data);
    for at in [1_000, 2_000, 3_000, now] {
        commit_change(&store, at, set_value(&format!("k{at}"), Some("1"), None)).unwrap();
    }
    assert!(matches!(
        archive_audit(&data, Millis(2_500), &file("a")),
        Err(MaintenanceError::Open(OpenError::Locked { .. }))
    ));
    store.close();
    drop(store);
    assert!(
        archive_audit(&data, Millis(now), &file("a"))
            .unwrap_err()
            .to_string()
            .contains("60 s")
    );
    assert!(archive_audit(&data, Millis(500), &file("a")).is_err() && !file("a").exists());
    let first = archive_audit(&data, Millis(2_500), &file("a")).unwrap();
    assert_eq!(first.rows, (1, 2));
    assert!(archive_audit(&data, Millis(3_500), &file("a")).is_err());
    let second = archive_audit(&data, Millis(3_500), &file("b")).unwrap();
    assert_eq!(second.rows, (3, 3));
    let report = verify_chains(&data);
    assert_eq!((report.rows, report.archived, report.fault), (6, 3, None));
    let (a, b) = (
        check_archive(&file("a")).unwrap(),
        check_archive(&file("b")).unwrap(),
    );
    assert_eq!(
        (a.fault, b.fault, a.header.last == b.header.after),
        (None, None, true)
    );
    // A host goes on behind the archive.
    let store = open(&data);
    commit_change(&store, now, set_value("more", Some("1"), None)).unwrap();
    assert_eq!(
        store
            .session_page(&SessionLogFilter::default(), 99)
            .unwrap()
            .len(),
        7
    );
    store.close();
    drop(store);
    assert_eq!(verify_chains(&data).fault, None);
    // Neither the database nor a file can be changed unseen.
    let tampered = |sql: &str| {
        let copy = tempfile::tempdir().unwrap();
        for entry in std::fs::read_dir(&data).unwrap() {
            let path = entry.unwrap().path();
            std::fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
        }
        Connection::open(copy.path().join("ark.db"))
            .unwrap()
            .execute_batch(sql)
            .unwrap();
        verify_chains(copy.path()).fault
    };
    for sql in [
        "DELETE FROM audit_log WHERE seq = 4",
        "DELETE FROM audit_archives",
        "UPDATE audit_archives SET hash = zeroblob(32) WHERE last_seq = 3",
        "UPDATE audit_archives SET last_seq = 4, hash = (SELECT hash FROM audit_log WHERE seq = 4) WHERE last_seq = 3; DELETE FROM audit_log WHERE seq <= 4",
        "INSERT INTO audit_archives SELECT 4, 4, hash, 'x', zeroblob(32), 1 FROM audit_log WHERE seq = 4; DELETE FROM audit_log WHERE seq = 4",
    ] {
        assert!(tampered(sql).is_some(), "{sql}");
    }
    let text = std::fs::read_to_string(file("a")).unwrap();
    std::fs::remove_file(file("a.sha256")).unwrap();
    for (from, to) in [
        ("k1000", "k1001"),
        ("\"seq\":2", "\"seq\":3"),
        ("ada", "eve"),
    ] {
        let changed = text.replacen(from, to, 1);
        assert_ne!(changed, text);
        std::fs::write(file("a"), changed).unwrap();
        assert!(check_archive(&file("a")).map_or(true, |report| report.fault.is_some()));
    }
}

#[test]
fn the_database_and_its_log_together_stay_within_the_limit() {
    let dir = tempfile::tempdir().unwrap();
    let limit = 3_000_000;
    let config = StoreConfig {
        max_bytes: Some(limit),
        ..StoreConfig::in_dir(dir.path())
    };
    let store = Store::open(&config).unwrap();
    let size = || -> u64 {
        ["ark.db", "ark.db-wal"]
            .iter()
            .filter_map(|name| std::fs::metadata(dir.path().join(name)).ok())
            .map(|metadata| metadata.len())
            .sum()
    };
    let value = format!("\"{}\"", "x".repeat(20_000));
    let mut written = 0;
    let refused = loop {
        match commit_change(&store, 1, set_value("k", Some(&value), None)) {
            Ok(revision) => written = revision,
            Err(error) => break error,
        }
        assert!(size() <= limit, "{} bytes after {written} writes", size());
    };
    assert!(refused.to_string().contains("full"), "{refused}");
    // Most of the limit is used, and what was written is read.
    assert!(size() > limit / 2, "{} bytes", size());
    let last = store
        .latest_state(&make_name("kyle"), "k")
        .unwrap()
        .unwrap();
    assert_eq!(last.revision, written);
}
