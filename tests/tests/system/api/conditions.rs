//! What saves a caller from doing or fetching something twice: pages, `ETags`, and keys of rollouts.

use ark_tests::{Client, Host, JSON, copy_agent, guests_dir, header, make_token, sha256};
use serde_json::{Value, json};

#[test]
fn unchanged_resources_are_not_sent_again() {
    let dir = tempfile::tempdir().expect("a directory");
    let agents = dir.path().join("agents");
    copy_agent(&guests_dir(), "aletheia", &agents);
    let args = ["--agents", &agents.display().to_string()];
    let host = Host::start(&dir.path().join("data"), &args);
    let mut client = Client::new(&host);
    for (path, body) in [
        ("/v1/state/kyle/k", json!({"value": 1})),
        ("/v1/config/k", json!({"value": 1})),
        ("/v1/truth/k", json!({"value": 1, "agent": "aletheia"})),
    ] {
        let body = body.to_string();
        let put = |client: &mut Client| {
            let (status, headers, answer) = client
                .request("PUT", path, &[JSON], body.as_bytes())
                .expect("an answer");
            assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
            header(&headers, "etag").expect("an ETag").to_owned()
        };
        let first = put(&mut client);
        let mut read =
            |known: &[(&str, &str)]| client.request("GET", path, known, b"").expect("an answer");
        let (status, headers, whole) = read(&[]);
        assert_eq!(
            (status, header(&headers, "etag")),
            (200, Some(first.as_str()))
        );
        for known in [
            first.clone(),
            "*".to_owned(),
            format!("W/{first}"),
            format!("\"99\", {first}"),
        ] {
            let (status, headers, body) = read(&[("If-None-Match", &known)]);
            assert_eq!((status, body.len()), (304, 0), "{path} {known}");
            assert_eq!(header(&headers, "etag"), Some(first.as_str()));
            assert!(header(&headers, "traceparent").is_some());
        }
        for unknown in ["\"99\"", "", "1"] {
            let (status, _, body) = read(&[("If-None-Match", unknown)]);
            assert_eq!((status, &body), (200, &whole), "{path} {unknown}");
        }
        let second = put(&mut client);
        assert_ne!(first, second);
        let (status, headers, _) = client
            .request("GET", path, &[("If-None-Match", &first)], b"")
            .expect("an answer");
        assert_eq!(
            (status, header(&headers, "etag")),
            (200, Some(second.as_str()))
        );
        // What contradicts itself is not malformed, and is not done.
        let both = [JSON, ("If-Match", second.as_str()), ("If-None-Match", "*")];
        let (status, _, answer) = client
            .request("PUT", path, &both, body.as_bytes())
            .expect("an answer");
        assert_eq!(status, 422, "{}", String::from_utf8_lossy(&answer));
    }
}

/// Goes through a list page by page.
fn list_all(
    client: &mut Client,
    auth: &[(&str, &str)],
    path: &str,
    list: &str,
    key: &str,
) -> Vec<String> {
    let mut found = Vec::new();
    let mut cursor = String::new();
    for _ in 0..20 {
        let page = format!("{path}?limit=2{cursor}");
        let (status, _, body) = client.request("GET", &page, auth, b"").expect("an answer");
        let body: Value = serde_json::from_slice(&body).expect("a page");
        assert_eq!(status, 200, "{body}");
        let rows = body[list].as_array().expect("rows");
        assert!(rows.len() <= 2);
        found.extend(rows.iter().map(|row| {
            let name = if key.is_empty() { row } else { &row[key] };
            name.as_str().expect("a name").to_owned()
        }));
        match body["next_cursor"].as_str() {
            Some(next) => cursor = format!("&cursor={next}"),
            None => return found,
        }
    }
    panic!("{path} has no last page");
}

