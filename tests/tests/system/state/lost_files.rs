//! Files of the data directory that are lost: under a running host and between two runs. The host stops approving, says what to do, and
//! never starts with an empty database by itself: what it acknowledged, its halt and its tokens are not lost without a report.

use std::path::PathBuf;

use ark_tests::{
    Client, Host, TestDir, copy_numbered, hostile_guests_dir, make_token, run_ark, trade, wait_for,
    wait_until,
};
use serde_json::{Value, json};

/// Makes the first token of a host, an administrator's. Returns its secret.
fn make_first_token(host: &Host) -> String {
    let body = json!({"name": "admin", "role": "admin"});
    let (status, made) = Client::new(host).post("/v1/tokens", &body);
    assert_eq!(status, 201, "{made}");
    made["token"].as_str().expect("a secret").to_owned()
}

fn propose_trades(client: &mut Client, count: usize) -> Vec<String> {
    (0..count)
        .map(|number| {
            let (status, answer) = client.post("/v1/actions", &trade(&format!("S{number}"), 0.001));
            assert_eq!(
                (status, &answer["outcome"]),
                (200, &json!("approved")),
                "{answer}"
            );
            answer["decision_id"].as_str().expect("an id").to_owned()
        })
        .collect()
}

/// Waits until `/readyz` names a problem with this text, and returns that problem.
fn wait_for_problem(host: &Host, text: &str) -> String {
    let client = &mut Client::new(host);
    wait_for(text, || {
        let (_, report) = client.get("/readyz");
        let problems = report["problems"].as_array()?;
        let mut problems = problems.iter().filter_map(Value::as_str);
        problems
            .find(|problem| problem.contains(text))
            .map(str::to_owned)
    })
}

fn run_ark_json(args: &[&str]) -> Value {
    let output = run_ark(args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {errors}");
    serde_json::from_slice(&output.stdout).expect("JSON")
}

#[test]
fn a_database_that_is_removed_ends_approving_and_what_was_acknowledged_is_restored() {
    let place = TestDir::new("");
    let data = place.data();
    let host = place.start();
    let token = make_first_token(&host);
    let client = &mut Client::with_token(&host, &token);
    let ids = propose_trades(client, 3);
    std::fs::remove_file(data.join("ark.db")).expect("the database");
    let (status, answer) = client.post("/v1/actions", &trade("AFTER", 0.001));
    assert_eq!(
        (status, &answer["outcome"]),
        (503, &json!("denied")),
        "{answer}"
    );
    let detail = answer["detail"].as_str().expect("a detail");
    assert!(
        detail.contains("was removed while the host was running"),
        "{detail}"
    );
    let problem = wait_for_problem(&host, "what was acknowledged is in");
    let (_, alerts) = client.get("/v1/watchdog/alerts?kind=database_lost");
    assert_eq!(alerts["alerts"][0]["severity"], "critical", "{alerts}");
    // What was acknowledged can still be read.
    for id in &ids {
        assert_eq!(client.get(&format!("/v1/decisions/{id}")).0, 200, "{id}");
    }
    assert_eq!(host.terminate(), Some(0));
    let refused = place.try_start().err().expect("no host starts");
    assert!(refused.contains("ark state restore"), "{refused}");
    // The command is taken from the message, as an operator would.
    let command = problem.split('`').nth(1).expect("a command");
    let words: Vec<&str> = command.split(' ').skip(1).collect();
    run_ark_json(&words);
    let host = place.start();
    assert_eq!(
        Client::new(&host).get("/v1/decisions").0,
        401,
        "the host is closed"
    );
    let client = &mut Client::with_token(&host, &token);
    for id in &ids {
        assert_eq!(client.get(&format!("/v1/decisions/{id}")).0, 200, "{id}");
    }
    assert_eq!(propose_trades(client, 1).len(), 1);
}

#[test]
fn a_killed_host_without_its_database_begins_anew_by_order_only_and_stays_closed() {
    let place = TestDir::new("");
    let data: PathBuf = place.data();
    let path = data.to_str().expect("UTF-8").to_owned();
    let host = place.start();
    make_first_token(&host);
    // Killed before it can look: what it leaves must be enough.
    for name in ["ark.db", "ark.db-wal", "ark.db-shm"] {
        std::fs::remove_file(data.join(name)).expect("a file");
    }
    host.kill();
    let refused = wait_for("the killed host's lock is free", || {
        let refused = place.try_start().err().expect("no host starts");
        (!refused.contains("is in use")).then_some(refused)
    });
    assert!(
        refused.contains("ark.db is missing or empty")
            && refused.contains("ark state reinitialize"),
        "{refused}"
    );
    assert!(!data.join("ark.db").exists(), "a refusal makes no database");
    // The command's name in earlier versions.
    let blank = run_ark(&["state", "begin-anew", "--reason", " ", "--data-dir", &path]);
    assert!(String::from_utf8_lossy(&blank.stderr).contains("--reason"));
    let made = run_ark_json(&[
        "state",
        "--by",
        "ana",
        "reinitialize",
        "--reason",
        "a drill",
        "--data-dir",
        &path,
    ]);
    let token = made["token"].as_str().expect("a token");
    let host = place.start_halted();
    assert_eq!(
        Client::new(&host).get("/v1/decisions").0,
        401,
        "the host is closed"
    );
    wait_for_problem(&host, "halted");
    let client = &mut Client::with_token(&host, token);
    let (status, answer) = client.post("/v1/actions", &trade("S", 0.001));
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("denied")),
        "{answer}"
    );
    let (_, log) = client.get("/v1/watchdog");
    assert_eq!(log["halt"]["by"], "ana", "{log}");
    let (status, answer) = client.post("/v1/resume", &json!({"reason": "positions are checked"}));
    assert_eq!(status, 200, "{answer}");
    wait_until("ready", || client.get("/readyz").0 == 200);
    assert_eq!(propose_trades(client, 1).len(), 1);
    assert_eq!(host.terminate(), Some(0));
    let first = run_ark(&["audit", "export", "--data-dir", &path]);
    let first = String::from_utf8_lossy(&first.stdout);
    assert!(
        first.contains("state.begin_anew") && first.contains("a drill"),
        "{first}"
    );
    assert!(
        run_ark(&["audit", "verify", "--data-dir", &path])
            .status
            .success()
    );
}

