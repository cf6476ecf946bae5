//! The Mutable Core over HTTP.

use std::time::Duration;

use ark_tests::{Client, Host, guests_dir, trade, wait_for};
use serde_json::{Value, json};

/// Any request; status, `ETag`, JSON body.
fn call_api(
    client: &mut Client,
    method: &str,
    path: &str,
    headers: &[(&str, &str)],
    body: Option<&Value>,
) -> (u16, String, Value) {
    let mut all = vec![("Content-Type", "application/json")];
    all.extend_from_slice(headers);
    let text = body.map(Value::to_string).unwrap_or_default();
    let (status, headers, body) = client
        .request(method, path, &all, text.as_bytes())
        .expect("an answer");
    let tag = headers.into_iter().find(|(name, _)| name == "etag");
    let body = serde_json::from_slice(&body).unwrap_or(Value::Null);
    (status, tag.map(|(_, tag)| tag).unwrap_or_default(), body)
}

fn put_value(client: &mut Client, path: &str, body: &Value) -> (u16, Value) {
    let (status, _, answer) = call_api(client, "PUT", path, &[], Some(body));
    (status, answer)
}

#[test]
fn values_of_every_type_keep_it_through_http_and_restarts() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let values = [
        ("string", "\"1.0\""),
        ("integer", "-9007199254740993"),
        ("unsigned", "18446744073709551615"),
        ("float", "1.0"),
        ("bool", "true"),
        ("object", "{\"b\":{\"c\":[]},\"a\":0.1}"),
        ("list", "[1,1.0,\"x\",null]"),
        ("null", "null"),
    ];
    for round in 0..2 {
        let host = Host::start(&data, &[]);
        let mut client = Client::new(&host);
        for (name, value) in values {
            let path = format!("/v1/state/kyle/types%2F{name}");
            if round == 0 {
                let body = format!("{{\"value\":{value}}}");
                let json = [("Content-Type", "application/json")];
                let (status, _, _) = client
                    .request("PUT", &path, &json, body.as_bytes())
                    .expect("an answer");
                assert_eq!(status, 200, "{name}");
            }
            let (status, _, body) = client.request("GET", &path, &[], b"").expect("an answer");
            assert_eq!(status, 200);
            let text = String::from_utf8(body).expect("UTF-8");
            let sorted = if name == "object" {
                "{\"a\":0.1,\"b\":{\"c\":[]}}"
            } else {
                value
            };
            assert!(
                text.contains(&format!("\"value\":{sorted}")),
                "{name}: {text}"
            );
        }
        assert_eq!(host.terminate(), Some(0));
    }
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one scenario whose steps depend on each other"
)]
fn revisions_conflicts_moments_and_rollbacks() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let client = &mut Client::new(&host);
    let path = "/v1/state/kyle/plans%2Fhistory";
    let (status, tag, _) = call_api(
        client,
        "PUT",
        path,
        &[("If-None-Match", "*")],
        Some(&json!({"value": 1})),
    );
    assert_eq!((status, tag.as_str()), (200, "\"1\""));
    let (status, tag, body) = call_api(
        client,
        "PUT",
        path,
        &[("If-None-Match", "*")],
        Some(&json!({"value": 2})),
    );
    assert_eq!(
        (status, tag.as_str(), &body["current_revision"]),
        (412, "\"1\"", &json!(1))
    );
    let (status, body) = put_value(client, path, &json!({"value": 2, "expected_revision": 7}));
    assert_eq!(
        (status, &body["current_revision"], &body["type"]),
        (409, &json!(1), &json!("urn:ark:problem:revision-conflict"))
    );
    let (status, tag, _) = call_api(
        client,
        "PUT",
        path,
        &[("If-Match", "\"1\"")],
        Some(&json!({"value": 2, "updated_by": "ada"})),
    );
    assert_eq!((status, tag.as_str()), (200, "\"2\""));
    let (_, _, second) = call_api(client, "GET", path, &[], None);
    assert_eq!(
        (&second["value"], &second["written_by"]),
        (&json!(2), &json!("ada"))
    );
    // A moment is a millisecond, and what held at its end counts: the deletion must not fall into the same one.
    std::thread::sleep(Duration::from_millis(5));
    assert_eq!(
        call_api(
            client,
            "DELETE",
            &format!("{path}?expected_revision=2"),
            &[],
            None
        )
        .0,
        200
    );
    assert_eq!(call_api(client, "GET", path, &[], None).0, 404);
    assert_eq!(call_api(client, "DELETE", path, &[], None).0, 404);

    let rollback = format!("{path}/rollback");
    let (status, body) = client.post(&rollback, &json!({"steps": 1}));
    assert_eq!((status, &body["revision"]), (200, &json!(4)));
    let (_, tag, body) = call_api(client, "GET", path, &[], None);
    assert_eq!(
        (tag.as_str(), &body["value"], &body["written_by"]),
        ("\"4\"", &json!(2), &json!("rollback to 2"))
    );
    let (status, body) = client.post(&rollback, &json!({"to_revision": 9}));
    assert_eq!(
        (status, &body["field"], &body["current_revision"]),
        (404, &json!("to_revision"), &json!(4))
    );
    for (body, field) in [
        (json!({}), "to_revision"),
        (json!({"steps": 1, "to_revision": 1}), "to_revision"),
        (json!({"steps": 0}), "steps"),
        (json!({"steps": -1}), "steps"),
        (json!({"steps": 1, "extra": 1}), "extra"),
    ] {
        let (status, answer) = client.post(&rollback, &body);
        assert_eq!(
            (status, &answer["field"]),
            (400, &json!(field)),
            "{body}: {answer}"
        );
    }

    let (_, page) = client.get(&format!("{path}/history?limit=2"));
    assert_eq!(page["revisions"][0]["revision"], 4);
    assert_eq!(page["revisions"][1]["deleted"], true);
    let (_, rest) = client.get(&format!(
        "{path}/history?cursor={}",
        page["next_cursor"].as_str().expect("a cursor")
    ));
    assert_eq!(
        (
            rest["revisions"].as_array().map(Vec::len),
            &rest["next_cursor"]
        ),
        (Some(2), &Value::Null)
    );
    let (_, then) = client.get(&format!("{path}?at_ms={}", second["at_ms"]));
    assert_eq!(then["revision"], 2);
    assert_eq!(client.get(&format!("{path}?at_ms=1")).0, 404);
    assert_eq!(client.get(&format!("{path}?revision=1")).1["value"], 1);

    let (_, list) = client.get("/v1/state/kyle?values=true&prefix=plans/");
    assert_eq!(list["keys"][0]["key"], "plans/history");
    assert_eq!(list["keys"][0]["value"], 2);
    assert_eq!(client.get("/v1/state").1["agents"], json!(["kyle"]));
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of requests")]
fn bad_input_names_its_field_and_leaves_nothing() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = guests_dir();
    let host = Host::start(
        &dir.path().join("data"),
        &["--agents", agents.to_str().expect("UTF-8")],
    );
    let client = &mut Client::new(&host);
    let long = format!("/v1/state/kyle/{}", "k".repeat(257));
    let truth = |agent: &str, confidence: Value| json!({"value": 1, "agent": agent, "confidence": confidence, "sources": ["s"]});
    let cases = [
        ("PUT", "/v1/state/Kyle/k", json!({"value": 1}), 400, "agent"),
        (
            "PUT",
            "/v1/state/kyle/a%0Ab",
            json!({"value": 1}),
            400,
            "key",
        ),
        ("PUT", long.as_str(), json!({"value": 1}), 400, "key"),
        ("PUT", "/v1/state/kyle/k", json!({}), 400, "value"),
        (
            "PUT",
            "/v1/state/kyle/k",
            json!({"value": 1, "vlaue": 2}),
            400,
            "vlaue",
        ),
        (
            "PUT",
            "/v1/state/kyle/k",
            json!({"value": 1, "expected_revision": "1"}),
            400,
            "expected_revision",
        ),
        (
            "PUT",
            "/v1/state/kyle/k",
            json!({"value": 1, "updated_by": ""}),
            400,
            "updated_by",
        ),
        (
            "PUT",
            "/v1/state/kyle/k",
            json!({"value": "x".repeat(70_000)}),
            400,
            "value",
        ),
        (
            "PUT",
            "/v1/state/kyle/secret%2Fk",
            json!({"value": 1}),
            409,
            "key",
        ),
        (
            "PUT",
            "/v1/config/k",
            json!({"value": 1, "description": "x".repeat(2000)}),
            400,
            "description",
        ),
        (
            "POST",
            "/v1/memory/kyle",
            json!({"content": "c"}),
            400,
            "kind",
        ),
        (
            "POST",
            "/v1/memory/kyle",
            json!({"kind": "k", "content": ""}),
            400,
            "content",
        ),
        (
            "POST",
            "/v1/memory/kyle",
            json!({"kind": "k", "content": "c", "metadata": []}),
            400,
            "metadata",
        ),
        (
            "POST",
            "/v1/memory/kyle",
            json!({"kind": "k", "content": "c", "ttl_seconds": 0}),
            400,
            "ttl_seconds",
        ),
        ("DELETE", "/v1/memory/kyle/x", Value::Null, 400, "id"),
        ("PUT", "/v1/truth/k", json!({"value": 1}), 400, "agent"),
        (
            "PUT",
            "/v1/truth/k",
            truth("aletheia", json!(1.5)),
            400,
            "confidence",
        ),
        (
            "PUT",
            "/v1/truth/k",
            truth("aletheia", json!("x")),
            400,
            "confidence",
        ),
        ("PUT", "/v1/truth/k", truth("kenny", json!(1)), 403, "agent"),
        ("GET", "/v1/state/kyle/k?at_ms=x", Value::Null, 400, "at_ms"),
        (
            "GET",
            "/v1/state/kyle/k?at_ms=1&revision=1",
            Value::Null,
            422,
            "at_ms",
        ),
        ("GET", "/v1/state/kyle?limit=0", Value::Null, 400, "limit"),
        (
            "GET",
            "/v1/session-log?since_ms=-1",
            Value::Null,
            400,
            "since_ms",
        ),
        (
            "GET",
            "/v1/session-log?agnet=kyle",
            Value::Null,
            400,
            "agnet",
        ),
    ];
    for (method, path, body, status, field) in cases {
        let (got, _, answer) = call_api(client, method, path, &[], Some(&body));
        assert_eq!(
            (got, &answer["field"]),
            (status, &json!(field)),
            "{method} {path}: {answer}"
        );
    }
    for tag in ["3", "\"x\"", "W/\"3\""] {
        let (status, _, answer) = call_api(
            client,
            "PUT",
            "/v1/state/kyle/k",
            &[("If-Match", tag)],
            Some(&json!({"value": 1})),
        );
        assert_eq!((status, &answer["field"]), (400, &json!("If-Match")));
    }
    let json = [("Content-Type", "application/json")];
    let big = br#"{"value": 18446744073709551616}"#;
    let (status, _, body) = client
        .request("PUT", "/v1/state/kyle/k", &json, big)
        .expect("an answer");
    assert_eq!(status, 400, "{}", String::from_utf8_lossy(&body));
    assert_eq!(client.get("/v1/state").1["agents"], json!([]));
    assert_eq!(client.get("/v1/session-log").1["entries"], json!([]));
    // A key with an unencoded `/` is another path, never another key.
    assert_eq!(
        put_value(client, "/v1/state/kyle/a/b", &json!({"value": 1})).0,
        404
    );
}

