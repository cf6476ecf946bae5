//! Input that two readers could understand differently: a number that one of them rounds, a header that is given twice, a name that is not this
//! host's. Each is refused with the field's name, whichever way it comes.

use ark_tests::{Client, Host, JSON, run_ark, send_raw, trade};
use serde_json::{Value, json};

/// An integer that a double rounds to the one below.
const BEYOND_DOUBLES: &str = "9007199254740993";
/// An integer beyond 64 bits.
const BEYOND_64_BITS: &str = "18446744073709551616";

/// The status of an answer, and its problem document (null when it has none).
fn read_answer(answer: &[u8]) -> (u16, Value) {
    let text = String::from_utf8_lossy(answer);
    let status = text
        .strip_prefix("HTTP/1.")
        .and_then(|rest| rest.get(2..5)?.parse().ok())
        .unwrap_or_else(|| panic!("no answer: {text}"));
    let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, serde_json::from_str(body).unwrap_or_default())
}

fn assert_refused(name: &str, (status, problem): (u16, Value), expected: u16, field: &str) {
    assert_eq!(
        (status, problem["field"].as_str()),
        (expected, Some(field)),
        "{name}: {problem}"
    );
    assert!(
        problem["remedy"].as_str().is_some_and(|it| !it.is_empty()),
        "{name}: {problem}"
    );
}

fn assert_nothing_is_recorded(client: &mut Client) {
    let (_, list) = client.get("/v1/decisions");
    assert_eq!(list["decisions"], json!([]), "something was judged");
}

