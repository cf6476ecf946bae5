//! The newer version is killed before a rollback has stopped it, the stable one after that.

use std::process::Output;

use super::{Manager, assert_each_once, kill_in_drain, kill_when_ready, run_over_kill};
use crate::production::canary::stage::{CanaryFixture, is_ready, wait_report};
use crate::production::rollback::{
    STEPS, command, errors_of, journal_path, options, promote_new, report_of, steps_of,
};
use ark_tests::wait_until;
use serde_json::Value;

/// A step at whose entry the host is killed, and what the command ends with.
type RollbackKill = (&'static str, Manager, RollbackEnd);

/// What a command ends with over whose rollback the host was killed.
#[derive(Clone, Copy)]
enum RollbackEnd {
    /// The end of a rollback.
    Done,
    /// An error with this text, after which `ark rollback` comes to that end.
    Fails(&'static str),
    /// One of both: the step at whose entry the host was killed may have been over by then, and the entry of the next one not yet written.
    MayFail(&'static str),
}

/// The error of a rollback whose stable version was killed once it had requests.
const TRAFFIC_FAILED: &str = "the step traffic failed: stable failed with 50 % of the requests, and the weights of before are set again: the host: ";

/// What a rollback says whose step failed.
const REMEDY: &str = "; `ark rollback` goes on once that is mended";

/// The options of a rollback whose requests come back in two short steps.
fn short_options(stage: &CanaryFixture) -> Vec<String> {
    let mut options = options(stage);
    for (option, value) in [("--step", "0.4"), ("--interval", "0.1")] {
        let at = options.iter().position(|one| one == option);
        value.clone_into(&mut options[at.expect("an option") + 1]);
    }
    options.extend(["--shares", "50,100"].map(str::to_owned));
    options
}

fn roll_back_over_kills(rows: &[RollbackKill]) {
    let stage = CanaryFixture::start("", "");
    let texts = short_options(&stage);
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ((), decided) = stage.under_slow_load(|| {
        for (step, manager, end) in rows {
            let entry = format!("{{\"step\":\"{step}\"}}");
            let output = run_over_kill(
                &stage,
                *manager,
                (&journal_path(&stage), &entry),
                &|| promote_new(&stage),
                &|| command(&stage, &options),
            );
            assert_ends(&stage, output, *end, 256);
        }
    });
    assert_each_once(&stage, &decided);
}

/// Checks the end of a rollback, if it must be that of another run, at which the stable server has all of the requests by this weight.
fn assert_ends(
    stage: &CanaryFixture,
    output: Output,
    end: RollbackEnd,
    stable_weight: u32,
) -> Value {
    let failed = match end {
        RollbackEnd::Done => None,
        RollbackEnd::Fails(text) => Some(text),
        RollbackEnd::MayFail(text) => (!output.status.success()).then_some(text),
    };
    let output = match failed {
        None => output,
        Some(text) => {
            let errors = errors_of(&output);
            println!("{errors}");
            assert!(errors.contains(text) && errors.contains(REMEDY), "{errors}");
            command(stage, &[]).output().expect("ark starts")
        }
    };
    let report = report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(steps_of(&report), STEPS, "{report:#}");
    assert_eq!(report["unrecorded"], serde_json::json!([]), "{report:#}");
    assert!(is_ready(&stage.owner), "{report:#}");
    assert_eq!(stage.serving(), "stable", "{report:#}");
    stage.assert_weights(stable_weight, 0);
    report
}

#[test]
fn a_newer_version_that_is_killed_before_it_is_stopped_is_rolled_back() {
    roll_back_over_kills(&[
        ("backup", Manager::None, RollbackEnd::Done),
        ("backup", Manager::Restarts("start-new"), RollbackEnd::Done),
        ("database", Manager::None, RollbackEnd::Done),
    ]);
}

#[test]
fn a_newer_version_that_is_killed_while_its_canary_is_undone_is_rolled_back() {
    let stage = CanaryFixture::start("", "");
    let texts = short_options(&stage);
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ((), decided) = stage.under_slow_load(|| {
        // Frozen while it waits for the canary's command, which is frozen, too.
        let canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || {
            stage.run_verb("status")["host"]["share_pct"] == 10
        });
        let pid = rustix::process::Pid::from_child(&canary);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).expect("SIGSTOP");
        let output = std::thread::scope(|scope| {
            let running = scope.spawn(|| {
                run_over_kill(
                    &stage,
                    Manager::None,
                    (&journal_path(&stage), "{\"step\":\"canary\"}"),
                    &|| {},
                    &|| command(&stage, &options),
                )
            });
            wait_until("the host is killed", || !is_ready(&stage.owner));
            rustix::process::kill_process(pid, rustix::process::Signal::CONT).expect("SIGCONT");
            running.join().expect("no panic")
        });
        // An undone canary gives back the weight that its server had before it.
        let report = assert_ends(&stage, output, RollbackEnd::Done, 100);
        let undone = report["steps"][0]["detail"].as_str().expect("a text");
        assert!(undone.ends_with("was undone"), "{undone}");
        assert_eq!(wait_report(canary)["tripwire"], "aborted");
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn a_newer_version_that_is_killed_in_its_drain_and_a_stable_one_at_its_start_come_to_the_same_end()
{
    let stage = CanaryFixture::start("", "");
    let texts = short_options(&stage);
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ((), decided) = stage.under_slow_load(|| {
        promote_new(&stage);
        kill_in_drain(&stage);
        kill_when_ready(&stage, "start");
        let output = command(&stage, &options).output().expect("ark starts");
        let report = assert_ends(&stage, output, RollbackEnd::Done, 256);
        let health = report["steps"][4]["detail"].as_str().expect("a text");
        assert!(
            health.ends_with("it had ended, and was started again"),
            "{health}"
        );
    });
    assert_each_once(&stage, &decided);
}

#[test]
fn a_stable_version_that_is_killed_while_its_health_is_checked_is_started_again() {
    roll_back_over_kills(&[
        (
            "health",
            Manager::None,
            RollbackEnd::MayFail(TRAFFIC_FAILED),
        ),
        ("health", Manager::Restarts("start"), RollbackEnd::Done),
    ]);
}

#[test]
fn a_stable_version_that_is_killed_while_it_gets_the_requests_gives_them_back() {
    roll_back_over_kills(&[
        ("traffic", Manager::None, RollbackEnd::Fails(TRAFFIC_FAILED)),
        ("traffic", Manager::Restarts("start"), RollbackEnd::Done),
    ]);
}

#[test]
fn a_stable_version_that_is_killed_while_it_is_validated_is_started_by_the_next_run() {
    roll_back_over_kills(&[
        (
            "validation",
            Manager::None,
            RollbackEnd::Fails("the step validation failed: "),
        ),
        ("validation", Manager::Restarts("start"), RollbackEnd::Done),
    ]);
}
