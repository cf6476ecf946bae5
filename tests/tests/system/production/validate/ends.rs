//! `ark validate` on a host with a long history, without a host, with a file that cannot be written; and what is wrong with a command line of
//! production.

use std::process::{Command, Output};

use ark_tests::ports::free_port;
use ark_tests::{Client, TestDir, ark_program, copy_agent, guests_dir, make_token};
use serde_json::{Value, json};

use super::damaged::start_with_missed_objective;
use super::{
    CONFIG, assert_no_probe, assert_nothing_left, cases, command, url_of, validate,
    wait_for_store_check,
};
use crate::production::altering::{start_altering, start_splitting};

#[test]
fn a_history_longer_than_a_page_passes_and_its_gap_is_found() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    let of_state = ["--category", "state"];
    let (report, _) = validate(&url, &dir, &of_state);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    // As many runs leave it: more revisions than a page of the API has.
    let mut client = Client::new(&host);
    for value in 0..510 {
        let path = "/v1/state/validation-probe/history";
        let (status, answer) = client.send("PUT", path, &json!({"value": value}));
        assert_eq!(status, 200, "{answer}");
    }
    for _ in 0..2 {
        let (report, output) = validate(&url, &dir, &of_state);
        assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
        assert!(output.status.success(), "{report:#}");
    }
    assert_nothing_left(&mut client, &dir);
    // A gap on the second page.
    wait_for_store_check(&host);
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    let gone = database.execute(
        "DELETE FROM state_history WHERE agent = 'validation-probe' AND key = 'history' AND revision = 3",
        [],
    );
    assert_eq!(gone.expect("a deletion"), 1);
    drop(database);
    let (report, _) = validate(&url, &dir, &of_state);
    let failed = cases(&report, "failed");
    assert_eq!(failed, ["state/history-contiguous"], "{report:#}");
}

#[test]
fn a_trigger_and_an_order_that_was_planted_are_found_in_the_data_directory() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let url = url_of(&host);
    wait_for_store_check(&host);
    let data = dir.data().display().to_string();
    let with_data = ["--category", "beyond", "--data-dir", &data];
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    for (plant, named, mend) in [
        (
            "CREATE TRIGGER evil AFTER INSERT ON halts BEGIN DELETE FROM halts; END",
            "the trigger evil on halts was not made by this program",
            "DROP TRIGGER evil",
        ),
        (
            "INSERT INTO quarantines (agent, cause, reason, by, at) VALUES ('eve', 'operator', 'r', 'eve', 1)",
            "the quarantine of eve: the table has it, and the log says that it is not in force",
            "DELETE FROM quarantines WHERE agent = 'eve'",
        ),
    ] {
        database.execute_batch(plant).expect("a change");
        let (report, _) = validate(&url, &dir, &with_data);
        let failed = cases(&report, "failed");
        assert_eq!(failed, ["beyond/state-history"], "{report:#}");
        assert!(report.to_string().contains(named), "{report:#}");
        database.execute_batch(mend).expect("a change");
        let (report, _) = validate(&url, &dir, &with_data);
        assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    }
}

#[test]
fn a_gap_in_the_history_of_another_agent_is_found_in_the_data_directory() {
    let dir = TestDir::new(CONFIG);
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    let url = url_of(&host);
    let mut client = Client::new(&host);
    for value in 1..=3 {
        let (status, answer) = client.send("PUT", "/v1/state/kyle/seen", &json!({"value": value}));
        assert_eq!(status, 200, "{answer}");
    }
    wait_for_store_check(&host);
    let data = dir.data();
    let data = data.to_str().expect("UTF-8");
    let with_data = ["--category", "beyond", "--data-dir", data];
    let (report, _) = validate(&url, &dir, &with_data);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    let gone = database.execute(
        "DELETE FROM state_history WHERE agent = 'kyle' AND key = 'seen' AND revision = 2",
        [],
    );
    assert_eq!(gone.expect("a deletion"), 1);
    drop(database);
    let (report, output) = validate(&url, &dir, &with_data);
    let failed = cases(&report, "failed");
    assert_eq!(failed, ["beyond/state-history"], "{report:#}");
    assert_eq!(output.status.code(), Some(1));
    // Without the directory the report says that nobody looked, and counts it as that.
    let junit = dir.path().join("junit.xml");
    let junit_text = junit.to_str().expect("UTF-8");
    let of_beyond = ["--category", "beyond", "--junit", junit_text];
    let (report, _) = validate(&url, &dir, &of_beyond);
    assert_eq!(
        report["counts"],
        json!({"passed": 3, "failed": 0, "skipped": 4}),
        "{report:#}"
    );
    let xml = std::fs::read_to_string(&junit).expect("JUnit XML");
    assert!(
        xml.contains("tests=\"7\" failures=\"0\" skipped=\"4\" errors=\"0\"")
            && xml.matches("<skipped message=").count() == 4,
        "{xml}"
    );
    let all = report["cases"].as_array().expect("cases").iter();
    let found = all.clone().find(|case| case["name"] == "state-history");
    let found = found.expect("the test");
    assert_eq!(found["status"], "skipped", "{found}");
    let detail = found["detail"].as_str().expect("text");
    assert!(detail.contains("was not looked at"), "{detail}");
}

