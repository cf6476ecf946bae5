//! A disk whose syncs do not end: deadlines hold, nothing is claimed that is not known, and what was begun is there once when the disk goes on.
//!
//! The host runs with a small library that stands before the system's `fsync` and `fdatasync` and waits there while a file exists.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use ark_tests::{Client, Host, TestDir, trade, wait_for, wait_until};
use serde_json::{Value, json};

/// How long an answer may take that has a deadline of half a second, on a busy machine.
const QUICK: Duration = Duration::from_secs(20);

/// The library: syncs wait while the file exists that `SYNC_STALL_FILE` names.
const STALLING_SYNC: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_while_stalled(void) {
    const char *file = getenv("SYNC_STALL_FILE");
    while (file != NULL && access(file, F_OK) == 0)
        usleep(5000);
}

int fsync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    wait_while_stalled();
    return next(fd);
}

int fdatasync(int fd) {
    int (*next)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    wait_while_stalled();
    return next(fd);
}
"#;

/// Compiles the library. Returns its path.
fn build_stalling_sync(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("stall.c"), dir.join("stall.so"));
    std::fs::write(&source, STALLING_SYNC).expect("the source");
    let built = Command::new("cc")
        .args(["-shared", "-fPIC", "-O1", "-o"])
        .args([&library, &source])
        .arg("-ldl")
        .output()
        .expect("a C compiler");
    assert!(
        built.status.success(),
        "{}",
        String::from_utf8_lossy(&built.stderr)
    );
    library
}

/// The kind of a problem document.
fn kind_of(answer: &Value) -> &str {
    let name = answer["type"].as_str().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

#[test]
fn a_sync_that_does_not_end_holds_nobody_beyond_a_deadline_and_what_was_begun_counts_once() {
    let place = TestDir::new("");
    let stall = place.path().join("stall");
    let library = build_stalling_sync(place.path());
    let environment = [
        ("LD_PRELOAD", library.to_str().expect("UTF-8")),
        ("SYNC_STALL_FILE", stall.to_str().expect("UTF-8")),
    ];
    let config = place.config();
    let arguments = ["--config", config.to_str().expect("UTF-8")];
    let host = Host::try_start_with(&place.data(), &arguments, &environment).expect("a host");
    let client = &mut Client::new(&host);
    let mut attempt = 0;
    // A busy machine may need more than the deadline to bring a request as far as the disk.
    let (symbol, answer) = wait_for("a request whose sync is under way at its deadline", || {
        attempt += 1;
        let symbol = format!("S{attempt}");
        std::fs::write(&stall, "").expect("a stall");
        let headers = [("Ark-Deadline-Ms", "500"), ("Idempotency-Key", &*symbol)];
        let (status, answer) = client
            .try_send("POST", "/v1/actions", &headers, &trade(&symbol, 0.001))
            .expect("an answer");
        assert_eq!(status, 504, "{answer}");
        if kind_of(&answer) == "outcome-unknown" {
            return Some((symbol, answer));
        }
        std::fs::remove_file(&stall).expect("the stall");
        wait_until("ready", || client.get("/readyz").0 == 200);
        None
    });
    assert!(
        answer.get("outcome").is_none(),
        "nothing is claimed: {answer}"
    );
    // What comes behind it has not begun: it is denied for certain, at its deadline. Reads and the state of the host are not held up.
    let started = Instant::now();
    let headers = [("Ark-Deadline-Ms", "500")];
    let (status, answer) = client
        .try_send("POST", "/v1/actions", &headers, &trade("BEHIND", 0.001))
        .expect("an answer");
    assert_eq!(
        (status, kind_of(&answer)),
        (504, "deadline-exceeded"),
        "{answer}"
    );
    assert_eq!(answer["outcome"], "denied", "{answer}");
    // A halt is in force at once, and its answer says so and that it is not on disk.
    let halt = json!({"reason": "the disk"});
    let (status, answer) = wait_for("a halt that is in force", || {
        let (status, answer) = client
            .try_send("POST", "/v1/halt", &headers, &halt)
            .expect("an answer");
        let is_told = kind_of(&answer) == "in-force-not-recorded";
        is_told.then_some((status, answer))
    });
    assert_eq!(
        (status, &answer["in_force"]),
        (504, &json!(true)),
        "{answer}"
    );
    assert_eq!(client.get("/healthz").0, 200);
    assert_eq!(client.get("/v1/decisions").0, 200);
    let (_, report) = client.get("/v1/watchdog");
    assert!(report["halt"].is_object(), "the halt is in force: {report}");
    assert!(started.elapsed() < QUICK, "{:?}", started.elapsed());

    std::fs::remove_file(&stall).expect("the stall");
    wait_until("the halt is durable and taken back", || {
        client
            .post("/v1/resume", &json!({"reason": "it goes on"}))
            .0
            == 200
    });
    wait_until("ready", || client.get("/readyz").0 == 200);
    // The same key gives what came of the first request, and there is one of it; nothing came of the one behind it.
    let headers = [("Idempotency-Key", &*symbol)];
    let (status, approved) = client
        .try_send("POST", "/v1/actions", &headers, &trade(&symbol, 0.001))
        .expect("an answer");
    assert_eq!(
        (status, &approved["outcome"]),
        (200, &json!("approved")),
        "{approved}"
    );
    let (_, listed) = client.get("/v1/decisions?outcome=approved&limit=100");
    let symbols: Vec<Value> = listed["decisions"]
        .as_array()
        .expect("decisions")
        .iter()
        .map(|row| {
            let path = format!(
                "/v1/decisions/{}",
                row["decision_id"].as_str().expect("an id")
            );
            client.get(&path).1["action"]["parameters"]["symbol"].clone()
        })
        .collect();
    let count = |name: &str| symbols.iter().filter(|symbol| **symbol == name).count();
    assert_eq!((count(&symbol), count("BEHIND")), (1, 0), "{symbols:?}");
    assert_eq!(host.terminate(), Some(0));
}
