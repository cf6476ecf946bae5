//! What keeps an upgrade from beginning, told as JSON.

use crate::production::canary::stage::{CanaryFixture, script, sh};

use super::commands::{CONFIG, command, journal_text, report_of, upgrade};

#[test]
fn an_upgrade_of_a_host_that_does_not_answer_says_so() {
    let stage = CanaryFixture::start(CONFIG, "");
    sh(&script(&stage.dir, "stop"));
    for more in [&[][..], &["--dry-run"]] {
        let output = upgrade(&stage, more).output().expect("ark starts");
        let report = report_of(&output);
        let error = report["error"].as_str().expect("an error");
        assert!(
            error.contains("no host answers at") && error.contains("start the version"),
            "{error}"
        );
        assert_eq!(output.status.code(), Some(1), "{output:?}");
    }
    assert_eq!(journal_text(&stage), "");
}

#[test]
fn a_command_line_that_is_refused_is_told_as_json_too() {
    let stage = CanaryFixture::start(CONFIG, "");
    let output = command(&stage, &["--back", "--timeout", "7"])
        .output()
        .expect("ark starts");
    let report = report_of(&output);
    let error = report["error"].as_str().expect("an error");
    assert!(error.contains("no upgrade is under way"), "{error}");
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}
