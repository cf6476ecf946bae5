//! Validations of one host with one journal take turns, as those with journals of their own do.

use std::fs::File;
use std::process::{Command, Stdio};

use ark_tests::{Client, TestDir, ark_program};
use rustix::fs::{FlockOperation, flock};
use serde_json::Value;

use super::{CONFIG, assert_nothing_left, cases, url_of};

/// A validation of the state, with the journal that all of them have.
fn command(url: &str, dir: &TestDir, more: &[&str]) -> Command {
    let mut command = Command::new(ark_program());
    command
        .args(["validate", "--json", "--url", url, "--journal"])
        .arg(dir.path().join("validate.journal"))
        .args(["--category", "state"])
        .args(more)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

#[test]
fn validations_with_one_journal_take_turns() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    let running = [(); 3].map(|()| command(&url, &dir, &[]).spawn().expect("ark starts"));
    let ended = running.map(|run| run.wait_with_output().expect("its end"));
    for output in &ended {
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
        assert!(output.status.success(), "{output:?}");
    }
    let tells = |text: &[u8]| {
        let text = String::from_utf8_lossy(text);
        text.contains("waiting for the end of another validation of the host (with this journal: ")
    };
    let waited = ended.iter().filter(|output| tells(&output.stderr)).count();
    assert!(waited >= 1, "{ended:?}");
    assert_nothing_left(&mut Client::new(&host), &dir);
}

#[test]
fn a_journal_that_is_held_for_too_long_is_named() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let path = dir.path().join("validate.journal");
    let held = File::create(&path).expect("a journal");
    flock(&held, FlockOperation::LockExclusive).expect("its lock");
    let mut command = command(&url_of(&host), &dir, &["--patience", "1"]);
    let output = command.output().expect("ark starts");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let error = report["error"].as_str().expect("an error");
    for part in [
        "another validation of the host goes on",
        "with this journal: ",
        path.to_str().expect("UTF-8"),
        "wait for its end, then run this again",
    ] {
        assert!(error.contains(part), "{part}: {error}");
    }
    // Nothing of the other run was touched.
    assert_eq!(held.metadata().expect("the journal").len(), 0);
}
