//! A halted host behind `HAProxy` and a front: callers still get its own answers.

use ark_tests::haproxy::Haproxy;
use ark_tests::{Client, TestDir, trade, wait_until};
use serde_json::{Value, json};

use super::{empty_config, front_before};

/// How often `HAProxy` has found the front down, by its statistics.
fn count_downs(haproxy: &Haproxy) -> u64 {
    let table = haproxy.ask("show stat");
    let mut lines = table.lines();
    let head = lines.next().unwrap_or_default().trim_start_matches("# ");
    let column = head.split(',').position(|name| name == "chkdown");
    let row = lines.find(|line| line.starts_with("ark,front,"));
    let count = column.and_then(|column| row?.split(',').nth(column));
    count
        .and_then(|count| count.parse().ok())
        .unwrap_or_else(|| panic!("no count of checks that went down:\n{table}"))
}

#[test]
fn callers_of_a_halted_host_get_its_answers_through_haproxy() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &[]);
    let haproxy = Haproxy::start(
        &[("front", &front.address, 100)],
        "inter 200ms fall 2",
        "30s",
    );
    let mut callers = Client::at(&haproxy.address);
    let (status, decision) = callers.post("/v1/actions", &trade("BTC-USD", 0.01));
    assert_eq!((status, &decision["outcome"]), (200, &json!("approved")));

    let (status, _) = callers.post("/v1/halt", &json!({"reason": "a drill"}));
    assert_eq!(status, 200);
    for (path, expected) in [("/readyz", 503), ("/readyz/relay", 200)] {
        for mut asked in [Client::new(&front), Client::of_telemetry(&front)] {
            wait_until("the front knows of the halt", || {
                let (status, body) = asked.get(path);
                assert!(body["owner"] != "ready" || status == 200, "{body}");
                body["owner"] == "not_ready" && status == expected
            });
        }
    }
    // As many checks as would take the front out, were they to fail.
    let checks = |haproxy: &Haproxy| -> u64 {
        let (_, shown) = Client::of_telemetry(&front).get("/readyz/relay");
        assert_eq!(shown["relays"], true, "{shown}");
        count_downs(haproxy)
    };
    let passed = std::time::Instant::now();
    wait_until("more checks than take a server out", || {
        assert_eq!(checks(&haproxy), 0, "HAProxy took the front out");
        passed.elapsed() >= std::time::Duration::from_millis(200 * 5)
    });

    let (status, listed) = callers.get("/v1/decisions?limit=1");
    assert_eq!(
        (status, listed["decisions"].as_array().map(Vec::len)),
        (200, Some(1))
    );
    let (status, denied) = callers.post("/v1/actions", &trade("ETH-USD", 0.01));
    assert_eq!(
        (status, &denied["outcome"]),
        (200, &json!("denied")),
        "{denied}"
    );
    let report = json!({
        "execution_id": "fill-1", "decision_id": decision["decision_id"], "status": "cancelled"
    });
    let (status, answer) = callers.post("/v1/executions", &report);
    assert_eq!(status, 200, "{answer}");
    let (status, answer) = callers.post("/v1/resume", &json!({"reason": "it is over"}));
    assert_eq!(
        (status, &answer["changed"]),
        (200, &json!(true)),
        "{answer}"
    );
    wait_until("actions are judged as before", || {
        let (_, decision): (u16, Value) = callers.post("/v1/actions", &trade("SOL-USD", 0.01));
        decision["outcome"] == "approved"
    });
    assert_eq!(count_downs(&haproxy), 0);
}

#[test]
fn a_front_that_cannot_park_says_that_it_relays_nothing() {
    let dir = TestDir::new("");
    let owner = dir.start();
    let front = front_before(&owner, &empty_config(&dir), &["--hold-for", "1000"]);
    assert_eq!(Client::new(&front).get("/readyz/relay").0, 200);
    assert_eq!(owner.terminate(), Some(0));
    wait_until("requests are parked no more", || {
        let (status, body) = Client::new(&front).get("/readyz/relay");
        assert_eq!(body["relays"], json!(status == 200), "{body}");
        status == 503 && body["owner"] == "away"
    });
}
