//! Each version that is not good goes back for its own reason.

use std::collections::BTreeSet;
use std::process::Command;
use std::time::Instant;

use ark_tests::haproxy::Haproxy;
use ark_tests::policies::moody_component;
use ark_tests::{Client, ark_program, copy_agent, hostile_guests_dir, sha256, wait_until};
use serde_json::{Value, json};

use super::stage::{CanaryFixture, wait_report};

/// The options of a canary that stays at its first share until something ends it.
const LONG: [&str; 2] = ["--step", "600"];
/// The pause between two checks: the first one after a fault has the requests that it needs, and what Prometheus read of them.
const INTERVAL: [&str; 2] = ["--interval", "5"];
const INTERVAL_SECONDS: u64 = 5;
/// In how many checks a fault must be found.
const MOST_CHECKS: usize = 2;

/// Runs a canary, beside which `meanwhile` is done, and which must go back for this reason, by the second check since the fault was planted: before
/// it began, or by `meanwhile`.
pub(super) fn assert_goes_back(
    stage: &CanaryFixture,
    more: &[&str],
    tripwire: &str,
    meanwhile: impl FnOnce(),
) {
    let canary = stage.spawn_canary(&[&LONG[..], &INTERVAL[..], more].concat());
    wait_until("it has a share, or has ended", || {
        stage.haproxy.weight("canary") > 0 || !stage.checks().is_empty()
    });
    meanwhile();
    // Where nothing is done meanwhile there was no check yet: the first one is an interval away.
    let before = stage.checks().len();
    let report = wait_report(canary);
    assert_eq!(report["promoted"], false, "{report:#}");
    assert_eq!(report["tripwire"], tripwire, "{report:#}");
    assert_eq!(report["share_pct"], 10, "{report:#}");
    let checks = stage.checks();
    assert!(
        checks.len() - before <= MOST_CHECKS,
        "{tripwire}, {before} before: {checks:#?}"
    );
    stage.assert_weights(100, 0);
    let steps = stage.steps();
    assert_eq!(steps[0]["step"], "went-back", "{}", steps[0]);
    let reason = steps[0]["reason"].as_str().expect("a reason");
    assert!(reason.starts_with(&format!("{tripwire}: ")), "{reason}");
    println!("{tripwire}: {} checks, {reason}", checks.len());
}

