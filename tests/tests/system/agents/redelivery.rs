//! Signals that failed: listed with their reasons, delivered again once, over kills.

use ark_tests::{
    Client, Host, JSON, PATIENT, TestDir, base64, header, hostile_guests_dir, make_token,
    post_signal, run_ark, sha256, wait_for_trace, wait_until,
};
use serde_json::{Value, json};

/// Lets `chaos` serve. With `actions` a signal may lead to so many at most.
fn serve_chaos(client: &mut Client, actions: Option<u32>) {
    let component = std::fs::read(hostile_guests_dir().join("chaos.wasm")).expect("a component");
    let mut manifest = json!({
        "name": "chaos", "version": "0.1.0", "component": "chaos.wasm", "sha256": sha256(&component),
        "topics": ["chaos.go"], "actions": ["trade", "buy"],
    });
    if let Some(actions) = actions {
        manifest["limits"] = json!({"actions": actions});
    }
    let upload = json!({"manifest": manifest, "component": base64(&component), "reason": "a test"});
    let (status, answer) = client.send("PUT", "/v1/agents/chaos", &upload);
    assert_eq!(status, 200, "{answer}");
}

/// Sends a signal that leads to two actions. Returns its id and its trace.
fn send_split(client: &mut Client) -> (String, String) {
    let answer = post_signal(client, "chaos.go", &json!("split"));
    let text = |field: &str| answer[field].as_str().expect("a text").to_owned();
    (text("signal_id"), text("trace_id"))
}

fn list_failed(client: &mut Client, query: &str) -> Vec<Value> {
    let (status, page) = client.get(&format!("/v1/signals/failed{query}"));
    assert_eq!(status, 200, "{page}");
    page["signals"].as_array().expect("signals").clone()
}

fn wait_until_idle(client: &mut Client, data: &std::path::Path) {
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    let pending = "SELECT count(*) FROM deliveries WHERE status = 'pending'";
    wait_until("no signal waits", || {
        let (_, agents) = client.get("/v1/agents");
        let waiting = agents["agents"][0]["waiting"] == json!(0);
        waiting && database.query_row(pending, [], |row| row.get(0)) == Ok(0)
    });
}

/// How many decisions a trace has.
fn count_decisions(client: &mut Client, trace_id: &str) -> usize {
    let trace = wait_for_trace(client, trace_id, |trace| trace["pending_deliveries"] == 0);
    let steps = trace["steps"].as_array().expect("steps");
    steps
        .iter()
        .filter(|step| step["step"] == "decision")
        .count()
}

fn post_redelivery(client: &mut Client, key: Option<&str>, body: &Value) -> (u16, Value, bool) {
    let mut headers = vec![JSON];
    headers.extend(key.map(|key| ("Idempotency-Key", key)));
    let body = body.to_string();
    let (status, headers, answer) = client
        .request("POST", "/v1/signals/redeliver", &headers, body.as_bytes())
        .expect("an answer");
    let answer = serde_json::from_slice(&answer).expect("JSON");
    let replayed = header(&headers, "idempotent-replayed") == Some("true");
    (status, answer, replayed)
}

