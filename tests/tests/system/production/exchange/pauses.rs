//! What is said of the pause in which a new version migrates the database: before anything changes, before the stop, and in the report.

use serde_json::Value;

use crate::production::canary::stage::CanaryFixture;
use crate::production::upgrade;

/// Has the new version be of a later schema. Its trial of the migration takes at least so many seconds.
fn migrate_slowly(stage: &CanaryFixture, seconds: u32) {
    let later = format!(
        "\nexport TEST_ARK_LATER_SCHEMA=1\nif [ \"$1\" = state ]; then sleep {seconds}; fi\n"
    );
    upgrade::change(stage, "new-ark", "\n", &later);
}

/// What was said of the pause in the step that is recorded before the end.
fn find_told_pause(stage: &CanaryFixture) -> String {
    let steps = stage.steps();
    let step = steps.iter().find(|step| step["step"] == "expected-pause");
    let told = step.unwrap_or_else(|| panic!("{steps:#?}"))["reason"].as_str();
    told.expect("a reason").to_owned()
}

/// Whether the size of the copy is said before anything changes.
fn says_size(lines: &Value) -> bool {
    lines
        .to_string()
        .contains(" MiB of the database are copied while no host runs")
}

#[test]
fn an_upgrade_that_migrates_says_before_the_stop_how_long_no_host_will_be_there() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let lines = upgrade::run(upgrade::upgrade(&stage, &["--dry-run"]));
    assert!(!says_size(&lines), "nothing is migrated: {lines:#}");
    migrate_slowly(&stage, 2);
    let lines = upgrade::run(upgrade::upgrade(&stage, &["--dry-run"]));
    assert!(says_size(&lines), "{lines:#}");
    let output = upgrade::upgrade(&stage, &[]).output().expect("ark starts");
    let report = upgrade::report_of(&output);
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert!(report["pause_ms"].as_u64() > Some(0), "{report:#}");
    // The trial of the migration is a part of what is expected.
    let expected = report["expected_pause_ms"].as_u64();
    assert!(expected >= Some(2000), "{report:#}");
    let progress = String::from_utf8_lossy(&output.stderr);
    let place = |text: &str| {
        let place = progress.find(text);
        place.unwrap_or_else(|| panic!("{text}: {progress}"))
    };
    assert!(
        place("are copied while no host runs") < place("ark: snapshot")
            && place("ark: expected-pause about ") < place("ark: stop"),
        "{progress}"
    );
    let told = find_told_pause(&stage);
    assert!(
        told.starts_with("about ") && told.contains(" without a host: "),
        "{told}"
    );
}

#[test]
fn a_take_over_whose_fronts_park_requests_for_too_short_a_time_warns_before_the_stop() {
    let stage = CanaryFixture::start_holding("2000");
    migrate_slowly(&stage, 4);
    let texts = stage.take_over_options();
    let mut options: Vec<&str> = texts.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    // What is parked for longer than the fronts may is refused.
    let ((lines, report), _) = stage.under_failing_load(|| {
        let lines = upgrade::run(stage.start_command(&[&options[..], &["--dry-run"]].concat()));
        (lines, stage.run_canary(&options))
    });
    assert!(says_size(&lines), "{lines:#}");
    let is_told = |line: &Value| line == "note: fronts park requests for 2s";
    let told = lines.as_array().expect("lines").iter().any(is_told);
    assert!(told, "{lines:#}");
    assert_eq!(report["promoted"], true, "{report:#}");
    let expected = report["take_over"]["expected_pause_ms"].as_u64();
    assert!(expected >= Some(4000), "{report:#}");
    let told = find_told_pause(&stage);
    let warning = "; WARNING: fronts park requests for 2s, then refuse: give them --hold-for ";
    assert!(told.contains(warning), "{told}");
    let steps = stage.steps();
    let place = |name: &str| steps.iter().position(|step| step["step"] == name);
    assert!(place("expected-pause") > place("promoted"), "{steps:#?}");
}
