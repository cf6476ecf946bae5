//! What a start finds beside a database that is lost, older or another one: it refuses and says what to do. And what happens to a host
//! whose files are lost while they are open.

use std::path::Path;

use ark_model::control::Halt;
use ark_model::ids::{AuditId, Digest, Millis};
use ark_model::principal::Role;

use super::*;

fn make_audit_unit() -> Unit {
    Unit {
        audit: vec![make_entry(AuditId::fresh())],
        ..Unit::default()
    }
}

/// Commits rows with a halt and a token, and ends as a killed host does: without an anchor, its log in place.
fn write_and_die(dir: &Path, rows: u64) {
    let store = open(dir);
    let halt = Halt {
        reason: "a drill".to_owned(),
        by: "ana".to_owned(),
        at_ms: Millis(1),
    };
    store
        .commit(Unit {
            control: vec![ControlChange::Halt(halt)],
            ..Unit::default()
        })
        .unwrap();
    let token = NewToken {
        name: make_name("admin"),
        hash: Digest::hash_bytes(b"secret"),
        role: Role::Admin,
        agents: Vec::new(),
        actions: Vec::new(),
        expires_at: None,
        unproved: false,
    };
    commit_change(&store, 1, OperatorChange::Token(TokenChange::Create(token))).unwrap();
    for _ in 1..rows {
        store.commit(make_audit_unit()).unwrap();
    }
    // A killed host leaves its files as they are at this moment.
    let saved = tempfile::tempdir().unwrap();
    copy_files(dir, saved.path());
    drop(store);
    std::fs::remove_file(dir.join("anchors.jsonl")).unwrap();
    copy_files(saved.path(), dir);
}

fn copy_files(from: &Path, to: &Path) {
    for entry in std::fs::read_dir(from).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}

fn remove_files(dir: &Path, names: &[&str]) {
    for name in names {
        let path = dir.join(name);
        if path.is_dir() {
            std::fs::remove_dir_all(path).unwrap();
        } else {
            std::fs::remove_file(path).unwrap();
        }
    }
}

const ALL: [&str; 3] = ["ark.db", "ark.db-wal", "ark.db-shm"];

/// What a test does to a data directory, and whether the start after it finds the database gone or behind.
type EvidenceDamage = (&'static str, fn(&Path), Expected);

#[derive(Debug, Clone, Copy, PartialEq)]
enum Expected {
    Gone,
    Behind,
    Opens,
}

const DAMAGES: [EvidenceDamage; 9] = [
    (
        "the database, its log and its index removed",
        |dir| remove_files(dir, &ALL),
        Expected::Gone,
    ),
    (
        "the database removed and its log left",
        |dir| remove_files(dir, &["ark.db"]),
        Expected::Gone,
    ),
    (
        "the database removed, of the rest only the log left",
        |dir| remove_files(dir, &["ark.db", "ark.lock"]),
        Expected::Gone,
    ),
    (
        "the database emptied",
        |dir| std::fs::write(dir.join("ark.db"), b"").unwrap(),
        Expected::Gone,
    ),
    (
        "only a capsule left",
        |dir| {
            remove_files(dir, &ALL);
            remove_files(dir, &["ark.lock"]);
            std::fs::create_dir_all(dir.join("capsules/kyle")).unwrap();
        },
        Expected::Gone,
    ),
    (
        "only an anchor left",
        |dir| {
            let store = open(dir);
            store.commit(make_audit_unit()).unwrap();
            drop(store);
            remove_files(dir, &["ark.db", "ark.lock"]);
        },
        Expected::Gone,
    ),
    (
        "the log removed",
        |dir| remove_files(dir, &["ark.db-wal", "ark.db-shm"]),
        Expected::Behind,
    ),
    (
        "the database of another host in its place",
        |dir| {
            let other = tempfile::tempdir().unwrap();
            let store = open(other.path());
            for _ in 0..10 {
                store.commit(make_audit_unit()).unwrap();
            }
            drop(store);
            remove_files(dir, &ALL);
            std::fs::copy(other.path().join("ark.db"), dir.join("ark.db")).unwrap();
        },
        Expected::Behind,
    ),
    ("nothing", |_| {}, Expected::Opens),
];

#[test]
fn a_start_refuses_a_database_that_lacks_what_is_attested() {
    for (what, damage, expected) in DAMAGES {
        let dir = tempfile::tempdir().unwrap();
        write_and_die(dir.path(), 5);
        damage(dir.path());
        let before = list_file_names(dir.path());
        let found = Store::open(&StoreConfig::in_dir(dir.path()));
        match (&found, expected) {
            (Ok(store), Expected::Opens) => assert_eq!(store.audit_head().unwrap().0, 5),
            (Err(OpenError::DatabaseGone { .. }), Expected::Gone)
            | (Err(OpenError::DatabaseBehind { .. }), Expected::Behind) => {
                let said = found.err().unwrap().to_string();
                assert!(said.contains("ark state restore"), "{what}: {said}");
                if expected == Expected::Gone {
                    assert!(said.contains("ark state reinitialize"), "{what}: {said}");
                    let lock = "ark.lock".to_owned();
                    let left: Vec<String> = list_file_names(dir.path())
                        .into_iter()
                        .filter(|name| *name != lock)
                        .collect();
                    let had: Vec<String> =
                        before.into_iter().filter(|name| *name != lock).collect();
                    assert_eq!(left, had, "{what}: nothing is made or lost by a refusal");
                }
                assert_eq!(
                    Store::open(&StoreConfig::in_dir(dir.path()))
                        .err()
                        .unwrap()
                        .to_string(),
                    said,
                    "{what}: a refusal is repeated"
                );
            }
            (other, _) => panic!("{what}: {:?}", other.as_ref().map(|_| "it opens")),
        }
    }
}

fn list_file_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(dir)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    names.sort();
    names
}

