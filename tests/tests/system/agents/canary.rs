//! A version on trial, on the real binary: its share of the signals, its end, and what of it outlives a restart.

use ark_tests::{
    Client, Host, TestDir, base64, hostile_guests_dir, mark_component, sha256, wait_until,
};
use serde_json::{Value, json};

/// No deadline ends what a busy machine holds up, and no minute is too short.
const LIMITS: &str = "[limits]\ndeadline_ms = 30_000\nactions_per_minute = 1_000_000\n";

/// Uploads `chaos` with one more custom section, so that each mark is a version of its own.
fn upload_version(client: &mut Client, mark: u8, rollout: bool) {
    let bytes = std::fs::read(hostile_guests_dir().join("chaos.wasm")).expect("a component");
    let bytes = mark_component(bytes, mark);
    let body = json!({
        "manifest": {"name": "chaos", "version": "0.1.0", "component": "chaos.wasm", "sha256": sha256(&bytes),
            "topics": ["chaos.go"], "actions": ["publish"]},
        "component": base64(&bytes), "rollout": rollout, "by": "ada", "reason": "a test",
    });
    let (status, answer) = client.send("PUT", "/v1/agents/chaos", &body);
    assert_eq!(status, 200, "{answer}");
}

fn put_canary(client: &mut Client, body: &Value) -> (u16, Value) {
    client.post("/v1/agents/chaos/canary", body)
}

fn send_signals(client: &mut Client, how: &str, count: usize) {
    for _ in 0..count {
        let signal = json!({"topic": "chaos.go", "payload": how});
        let (status, answer) = client.post("/v1/signals", &signal);
        assert_eq!(status, 202, "{answer}");
    }
    wait_until("no signal waits", || {
        show_agent(client)["waiting"] == json!(0)
    });
}

fn show_agent(client: &mut Client) -> Value {
    let (status, shown) = client.get("/v1/agents/chaos");
    assert_eq!(status, 200, "{shown}");
    shown
}

fn read_invocations(host: &Host, deployment: &str) -> u64 {
    let start = format!(
        "ark_agent_invocations_total{{agent=\"chaos\",deployment=\"{deployment}\",result=\"success\"}} "
    );
    Client::of_telemetry(host)
        .get_text("/metrics")
        .lines()
        .find_map(|line| line.strip_prefix(&start)?.parse().ok())
        .expect("a row")
}