#[test]
fn a_version_without_requests_or_that_is_slow_or_dies_goes_back_for_that_reason() {
    let mut stage = CanaryFixture::start("", "");
    assert_goes_back(&stage, &["--idle-checks", "2"], "no-traffic", || {});
    stage.set_fault("slow");
    let ((), decided) = stage.under_load(|| {
        assert_goes_back(
            &stage,
            &["--max-p95", "400", "--slow-checks", "2"],
            "latency",
            || {},
        );
        stage.set_fault("");
        // An operator's word. What is said before makes no check.
        assert_goes_back(&stage, &[], "aborted", || {
            let (began, before) = (Instant::now(), stage.checks().len());
            for order in ["pause", "resume", "pause", "resume"] {
                let (taken, errors) = stage.ask(order);
                assert!(taken, "{errors}");
            }
            let checks = stage.checks().len() - before;
            let most = began.elapsed().as_secs() / INTERVAL_SECONDS + 1;
            assert!(checks as u64 <= most, "{checks} checks: {most} at most");
            let (taken, errors) = stage.ask("abort");
            assert!(taken, "{errors}");
        });
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    // Refused before anything changes: a socket without the right, a backend and a server that there are not.
    let user = stage.haproxy.user_socket.display().to_string();
    let socket = stage.haproxy.socket.display().to_string();
    for (haproxy, backend, server, problem) in [
        (&user, "ark", "canary", "level admin"),
        (&socket, "nope", "canary", "no backend nope"),
        (&socket, "ark", "nope", "it has stable, canary"),
        (&socket, "ark", "stable", "weight 100"),
        (&socket, "a b", "canary", "no name of a backend"),
    ] {
        let errors = refuse_start(
            &stage,
            &[
                "--haproxy",
                haproxy,
                "--backend",
                backend,
                "--server",
                server,
            ],
        );
        assert!(errors.contains(problem), "{errors}");
    }
    stage.assert_weights(100, 0);
    // It dies of a request. What it had at that moment another front answers.
    stage.set_fault("dies");
    let ((), more) = stage.under_load(|| {
        assert_goes_back(&stage, &[], "down", || {
            wait_until("a request has killed it", || !stage.has_fault());
        });
    });
    let decided: BTreeSet<String> = decided.union(&more).cloned().collect();
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    drop(stage.canary.take());
    // A front that is down is not begun with; nothing was changed.
    let errors = refuse_start(&stage, &["--haproxy", &socket]);
    assert!(errors.contains("DOWN"), "{errors}");
    let (_, page) = Client::at(&stage.stable.address).get("/readyz");
    assert_eq!(page["owner"], "ready", "{page}");
}

#[test]
fn a_version_that_is_started_again_goes_back_for_that_reason() {
    let stage = CanaryFixture::start_supervised();
    stage.set_fault("restarts");
    let ((), decided) = stage.under_load(|| assert_goes_back(&stage, &[], "restart", || {}));
    assert!(!stage.has_fault(), "it was started again");
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
}

#[test]
fn a_canary_with_other_weights_is_no_success_and_one_without_a_way_back_keeps_its_requests() {
    let stage = CanaryFixture::start("", "");
    let is_last = |words: &[&str]| {
        let checks = stage.checks();
        let last = checks.last();
        last.is_some_and(|check| words.iter().all(|word| check.contains(word)))
    };
    let ((), decided) = stage.under_load(|| {
        let mut canary = stage.spawn_canary(&LONG);
        wait_until("it is healthy", || is_last(&[" 10 % success "]));
        // Somebody gives it half of the requests.
        let weigh = |server| stage.haproxy.weight(server);
        let given = [("stable", weigh("stable")), ("canary", weigh("canary"))];
        stage
            .haproxy
            .set_weights(&[("stable", 100), ("canary", 100)]);
        wait_until("the share is not that of the step", || {
            is_last(&[" 10 % inconclusive ", "something else changes the weights"])
        });
        stage.haproxy.set_weights(&given);
        wait_until("it is healthy again", || is_last(&[" 10 % success "]));
        // It is the only one that is up: without its weight nobody would answer.
        let answer = stage.haproxy.ask("set server ark/stable state maint");
        assert_eq!(answer.trim(), "", "{answer}");
        let ended = canary.wait().expect("its end");
        assert!(!ended.success());
        assert!(weigh("canary") > 0);
        let host = stage.run_verb("status")["host"].clone();
        assert_eq!(host["tripwire"], "no-way-back", "{host:#}");
        let answer = stage.haproxy.ask("set server ark/stable state ready");
        assert_eq!(answer.trim(), "", "{answer}");
        let report = stage.run_verb("abort");
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "no-way-back", "{report:#}");
    });
    stage.assert_weights(100, 0);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    // A selection of both fronts says nothing of one of them.
    for (series, expected) in [
        ("job=~\"ark-front.*\"", "also for --stable-series"),
        ("job=~\"ark|ark-front-canary\"", "of 2 series"),
    ] {
        let mut command = stage.start_command(&["--canary-series", series]);
        let output = command.output().expect("ark starts");
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "{errors}");
        for part in ["--canary-series", expected] {
            assert!(errors.contains(part), "{errors}");
        }
        stage.assert_weights(100, 0);
    }
}

