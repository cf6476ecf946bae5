//! `ark validate` on real hosts: a healthy one passes every test, one that is broken in one way fails the test for it, and nothing is left
//! behind.

pub(super) mod damaged;
mod ends;
mod exclusive;
mod one_journal;
mod planted;
mod same_host;
mod stopped;
mod taken_back;

use std::io::{BufRead, BufReader};
use std::process::{Command, Output, Stdio};
use std::time::Duration;

use ark_tests::policies;
use ark_tests::{Client, Host, TestDir, ark_program, make_token, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

/// A watchdog that looks often, so that the tests need not wait for it.
const CONFIG: &str =
    "[watchdog]\nheartbeat_ms = 300\nheartbeat_deadline_ms = 10_000\ngraveyard_ms = 500\n";
/// The tests that must pass after a deployment.
const THIRTEEN: [&str; 13] = [
    "ethics/position-size",
    "ethics/leverage",
    "ethics/stop-loss",
    "ethics/valid-proposal",
    "flow/end-to-end",
    "flow/one-trace",
    "state/history-contiguous",
    "state/rollback",
    "state/every-change-versioned",
    "watchdog/missed-heartbeat",
    "watchdog/intervals",
    "isolation/failing-agent",
    "isolation/nothing-delivered",
];

pub(super) fn command(url: &str, dir: &TestDir, more: &[&str]) -> Command {
    let mut command = Command::new(ark_program());
    command
        .args(["validate", "--json", "--url", url, "--journal"])
        .arg(dir.path().join("validate.journal"))
        .args(more)
        .current_dir(dir.path())
        .stdin(Stdio::null());
    command
}

pub(super) fn validate(url: &str, dir: &TestDir, more: &[&str]) -> (Value, Output) {
    let output = command(url, dir, more).output().expect("ark starts");
    let report = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    (report, output)
}

/// The tests that ended so, as CATEGORY/NAME.
pub(super) fn cases(report: &Value, status: &str) -> Vec<String> {
    let cases = report["cases"].as_array().expect("cases").iter();
    let text = |case: &Value, name: &str| case[name].as_str().expect("text").to_owned();
    cases
        .filter(|case| case["status"] == status)
        .map(|case| format!("{}/{}", text(case, "category"), text(case, "name")))
        .collect()
}

pub(super) fn url_of(host: &Host) -> String {
    format!("http://{}", host.address)
}

/// Waits until the watchdog has checked the database, which it does once soon after the start. Whoever damages the database of a running host
/// waits first: the watchdog would find the damage too, and the host would no longer be ready.
pub(super) fn wait_for_store_check(host: &Host) {
    let mut client = Client::new(host);
    wait_until("the database was checked", || {
        !client.get("/readyz").1["store_check"].is_null()
    });
}

/// Validates a host with a short patience, all categories or one, and compares what fails with what must.
fn assert_only_fails(url: &str, dir: &TestDir, more: &[&str], (what, failing): (&str, &str)) {
    let more = [&["--patience", "20"], more].concat();
    let (report, output) = validate(url, dir, &more);
    assert_eq!(cases(&report, "failed"), [failing], "{what}: {report:#}");
    assert_eq!(output.status.code(), Some(1), "{what}");
}

fn assert_nothing_left(client: &mut Client, dir: &TestDir) {
    assert_no_probe(client);
    let journal = std::fs::read(dir.path().join("validate.journal")).expect("the journal");
    assert!(journal.is_empty());
}

/// The host has nothing of a validation.
fn assert_no_probe(client: &mut Client) {
    let (_, agents) = client.get("/v1/agents");
    assert!(
        !agents.to_string().contains("\"validation-probe\""),
        "{agents}"
    );
    let (status, state) = client.get("/v1/state/validation-probe");
    assert!(status == 404 || state["keys"] == json!([]), "{state}");
    let (_, watchdog) = client.get("/v1/watchdog");
    assert_eq!(watchdog["quarantines"], json!([]), "{watchdog}");
}

#[test]
fn validations_in_quick_succession_do_not_count_against_each_other() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    let more = ["--category", "ethics", "--category", "flow"];
    // Within a minute an agent may propose the identical action ten times: each run proposes some twice.
    for run in 0..8 {
        let (report, _) = validate(&url, &dir, &more);
        assert_eq!(cases(&report, "failed"), [""; 0], "{run}: {report:#}");
        assert_eq!(cases(&report, "passed").len(), 6, "{run}: {report:#}");
    }
}