#[test]
fn a_canary_gets_its_share_survives_a_kill_and_ends_with_a_rollout() {
    let place = TestDir::new(LIMITS);
    let host = place.start();
    let mut client = Client::new(&host);
    upload_version(&mut client, 1, true);
    upload_version(&mut client, 2, false);
    let trial = json!({"number": 2, "share": 0.5, "by": "ada", "reason": "is it better?"});
    let (status, answer) = put_canary(&mut client, &trial);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["serving"], &answer["canary"]),
        (&json!(1), &json!({"number": 2, "share": 0.5})),
        "{answer}"
    );
    send_signals(&mut client, "environment", 300);
    let shown = show_agent(&mut client);
    let handled = shown["canary"]["handled"].as_u64().expect("a count");
    // Eight standard deviations of a binomial.
    assert!((80..=220).contains(&handled), "{shown}");
    assert_eq!(
        (&shown["handled"], &shown["serving"]),
        (&json!(300), &json!(1))
    );
    assert_eq!(
        (
            read_invocations(&host, "canary"),
            read_invocations(&host, "stable")
        ),
        (handled, 300 - handled)
    );
    drop(host);
    let host = place.start();
    let mut client = Client::new(&host);
    let kept = show_agent(&mut client);
    assert_eq!(
        (&kept["canary"]["number"], &kept["canary"]["share"]),
        (&json!(2), &json!(0.5)),
        "{kept}"
    );
    let (_, listed) = client.get("/v1/agents");
    assert_eq!(listed["agents"][0]["canary"]["number"], 2, "{listed}");
    let order = json!({"number": 2, "by": "ada", "reason": "it is"});
    let (status, answer) = client.post("/v1/agents/chaos/rollout", &order);
    assert_eq!(status, 200, "{answer}");
    assert_eq!(answer["canary"], Value::Null, "{answer}");
    let shown = show_agent(&mut client);
    assert_eq!(
        (&shown["serving"], &shown["canary"]),
        (&json!(2), &Value::Null)
    );
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn one_that_fails_is_withdrawn_and_the_agent_goes_on() {
    let place = TestDir::new(LIMITS);
    let host = place.start();
    let mut client = Client::new(&host);
    upload_version(&mut client, 1, true);
    upload_version(&mut client, 2, false);
    let (status, answer) = put_canary(
        &mut client,
        &json!({"number": 2, "share": 1.0, "by": "ada"}),
    );
    assert_eq!(status, 200, "{answer}");
    send_signals(&mut client, "panic", 5);
    let shown = show_agent(&mut client);
    assert_eq!(
        (&shown["canary"], &shown["quarantined"], &shown["serving"]),
        (&Value::Null, &json!(false), &json!(1)),
        "{shown}"
    );
    // What comes now is the stable version's.
    send_signals(&mut client, "environment", 3);
    assert_eq!(read_invocations(&host, "stable"), 3);
    let (_, alerts) = client.get("/v1/watchdog/alerts?kind=canary_withdrawn");
    let alert = &alerts["alerts"][0];
    assert_eq!(
        (&alert["agent"], &alert["severity"]),
        (&json!("chaos"), &json!("critical")),
        "{alerts}"
    );
    drop(host);
    let host = place.start();
    let shown = show_agent(&mut Client::new(&host));
    assert_eq!(shown["canary"], Value::Null, "{shown}");
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let said: Vec<String> = database
        .prepare("SELECT json_extract(body, '$.by') || ' ' || coalesce(json_extract(body, '$.share'), 'none') FROM audit_log WHERE action_type = 'agent.canary' ORDER BY seq")
        .expect("a query")
        .query_map([], |row| row.get(0))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("texts");
    assert_eq!(said, ["ada 1.0", "watchdog none"]);
}

#[test]
fn senseless_values_are_refused_with_their_field() {
    let place = TestDir::new(LIMITS);
    let host = place.start();
    let mut client = Client::new(&host);
    let (status, answer) = put_canary(&mut client, &json!({"number": 1, "share": 0.1}));
    assert_eq!(status, 404, "{answer}");
    upload_version(&mut client, 1, true);
    upload_version(&mut client, 2, false);
    for (body, status, field) in [
        (json!({"number": 1, "share": 0.1}), 409, "number"),
        (json!({"number": 7, "share": 0.1}), 404, "number"),
        (json!({"number": 2, "share": 1.5}), 400, "share"),
        (json!({"number": 2, "share": -0.1}), 400, "share"),
        (json!({"number": 2, "share": "a tenth"}), 400, "share"),
        (json!({"number": 2, "share": 0}), 400, "number"),
        (json!({"number": 2}), 400, "share"),
        (json!({"share": 0.1}), 400, "number"),
        (json!({"share": 0}), 409, "share"),
        (
            json!({"number": 2, "share": 0.1, "percent": 10}),
            400,
            "percent",
        ),
    ] {
        let (found, answer) = put_canary(&mut client, &body);
        assert_eq!(
            (found, &answer["field"]),
            (status, &json!(field)),
            "{body}: {answer}"
        );
        assert!(answer["remedy"].is_string(), "{answer}");
    }
    assert_eq!(show_agent(&mut client)["canary"], Value::Null);
    let (status, _) = put_canary(&mut client, &json!({"number": 2, "share": 0.1}));
    assert_eq!(status, 200);
    let (status, answer) = put_canary(&mut client, &json!({"share": 0, "reason": "seen enough"}));
    assert_eq!((status, &answer["canary"]), (200, &Value::Null), "{answer}");
    assert_eq!(host.terminate(), Some(0));
}
