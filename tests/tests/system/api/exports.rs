//! Decisions are found and exported.

use std::io::{Read, Write};
use std::net::TcpStream;

use ark_tests::{Client, Host, PATIENCE, TestDir, header, make_token, trade};
use serde_json::{Value, json};

use super::consumers::{ask, list, propose, without_stop};

#[test]
fn decisions_are_found_by_instrument_rule_and_period_and_exported() {
    let dir = TestDir::new("[instruments.aliases]\nXBT = \"BTC\"\n");
    let host = dir.start();
    let mut client = Client::new(&host);
    let mut ids = Vec::new();
    let mut times = Vec::new();
    for action in [
        trade("BTC-USD", 0.01),
        without_stop("xbt/usd"),
        trade("ETH-USD", 0.02),
        without_stop("ETH/USD"),
        json!({"agent": "api", "action_type": "execute_code", "parameters": {"code": "1"}, "reasoning": "a test"}),
    ] {
        let decision = propose(&mut client, &action);
        ids.push(decision["decision_id"].as_str().expect("an id").to_owned());
        times.push(decision["decided_at_ms"].as_u64().expect("a time"));
        // Decisions of one millisecond could not be told apart by a period.
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    let expect = |picks: &[usize]| {
        picks
            .iter()
            .map(|pick| ids[*pick].clone())
            .collect::<Vec<_>>()
    };
    let rfc = |millis: u64| {
        let shown = client_time(&host, millis, &times, &ids);
        shown.replace('+', "%2B")
    };
    for (query, picks) in [
        (String::new(), &[4, 3, 2, 1, 0][..]),
        ("symbol=XBTUSD".to_owned(), &[1, 0]),
        ("symbol=btc%20usd".to_owned(), &[1, 0]),
        ("symbol=DOGE".to_owned(), &[]),
        ("rule=require_stop_loss".to_owned(), &[3, 1]),
        (
            "rule=require_stop_loss&symbol=eth_usd&outcome=denied".to_owned(),
            &[3],
        ),
        (format!("since={}", times[2]), &[4, 3, 2]),
        (format!("until={}", times[2]), &[1, 0]),
        (format!("since={}&until={}", times[1], times[3]), &[2, 1]),
        (format!("since={}", rfc(times[3])), &[4, 3]),
    ] {
        assert_eq!(list(&mut client, &query), expect(picks), "{query}");
    }
    let (_, page) = client.get("/v1/decisions?symbol=BTCUSD");
    let row = &page["decisions"][0];
    assert_eq!(
        (&row["symbol"], &row["position_size_pct"]),
        (&json!("xbt/usd"), &json!(0.01))
    );
    let fired: Vec<&Value> = row["fired"]
        .as_array()
        .expect("rules")
        .iter()
        .map(|it| &it["rule"])
        .collect();
    assert!(fired.contains(&&json!("require_stop_loss")), "{row}");
    for (query, field) in [
        ("since=yesterday", "since"),
        ("symbol=%2D", "symbol"),
        ("rule=", "rule"),
        ("rules=some", "rules"),
        ("instrument=BTC", "instrument"),
    ] {
        let (status, problem) = client.get(&format!("/v1/decisions?{query}"));
        assert_eq!(
            (status, &problem["field"]),
            (400, &json!(field)),
            "{query}: {problem}"
        );
    }
    let (status, problem) = client.get("/v1/decisions?since=5&until=4");
    assert_eq!(
        (status, &problem["field"]),
        (422, &json!("until")),
        "{problem}"
    );
    check_refusals(&mut client);
    check_exports(&mut client);
}

/// What no decision can have.
fn check_refusals(client: &mut Client) {
    // A rule that no policy has or had is refused with those that it resembles; one that has not fired is an empty list.
    let (status, page) = client.get("/v1/decisions?rule=max_leverage");
    assert_eq!((status, &page["decisions"]), (200, &json!([])), "{page}");
    for path in ["/v1/decisions", "/v1/decisions/export"] {
        let (status, problem) = client.get(&format!("{path}?rule=require_stop_los"));
        let remedy = problem["remedy"].as_str().unwrap_or_default();
        assert_eq!(
            (status, &problem["field"]),
            (422, &json!("rule")),
            "{problem}"
        );
        assert!(remedy.contains("require_stop_loss"), "{problem}");
    }
    // What is no symbol and no name is said in whole sentences; the remedy is a member of its own.
    for (query, detail) in [
        ("symbol=---", "symbol: has neither a letter nor a digit"),
        (
            "symbol=%D0%92TC",
            "symbol: mixes letters of several scripts in \"\u{412}TC\" (U+0412)",
        ),
        ("agent=", "agent: is \"\""),
    ] {
        let (status, problem) = client.get(&format!("/v1/decisions?{query}"));
        assert_eq!(
            (status, &problem["detail"]),
            (400, &json!(detail)),
            "{query}"
        );
        assert_eq!(problem["title"], "The request is not valid");
        assert!(problem["remedy"].is_string(), "{problem}");
    }
}

/// The same decisions, exported.
fn check_exports(client: &mut Client) {
    let minimal = [("Prefer", "return=minimal")];
    for (query, headers, count) in [
        ("", &[][..], 5),
        ("rule=require_stop_loss&rules=fired", &[], 2),
        ("symbol=ETHUSD", &minimal, 2),
        ("limit=3", &minimal, 3),
        ("symbol=DOGE", &minimal, 0),
    ] {
        let (status, got, body) = ask(
            client,
            "GET",
            &format!("/v1/decisions/export?{query}"),
            headers,
            &Value::Null,
        );
        assert_eq!(
            (status, header(&got, "content-type")),
            (200, Some("application/x-ndjson"))
        );
        let text = String::from_utf8(body).expect("UTF-8");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), count, "{query}: {text}");
        let is_minimal = !headers.is_empty();
        assert_eq!(header(&got, "preference-applied").is_some(), is_minimal);
        for line in &lines {
            assert!(
                line["seq"].is_u64() && line["decided_at"].is_string(),
                "{line}"
            );
            assert_eq!(line["facts"].is_object(), !is_minimal, "{line}");
            let whole = client
                .get(&format!(
                    "/v1/decisions/{}",
                    line["decision_id"].as_str().expect("an id")
                ))
                .1;
            assert_eq!(
                (&whole["outcome"], &whole["reasons"]),
                (&line["outcome"], &line["reasons"])
            );
            if query.is_empty() {
                assert_eq!(
                    (&whole["policies"], &whole["action"]),
                    (&line["policies"], &line["action"])
                );
            }
        }
    }
}

