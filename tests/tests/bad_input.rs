//! What cannot be judged is refused with the field's name; nothing of it is recorded, and the host serves on.

use ark_tests::{Client, Host, raw, trade};
use serde_json::{Value, json};

const JSON: (&str, &str) = ("Content-Type", "application/json");

fn with(parameters: &str) -> Vec<u8> {
    format!(r#"{{"agent":"api","action_type":"trade","reasoning":"r","parameters":{parameters}}}"#)
        .into_bytes()
}

#[test]
fn a_request_that_cannot_be_judged_names_its_field_and_leaves_nothing_behind() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let size = "parameters.position_size_pct";
    let cases: Vec<(&str, Vec<u8>, u16, &str)> = vec![
        ("/v1/actions", b"{".to_vec(), 400, "body"),
        ("/v1/actions", b"".to_vec(), 400, "body"),
        ("/v1/actions", b"[]".to_vec(), 400, "body"),
        ("/v1/actions", b"{\"agent\":\"\xff\xfe\"}".to_vec(), 400, "agent"),
        ("/v1/actions", [b"[".repeat(100_000), b"]".repeat(100_000)].concat(), 400, ""),
        ("/v1/actions", vec![b' '; 1 << 20], 413, "body"),
        ("/v1/actions", with(r#"{"symbol":"X","position_size_pct":NaN}"#), 400, size),
        ("/v1/actions", with(r#"{"symbol":"X","position_size_pct":Infinity}"#), 400, size),
        ("/v1/actions", with(r#"{"symbol":"X","position_size_pct":1e999}"#), 400, size),
        ("/v1/actions", with(r#"{"symbol":"X","position_size_pct":-0.1}"#), 400, size),
        ("/v1/actions", with(r#"{"symbol":"X","position_size_pct":"0.05"}"#), 400, size),
        ("/v1/actions", with(r#"{"symbol":"X","position_size_pct":1.5}"#), 400, size),
        ("/v1/actions", with(r#"{"symbol":7,"position_size_pct":0.1}"#), 400, "parameters.symbol"),
        ("/v1/actions", br#"{"agent":"api","action_type":""}"#.to_vec(), 400, "action_type"),
        ("/v1/actions", br#"{"agent":"api","action_type":"x","resoning":"r"}"#.to_vec(), 400, "resoning"),
        ("/v1/actions", br#"{"agent":"nobody","action_type":"x"}"#.to_vec(), 422, "agent"),
        ("/v1/actions?dry_run=perhaps", trade("X", 0.01).to_string().into_bytes(), 400, "dry_run"),
        ("/v1/actions?dryrun=true", trade("X", 0.01).to_string().into_bytes(), 400, "dryrun"),
        ("/v1/signals", br#"{"topic":"Market Tick"}"#.to_vec(), 400, "topic"),
        ("/v1/signals", br#"{"topic":"ark.decision","payload":{}}"#.to_vec(), 400, "topic"),
        ("/v1/signals", br#"{"payload":{}}"#.to_vec(), 400, "topic"),
        ("/v1/signals?dry_run=true", br#"{"topic":"a"}"#.to_vec(), 400, "dry_run"),
        ("/v1/executions?dry_run=true", b"{}".to_vec(), 400, "dry_run"),
        ("/v1/executions", br#"{"execution_id":"e"}"#.to_vec(), 400, "decision_id"),
        (
            "/v1/executions",
            br#"{"execution_id":"e","decision_id":"0190c5a8-0000-7000-8000-000000000000","status":"filled"}"#.to_vec(),
            404,
            "decision_id",
        ),
    ];
    for (path, body, status, field) in cases {
        let shown = String::from_utf8_lossy(&body[..body.len().min(120)]).into_owned();
        let (got, headers, answer) = client
            .request("POST", path, &[JSON], &body)
            .unwrap_or_else(|error| panic!("{path} {shown}: {error}"));
        assert_eq!(
            got,
            status,
            "{path} {shown}: {}",
            String::from_utf8_lossy(&answer)
        );
        assert!(
            headers
                .iter()
                .any(|(name, value)| name == "content-type" && value == "application/problem+json")
        );
        let problem: Value = serde_json::from_slice(&answer).expect("a problem document");
        let named = problem["field"].as_str().unwrap_or_default();
        assert!(
            field.is_empty() || named == field,
            "{path} {shown}: {problem}"
        );
        assert!(
            problem["remedy"]
                .as_str()
                .is_some_and(|remedy| !remedy.is_empty()),
            "{problem}"
        );
        assert!(
            problem["type"]
                .as_str()
                .is_some_and(|kind| kind.starts_with("urn:ark:problem:"))
        );
    }
    for (method, path, headers, status) in [
        (
            "POST",
            "/v1/actions",
            &[("Content-Type", "text/plain")][..],
            415,
        ),
        (
            "POST",
            "/v1/actions",
            &[JSON, ("Host", "evil.example")],
            421,
        ),
        (
            "POST",
            "/v1/actions",
            &[JSON, ("Idempotency-Key", "a b")],
            400,
        ),
        (
            "POST",
            "/v1/actions",
            &[JSON, ("traceparent", "00-0-0-0")],
            400,
        ),
        ("DELETE", "/v1/actions", &[], 405),
        ("GET", "/v1/nothing", &[], 404),
        ("GET", "/v1/decisions?limit=0", &[], 400),
        ("GET", "/v1/decisions?outcome=maybe", &[], 400),
        ("GET", "/v1/decisions?cursor=-1", &[], 400),
        ("GET", "/v1/decisions/../../etc/passwd", &[], 404),
        ("GET", "/v1/decisions/not-an-id", &[], 400),
        ("GET", "/v1/decisions/%ff", &[], 400),
        ("GET", "/v1/decisions?limit=%ff", &[], 400),
        ("GET", "/v1/traces/XYZ", &[], 400),
        (
            "GET",
            "/v1/traces/0123456789abcdef0123456789abcdef",
            &[],
            404,
        ),
    ] {
        let body = trade("X", 0.01).to_string();
        let body = if method == "POST" {
            body.as_bytes()
        } else {
            b""
        };
        let (got, _, answer) = client
            .request(method, path, headers, body)
            .expect("an answer");
        assert_eq!(
            got,
            status,
            "{method} {path}: {}",
            String::from_utf8_lossy(&answer)
        );
        assert!(
            serde_json::from_slice::<Value>(&answer)
                .is_ok_and(|problem| problem["title"].is_string()),
            "{path}"
        );
    }
    for garbage in [
        &b"\x00\x01\x02\x03\r\n\r\n"[..],
        b"GET / HTTP/9.9\r\n\r\n",
        b"POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\nhello!",
        b"POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{",
    ] {
        let answer = raw(&host, garbage);
        assert!(!answer.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&answer));
    }
    let (_, decisions) = client.get("/v1/decisions");
    assert_eq!(decisions["decisions"], json!([]));
    let (status, answer) = client.post("/v1/actions", &trade("BTC-USD", 0.05));
    assert_eq!(
        (status, &answer["outcome"]),
        (200, &json!("approved")),
        "{answer}"
    );
}