#[test]
fn a_share_beside_backup_servers_alone_is_not_given_and_is_no_success() {
    let mut stage = CanaryFixture::start("", "");
    let stable = stage.stable.address.clone();
    let canary = stage.canary.as_ref().expect("a front").address.clone();
    let spare = format!("{stable} backup");
    let servers = [
        ("stable", stable.as_str(), 100),
        ("spare", spare.as_str(), 100),
        ("canary", canary.as_str(), 0),
    ];
    stage.haproxy = Haproxy::start(&servers, "inter 200ms fall 2 rise 1", "10m");
    let put = |state: &str| {
        let answer = stage
            .haproxy
            .ask(&format!("set server ark/stable state {state}"));
        assert_eq!(answer.trim(), "", "{answer}");
    };
    let is_last = |words: &[&str]| {
        let checks = stage.checks();
        let last = checks.last();
        last.is_some_and(|check| words.iter().all(|word| check.contains(word)))
    };
    put("maint");
    let socket = stage.haproxy.socket.display().to_string();
    let errors = refuse_start(&stage, &["--haproxy", &socket]);
    for part in ["`backup`", "--shares 100"] {
        assert!(errors.contains(part), "{errors}");
    }
    stage.assert_weights(100, 0);
    put("ready");
    wait_until("it is up again", || {
        let table = stage.haproxy.ask("show stat ark 4 -1");
        table
            .lines()
            .any(|line| line.starts_with("ark,stable,") && line.contains(",UP,"))
    });
    let ((), decided) = stage.under_load(|| {
        let canary = stage.spawn_canary(&LONG);
        wait_until("it is healthy", || is_last(&[" 10 % success "]));
        put("maint");
        wait_until("it has all requests", || {
            is_last(&[" 10 % inconclusive ", "gets all requests", "`backup`"])
        });
        put("ready");
        wait_until("it is healthy again", || is_last(&[" 10 % success "]));
        let (taken, errors) = stage.ask("abort");
        assert!(taken, "{errors}");
        let report = wait_report(canary);
        assert_eq!(report["tripwire"], "aborted", "{report:#}");
    });
    stage.assert_weights(100, 0);
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
}