#[test]
fn an_older_copy_is_refused_and_its_snapshot_is_the_way_to_go_on_with_it() {
    let dir = tempfile::tempdir().unwrap();
    let (older, snapshot) = (dir.path().join("older"), dir.path().join("snapshot"));
    let data = dir.path().join("data");
    write_and_die(&data, 3);
    drop(open(&data));
    std::fs::create_dir(&older).unwrap();
    copy_files(&data, &older);
    let store = open(&data);
    store.commit(make_audit_unit()).unwrap();
    drop(store);
    std::fs::copy(older.join("ark.db"), data.join("ark.db")).unwrap();
    let refused = Store::open(&StoreConfig::in_dir(&data)).err().unwrap();
    assert!(
        matches!(
            refused,
            OpenError::DatabaseBehind {
                row: 4,
                found: 3,
                ..
            }
        ),
        "{refused}"
    );
    create_snapshot(&data, &snapshot).unwrap();
    let report = restore_snapshot(&snapshot, &data, true, None).unwrap();
    assert_eq!(report.token, None, "the snapshot has the token");
    let store = open(&data);
    assert!(store.control_rows().unwrap().halt.is_some());
}

#[test]
fn a_restore_and_a_new_beginning_leave_no_host_more_open_than_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, snapshot) = (dir.path().join("empty"), dir.path().join("snapshot"));
    drop(open(&empty));
    create_snapshot(&empty, &snapshot).unwrap();
    for anew in [false, true] {
        let data = dir.path().join(format!("data-{anew}"));
        write_and_die(&data, 3);
        std::fs::remove_file(data.join("ark.db")).unwrap();
        let (token, aside) = if anew {
            let made = begin_anew(&data, "ana", "a drill", None).unwrap();
            (made.token, made.moved_aside)
        } else {
            let report = restore_snapshot(&snapshot, &data, false, None).unwrap();
            (report.token, report.moved_aside)
        };
        // What was left is kept, and above all not read into the new database.
        assert!(aside.unwrap().join("ark.db-wal").is_file());
        let store = open(&data);
        let tokens = store.all_tokens().unwrap();
        assert_eq!(tokens.len(), 1, "{tokens:?}");
        assert_eq!(
            tokens[0].hash,
            Digest::hash_bytes(token.unwrap().as_bytes())
        );
        assert_eq!(tokens[0].role, Role::Admin);
        assert!(store.control_rows().unwrap().halt.is_some());
        drop(store);
        assert_eq!(verify_chains(&data).fault, None);
    }
    // A host that needed no token needs none afterwards, but is halted all the same.
    std::fs::remove_file(empty.join("ark.db")).unwrap();
    let made = begin_anew(&empty, "ana", "a drill", None).unwrap();
    assert_eq!(made.token, None);
    assert!(open(&empty).control_rows().unwrap().halt.is_some());
    let nothing = dir.path().join("nothing");
    assert!(matches!(
        begin_anew(&nothing, "ana", "a drill", None),
        Err(MaintenanceError::NothingToReplace { .. })
    ));
    drop(open(&nothing));
}

