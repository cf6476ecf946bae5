//! Trouble with the disk: full, read-only, a broken page, a log left by a killed host. In each: nothing is approved that is not recorded,
//! the message says what to do, nothing panics, and what was acknowledged is there afterwards.
//!
//! A file system of its own needs a mount namespace; where the machine allows none, the database's own limit stands in for it.

use std::collections::BTreeSet;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Instant;

use ark_tests::{
    Client, Host, PATIENCE, TestDir, ark_program, copy_agent, guests_dir, run_ark, trade,
    wait_until,
};
use rusqlite::Connection;
use serde_json::json;

/// Runs a shell script in a mount namespace of its own.
fn unshare_mounts(script: &str) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--user", "--map-root-user", "--mount", "sh", "-c", script]);
    command
}

fn has_namespaces() -> bool {
    let tried = unshare_mounts("mount -t tmpfs tmpfs /mnt").output();
    tried.is_ok_and(|output| output.status.success())
}

/// A stand-in for `ark` that mounts a small file system over the data directory's parent and then becomes `ark`.
fn on_a_small_disk(dir: &Path, mount: &Path) -> PathBuf {
    let script = dir.join("ark-small");
    let text = format!(
        "#!/bin/sh\nexec unshare --user --map-root-user --mount sh -c 'mount -t tmpfs -o size=16m tmpfs {mount} && exec {ark} \"$@\"' sh \"$@\"\n",
        mount = mount.display(),
        ark = ark_program().display(),
    );
    std::fs::write(&script, text).expect("a script");
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).expect("its mode");
    script
}

/// Proposes and writes state until neither is taken; the decisions and revisions that were acknowledged.
fn fill_disk(client: &mut Client) -> (Vec<String>, u64) {
    let (mut decisions, mut revision) = (Vec::new(), 0);
    let started = Instant::now();
    let mut refused = (false, false);
    let mut said = false;
    for number in 0.. {
        assert!(started.elapsed() < PATIENCE, "the disk does not fill");
        let mut request = trade(&format!("S{number}"), 0.5);
        request["reasoning"] = json!("x".repeat(40_000));
        let (status, answer) = client.post("/v1/actions", &request);
        match status {
            200 => decisions.push(answer["decision_id"].as_str().expect("an id").to_owned()),
            503 => {
                assert_eq!(answer["outcome"], "denied", "{answer}");
                let detail = answer["detail"].as_str().expect("a detail");
                said |= detail.contains("full");
                refused.0 = true;
            }
            other => panic!("{other}: {answer}"),
        }
        let body = json!({"value": "y".repeat(40_000)}).to_string();
        let json = [("Content-Type", "application/json")];
        let (status, _, answer) = client
            .request("PUT", "/v1/state/kyle/k", &json, body.as_bytes())
            .expect("an answer");
        match status {
            200 => revision += 1,
            503 => {
                said |= String::from_utf8_lossy(&answer).contains("full");
                refused.1 = true;
            }
            other => panic!("{other}: {}", String::from_utf8_lossy(&answer)),
        }
        if refused == (true, true) {
            break;
        }
    }
    assert!(said, "the disk is full, and nothing says so");
    (decisions, revision)
}

