//! Events go out: each is in the stream once, in order, whatever happens to the stream, and is published to its channel.

use std::collections::BTreeSet;

use ark_tests::redis::{Redis, RedisClient};
use ark_tests::{Client, Host, TestDir, trade, wait_until};
use serde_json::{Value, json};

use super::Records;

/// The stream of the tests.
pub(super) const STREAM: &str = "ark:events";

fn write_config(redis: &Redis, more: &str) -> String {
    format!(
        "[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n[redis.events]\nstream = \"{STREAM}\"\n{more}",
        redis.port
    )
}

/// The events of the stream, each with the id of its entry.
fn read_events(redis: &mut RedisClient) -> Vec<(String, Value)> {
    let entries = redis.run(&["XRANGE", STREAM, "-", "+"]);
    let entries = entries
        .list()
        .iter()
        .map(ark_tests::redis::RedisReply::entry);
    entries
        .map(|(id, fields)| {
            let event = fields.iter().find(|(name, _)| name == "event");
            let event = &event.expect("an event").1;
            (id, serde_json::from_str(event).expect("JSON"))
        })
        .collect()
}

/// The ids of the entries of the stream, each of which its event has too.
pub(super) fn read_ids(redis: &mut RedisClient) -> Vec<String> {
    let mut ids: Vec<String> = Vec::new();
    loop {
        let start = ids.last().map_or("-".to_owned(), |last| format!("({last}"));
        let page = redis.run(&["XRANGE", STREAM, &start, "+", "COUNT", "500"]);
        if page.list().is_empty() {
            return ids;
        }
        for entry in page.list() {
            let (id, fields) = entry.entry();
            let event = fields.iter().find(|(name, _)| name == "event");
            let event: Value = serde_json::from_str(&event.expect("an event").1).expect("JSON");
            assert_eq!(event["id"], json!(id));
            ids.push(id);
        }
    }
}

/// How far events were sent, as the database has it.
pub(super) fn recorded(records: &Records) -> (u64, u64) {
    let rows = records.query_texts("SELECT audit_seq || '-' || alert_seq FROM redis_events");
    parse_position(&rows[0])
}

/// A position in the log: that of an audit row, and that of an alert.
pub(super) fn parse_position(id: &str) -> (u64, u64) {
    let (audit, alert) = id.split_once('-').expect("a position");
    (
        audit.parse().expect("a number"),
        alert.parse().expect("a number"),
    )
}

/// Checks that the entries behind a position are all of the log there, each once, in order. Returns how many they are.
pub(super) fn assert_complete(records: &Records, ids: &[String], behind: (u64, u64)) -> u64 {
    let (mut at, mut rows) = (behind, Vec::new());
    for id in ids {
        let next = parse_position(id);
        if next.0 <= behind.0 && next.1 <= behind.1 {
            continue;
        }
        let is_row = next == (at.0 + 1, at.1);
        assert!(is_row || (next.0 == at.0 && next.1 > at.1), "{at:?}: {id}");
        if is_row {
            rows.push(next.0.to_string());
        } else {
            rows.push(format!("alert {}", next.1));
        }
        at = next;
    }
    let mut expected: Vec<String> = records.query_texts(&format!(
        "SELECT seq || '' FROM audit_log WHERE seq > {} ORDER BY seq",
        behind.0
    ));
    expected.extend(records.query_texts(&format!(
        "SELECT 'alert ' || seq FROM watchdog_events WHERE seq > {} ORDER BY seq",
        behind.1
    )));
    let sent: BTreeSet<&String> = rows.iter().collect();
    assert_eq!(sent.len(), rows.len(), "an event is there twice");
    assert_eq!(sent, expected.iter().collect());
    rows.len() as u64
}

/// How many events wait to be sent.
fn read_backlog(host: &Host) -> u64 {
    let (_, status) = Client::new(host).get("/v1/watchdog");
    status["events"]["waiting"].as_u64().unwrap_or(u64::MAX)
}

