//! The command is killed; the canary goes on, or is undone.

use std::process::Child;

use ark_tests::{Client, wait_until};
use serde_json::{Value, json};

use super::stage::{CanaryFixture, is_ready, script, sh, wait_report};

#[test]
fn a_canary_whose_command_was_killed_at_a_share_goes_on_to_the_take_over() {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let (id, decided) = stage.under_load(|| {
        let mut canary = stage.spawn_canary(&options);
        let host = || stage.run_verb("status")["host"].clone();
        wait_until("it has a share", || host()["share_pct"] == 25);
        canary.kill().expect("SIGKILL");
        canary.wait().expect("its end");
        let id = host()["id"].as_str().expect("an id").to_owned();
        let report = stage.run_verb("resume");
        assert_eq!(report["promoted"], true, "{report:#}");
        assert!(
            report["take_over"]["pause_ms"].as_u64() > Some(0),
            "{report:#}"
        );
        id
    });
    stage.assert_weights(0, 256);
    assert_eq!(stage.serving(), "new");
    assert!(is_ready(&stage.owner));
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
    // It was one canary, whose shares grew: the one of the kill may have begun anew.
    let steps = stage.steps();
    assert!(steps.iter().all(|step| step["deployment"] == id.as_str()));
    assert_eq!(steps[0]["step"], "promoted", "{steps:#?}");
    let given = |step: &&Value| step["step"] == "share";
    let mut shares: Vec<Value> = steps
        .iter()
        .rev()
        .filter(given)
        .map(|step| step["share_pct"].clone())
        .collect();
    shares.dedup();
    assert_eq!(json!(shares), json!([10, 25, 50, 100]));
    let status = stage.run_verb("status");
    assert!(status["host"].is_null(), "{status:#}");
}

#[test]
fn what_was_acknowledged_before_a_kill_is_done_by_the_next_run() {
    let stage = CanaryFixture::start("", "");
    let host = || stage.run_verb("status")["host"].clone();
    let kill = |mut canary: Child| {
        canary.kill().expect("SIGKILL");
        canary.wait().expect("its end");
    };
    // Nothing but an operator's word leads on within an hour, and without requests there is no success: what is acknowledged cannot be done yet.
    let canary = stage.spawn_canary(&["--shares", "10,60,100", "--step", "3600"]);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    for order in ["pause", "promote"] {
        let (taken, errors) = stage.ask(order);
        assert!(taken, "{order}: {errors}");
    }
    kill(canary);
    let left = host();
    assert_eq!(
        (&left["share_pct"], &left["paused"]),
        (&json!(10), &json!(true))
    );
    let ((), decided) = stage.under_load(|| {
        // `resume` ends the pause; the word to go on is one for this share alone.
        let resumed = stage.spawn_resume();
        wait_until("it has the next share", || host()["share_pct"] == 60);
        assert_eq!(host()["paused"], false);
        wait_until("it is healthy twice", || {
            let checks = stage.checks();
            let healthy = checks
                .iter()
                .filter(|check| check.contains(" 60 % success "));
            healthy.count() >= 2
        });
        assert_eq!(host()["share_pct"], 60);
        let (taken, errors) = stage.ask("abort");
        assert!(taken, "{errors}");
        let report = wait_report(resumed);
        assert_eq!(report["tripwire"], "aborted", "{report:#}");
    });
    stage.assert_weights(100, 0);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    // An order to abort is acknowledged before the way back begins; HAProxy, which that needs, is away.
    let canary = stage.spawn_canary(&["--step", "3600"]);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    let moved = stage.haproxy.socket.with_extension("moved");
    std::fs::rename(&stage.haproxy.socket, &moved).expect("a socket");
    let (taken, errors) = stage.ask("abort");
    assert!(taken, "{errors}");
    kill(canary);
    std::fs::rename(&moved, &stage.haproxy.socket).expect("a socket");
    let report = wait_report(stage.spawn_resume());
    assert_eq!(report["promoted"], false, "{report:#}");
    assert_eq!(report["tripwire"], "aborted", "{report:#}");
    stage.assert_weights(100, 0);
}