#[test]
fn a_healthy_host_passes_every_test_with_an_operators_token() {
    let dir = TestDir::new(CONFIG);
    let _ = make_token(&dir.data(), "ada", "admin", &[]);
    let token = make_token(&dir.data(), "ops", "operator", &[]);
    let submitter = make_token(
        &dir.data(),
        "validation",
        "submitter",
        &["--agent", "validation-probe", "--actions", "trade,message"],
    );
    let host = dir.start();
    let junit = dir.path().join("junit.xml");
    let junit_text = junit.to_str().expect("UTF-8");
    let telemetry = format!(
        "http://{}",
        host.telemetry.as_deref().expect("telemetry is on")
    );
    let data = dir.data();
    let data = data.to_str().expect("UTF-8");
    let submitter_file = dir.path().join("submitter");
    std::fs::write(&submitter_file, submitter).expect("a token");
    let submitter_file = submitter_file.to_str().expect("UTF-8");
    let with_tokens = ["--token", &token, "--submitter-token-file", submitter_file];
    let more = [
        &with_tokens[..],
        &[
            "--junit",
            junit_text,
            "--telemetry",
            &telemetry,
            "--data-dir",
            data,
        ],
    ]
    .concat();
    let (report, output) = validate(&url_of(&host), &dir, &more);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    assert!(
        output.status.success() && report["passed"] == true,
        "{report:#}"
    );
    let passed = cases(&report, "passed");
    assert!(
        THIRTEEN
            .iter()
            .all(|case| passed.iter().any(|one| one == case)),
        "{passed:?}"
    );
    assert_eq!(passed.len(), 20, "{passed:?}");
    assert_eq!(
        report["counts"],
        json!({"passed": 20, "failed": 0, "skipped": 0})
    );
    let xml = std::fs::read_to_string(&junit).expect("JUnit XML");
    assert!(
        xml.contains("tests=\"20\" failures=\"0\" skipped=\"0\" errors=\"0\""),
        "{xml}"
    );
    let mut client = Client::with_token(&host, &token);
    assert_nothing_left(&mut client, &dir);
    // One category, and an unknown category.
    let more = [&with_tokens[..], &["--category", "ethics"]].concat();
    let (report, _) = validate(&url_of(&host), &dir, &more);
    assert_eq!(cases(&report, "passed"), THIRTEEN[..4]);
    let output = command(&url_of(&host), &dir, &["--category", "ethisc"])
        .output()
        .expect("ark starts");
    assert!(
        String::from_utf8_lossy(&output.stderr).contains("ethics"),
        "{output:?}"
    );
}

#[test]
fn a_host_that_is_broken_in_one_way_fails_the_test_for_it() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    // An operator policy that denies a valid trade.
    let allowlist = policies::read_policy("symbol-allowlist");
    let settings = json!({"settings": {"allowed": ["BTC-*"]}});
    policies::put(
        &mut Client::new(&host),
        "symbol-allowlist",
        &allowlist,
        &settings,
    );
    let (report, _) = validate(&url_of(&host), &dir, &["--category", "ethics"]);
    assert_eq!(
        cases(&report, "failed"),
        ["ethics/valid-proposal"],
        "{report:#}"
    );
    // A row that was changed, and a revision that somebody took out of the file, under the running host: a start would refuse both.
    wait_for_store_check(&host);
    let (report, _) = validate(&url_of(&host), &dir, &["--category", "state"]);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    let changed = database.execute(
        "UPDATE audit_log SET action_type = 'report' WHERE seq = (SELECT min(seq) FROM audit_log WHERE kind <> 'decision')",
        [],
    );
    assert_eq!(changed.expect("a change"), 1);
    let data = dir.data();
    let data = data.to_str().expect("UTF-8");
    let with_data = ["--category", "beyond", "--data-dir", data];
    let fault = (
        "a row of the audit log that was changed",
        "beyond/audit-log",
    );
    assert_only_fails(&url_of(&host), &dir, &with_data, fault);
    let gone = database.execute(
        "DELETE FROM state_history WHERE agent = 'validation-probe' AND key = 'history' AND revision = 2",
        [],
    );
    assert_eq!(gone.expect("a deletion"), 1);
    drop(database);
    let (report, _) = validate(&url_of(&host), &dir, &["--category", "state"]);
    assert_eq!(
        cases(&report, "failed"),
        ["state/history-contiguous"],
        "{report:#}"
    );
    let (report, _) = validate(&url_of(&host), &dir, &with_data);
    assert_eq!(
        cases(&report, "failed"),
        ["beyond/audit-log", "beyond/state-history"],
        "{report:#}"
    );
    assert_eq!(host.terminate(), Some(0));
    // A watchdog that never isolates.
    let dir = TestDir::new(&format!(
        "{CONFIG}consecutive_failures = 100000\nfailure_rate = 1.0\n"
    ));
    let host = dir.start();
    let (report, _) = validate(
        &url_of(&host),
        &dir,
        &["--category", "isolation", "--patience", "3"],
    );
    assert_eq!(
        cases(&report, "failed"),
        ["isolation/failing-agent"],
        "{report:#}"
    );
}