#[test]
fn a_failed_signal_is_listed_and_delivered_again_once() {
    let dir = TestDir::new(PATIENT);
    let host = dir.start();
    let mut client = Client::new(&host);
    serve_chaos(&mut client, Some(1));
    let (signal, trace_id) = send_split(&mut client);
    wait_until_idle(&mut client, &dir.data());
    let failed = list_failed(&mut client, "?agent=chaos");
    assert_eq!(failed.len(), 1, "{failed:?}");
    let row = &failed[0];
    assert_eq!(
        (&row["signal_id"], &row["agent"]),
        (&json!(signal), &json!("chaos"))
    );
    assert_eq!(
        (&row["trace_id"], &row["topic"]),
        (&json!(trace_id), &json!("chaos.go"))
    );
    assert!(
        row["reason"]
            .as_str()
            .is_some_and(|it| it.contains("actions")),
        "{row}"
    );
    assert!(
        row["failed_at_ms"].as_u64() >= row["accepted_at_ms"].as_u64(),
        "{row}"
    );
    let capsule = row["failure_id"].as_str().expect("the failure's id");
    let list = run_ark(&[
        "agent",
        "capsules",
        "--data-dir",
        &dir.data().display().to_string(),
    ]);
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    assert!(list.starts_with(capsule), "{list}");
    // A name that no agent has is no empty list.
    for (agent, remedy) in [
        (
            "kyle",
            "give the name of an agent that GET /v1/agents lists",
        ),
        ("choas", "did you mean chaos? GET /v1/agents lists them"),
    ] {
        let (status, refused) = client.get(&format!("/v1/signals/failed?agent={agent}"));
        assert_eq!(
            (status, &refused["field"], &refused["remedy"]),
            (404, &json!("agent"), &json!(remedy)),
            "{refused}"
        );
    }

    // As long as the agent is as it was, it fails again; under the same key nothing more is done.
    let request = json!({"agent": "chaos", "signal_id": signal, "reason": "try again"});
    let (status, first, replayed) = post_redelivery(&mut client, Some("once"), &request);
    assert_eq!((status, replayed), (202, false), "{first}");
    assert_eq!(first["signals"], json!([signal]));
    wait_until_idle(&mut client, &dir.data());
    assert_eq!(list_failed(&mut client, "").len(), 1);
    let (status, again, replayed) = post_redelivery(&mut client, Some("once"), &request);
    assert_eq!((status, replayed), (202, true), "{again}");
    assert_eq!(again, first);
    let (status, reused, _) =
        post_redelivery(&mut client, Some("once"), &json!({"agent": "chaos"}));
    assert_eq!(status, 422, "{reused}");
    // What has failed again since is not taken for what had failed before.
    let until = first["failed_until_ms"].as_u64().expect("a time");
    let earlier = json!({"agent": "chaos", "failed_until_ms": until.saturating_sub(60_000)});
    let (status, nothing, _) = post_redelivery(&mut client, None, &earlier);
    assert_eq!(
        (status, &nothing["signals"]),
        (202, &json!([])),
        "{nothing}"
    );

    serve_chaos(&mut client, None);
    let (status, answer, _) = post_redelivery(&mut client, None, &request);
    assert_eq!(status, 202, "{answer}");
    assert_eq!(count_decisions(&mut client, &trace_id), 2);
    wait_until_idle(&mut client, &dir.data());
    assert_eq!(list_failed(&mut client, ""), Vec::<Value>::new());
    let (status, settled, _) = post_redelivery(&mut client, None, &request);
    assert_eq!(status, 409, "{settled}");
    assert_eq!(settled["type"], "urn:ark:problem:not-failed");
    // The audit log has each redelivery in the signal's trace, with who and why.
    let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
    let recorded: Vec<String> = database
        .prepare(
            "SELECT body FROM audit_log WHERE action_type = 'signal.redeliver' AND trace_id = ?1",
        )
        .expect("a query")
        .query_map([&trace_id], |row| row.get(0))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("bodies");
    assert_eq!(recorded.len(), 2, "{recorded:?}");
    assert!(
        recorded[0].contains("try again") && recorded[0].contains(&signal),
        "{recorded:?}"
    );
}

#[test]
fn refused_redeliveries_name_the_remedy() {
    let dir = TestDir::new(PATIENT);
    let data = dir.data();
    let _root = make_token(&data, "root", "admin", &[]);
    let reader = make_token(&data, "eyes", "reader", &[]);
    let operator = make_token(&data, "desk", "operator", &[]);
    let submitter = make_token(
        &data,
        "feed",
        "submitter",
        &["--agent", "api", "--actions", "*"],
    );
    let host = dir.start();
    let mut client = Client::with_token(&host, &operator);
    serve_chaos(&mut client, Some(1));
    let signal = json!({"topic": "chaos.go", "payload": "split", "ttl_ms": 1_000});
    let mut sender = Client::with_token(&host, &submitter);
    let (status, sent) = sender.post("/v1/signals", &signal);
    assert_eq!(status, 202, "{sent}");
    wait_until_idle(&mut client, &data);
    let signal = sent["signal_id"].clone();
    let one = json!({"agent": "chaos", "signal_id": signal});
    // Only an operator may.
    for token in [&reader, &submitter] {
        let (status, refused) =
            Client::with_token(&host, token).post("/v1/signals/redeliver", &one);
        assert_eq!(status, 403, "{refused}");
    }
    let seen = list_failed(&mut Client::with_token(&host, &reader), "");
    assert_eq!(seen.len(), 1, "{seen:?}");
    let unknown = json!({"agent": "nobody", "signal_id": signal});
    let (status, refused, _) = post_redelivery(&mut client, None, &unknown);
    assert_eq!(
        (status, &refused["field"]),
        (404, &json!("agent")),
        "{refused}"
    );
    let foreign = json!({"agent": "chaos", "signal_id": "00000000-0000-7000-8000-000000000000"});
    assert_eq!(post_redelivery(&mut client, None, &foreign).0, 409);
    let malformed = json!({"agent": "chaos", "signal_id": "7"});
    let (status, refused, _) = post_redelivery(&mut client, None, &malformed);
    assert_eq!(
        (status, &refused["field"]),
        (400, &json!("signal_id")),
        "{refused}"
    );
    let (status, refused) = client.get("/v1/signals/failed?cursor=elsewhere");
    assert_eq!(
        (status, &refused["field"]),
        (400, &json!("cursor")),
        "{refused}"
    );
    // Once its time to live is over, it cannot be delivered any more, alone or with others.
    wait_until("the signal has expired", || {
        let (status, refused, _) = post_redelivery(&mut client, None, &one);
        if status == 202 {
            wait_until_idle(&mut client, &data);
        }
        status == 409 && refused["type"] == "urn:ark:problem:signal-expired"
    });
    let (status, rest, _) = post_redelivery(&mut client, None, &json!({"agent": "chaos"}));
    assert_eq!(status, 202, "{rest}");
    assert_eq!(
        (&rest["signals"], &rest["expired"]),
        (&json!([]), &json!(1))
    );
}