/// A trade with one more parameter, as text: JSON values of tests cannot hold what is tried here.
fn trade_with(parameter: &str) -> String {
    let text = trade("BTC-USD", 0.01).to_string();
    text.replacen(
        "\"parameters\":{",
        &format!("\"parameters\":{{{parameter},"),
        1,
    )
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of bodies")]
fn a_number_that_would_be_read_as_another_is_refused_wherever_it_stands() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let long = trade_with(&format!("\"ids\":[1,{{\"x\":-{BEYOND_64_BITS}}}]"));
    let cases = [
        (
            "POST",
            "/v1/actions",
            trade_with(&format!("\"id\":{BEYOND_64_BITS}")),
            "parameters.id",
        ),
        (
            "POST",
            "/v1/actions?dry_run=true",
            long.clone(),
            "parameters.ids[1].x",
        ),
        (
            "POST",
            "/v1/actions",
            trade_with(&format!("\"take_profit\":{BEYOND_DOUBLES}")),
            "parameters.take_profit",
        ),
        (
            "POST",
            "/v1/actions",
            trade_with("\"tiny\":1e-400"),
            "parameters.tiny",
        ),
        (
            "POST",
            "/v1/actions",
            trade_with("\"huge\":1e400"),
            "parameters.huge",
        ),
        (
            "POST",
            "/v1/actions",
            trade_with(r#""text":"\ud800""#),
            "parameters.text",
        ),
        (
            "POST",
            "/v1/actions/batch",
            format!("{{\"actions\":[{},{long}]}}", trade("X", 0.01)),
            "actions[1].parameters.ids[1].x",
        ),
        (
            "POST",
            "/v1/actions/batch",
            format!(
                "{{\"actions\":[{}]}}",
                trade_with(&format!("\"take_profit\":{BEYOND_DOUBLES}"))
            ),
            "actions[0].parameters.take_profit",
        ),
        (
            "POST",
            "/v1/signals",
            format!("{{\"topic\":\"a\",\"payload\":{{\"n\":[{BEYOND_64_BITS}]}}}}"),
            "payload.n[0]",
        ),
        (
            "PUT",
            "/v1/state/api/k",
            format!("{{\"value\":{{\"n\":{BEYOND_64_BITS}}}}}"),
            "value.n",
        ),
        (
            "PUT",
            "/v1/truth/k",
            format!("{{\"value\":{BEYOND_64_BITS},\"confidence\":1,\"sources\":[\"s\"]}}"),
            "value",
        ),
        (
            "PUT",
            "/v1/config/k",
            format!("{{\"value\":{BEYOND_64_BITS}}}"),
            "value",
        ),
        (
            "POST",
            "/v1/memory/api",
            format!(
                "{{\"kind\":\"note\",\"content\":\"c\",\"metadata\":{{\"n\":{BEYOND_64_BITS}}}}}"
            ),
            "metadata.n",
        ),
        (
            "PUT",
            "/v1/account/capital",
            format!("{{\"amount\":{BEYOND_DOUBLES},\"reason\":\"r\"}}"),
            "amount",
        ),
    ];
    for (method, path, body, field) in cases {
        let (status, _, answer) = client
            .request(method, path, &[JSON], body.as_bytes())
            .expect("an answer");
        let problem = serde_json::from_slice(&answer).expect("a problem");
        assert_refused(&format!("{path} {body}"), (status, problem), 400, field);
    }
    assert_nothing_is_recorded(&mut client);
    // What is kept exactly is taken, and is what a policy and an executor read.
    let kept = trade_with(&format!(
        "\"id\":{BEYOND_DOUBLES},\"top\":18446744073709551615"
    ));
    let (status, _, answer) = client
        .request("POST", "/v1/actions", &[JSON], kept.as_bytes())
        .expect("an answer");
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    let (_, list) = client.get("/v1/decisions");
    assert_eq!(list["decisions"].as_array().map(Vec::len), Some(1));
}

#[test]
fn a_key_in_the_body_is_checked_as_the_header_is_and_tells_requests_apart() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let mut client = Client::new(&host);
    let action = trade("BTC-USD", 0.01);
    let bodies = [
        ("/v1/actions", action.clone()),
        ("/v1/actions/batch", json!({"actions": [action]})),
        ("/v1/signals", json!({"topic": "tick"})),
    ];
    let long = "k".repeat(5_000);
    for (path, body) in &bodies {
        for key in [
            "",
            "   ",
            "a b",
            long.as_str(),
            "a\u{0}",
            "a\u{1b}[1m",
            "é",
            "a\n",
        ] {
            let mut body = body.clone();
            body["idempotency_key"] = json!(key);
            let answer = client.post(path, &body);
            assert_refused(&format!("{path} {key:?}"), answer, 400, "idempotency_key");
        }
        let mut body = body.clone();
        body["idempotency_key"] = json!(7);
        assert_refused(path, client.post(path, &body), 400, "idempotency_key");
    }
    assert_nothing_is_recorded(&mut client);
    for (path, body) in &bodies {
        let mut body = body.clone();
        body["idempotency_key"] = json!("k".repeat(200));
        assert!(client.post(path, &body).0 < 300, "{path}");
    }
    // One apart in the last digit: each is the integer that was sent, so they are two requests.
    for digit in ["3", "4"] {
        let id = &BEYOND_DOUBLES[..BEYOND_DOUBLES.len() - 1];
        let body = trade_with(&format!("\"id\":{id}{digit}"));
        let headers = [JSON, ("Idempotency-Key", "one")];
        let (status, _, _) = client
            .request("POST", "/v1/actions", &headers, body.as_bytes())
            .expect("an answer");
        assert_eq!(status, if digit == "3" { 200 } else { 422 }, "{digit}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of heads")]
fn a_head_that_two_readers_could_understand_differently_is_refused() {
    let dir = tempfile::tempdir().expect("a directory");
    let host = Host::start(&dir.path().join("data"), &[]);
    let body = trade("BTC-USD", 0.01).to_string();
    let length = format!("Content-Length: {}\r\n", body.len());
    let to = |host: &str| format!("GET /healthz HTTP/1.1\r\n{host}\r\n");
    // A proposal with further header lines.
    let post = |lines: &str| {
        format!(
            "POST /v1/actions HTTP/1.1\r\nHost: localhost\r\n{lines}{}{length}\r\n{body}",
            if lines.contains("Content-Type") {
                ""
            } else {
                "Content-Type: application/json\r\n"
            }
        )
    };
    let chunked = |coding: &str| {
        format!(
            "POST /v1/actions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n{coding}\r\n{:x}\r\n{body}\r\n0\r\n\r\n",
            body.len()
        )
    };
    let twice = |line: &str| format!("{line}\r\n{line}\r\n");
    let cases = [
        ("no host", to(""), 400, "Host"),
        (
            "two hosts",
            to("Host: localhost\r\nHost: localhost\r\n"),
            400,
            "Host",
        ),
        (
            "two hosts that differ",
            to("Host: localhost\r\nHost: evil.example\r\n"),
            400,
            "Host",
        ),
        (
            "a list of hosts",
            to("Host: localhost, evil.example\r\n"),
            400,
            "Host",
        ),
        ("an empty host", to("Host:\r\n"), 400, "Host"),
        (
            "a host with a path",
            to("Host: localhost/x\r\n"),
            400,
            "Host",
        ),
        (
            "a host with a user",
            to("Host: evil@localhost\r\n"),
            400,
            "Host",
        ),
        (
            "a host without a port's number",
            to("Host: localhost:http\r\n"),
            400,
            "Host",
        ),
        (
            "an address as a number",
            to("Host: 2130706433\r\n"),
            400,
            "Host",
        ),
        ("a foreign host", to("Host: evil.example\r\n"), 421, "Host"),
        (
            "a foreign host's subdomain",
            to("Host: localhost.evil.example\r\n"),
            421,
            "Host",
        ),
        (
            "a foreign target",
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            400,
            "Host",
        ),
        (
            "a target on another port",
            "GET http://localhost:1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            400,
            "Host",
        ),
        (
            "a target with a user",
            "GET http://a:b@localhost/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n".into(),
            400,
            "Host",
        ),
        (
            "a foreign target and host",
            "GET http://evil.example/healthz HTTP/1.1\r\nHost: evil.example\r\n\r\n".into(),
            421,
            "Host",
        ),
        (
            "a foreign target of HTTP/1.0",
            "GET http://evil.example/healthz HTTP/1.0\r\n\r\n".into(),
            400,
            "Host",
        ),
        (
            "two keys",
            post("Idempotency-Key: a\r\nIdempotency-Key: b\r\n"),
            400,
            "Idempotency-Key",
        ),
        (
            "one key twice",
            post(&twice("idempotency-key: a")),
            400,
            "Idempotency-Key",
        ),
        (
            "two types",
            post(&twice("Content-Type: application/json")),
            400,
            "Content-Type",
        ),
        (
            "two tokens",
            post(&twice("Authorization: Bearer x")),
            400,
            "Authorization",
        ),
        (
            "two deadlines",
            post("Ark-Deadline-Ms: 1\r\nArk-Deadline-Ms: 60000\r\n"),
            400,
            "Ark-Deadline-Ms",
        ),
        (
            "two traces",
            post(&twice(
                "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            )),
            400,
            "traceparent",
        ),
        (
            "two conditions",
            post("If-Match: \"1\"\r\nIf-Match: \"2\"\r\n"),
            400,
            "If-Match",
        ),
        (
            "a compressed body",
            post("Content-Encoding: gzip\r\n"),
            415,
            "Content-Encoding",
        ),
        (
            "two encodings",
            post("Content-Encoding: identity, gzip\r\n"),
            415,
            "Content-Encoding",
        ),
        (
            "two lines of encodings",
            post(&twice("Content-Encoding: identity")),
            400,
            "Content-Encoding",
        ),
        (
            "another alphabet",
            post("Content-Type: application/json; charset=utf-16\r\n"),
            415,
            "Content-Type",
        ),
        (
            "two codings",
            chunked(&twice("Transfer-Encoding: chunked")),
            400,
            "Transfer-Encoding",
        ),
        (
            "two codings that differ",
            chunked("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n"),
            400,
            "Transfer-Encoding",
        ),
        (
            "a list of codings",
            chunked("Transfer-Encoding: gzip, chunked\r\n"),
            400,
            "Transfer-Encoding",
        ),
        (
            "one coding twice",
            chunked("Transfer-Encoding: chunked, chunked\r\n"),
            400,
            "Transfer-Encoding",
        ),
        (
            "40,000 bytes of headers",
            post(&format!("X-A: {}\r\n", "a".repeat(40_000))),
            431,
            "headers",
        ),
        (
            "40,000 bytes of path",
            format!(
                "GET /{} HTTP/1.1\r\nHost: localhost\r\n\r\n",
                "a".repeat(40_000)
            ),
            431,
            "headers",
        ),
        (
            "65 header lines",
            post(&"X-A: a\r\n".repeat(62)),
            431,
            "headers",
        ),
        (
            "100 header lines",
            post(&"X-A: a\r\n".repeat(97)),
            431,
            "headers",
        ),
    ];
    for (name, message, status, field) in cases {
        let answer = read_answer(&send_raw(&host, message.as_bytes()));
        assert_refused(name, answer, status, field);
    }
    // More than hyper has room for are not read, so the answer is hyper's own.
    let many = send_raw(&host, post(&"X-A: a\r\n".repeat(98)).as_bytes());
    assert!(
        many.starts_with(b"HTTP/1.1 431"),
        "{}",
        String::from_utf8_lossy(&many)
    );
    assert_nothing_is_recorded(&mut Client::new(&host));

    // The largest head of 32 KiB, and one byte more: "POST /v1/signals HTTP/1.1" and three lines are counted with their ends.
    let head = |padding: usize| {
        let signal = "{\"topic\":\"a\"}";
        format!(
            "POST /v1/signals HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {}\r\nX-A: {}\r\n\r\n{signal}",
            signal.len(),
            "a".repeat(padding)
        )
    };
    let bytes = |message: &str| message.find("\r\n\r\n").map_or(0, |end| end + 2);
    let most = 32 * 1024 - bytes(&head(0));
    assert_eq!(
        read_answer(&send_raw(&host, head(most - 2).as_bytes())).0,
        202
    );
    assert_eq!(
        read_answer(&send_raw(&host, head(most + 2).as_bytes())).0,
        431
    );

    for line in [
        "Host: LOCALHOST",
        "Host: localhost.",
        "Host: 127.0.0.1:8000",
        "Host: [::1]:8000",
    ] {
        let (status, problem) =
            read_answer(&send_raw(&host, to(&format!("{line}\r\n")).as_bytes()));
        assert_eq!(status, 200, "{line}: {problem}");
    }
    for message in [
        "GET http://LocalHost:80/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /healthz HTTP/1.0\r\n\r\n",
    ] {
        assert_eq!(
            read_answer(&send_raw(&host, message.as_bytes())).0,
            200,
            "{message}"
        );
    }
    for message in [
        post("Content-Encoding: identity\r\n"),
        post("Content-Type: application/json; charset=\"UTF-8\"\r\n"),
        chunked("Transfer-Encoding: Chunked\r\n"),
    ] {
        assert_eq!(
            read_answer(&send_raw(&host, message.as_bytes())).0,
            200,
            "{message}"
        );
    }
}

#[test]
fn a_text_in_another_encoding_is_named_as_such() {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let host = Host::start(&data, &[]);
    let mut client = Client::new(&host);
    for (text, said) in [
        (
            &b"\xef\xbb\xbf{\"topic\":\"a\"}"[..],
            "byte order mark of UTF-8",
        ),
        (b"\xff\xfe{\0}\0", "byte order mark of UTF-16"),
    ] {
        let (status, _, answer) = client
            .request("POST", "/v1/signals", &[JSON], text)
            .expect("an answer");
        let problem: Value = serde_json::from_slice(&answer).expect("a problem");
        assert!(
            problem["detail"]
                .as_str()
                .is_some_and(|it| it.contains(said)),
            "{problem}"
        );
        assert_refused(said, (status, problem), 400, "body");
    }
    let url = format!("http://{}", host.address);
    for (metadata, said) in [
        (
            "\u{feff}{}",
            "--metadata: begins with a byte order mark of UTF-8",
        ),
        (
            "{\"n\":18446744073709551616}",
            "--metadata.n: is the integer 18446744073709551616",
        ),
        ("{\"n\":1,\"n\":2}", "--metadata.n: a key is given twice"),
    ] {
        let output = run_ark(&[
            "state",
            "memory",
            "add",
            "api",
            "note",
            "c",
            "--metadata",
            metadata,
            "--url",
            &url,
        ]);
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success() && error.contains(said), "{error}");
    }
}
