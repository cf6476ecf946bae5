//! What consumers of the API ask for: decisions by period, instrument and rule; exports; short answers; warnings; times in both forms; what is not sent
//! again; compressed answers; pages of other origins; tickets.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::process::Command;

use ark_tests::{Client, JSON, PATIENCE, TestDir, header, make_token, trade};
use serde_json::{Value, json};

/// A trade without a stop loss, which a rule denies.
pub(super) fn without_stop(symbol: &str) -> Value {
    let mut action = trade(symbol, 0.01);
    action["parameters"]
        .as_object_mut()
        .expect("parameters")
        .remove("stop_loss");
    action
}

pub(super) fn propose(client: &mut Client, action: &Value) -> Value {
    let (status, decision) = client.post("/v1/actions", action);
    assert_eq!(status, 200, "{decision}");
    decision
}

/// The ids of all decisions that match, page by page.
pub(super) fn list(client: &mut Client, query: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    loop {
        let (status, page) = client.get(&format!("/v1/decisions?limit=2&{query}{cursor}"));
        assert_eq!(status, 200, "{query}: {page}");
        let rows = page["decisions"].as_array().expect("rows");
        found.extend(
            rows.iter()
                .map(|row| row["decision_id"].as_str().expect("an id").to_owned()),
        );
        match page["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
}

/// A request whose answer's headers and body a test looks at.
pub(super) fn ask(
    client: &mut Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: &Value,
) -> (u16, Vec<(String, String)>, Vec<u8>) {
    let body = if body.is_null() {
        Vec::new()
    } else {
        body.to_string().into_bytes()
    };
    client
        .request(method, path, headers, &body)
        .expect("an answer")
}

#[test]
fn answers_are_as_short_as_is_preferred_and_warn_of_what_nobody_reads() {
    let dir = TestDir::new("");
    let host = dir.start();
    let mut client = Client::new(&host);
    let mut action = without_stop("BTC-USD");
    action["parameters"]["stop_los"] = json!(95.0);
    action["parameters"]["take_proft"] = json!(130.0);
    action["parameters"]["note"] = json!("x");
    let minimal = [
        JSON,
        ("Prefer", "return=minimal"),
        ("Idempotency-Key", "once"),
    ];
    let (status, headers, first) = ask(&mut client, "POST", "/v1/actions", &minimal, &action);
    assert_eq!(
        (status, header(&headers, "preference-applied")),
        (200, Some("return=minimal"))
    );
    let first: Value = serde_json::from_slice(&first).expect("JSON");
    assert_eq!(first["outcome"], "denied");
    let warned: Vec<(&str, &str)> = first["warnings"]
        .as_array()
        .expect("warnings")
        .iter()
        .map(|it| {
            (
                it["parameter"].as_str().expect("a name"),
                it["known"].as_str().expect("a name"),
            )
        })
        .collect();
    assert_eq!(
        warned,
        [("stop_los", "stop_loss"), ("take_proft", "take_profit")]
    );
    let rules = |decision: &Value| {
        let policies = decision["policies"].as_array().expect("policies").clone();
        policies
            .iter()
            .map(|it| it["rules"].as_array().map_or(0, Vec::len))
            .sum::<usize>()
    };
    assert!((1..10).contains(&rules(&first)), "{first}");
    assert!(first["reasons"].as_array().is_some_and(|it| !it.is_empty()));
    // A repetition is answered alike, whatever form it asks for.
    let (_, headers, again) = ask(&mut client, "POST", "/v1/actions", &minimal, &action);
    assert_eq!(header(&headers, "idempotent-replayed"), Some("true"));
    assert_eq!(
        serde_json::from_slice::<Value>(&again).expect("JSON"),
        first
    );
    let key = [JSON, ("Idempotency-Key", "once")];
    let (_, headers, whole) = ask(&mut client, "POST", "/v1/actions?rules=all", &key, &action);
    assert_eq!(header(&headers, "preference-applied"), None);
    let whole: Value = serde_json::from_slice(&whole).expect("JSON");
    assert_eq!(
        (rules(&whole), &whole["warnings"]),
        (26, &first["warnings"])
    );
    let path = format!(
        "/v1/decisions/{}?rules=fired",
        first["decision_id"].as_str().expect("an id")
    );
    let (_, shown) = client.get(&path);
    assert_eq!(
        (rules(&shown), shown["facts"].is_object()),
        (rules(&first), true)
    );
    assert_eq!(shown["warnings"], first["warnings"]);
    let batch = json!({"actions": [action.clone(), trade("BTC-USD", 0.01)]});
    let (_, decisions) = client.post("/v1/actions/batch?rules=fired", &batch);
    let decisions = decisions["decisions"]
        .as_array()
        .expect("decisions")
        .clone();
    assert_eq!(rules(&decisions[0]), rules(&first));
    assert!(decisions[1].get("warnings").is_none(), "{}", decisions[1]);
    let (_, dry) = client.post("/v1/actions?dry_run=true&rules=fired", &action);
    assert_eq!(
        (rules(&dry), &dry["warnings"]),
        (rules(&first), &first["warnings"])
    );
}

#[test]
fn times_have_two_forms_and_data_has_its_own() {
    let dir = TestDir::new("");
    let host = dir.start();
    let mut client = Client::new(&host);
    let decision = propose(&mut client, &trade("BTC-USD", 0.01));
    let at = decision["decided_at"].as_str().expect("a time");
    assert!(
        at.ends_with('Z') && at.len() == "2026-11-27T05:44:07.000Z".len(),
        "{at}"
    );
    // It is the same moment.
    let (_, page) = client.get(&format!("/v1/decisions?since={at}"));
    assert_eq!(
        page["decisions"][0]["decided_at_ms"],
        decision["decided_at_ms"]
    );
    assert_eq!(page["decisions"][0]["decided_at"], decision["decided_at"]);
    let value = json!({"value": {"at_ms": 5, "rows": [{"made_at_ms": 6}]}});
    assert_eq!(client.send("PUT", "/v1/state/kyle/k", &value).0, 200);
    let (_, state) = client.get("/v1/state/kyle/k");
    assert_eq!(state["value"], value["value"]);
    assert!(state["at"].is_string(), "{state}");
    let (_, log) = client.get("/v1/session-log?limit=1");
    assert!(log["entries"][0]["at"].is_string(), "{log}");
}

#[test]
fn unchanged_answers_are_not_sent_again_and_answers_are_compressed() {
    let dir = TestDir::new("");
    let host = dir.start();
    let mut client = Client::new(&host);
    for path in [
        "/openapi.json",
        "/docs",
        "/v1/agents",
        "/v1/policies",
        "/v1/graveyard",
        "/v1/lists/restricted",
    ] {
        let (status, headers, body) = ask(&mut client, "GET", path, &[], &Value::Null);
        assert_eq!(status, 200, "{path}");
        let tag = header(&headers, "etag").expect("an ETag").to_owned();
        let known = [("If-None-Match", tag.as_str())];
        let (status, _, nothing) = ask(&mut client, "GET", path, &known, &Value::Null);
        assert_eq!((status, nothing.len()), (304, 0), "{path}");
        let gzip = [("Accept-Encoding", "gzip")];
        let (_, headers, packed) = ask(&mut client, "GET", path, &gzip, &Value::Null);
        let is_packed = header(&headers, "content-encoding") == Some("gzip");
        assert_eq!(is_packed, body.len() > 1024, "{path}: {headers:?}");
        if is_packed {
            assert!(
                packed.len() < body.len() && packed.starts_with(&[0x1f, 0x8b]),
                "{path}"
            );
            assert_eq!(header(&headers, "vary"), Some("accept-encoding"), "{path}");
        }
    }
    let before = ask(
        &mut client,
        "GET",
        "/v1/lists/restricted",
        &[],
        &Value::Null,
    )
    .1;
    let entry = json!({"reason": "a test"});
    let (status, answer) = client.send("PUT", "/v1/lists/restricted/entries/ACME", &entry);
    assert_eq!(status, 200, "{answer}");
    let after = ask(
        &mut client,
        "GET",
        "/v1/lists/restricted",
        &[],
        &Value::Null,
    )
    .1;
    assert_ne!(header(&before, "etag"), header(&after, "etag"));
    // What a program of another make unpacks is what is sent without compression.
    propose(&mut client, &trade("BTC-USD", 0.01));
    for path in ["/openapi.json", "/v1/decisions/export"] {
        let plain = ask(&mut client, "GET", path, &[], &Value::Null).2;
        let url = format!("http://{}{path}", host.address);
        let output = Command::new("curl")
            .args(["-sS", "--compressed", &url])
            .output()
            .expect("curl starts");
        assert!(output.status.success(), "{path}: {output:?}");
        assert!(!plain.is_empty() && output.stdout == plain, "{path}");
    }
    let (status, headers, _) = ask(&mut client, "GET", "/", &[], &Value::Null);
    assert_eq!((status, header(&headers, "location")), (307, Some("docs")));
}

#[test]
fn pages_of_named_origins_may_call_and_others_may_not() {
    let dir = TestDir::new(
        "[api.cors]\norigins = [\"https://desk.example\", \"http://localhost:3000\"]\n",
    );
    let _ = make_token(&dir.data(), "root", "admin", &[]);
    let token = make_token(&dir.data(), "reader", "reader", &[]);
    let host = dir.start();
    let mut client = Client::at(&host.address);
    let preflight = |origin| {
        [
            ("Origin", origin),
            ("Access-Control-Request-Method", "POST"),
            (
                "Access-Control-Request-Headers",
                "authorization,content-type",
            ),
        ]
    };
    let allowed = |headers: &[(String, String)]| {
        header(headers, "access-control-allow-origin").map(str::to_owned)
    };
    let (status, headers, _) = ask(
        &mut client,
        "OPTIONS",
        "/v1/actions",
        &preflight("https://desk.example"),
        &Value::Null,
    );
    assert_eq!(
        (status, allowed(&headers).as_deref()),
        (200, Some("https://desk.example"))
    );
    assert!(
        header(&headers, "access-control-allow-headers")
            .is_some_and(|it| it.contains("authorization"))
    );
    let (_, headers, _) = ask(
        &mut client,
        "OPTIONS",
        "/v1/actions",
        &preflight("https://evil.example"),
        &Value::Null,
    );
    assert_eq!(allowed(&headers), None);
    for (bearer, status) in [
        (format!("Bearer {token}"), 200),
        ("Bearer none".to_owned(), 401),
    ] {
        let sent = [
            ("Origin", "http://localhost:3000"),
            ("Authorization", bearer.as_str()),
        ];
        let (got, headers, _) = ask(&mut client, "GET", "/v1/agents", &sent, &Value::Null);
        assert_eq!(
            (got, allowed(&headers).as_deref()),
            (status, Some("http://localhost:3000"))
        );
        assert_eq!(header(&headers, "access-control-allow-credentials"), None);
    }
    drop(host);
    for origin in [
        "*",
        "https://desk.example/",
        "desk.example",
        "HTTPS://desk.example",
        "ftp://desk.example",
        "https://a@desk.example",
    ] {
        dir.configure(&format!("[api.cors]\norigins = [\"{origin}\"]\n"));
        let refused = dir.try_start().err().expect("a refusal");
        assert!(
            refused.contains("api.cors.origins") && refused.contains("https://desk.example\""),
            "{refused}"
        );
    }
    // Without the key no page of another origin is answered.
    dir.configure("");
    let host = dir.start();
    let mut client = Client::at(&host.address);
    let (status, headers, _) = ask(
        &mut client,
        "OPTIONS",
        "/v1/actions",
        &preflight("https://desk.example"),
        &Value::Null,
    );
    assert_ne!(status, 200);
    assert_eq!(allowed(&headers), None);
}

#[test]
fn a_ticket_opens_one_stream_and_ends_with_its_token() {
    let dir = TestDir::new("");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "reader", "reader", &[]);
    let host = dir.start();
    let mut client = Client::with_token(&host, &reader);
    let (status, headers, body) = ask(&mut client, "POST", "/v1/events/tickets", &[], &Value::Null);
    let issued: Value = serde_json::from_slice(&body).expect("JSON");
    assert_eq!(
        (status, header(&headers, "cache-control")),
        (200, Some("no-store")),
        "{issued}"
    );
    let ticket = issued["ticket"].as_str().expect("a ticket").to_owned();
    assert!(issued["expires_at"].is_string());
    let open = |ticket: &str| {
        let mut stream = TcpStream::connect(&host.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!(
            "GET /v1/events?since=0-0&ticket={ticket} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        let mut head = [0; 12];
        stream.read_exact(&mut head).expect("a head");
        (stream, String::from_utf8_lossy(&head).into_owned())
    };
    let (mut stream, head) = open(&ticket);
    assert_eq!(head, "HTTP/1.1 200");
    let mut streamed = Vec::new();
    while !String::from_utf8_lossy(&streamed).contains("event: operator") {
        let mut chunk = [0; 4096];
        let read = stream.read(&mut chunk).expect("an event");
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&streamed));
        streamed.extend_from_slice(&chunk[..read]);
    }
    for used in [ticket.as_str(), "ark_none", ""] {
        assert_ne!(open(used).1, "HTTP/1.1 200", "{used}");
    }
    let mut bare = Client::at(&host.address);
    let (status, refused) = bare.get(&format!("/v1/events?ticket={ticket}"));
    let remedy = refused["remedy"].as_str().unwrap_or_default();
    assert_eq!(
        (status, &refused["field"]),
        (401, &json!("ticket")),
        "{refused}"
    );
    assert!(remedy.contains("POST /v1/events/tickets"), "{refused}");
    // It opens event streams and nothing else.
    let another = client.send("POST", "/v1/events/tickets", &Value::Null).1["ticket"]
        .as_str()
        .expect("a ticket")
        .to_owned();
    let (status, _, _) = ask(
        &mut bare,
        "GET",
        &format!("/v1/decisions?ticket={another}"),
        &[],
        &Value::Null,
    );
    assert_eq!(status, 401);
    // At most 64 wait to be used.
    let issued = (0..70)
        .filter(|_| client.send("POST", "/v1/events/tickets", &Value::Null).0 == 200)
        .count();
    assert_eq!(issued, 63);
    let (status, headers, _) = ask(&mut client, "POST", "/v1/events/tickets", &[], &Value::Null);
    assert_eq!(
        (status, header(&headers, "retry-after").is_some()),
        (429, true)
    );
    let mut admin = Client::with_token(&host, &root);
    assert_eq!(
        admin.send("DELETE", "/v1/tokens/reader", &Value::Null).0,
        200
    );
    let ended = stream.read_to_end(&mut streamed);
    ended.expect("the end of the stream");
    assert_ne!(open(&another).1, "HTTP/1.1 200");
    let log = host.terminate_for_log();
    assert!(!log.contains(&ticket) && !log.contains(&another), "{log}");
}
