//! Validations of one host that know nothing of each other: they take turns, a leftover is told from a run that goes on, and a run whose probe is
//! taken away says so in place of failed tests.

use std::process::{Command, Output, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ark_tests::{Client, Host, TestDir, ark_program, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{CONFIG, assert_nothing_left, cases, url_of};

/// The lease of a validation, at the host.
const LEASE: &str = "/v1/state/validation-probe/run";
const PROBE: &str = "/v1/agents/validation-probe";

/// A validation with a journal of its own.
fn command(host: &Host, dir: &TestDir, journal: &str, more: &[&str]) -> Command {
    let mut command = Command::new(ark_program());
    command
        .args(["validate", "--json", "--url", &url_of(host), "--journal"])
        .arg(dir.path().join(journal))
        .args(more)
        .current_dir(dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

fn report_of(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn assert_passed(output: &Output) {
    let report = report_of(output);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    assert!(output.status.success(), "{output:?}");
}

fn tells_waiting(output: &Output) -> bool {
    String::from_utf8_lossy(&output.stderr).contains("waiting for the end of another validation")
}

#[test]
fn validations_with_journals_of_their_own_take_turns() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let more = ["--category", "isolation", "--category", "state"];
    for _ in 0..2 {
        let running = ["validate.journal", "b.journal", "c.journal"].map(|journal| {
            let command = &mut command(&host, &dir, journal, &more);
            command.spawn().expect("ark starts")
        });
        let ended = running.map(|run| run.wait_with_output().expect("its end"));
        for output in &ended {
            assert_passed(output);
        }
        let waited = ended.iter().filter(|output| tells_waiting(output)).count();
        assert!(waited >= 1, "{ended:?}");
        assert_nothing_left(&mut Client::new(&host), &dir);
    }
}

#[test]
fn a_validation_that_has_ended_is_not_waited_for() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    for journal in ["validate.journal", "validate.journal", "b.journal"] {
        let mut command = command(&host, &dir, journal, &["--category", "ethics"]);
        let output = command.output().expect("ark starts");
        assert_passed(&output);
        // The host keeps the versions of a probe that was removed, which is no run that goes on.
        assert!(!tells_waiting(&output), "{journal}: {output:?}");
    }
}

#[test]
fn a_leftover_whose_journal_is_elsewhere_is_removed_and_its_own_at_once() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let kill_one = |journal: &str| {
        let mut running = command(&host, &dir, journal, &[])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("ark starts");
        // A probe that was removed is known as well, without a version that serves.
        wait_until("the probe serves", || {
            let mut client = Client::new(&host);
            client.get(LEASE).0 == 200 && client.get(PROBE).1["serving"].is_u64()
        });
        kill_process(Pid::from_child(&running), Signal::KILL).expect("SIGKILL");
        running.wait().expect("its end");
        assert_eq!(
            Client::new(&host).get(LEASE).0,
            200,
            "the lease of the killed run"
        );
    };
    let of_state = ["--category", "state"];
    kill_one("killed.journal");
    let output = command(&host, &dir, "killed.journal", &of_state).output();
    let output = output.expect("ark starts");
    assert_passed(&output);
    assert!(!tells_waiting(&output), "{output:?}");
    kill_one("killed.journal");
    let output = command(&host, &dir, "validate.journal", &of_state).output();
    let output = output.expect("ark starts");
    assert_passed(&output);
    assert!(tells_waiting(&output), "{output:?}");
    // The journal of the killed run names what is gone.
    let output = command(&host, &dir, "killed.journal", &of_state).output();
    assert_passed(&output.expect("ark starts"));
    assert_nothing_left(&mut Client::new(&host), &dir);
}

#[test]
fn a_run_that_goes_on_for_too_long_is_named_and_nothing_of_it_is_removed() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let take = |client: &mut Client| {
        let value = json!({"value": {"run": "another-run", "since_ms": 1_000}});
        assert_eq!(client.send("PUT", LEASE, &value).0, 200);
    };
    take(&mut Client::new(&host));
    let over = AtomicBool::new(false);
    let output = std::thread::scope(|scope| {
        let (mut other, over) = (Client::new(&host), &over);
        scope.spawn(move || {
            while !over.load(Ordering::Relaxed) {
                take(&mut other);
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        let more = ["--patience", "1"];
        let output = command(&host, &dir, "validate.journal", &more).output();
        over.store(true, Ordering::Relaxed);
        output.expect("ark starts")
    });
    let report = report_of(&output);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let error = report["error"].as_str().expect("an error");
    assert!(
        error.contains("run another-run, since 1970-01-01T00:00:01Z"),
        "{error}"
    );
    assert_eq!(
        report["counts"],
        json!({"passed": 0, "failed": 0, "skipped": 20})
    );
    let (_, lease) = Client::new(&host).get(LEASE);
    assert_eq!(lease["value"]["run"], "another-run");
    let journal = std::fs::read(dir.path().join("validate.journal")).expect("the journal");
    assert!(journal.is_empty());
}

#[test]
fn a_run_whose_probe_is_taken_away_ends_with_an_error_and_no_test_fails() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    type TakeAway = fn(&mut Client);
    let ways: [(TakeAway, &str); 2] = [
        (
            |client| {
                let (status, answer) = client.send(
                    "DELETE",
                    &format!("{PROBE}?force=true&reason=test"),
                    &json!(null),
                );
                assert_eq!(status, 200, "{answer}");
            },
            "removed or replaced the probe",
        ),
        (
            |client| {
                let value = json!({"value": {"run": "another-run", "since_ms": 1_000}});
                assert_eq!(client.send("PUT", LEASE, &value).0, 200);
            },
            "another validation has taken the probe (run another-run",
        ),
    ];
    for (take_away, told) in ways {
        let more = ["--category", "watchdog"];
        let running = command(&host, &dir, "validate.journal", &more).spawn();
        let running = running.expect("ark starts");
        // The first test of the category has begun.
        let silent = "/v1/state/validation-probe/silent";
        let begun = Instant::now();
        let mut client = Client::new(&host);
        wait_until("the heart has stopped", || client.get(silent).0 == 200);
        take_away(&mut client);
        let output = running.wait_with_output().expect("its end");
        let report = report_of(&output);
        let error = report["error"]
            .as_str()
            .unwrap_or_else(|| panic!("{report:#}, {:?}", begun.elapsed()));
        assert!(
            error.contains(told) && error.contains("run it again"),
            "{error}"
        );
        assert_eq!(report["counts"]["failed"], 0, "{report:#}");
        assert_eq!(output.status.code(), Some(1));
    }
    // The other run, which is not there, is not taken for one for ever.
    let output = command(&host, &dir, "validate.journal", &["--category", "state"]).output();
    assert_passed(&output.expect("ark starts"));
    assert_nothing_left(&mut Client::new(&host), &dir);
}
