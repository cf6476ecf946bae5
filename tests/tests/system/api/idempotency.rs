//! Idempotency keys that an earlier version stored: a repetition still gets its first answer.

use ark_tests::{Client, Host, JSON, header, trade};
use rusqlite::{Connection, params};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

/// A request under its key.
struct KeyedRequest {
    method: &'static str,
    path: &'static str,
    body: Value,
    /// The text whose digest earlier versions stored.
    earlier_text: String,
}

fn send_request(
    client: &mut Client,
    request: &KeyedRequest,
    key: &str,
    body: &Value,
) -> (u16, Option<String>, Value) {
    let headers = [JSON, ("Idempotency-Key", key)];
    let body = body.to_string();
    let (status, headers, answer) = client
        .request(request.method, request.path, &headers, body.as_bytes())
        .expect("an answer");
    let revision = header(&headers, "etag").map(str::to_owned);
    (
        status,
        revision,
        serde_json::from_slice(&answer).expect("JSON"),
    )
}

/// What identifies the first answer: an id, or the revision it made.
fn read_identity(answer: &Value) -> Value {
    ["decision_id", "signal_id", "id", "revision", "since_ms"]
        .into_iter()
        .map(|name| answer[name].clone())
        .find(|value| !value.is_null())
        .expect("an id or a revision")
}

#[test]
fn a_key_of_an_earlier_version_still_gives_its_first_answer() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let signal = json!({"topic": "market.tick", "payload": {"b": 1, "a": 2}});
    let halt = json!({"reason": "a drill"});
    let setting = json!({"value": {"b": 1, "a": 2}});
    let action = trade("BTC-USD", 0.01);
    let requests = [
        KeyedRequest {
            method: "POST",
            path: "/v1/actions",
            earlier_text: action.to_string(),
            body: action,
        },
        KeyedRequest {
            method: "POST",
            path: "/v1/signals",
            earlier_text: signal.to_string(),
            body: signal,
        },
        KeyedRequest {
            method: "PUT",
            path: "/v1/config/k",
            earlier_text: r#"Config { key: "k", value_json: Some("{\"a\":2,\"b\":1}"), description: None, expected: None }"#.to_owned(),
            body: setting,
        },
        KeyedRequest {
            method: "POST",
            path: "/v1/halt",
            earlier_text: format!("Halt {halt}"),
            body: halt,
        },
    ];
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    let mut first = Vec::new();
    for (index, request) in requests.iter().enumerate() {
        let (status, _, answer) =
            send_request(&mut client, request, &format!("key-{index}"), &request.body);
        assert!(matches!(status, 200 | 202), "{}: {answer}", request.path);
        first.push(read_identity(&answer));
    }
    // A halted host does not become ready.
    let over = json!({"reason": "the drill is over"}).to_string();
    let (status, _, _) = client
        .request("POST", "/v1/resume", &[JSON], over.as_bytes())
        .expect("an answer");
    assert_eq!(status, 200);
    assert_eq!(host.terminate(), Some(0));

    // The database as an earlier version would have left it.
    let database = Connection::open(data.join("ark.db")).expect("the database");
    for (index, request) in requests.iter().enumerate() {
        let digest = Sha256::digest(request.earlier_text.as_bytes());
        let key = format!("key-{index}");
        let mut changed = 0;
        for table in ["idempotency", "signal_keys"] {
            let statement = format!("UPDATE {table} SET request = ?1 WHERE key = ?2");
            changed += database
                .execute(&statement, params![digest.as_slice(), key])
                .expect("an update");
        }
        assert_eq!(changed, 1, "{}", request.path);
    }
    drop(database);

    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    for (index, request) in requests.iter().enumerate() {
        let key = format!("key-{index}");
        let (status, _, answer) = send_request(&mut client, request, &key, &request.body);
        assert!(matches!(status, 200 | 202), "{}: {answer}", request.path);
        assert_eq!(read_identity(&answer), first[index], "{}", request.path);
        let mut other = request.body.clone();
        match request.path {
            "/v1/actions" => other["reasoning"] = json!("another request"),
            "/v1/signals" => other["payload"] = json!("another request"),
            "/v1/config/k" => other["value"] = json!("another request"),
            _ => other["reason"] = json!("another request"),
        }
        let (status, _, answer) = send_request(&mut client, request, &key, &other);
        assert_eq!(status, 422, "{}: {answer}", request.path);
    }
    assert_eq!(host.terminate(), Some(0));
}