/// Starts a canary that must be refused. Returns the error.
fn refuse_start(stage: &CanaryFixture, options: &[&str]) -> String {
    let output = Command::new(ark_program())
        .args(["canary", "start", "--name", "2.0.0", "--url"])
        .arg(format!("http://{}", stage.owner))
        .arg("--journal")
        .arg(stage.journal())
        .args(["--prometheus", &stage.prometheus.url])
        .args(options)
        .output()
        .expect("ark starts");
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn a_version_that_judges_otherwise_denies_more_answers_errors_or_leaks_goes_back() {
    let stage = CanaryFixture::start("", "");
    stage.set_fault("denies");
    let ((), decided) = stage.under_load(|| {
        assert_goes_back(&stage, &[], "verdicts", || {});
        stage.set_fault("");
        stage.wait_counted();
        stage.set_fault("denies");
        let may_differ = ["--max-different", "1000000"];
        assert_goes_back(&stage, &may_differ, "denials", || {});
        stage.set_fault("");
        stage.wait_counted();
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    // Another build of a policy, which denies everything.
    let component = moody_component(1, 1);
    let policy = stage.dir.path().join("moody.wasm");
    std::fs::write(&policy, &component).expect("a file");
    let config = format!(
        "[[policies]]\nfile = \"{}\"\nsha256 = \"{}\"\nsettings = {{ mood = \"deny\" }}\n",
        policy.display(),
        sha256(&component)
    );
    let front = stage.canary.as_ref().expect("a front");
    let configure = |config: &str, policies: usize| {
        std::fs::write(stage.dir.path().join("canary.toml"), config).expect("a file");
        front.hang_up();
        wait_until("the front has its policies", || {
            let shown = Client::of_telemetry(front).get("/verdicts").1;
            shown["policies"].as_array().map(Vec::len) == Some(policies)
        });
    };
    configure(&config, 2);
    let ((), more) = stage.under_load(|| {
        assert_goes_back(&stage, &[], "verdicts", || {});
        configure("", 1);
        stage.wait_counted();
        // It takes memory with each request, and answers as it should.
        let held = front.memory_kib("VmRSS") / 1024;
        let most = (held + 100).to_string();
        stage.set_fault("leaks");
        assert_goes_back(&stage, &["--max-memory", &most], "memory", || {});
        stage.set_fault("");
    });
    let decided: BTreeSet<String> = decided.union(&more).cloned().collect();
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.set_fault("errors");
    let ((), more) = stage.under_load(|| assert_goes_back(&stage, &[], "errors", || {}));
    let decided: BTreeSet<String> = decided.union(&more).cloned().collect();
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}

#[test]
fn a_version_that_cannot_judge_decisions_again_goes_back_for_that_reason() {
    let stage = CanaryFixture::start("", "");
    let front = stage.canary.as_ref().expect("a front");
    stage.set_fault("fails-to-rejudge");
    let ((), decided) = stage.under_load(|| {
        assert_goes_back(&stage, &[], "unjudged", || {});
    });
    let reason = stage.steps()[0]["reason"].to_string();
    assert!(reason.contains("could not be judged again"), "{reason}");
    let shown = Client::of_telemetry(front).get("/verdicts").1["verdicts"].clone();
    let failed = shown["unjudged_reasons"]["failed_here"].as_u64();
    assert!(failed >= Some(3), "{shown:#}");
    assert_eq!(shown["different"], 0, "{shown:#}");
    stage.set_fault("");
    stage.wait_counted();
    // What could not be judged in an earlier canary counts for nothing in the next one.
    let (report, more) = stage.under_load(|| stage.run_canary(&["--shares", "100"]));
    assert_eq!(report["promoted"], true, "{report:#}");
    stage.assert_weights(0, 256);
    let decided: BTreeSet<String> = decided.union(&more).cloned().collect();
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
}

#[test]
fn a_version_that_has_an_agent_in_quarantine_goes_back_for_that_reason() {
    // A single failure quarantines an agent.
    let stage =
        CanaryFixture::start_with_agents("[watchdog]\nconsecutive_failures = 1\n", |agents| {
            copy_agent(&hostile_guests_dir(), "chaos", agents);
        });
    let signal = json!({"topic": "chaos.go", "payload": "buy AAPL"});
    let mut client = Client::at(&stage.haproxy.address);
    let mut post_signal = || {
        let (status, answer) = client.post("/v1/signals", &signal);
        assert!(matches!(status, 200 | 202), "{answer}");
    };
    let quarantines = || {
        let (_, status) = Client::at(&stage.owner).get("/v1/watchdog");
        status["quarantines"].as_array().expect("a list").len()
    };
    // Without a share the fault reaches no agent.
    stage.set_fault("garbles");
    (0..5).for_each(|_| post_signal());
    wait_until("the agent has handled them", || stage.recorded().len() == 5);
    assert_eq!(quarantines(), 0);
    stage.under_load(|| {
        assert_goes_back(&stage, &[], "quarantine", || {
            wait_until("the agent is in quarantine", || {
                post_signal();
                quarantines() > 0
            });
        });
    });
    let reason = stage.steps()[0]["reason"].to_string();
    assert!(reason.contains("in quarantine: chaos"), "{reason}");
}

#[test]
fn a_rehearsal_changes_nothing_and_nothing_is_asked_of_no_canary() {
    let stage = CanaryFixture::start("", "");
    // No weight, no step, no journal.
    let steps = stage.run_canary(&["--dry-run"]);
    let steps = steps.as_array().expect("steps");
    assert!(
        steps.iter().any(|step| step.to_string().contains("25 %")),
        "{steps:?}"
    );
    stage.assert_weights(100, 0);
    assert!(stage.steps().is_empty());
    assert_eq!(stage.journal_text(), "");
    for verb in ["pause", "promote", "resume", "abort"] {
        let (taken, errors) = stage.ask(verb);
        assert!(
            !taken && errors.contains("no canary is under way"),
            "{verb}: {errors}"
        );
    }
}

#[test]
fn an_operator_pauses_resumes_and_promotes() {
    let stage = CanaryFixture::start("", "");
    let share = || stage.run_verb("status")["host"]["share_pct"].clone();
    // What was asked is printed as JSON.
    let ask = |verb: &str| {
        let printed = stage.run_verb(verb);
        assert_eq!(printed["request"], verb, "{printed}");
        assert_eq!(printed["version"], "2.0.0", "{printed}");
        assert!(
            printed["id"]
                .as_str()
                .is_some_and(|id| id.starts_with("canary-")),
            "{printed}"
        );
    };
    let is_shown_paused = || stage.run_verb("status")["host"]["paused"] == true;
    let (report, decided) = stage.under_load(|| {
        // Steps of an hour: nothing but an operator's word leads on.
        let canary = stage.spawn_canary(&["--shares", "10,60,100", "--step", "3600"]);
        for given in [10, 60, 100] {
            wait_until("it has the share", || share() == given);
            wait_until("it is healthy", || {
                let checks = stage.checks();
                let last = checks.last();
                last.is_some_and(|check| check.contains(&format!(" {given} % success ")))
            });
            assert_eq!(share(), given);
            ask("promote");
        }
        wait_report(canary)
    });
    assert_eq!(report["promoted"], true, "{report:#}");
    stage.assert_weights(0, 256);
    stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
    // Short steps: a pause outlasts them, and its end begins the step anew.
    let (report, more) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--shares", "10,60,100", "--step", "4"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        ask("resume");
        ask("pause");
        let given = share();
        wait_until("more than a step has passed", || {
            stage.count_paused_checks() > 6
        });
        assert!(stage.is_paused() && is_shown_paused());
        assert_eq!(share(), given);
        ask("pause");
        assert_eq!(share(), given, "a second time it changes nothing");
        ask("resume");
        wait_until("the pause has ended", || !is_shown_paused());
        wait_report(canary)
    });
    assert_eq!(report["promoted"], true, "{report:#}");
    // Each order of the operator is a step that the host has, with its reason, newest first.
    let steps = stage.steps();
    let ordered = ["promote", "paused", "resumed"];
    let ordered: Vec<&str> = steps
        .iter()
        .rev()
        .filter_map(|step| step["step"].as_str())
        .filter(|step| ordered.contains(step))
        .collect();
    let expected = [
        "promote", "promote", "promote", "resumed", "paused", "paused", "resumed",
    ];
    assert_eq!(ordered, expected, "{steps:#?}");
    let unpaused = steps.iter().rev().find(|step| step["step"] == "resumed");
    let reason = unpaused.expect("a step")["reason"].to_string();
    assert!(reason.contains("it was not paused"), "{reason}");
    let decided: BTreeSet<String> = decided.union(&more).cloned().collect();
    assert_eq!(stage.recorded(), decided);
}

#[test]
fn steps_of_deployments_are_validated_recorded_once_and_events() {
    let dir = ark_tests::TestDir::new("");
    let host = dir.start();
    let mut client = Client::new(&host);
    let step = json!({"deployment": "d-1", "kind": "upgrade", "version": "2.0.0", "step": "started",
        "reason": "a test", "share_pct": 10, "figures": {"p95_ms": 1.5}});
    let key = [("Idempotency-Key", "d-1-1")];
    let mut record = |body: &Value| {
        client
            .try_send("POST", "/v1/deployments", &key, body)
            .expect("an answer")
    };
    let (status, first) = record(&step);
    assert_eq!(status, 200, "{first}");
    assert_eq!(record(&step), (200, first.clone()));
    let mut other = step.clone();
    other["share_pct"] = json!(25);
    assert_eq!(record(&other).0, 422);
    for (field, value) in [
        ("deployment", json!("a b")),
        ("version", json!("")),
        ("step", json!("x/y")),
        ("kind", json!("party")),
        ("share_pct", json!(101)),
        ("reason", json!(" ")),
        ("figures", json!("x".repeat(17_000))),
    ] {
        let mut bad = step.clone();
        bad[field] = value;
        let (status, answer) = Client::new(&host).post("/v1/deployments", &bad);
        assert_eq!((status, &answer["field"]), (400, &json!(field)), "{answer}");
    }
    let (_, page) = Client::new(&host).get("/v1/deployments");
    let steps = page["steps"].as_array().expect("steps");
    assert_eq!(steps.len(), 1, "{page}");
    assert_eq!(steps[0]["figures"], step["figures"]);
    assert_eq!(steps[0]["id"], first["id"]);
    let events = run_events(&host.address);
    assert!(events.contains("event: deployment"), "{events}");
}

/// The first bytes of the stream of events about deployments.
fn run_events(address: &str) -> String {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).expect("a connection");
    stream
        .set_read_timeout(Some(ark_tests::PATIENCE))
        .expect("a timeout");
    let head = "GET /v1/events?since=0-0&kinds=deployment HTTP/1.1\r\nHost: localhost\r\n\r\n";
    stream.write_all(head.as_bytes()).expect("sent");
    let (mut text, mut chunk) = (String::new(), [0; 4096]);
    while !text.contains("d-1") {
        let count = stream.read(&mut chunk).expect("events");
        assert!(count > 0, "{text}");
        text.push_str(&String::from_utf8_lossy(&chunk[..count]));
    }
    text
}