/// A decision's time as the host shows it.
fn client_time(host: &Host, millis: u64, times: &[u64], ids: &[String]) -> String {
    let index = times
        .iter()
        .position(|time| *time == millis)
        .expect("a time");
    let (_, decision) = Client::new(host).get(&format!("/v1/decisions/{}", ids[index]));
    decision["decided_at"].as_str().expect("a time").to_owned()
}

/// An export of many decisions is sent in parts, counts as a stream of its caller, and is cut when its token is revoked.
#[test]
fn an_export_is_bounded_and_ends_with_its_token() {
    let dir = TestDir::new("[capacity]\nevent_streams_per_token = 1\n");
    let root = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "reader", "reader", &[]);
    let host = dir.start();
    let mut client = Client::with_token(&host, &root);
    let batch: Vec<Value> = (0..100).map(|_| without_stop("BTC-USD")).collect();
    // More than the buffers between host and client hold.
    for _ in 0..12 {
        assert_eq!(
            client
                .post("/v1/actions/batch", &json!({"actions": batch}))
                .0,
            200
        );
    }
    let open = |token: &str| {
        let mut stream = TcpStream::connect(&host.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let request = format!(
            "GET /v1/decisions/export HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\nConnection: close\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).expect("a request");
        stream
    };
    let mut first = open(&reader);
    let mut head = [0; 64];
    first.read_exact(&mut head).expect("a head");
    assert!(
        head.starts_with(b"HTTP/1.1 200"),
        "{}",
        String::from_utf8_lossy(&head)
    );
    // The first one is not read to its end, and takes the only place.
    let mut second = String::new();
    open(&reader)
        .read_to_string(&mut second)
        .expect("an answer");
    assert!(second.starts_with("HTTP/1.1 429"), "{second}");
    let mut other = Vec::new();
    open(&root).read_to_end(&mut other).expect("an export");
    assert!(other.split(|byte| *byte == b'\n').count() > 1200);
    assert!(other.ends_with(b"0\r\n\r\n"), "the last chunk is missing");
    assert_eq!(
        client.send("DELETE", "/v1/tokens/reader", &Value::Null).0,
        200
    );
    let mut rest = Vec::new();
    let _ = first.read_to_end(&mut rest);
    assert!(!rest.ends_with(b"0\r\n\r\n"), "the export looks whole");
}
