//! The watchdog against the real binary: who is stopped, for what, how fast; that it lasts; and that the others go on.

use std::time::{Duration, Instant};

use ark_tests::redis::Redis;
use ark_tests::{
    Client, TestDir, copy_agent, copy_numbered, guests_dir, hostile_guests_dir, post_signal, trade,
    wait_for, wait_until,
};
use serde_json::{Value, json};

pub(super) fn signal(client: &mut Client, topic: &str, payload: &str) -> Value {
    post_signal(client, topic, &json!(payload))
}

pub(super) fn agent(client: &mut Client, name: &str) -> Value {
    let (status, answer) = client.get(&format!("/v1/agents/{name}"));
    assert_eq!(status, 200, "{answer}");
    answer
}

pub(super) fn order(client: &mut Client, path: &str) -> (u16, Value) {
    client.post(path, &json!({"reason": "a test", "by": "ana"}))
}

pub(super) fn quarantined(client: &mut Client, name: &str, cause: &str) -> Value {
    let quarantine = wait_for(&format!("quarantine of {name}"), || {
        let found = agent(client, name)["quarantine"].take();
        (!found.is_null()).then_some(found)
    });
    assert_eq!(quarantine["cause"], json!(cause), "{quarantine}");
    quarantine
}

#[test]
fn every_limit_is_probed_before_the_host_is_ready() {
    let place = TestDir::new("[limits]\nfuel = 5_000_000\n");
    let host = place.start();
    let (_, status) = Client::new(&host).get("/v1/watchdog");
    assert_eq!(status["probed"], json!(true), "{status:#}");
    let probes = status["probes"].as_array().expect("probes");
    let limits = status["limits"].as_object().expect("limits");
    assert_eq!(limits["fuel"], json!(5_000_000));
    assert_eq!(probes.len(), limits.len());
    for limit in limits.keys() {
        let probe = probes.iter().find(|probe| probe["limit"] == json!(limit));
        assert_eq!(
            probe.map(|probe| &probe["tripped"]),
            Some(&json!(true)),
            "{limit}"
        );
    }
}

#[test]
fn each_signal_of_a_long_queue_is_handled_once_and_in_order() {
    // More than a queue has in memory (1,024), before a restart and after it.
    const SENT: usize = 1_100;
    let place = TestDir::new("");
    copy_agent(&hostile_guests_dir(), "files", &place.agents());
    let send_all = |client: &mut Client| -> Vec<Value> {
        (0..SENT)
            .map(|_| post_signal(client, "files.go", &json!(0))["signal_id"].take())
            .collect()
    };
    let host = place.start();
    let mut client = Client::new(&host);
    assert_eq!(order(&mut client, "/v1/agents/files/quarantine").0, 200);
    let mut sent = send_all(&mut client);
    assert_eq!(agent(&mut client, "files")["waiting"], json!(SENT));
    host.kill();
    let host = place.start();
    let mut client = Client::new(&host);
    assert_eq!(agent(&mut client, "files")["waiting"], json!(SENT));
    sent.append(&mut send_all(&mut client));
    assert_eq!(order(&mut client, "/v1/agents/files/restore").0, 200);
    wait_until("the last invocation", || {
        agent(&mut client, "files")["handled"] == json!(2 * SENT)
    });
    assert_eq!(agent(&mut client, "files")["waiting"], json!(0));
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let handled: Vec<Value> = database
        .prepare("SELECT reference FROM session_log WHERE kind = 'invocation' ORDER BY seq")
        .expect("a query")
        .query_map([], |row| row.get(0).map(|id: String| Value::from(id)))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("texts");
    assert_eq!(handled, sent);
}

