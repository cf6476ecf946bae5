//! Validations that end in a test: by a signal, or for a quarantine that is none of theirs; and what the file of their results says then.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::process::Stdio;

use ark_tests::{Client, TestDir, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::{CONFIG, assert_nothing_left, cases, command, url_of, validate};

#[test]
fn a_signal_ends_the_wait_for_the_intervals() {
    // Two checks of the Graveyard are waited for, each of which takes a while.
    let dir = TestDir::new("[watchdog]\nheartbeat_ms = 300\ngraveyard_ms = 20_000\n");
    let host = dir.start();
    let mut running = command(&url_of(&host), &dir, &["--category", "watchdog"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ark starts");
    let mut told = BufReader::new(running.stderr.take().expect("standard error"));
    let mut line = String::new();
    while !line.contains("missed-heartbeat") {
        line.clear();
        let read = told.read_line(&mut line).expect("a line");
        assert!(read > 0, "it ended before the test of the intervals");
    }
    kill_process(Pid::from_child(&running), Signal::TERM).expect("SIGTERM");
    // What it tells goes on to be read.
    std::thread::spawn(move || told.lines().for_each(drop));
    let output = running.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(report["interrupted"], true, "{report:#}");
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    assert_eq!(
        cases(&report, "skipped"),
        ["watchdog/intervals"],
        "{report:#}"
    );
    assert_nothing_left(&mut Client::new(&host), &dir);
}

#[test]
fn a_quarantine_by_somebody_else_is_not_taken_for_that_of_a_failing_agent() {
    // The watchdog isolates nobody.
    let dir = TestDir::new(&format!(
        "{CONFIG}consecutive_failures = 100000\nfailure_rate = 1.0\n"
    ));
    let host = dir.start();
    let more = ["--category", "isolation", "--patience", "20"];
    let running = command(&url_of(&host), &dir, &more)
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts");
    let mut client = Client::new(&host);
    wait_until("an operator isolates the probe", || {
        let path = "/v1/agents/validation-probe/quarantine";
        client.post(path, &json!({"reason": "a test"})).0 == 200
    });
    let output = running.wait_with_output().expect("its end");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert_eq!(
        cases(&report, "failed"),
        ["isolation/failing-agent"],
        "{report:#}"
    );
    let detail = &report["cases"][0]["detail"];
    let detail = detail.as_str().expect("text");
    assert!(detail.contains("operator by"), "{detail}");
    assert_nothing_left(&mut client, &dir);
}

#[test]
fn a_report_of_an_earlier_run_is_gone_as_soon_as_another_one_begins() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let junit = dir.path().join("junit.xml");
    let text = junit.to_str().expect("UTF-8");
    let read = || std::fs::read_to_string(&junit).expect("JUnit XML");
    let of_ethics = ["--category", "ethics", "--junit", text];
    let renew = || {
        let (report, output) = validate(&url_of(&host), &dir, &of_ethics);
        assert!(output.status.success(), "{report:#}");
        assert!(read().contains("errors=\"0\""), "{}", read());
    };
    // What is refused before it begins, by its command line, its files and its host.
    let foreign = TestDir::new("");
    let foreign = foreign.path().to_str().expect("UTF-8");
    for (more, named) in [
        (["--patience", "0"], "--patience 0"),
        (["--category", "nope"], "there is no category nope"),
        (["--data-dir", "none"], "--data-dir none"),
        (["--token-file", "none"], "--token-file none"),
        (
            ["--submitter-token-file", "none"],
            "--submitter-token-file none",
        ),
        (["--data-dir", foreign], "no process holds it"),
    ] {
        renew();
        let more = [&of_ethics[..], &more].concat();
        let output = command(&url_of(&host), &dir, &more).output();
        let output = output.expect("ark starts");
        assert!(!output.status.success(), "{output:?}");
        let xml = read();
        assert!(
            xml.contains("errors=\"1\"") && xml.contains(named) && !xml.contains("<system-out>"),
            "{more:?}: {xml}"
        );
    }
    // A run that is killed while its host does not answer.
    renew();
    let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
    let silent_url = format!("http://{}", silent.local_addr().expect("its address"));
    let mut running = command(&silent_url, &dir, &of_ethics)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts");
    wait_until("the old report is gone", || {
        !read().contains("errors=\"0\"")
    });
    kill_process(Pid::from_child(&running), Signal::KILL).expect("SIGKILL");
    running.wait().expect("its end");
    let xml = read();
    assert!(xml.contains("the validation has not ended"), "{xml}");
    // A dry run writes none.
    let dry_run = [&of_ethics[..], &["--dry-run"]].concat();
    let output = command(&url_of(&host), &dir, &dry_run).output();
    assert!(output.expect("ark starts").status.success());
    assert_eq!(read(), xml);
}