#[test]
fn nothing_is_left_after_kills() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    let mut client = Client::new(&host);
    for round in 0..4_u64 {
        let mut running = command(&url, &dir, &[])
            .stdout(Stdio::null())
            .spawn()
            .expect("ark starts");
        if round > 0 {
            wait_until("the probe is there", || {
                client
                    .get("/v1/agents")
                    .1
                    .to_string()
                    .contains("validation-probe")
            });
        }
        std::thread::sleep(Duration::from_millis(round * 400));
        kill_process(Pid::from_child(&running), Signal::KILL).expect("SIGKILL");
        running.wait().expect("its end");
    }
    let (report, output) = validate(&url, &dir, &["--category", "state"]);
    assert!(output.status.success(), "{report:#}");
    assert_nothing_left(&mut client, &dir);
}

#[test]
fn a_validation_under_another_spelling_of_the_address_waits_and_does_no_harm() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let mut client = Client::new(&host);
    let port = host.address.rsplit(':').next().expect("a port");
    let state = dir.path().join("state");
    // The journal is that of the host, which no option names.
    let validation = |url: &str| {
        let mut command = Command::new(ark_program());
        command
            .args(["validate", "--json", "--url", url])
            .env("XDG_STATE_HOME", &state)
            .stdin(Stdio::null());
        command
    };
    let running = validation(&format!("http://127.0.0.1:{port}"))
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("ark starts");
    let has_probe = |client: &mut Client| {
        let (_, agents) = client.get("/v1/agents");
        agents.to_string().contains("\"validation-probe\"")
    };
    wait_until("the probe is there", || has_probe(&mut client));
    // It cannot end before the others have begun.
    let process = Pid::from_child(&running);
    kill_process(process, Signal::STOP).expect("SIGSTOP");
    let mut waiting = Vec::new();
    for url in [
        format!("http://127.0.0.1:{port}/"),
        format!("http://localhost:{port}"),
        format!("http://localhost:{port}/"),
        format!("HTTP://LocalHost:{port}"),
    ] {
        let mut other = validation(&url)
            .args(["--category", "ethics"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("ark starts");
        let mut told = String::new();
        let errors = other.stderr.as_mut().expect("standard error");
        BufReader::new(errors).read_line(&mut told).expect("a line");
        let expected = "waiting for the end of another validation of the host (with this journal: ";
        assert!(told.contains(expected), "{url}: {told}");
        waiting.push(other);
    }
    let has_probe = has_probe(&mut client);
    kill_process(process, Signal::CONT).expect("SIGCONT");
    assert!(has_probe, "the probe is the first one's");
    let output = running.wait_with_output().expect("its end");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    assert!(output.status.success(), "{report:#}");
    let passed = cases(&report, "passed");
    assert!(
        THIRTEEN
            .iter()
            .all(|case| passed.contains(&(*case).to_owned())),
        "{report:#}"
    );
    // They take turns.
    for other in waiting {
        let output = other.wait_with_output().expect("its end");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
        assert!(output.status.success(), "{report:#}");
    }
    let (_, agents) = client.get("/v1/agents");
    assert!(
        !agents.to_string().contains("\"validation-probe\""),
        "{agents}"
    );
    // Once it has ended, the next one may begin.
    let next = validation(&format!("http://localhost:{port}/"))
        .args(["--category", "ethics"])
        .output()
        .expect("ark starts");
    assert!(next.status.success(), "{next:?}");
}