#[test]
fn status_shows_the_canary_while_the_host_is_away() {
    let stage = CanaryFixture::start("", "");
    let mut canary = stage.spawn_canary(&["--step", "600"]);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    assert_eq!(stage.run_verb("status")["has_runner"], true);
    canary.kill().expect("SIGKILL");
    canary.wait().expect("its end");
    sh(&script(&stage.dir, "stop"));
    let shown = stage.command("status", &[]).output().expect("ark starts");
    assert_eq!(shown.status.code(), Some(1));
    let shown: Value = serde_json::from_slice(&shown.stdout).expect("JSON");
    assert_eq!(shown["host"]["share_pct"], 10, "{shown:#}");
    assert_eq!(shown["has_runner"], false, "{shown:#}");
    for list in ["steps", "agents", "policies"] {
        assert!(shown[list].is_null(), "{shown:#}");
    }
    let error = shown["error"].as_str().expect("an error");
    assert!(error.starts_with("the host does not answer: "), "{error}");
    let mut command = std::process::Command::new(ark_tests::ark_program());
    let url = format!("http://{}", stage.owner);
    command.args(["canary", "status", "--url", &url, "--journal"]);
    let shown = command.arg(stage.journal()).output().expect("ark starts");
    assert_eq!(shown.status.code(), Some(1));
    let text = String::from_utf8_lossy(&shown.stdout);
    let [host, runner, error] = text.lines().collect::<Vec<_>>()[..] else {
        panic!("{text}");
    };
    assert_eq!(host, "host      2.0.0 has 10 % of the requests");
    assert!(runner.starts_with("host      no command runs it: `ark canary resume`"));
    assert!(
        error.starts_with("error     the host does not answer: "),
        "{error}"
    );
    // With the host everything is there again, and the canary can be ended.
    sh(&script(&stage.dir, "start"));
    wait_until("the host is ready", || is_ready(&stage.owner));
    // HAProxy has another socket by now.
    let moved = stage.haproxy.socket.with_extension("moved");
    std::fs::rename(&stage.haproxy.socket, &moved).expect("a socket");
    let refused = stage.command("abort", &[]).output().expect("ark starts");
    let errors = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(1), "{errors}");
    assert!(
        errors.contains("--haproxy SOCKET") && errors.contains("--leave-weights"),
        "{errors}"
    );
    let haproxy = moved.display().to_string();
    let mut ended = stage.command("abort", &["--haproxy", &haproxy]);
    let ended = ended.output().expect("ark starts");
    let report: Value = serde_json::from_slice(&ended.stdout).expect("JSON");
    assert_eq!(report["promoted"], false, "{report:#}");
    std::fs::rename(&moved, &stage.haproxy.socket).expect("a socket");
    stage.assert_weights(100, 0);
    let shown = stage.run_verb("status");
    assert!(
        shown["host"].is_null() && shown["error"].is_null(),
        "{shown:#}"
    );
    assert_eq!(shown["steps"][0]["step"], "went-back", "{shown:#}");
}

#[test]
fn a_canary_whose_command_was_killed_goes_on_or_is_undone() {
    let stage = CanaryFixture::start("", "");
    let options = stage.take_over_options();
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let ((), mut decided) = stage.under_load(|| {
        // At each share: undone.
        for share in [10, 25, 50] {
            let mut canary = stage.spawn_canary(&options);
            wait_until("it has a share", || {
                stage.run_verb("status")["host"]["share_pct"] == share
            });
            canary.kill().expect("SIGKILL");
            canary.wait().expect("its end");
            let report = stage.run_verb("abort");
            assert_eq!(report["promoted"], false, "{report:#}");
            stage.assert_weights(100, 0);
        }
    });
    let mut short = options.clone();
    short.extend(["--shares", "100"]);
    let ((), decided_later) = stage.under_slow_load(|| {
        // In the take-over: at the replay, while the host is stopped, while the new one is started. What the command had begun goes on beside.
        for (phase, file, before) in [
            ("replay", "new-ark", "\nexec "),
            ("stop", "stop.sh", "kill $p"),
            ("start", "start-new.sh", "if [ -e "),
        ] {
            let path = stage.dir.path().join(file);
            let text = std::fs::read_to_string(&path).expect("a file");
            let begun = stage.dir.path().join(format!("{file}.begun"));
            let slow = format!("\n: >{}; sleep 2; {}", begun.display(), before.trim_start());
            let slow = text.replacen(before, &slow, 1);
            assert_ne!(slow, text);
            std::fs::write(&path, slow).expect("a file");
            for verb in ["abort", "resume"] {
                let _ = std::fs::remove_file(&begun);
                let mut canary = stage.spawn_canary(&short);
                wait_until("the take-over has come so far", || {
                    stage.journal_text().contains(&format!("\"{phase}\"}}"))
                });
                // A host whose stop command was never begun serves on, and nothing is brought back.
                wait_until("the command has begun", || begun.exists());
                canary.kill().expect("SIGKILL");
                canary.wait().expect("its end");
                let report = stage.run_verb(verb);
                assert_eq!(report["promoted"], verb == "resume", "{phase}: {report:#}");
                assert!(is_ready(&stage.owner), "{phase}, {verb}: a host serves");
                if verb == "resume" {
                    stage.assert_weights(0, 256);
                    stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
                }
                stage.assert_weights(100, 0);
                assert_eq!(
                    stage.serving(),
                    if verb == "resume" { "new" } else { "stable" },
                    "{phase}"
                );
            }
            std::fs::write(&path, text).expect("a file");
        }
    });
    decided.extend(decided_later);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
    // Nothing is left to go on with.
    let status = stage.run_verb("status");
    assert!(status["host"].is_null(), "{status:#}");
}

#[test]
fn a_decision_that_is_judged_otherwise_while_no_command_runs_is_a_tripwire_of_the_next_run() {
    let stage = CanaryFixture::start("", "");
    let front = stage.canary.as_ref().expect("a front");
    let different = || {
        let shown = Client::of_telemetry(front).get("/verdicts").1;
        shown["verdicts"]["different"].as_u64().expect("a count")
    };
    let ((), decided) = stage.under_load(|| {
        let mut canary = stage.spawn_canary(&["--shares", "25,100", "--step", "600"]);
        wait_until("it is healthy", || {
            let checks = stage.checks();
            checks.iter().any(|check| check.contains(" 25 % success "))
        });
        canary.kill().expect("SIGKILL");
        canary.wait().expect("its end");
        assert_eq!(different(), 0);
        // HAProxy gives the front its share on.
        stage.set_fault("denies");
        wait_until("a decision is judged otherwise", || different() > 0);
        stage.set_fault("");
        // The next run begins when it is over.
        stage.wait_counted();
        let report = wait_report(stage.spawn_resume());
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "verdicts", "{report:#}");
        assert_eq!(report["share_pct"], 25, "{report:#}");
    });
    stage.assert_weights(100, 0);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
}
