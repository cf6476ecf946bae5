//! The version that serves when an upgrade has ended: the new one on the same data, and under its name no other.

use ark_tests::wait_until;
use serde_json::{Value, json};

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

use super::commands::{CONFIG, back_to_stable, command, errors_of, run, upgrade, wait_phase};

#[test]
fn a_good_version_serves_on_the_same_data_and_no_request_fails() {
    let stage = CanaryFixture::start(CONFIG, "");
    let lines = run(upgrade(&stage, &["--dry-run"]));
    assert_eq!(lines.as_array().map(Vec::len), Some(7), "{lines:#}");
    let (report, decided) = stage.under_load(|| {
        wait_until("there are decisions", || stage.recorded().len() > 50);
        run(upgrade(&stage, &[]))
    });
    assert_eq!(report["upgraded"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    assert!(report["replayed"].as_u64() > Some(50), "{report:#}");
    assert!(report["pause_ms"].as_u64() > Some(0), "{report:#}");
    assert_eq!(report["validation"]["passed"], true, "{report:#}");
    println!(
        "{} ms without a host, {} decisions",
        report["pause_ms"],
        decided.len()
    );
    assert_eq!(stage.serving(), "new");
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
    let steps: Vec<Value> = stage.steps().into_iter().rev().collect();
    let names: Vec<&str> = steps
        .iter()
        .map(|step| step["step"].as_str().expect("a name"))
        .collect();
    assert_eq!(
        names,
        ["check", "replay", "start", "validation", "upgraded"]
    );
    assert!(steps.iter().all(|step| step["kind"] == "upgrade"));
    let refused = command(&stage, &[]).output().expect("ark starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert!(errors.contains("no upgrade of"), "{errors}");
}

#[test]
fn no_upgrade_ends_with_another_version_than_the_new_one() {
    let stage = CanaryFixture::start(CONFIG, "");
    // Commands that leave the old version in its place: a unit that starts another path, for instance.
    let at = |name: &str| stage.dir.path().join(name);
    let [start, start_new] = ["start.sh", "start-new.sh"].map(|name| {
        let text = std::fs::read_to_string(at(name)).expect("a file");
        (name, text)
    });
    std::fs::write(at(start_new.0), &start.1).expect("a file");
    let report = run(upgrade(&stage, &[]));
    assert_eq!(report["upgraded"], false, "{report:#}");
    let reason = report["reason"].as_str().expect("a reason");
    let old = "/ark (sha256 ";
    assert!(
        reason.contains("the host that serves is not 2.0.0") && reason.contains(old),
        "{reason}"
    );
    assert_eq!(report["rollback"]["passed"], true, "{report:#}");
    // One that gives its host no place for the log.
    let (command_line, rest) = start_new.1.split_once(" >>").expect("a redirection");
    let (_, rest) = rest.split_once(" 2>&1").expect("a redirection");
    std::fs::write(at(start_new.0), format!("{command_line}{rest}")).expect("a file");
    // Nobody stays with what does not serve.
    let mut killed = upgrade(&stage, &["--category", "watchdog"])
        .spawn()
        .expect("ark starts");
    wait_phase(&stage, &mut killed, "validation");
    wait_until("the step says where the log is", || {
        let told = "its log goes to a file that is deleted";
        let is_told = |step: &Value| step["reason"].as_str().is_some_and(|it| it.contains(told));
        let steps = stage.steps();
        steps
            .iter()
            .any(|step| step["step"] == "start" && is_told(step))
    });
    std::fs::write(at(start_new.0), &start_new.1).expect("a file");
    killed.kill().expect("SIGKILL");
    killed.wait().expect("its end");
    back_to_stable(&stage);
    let refused = errors_of(command(&stage, &["--keep"]));
    assert!(
        refused.contains("the host that serves is not 2.0.0") && refused.contains(old),
        "{refused}"
    );
    sh(&script(&stage.dir, "stop"));
    sh(&script(&stage.dir, "start-new"));
    wait_until("the host is ready", || is_ready(&stage.owner));
    let kept = run(command(&stage, &["--keep"]));
    let reason = kept["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("; 2.0.0 (") && reason.ends_with(" serves"),
        "{reason}"
    );
    // The way back of the next one would be a version that does not serve.
    let refused = errors_of(upgrade(&stage, &["--dry-run"]));
    assert!(
        refused.contains("is not the one that a failed upgrade would go back to")
            && refused.contains("--stable-binary"),
        "{refused}"
    );
    let new = at("new-ark").display().to_string();
    run(upgrade(&stage, &["--dry-run", "--stable-binary", &new]));
}
