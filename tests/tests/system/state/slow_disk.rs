//! A disk whose syncs do not end, or end in a failure: deadlines hold, nothing is claimed that is not known, and what was begun is there once when
//! the disk goes on.
//!
//! The host runs with a small library that stands before the system's `fsync` and `fdatasync`: it waits there while one file exists, and fails while
//! another does.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use ark_tests::faults::build_fault_library;
use ark_tests::{Client, Host, TestDir, run_ark, trade, wait_for, wait_until};
use serde_json::{Value, json};

/// How long an answer may take that has a deadline of half a second, on a busy machine.
const QUICK: Duration = Duration::from_secs(20);

/// The kind of a problem document.
fn kind_of(answer: &Value) -> &str {
    let name = answer["type"].as_str().unwrap_or_default();
    name.rsplit(':').next().unwrap_or_default()
}

/// A host on the disk of the tests, and the files that stop it and let it fail.
struct SlowDisk {
    place: TestDir,
    stall: PathBuf,
    fail: PathBuf,
}

impl SlowDisk {
    fn new() -> Self {
        let place = TestDir::new("");
        let (stall, fail) = (place.path().join("stall"), place.path().join("fail"));
        Self { place, stall, fail }
    }

    fn start(&self) -> Host {
        let library = build_fault_library(self.place.path());
        let environment = [
            ("LD_PRELOAD", library.to_str().expect("UTF-8")),
            ("SYNC_STALL_FILE", self.stall.to_str().expect("UTF-8")),
            ("SYNC_FAIL_FILE", self.fail.to_str().expect("UTF-8")),
        ];
        let config = self.place.config();
        let arguments = ["--config", config.to_str().expect("UTF-8")];
        Host::try_start_with(&self.place.data(), &arguments, &environment).expect("a host")
    }
}

#[test]
fn a_sync_that_does_not_end_holds_nobody_beyond_a_deadline_and_what_was_begun_counts_once() {
    let disk = SlowDisk::new();
    let host = disk.start();
    let stall = &disk.stall;
    let client = &mut Client::new(&host);
    let mut attempt = 0;
    // A busy machine may need more than the deadline to bring a request as far as the disk.
    let (symbol, answer) = wait_for("a request whose sync is under way at its deadline", || {
        attempt += 1;
        let symbol = format!("S{attempt}");
        std::fs::write(stall, "").expect("a stall");
        let headers = [("Ark-Deadline-Ms", "500"), ("Idempotency-Key", &*symbol)];
        let (status, answer) = client
            .try_send("POST", "/v1/actions", &headers, &trade(&symbol, 0.001))
            .expect("an answer");
        assert_eq!(status, 504, "{answer}");
        if kind_of(&answer) == "outcome-unknown" {
            return Some((symbol, answer));
        }
        std::fs::remove_file(stall).expect("the stall");
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

    std::fs::remove_file(stall).expect("the stall");
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

/// Sends a request whose commit then fails while its repetition waits. Returns the answer to the repetition.
fn repeat_while_the_first_fails(
    disk: &SlowDisk,
    host: &Host,
    (method, path, body): (&str, &str, &Value),
) -> (u16, Value) {
    let client = &mut Client::new(host);
    std::fs::write(&disk.stall, "").expect("a stall");
    std::fs::write(&disk.fail, "").expect("a failure");
    let headers = [("Ark-Deadline-Ms", "500"), ("Idempotency-Key", path)];
    wait_until("a request whose sync is under way at its deadline", || {
        let (status, answer) = client
            .try_send(method, path, &headers, body)
            .expect("an answer");
        assert_eq!(status, 504, "{answer}");
        matches!(
            kind_of(&answer),
            "outcome-unknown" | "in-force-not-recorded"
        )
    });
    let answer = std::thread::scope(|scope| {
        let repeated = scope.spawn(|| {
            let headers = [("Idempotency-Key", path)];
            let mut client = Client::new(host);
            client.try_send(method, path, &headers, body)
        });
        // It waits behind the first one. Were it late, it would be the first of its own, and fail too.
        std::thread::sleep(Duration::from_millis(500));
        std::fs::remove_file(&disk.stall).expect("the stall");
        repeated.join().expect("no panic").expect("an answer")
    });
    std::fs::remove_file(&disk.fail).expect("the failure");
    wait_until("the disk is in use again", || {
        client.get("/healthz").0 == 200
    });
    answer
}

#[test]
fn a_repetition_is_not_acknowledged_when_the_first_request_was_not_recorded() {
    let disk = SlowDisk::new();
    let host = disk.start();
    let client = &mut Client::new(&host);
    let (_, approved) = client.post("/v1/actions", &trade("ACME", 0.01));
    let mut large = trade("BETA", 0.01);
    large["criticality"] = json!("critical");
    let (_, held) = client.post("/v1/actions", &large);
    assert_eq!(
        (&approved["outcome"], &held["outcome"]),
        (&json!("approved"), &json!("held")),
        "{approved} {held}"
    );
    let approve = format!(
        "/v1/approvals/{}/approve",
        held["decision_id"].as_str().expect("an id")
    );
    let report = json!({"execution_id": "e-1", "decision_id": approved["decision_id"], "status": "filled",
        "filled_size_pct": 0.01, "price": 100.0});
    let cases = [
        (
            "PUT",
            "/v1/lists/restricted/entries/GAMMA",
            json!({"reason": "a merger"}),
        ),
        ("POST", "/v1/executions", report),
        ("POST", &*approve, json!({"comment": "seen"})),
        ("POST", "/v1/actions", trade("DELTA", 0.01)),
    ];
    for (method, path, body) in &cases {
        let (status, answer) = repeat_while_the_first_fails(&disk, &host, (method, path, body));
        assert_eq!(
            (status, kind_of(&answer)),
            (503, "not-recorded"),
            "{path}: {answer}"
        );
        // Nothing of it counts: the same request is the first one now.
        let answer = wait_for("the request is recorded", || {
            let headers = [("Idempotency-Key", *path)];
            let (status, answer) = client
                .try_send(method, path, &headers, body)
                .expect("an answer");
            (status != 503).then_some((status, answer))
        });
        assert!(matches!(answer.0, 200 | 201), "{path}: {answer:?}");
        assert_ne!(answer.1["duplicate"], true, "{path}: {answer:?}");
    }
    // A halt is in force whatever becomes of its record, and its repetition says so too.
    let halt = ("POST", "/v1/halt", &json!({"reason": "the disk"}));
    let (status, answer) = repeat_while_the_first_fails(&disk, &host, halt);
    assert_eq!(
        (status, kind_of(&answer)),
        (503, "in-force-not-recorded"),
        "{answer}"
    );
    wait_until("the halt is on disk", || {
        let data = disk.place.data();
        let output = run_ark(&[
            "audit",
            "export",
            "--data-dir",
            data.to_str().expect("UTF-8"),
        ]);
        String::from_utf8_lossy(&output.stdout).contains("the disk")
    });
    assert_eq!(host.terminate(), Some(0));
}
