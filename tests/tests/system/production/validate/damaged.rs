//! Hosts that are damaged while they serve or before they start: another build in the place of the Graveyard, an audit log that was edited, a disk that
//! is too slow.

use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use ark_tests::artefacts::checkout_path;
use ark_tests::faults::start_on_slow_disk;
use ark_tests::{Client, Host, TestDir, trade, wait_until};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{CONFIG, assert_nothing_left, assert_only_fails, cases, url_of, validate};

/// The Graveyard of this release, and that of an earlier one.
const PINNED: &str = "policies/graveyard.wasm";
const OTHER: &str = "policies/released/graveyard-1.0.0.wasm";

/// Puts a build of the Graveyard into the place of the host's, as a file that nobody may write.
fn place_graveyard(file: &Path, build: &str) {
    let partial = file.with_extension("partial");
    std::fs::copy(checkout_path(build), &partial).expect("a copy");
    std::fs::set_permissions(&partial, Permissions::from_mode(0o444)).expect("a mode");
    std::fs::rename(&partial, file).expect("a file");
}

fn wait_for_pin(host: &Host, holds: bool) {
    let mut client = Client::new(host);
    wait_until("the pin is checked", || {
        client.get("/v1/graveyard").1["pin_holds"] == holds
    });
}

/// Starts a host that reads the Graveyard from a file, whose path is returned.
fn start_with_file(dir: &TestDir) -> (Host, PathBuf) {
    let (config, file) = (dir.config(), dir.path().join("graveyard.wasm"));
    place_graveyard(&file, PINNED);
    let text = |path: &Path| path.to_str().expect("UTF-8").to_owned();
    let (config, graveyard) = (text(&config), text(&file));
    let args = ["--config", &config, "--graveyard", &graveyard];
    (Host::start(&dir.data(), &args), file)
}

/// Starts a host that misses an objective: its Graveyard is not the pinned one any more.
pub(in crate::production) fn start_with_missed_objective() -> (TestDir, Host) {
    let dir = TestDir::new(CONFIG);
    let (host, file) = start_with_file(&dir);
    place_graveyard(&file, OTHER);
    wait_for_pin(&host, false);
    (dir, host)
}

fn telemetry_of(host: &Host) -> String {
    format!(
        "http://{}",
        host.telemetry.as_deref().expect("telemetry is on")
    )
}

#[test]
fn another_graveyard_fails_the_test_of_the_pin_and_a_time_of_it_that_of_the_objectives_alone() {
    let dir = TestDir::new(CONFIG);
    let (host, file) = start_with_file(&dir);
    let (url, telemetry) = (url_of(&host), telemetry_of(&host));
    let with_telemetry = ["--telemetry", telemetry.as_str()];
    let (report, _) = validate(&url, &dir, &with_telemetry);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    place_graveyard(&file, OTHER);
    wait_for_pin(&host, false);
    // Without its pin a host halts: it is not ready, and what needs an approval fails too. Test vectors that were not run fail the test of the pin
    // alone (`planted`).
    let short = ["--patience", "3"];
    let (report, output) = validate(&url, &dir, &short);
    assert_eq!(
        cases(&report, "failed"),
        [
            "ethics/valid-proposal",
            "flow/end-to-end",
            "flow/one-trace",
            "beyond/pin-and-vectors",
            "beyond/ready"
        ],
        "{report:#}"
    );
    assert_eq!(output.status.code(), Some(1));
    let mut all = report["cases"].as_array().expect("cases").iter();
    let pin = all.find(|case| case["name"] == "pin-and-vectors");
    assert_eq!(
        pin.expect("the test")["detail"],
        "the pin of the Graveyard does not hold"
    );
    // Once it is restored the host is as before, but for what it promised.
    place_graveyard(&file, PINNED);
    wait_for_pin(&host, true);
    let mut client = Client::new(&host);
    let resumed = client.post("/v1/resume", &json!({"reason": "it is restored"}));
    assert_eq!(resumed.0, 200, "{}", resumed.1);
    let fault = ("a pin that was broken", "beyond/objectives");
    assert_only_fails(&url, &dir, &with_telemetry, fault);
    assert_nothing_left(&mut client, &dir);
}

#[test]
fn a_disk_that_is_too_slow_fails_the_test_of_the_objectives_alone() {
    let dir = TestDir::new(CONFIG);
    // More than a decision may take until it is durable.
    let host = start_on_slow_disk(&dir, 450);
    let batch = json!({"actions": vec![trade("BTC-USD", 0.001); 30]});
    let (status, answer) = Client::new(&host).post("/v1/actions/batch", &batch);
    assert_eq!(status, 200, "{answer}");
    let mut telemetry = Client::of_telemetry(&host);
    wait_until("the objective is missed", || {
        let (_, shown) = telemetry.get("/slos");
        let mut all = shown["slos"].as_array().expect("objectives").iter();
        let latency = all.find(|one| one["name"] == "decision_latency_p95");
        latency.expect("the objective")["windows"][0]["status"] == "breached"
    });
    let telemetry = telemetry_of(&host);
    let more = ["--telemetry", telemetry.as_str()];
    let fault = ("a slow disk", "beyond/objectives");
    assert_only_fails(&url_of(&host), &dir, &more, fault);
    assert_nothing_left(&mut Client::new(&host), &dir);
}

#[test]
fn a_database_whose_damage_is_found_beside_serving_fails_the_test_of_readiness_alone() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let mut client = Client::new(&host);
    // More decisions than a start looks at.
    let batch = json!({"actions": vec![trade("BTC-USD", 0.5); 100]});
    for _ in 0..12 {
        let (status, answer) = client.post("/v1/actions/batch", &batch);
        assert_eq!(status, 200, "{answer}");
    }
    assert_eq!(host.terminate(), Some(0));
    let database = Connection::open(dir.data().join("ark.db")).expect("the database");
    let changed = database.execute("UPDATE audit_log SET body = body || ' ' WHERE seq = 5", []);
    assert_eq!(changed.expect("a change"), 1);
    drop(database);
    let host = dir.start_halted();
    let mut client = Client::new(&host);
    wait_until("the damage is found", || {
        let (_, ready) = client.get("/readyz");
        ready["store_check"]["fault"] != Value::Null
    });
    let fault = ("a damaged row of the audit log", "beyond/ready");
    assert_only_fails(&url_of(&host), &dir, &[], fault);
    assert_nothing_left(&mut client, &dir);
}
