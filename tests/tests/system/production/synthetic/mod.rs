//! `ark synthetic` on real hosts: what it proves, that each proof can fail, and that it leaves nothing open.

mod broken;
mod left_open;
mod over_redis;

use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use ark_tests::ports::free_port;
use ark_tests::requests::quarantine_and_restore;
use ark_tests::{Client, Host, TestDir, ark_program, copy_agent, guests_dir, wait_for, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::altering::{start_altering, start_altering_requests};

/// The requester of the load, whom a host must know.
const CONFIG: &str =
    "submitters = [\"api\", \"synthetic\"]\n[watchdog]\nviolations_per_minute = 10000\n";

fn command(url: &str, dir: &TestDir, more: &[&str]) -> Command {
    let mut command = Command::new(ark_program());
    command
        .args([
            "synthetic",
            "--json",
            "--violation-every",
            "4",
            "--url",
            url,
            "--journal",
        ])
        .arg(dir.path().join("synthetic.journal"))
        .args(more)
        .current_dir(dir.path())
        .stdin(Stdio::null());
    command
}

fn run(url: &str, dir: &TestDir, more: &[&str]) -> (Value, Output) {
    let output = command(url, dir, more).output().expect("ark starts");
    let report = serde_json::from_slice(&output.stdout).unwrap_or(Value::Null);
    (report, output)
}

/// Reads the report of a command that runs, to its end.
fn read_report(running: &mut Child) -> Value {
    let mut text = String::new();
    let output = running.stdout.as_mut().expect("its output");
    output.read_to_string(&mut text).expect("text");
    serde_json::from_str(&text).expect("JSON")
}

/// The proofs that do not hold, but for that of the rate: how fast the machine of the tests is, is not the host's.
fn failed_proofs(report: &Value) -> Vec<String> {
    let mut names = all_failed_proofs(report);
    names.retain(|name| name != "rate");
    names
}

/// The proofs that do not hold.
fn all_failed_proofs(report: &Value) -> Vec<String> {
    let proofs = report["proofs"]
        .as_array()
        .unwrap_or_else(|| panic!("no proofs: {report}"));
    let failed = proofs.iter().filter(|proof| proof["passed"] == false);
    let names = failed.map(|proof| proof["name"].as_str().expect("a name").to_owned());
    names.collect()
}

fn open_orders(data: &Path) -> (u32, u32) {
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    let count = |tables: &str| -> u32 {
        database
            .query_row(&format!("SELECT count(*) FROM {tables}"), [], |row| {
                row.get(0)
            })
            .expect("a number")
    };
    (
        count("orders WHERE state IN ('new', 'partially_filled')"),
        count("(SELECT 1 FROM orders UNION ALL SELECT 1 FROM ended_orders)"),
    )
}

fn url_of(host: &Host) -> String {
    format!("http://{}", host.address)
}

#[test]
fn a_healthy_host_does_what_it_must_and_nothing_stays_open() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    let (steps, output) = run(&url, &dir, &["--dry-run"]);
    assert!(output.status.success(), "{output:?}");
    assert!(
        steps
            .to_string()
            .contains("the proposal `unprotected` would be denied"),
        "{steps}"
    );
    let (_, decisions) = Client::new(&host).get("/v1/decisions");
    assert_eq!(decisions["decisions"], json!([]), "a dry run has no effect");
    // On a machine that is busy with other tests the rate may not be held at once.
    let report = wait_for("a run in which the rate was held", || {
        let (report, output) = run(&url, &dir, &["--duration", "4", "--hz", "4"]);
        assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
        (report["passed"] == true && output.status.success()).then_some(report)
    });
    assert_eq!(
        (&report["ticks"], &report["sent"]),
        (&json!(16), &json!(16))
    );
    assert_eq!(report["signals_through"], "HTTP");
    // The rate was held, so it is the one that was asked for, but for the lateness of one tick.
    let hz = report["hz"].as_f64().expect("a rate");
    assert!((hz - 4.0).abs() < 0.3, "{hz}");
    assert_eq!(
        (&report["injected"], &report["denied"], &report["approved"]),
        (&json!(4), &json!(4), &json!(12))
    );
    assert!(
        ["proposals", "signals"].iter().all(|what| {
            let time = report[what]["p99_ms"].as_f64();
            time.is_some_and(|time| time > 0.0)
        }),
        "{report}"
    );
    assert_eq!(host.terminate(), Some(0));
    let (open, all) = open_orders(&dir.data());
    assert!(open == 0 && all >= 12, "{open} of {all}");
}

#[test]
fn each_proof_fails_for_its_own_reason() {
    let dir = TestDir::new(CONFIG);
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let short = ["--duration", "4", "--hz", "4"];
    for (from, to, after, proof) in [
        // A trace that never becomes complete.
        ("\"complete\":true", "\"complete\":null", 0, "traces"),
        // A stream of events whose places are lost.
        ("\nid: ", "\nix: ", 0, "positions"),
        // A valid proposal that is denied, once the rehearsal is over.
        (
            "\"outcome\":\"approved\"",
            "\"outcome\":\"denied\"  ",
            1,
            "outcomes",
        ),
    ] {
        let url = start_altering(&host.address, from, to, after);
        let (report, output) = run(&url, &dir, &short);
        assert_eq!(failed_proofs(&report), [proof], "{from}: {report:#}");
        assert_eq!(output.status.code(), Some(1));
        let failures = report["failures"].as_array().expect("failures");
        if proof != "positions" {
            assert!(
                failures.iter().all(|one| one["trace_id"]
                    .as_str()
                    .is_some_and(|trace| trace.len() == 32)),
                "{report:#}"
            );
        }
    }
    // An agent that is put into quarantine meanwhile.
    let mut client = Client::new(&host);
    let mut last_decision =
        || client.get("/v1/decisions?limit=1").1["decisions"][0]["decision_id"].clone();
    let before = last_decision();
    let mut running = command(&url_of(&host), &dir, &["--duration", "8", "--hz", "2"])
        .stdout(Stdio::piped())
        .spawn()
        .expect("ark starts");
    wait_until("the load has begun", || last_decision() != before);
    // It is over at once: nothing is in force when the run ends.
    quarantine_and_restore(&mut client, "kyle");
    let report = read_report(&mut running);
    assert_eq!(failed_proofs(&report), ["quarantine"], "{report:#}");
    assert!(
        report.to_string().contains("put into quarantine: kyle"),
        "{report:#}"
    );
    assert_eq!(running.wait().expect("its end").code(), Some(1));
    // One of before the run is none of the run.
    let (report, _) = run(&url_of(&host), &dir, &short);
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#}");
}

