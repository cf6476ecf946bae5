//! The validation of the stable version: the objectives that it reads, and one that is missed.

use ark_tests::TestDir;
use serde_json::Value;

use crate::production::altering::start_splitting;
use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};
use crate::production::validate::damaged::start_with_missed_objective;

use super::commands::{command, errors_of, journal_path, options, promote_new, report_of};

#[test]
fn the_validation_of_a_rollback_reads_the_objectives_and_says_which_one_is_missed() {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let start = std::fs::read_to_string(stage.dir.path().join("start.sh")).expect("a file");
    let mut words = start
        .split(' ')
        .skip_while(|word| *word != "--telemetry-listen");
    let telemetry = words.nth(1).expect("an address");
    promote_new(&stage);
    // By the configuration, where that shows objectives before the exchange.
    let begin = |listen: &str, more: &[&str]| {
        let more = [&options[..], &["--category", "beyond"], more].concat();
        let mut command = command(&stage, &more);
        command
            .env("ARK_LISTEN", &stage.owner)
            .env("ARK_TELEMETRY_LISTEN", listen);
        command.output().expect("ark starts")
    };
    for (listen, is_read) in [(telemetry, true), ("127.0.0.1:9", false)] {
        let lines = report_of(&begin(listen, &["--dry-run"]));
        let expected = format!("with the objectives at http://{listen}");
        assert_eq!(lines.to_string().contains(&expected), is_read, "{lines:#}");
    }
    let find_objectives = |report: &Value| {
        let cases = report["validation"]["cases"].as_array().expect("cases");
        let mut cases = cases.iter();
        let case = cases.find(|case| case["name"] == "objectives");
        case.expect("the test").clone()
    };
    let report = report_of(&begin(telemetry, &[]));
    assert_eq!(report["passed"], true, "{report:#}");
    let case = find_objectives(&report);
    let detail = case["detail"].as_str().expect("text");
    assert!(detail.contains("windows"), "{case}");
    assert_eq!(stage.serving(), "stable");
    // An objective that is missed: the stable version serves, and the report and the exit status say that it does not pass.
    promote_new(&stage);
    let (_dir, missing) = start_with_missed_objective();
    let missed = missing.telemetry.as_deref().expect("telemetry is on");
    // The telemetry of another host is refused by a dry run, and by the run before it changes anything.
    let foreign = format!("http://{missed}");
    let journal = || std::fs::read(journal_path(&stage)).expect("a file");
    let (before, steps) = (journal(), stage.steps().len());
    for dry_run in [&["--dry-run"][..], &[]] {
        let more = [&["--telemetry", foreign.as_str()][..], dry_run].concat();
        let output = begin(telemetry, &more);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let told = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(
            told.contains(&format!("--telemetry {foreign}")) && told.contains("--telemetry off"),
            "{told}"
        );
    }
    assert_eq!(stage.serving(), "new");
    stage.assert_weights(0, 256);
    assert!(journal() == before && stage.steps().len() == steps);
    // Its own, with objectives as of a host that misses one.
    let missed = format!("http://{}", start_splitting(telemetry, "/slos", missed));
    let output = begin(telemetry, &["--telemetry", &missed]);
    let report = report_of(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["passed"], false, "{report:#}");
    let case = find_objectives(&report);
    assert_eq!(case["status"], "failed", "{case}");
    let step = &report["steps"][6];
    let detail = step["detail"].as_str().expect("text");
    assert!(
        step["step"] == "validation"
            && step["passed"] == false
            && detail.starts_with("FAILED: beyond/objectives: ethics_drift is missed over 5m"),
        "{step}"
    );
    assert_eq!(stage.serving(), "stable");
    stage.assert_chain();
}

#[test]
fn a_telemetry_of_another_host_is_found_before_the_requests_go_back_where_no_host_ran_at_the_beginning()
 {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let other_dir = TestDir::new("");
    let other = other_dir.start();
    let foreign = other.telemetry.as_deref().expect("telemetry is on");
    let foreign = format!("http://{foreign}");
    promote_new(&stage);
    sh(&script(&stage.dir, "stop"));
    let more = [&options[..], &["--telemetry", &foreign]].concat();
    let dry_run = [&more[..], &["--dry-run"]].concat();
    let output = command(&stage, &dry_run).output().expect("ark starts");
    let lines = report_of(&output).to_string();
    assert!(lines.contains("note: warning: "), "{lines}");
    let told = errors_of(&command(&stage, &more).output().expect("ark starts"));
    for part in [
        // What could not be told at the beginning.
        "no host runs on the data directory",
        "the step health failed",
        format!("is not the one of --telemetry {foreign}").as_str(),
        "--telemetry off",
    ] {
        assert!(told.contains(part), "{part}: {told}");
    }
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    stage.assert_weights(0, 256);
    // It goes on with the option that corrects it, and not without.
    let told = errors_of(&command(&stage, &[]).output().expect("ark starts"));
    assert!(told.contains(&format!("--telemetry {foreign}")), "{told}");
    stage.assert_weights(0, 256);
    let corrected = command(&stage, &["--telemetry", "off"]).output();
    let report = report_of(&corrected.expect("ark starts"));
    assert_eq!(report["passed"], true, "{report:#}");
    stage.assert_weights(256, 0);
    stage.assert_chain();
}
