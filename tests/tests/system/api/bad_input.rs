//! What cannot be judged is refused with the field's name; nothing of it is recorded, and the host serves on.

use ark_tests::{Client, Host, JSON, make_token, send_raw, trade};
use serde_json::{Value, json};

fn write_proposal(parameters: &str) -> Vec<u8> {
    format!(r#"{{"agent":"api","action_type":"trade","reasoning":"r","parameters":{parameters}}}"#)
        .into_bytes()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
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
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":NaN}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":Infinity}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":1e999}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":-0.1}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":"0.05"}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":1.5}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":7,"position_size_pct":0.1}"#), 400, "parameters.symbol"),
        ("/v1/actions", br#"{"agent":"api","action_type":""}"#.to_vec(), 400, "action_type"),
        ("/v1/actions", br#"{"agent":"api","action_type":"x","resoning":"r"}"#.to_vec(), 400, "resoning"),
        ("/v1/actions", br#"{"agent":"nobody","action_type":"x"}"#.to_vec(), 422, "agent"),
        ("/v1/actions?dry_run=perhaps", trade("X", 0.01).to_string().into_bytes(), 400, "dry_run"),
        ("/v1/actions?dry_run=true&dry_run=false", trade("X", 0.01).to_string().into_bytes(), 400, "dry_run"),
        // Readers differ in which of two they take.
        ("/v1/actions", br#"{"agent":"api","agent":"kyle","action_type":"x"}"#.to_vec(), 400, "agent"),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":0.01,"position_size_pct":0.5}"#), 400, size),
        ("/v1/actions", write_proposal(r#"{"symbol":"X","position_size_pct":0.01,"note":{"a":[{"b":1,"\u0062":2}]}}"#), 400, "parameters.note.a[0].b"),
        ("/v1/signals", br#"{"topic":"a","payload":{"k":1,"k":1}}"#.to_vec(), 400, "payload.k"),
        ("/v1/actions", write_proposal(&format!(r#"{{"symbol":"X","position_size_pct":0.01,"n":{}1{}}}"#, "[".repeat(200), "]".repeat(200))), 400, ""),
        ("/v1/actions", write_proposal(&format!(r#"{{"symbol":"X","position_size_pct":{}}}"#, "9".repeat(100_000))), 400, size),
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
        let detail = problem["detail"].as_str().unwrap_or_default();
        let remedy = problem["remedy"].as_str().unwrap_or_default();
        assert!(
            !detail.contains(remedy),
            "the detail repeats the remedy: {problem}"
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
        ("GET", "/v1/decisions?limit=1&limit=1", &[], 400),
        ("GET", "/v1/decisions?%6cimit=1&limit=2", &[], 400),
        ("GET", "/v1/graveyard?x=1", &[], 400),
        ("GET", "/v1/agents", &[("traceparent", "00-0-0-0")], 400),
        ("GET", "/v1/agents", &[("Ark-Deadline-Ms", "soon")], 400),
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
        let answer = send_raw(&host, garbage);
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

/// A name is a name and a key is a key, however it is written: none of them is a way through the file system or to another call.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn no_spelling_of_a_name_leads_elsewhere() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let outside = dir.path().join("outside.wasm");
    std::fs::write(&outside, b"a secret").expect("a file");
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    let spellings = [
        "..",
        ".",
        "%2e%2e",
        "%2E%2E",
        "..%2f..",
        "%2e%2e%2f%2e%2e%2foutside.wasm",
        "..%5c..",
        "%252e%252e%252f",
        "..%c0%af",
        "%c0%ae%c0%ae",
        "..%00",
        "kyle%00.wasm",
        "kyle%0a",
        "%2Fetc%2Fpasswd",
        "%2F%2Fevil.example%2F",
        "C%3A%5C",
        "kyle%2f..%2fjoey",
        "kyle%3Fforce%3Dtrue",
        "kyle%23",
        "%EF%BC%8E%EF%BC%8E",
        "~root",
        "%7Eroot",
        "KYLE",
        "%20kyle",
        "kyle%20",
        "con",
        "%ff",
        "%",
    ];
    for name in spellings {
        for path in [
            format!("/v1/agents/{name}"),
            format!("/v1/agents/{name}/versions/1/component"),
            format!("/v1/agents/kyle/versions/{name}/component"),
            format!("/v1/state/{name}/k"),
            format!("/v1/memory/{name}"),
            format!("/v1/lists/{name}"),
            format!("/v1/decisions/{name}"),
            format!("/v1/approvals/{name}"),
            format!("/v1/traces/{name}"),
        ] {
            let (status, _, body) = client.request("GET", &path, &[], b"").expect("an answer");
            let body = String::from_utf8_lossy(&body);
            // `con` is a name of which nothing is known: an agent without memories.
            let nothing = status == 200 && body.contains("\"memories\":[]");
            assert!(
                matches!(status, 400 | 404) || nothing,
                "{path}: {status} {body}"
            );
            assert!(
                !body.contains("a secret") && !body.contains("root:"),
                "{path}: {body}"
            );
        }
        for (method, path, body) in [
            ("PUT", format!("/v1/agents/{name}"), "{}"),
            ("DELETE", format!("/v1/agents/{name}"), ""),
            (
                "POST",
                format!("/v1/agents/{name}/quarantine"),
                r#"{"reason":"r"}"#,
            ),
            ("DELETE", format!("/v1/tokens/{name}"), ""),
            ("PUT", format!("/v1/state/{name}/k"), "{}"),
        ] {
            let (status, _, answer) = client
                .request(method, &path, &[JSON], body.as_bytes())
                .expect("an answer");
            assert!(
                (400..500).contains(&status),
                "{method} {path}: {status} {}",
                String::from_utf8_lossy(&answer)
            );
        }
    }
    // In a key anything but control characters is itself, and stays itself.
    for (spelling, key) in [
        ("..%2F..%2Fetc%2Fpasswd", "../../etc/passwd"),
        ("%252e%252e", "%2e%2e"),
        ("a%5Cb", "a\\b"),
        ("%EF%BC%8E", "\u{ff0e}"),
        ("history", "history"),
    ] {
        let path = format!("/v1/config/{spelling}");
        let body = json!({"value": spelling}).to_string();
        let (status, _, answer) = client
            .request("PUT", &path, &[JSON], body.as_bytes())
            .expect("an answer");
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&answer));
        let (status, shown) = client.get(&path);
        assert_eq!((status, &shown["key"]), (200, &json!(key)), "{path}");
    }
    let files: Vec<String> = std::fs::read_dir(dir.path())
        .expect("the directory")
        .map(|file| {
            file.expect("a file")
                .file_name()
                .to_string_lossy()
                .into_owned()
        })
        .collect();
    assert_eq!(
        files.len(),
        3,
        "data, data.toml and outside.wasm: {files:?}"
    );
    assert_eq!(std::fs::read(&outside).expect("the file"), b"a secret");
}

/// Every answer that says no names what is at fault and what to do.
#[test]
#[expect(clippy::too_many_lines, reason = "a table of cases")]
fn missing_or_forbidden_items_name_the_field_and_the_remedy() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    let nobody = "01890000-0000-7000-8000-000000000000";
    for (method, path, status, field, remedy) in [
        (
            "GET",
            "/v1/action",
            404,
            "path",
            "did you mean /v1/actions?",
        ),
        (
            "POST",
            "/v1/action",
            404,
            "path",
            "did you mean /v1/actions?",
        ),
        (
            "GET",
            "/decisions",
            404,
            "path",
            "did you mean /v1/decisions?",
        ),
        (
            "GET",
            "/v1/approval/7/aprove",
            404,
            "path",
            "did you mean /v1/approvals/{id}/approve?",
        ),
        ("GET", "/nothing/of/the/kind", 404, "path", "GET /docs"),
        ("GET", "/v1/state/kyle/a/b", 404, "path", "%2F"),
        ("DELETE", "/v1/actions", 405, "method", "use POST"),
        ("PUT", "/healthz", 405, "method", "use GET, HEAD"),
        (
            "GET",
            &format!("/v1/decisions/{nobody}"),
            404,
            "id",
            "GET /v1/decisions",
        ),
        (
            "GET",
            &format!("/v1/approvals/{nobody}"),
            404,
            "id",
            "GET /v1/approvals",
        ),
        (
            "GET",
            &format!("/v1/operations/{nobody}"),
            404,
            "id",
            "GET /v1/agents",
        ),
        (
            "GET",
            "/v1/traces/0123456789abcdef0123456789abcdef",
            404,
            "id",
            "GET /v1/decisions",
        ),
        ("GET", "/v1/agents/nobody", 404, "name", "GET /v1/agents"),
        (
            "GET",
            "/v1/policies/nobody",
            404,
            "name",
            "GET /v1/policies",
        ),
        (
            "GET",
            "/v1/lists/nothing",
            404,
            "list",
            "restricted, client_orders",
        ),
        (
            "GET",
            "/v1/lists/restricted/entries/X",
            404,
            "key",
            "GET /v1/lists/{list}",
        ),
        (
            "GET",
            "/v1/state/kyle/nothing",
            404,
            "key",
            "GET /v1/state/{agent}",
        ),
        ("GET", "/v1/state/kyle/nothing/history", 404, "key", "list"),
        ("GET", "/v1/config/nothing", 404, "key", "GET /v1/config"),
        ("GET", "/v1/truth/nothing", 404, "key", "GET /v1/truth"),
    ] {
        let (found, _, body) = client.request(method, path, &[], b"").expect("an answer");
        let problem: Value = serde_json::from_slice(&body).expect("a problem document");
        assert_eq!(
            (found, &problem["field"]),
            (status, &json!(field)),
            "{method} {path}: {problem}"
        );
        let told = problem["remedy"].as_str().unwrap_or_default();
        assert!(told.contains(remedy), "{method} {path}: {problem}");
    }
    let path = "/v1/state/kyle/secret%2Fbroker";
    let (status, _, body) = client
        .request("PUT", path, &[JSON], br#"{"value":"a key"}"#)
        .expect("an answer");
    let problem: Value = serde_json::from_slice(&body).expect("a problem document");
    assert_eq!(
        (status, &problem["field"], &problem["detail"]),
        (
            409,
            &json!("key"),
            &json!("\"secret/broker\" is a secret and the host has no key to encrypt it with")
        ),
        "{problem}"
    );
    let told = problem["remedy"].as_str().unwrap_or_default();
    assert!(
        told.starts_with("start the host with ARK_SECRET_KEY_FILE"),
        "{problem}"
    );
    assert_eq!(host.terminate(), Some(0));
    let admin = make_token(&data, "ada", "admin", &[]);
    assert!(!admin.is_empty());
    let reader = make_token(&data, "reader", "reader", &[]);
    let host = Host::start(&data, &[]);
    let mut client = Client::with_token(&host, &reader);
    let (status, problem) = client.post("/v1/halt", &json!({"reason": "r"}));
    assert_eq!(
        (status, &problem["field"]),
        (403, &json!("Authorization")),
        "{problem}"
    );
    assert!(
        problem["remedy"]
            .as_str()
            .is_some_and(|it| it.starts_with("use a token of the role operator")),
        "{problem}"
    );
    assert_eq!(host.terminate(), Some(0));
}