#[test]
fn held_trades_of_the_load_are_rejected() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    // Once the rehearsal is over, the valid proposals have a leverage that waits for an approval.
    let url = start_altering_requests(&host.address, "\"leverage\":1.0", "\"leverage\":1.8", 4);
    let (report, output) = run(&url, &dir, &["--duration", "4", "--hz", "4"]);
    assert_eq!(
        failed_proofs(&report),
        ["outcomes"],
        "{report:#} {output:?}"
    );
    assert_eq!(report["held"], 12, "{report:#}");
    let (_, waiting) = Client::new(&host).get("/v1/approvals?limit=500");
    let approvals = waiting["approvals"].as_array().expect("a list");
    assert_eq!(approvals.len(), 12, "{waiting}");
    assert!(
        approvals.iter().all(|one| one["status"] == "rejected"),
        "{waiting}"
    );
}

#[test]
fn a_file_that_is_no_journal_is_refused_and_kept() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let before = std::fs::read(dir.config()).expect("the configuration");
    let config = dir.config();
    let journal = config.to_str().expect("UTF-8");
    for command in ["synthetic", "validate"] {
        let output = Command::new(ark_program())
            .args([command, "--url", &url_of(&host), "--journal", journal])
            .output()
            .expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains("is not the journal of"),
            "{errors}"
        );
        assert_eq!(std::fs::read(&config).expect("the file"), before);
    }
}

#[test]
fn a_host_that_cannot_be_driven_is_refused_with_the_remedy() {
    let dir = TestDir::new("");
    let host = dir.start();
    for (more, url, told) in [
        (
            &["--duration", "20"][..],
            url_of(&host),
            "--submitter synthetic",
        ),
        // Too few ticks for one violation of each kind.
        (
            &["--duration", "3"],
            url_of(&host),
            "a run of 3 ticks has too few: 16 are needed",
        ),
        (
            &["--duration", "15", "--dry-run"],
            url_of(&host),
            "16 are needed",
        ),
        (&["--hz", "0"], url_of(&host), "--hz 0"),
        (&["--duration", "0"], url_of(&host), "--duration 0"),
        (
            &["--violation-every", "1"],
            url_of(&host),
            "--violation-every",
        ),
        (
            &[],
            format!("http://127.0.0.1:{}", free_port()),
            "no host answers",
        ),
    ] {
        let more: Vec<&str> = [more, &["--agent", "synthetic"]].concat();
        let (_, output) = run(&url, &dir, &more);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            !output.status.success() && errors.contains(told),
            "{told}: {errors}"
        );
    }
    let (status, _) = Client::new(&host).post("/v1/halt", &json!({"reason": "a test"}));
    assert_eq!(status, 200);
    let (_, output) = run(&url_of(&host), &dir, &["--agent", "api"]);
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(errors.contains("not ready"), "{errors}");
}

fn wait_for_decisions(host: &Host, at_least: usize) {
    let mut client = Client::new(host);
    wait_until("the load goes on", || {
        let (_, answer) = client.get("/v1/decisions?limit=500");
        answer["decisions"]
            .as_array()
            .is_some_and(|rows| rows.len() >= at_least)
    });
}

fn spawn_synthetic(url: &str, dir: &TestDir) -> Child {
    command(url, dir, &["--duration", "600", "--hz", "50"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts")
}

#[test]
fn nothing_stays_open_after_kills_and_interrupts() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    for round in 1..=6 {
        let mut running = spawn_synthetic(&url, &dir);
        wait_for_decisions(&host, round * 10);
        // At another point of a tick each time.
        std::thread::sleep(Duration::from_millis(7 * round as u64));
        kill_process(Pid::from_child(&running), Signal::KILL).expect("SIGKILL");
        running.wait().expect("its end");
    }
    // An interrupt ends the run, which tidies up, also what the kills left.
    let mut running = spawn_synthetic(&url, &dir);
    wait_for_decisions(&host, 80);
    kill_process(Pid::from_child(&running), Signal::INT).expect("SIGINT");
    let report = read_report(&mut running);
    assert_eq!(running.wait().expect("its end").code(), Some(1));
    assert_eq!(
        (&report["interrupted"], &report["passed"]),
        (&json!(true), &json!(false)),
        "{report:#}"
    );
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#}");
    assert_eq!(host.terminate(), Some(0));
    let (open, all) = open_orders(&dir.data());
    assert!(open == 0 && all > 30, "{open} of {all} are open");
    let journal = std::fs::read(dir.path().join("synthetic.journal")).expect("the journal");
    assert!(journal.is_empty());
}
