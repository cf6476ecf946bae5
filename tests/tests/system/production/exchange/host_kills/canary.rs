//! The old host is killed while the new version's front gets its share and in the take-over, the new one after its start, and the stable one on the
//! way back.

use std::process::Command;

use ark_tests::{ark_program, wait_until};
use serde_json::{Value, json};

use super::{
    Manager, assert_each_once, assert_pause, kill_at_end, kill_in_drain, kill_when_ready, path,
    run_over_kill,
};
use crate::production::canary::stage::{CanaryFixture, is_ready, wait_report};
use crate::production::upgrade::{back_to_stable, change};

/// How a canary ends over a kill of the host.
#[derive(Debug, Clone, Copy)]
enum CanaryEnd {
    /// The new version has the requests and the data.
    Promoted,
    /// The stable version has them, for this tripwire and a reason with this text.
    Back(&'static str, &'static str),
}

fn assert_end(stage: &CanaryFixture, report: &Value, end: CanaryEnd) {
    println!("{} {}", report["promoted"], report["reason"]);
    let serving = match end {
        CanaryEnd::Promoted => {
            assert_eq!(report["promoted"], true, "{report:#}");
            stage.assert_weights(0, 256);
            "new"
        }
        CanaryEnd::Back(tripwire, reason) => {
            assert_eq!(report["promoted"], false, "{report:#}");
            assert_eq!(report["tripwire"], tripwire, "{report:#}");
            let said = report["reason"].as_str().expect("a reason");
            assert!(said.contains(reason), "{reason}: {report:#}");
            stage.assert_weights(100, 0);
            "stable"
        }
    };
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    assert!(is_ready(&stage.owner), "{report:#}");
    assert_eq!(stage.serving(), serving, "{report:#}");
}

/// The stable version serves, and its front has all requests.
fn begin_anew(stage: &CanaryFixture) {
    if stage.serving() != "stable" {
        stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
        back_to_stable(stage);
    }
}

/// An entry of the journal at which the host is killed, and how the canary ends.
type CanaryKill = (&'static str, Manager, CanaryEnd);

fn run_over_kills(more: &[&str], rows: &[CanaryKill]) {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let options = [&options, more].concat();
    let ((), decided) = stage.under_load(|| {
        for (entry, manager, end) in rows {
            let output = run_over_kill(
                &stage,
                *manager,
                (&stage.journal(), entry),
                &|| begin_anew(&stage),
                &|| stage.start_command(&options),
            );
            let report = serde_json::from_slice(&output.stdout);
            let report = report.unwrap_or_else(|error| panic!("{entry}: {error}: {output:?}"));
            assert_end(&stage, &report, *end);
            if entry.contains("\"snapshot\"") || entry.contains("\"replay\"") {
                assert_pause(&report["take_over"], *manager);
            }
        }
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn an_old_host_that_is_killed_while_the_new_front_has_a_share_is_started_again() {
    let ended = "; the host that served has ended meanwhile, and is started again";
    let share = "{\"share\":50}";
    run_over_kills(
        // Long before the deadline.
        &["--shares", "50,100", "--step", "1", "--deadline", "3600"],
        &[(share, Manager::None, CanaryEnd::Back("host-down", ended))],
    );
}

#[test]
fn an_old_host_that_a_process_manager_starts_again_keeps_the_canary() {
    let share = "{\"share\":50}";
    run_over_kills(
        &["--shares", "50,100", "--step", "1"],
        &[(share, Manager::Restarts("start"), CanaryEnd::Promoted)],
    );
}

#[test]
fn an_old_host_that_is_killed_in_the_take_over_is_taken_over_all_the_same() {
    run_over_kills(
        &["--shares", "100", "--step", "1"],
        &[
            (
                "{\"taking_over\":\"snapshot\"}",
                Manager::None,
                CanaryEnd::Promoted,
            ),
            (
                "{\"taking_over\":\"replay\"}",
                Manager::None,
                CanaryEnd::Promoted,
            ),
            (
                "{\"taking_over\":\"stop\"}",
                Manager::None,
                CanaryEnd::Promoted,
            ),
        ],
    );
}

#[test]
fn an_old_host_that_is_killed_in_its_drain_and_a_new_one_at_its_start_go_back() {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100", "--step", "1"]);
    let ((), decided) = stage.under_load(|| {
        kill_in_drain(&stage);
        kill_when_ready(&stage, "start-new");
        let ended = "the host has ended: no process holds ";
        let end = CanaryEnd::Back("take-over", ended);
        assert_end(&stage, &stage.run_canary(&options), end);
        // On the way back the stable one is killed, too.
        kill_when_ready(&stage, "start");
        std::fs::write(path(&stage, "start-new.sh"), "exit 7\n").expect("a script");
        let output = stage.start_command(&options).output().expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{errors}");
        assert!(
            !output.status.success() && errors.contains(ended),
            "{errors}"
        );
        assert!(
            errors.contains("; `ark canary abort` tries again"),
            "{errors}"
        );
        let end = CanaryEnd::Back("take-over", "fails (exit status: 7)");
        assert_end(&stage, &stage.run_verb("abort"), end);
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn a_new_version_that_has_migrated_and_judged_is_started_again_by_resume() {
    let stage = CanaryFixture::start("", "");
    let later = "\nexport TEST_ARK_LATER_SCHEMA=1\n";
    change(&stage, "new-ark", "\n", later);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100", "--step", "1"]);
    let go = path(&stage, "go");
    let wait = format!("until [ -e {} ]; do sleep 0.02; done", go.display());
    kill_at_end(&stage, "start-new", &wait);
    let ((), decided) = stage.under_load(|| {
        let canary = stage.start_command(&options).spawn().expect("ark starts");
        wait_until("the new version serves", || {
            stage.serving() == "new" && is_ready(&stage.owner)
        });
        let before = stage.recorded().len();
        wait_until("it has judged", || stage.recorded().len() > before);
        std::fs::write(&go, "").expect("a file");
        let output = canary.wait_with_output().expect("its end");
        let errors = String::from_utf8_lossy(&output.stderr);
        println!("{errors}");
        assert!(
            !output.status.success()
                && errors.contains("has migrated the database and decided")
                && errors.contains("`ark canary resume` finishes the take-over"),
            "{errors}"
        );
        assert!(!is_ready(&stage.owner));
        assert_end(&stage, &stage.run_verb("resume"), CanaryEnd::Promoted);
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    let verified = Command::new(ark_program())
        .args(["audit", "verify", "--data-dir"])
        .arg(stage.dir.data())
        .env("TEST_ARK_LATER_SCHEMA", "1")
        .output()
        .expect("ark starts");
    assert!(verified.status.success(), "{verified:?}");
}

#[test]
fn a_new_front_that_is_killed_while_it_has_a_share_gives_it_back() {
    let mut stage = CanaryFixture::start("", "");
    let front = stage.canary.take().expect("a front");
    // What was in the front is answered by the other one.
    let (report, decided) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        front.send_kill();
        wait_report(canary)
    });
    assert_end(&stage, &report, CanaryEnd::Back("down", ""));
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}
