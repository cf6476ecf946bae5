//! The validation of the stable version: the objectives that it reads, and one that is missed.

use serde_json::Value;

use crate::production::altering::start_splitting;
use crate::production::canary::stage::CanaryFixture;
use crate::production::validate::damaged::start_with_missed_objective;

use super::commands::{command, options, promote_new, report_of};

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
    // The telemetry of another host is refused by a dry run.
    let foreign = format!("http://{missed}");
    let output = begin(telemetry, &["--telemetry", &foreign, "--dry-run"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let told = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        told.contains(&format!("--telemetry {foreign}")) && told.contains("--telemetry off"),
        "{told}"
    );
    assert_eq!(stage.serving(), "new");
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