#[test]
fn five_failures_in_a_row_quarantine_and_what_waits_is_delivered_after_the_restore() {
    let place = TestDir::new("");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for _ in 0..5 {
        signal(&mut client, "chaos.go", "panic");
    }
    let quarantine = quarantined(&mut client, "chaos", "consecutive_failures");
    assert_eq!(quarantine["by"], json!("watchdog"));
    // The quarantine is in force before the order is on disk, and the alert with it.
    wait_until("the alert", || {
        let (_, alerts) = client.get("/v1/watchdog/alerts?agent=chaos&kind=quarantined");
        alerts["alerts"][0]["severity"] == json!("critical")
    });

    // It receives nothing; nothing in its name is judged; what comes for it waits. A restart changes none of that.
    let waiting = signal(&mut client, "chaos.go", "environment");
    let path = format!(
        "/v1/traces/{}",
        waiting["trace_id"].as_str().expect("a trace")
    );
    let mut proposal = trade("BTC-USD", 0.01);
    proposal["agent"] = json!("chaos");
    let (status, problem) = client.post("/v1/actions", &proposal);
    assert_eq!(
        (status, &problem["outcome"]),
        (409, &json!("denied")),
        "{problem}"
    );
    host.kill();
    let host = place.start();
    let mut client = Client::new(&host);
    quarantined(&mut client, "chaos", "consecutive_failures");

    // Kyle goes on. What came for him is handed out, and what came before for the agent in quarantine is not.
    let tick = json!({"topic": "market.tick", "payload": {"symbol": "BTC-USD", "price": 100.0, "volume": 5.0, "at": 1}});
    assert_eq!(client.post("/v1/signals", &tick).0, 202);
    wait_until("kyle's invocation", || {
        agent(&mut client, "kyle")["handled"] == json!(1)
    });
    assert_eq!(client.get(&path).1["pending_deliveries"], json!(1));

    assert_eq!(
        order(&mut client, "/v1/agents/kyle/restore").0,
        409,
        "kyle is not in quarantine"
    );
    let (status, receipt) = order(&mut client, "/v1/agents/chaos/restore");
    assert_eq!(
        (status, &receipt["changed"]),
        (200, &json!(true)),
        "{receipt}"
    );
    wait_until("the delivery after the restore", || {
        client.get(&path).1["steps"]
            .as_array()
            .is_some_and(|steps| steps.len() > 1)
    });
    assert_eq!(agent(&mut client, "chaos")["quarantine"], Value::Null);
    assert_eq!(client.post("/v1/actions", &proposal).0, 200);

    // Everything that was ordered is in the audit log, with its name and reason.
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let orders: Vec<String> = database
        .prepare("SELECT body FROM audit_log WHERE kind = 'control' ORDER BY seq")
        .expect("a query")
        .query_map([], |row| row.get(0))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("texts");
    assert_eq!(orders.len(), 2, "{orders:?}");
    assert!(
        orders[0].contains("quarantine") && orders[0].contains("watchdog"),
        "{orders:?}"
    );
    assert!(
        orders[1].contains("restore")
            && orders[1].contains("\"ana\"")
            && orders[1].contains("a test"),
        "{orders:?}"
    );
}

#[test]
fn a_failure_rate_above_a_fifth_quarantines_and_a_senders_nonsense_does_not() {
    let place = TestDir::new("");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for _ in 0..20 {
        signal(&mut client, "chaos.go", "no such fault");
    }
    wait_until("the rejected signals", || {
        agent(&mut client, "chaos")["failed"] == json!(20)
    });
    assert_eq!(agent(&mut client, "chaos")["quarantine"], Value::Null);
    for turn in 0..16 {
        signal(
            &mut client,
            "chaos.go",
            if turn % 4 == 0 { "panic" } else { "log-flood" },
        );
    }
    let quarantine = quarantined(&mut client, "chaos", "failure_rate");
    assert!(
        quarantine["reason"]
            .as_str()
            .is_some_and(|reason| reason.contains("20 %")),
        "{quarantine}"
    );
}

#[test]
fn missed_heartbeats_alert_and_then_quarantine() {
    let place = TestDir::new("[watchdog]\nheartbeat_ms = 1000\n");
    copy_agent(&hostile_guests_dir(), "stuck-heart", &place.agents());
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host = place.start();
    let started = Instant::now();
    let mut client = Client::new(&host);
    wait_until("the alert", || {
        let (_, alerts) = client.get("/v1/watchdog/alerts?kind=heartbeat_missed");
        alerts["alerts"][0]["agent"] == json!("stuck-heart")
    });
    // The first missed heartbeat alerts. Thirty periods are for the machine.
    assert!(
        started.elapsed() < Duration::from_secs(30),
        "{:?}",
        started.elapsed()
    );
    quarantined(&mut client, "stuck-heart", "missed_heartbeats");
    let (_, status) = client.get("/v1/watchdog");
    assert_eq!(
        status["quarantines"].as_array().map(Vec::len),
        Some(1),
        "{status:#}"
    );
    assert!(agent(&mut client, "kyle")["health"]["score"].as_f64() > Some(0.9));
}

#[test]
fn a_slow_agent_is_quarantined_for_its_mean_latency() {
    let place = TestDir::new(
        "[limits]\ndeadline_ms = 500\n[watchdog]\nlatency_ms = 20\nlatency_over = 3\nconsecutive_failures = 100\nfailure_rate = 1.0\n",
    );
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for _ in 0..4 {
        signal(&mut client, "chaos.go", "sleep");
    }
    quarantined(&mut client, "chaos", "latency");
}