#[test]
fn memories_settings_truths_and_the_session_log() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = guests_dir();
    let host = Host::start(
        &dir.path().join("data"),
        &["--agents", agents.to_str().expect("UTF-8")],
    );
    let client = &mut Client::new(&host);
    let memory = json!({"kind": "lesson", "content": "The breakout failed", "metadata": {"n": 1.0}, "ttl_seconds": 3600});
    let (status, made) = client.post("/v1/memory/kyle", &memory);
    assert_eq!(status, 201, "{made}");
    client.post(
        "/v1/memory/kyle",
        &json!({"kind": "observation", "content": "breakouts hold on volume"}),
    );
    let (_, found) = client.get("/v1/memory/kyle?q=breakout*&limit=1");
    assert_eq!(found["memories"][0]["kind"], "observation");
    let (_, found) = client.get(&format!(
        "/v1/memory/kyle?q=breakout*&cursor={}",
        found["next_cursor"].as_str().expect("a cursor")
    ));
    assert_eq!(
        (
            &found["memories"][0]["metadata"],
            found["memories"].as_array().map(Vec::len)
        ),
        (&json!({"n": 1.0}), Some(1))
    );
    let path = format!("/v1/memory/kyle/{}", made["id"]);
    assert_eq!(call_api(client, "DELETE", &path, &[], None).0, 200);
    assert_eq!(call_api(client, "DELETE", &path, &[], None).0, 404);

    let config = "/v1/config/risk%2Flimit";
    let (status, _) = put_value(
        client,
        config,
        &json!({"value": 0.5, "description": "the limit", "updated_by": "ada", "expected_revision": 0}),
    );
    assert_eq!(status, 200);
    let (status, tag, _) = call_api(
        client,
        "PUT",
        config,
        &[("If-Match", "\"1\"")],
        Some(&json!({"value": "half"})),
    );
    assert_eq!((status, tag.as_str()), (200, "\"2\""));
    let (_, setting) = client.get(config);
    assert_eq!(
        (
            &setting["value"],
            &setting["description"],
            &setting["updated_by"]
        ),
        (&json!("half"), &json!("the limit"), &json!("operator"))
    );
    assert_eq!(
        client.get(&format!("{config}/history")).1["revisions"][1]["value"],
        0.5
    );
    assert_eq!(call_api(client, "DELETE", config, &[], None).0, 200);
    assert_eq!(client.get(config).0, 404);

    let truth = json!({"value": {"colour": "blue"}, "agent": "aletheia", "confidence": 0.9, "sources": ["window"]});
    assert_eq!(put_value(client, "/v1/truth/sky", &truth).0, 200);
    assert_eq!(put_value(client, "/v1/truth/sky", &truth).1["revision"], 2);
    let (_, held) = client.get("/v1/truth/sky");
    assert_eq!(
        (&held["confidence"], &held["sources"], &held["agent"]),
        (&json!(0.9), &json!(["window"]), &json!("aletheia"))
    );
    assert_eq!(
        client.get("/v1/truth/sky/history").1["revisions"]
            .as_array()
            .map(Vec::len),
        Some(2)
    );

    assert_eq!(client.post("/v1/actions", &trade("BTC-USD", 0.01)).0, 200);
    let (_, log) = client.get("/v1/session-log?agent=api&action_type=trade&result=approved");
    assert_eq!(log["entries"].as_array().map(Vec::len), Some(1), "{log}");
    let at = log["entries"][0]["at_ms"].as_u64().expect("a time");
    assert_eq!(
        client
            .get(&format!("/v1/session-log?agent=api&since_ms={}", at + 1))
            .1["entries"],
        json!([])
    );
    let (_, page) = client.get("/v1/session-log?limit=2&result=done");
    let (_, next) = client.get(&format!(
        "/v1/session-log?limit=2&result=done&cursor={}",
        page["next_cursor"].as_str().expect("a cursor")
    ));
    assert!(next["entries"][0]["seq"].as_u64() < page["entries"][1]["seq"].as_u64());
}