#[test]
fn a_restore_whose_token_cannot_be_kept_is_repeated_and_the_token_kept_last_counts() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, snapshot) = (dir.path().join("empty"), dir.path().join("snapshot"));
    drop(open(&empty));
    create_snapshot(&empty, &snapshot).unwrap();
    let data = dir.path().join("data");
    write_and_die(&data, 3);
    // As a kill between the moment that the token is kept and the commit.
    let mut kept = Vec::new();
    let failed = restore_snapshot_keeping(&snapshot, &data, true, None, "first", &mut |token| {
        kept.push(token.to_owned());
        Err(MaintenanceError::Token("no room".to_owned()))
    });
    assert!(matches!(failed, Err(MaintenanceError::Token(_))));
    assert!(is_restore_pending(&data), "no host starts on it");
    let report = restore_snapshot_keeping(&snapshot, &data, true, None, "first", &mut |token| {
        kept.push(token.to_owned());
        Ok(())
    });
    assert_eq!(report.unwrap().token.as_ref(), kept.last());
    assert!(kept.len() == 2 && !is_restore_pending(&data));
    let tokens = open(&data).all_tokens().unwrap();
    assert_eq!(tokens.len(), 1, "{tokens:?}");
    assert_eq!(tokens[0].hash, Digest::hash_bytes(kept[1].as_bytes()));
}

/// The files of a database in a directory, each with its content.
fn database_files(dir: &Path) -> Vec<(String, Vec<u8>)> {
    let mut files = Vec::new();
    for name in ["ark.db-wal", "ark.db", "anchors.jsonl"] {
        if let Ok(content) = std::fs::read(dir.join(name)) {
            files.push((name.to_owned(), content));
        }
    }
    files
}

#[test]
fn a_restore_that_is_interrupted_keeps_what_it_replaces_in_one_place_and_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let (empty, snapshot) = (dir.path().join("empty"), dir.path().join("snapshot"));
    drop(open(&empty));
    create_snapshot(&empty, &snapshot).unwrap();
    // Interrupted when so many of the files have been moved, before half of the snapshot is there, and then.
    for moved in 0..=3 {
        for has_half in [false, true] {
            let data = dir.path().join(format!("data-{moved}-{has_half}"));
            write_and_die(&data, 3);
            let before = database_files(&data);
            let restore = |label: &str, is_kept: bool| {
                restore_snapshot_keeping(&snapshot, &data, true, None, label, &mut |_| {
                    if is_kept {
                        Ok(())
                    } else {
                        Err(MaintenanceError::Token("a kill".to_owned()))
                    }
                })
            };
            restore("r-1", false).unwrap_err();
            assert_eq!(find_finished_restore(&data, "r-1"), None);
            let asides = || {
                let names = std::fs::read_dir(&data).unwrap().flatten();
                let names = names.map(|entry| entry.path());
                names
                    .filter(|path| path.display().to_string().contains("before-restore-"))
                    .collect::<Vec<_>>()
            };
            let aside = asides().remove(0);
            assert_eq!(database_files(&aside), before);
            // As if fewer had been moved.
            if !has_half {
                for name in ["ark.db-wal", "ark.db-shm", "ark.db", "anchors.jsonl"] {
                    let _ = std::fs::remove_file(data.join(name));
                }
                for (name, _) in before.iter().skip(moved) {
                    std::fs::rename(aside.join(name), data.join(name)).unwrap();
                }
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
            let report = restore("r-2", true).unwrap();
            assert_eq!(report.moved_aside.as_ref(), Some(&aside));
            assert_eq!(database_files(&aside), before);
            assert!(!is_restore_pending(&data));
            for label in ["r-1", "r-2"] {
                let found = find_finished_restore(&data, label);
                assert_eq!(found.as_ref(), Some(&aside), "{label}");
            }
            assert_eq!(find_finished_restore(&data, "r-3"), None);
            assert_eq!(asides().len(), if has_half { 2 } else { 1 });
            drop(open(&data));
        }
    }
}

#[test]
fn a_partial_anchor_is_not_joined_with_the_next() {
    let dir = tempfile::tempdir().unwrap();
    for rows in 1..4 {
        let store = open(dir.path());
        store.commit(make_audit_unit()).unwrap();
        drop(store);
        let mut anchors = std::fs::read(dir.path().join("anchors.jsonl")).unwrap();
        anchors.extend_from_slice(b"{\"seq\":9");
        std::fs::write(dir.path().join("anchors.jsonl"), anchors).unwrap();
        let report = verify_chains(dir.path());
        assert_eq!(
            (report.rows, report.anchors, report.fault),
            (rows, rows, None)
        );
    }
    std::fs::write(dir.path().join("anchors.jsonl"), "no anchor\n").unwrap();
    assert!(matches!(
        Store::open(&StoreConfig::in_dir(dir.path())),
        Err(OpenError::Evidence { .. })
    ));
}