#[test]
fn on_a_full_disk_nothing_is_approved_and_all_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().expect("a directory");
    let mount = dir.path().join("disk");
    std::fs::create_dir(&mount).expect("a directory");
    let data = mount.join("data");
    let real = has_namespaces();
    let config = dir.path().join("ark.toml");
    let args = ["--config", config.to_str().expect("UTF-8")];
    let host = if real {
        // Above the disk's size: it is the disk that is full, not the database's share of it.
        let limit = "[capacity]\nmax_database_bytes = 1_000_000_000\n";
        std::fs::write(&config, limit).expect("a file");
        let program = on_a_small_disk(dir.path(), &mount);
        Host::try_start_program(&program, &data, &args, &[]).expect("a host")
    } else {
        let limit = "[capacity]\nmax_database_bytes = 3_000_000\n";
        std::fs::write(&config, limit).expect("a file");
        Host::start(&data, &args)
    };
    // The disk as the host sees it.
    let seen = if real {
        PathBuf::from(format!("/proc/{}/root{}", host.pid(), mount.display()))
    } else {
        mount.clone()
    };
    if real {
        std::fs::write(seen.join("filler"), vec![1; 4 << 20]).expect("room for it");
    }
    let client = &mut Client::new(&host);
    let (decisions, revision) = fill_disk(client);
    assert!(decisions.len() > 5 && revision > 5);
    assert_eq!(client.get("/readyz").0, 503);
    // Small decisions find room where large ones do not; the host is not called ready for that.
    let mut answers = BTreeSet::new();
    for number in 0..200 {
        let (status, _) = client.post("/v1/actions", &trade(&format!("T{number}"), 0.5));
        answers.insert(status);
        let (status, ready) = client.get("/readyz");
        assert_eq!(status, 503, "{ready}");
    }
    assert!(
        answers.is_subset(&BTreeSet::from([200, 503])),
        "{answers:?}"
    );
    for id in &decisions {
        assert_eq!(client.get(&format!("/v1/decisions/{id}")).0, 200, "{id}");
    }
    if real {
        std::fs::remove_file(seen.join("filler")).expect("the filler");
        wait_until("ready again", || client.get("/readyz").0 == 200);
        let (status, answer) = client.post("/v1/actions", &trade("AFTER", 0.01));
        assert_eq!(
            (status, &answer["outcome"]),
            (200, &json!("approved")),
            "{answer}"
        );
        wait_until("an alert", || {
            let (_, alerts) = client.get("/v1/watchdog/alerts");
            alerts.to_string().contains("\"disk_full\"")
        });
    }
    // SQLite would resolve the path into this namespace: what is checked is a copy, as after a power cut.
    let copy = dir.path().join("copy");
    std::fs::create_dir(&copy).expect("a directory");
    for name in ["ark.db", "ark.db-wal", "anchors.jsonl"] {
        let from = seen.join("data").join(name);
        if from.exists() {
            std::fs::copy(from, copy.join(name)).expect("a copy");
        }
    }
    let data = copy.to_str().expect("UTF-8");
    for command in [["audit", "verify"], ["state", "check"]] {
        let output = run_ark(&[&command[..], &["--data-dir", data]].concat());
        assert!(output.status.success(), "{output:?}");
    }
    let (_, page) = client.get("/v1/state/kyle/k/history?limit=1");
    assert_eq!(page["revisions"][0]["revision"], revision);
    let log = host.terminate_for_log();
    // It is said once, and then in numbers.
    let said = log
        .matches("commit failed: none of its units was written")
        .count();
    assert_eq!(said, usize::from(real), "{log}");
    assert!(log.lines().count() < 100, "{log}");
}

#[test]
fn a_read_only_disk_is_said_and_nothing_starts() {
    if !has_namespaces() {
        println!("no mount namespaces here: not tested");
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    assert_eq!(Host::start(&data, &[]).terminate(), Some(0));
    let script = format!(
        "mount --bind {0} {0} && mount -o remount,bind,ro {0} && exec {1} serve --listen 127.0.0.1:0 --data-dir {0}",
        data.display(),
        ark_program().display()
    );
    let output: Output = unshare_mounts(&script)
        .current_dir(dir.path())
        .output()
        .expect("it ends");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && !said.contains("panicked"),
        "{said}"
    );
    assert!(
        said.contains("Read-only file system") && said.contains("write access"),
        "{said}"
    );
    assert_eq!(Host::start(&data, &[]).terminate(), Some(0));
}

