//! What a canary is compared with, and what it counts: the requests of the fronts alone, every quarantine since it began, and the decisions of the time
//! that its step takes now.

use std::collections::BTreeSet;
use std::process::Command;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ark_tests::requests::quarantine_and_restore;
use ark_tests::{Client, Host, ark_program, copy_agent, guests_dir, trade, wait_until};

use super::stage::{CanaryFixture, EndLoad, wait_report};
use super::tripwires::assert_goes_back;

/// The violations of a load of which some is denied raise no alert.
const CONFIG: &str = "[watchdog]\nviolations_per_minute = 100000\n";
/// The time before, and a bound that chance does not pass in a few checks.
const COMPARED: [&str; 4] = ["--baseline", "60", "--sigmas", "4"];

#[test]
fn what_agents_decide_beside_the_requests_neither_accuses_nor_excuses_a_version() {
    let stage = CanaryFixture::start(CONFIG, "");
    // Without a request of the fronts there is nothing to compare with, whatever else was decided.
    let decide = |count: usize| {
        let mut client = Client::at(&stage.owner);
        for number in 0..count {
            let (status, answer) =
                client.post("/v1/actions", &trade(&format!("A{number}"), 0.000_1));
            assert_eq!(status, 200, "{answer}");
        }
    };
    decide(50);
    // A selection that Prometheus cannot read is named with what it says.
    for (more, expected) in [
        (&[][..], &["--baseline-report"][..]),
        (
            &["--stable-series", "job=typo"],
            &["--stable-series job=typo", "parse error"],
        ),
        (
            &[
                "--canary-series",
                "job=typo",
                "--baseline-report",
                "baseline.json",
            ],
            &["--canary-series job=typo", "parse error"],
        ),
    ] {
        let mut command = stage.start_command(&[&COMPARED[..], more].concat());
        let output = command.current_dir(stage.dir.path()).output();
        let output = output.expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for part in expected {
            assert!(errors.contains(part), "{part}: {errors}");
        }
        assert_eq!(stage.journal_text(), "", "{errors}");
        stage.assert_weights(100, 0);
    }
    stage.under_denied_load(30, || {
        // What agents decide passes no front: 10 times as much as the requests, all of it approved.
        wait_until("the fronts have judged some", || {
            decide(100);
            stage.judged_by_stable() > 300.0
        });
        let report = stage.run_canary(&COMPARED);
        assert_eq!(report["promoted"], true, "{report:#}");
        let started = stage
            .steps()
            .into_iter()
            .find(|step| step["step"] == "started");
        let baseline = started.expect("a step")["figures"]["baseline"].clone();
        let count = |name: &str| baseline[name].as_f64().expect("a count");
        let share = count("denied") / count("decisions");
        assert!((0.2..0.4).contains(&share), "{baseline}");
        stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
        stage.wait_counted();
        stage.set_fault("denies");
        let may_differ = ["--max-different", "1000000"];
        let more = [&COMPARED[..], &may_differ[..]].concat();
        assert_goes_back(&stage, &more, "denials", || {});
        stage.set_fault("");
    });
}

