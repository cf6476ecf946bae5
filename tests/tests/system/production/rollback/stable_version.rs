//! The stable version gets everything back: after a canary too, and not before it is the one that serves and is healthy.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_tests::{run_ark, wait_until};
use serde_json::{Value, json};

use crate::production::canary::stage::{CanaryFixture, EndLoad, wait_report};

use super::commands::{STEPS, command, errors_of, options, promote_new, report_of, run, steps_of};

#[test]
fn the_stable_version_gets_everything_back_and_no_decision_is_lost() {
    let stage = CanaryFixture::start("", "");
    promote_new(&stage);
    let options = options(&stage);
    let dry = run(&stage, &options, &["--dry-run"]);
    let lines = report_of(&dry);
    assert_eq!(lines.as_array().map(Vec::len), Some(7), "{lines:#}");
    assert!(
        lines[2].to_string().contains("the database stays"),
        "{lines:#}"
    );
    assert_eq!(stage.serving(), "new");
    let (report, decided) = stage.under_load(|| report_of(&run(&stage, &options, &[])));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    assert_eq!(steps_of(&report), STEPS, "{report:#}");
    assert!(report["set_aside"].is_null(), "{report:#}");
    assert_eq!(report["validation"]["passed"], true, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    stage.assert_weights(256, 0);
    let recorded = stage.recorded();
    assert!(decided.is_subset(&recorded), "none is lost");
    stage.assert_chain();
    let told: Vec<Value> = stage.steps().into_iter().rev().collect();
    let names: Vec<&str> = told
        .iter()
        .map(|step| step["step"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, [&STEPS[..], &["rolled-back"]].concat());
    assert!(
        told.iter()
            .all(|step| step["kind"] == "rollback" && step["version"] == "1.0.0")
    );
    // The backup is a snapshot.
    let backup = report["steps"][1]["detail"].as_str().expect("a path");
    let checked = run_ark(&["state", "check", "--snapshot", backup]);
    assert!(checked.status.success(), "{checked:?}");
    let history = report_of(
        &command(&stage, &[])
            .args(["history"])
            .output()
            .expect("ark starts"),
    );
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history:#}");
    assert_eq!(history[0]["id"], report["id"], "{history:#}");
    assert_eq!(history[0]["result"], "the stable version serves");
    // Nothing is left to go on with.
    let refused = errors_of(&command(&stage, &[]).output().expect("ark starts"));
    assert!(refused.contains("no rollback of"), "{refused}");
}

/// The greatest share of the requests that the canary's front has had by the weights until `has_ended`.
fn greatest_share(stage: &CanaryFixture, has_ended: &AtomicBool) -> f64 {
    let mut greatest: f64 = 0.0;
    while !has_ended.load(Ordering::Relaxed) {
        let weights = stage.haproxy.weights();
        let sum: u32 = weights.values().sum();
        greatest = greatest.max(f64::from(weights["canary"]) / f64::from(sum.max(1)));
        std::thread::sleep(Duration::from_millis(20));
    }
    greatest
}

#[test]
fn a_canary_that_runs_is_undone_first_and_a_stable_version_that_fails_is_said() {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let ((), decided) = stage.under_load(|| {
        let mut canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || {
            let ended = canary.try_wait().expect("a state");
            assert!(ended.is_none(), "the canary has ended: {ended:?}");
            stage.run_verb("status")["host"]["share_pct"] == 10
                && stage.haproxy.weight("canary") > 0
        });
        let has_ended = AtomicBool::new(false);
        let (report, most) = std::thread::scope(|scope| {
            let most = scope.spawn(|| greatest_share(&stage, &has_ended));
            let end = EndLoad(&has_ended);
            let report = report_of(&run(&stage, &options, &[]));
            drop(end);
            (report, most.join().expect("a share"))
        });
        assert_eq!(report["passed"], true, "{report:#}");
        // What it had is taken back, and none of the steps by which the requests return gives it more.
        assert!(
            most < 0.11,
            "the canary had {most} of the requests: {report:#}"
        );
        let undone = report["steps"][0]["detail"].as_str().expect("a text");
        assert!(undone.ends_with("was undone"), "{undone}");
        let ended = wait_report(canary);
        assert_eq!(ended["tripwire"], "aborted", "{ended:#}");
        // Those of HAProxy's configuration, which the undone canary has given back.
        stage.assert_weights(100, 0);
        // Not healthy: it starts late, and then the same command goes on.
        let start = stage.dir.path().join("start.sh");
        let text = std::fs::read_to_string(&start).expect("a file");
        std::fs::write(&start, "exit 0\n").expect("a file");
        let mut few = options.clone();
        let tries = few.iter().position(|one| one == "400").expect("tries");
        few[tries] = "2".to_owned();
        let failed = errors_of(&run(&stage, &few, &[]));
        assert!(failed.contains("not healthy after 2 checks"), "{failed}");
        // One that starts the newer version is not the way back.
        std::fs::copy(stage.dir.path().join("start-new.sh"), &start).expect("a copy");
        // Each run stops the host and starts it again, and waits longer than the one before: some start is not stopped again before it is over.
        let mut tries = 2_u32;
        let mut go_on = || {
            tries = (tries * 2).min(400);
            let options = ["--health-tries", &tries.to_string()];
            command(&stage, &options).output().expect("ark starts")
        };
        wait_until("the newer version serves", || {
            let failed = errors_of(&go_on());
            failed.contains("the host that serves is not 1.0.0") && failed.contains("ark-next")
        });
        std::fs::write(&start, text).expect("a file");
        // Without a pause in which the host may take its time, another try may be needed.
        wait_until("the rollback ends", || {
            let output = go_on();
            output.status.success() && report_of(&output)["failures"] != json!([])
        });
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}
