//! Hosts that are too slow, stop answering, or take no report of an execution: the proof for it fails, and no other.

use std::process::{Child, Stdio};
use std::time::Duration;

use ark_tests::faults::start_on_slow_disk;
use ark_tests::{Client, Host, TestDir, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use super::{
    CONFIG, all_failed_proofs, command, failed_proofs, open_orders, read_report, run,
    start_altering_requests, url_of, wait_for_decisions,
};

/// The detail of a proof.
fn find_detail<'a>(report: &'a Value, name: &str) -> &'a str {
    let mut proofs = report["proofs"].as_array().expect("proofs").iter();
    let proof = proofs.find(|proof| proof["name"] == name);
    proof
        .and_then(|proof| proof["detail"].as_str())
        .expect("a detail")
}

#[test]
fn a_host_that_is_too_slow_for_the_rate_fails_the_proof_of_the_rate_alone() {
    let dir = TestDir::new(CONFIG);
    let host = start_on_slow_disk(&dir, 100);
    // A tick waits for two syncs at least, and has a tenth of a second.
    let (report, output) = run(&url_of(&host), &dir, &["--duration", "2", "--hz", "10"]);
    assert_eq!(
        all_failed_proofs(&report),
        ["rate"],
        "{report:#} {output:?}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(report["sent"], 20, "the run is slow, not short: {report:#}");
    assert!(
        report["hz"].as_f64().is_some_and(|hz| hz < 10.0)
            && report["proposals"]["p50_ms"]
                .as_f64()
                .is_some_and(|time| time >= 100.0),
        "{report:#}"
    );
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(open_orders(&dir.data()).0, 0);
}

#[test]
fn a_host_that_takes_no_reports_of_executions_fails_the_proof_that_nothing_is_open_alone() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let short = ["--duration", "4", "--hz", "4"];
    // Reports get to no call of the host's, from the first tick on.
    let url = start_altering_requests(
        &host.address,
        "POST /v1/executions",
        "POST /v1/executionx",
        1,
    );
    let (report, output) = run(&url, &dir, &short);
    assert_eq!(
        failed_proofs(&report),
        ["nothing-open"],
        "{report:#} {output:?}"
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(
        find_detail(&report, "nothing-open").contains("12 proposals may be open"),
        "{report:#}"
    );
    assert_eq!(open_orders(&dir.data()).0, 12);
    // Its journal has them still, and the next run that can takes them back. The journal is of the address that the run was made against.
    let journal = dir.path().join("synthetic.journal");
    let text = std::fs::read_to_string(&journal).expect("the journal");
    std::fs::write(&journal, text.replace(&url, &url_of(&host))).expect("the journal");
    let (report, output) = run(&url_of(&host), &dir, &short);
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
    assert_eq!(open_orders(&dir.data()).0, 0);
}

/// Drives a host, and stops it amid the load: it answers nothing, and its connections stand.
fn drive_frozen(host: &Host, dir: &TestDir, seconds: &str) -> Child {
    let running = command(&url_of(host), dir, &["--duration", seconds, "--hz", "4"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts");
    wait_for_decisions(host, 4);
    host.freeze();
    running
}

/// The next run takes back what may be open.
fn check_next_run(host: &Host, dir: &TestDir) {
    wait_until("the host is ready", || {
        Client::new(host).get("/readyz").0 == 200
    });
    let (report, output) = run(&url_of(host), dir, &["--duration", "4", "--hz", "4"]);
    assert_eq!(failed_proofs(&report), [""; 0], "{report:#} {output:?}");
    assert_eq!(open_orders(&dir.data()).0, 0);
}

#[test]
fn a_host_that_answers_nothing_more_ends_the_run_soon_after_its_time() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    // Each of the ticks that are left would take 30 s.
    let mut running = drive_frozen(&host, &dir, "8");
    let report = read_report(&mut running);
    host.thaw();
    assert_eq!(running.wait().expect("its end").code(), Some(1));
    assert_eq!(report["interrupted"], false, "{report:#}");
    let elapsed = report["elapsed_s"].as_f64().expect("seconds");
    assert!((38.0..120.0).contains(&elapsed), "{elapsed}");
    let sent = report["sent"].as_u64().expect("a number");
    assert!((4..32).contains(&sent), "{report:#}");
    let told = format!(
        "only {sent} of 32 ticks were sent: the time of the run was over before the host had answered"
    );
    assert!(find_detail(&report, "rate").contains(&told), "{report:#}");
    check_next_run(&host, &dir);
}

#[test]
fn a_run_is_stopped_while_the_host_does_not_answer() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let mut running = drive_frozen(&host, &dir, "600");
    // Several ticks are due by then, so that one of them waits for its answer.
    std::thread::sleep(Duration::from_secs(3));
    kill_process(Pid::from_child(&running), Signal::TERM).expect("SIGTERM");
    let report = read_report(&mut running);
    host.thaw();
    assert_eq!(running.wait().expect("its end").code(), Some(1));
    assert_eq!(report["interrupted"], true, "{report:#}");
    let failures = report["failures"].as_array().expect("failures");
    assert!(
        failures.iter().any(|one| one["problem"]
            .as_str()
            .is_some_and(|told| told.contains("the run was stopped before the host had answered"))),
        "{report:#}"
    );
    check_next_run(&host, &dir);
}