#[test]
fn a_setting_reaches_its_agent_while_the_host_runs() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = guests_dir();
    let host = Host::start(
        &dir.path().join("data"),
        &["--agents", agents.to_str().expect("UTF-8")],
    );
    let client = &mut Client::new(&host);
    let setting = "/v1/config/agents%2Fjoey%2Fconfidence";
    let score = json!({"topic": "kyle.score", "payload": {"symbol": "X", "price": 100.0, "at": 1, "score": 0.1, "z": 1.0,
        "volume_ratio": 1.0, "volatility": 0.01, "high": 101.0, "low": 99.0}});
    let mut lines = 0;
    let mut signal = |client: &mut Client| {
        assert_eq!(client.post("/v1/signals", &score).0, 202);
        wait_for("joey's invocation", || {
            let (_, log) = client.get("/v1/session-log?agent=joey");
            let entries = log["entries"].as_array().expect("entries");
            (entries.len() > lines).then(|| {
                lines = entries.len();
                entries[0]["result"].as_str().expect("a result").to_owned()
            })
        })
    };
    assert_eq!(signal(client), "handled");
    assert_eq!(put_value(client, setting, &json!({"value": 7})).0, 200);
    assert_eq!(signal(client), "failed");
    let path = "/v1/state/joey/recent%2FX";
    let (_, state) = client.get(path);
    assert_eq!(
        (&state["revision"], &state["written_by"]),
        (&json!(1), &json!("agent"))
    );
    assert_eq!(call_api(client, "DELETE", setting, &[], None).0, 200);
    assert_eq!(signal(client), "handled");
    let (_, state) = client.get(path);
    assert_eq!(
        (&state["revision"], &state["value"]),
        (&json!(2), &json!([0.1, 0.1]))
    );
}