#[test]
fn a_host_that_does_not_say_when_it_checked_the_graveyard_fails_the_test_of_the_intervals() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    // An answer that is altered, and no fault of the host: it checks the Graveyard before it answers, so that it always says when that was.
    let (from, to) = ("\"last_check_ms_ago\":", "\"last_check_ms_agx\":");
    let url = start_altering(&host.address, from, to, 0);
    let (report, output) = validate(&url, &dir, &["--category", "watchdog"]);
    assert_eq!(
        cases(&report, "failed"),
        ["watchdog/intervals"],
        "{report:#}"
    );
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn a_host_that_does_not_answer_and_a_file_that_cannot_be_written_are_told_in_time() {
    let dir = TestDir::new(CONFIG);
    let junit = dir.path().join("junit.xml");
    let junit_text = junit.to_str().expect("UTF-8");
    let url = format!("http://127.0.0.1:{}", free_port());
    let (report, output) = validate(&url, &dir, &["--junit", junit_text]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(report["passed"], false, "{report:#}");
    let error = report["error"].as_str().expect("an error");
    assert!(!error.is_empty(), "{report:#}");
    assert_eq!(
        report["counts"],
        json!({"passed": 0, "failed": 0, "skipped": 20})
    );
    let xml = std::fs::read_to_string(&junit).expect("JUnit XML");
    assert!(
        xml.contains("tests=\"21\" failures=\"0\" skipped=\"20\" errors=\"1\"")
            && xml.contains("<error message="),
        "{xml}"
    );
    // Nothing is asked of a host whose results nobody would get.
    let host = dir.start();
    let more = ["--junit", "/proc/none/x.xml"];
    let output = command(&url_of(&host), &dir, &more)
        .output()
        .expect("ark starts");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(told.contains("--junit /proc/none/x.xml"), "{told}");
    // Where JSON is asked for, what is wrong is there too; so it is for a command that only reads.
    let error_of = |output: &Output| {
        let failure: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        failure["error"].as_str().expect("an error").to_owned()
    };
    assert!(error_of(&output).contains("--junit /proc/none/x.xml"));
    let (url, nowhere) = (url_of(&host), format!("http://127.0.0.1:{}", free_port()));
    let rows: [(&[&str], i32, &str); 4] = [
        (
            &["synthetic", "--duration", "0", "--url", &url],
            2,
            "--duration 0",
        ),
        (&["agent", "list", "--url", &nowhere], 1, "127.0.0.1"),
        (&["watchdog", "status", "--url", &nowhere], 1, "127.0.0.1"),
        (&["audit", "verify", "--data-dir", "none"], 1, "none"),
    ];
    for (arguments, status, named) in rows {
        let output = Command::new(ark_program())
            .args(arguments)
            .arg("--json")
            .env("XDG_STATE_HOME", dir.path())
            .current_dir(dir.path())
            .output()
            .expect("ark starts");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        let error = error_of(&output);
        assert!(error.contains(named), "{arguments:?}: {error}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(told.contains(named), "{arguments:?}: {told}");
    }
    // The probe never kept anything.
    let path = "/v1/state/validation-probe/history/history";
    let (status, history) = Client::new(&host).get(path);
    assert_eq!(status, 404, "{history}");
}

#[test]
fn a_token_that_may_not_what_a_validation_does_is_refused_before_it_begins() {
    let dir = TestDir::new(CONFIG);
    let _ = make_token(&dir.data(), "ada", "admin", &[]);
    let operator = make_token(&dir.data(), "ops", "operator", &[]);
    let reader = make_token(&dir.data(), "eve", "reader", &[]);
    let elsewhere = ["--agent", "kyle", "--actions", "trade,message"];
    let elsewhere = make_token(&dir.data(), "kyle", "submitter", &elsewhere);
    let host = dir.start();
    let file = dir.path().join("submitter");
    std::fs::write(&file, elsewhere).expect("a token");
    let file = file.to_str().expect("UTF-8");
    let rows: [(&[&str], &str); 3] = [
        (&["--token", &operator], "--submitter-token-file"),
        (
            &["--token", &operator, "--submitter-token-file", file],
            "--submitter-token-file",
        ),
        (&["--token", &reader], "--token-file"),
    ];
    for (tokens, option) in rows {
        let (report, output) = validate(&url_of(&host), &dir, tokens);
        let error = report["error"].as_str().expect("an error");
        assert!(
            error.contains("nothing was begun") && error.contains(option),
            "{tokens:?}: {error}"
        );
        assert_eq!(
            report["counts"],
            json!({"passed": 0, "failed": 0, "skipped": 20})
        );
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let dry_run = [tokens, &["--dry-run"]].concat();
        let output = command(&url_of(&host), &dir, &dry_run).output();
        assert_eq!(output.expect("ark starts").status.code(), Some(1));
    }
    let mut client = Client::with_token(&host, &operator);
    assert_no_probe(&mut client);
    assert!(!dir.path().join("validate.journal").exists(), "a journal");
    // The probe was never there.
    let (status, history) = client.get("/v1/state/validation-probe/run/history");
    assert_eq!(status, 404, "{history}");
}

#[test]
fn objectives_are_read_where_the_configuration_of_the_host_says() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let telemetry = host.telemetry.as_deref().expect("telemetry is on");
    let (_missing_dir, missing) = start_with_missed_objective();
    let foreign = missing.telemetry.as_deref().expect("telemetry is on");
    // The host's own telemetry, with objectives as of a host that misses one.
    let missed = start_splitting(telemetry, "/slos", foreign);
    let missed = missed.as_str();
    // The configured API and telemetry, more arguments, whether the test fails, and what it says.
    let rows: [(&str, &str, &[&str], bool, &str); 6] = [
        (&host.address, telemetry, &[], false, "too little"),
        (&host.address, missed, &[], true, "is missed over"),
        (&host.address, "127.0.0.1:9", &[], true, "--telemetry off"),
        (
            &host.address,
            missed,
            &["--telemetry", "off"],
            false,
            "is known",
        ),
        (&host.address, "off", &[], false, "is known"),
        // The configuration is of another host.
        ("127.0.0.1:9", missed, &[], false, "is known"),
    ];
    for (listen, telemetry_listen, more, fails, detail) in rows {
        let more = [&["--category", "beyond"], more].concat();
        let output = command(&url_of(&host), &dir, &more)
            .env("ARK_LISTEN", listen)
            .env("ARK_TELEMETRY_LISTEN", telemetry_listen)
            .output()
            .expect("ark starts");
        let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
        let mut all = report["cases"].as_array().expect("cases").iter();
        let case = all.find(|case| case["name"] == "objectives");
        let case = case.expect("the test");
        assert_eq!(
            case["status"] == "failed",
            fails,
            "{telemetry_listen}: {case}"
        );
        let told = case["detail"].as_str().expect("text");
        // Enough may have been seen, which is no fault.
        assert!(
            told.contains(detail) || detail == "too little" && told.contains("windows is missed"),
            "{telemetry_listen}: {case}"
        );
        assert_eq!(output.status.code(), Some(i32::from(fails)), "{report:#}");
    }
    // A configuration that names the telemetry of another host.
    let output = command(&url_of(&host), &dir, &["--category", "beyond"])
        .env("ARK_LISTEN", &host.address)
        .env("ARK_TELEMETRY_LISTEN", foreign)
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    let error = report["error"].as_str().expect("an error");
    assert!(
        error.contains(&format!("--telemetry http://{foreign}")),
        "{error}"
    );
}

/// Each command line ends with 2, and what is told has the text.
fn assert_wrong(dir: &TestDir, wrong: Vec<(Vec<&str>, &str)>) {
    for (arguments, named) in wrong {
        let output = Command::new(ark_program())
            .args(&arguments)
            .env("XDG_STATE_HOME", dir.path())
            .current_dir(dir.path())
            .output()
            .expect("ark starts");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {told}");
        assert!(told.contains(named), "{arguments:?}: {told}");
    }
}

#[test]
fn a_wrong_value_on_a_command_line_of_production_ends_it_with_2() {
    let dir = TestDir::new("");
    let canary = [
        "canary",
        "start",
        "--name",
        "next",
        "--haproxy",
        "127.0.0.1:9",
        "--prometheus",
        "http://127.0.0.1:9",
    ];
    let rollback = ["rollback", "--snapshots", "s", "--stable-binary", "ark"];
    let commands = ["--stop-command", "true", "--start-command", "true"];
    let with = |first: &[&'static str], more: &[&'static str]| [first, more].concat();
    let wrong: Vec<(Vec<&str>, &str)> = vec![
        (vec!["synthetic", "--duration", "0"], "--duration 0"),
        (vec!["synthetic", "--hz", "0"], "--hz 0"),
        (
            vec!["synthetic", "--violation-every", "1"],
            "--violation-every 1",
        ),
        (vec!["synthetic", "--duration", "5"], "longer --duration"),
        (vec!["synthetic", "--hz", "-1"], "--hz -1: give more than 0"),
        (
            vec!["synthetic", "--duration", "-1"],
            "give a whole number, 0 or more",
        ),
        (
            vec!["validate", "--patience", "-5"],
            "give a whole number, 0 or more",
        ),
        (vec!["validate", "--telemetry", "127.0.0.1:9090"], "http://"),
        (vec!["rollback", "--shares", "0"], "--shares [0]"),
        (vec!["rollback", "--health-tries", "0"], "--health-tries 0"),
        (
            vec!["rollback", "--health-pause", "-3"],
            "--health-pause -3: give more than 0",
        ),
        (
            vec!["rollback", "--step", "-1"],
            "--step -1: give more than 0",
        ),
        (vec!["rollback", "--patience", "0"], "--patience 0"),
        (vec!["rollback", "--category", "nope"], "nope"),
        (vec!["upgrade", "--timeout", "-1"], "--timeout -1"),
        (
            with(&with(&rollback, &commands), &["--shares", "0"]),
            "--shares [0]",
        ),
        (
            with(&canary, &["--step", "-1"]),
            "--step -1: give more than 0",
        ),
        (vec!["validate", "--patience", "0"], "--patience 0"),
        (vec!["validate", "--category", "nope"], "nope"),
        (vec!["validate", "--junit", "/proc/none/x.xml"], "--junit"),
        (with(&canary, &["--shares", "50,10"]), "--shares"),
        (with(&canary, &["--sigmas", "11"]), "--sigmas"),
        (with(&canary, &["--max-errors", "101"]), "--max-errors"),
        (with(&canary, &["--min-samples", "0"]), "--min-samples"),
        (with(&canary, &["--step", "0"]), "--step 0"),
        (with(&canary, &["--new-binary", "ark"]), "--data-dir"),
        (
            vec!["rollback", "--stop-command", "true"],
            "--stable-binary",
        ),
        (with(&rollback, &[]), "--stop-command"),
        (
            with(&with(&rollback, &commands), &["--health-tries", "0"]),
            "--health-tries 0",
        ),
        (
            with(&with(&rollback, &commands), &["--timeout", "0"]),
            "--timeout 0",
        ),
        (
            with(&with(&rollback, &commands), &["--category", "nope"]),
            "nope",
        ),
        (vec!["upgrade", "ark", "--snapshots", "s"], "--stop-command"),
        (
            with(&["upgrade", "ark"], &commands),
            "--start-stable-command",
        ),
        (vec!["upgrade", "--stop-command", "true"], "the new version"),
        (vec!["check", "--strict=2"], "--strict"),
    ];
    assert_wrong(&dir, wrong);
}

#[test]
fn a_name_that_no_host_records_and_an_interval_of_no_time_are_wrong_values() {
    let dir = TestDir::new("");
    let canary = ["canary", "start", "--haproxy", "127.0.0.1:9"];
    let canary = [&canary[..], &["--prometheus", "http://127.0.0.1:9"]].concat();
    let rollback = ["rollback", "--snapshots", "s", "--stable-binary", "ark"];
    let with = |first: &[&'static str], more: &[&'static str]| [first, more].concat();
    let wrong: Vec<(Vec<&str>, &str)> = vec![
        (
            with(&canary, &["--name", "ark:2.0.0"]),
            "match ^[A-Za-z0-9._+-]+$, e.g. 2.0.0",
        ),
        (
            with(&rollback, &["--name", "ark:2.0.0"]),
            "match ^[A-Za-z0-9._+-]+$, e.g. 2.0.0",
        ),
        (
            vec!["upgrade", "ark", "--name", ""],
            "match ^[A-Za-z0-9._+-]+$, e.g. 2.0.0",
        ),
        (
            with(&canary, &["--name", "next", "--interval", "1e-10"]),
            "--interval 0.0000000001: give",
        ),
        (
            vec!["rollback", "--health-pause", "1e-10"],
            "--health-pause 0.0000000001: give",
        ),
    ];
    assert_wrong(&dir, wrong);
}
