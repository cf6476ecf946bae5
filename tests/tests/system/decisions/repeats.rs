//! A request that is repeated under its key gets the first answer, also when a fresh request would be refused by now.

use ark_tests::{
    Client, Host, JSON, PATIENT, TestDir, base64, header, hostile_guests_dir, make_token, sha256,
    trade,
};
use serde_json::{Value, json};

/// Sends a request under a key. Returns the status, the answer, and whether it is a first answer given again.
fn send_keyed(client: &mut Client, path: &str, key: &str, body: &Value) -> (u16, Value, bool) {
    let headers = [JSON, ("Idempotency-Key", key)];
    let body = body.to_string();
    let (status, headers, answer) = client
        .request("POST", path, &headers, body.as_bytes())
        .expect("an answer");
    let answer = serde_json::from_slice(&answer).expect("JSON");
    let replayed = header(&headers, "idempotent-replayed") == Some("true");
    (status, answer, replayed)
}

fn serve_chaos(client: &mut Client) {
    let component = std::fs::read(hostile_guests_dir().join("chaos.wasm")).expect("a component");
    let manifest = json!({
        "name": "chaos", "version": "0.1.0", "component": "chaos.wasm", "sha256": sha256(&component),
        "topics": ["chaos.go"], "actions": ["trade", "buy"],
    });
    let upload = json!({"manifest": manifest, "component": base64(&component), "reason": "a test"});
    let (status, answer) = client.send("PUT", "/v1/agents/chaos", &upload);
    assert_eq!(status, 200, "{answer}");
}

fn count_decisions(client: &mut Client) -> usize {
    let (_, page) = client.get("/v1/decisions");
    page["decisions"].as_array().expect("decisions").len()
}

#[test]
fn a_repetition_past_a_quota_gets_the_first_decision() {
    let dir = TestDir::new("[token_quotas]\naudit_bytes_per_minute = 1_000\n");
    let data = dir.data();
    let _root = make_token(&data, "root", "admin", &[]);
    let more = ["--agent", "api", "--actions", "*"];
    let desk = make_token(&data, "desk", "submitter", &more);
    let bulk = make_token(&data, "bulk", "submitter", &more);
    let host: Host = dir.start();
    let batch = json!({"actions": [trade("X", 0.01), trade("Y", 0.01)]});
    for (token, path, body) in [
        (&desk, "/v1/actions", trade("X", 0.01)),
        (&bulk, "/v1/actions/batch", batch),
    ] {
        let mut client = Client::with_token(&host, token);
        let (status, first, replayed) = send_keyed(&mut client, path, "k1", &body);
        assert_eq!((status, replayed), (200, false), "{first}");
        let (status, refused, _) = send_keyed(&mut client, path, "k2", &body);
        assert_eq!(
            (status, &refused["outcome"]),
            (429, &json!("denied")),
            "{refused}"
        );
        let (status, again, replayed) = send_keyed(&mut client, path, "k1", &body);
        assert_eq!((status, replayed), (200, true), "{again}");
        assert_eq!(again, first);
        // The key of another request is not answered with what that got.
        let other = json!({"actions": [trade("Z", 0.02)]});
        let other = if path == "/v1/actions" {
            trade("Z", 0.02)
        } else {
            other
        };
        let (status, refused, replayed) = send_keyed(&mut client, path, "k1", &other);
        assert_eq!((status, replayed), (429, false), "{refused}");
    }
    // Nor is the key of another token.
    let mut client = Client::with_token(&host, &bulk);
    let (status, refused, _) = send_keyed(&mut client, "/v1/actions", "k1", &trade("X", 0.01));
    assert_eq!(status, 429, "{refused}");
    assert_eq!(count_decisions(&mut client), 3);
}

#[test]
fn a_repetition_in_quarantine_gets_the_first_decision() {
    let dir = TestDir::new(PATIENT);
    let host = dir.start();
    let mut client = Client::new(&host);
    serve_chaos(&mut client);
    let mut action = trade("X", 0.01);
    action["agent"] = json!("chaos");
    let batch = json!({"actions": [action]});
    let calls = [("/v1/actions", action), ("/v1/actions/batch", batch)];
    let first: Vec<Value> = calls
        .iter()
        .map(|(path, body)| {
            let (status, first, replayed) = send_keyed(&mut client, path, "k1", body);
            assert_eq!((status, replayed), (200, false), "{first}");
            first
        })
        .collect();
    let order = json!({"reason": "a test"});
    assert_eq!(client.post("/v1/agents/chaos/quarantine", &order).0, 200);
    for ((path, body), first) in calls.iter().zip(&first) {
        for key in ["k2", "k3"] {
            let (status, refused, _) = send_keyed(&mut client, path, key, body);
            assert_eq!(status, 409, "{refused}");
        }
        assert_eq!(client.post(path, body).0, 409);
        let (status, again, replayed) = send_keyed(&mut client, path, "k1", body);
        assert_eq!((status, replayed), (200, true), "{again}");
        assert_eq!(&again, first);
    }
    assert_eq!(count_decisions(&mut client), 2);
}

#[test]
fn a_repeated_signal_is_not_refused_for_a_full_backlog() {
    let dir = TestDir::new(&format!("[capacity]\nbacklog = 1\n{PATIENT}"));
    let host = dir.start();
    let mut client = Client::new(&host);
    serve_chaos(&mut client);
    // In quarantine nothing is handed out, so that the signal waits.
    let order = json!({"reason": "a test"});
    assert_eq!(client.post("/v1/agents/chaos/quarantine", &order).0, 200);
    let signal = json!({"topic": "chaos.go", "payload": "split"});
    let (status, first, replayed) = send_keyed(&mut client, "/v1/signals", "k1", &signal);
    assert_eq!((status, replayed), (202, false), "{first}");
    let (status, refused, _) = send_keyed(&mut client, "/v1/signals", "k2", &signal);
    assert_eq!(
        (status, &refused["type"]),
        (503, &json!("urn:ark:problem:busy")),
        "{refused}"
    );
    let (status, again, replayed) = send_keyed(&mut client, "/v1/signals", "k1", &signal);
    assert_eq!((status, replayed), (202, true), "{again}");
    assert_eq!(again["signal_id"], first["signal_id"]);
    assert_eq!(again["trace_id"], first["trace_id"]);
    let other = json!({"topic": "chaos.go", "payload": "other"});
    let (status, refused, _) = send_keyed(&mut client, "/v1/signals", "k1", &other);
    assert_eq!(status, 503, "{refused}");
}
