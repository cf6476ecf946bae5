//! What operators see of a Redis: how much waits, what is degraded, and the alerts.

use ark_tests::redis::Redis;
use ark_tests::{
    Client, Host, PATIENT, TestDir, copy_agent, guests_dir, post_signal, run_ark, trade, wait_until,
};
use serde_json::{Value, json};

use super::wait_until_read;

/// Entries that agents could handle, in the stream of the tests.
const ENTRIES: usize = 200;

fn read_watchdog(host: &Host) -> Value {
    Client::new(host).get("/v1/watchdog").1
}

fn read_degradation(host: &Host) -> String {
    let (status, ready) = Client::new(host).get("/readyz");
    assert_eq!((status, &ready["ready"]), (200, &json!(true)), "{ready}");
    ready["degraded"].to_string()
}

/// The severities of the alerts of a kind, newest first.
fn list_alerts(host: &Host, kind: &str) -> Vec<String> {
    let (_, body) = Client::new(host).get(&format!("/v1/watchdog/alerts?kind={kind}"));
    let alerts = body["alerts"].as_array().expect("alerts").iter();
    alerts
        .filter_map(|alert| alert["severity"].as_str().map(str::to_owned))
        .collect()
}

/// What `ark redis status` prints.
fn redis_status(host: &Host, more: &[&str]) -> String {
    let url = format!("http://{}", host.address);
    let mut args = vec!["redis", "status", "--url", &url];
    args.extend(more);
    let output = run_ark(&args);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{errors}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one host from well over degraded to well"
)]
fn what_waits_in_a_redis_is_measured_shown_and_alerted_of() {
    let redis = Redis::start();
    let mut client = redis.connect();
    let dir = TestDir::new(&format!(
        r#"{PATIENT}redis_ms = 500
redis_latency_ms = 10_000
redis_lag = 80
redis_pending_ms = 300
redis_dead_letters = 2
redis_events_waiting = 8
redis_events_age_ms = 500
[capacity]
agent_queue = 20
[redis]
url = "redis://127.0.0.1:{}/0"
[[redis.signals]]
stream = "kyle:signals"
topic = "market.tick"
field = "event"
[redis.events]
stream = "ark:events"
"#,
        redis.port
    ));
    copy_agent(&guests_dir(), "kyle", &dir.agents());
    let host = dir.start();
    wait_until("a measurement", || {
        read_watchdog(&host)["streams"][0]["measured"]["lag"] == json!(0)
    });
    wait_until("all is well at first", || read_degradation(&host) == "[]");

    // The agent takes nothing, so the stream is read up to half of its queue; two entries cannot become signals.
    let reason = json!({"reason": "a test", "by": "ada"});
    let quarantine = Client::new(&host).post("/v1/agents/kyle/quarantine", &reason);
    assert_eq!(quarantine.0, 200);
    let mut transaction = vec![vec!["MULTI".to_owned()]];
    for number in 0..ENTRIES + 2 {
        let event = match number {
            0 | 1 => "{".to_owned(),
            _ => json!({"symbol": "X", "price": 1.0, "volume": 1.0, "at": number}).to_string(),
        };
        let add = ["XADD", "kyle:signals", "*", "event", &event];
        transaction.push(add.map(str::to_owned).to_vec());
    }
    transaction.push(vec!["EXEC".to_owned()]);
    client.try_run_all(&transaction).expect("answers");
    // One batch of 128 is read: two are dead, ten are in the queue.
    wait_until("what waits", || {
        let measured = read_watchdog(&host)["streams"][0]["measured"].clone();
        (&measured["lag"], &measured["pending"]) == (&json!(ENTRIES + 2 - 128), &json!(116))
            && measured["pending_age_ms"].as_u64() > Some(300)
    });
    let stream = read_watchdog(&host)["streams"][0].clone();
    assert_eq!(stream["measured"]["depth"], json!(ENTRIES + 2));
    assert_eq!(stream["measured"]["dead_letters"], json!(2));
    assert_eq!(stream["waiting"], json!(true));
    for (kind, severity) in [
        ("redis_lag", "critical"),
        ("redis_pending_age", "critical"),
        ("redis_dead_letters", "critical"),
    ] {
        wait_until(kind, || {
            list_alerts(&host, kind).first().map(String::as_str) == Some(severity)
        });
    }
    assert!(list_alerts(&host, "redis_stream_depth").is_empty());
    for text in [
        "74 entries that are not read, of 80",
        "2 dead letters, of 2",
    ] {
        wait_until(text, || read_degradation(&host).contains(text));
    }
    let shown = redis_status(&host, &[]);
    for text in [
        "answers in",
        "kyle:signals",
        "waits for room",
        "ark:events",
        "are sent",
    ] {
        assert!(shown.contains(text), "{text}: {shown}");
    }
    let shown: Value = serde_json::from_str(&redis_status(&host, &["--json"])).expect("JSON");
    assert_eq!(shown["streams"][0]["measured"]["pending"], json!(116));
    assert_eq!(
        shown["redis"]["address"],
        json!(format!("redis://127.0.0.1:{}/0", redis.port))
    );

    // The Redis stands still: decisions, signals over HTTP and their events go on, and events wait.
    redis.freeze(true);
    wait_until("the Redis does not answer", || {
        read_degradation(&host).contains("the Redis does not answer")
    });
    let mut api = Client::new(&host);
    let tick = json!({"symbol": "X", "price": 1.0, "volume": 1.0, "at": 1});
    let answer = post_signal(&mut api, "market.tick", &tick);
    assert_eq!(answer["delivered_to"], json!(["kyle"]));
    for _ in 0..12 {
        assert_eq!(api.post("/v1/actions", &trade("BTC-USD", 0.001)).0, 200);
    }
    for kind in ["redis_events_waiting", "redis_events_age"] {
        wait_until(kind, || {
            list_alerts(&host, kind).first().map(String::as_str) == Some("critical")
        });
    }
    wait_until("it is said that events wait", || {
        let said = read_degradation(&host);
        said.contains("events are not sent") && said.contains("events wait to be sent, of 8")
    });
    let shown = redis_status(&host, &[]);
    assert!(
        shown.contains("DOES NOT ANSWER") && shown.contains("ARE NOT SENT"),
        "{shown}"
    );

    redis.freeze(false);
    assert_eq!(api.post("/v1/agents/kyle/restore", &reason).0, 200);
    client.run(&["DEL", "kyle:signals:dead"]);
    wait_until_read(&mut client, "kyle:signals");
    wait_until("everything is well", || read_degradation(&host) == "[]");
    // An answer that was lost in the freeze makes what was appended more than what is known to be sent.
    wait_until("every event is in the stream", || {
        let events = read_watchdog(&host)["events"].clone();
        events["waiting"] == json!(0) && events["depth"].as_u64() >= events["sent"].as_u64()
    });
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_host_without_a_redis_says_so() {
    let dir = TestDir::new("");
    let host = dir.start();
    assert!(redis_status(&host, &[]).contains("uses no Redis"));
    assert_eq!(read_degradation(&host), "[]");
    assert_eq!(host.terminate(), Some(0));
    let output = run_ark(&["redis", "status", "--url", "http://127.0.0.1:1"]);
    assert_eq!(output.status.code(), Some(1));
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(errors.contains("127.0.0.1:1"), "{errors}");
}