#[test]
fn all_signals_of_an_agent_are_delivered_again_once() {
    const SIGNALS: usize = 120;
    let dir = TestDir::new(PATIENT);
    let host: Host = dir.start();
    let mut client = Client::new(&host);
    serve_chaos(&mut client, Some(1));
    let traces: Vec<String> = (0..SIGNALS).map(|_| send_split(&mut client).1).collect();
    wait_until_idle(&mut client, &dir.data());
    let first = list_failed(&mut client, "?limit=100");
    let last = first.last().expect("a row");
    let cursor = format!(
        "?limit=100&cursor={}:{}",
        last["signal_id"].as_str().expect("an id"),
        last["agent"].as_str().expect("a name")
    );
    let second = list_failed(&mut client, &cursor);
    assert_eq!((first.len(), second.len()), (100, SIGNALS - 100));
    assert!(second.iter().all(|row| !first.contains(row)));
    serve_chaos(&mut client, None);
    let url = format!("http://{}", host.address);
    let redeliver_all = |url: &str| {
        run_ark(&[
            "signals",
            "redeliver",
            "--all",
            "--agent",
            "chaos",
            "--reason",
            "mended",
            "--url",
            url,
        ])
    };
    let output = redeliver_all(&url);
    assert!(output.status.success(), "{output:?}");
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(told, "120 signals are delivered to chaos again\n");
    for trace_id in &traces {
        assert_eq!(count_decisions(&mut client, trace_id), 2, "{trace_id}");
    }
    assert_eq!(list_failed(&mut client, ""), Vec::<Value>::new());
    let told = String::from_utf8_lossy(&redeliver_all(&url).stdout).into_owned();
    assert_eq!(told, "0 signals are delivered to chaos again\n");
    let listed = run_ark(&["signals", "failed", "--url", &url]);
    assert_eq!(String::from_utf8_lossy(&listed.stdout), "");
    assert_eq!(
        String::from_utf8_lossy(&listed.stderr),
        "ark: no failed signals\n"
    );
}

#[test]
fn signals_are_delivered_again_once_over_a_kill() {
    const SIGNALS: usize = 60;
    const ROUNDS: usize = 20;
    let dir = TestDir::new(PATIENT);
    let mut host: Host = dir.start();
    let mut rounds = 0;
    // A kill counts that came before all of them were delivered.
    let waited = loop {
        let mut client = Client::new(&host);
        serve_chaos(&mut client, Some(1));
        let traces: Vec<String> = (0..SIGNALS).map(|_| send_split(&mut client).1).collect();
        wait_until_idle(&mut client, &dir.data());
        assert_eq!(list_failed(&mut client, "?limit=100").len(), SIGNALS);
        serve_chaos(&mut client, None);
        let (status, answer, _) = post_redelivery(&mut client, None, &json!({"agent": "chaos"}));
        host.kill();
        assert_eq!(status, 202, "{answer}");
        let database = rusqlite::Connection::open(dir.data().join("ark.db")).expect("the database");
        let pending = "SELECT count(*) FROM deliveries WHERE status = 'pending'";
        let waited: usize = database
            .query_row(pending, [], |row| row.get(0))
            .expect("a count");
        drop(database);
        host = dir.start();
        let mut client = Client::new(&host);
        for trace_id in &traces {
            assert_eq!(count_decisions(&mut client, trace_id), 2, "{trace_id}");
        }
        assert_eq!(list_failed(&mut client, ""), Vec::<Value>::new());
        rounds += 1;
        if waited > 0 || rounds == ROUNDS {
            break waited;
        }
    };
    assert!(waited > 0, "no delivery waited at any of {rounds} kills");
}
