//! Each version that is not good goes back for its own reason.

use std::process::Command;

use ark_tests::policies::moody_component;
use ark_tests::{Client, ark_program, copy_agent, guests_dir, sha256, wait_until};
use serde_json::{Value, json};

use super::stage::Stage;

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
        let mut canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        let output = Command::new(ark_program())
            .args([
                "canary",
                "abort",
                "--url",
                &format!("http://{}", stage.owner),
            ])
            .arg("--journal")
            .arg(stage.journal())
            .output()
            .expect("ark starts");
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let mut text = String::new();
        let mut stdout = canary.stdout.take().expect("its output");
        std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
        canary.wait().expect("its end");
        serde_json::from_str::<Value>(&text).expect("JSON")
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
    let mut child = stage.spawn_canary(&["--step", "600", "--idle-checks", "1000"]);
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    canary.kill();
    let mut text = String::new();
    let mut stdout = child.stdout.take().expect("its output");
    std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
    child.wait().expect("its end");
    let report: Value = serde_json::from_str(&text).expect("JSON");
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
        let mut canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        let body = json!({"reason": "a test"});
        let (status, answer) = Client::at(&stage.owner).post("/v1/agents/joey/quarantine", &body);
        assert_eq!(status, 200, "{answer}");
        let mut text = String::new();
        let mut stdout = canary.stdout.take().expect("its output");
        std::io::Read::read_to_string(&mut stdout, &mut text).expect("text");
        canary.wait().expect("its end");
        serde_json::from_str::<Value>(&text).expect("JSON")
    });
    assert_eq!(report["tripwire"], "quarantine", "{report:#}");
    stage.assert_weights(100, 0);
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