#[test]
fn deliveries_to_a_quarantined_agent_expire_by_their_time_to_live() {
    let place = TestDir::new("");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    assert_eq!(order(&mut client, "/v1/agents/chaos/quarantine").0, 200);
    let request = json!({"topic": "chaos.go", "payload": "environment", "ttl_ms": 300});
    let (_, answer) = client.post("/v1/signals", &request);
    let path = format!(
        "/v1/traces/{}",
        answer["trace_id"].as_str().expect("a trace")
    );
    let trace = wait_for("the expiry", || {
        let (_, trace) = client.get(&path);
        (trace["pending_deliveries"] == json!(0)).then_some(trace)
    });
    assert_eq!(
        trace["steps"][1]["detail"]["kind"],
        json!("expired"),
        "{trace:#}"
    );
    wait_until("its place", || {
        agent(&mut client, "chaos")["waiting"] == json!(0)
    });
    for (ttl, status) in [
        (json!(0), 400),
        (json!(1.5), 400),
        (json!("1"), 400),
        (json!(1000), 202),
    ] {
        let request = json!({"topic": "chaos.go", "ttl_ms": ttl});
        assert_eq!(client.post("/v1/signals", &request).0, status, "{ttl}");
    }
}

#[test]
fn too_many_actions_a_minute_fail_the_invocation() {
    let place = TestDir::new("[limits]\ndeadline_ms = 600_000\nactions_per_minute = 3\n");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for _ in 0..3 {
        signal(&mut client, "chaos.go", "split");
    }
    wait_until("two failures", || {
        agent(&mut client, "chaos")["failed"] == json!(2)
    });
    assert_eq!(agent(&mut client, "chaos")["handled"], json!(1));
    let (_, decisions) = client.get("/v1/decisions?agent=chaos");
    assert_eq!(
        decisions["decisions"].as_array().map(Vec::len),
        Some(2),
        "{decisions}"
    );
}

#[test]
fn alerts_are_announced_to_the_agents_that_subscribe_to_them() {
    let place = TestDir::new("");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let listener = copy_numbered(
        &hostile_guests_dir(),
        "mob",
        1,
        "ark.alert",
        &place.agents(),
    );
    let host = place.start();
    let mut client = Client::new(&host);
    assert_eq!(order(&mut client, "/v1/agents/chaos/quarantine").0, 200);
    // It rejects an alert as a signal that makes no sense to it: what counts is that it was handed one.
    wait_until("the alert", || {
        agent(&mut client, &listener)["failed"] == json!(1)
    });
}

#[test]
fn a_redis_is_watched_for_its_queue_its_latency_and_its_end() {
    let redis = Redis::start();
    let port = redis.port;
    let place = TestDir::new(&format!(
        "[watchdog]\nredis_url = \"redis://127.0.0.1:{port}/0\"\nredis_queue = \"in\"\nredis_ms = 100\nredis_depth = 10\n"
    ));
    let host = place.start();
    let mut client = Client::new(&host);
    let mut seen = |what: &str, as_wanted: &dyn Fn(&Value) -> bool| {
        wait_until(what, || {
            let (_, status) = client.get("/v1/watchdog");
            as_wanted(&status["redis"])
        });
    };
    seen("an empty queue", &|redis| {
        redis["depth"] == json!(0) && redis["latency_ms"].as_f64() < Some(100.0)
    });
    for number in 0..8 {
        redis.run(&["XADD", "in", "*", "n", &number.to_string()]);
    }
    seen("eight entries", &|redis| redis["depth"] == json!(8));
    for number in 0..8 {
        redis.run(&["XADD", "in", "*", "n", &number.to_string()]);
    }
    seen("sixteen entries", &|redis| redis["depth"] == json!(16));
    drop(redis);
    seen("its end", &|redis| {
        redis["latency_ms"].is_null() && redis["problem"].is_string()
    });
    let mut client = Client::new(&host);
    let mut alerts = |kind: &str| -> Vec<String> {
        let (_, body) = client.get(&format!("/v1/watchdog/alerts?kind={kind}"));
        let alerts = body["alerts"].as_array().expect("alerts");
        alerts
            .iter()
            .filter_map(|alert| alert["severity"].as_str())
            .map(str::to_owned)
            .collect()
    };
    wait_until("the alerts", || alerts("redis_unreachable") == ["critical"]);
    assert_eq!(alerts("redis_depth"), ["critical", "warning"]);
}