#[test]
fn a_quarantine_that_is_lifted_between_two_checks_counts_and_that_of_a_validation_does_not() {
    let stage =
        CanaryFixture::start_with_agents("", |agents| copy_agent(&guests_dir(), "kyle", agents));
    let mut client = Client::at(&stage.owner);
    let mut lift_quarantine = || quarantine_and_restore(&mut client, "kyle");
    // One of before it began does not count.
    lift_quarantine();
    stage.under_load(|| {
        assert_goes_back(&stage, &[], "quarantine", &mut lift_quarantine);
        let reason = stage.steps()[0]["reason"].to_string();
        assert!(reason.contains("in quarantine: kyle"), "{reason}");
        // `ark validate` puts its probe into quarantine, and an operator may leave out other agents.
        let left_out = "validation-probe,kyle";
        let more = [
            "--shares",
            "100",
            "--step",
            "600",
            "--ignore-quarantine",
            left_out,
        ];
        let canary = stage.spawn_canary(&more);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        lift_quarantine();
        let validated = Command::new(ark_program())
            .args(["validate", "--category", "isolation", "--url"])
            .arg(format!("http://{}", stage.owner))
            .arg("--journal")
            .arg(stage.dir.path().join("validate.journal"))
            .output()
            .expect("ark starts");
        assert!(validated.status.success(), "{validated:?}");
        let (_, alerts) = Client::at(&stage.owner).get("/v1/watchdog/alerts?kind=quarantined");
        assert!(alerts.to_string().contains("validation-probe"), "{alerts}");
        let seen = stage.checks().len();
        wait_until("two checks have followed", || {
            stage.checks().len() > seen + 1
        });
        let (taken, errors) = stage.ask("promote");
        assert!(taken, "{errors}");
        let report = wait_report(canary);
        assert_eq!(report["promoted"], true, "{report:#}");
    });
}

/// How many decisions a front has judged, by its own count.
fn judged_of(front: &Host) -> f64 {
    let metrics = Client::of_telemetry(front).get_text("/metrics");
    let lines = metrics.lines();
    let judged = lines.filter(|line| line.starts_with("ark_front_judged_total{"));
    let counts = judged.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok());
    counts.sum()
}

#[test]
fn what_was_judged_before_a_pause_is_no_sample_after_it() {
    let stage = CanaryFixture::start("", "");
    let front = stage.canary.as_ref().expect("a front");
    let is_last = |words: &[&str]| {
        let checks = stage.checks();
        let last = checks.last();
        last.is_some_and(|check| words.iter().all(|word| check.contains(word)))
    };
    let ask = |verb: &str| {
        let (taken, errors) = stage.ask(verb);
        assert!(taken, "{verb}: {errors}");
    };
    let share = || stage.run_verb("status")["host"]["share_pct"].clone();
    // Nothing but an operator's word leads on within an hour.
    let (canary, decided) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--shares", "10,100", "--step", "3600"]);
        wait_until("it is healthy", || is_last(&[" 10 % success "]));
        ask("pause");
        canary
    });
    wait_until("nothing waits to be judged again", || {
        let shown = Client::of_telemetry(front).get("/verdicts").1;
        shown["verdicts"]["waiting"] == 0
    });
    let judged = judged_of(front);
    assert!(judged >= 8.0, "{judged} decisions");
    wait_until("Prometheus has all that was judged", || {
        (stage.judged_by_canary() - judged).abs() < 0.5
    });
    // The first of these may have been under way.
    let before = stage.count_paused_checks();
    wait_until("a check has counted it", || {
        stage.count_paused_checks() > before + 1
    });
    // Requests without a decision: the front is neither silent nor slow, and judges nothing.
    let ends = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut client = Client::at(&stage.haproxy.address);
            while !ends.load(Ordering::Relaxed) {
                assert_eq!(client.get("/v1/account").0, 200);
                std::thread::sleep(Duration::from_millis(50));
            }
        });
        let ending = EndLoad(&ends);
        ask("resume");
        ask("promote");
        let lacks = [" 10 % inconclusive ", "0 decisions judged, 8 are needed"];
        wait_until("it has no samples", || is_last(&lacks));
        let before = stage.checks().len();
        wait_until("it is checked on", || stage.checks().len() > before + 1);
        assert!(is_last(&lacks), "{:#?}", stage.checks());
        assert_eq!(share(), 10);
        drop(ending);
    });
    let (report, more) = stage.under_load(|| {
        wait_until("it has the next share", || share() == 100);
        ask("promote");
        wait_report(canary)
    });
    assert_eq!(report["promoted"], true, "{report:#}");
    stage.assert_weights(0, 256);
    let decided: BTreeSet<String> = decided.union(&more).cloned().collect();
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
}