/// Waits for what the writer does in its own time.
fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let started = std::time::Instant::now();
    while !holds() {
        assert!(started.elapsed().as_secs() < 120, "{what}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// What happens to the files of an open database, and whether what was acknowledged can be copied.
type FileFault = (&'static str, fn(&Path), bool);

const FAULTS: [FileFault; 8] = [
    (
        "the database removed",
        |dir| remove_files(dir, &["ark.db"]),
        true,
    ),
    (
        "the database renamed",
        |dir| std::fs::rename(dir.join("ark.db"), dir.join("old.db")).unwrap(),
        true,
    ),
    (
        "the database replaced by a copy of itself",
        |dir| {
            std::fs::copy(dir.join("ark.db"), dir.join("copy")).unwrap();
            std::fs::rename(dir.join("copy"), dir.join("ark.db")).unwrap();
        },
        true,
    ),
    (
        "the log removed",
        |dir| remove_files(dir, &["ark.db-wal"]),
        true,
    ),
    (
        "the index of the log removed",
        |dir| remove_files(dir, &["ark.db-shm"]),
        true,
    ),
    (
        "the lock removed",
        |dir| remove_files(dir, &["ark.lock"]),
        true,
    ),
    (
        "the log emptied",
        |dir| std::fs::write(dir.join("ark.db-wal"), b"").unwrap(),
        false,
    ),
    (
        "the directory removed",
        |dir| std::fs::remove_dir_all(dir).unwrap(),
        true,
    ),
];

#[test]
fn nothing_is_committed_into_files_that_are_lost_and_what_was_is_copied() {
    for (what, fault, copied) in FAULTS {
        for idle in [false, true] {
            let parent = tempfile::tempdir().unwrap();
            let dir = parent.path().join("data");
            let store = open(&dir);
            for _ in 0..5 {
                store.commit(make_audit_unit()).unwrap();
            }
            fault(&dir);
            if idle {
                wait_until("the writer looks by itself", || {
                    store.describe_loss().is_some()
                });
            }
            let refused = store.commit(make_audit_unit());
            assert!(
                matches!(
                    refused,
                    Err(CommitError::Storage(StorageError::FilesLost(_)))
                ),
                "{what}: {refused:?}"
            );
            wait_until("the copy is made or refused", || {
                store
                    .describe_loss()
                    .is_some_and(|said| !said.contains("being written"))
            });
            let said = store.describe_loss().unwrap();
            assert!(
                !store.audit_writable() && said.contains("ark state restore"),
                "{what}: {said}"
            );
            let alerts = store.alerts_page(&AlertFilter::default(), None, 10);
            drop(store);
            let Some(copy) = copied.then(|| find_rescued(&dir)) else {
                assert!(said.contains("no copy"), "{what}: {said}");
                assert!(
                    matches!(
                        Store::open(&StoreConfig::in_dir(&dir)),
                        Err(OpenError::DatabaseBehind { .. })
                    ),
                    "{what}: what is lost is said at the next start too"
                );
                continue;
            };
            assert_eq!(alerts.unwrap()[0].alert.kind, DATABASE_LOST, "{what}");
            restore_snapshot(&copy, &dir, true, None).unwrap();
            let store = open(&dir);
            // Those five and the row about the restore.
            assert_eq!(store.audit_head().unwrap().0, 6, "{what}");
            drop(store);
            assert_eq!(verify_chains(&dir).fault, None, "{what}");
        }
    }
}

fn find_rescued(dir: &Path) -> std::path::PathBuf {
    let name = list_file_names(dir)
        .into_iter()
        .find(|name| name.starts_with("rescued-"))
        .expect("a copy");
    dir.join(name)
}

#[test]
fn a_log_that_another_process_writes_back_and_empties_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path());
    for _ in 0..5 {
        store.commit(make_audit_unit()).unwrap();
    }
    let other = rusqlite::Connection::open(dir.path().join("ark.db")).unwrap();
    other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
        .unwrap();
    assert_eq!(
        std::fs::metadata(dir.path().join("ark.db-wal"))
            .unwrap()
            .len(),
        0
    );
    store.commit(make_audit_unit()).unwrap();
    assert_eq!(store.describe_loss(), None);
}