#[test]
fn a_broken_page_is_refused_and_a_snapshot_brings_back_what_it_holds() {
    let dir = tempfile::tempdir().expect("a directory");
    let (data, taken) = (dir.path().join("data"), dir.path().join("snapshot"));
    let host = Host::start(&data, &[]);
    let client = &mut Client::new(&host);
    let mut ids = Vec::new();
    for number in 0..40 {
        let (_, answer) = client.post("/v1/actions", &trade(&format!("S{number}"), 0.001));
        ids.push(answer["decision_id"].as_str().expect("an id").to_owned());
    }
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let output = run_ark(&[
        "state",
        "snapshot",
        &text(&taken),
        "--data-dir",
        &text(&data),
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(host.terminate(), Some(0));
    let path = data.join("ark.db");
    let whole = std::fs::read(&path).expect("the database");
    let pages = whole.len() / 4096;
    let mut refused = 0;
    for page in (1..pages).step_by(pages / 8) {
        let mut file = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(&path)
            .expect("the database");
        let mut header = [0; 64];
        file.seek(SeekFrom::Start(page as u64 * 4096))
            .expect("a page");
        file.read_exact(&mut header).expect("a page");
        file.seek(SeekFrom::Start(page as u64 * 4096))
            .expect("a page");
        file.write_all(&header.map(|byte| !byte)).expect("a page");
        drop(file);
        match Host::try_start(&data, &[]) {
            Ok(host) => assert_eq!(host.terminate(), Some(0)),
            Err(said) => {
                refused += 1;
                assert!(
                    said.contains("not a sound database") && said.contains("restore"),
                    "{said}"
                );
                assert!(!said.contains("panicked"), "{said}");
            }
        }
        for name in ["ark.db-wal", "ark.db-shm"] {
            let _ = std::fs::remove_file(data.join(name));
        }
        std::fs::write(&path, &whole).expect("the database");
    }
    assert!(refused > 4, "{refused} of 8 broken pages were seen");
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("half a database");
    assert!(Host::try_start(&data, &[]).is_err());
    let output = run_ark(&[
        "state",
        "restore",
        &text(&taken),
        "--data-dir",
        &text(&data),
        "--replace",
    ]);
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let host = Host::start(&data, &[]);
    let client = &mut Client::new(&host);
    for id in &ids {
        assert_eq!(client.get(&format!("/v1/decisions/{id}")).0, 200, "{id}");
    }
}

#[test]
fn the_log_of_a_killed_host_is_read_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let client = &mut Client::new(&host);
    let (_, answer) = client.post("/v1/actions", &trade("S", 0.01));
    let id = answer["decision_id"].as_str().expect("an id");
    host.kill();
    let log = std::fs::metadata(data.join("ark.db-wal"))
        .expect("a log")
        .len();
    assert!(log > 0);
    let host = Host::start(&data, &[]);
    assert_eq!(
        Client::new(&host).get(&format!("/v1/decisions/{id}")).0,
        200
    );
    let second = Host::try_start(&data, &[]).err().expect("a second host");
    assert!(
        second.contains("in use by the host with process id"),
        "{second}"
    );
    assert_eq!(host.terminate(), Some(0));
}

/// Every column of texts in the database's tables, of those tables that have rows.
fn list_text_columns(database: &Connection) -> Vec<(String, String)> {
    let mut columns = database
        .prepare(
            "SELECT t.name, c.name FROM sqlite_schema t, pragma_table_info(t.name) c
             WHERE t.type = 'table' AND t.name NOT LIKE 'sqlite_%' AND t.name NOT LIKE '%_fts%' AND c.type = 'TEXT'",
        )
        .expect("a query");
    let rows = columns
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("columns");
    let columns: Vec<(String, String)> = rows.map(|row| row.expect("a column")).collect();
    columns
        .into_iter()
        .filter(|(table, column)| {
            let query = format!("SELECT count(*) FROM {table} WHERE {column} IS NOT NULL");
            let count: u64 = database
                .query_row(&query, [], |row| row.get(0))
                .expect("a count");
            count > 0
        })
        .collect()
}

#[test]
fn a_value_that_the_program_does_not_write_is_refused_with_the_remedy_or_harms_nobody() {
    let place = TestDir::new("submitters = [\"api\"]\n");
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host = place.start();
    let client = &mut Client::new(&host);
    for (symbol, size, outcome) in [("BTC-USD", 0.01, "approved"), ("ETH-USD", 0.09, "held")] {
        let headers = [("Idempotency-Key", symbol)];
        let (_, answer) = client
            .try_send("POST", "/v1/actions", &headers, &trade(symbol, size))
            .expect("an answer");
        assert_eq!(answer["outcome"], outcome, "{answer}");
    }
    let reason = json!({"reason": "compliance", "by": "ada"});
    let path = "/v1/lists/restricted/entries/RES-USD";
    assert_eq!(client.send("PUT", path, &reason).0, 200);
    assert_eq!(host.terminate(), Some(0));
    let path = place.data().join("ark.db");
    let sound = std::fs::read(&path).expect("the database");
    let columns = list_text_columns(&Connection::open(&path).expect("the database"));
    let config = place.config();
    let agents = place.agents();
    let args = [
        "--config",
        config.to_str().expect("UTF-8"),
        "--agents",
        agents.to_str().expect("UTF-8"),
    ];
    let mut refused = Vec::new();
    for (table, column) in &columns {
        let database = Connection::open(&path).expect("the database");
        database
            .execute_batch(&format!(
                "PRAGMA ignore_check_constraints = ON; UPDATE OR IGNORE {table} SET {column} = '{{\"a\":-\u{1b}'; PRAGMA wal_checkpoint(TRUNCATE)"
            ))
            .expect("a change");
        drop(database);
        match Host::try_start_halted(&place.data(), &args, &[]) {
            Ok(host) => assert_eq!(host.terminate(), Some(0), "{table}.{column}"),
            Err(said) => {
                assert!(!said.contains("panicked"), "{table}.{column}: {said}");
                assert!(
                    said.contains("ark state restore"),
                    "{table}.{column}: a refusal without a remedy: {said}"
                );
                refused.push(format!("{table}.{column}"));
            }
        }
        for name in ["ark.db-wal", "ark.db-shm"] {
            let _ = std::fs::remove_file(place.data().join(name));
        }
        std::fs::write(&path, &sound).expect("the database");
    }
    println!("{} columns, refused: {refused:?}", columns.len());
    assert!(
        refused.iter().any(|column| column == "audit_log.body"),
        "{refused:?}"
    );
}