fn read_problem(host: &Host) -> String {
    let (_, status) = Client::new(host).get("/v1/watchdog");
    status["events"]["problem"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

fn propose_trade(host: &Host) {
    let (status, answer) = Client::new(host).post("/v1/actions", &trade("BTC-USD", 0.01));
    assert_eq!(status, 200, "{answer}");
}

/// Waits until the stream ends with the end of the log.
pub(super) fn wait_until_sent(redis: &mut RedisClient, records: &Records) {
    wait_until("everything is sent", || {
        let head = records.query_texts(
            "SELECT (SELECT COALESCE(max(seq), 0) FROM audit_log) || '-' || (SELECT COALESCE(max(seq), 0) FROM watchdog_events)",
        );
        let last = redis.try_run(&["XREVRANGE", STREAM, "+", "-", "COUNT", "1"]);
        let last = last
            .ok()
            .and_then(|last| Some(last.list().first()?.entry().0));
        last.is_some_and(|last| last == head[0])
    });
}

/// Takes so many events from the channels, each of which must have its own.
fn hear_events(published: &mut RedisClient, count: usize) -> Vec<Value> {
    let mut heard = Vec::new();
    while heard.len() < count {
        let message = published.next_reply().expect("a message");
        let [_, channel, event] = message.list() else {
            panic!("{message:?}");
        };
        let event: Value = serde_json::from_str(&event.text()).expect("JSON");
        let event_type = event["type"].as_str().expect("a type").to_owned();
        let expected = match event_type.split('.').nth(1).expect("a kind") {
            "decision" | "approval" | "amendment" => "desk:graveyard_events",
            "alert" => "desk:alerts",
            "failure" | "execution" => "desk:agent_events",
            _ if event["subject"].is_string() => "desk:agent_events",
            _ => "desk:system_events",
        };
        assert_eq!(channel.text(), expected, "{event_type}");
        heard.push(event);
    }
    heard
}

#[test]
fn every_kind_of_event_is_in_the_stream_and_in_its_channel() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&write_config(&redis, "channel_prefix = \"desk:\"\n"));
    // A reader made its group before there was an event.
    client.run(&["XGROUP", "CREATE", STREAM, "readers", "$", "MKSTREAM"]);
    let mut published = redis.connect();
    let channels = [
        "agent_events",
        "graveyard_events",
        "system_events",
        "alerts",
    ];
    for channel in channels {
        published.run(&["SUBSCRIBE", &format!("desk:{channel}")]);
    }
    let host = dir.start();
    let records = Records::open(&dir);
    let behind = recorded(&records);
    let mut api = Client::new(&host);
    let reason = json!({"reason": "a test", "by": "ada"});
    let (_, approved) = api.post("/v1/actions", &trade("BTC-USD", 0.01));
    assert_eq!(approved["outcome"], "approved", "{approved}");
    let (_, denied) = api.post("/v1/actions", &trade("BTC-USD", 0.9));
    assert_eq!(denied["outcome"], "denied", "{denied}");
    let mut large = trade("ETH-USD", 0.01);
    large["reasoning"] = json!("it rises ".repeat(6_000));
    assert_eq!(api.post("/v1/actions", &large).0, 200);
    let report = json!({"decision_id": approved["decision_id"], "execution_id": "e1", "status": "filled", "price": 100.0});
    let (status, answer) = api.post("/v1/executions", &report);
    assert_eq!(status, 200, "{answer}");
    for path in ["/v1/halt", "/v1/resume"] {
        assert_eq!(api.post(path, &reason).0, 200);
    }
    wait_until_sent(&mut client, &records);
    let events = read_events(&mut client);
    assert_complete(&records, &read_ids(&mut client), behind);
    let types: Vec<&str> = events
        .iter()
        .filter_map(|(_, event)| event["type"].as_str())
        .collect();
    for event_type in [
        "ark.decision.approved",
        "ark.decision.violation",
        "ark.execution.filled",
        "ark.control.halt",
        "ark.control.resume",
        "ark.alert.critical",
    ] {
        assert!(types.contains(&event_type), "{event_type}: {types:?}");
    }
    let find = |id: &Value| {
        let found = events
            .iter()
            .find(|(_, event)| event["data"]["decision_id"] == *id);
        found.map(|(_, event)| event).expect("the decision")
    };
    let event = find(&approved["decision_id"]);
    assert_eq!(event["specversion"], "1.0");
    assert_eq!(event["traceid"], approved["trace_id"]);
    assert_eq!(event["subject"], "api");
    assert_eq!(event["data"]["action"]["parameters"]["symbol"], "BTC-USD");
    assert!(
        event["source"]
            .as_str()
            .is_some_and(|it| it.starts_with("/hosts/ark-")),
        "{event}"
    );
    // One that is too large says where it is.
    let large = events.iter().find(|(_, event)| event["data"].is_null());
    let (_, large) = large.expect("an event without data");
    let path = large["dataref"].as_str().expect("a path");
    let (status, decision) = api.get(path);
    assert_eq!(
        (status, &decision["action"]["parameters"]["symbol"]),
        (200, &json!("ETH-USD"))
    );
    // The channels had the same events, each once.
    let heard = hear_events(&mut published, events.len());
    assert_eq!(
        heard,
        events
            .iter()
            .map(|(_, event)| event.clone())
            .collect::<Vec<_>>()
    );
    // The last of them is sent before the host ends.
    propose_trade(&host);
    assert_eq!(host.terminate(), Some(0));
    wait_until_sent(&mut client, &records);
}

