//! Other processes on the database of a running host: one that writes, one that reads and never ends. Denials are quick, the process is
//! named, a halt is in force and says truly whether it is on disk, and all goes on when the process has ended.
//!
//! The other process is this test.

use std::path::Path;
use std::time::{Duration, Instant};

use ark_tests::{Client, TestDir, trade, wait_for, wait_until};
use rusqlite::Connection;
use serde_json::{Value, json};

/// How long a denial may take on a busy machine: well below what a host waits that waits for a lock (5 s and more for each request in
/// line), and well above what one takes that does not.
const QUICK: Duration = Duration::from_millis(2500);

/// Opens the database as another process does.
fn open_database(data: &Path) -> Connection {
    Connection::open(data.join("ark.db")).expect("the database")
}

fn read_readiness(client: &mut Client) -> String {
    client.get("/readyz").1["problems"].to_string()
}

fn halt_host(client: &mut Client) -> (u16, Value) {
    client.post("/v1/halt", &json!({"reason": "a drill"}))
}

#[test]
fn under_a_foreign_lock_denials_are_quick_and_a_halt_says_what_is_true() {
    let place = TestDir::new("");
    let host = place.start();
    let client = &mut Client::new(&host);
    let other = open_database(&place.data());
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let name = format!("process {} (", std::process::id());
    let started = Instant::now();
    let proposals = 20;
    for number in 0..proposals {
        let (status, answer) = client.post("/v1/actions", &trade(&format!("S{number}"), 0.001));
        assert_eq!(
            (status, &answer["outcome"]),
            (503, &json!("denied")),
            "{answer}"
        );
        assert!(answer.to_string().contains(&name), "{answer}");
    }
    let taken = started.elapsed();
    assert!(
        taken < QUICK * proposals,
        "{proposals} denials took {taken:?}"
    );
    let (status, answer) = halt_host(client);
    assert_eq!(status, 503, "{answer}");
    assert_eq!(
        answer["type"], "urn:ark:problem:in-force-not-recorded",
        "{answer}"
    );
    assert_eq!(
        (&answer["in_force"], &answer["outcome"]),
        (&json!(true), &Value::Null)
    );
    assert_eq!(client.get("/v1/watchdog").1["halt"]["reason"], "a drill");
    let problems = read_readiness(client);
    assert!(
        problems.contains("not on disk yet") && problems.contains(&name),
        "{problems}"
    );
    drop(other);
    wait_until("the halt is on disk", || {
        let problems = read_readiness(client);
        // A halted host judges all the same: what it records shows that the database can be written.
        client.post("/v1/actions", &trade("AFTER", 0.001));
        !problems.contains("not on disk yet") && !problems.contains(&name)
    });
    let (_, alerts) = client.get("/v1/watchdog/alerts?kind=database_locked");
    let message = alerts["alerts"][0]["message"].as_str().expect("an alert");
    assert!(message.contains(&name), "{message}");
    host.kill();
    assert_halted(&place);
}

#[test]
fn a_halt_that_cannot_be_recorded_outlives_a_kill() {
    let place = TestDir::new("");
    let host = place.start();
    let client = &mut Client::new(&host);
    let other = open_database(&place.data());
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    assert_eq!(halt_host(client).0, 503);
    host.kill();
    drop(other);
    assert_halted(&place);
}

/// Starts a host and checks that nothing is approved there until it is resumed.
fn assert_halted(place: &TestDir) {
    let host = place.start_halted();
    let client = &mut Client::new(&host);
    let halt = wait_for("the halt", || {
        let (status, report) = client.get("/v1/watchdog");
        (status == 200).then(|| report["halt"].clone())
    });
    assert!(halt.is_object(), "{halt}");
    let (_, answer) = client.post("/v1/actions", &trade("S", 0.001));
    assert_eq!(answer["outcome"], "denied", "{answer}");
    let (status, answer) = client.post("/v1/resume", &json!({"reason": "it was a drill"}));
    assert_eq!(status, 200, "{answer}");
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_caller_is_answered_at_its_deadline_whatever_holds_the_database() {
    let place = TestDir::new("");
    let host = place.start();
    let client = &mut Client::new(&host);
    let other = open_database(&place.data());
    other.execute_batch("BEGIN IMMEDIATE").expect("the lock");
    let headers = [("Ark-Deadline-Ms", "500"), ("Idempotency-Key", "k")];
    for _ in 0..4 {
        let started = Instant::now();
        let (status, answer) = client
            .try_send("POST", "/v1/actions", &headers, &trade("S", 0.001))
            .expect("an answer");
        let taken = started.elapsed();
        assert!(matches!(status, 503 | 504), "{answer}");
        assert_eq!(answer["outcome"], "denied", "{answer}");
        assert!(taken < QUICK, "{taken:?}");
    }
    drop(other);
    // What was denied left nothing under its key. A host that could not write denies until it has written again.
    wait_until("ready", || client.get("/readyz").0 == 200);
    let (status, answer) = client
        .try_send("POST", "/v1/actions", &headers[1..], &trade("S", 0.001))
        .expect("an answer");
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("approved")),
        "{answer}"
    );
}

#[test]
fn a_reader_that_never_ends_is_named_and_orders_still_have_room() {
    let place = TestDir::new("[capacity]\nmax_database_bytes = 8_000_000\n");
    let host = place.start();
    let client = &mut Client::new(&host);
    let other = open_database(&place.data());
    other.execute_batch("BEGIN").expect("a transaction");
    let rows: u64 = other
        .query_row("SELECT count(*) FROM audit_log", [], |row| row.get(0))
        .expect("a read");
    assert!(rows < 100, "{rows}");
    let name = format!("process {} (", std::process::id());
    let refusal = wait_for("a refusal", || {
        let mut request = trade("S", 0.0001);
        request["reasoning"] = json!("x".repeat(40_000));
        let (status, answer) = client.post("/v1/actions", &request);
        (status == 503).then_some(answer)
    });
    assert_eq!(refusal["outcome"], "denied", "{refusal}");
    let detail = refusal["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("cannot be emptied") && detail.contains(&name),
        "{detail}"
    );
    let (_, alerts) = client.get("/v1/watchdog/alerts?kind=log_held");
    let message = alerts["alerts"][0]["message"].as_str().expect("an alert");
    assert!(message.contains(&name), "{message}");
    let started = Instant::now();
    let (status, answer) = halt_host(client);
    assert_eq!(status, 200, "there is room for a halt: {answer}");
    assert!(started.elapsed() < QUICK);
    drop(other);
    wait_until("all goes on", || {
        let (status, _) = client.post("/v1/resume", &json!({"reason": "it was a drill"}));
        status == 200
    });
    wait_until("ready", || client.get("/readyz").0 == 200);
    let (_, answer) = client.post("/v1/actions", &trade("AFTER", 0.001));
    assert_eq!(answer["outcome"], "approved", "{answer}");
}
