//! Each version that is not good goes back for its own reason.

use std::process::Command;

use ark_tests::policies::moody_component;
use ark_tests::{Client, ark_program, copy_agent, guests_dir, sha256, wait_until};
use serde_json::{Value, json};

use super::stage::{Stage, wait_report};

#[test]
fn a_version_without_requests_or_that_is_slow_or_dies_goes_back_for_that_reason() {
    let mut stage = Stage::start("", "");
    let went_back = |stage: &Stage, report: &Value, tripwire: &str| {
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], tripwire, "{report:#}");
        assert_eq!(report["share_pct"], 10, "{report:#}");
        stage.assert_weights(100, 0);
        let steps = stage.steps();
        assert_eq!(steps[0]["step"], "went-back", "{}", steps[0]);
        assert!(
            steps[0]["reason"].to_string().contains(tripwire),
            "{}",
            steps[0]
        );
    };
    let report = stage.run_canary(&[]);
    went_back(&stage, &report, "no-traffic");
    let (report, _) = stage.under_load(|| stage.run_canary(&["--max-p95", "0"]));
    went_back(&stage, &report, "latency");
    // An operator's word: the steps are long, and one asks for the end.
    let (report, _) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        let (taken, errors) = stage.ask("abort");
        assert!(taken, "{errors}");
        wait_report(canary)
    });
    went_back(&stage, &report, "aborted");
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
    // It dies. No request is sent meanwhile: one that it had begun would have to be sent again by its client.
    let canary = stage.canary.take().expect("a front");
    let child = stage.spawn_canary(&["--step", "600", "--idle-checks", "1000"]);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    canary.kill();
    let report = wait_report(child);
    went_back(&stage, &report, "down");
    // A front that is down is not begun with; nothing was changed.
    let errors = refuse_start(&stage, &["--haproxy", &socket]);
    assert!(errors.contains("DOWN"), "{errors}");
    let (_, page) = Client::at(&stage.stable.address).get("/readyz");
    assert_eq!(page["owner"], "ready", "{page}");
}

/// Starts a canary that must be refused. Returns the error.
fn refuse_start(stage: &Stage, options: &[&str]) -> String {
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
fn a_version_that_judges_otherwise_denies_more_or_has_an_agent_in_quarantine_goes_back() {
    let component = moody_component(1, 1);
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), &component).expect("a file");
    // The new version's front has a policy that denies everything.
    let config = format!(
        "[[policies]]\nfile = \"{}\"\nsha256 = \"{}\"\nsettings = {{ mood = \"deny\" }}\n",
        file.path().display(),
        sha256(&component)
    );
    let stage = Stage::start("", &config);
    let ((), decided) = stage.under_load(|| {
        let report = stage.run_canary(&[]);
        assert_eq!(report["tripwire"], "verdicts", "{report:#}");
        let report = stage.run_canary(&["--max-different", "1000000"]);
        assert_eq!(report["tripwire"], "denials", "{report:#}");
        stage.assert_weights(100, 0);
    });
    assert_eq!(stage.recorded(), decided);
    drop(stage);

    let dir_config = "";
    let stage = Stage::start_with_agents(dir_config, |agents| {
        copy_agent(&guests_dir(), "joey", agents);
    });
    let (report, _) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        let body = json!({"reason": "a test"});
        let (status, answer) = Client::at(&stage.owner).post("/v1/agents/joey/quarantine", &body);
        assert_eq!(status, 200, "{answer}");
        wait_report(canary)
    });
    assert_eq!(report["tripwire"], "quarantine", "{report:#}");
    stage.assert_weights(100, 0);
}

#[test]
fn an_operator_pauses_promotes_and_rehearses() {
    let stage = Stage::start("", "");
    // A rehearsal changes nothing: no weight, no step, no journal.
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
    let (report, decided) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--shares", "10,60,100", "--step", "5"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        let share = || stage.run_verb("status")["host"]["share_pct"].clone();
        let ask = |verb: &str| {
            let (taken, errors) = stage.ask(verb);
            assert!(taken, "{verb}: {errors}");
        };
        ask("pause");
        let given = share();
        // At 50 a second, more than the five seconds of the step.
        let before = stage.recorded().len();
        wait_until("more than a step has passed", || {
            stage.recorded().len() > before + 400
        });
        assert!(stage.is_paused());
        assert_eq!(share(), given);
        ask("resume");
        wait_until("the pause is over", || !stage.is_paused());
        ask("promote");
        wait_until("it has the next share", || share() != given);
        wait_report(canary)
    });
    assert_eq!(report["promoted"], true, "{report:#}");
    stage.assert_weights(0, 256);
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