#[test]
fn the_stream_says_where_the_sending_resumes_and_the_database_where_it_is_lost() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&write_config(&redis, ""));
    let host = dir.start();
    let records = Records::open(&dir);
    let behind = recorded(&records);
    for _ in 0..20 {
        propose_trade(&host);
    }
    wait_until_sent(&mut client, &records);
    // Killed before it is recorded how far it came: the stream knows it.
    let host = dir.restart_killed(&host);
    propose_trade(&host);
    wait_until_sent(&mut client, &records);
    assert_complete(&records, &read_ids(&mut client), behind);

    // The stream is lost: what was recorded as sent does not come again, and everything behind it does.
    wait_until("it is recorded how far events were sent", || {
        recorded(&records) == last_id(&mut client)
    });
    let before = recorded(&records);
    client.run(&["DEL", STREAM]);
    propose_trade(&host);
    wait_until_sent(&mut client, &records);
    assert_complete(&records, &read_ids(&mut client), before);

    // Its entries are removed, and it knows its last id still.
    client.run(&["XTRIM", STREAM, "MAXLEN", "0"]);
    let before = last_id(&mut client);
    propose_trade(&host);
    wait_until_sent(&mut client, &records);
    assert_complete(&records, &read_ids(&mut client), before);

    // Somebody else's stream is not touched, and the events wait.
    client.run(&["DEL", STREAM]);
    client.run(&["XADD", STREAM, "*", "event", "of somebody"]);
    propose_trade(&host);
    wait_until("the problem is said", || {
        read_problem(&host).contains("is ahead of this host's log")
    });
    assert_eq!(client.run(&["XLEN", STREAM]).text(), "1");
    wait_until("the host is degraded", || {
        let (status, ready) = Client::new(&host).get("/readyz");
        status == 200
            && ready["degraded"]
                .to_string()
                .contains("events are not sent")
    });
    wait_until("events wait", || read_backlog(&host) > 0);
    // An entry that could be ours by its id.
    client.run(&["DEL", STREAM]);
    client.run(&["XADD", STREAM, "1-1", "event", "of somebody"]);
    wait_until("the problem is said", || {
        read_problem(&host).contains("is no event of a host")
    });
    client.run(&["XADD", STREAM, "2-1", "log", &"0".repeat(64), "event", "{}"]);
    wait_until("the problem is said", || {
        read_problem(&host).contains("is of another host's log")
    });
    // Over a restart too.
    assert_eq!(host.terminate(), Some(0));
    let host = dir.start();
    wait_until("the problem is said", || {
        read_problem(&host).contains("is of another host's log")
    });
    let before = recorded(&records);
    client.run(&["DEL", STREAM]);
    wait_until_sent(&mut client, &records);
    assert_complete(&records, &read_ids(&mut client), before);
    wait_until("nothing waits", || {
        read_backlog(&host) == 0 && read_problem(&host).is_empty()
    });

    // An earlier state of the server: what it lost since comes again.
    let events = read_events(&mut client);
    for _ in 0..5 {
        propose_trade(&host);
    }
    wait_until_sent(&mut client, &records);
    client.run(&["DEL", STREAM]);
    let old = &events.last().expect("an event");
    let hash = records.query_texts(&format!(
        "SELECT lower(hex(hash)) FROM audit_log WHERE seq = {}",
        parse_position(&old.0).0
    ));
    let text = old.1.to_string();
    client.run(&["XADD", STREAM, &old.0, "log", &hash[0], "event", &text]);
    propose_trade(&host);
    wait_until_sent(&mut client, &records);
    assert_complete(&records, &read_ids(&mut client), parse_position(&old.0));
    assert_eq!(host.terminate(), Some(0));
}

/// The last id that the stream has given.
fn last_id(client: &mut RedisClient) -> (u64, u64) {
    let info = client.run(&["XINFO", "STREAM", STREAM]);
    let last = info
        .list()
        .chunks_exact(2)
        .find(|pair| pair[0].text() == "last-generated-id");
    parse_position(&last.expect("an id")[1].text())
}