#[test]
fn a_data_directory_that_is_lost_as_a_whole_opens_nothing_where_a_database_is_required() {
    let place = TestDir::new("require_database = true\n");
    let data = place.data();
    let path = data.to_str().expect("UTF-8").to_owned();
    let refused = place.try_start().err().expect("no host starts");
    assert!(refused.contains("ark token create"), "{refused}");
    assert!(!data.join("ark.db").exists(), "a refusal makes no database");
    let token = make_token(&data, "root", "admin", &[]);
    let host = place.start();
    propose_trades(&mut Client::with_token(&host, &token), 1);
    assert_eq!(host.terminate(), Some(0));
    let kept = data.with_extension("kept");
    std::fs::rename(&data, &kept).expect("the directory");
    for mounted in [false, true] {
        // Without the disk, the directory to mount it on may be there or not.
        if mounted {
            std::fs::create_dir_all(&data).expect("a directory");
        }
        let refused = place.try_start().err().expect("no host starts");
        assert!(
            refused.contains(&format!("there is no database in {path}"))
                && refused.contains("ark state restore"),
            "{refused}"
        );
    }
    std::fs::remove_dir_all(&data).expect("the directory");
    std::fs::rename(&kept, &data).expect("the directory");
    let host = place.start();
    assert_eq!(Client::new(&host).get("/v1/decisions").0, 401);
}

#[test]
fn anchors_that_vanish_under_a_running_host_are_an_alert_that_is_announced() {
    let place = TestDir::new("");
    let agents = place.agents();
    let listener = copy_numbered(&hostile_guests_dir(), "mob", 1, "ark.alert", &agents);
    let host = place.start();
    propose_trades(&mut Client::new(&host), 2);
    // The end of a host anchors its chains.
    assert_eq!(host.terminate(), Some(0));
    let anchors = place.data().join("anchors.jsonl");
    let host = place.start();
    let client = &mut Client::new(&host);
    std::fs::remove_file(&anchors).expect("the anchors");
    let alert = wait_for("the alert", || {
        let (_, answer) = client.get("/v1/watchdog/alerts?kind=anchors_lost");
        answer["alerts"].get(0).cloned()
    });
    assert_eq!(alert["severity"], "critical", "{alert}");
    let message = alert["message"].as_str().expect("a message");
    assert!(message.contains("anchors.jsonl"), "{message}");
    // An alert that the store raises is announced as the watchdog's own are. The agent rejects it: what counts is that it was handed one.
    wait_until("the announcement", || {
        let (_, agent) = client.get(&format!("/v1/agents/{listener}"));
        agent["failed"] == json!(1)
    });
    // Nothing is lost by it, so all goes on, and the heads are anchored again at once.
    propose_trades(client, 1);
    assert!(anchors.exists());
    assert_eq!(host.terminate(), Some(0));
    let data = place.data();
    let report = run_ark_json(&[
        "audit",
        "verify",
        "--json",
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ]);
    assert_eq!(report["fault"], Value::Null, "{report}");
}

#[test]
fn a_snapshot_from_before_a_quarantine_halts_the_host_that_it_is_restored_for() {
    let place = TestDir::new("");
    let agent = copy_numbered(&hostile_guests_dir(), "mob", 1, "good.go", &place.agents());
    let data = place.data();
    let data = data.to_str().expect("UTF-8");
    let snapshot = place.path().join("snapshot");
    let snapshot = snapshot.to_str().expect("UTF-8");
    let host = place.start();
    let client = &mut Client::new(&host);
    let quarantine = |client: &mut Client| {
        let path = format!("/v1/agents/{agent}/quarantine");
        let (status, answer) = client.post(&path, &json!({"reason": "a test"}));
        assert_eq!(status, 200, "{answer}");
    };
    let made = run_ark(&["state", "snapshot", snapshot, "--data-dir", data]);
    assert!(made.status.success(), "{made:?}");
    quarantine(client);
    assert_eq!(host.terminate(), Some(0));
    let restore = [
        "state",
        "restore",
        snapshot,
        "--replace",
        "--data-dir",
        data,
    ];
    run_ark_json(&restore);
    let host = place.start_halted();
    let client = &mut Client::new(&host);
    let (_, report) = client.get("/v1/watchdog");
    let reason = report["halt"]["reason"].as_str().expect("a reason");
    assert!(reason.contains("quarantine"), "{reason}");
    // With the same quarantine as before nothing is to be kept: the halt of the snapshot's restoration is taken back, and another one is not begun.
    quarantine(client);
    assert_eq!(
        client
            .post("/v1/resume", &json!({"reason": "it is in quarantine"}))
            .0,
        200
    );
    let later = format!("{snapshot}-later");
    let made = run_ark(&["state", "snapshot", &later, "--data-dir", data]);
    assert!(made.status.success(), "{made:?}");
    assert_eq!(host.terminate(), Some(0));
    run_ark_json(&["state", "restore", &later, "--replace", "--data-dir", data]);
    let host = place.start();
    let (_, report) = Client::new(&host).get("/v1/watchdog");
    assert!(report["halt"].is_null(), "{report}");
}