#[test]
fn lists_by_name_come_in_pages() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let root = make_token(&data, "root", "admin", &[]);
    for name in ["zoe", "ada", "mia", "lea"] {
        let _ = make_token(&data, name, "reader", &[]);
    }
    let agents = dir.path().join("agents");
    for agent in ["kyle", "joey", "kenny"] {
        copy_agent(&guests_dir(), agent, &agents);
    }
    let args = ["--agents", &agents.display().to_string()];
    let host = Host::start(&data, &args);
    let bearer = format!("Bearer {root}");
    let auth = [JSON, ("Authorization", bearer.as_str())];
    let mut client = Client::new(&host);
    for agent in ["c", "a", "d", "b"] {
        let path = format!("/v1/state/{agent}/k");
        let (status, _, _) = client
            .request("PUT", &path, &auth, br#"{"value": 1}"#)
            .expect("an answer");
        assert_eq!(status, 200);
    }
    let tokens = list_all(&mut client, &auth, "/v1/tokens", "tokens", "name");
    assert_eq!(tokens, ["ada", "lea", "mia", "root", "zoe"]);
    let served = list_all(&mut client, &auth, "/v1/agents", "agents", "name");
    assert_eq!(served, ["joey", "kenny", "kyle"]);
    let stateful = list_all(&mut client, &auth, "/v1/state", "agents", "");
    assert_eq!(stateful, ["a", "b", "c", "d"]);
}

/// A rollback that is sent twice would roll forward again.
#[test]
fn a_rollback_under_a_key_is_carried_out_once() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let component = std::fs::read(guests_dir().join("kyle.wasm")).expect("a component");
    for description in ["one", "two"] {
        let manifest = json!({
            "name": "kyle", "version": "0.1.0", "component": "kyle.wasm", "sha256": sha256(&component), "description": description,
        });
        let body = json!({"manifest": manifest, "component": ark_tests::base64(&component)});
        let (status, _, answer) = client
            .request(
                "PUT",
                "/v1/agents/kyle",
                &[JSON],
                body.to_string().as_bytes(),
            )
            .expect("an answer");
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    }
    let keyed = [JSON, ("Idempotency-Key", "once")];
    for _ in 0..3 {
        let (status, _, answer) = client
            .request("POST", "/v1/agents/kyle/rollback", &keyed, b"{}")
            .expect("an answer");
        let answer: Value = serde_json::from_slice(&answer).expect("an answer");
        assert_eq!((status, &answer["serving"]), (200, &json!(1)), "{answer}");
    }
    assert_eq!(client.get("/v1/agents/kyle").1["serving"], json!(1));
    let (status, _, _) = client
        .request(
            "POST",
            "/v1/agents/kyle/rollout",
            &keyed,
            br#"{"number": 2}"#,
        )
        .expect("an answer");
    assert_eq!(status, 422, "the key is another order's");
    let (status, answer) = client.post("/v1/agents/kyle/rollback", &json!({}));
    assert_eq!((status, &answer["serving"]), (200, &json!(2)), "{answer}");
}

/// What an operator does belongs to the trace that the request names, and to the one that the answer names.
#[test]
fn changes_and_orders_keep_their_trace() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    for (index, (method, path, body)) in [
        (
            "PUT",
            "/v1/lists/restricted/entries/GME",
            r#"{"reason": "r"}"#,
        ),
        ("DELETE", "/v1/lists/restricted/entries/GME?reason=r", ""),
        (
            "PUT",
            "/v1/account/capital",
            r#"{"amount": 1000, "reason": "r"}"#,
        ),
        (
            "POST",
            "/v1/account/results",
            r#"{"amount": -1, "reason": "r"}"#,
        ),
        ("PUT", "/v1/state/kyle/k", r#"{"value": 1}"#),
        ("POST", "/v1/halt", r#"{"reason": "r"}"#),
        ("POST", "/v1/resume", r#"{"reason": "r"}"#),
    ]
    .into_iter()
    .enumerate()
    {
        let trace = format!("{:032x}", index + 1);
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        let headers = [JSON, ("traceparent", parent.as_str())];
        let (status, answered, body) = client
            .request(method, path, &headers, body.as_bytes())
            .expect("an answer");
        assert_eq!(status, 200, "{path}: {}", String::from_utf8_lossy(&body));
        let named = header(&answered, "traceparent").expect("a trace");
        assert!(named.contains(&trace), "{method} {path}: {named}");
        let (status, found) = client.get(&format!("/v1/traces/{trace}"));
        assert_eq!(status, 200, "{method} {path}: {found}");
        assert_eq!(found["steps"].as_array().map(Vec::len), Some(1), "{found}");
    }
}
