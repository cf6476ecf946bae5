//! A rollback that is killed at any step goes on to the same end.

use std::process::Child;

use ark_tests::wait_until;
use serde_json::json;

use crate::production::canary::stage::{CanaryFixture, is_ready, sh};

use super::commands::{STEPS, command, journal_path, options, promote_new, report_of, steps_of};

#[test]
fn a_rollback_that_is_killed_at_any_step_goes_on_to_the_same_end() {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let texts: Vec<String> = options.clone();
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Commands that can be killed meanwhile.
    for (file, before) in [("stop.sh", "kill $p"), ("start.sh", "if [ -e ")] {
        let path = stage.dir.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        let slow = text.replacen(before, &format!("\nsleep 1; {before}"), 1);
        assert_ne!(slow, text);
        std::fs::write(&path, slow).expect("a file");
    }
    let ((), decided) = stage.under_slow_load(|| {
        for step in STEPS {
            for kills_host in [false, true] {
                // Until the stable version runs, a kill of the host is only that of the newer one.
                if kills_host && !["backup", "start", "traffic"].contains(&step) {
                    continue;
                }
                promote_new(&stage);
                let mut rollback = command(&stage, &options).spawn().expect("ark starts");
                wait_step(&stage, &mut rollback, step);
                rollback.kill().expect("SIGKILL");
                rollback.wait().expect("its end");
                if kills_host {
                    sh(&stage.kill_commands());
                }
                let report = report_of(&command(&stage, &[]).output().expect("ark starts"));
                assert_eq!(report["passed"], true, "{step}: {report:#}");
                assert_eq!(steps_of(&report), STEPS, "{step}: {report:#}");
                assert_eq!(report["unrecorded"], json!([]), "{step}: {report:#}");
                assert!(is_ready(&stage.owner), "{step}");
                assert_eq!(stage.serving(), "stable", "{step}");
                stage.assert_weights(256, 0);
            }
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

/// Waits until a rollback that runs has announced a step.
fn wait_step(stage: &CanaryFixture, rollback: &mut Child, step: &str) {
    wait_until("the rollback has come so far", || {
        assert!(
            rollback.try_wait().expect("a state").is_none(),
            "{step}: it has ended"
        );
        let text = std::fs::read_to_string(journal_path(stage)).unwrap_or_default();
        let last = text.rfind("{\"started\"").map_or("", |at| &text[at..]);
        last.contains(&format!("{{\"step\":\"{step}\"}}")) && !last.contains("\"finished\"")
    });
}