#[test]
fn a_change_with_a_key_is_made_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let mut host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    for size in [1, 2] {
        put_value(&mut client, "/v1/state/kyle/plan", &json!({"value": size}));
    }
    let cases = [
        (
            "/v1/memory/kyle",
            json!({"kind": "lesson", "content": "buy low"}),
            201,
        ),
        ("/v1/state/kyle/plan/rollback", json!({"steps": 1}), 200),
    ];
    for (path, body, status) in cases {
        let key = [("Idempotency-Key", "once")];
        // Each has a key of its own, since a key stands for one request.
        let key = if status == 201 {
            key
        } else {
            [("Idempotency-Key", "twice")]
        };
        let first = call_api(&mut client, "POST", path, &key, Some(&body));
        assert_eq!(first.0, status, "{}", first.2);
        host.kill();
        host = Host::start(&data, &[]);
        client = Client::new(&host);
        let again = call_api(&mut client, "POST", path, &key, Some(&body));
        assert_eq!((again.0, &again.2), (status, &first.2));
        let mut other = body.clone();
        other["updated_by"] = json!("ada");
        // Somebody else's keys are their own; the same caller's are not.
        other["kind"] = json!("other");
        other
            .as_object_mut()
            .expect("an object")
            .remove("updated_by");
        let reused = call_api(&mut client, "POST", path, &key, Some(&other)).0;
        assert!(matches!(reused, 400 | 422), "{path}: {reused}");
    }
    let (_, memories) = client.get("/v1/memory/kyle");
    assert_eq!(memories["memories"].as_array().map(Vec::len), Some(1));
    let (_, history) = client.get("/v1/state/kyle/plan/history");
    assert_eq!(history["revisions"].as_array().map(Vec::len), Some(3));
}
