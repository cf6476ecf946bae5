//! Versions of agents on the real binary: uploading, rolling out and back, deleting, while signals come in.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::{
    Client, Host, TestDir, base64, hostile_guests_dir, make_token, mark_component, sha256,
    take_turn, wait_until,
};
use serde_json::{Value, json};

/// Nobody is quarantined, no deadline ends what a busy machine holds up, and no minute is too short.
const CONFIG: &str = "[limits]\ndeadline_ms = 30_000\nactions_per_minute = 1_000_000\n[watchdog]\nconsecutive_failures = 100000\nfailure_rate = 1.0\nmissed_heartbeats = 100000\nlatency_ms = 1000000\n[capacity]\nagent_queue = 100000\nagent_versions = 4\n";

/// Returns a component that does the same as `chaos` and is another.
fn component(mark: u8) -> Vec<u8> {
    let bytes = std::fs::read(hostile_guests_dir().join("chaos.wasm")).expect("a component");
    mark_component(bytes, mark)
}

fn write_manifest(component: &[u8]) -> Value {
    json!({"name": "chaos", "version": "0.1.0", "component": "chaos.wasm", "sha256": sha256(component),
        "topics": ["chaos.go"], "actions": ["trade", "buy", "sell", "publish"]})
}

fn put_agent(client: &mut Client, name: &str, body: &Value) -> (u16, Value) {
    client.send("PUT", &format!("/v1/agents/{name}"), body)
}

fn upload_version(client: &mut Client, mark: u8) -> Value {
    let bytes = component(mark);
    let body = json!({"manifest": write_manifest(&bytes), "component": base64(&bytes), "by": "ada", "reason": "a test"});
    let (status, answer) = put_agent(client, "chaos", &body);
    assert_eq!(status, 200, "{answer}");
    answer
}

fn delete_agent(client: &mut Client, query: &str) -> (u16, Value) {
    client.send("DELETE", &format!("/v1/agents/chaos{query}"), &Value::Null)
}

fn send_signal(client: &mut Client) -> (u16, Value) {
    let signal = json!({"topic": "chaos.go", "payload": "environment"});
    client.post("/v1/signals", &signal)
}

fn read_deliveries(data: &Path) -> Vec<(String, i64)> {
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    let mut statement = database
        .prepare("SELECT status, count(*) FROM deliveries GROUP BY status ORDER BY status")
        .expect("a query");
    let rows = statement.query_map([], |row| Ok((row.get(0)?, row.get(1)?)));
    rows.expect("rows")
        .collect::<Result<_, _>>()
        .expect("deliveries")
}

/// Waits until every delivery is completed.
fn wait_until_idle(client: &mut Client) {
    wait_until("no signal waits", || {
        let (_, agents) = client.get("/v1/agents");
        let agents = agents["agents"].as_array().expect("agents").iter();
        let waiting: u64 = agents.filter_map(|agent| agent["waiting"].as_u64()).sum();
        waiting == 0
    });
}

/// A component that imports what is no part of WASI that agents get, not even as a stub.
const FOREIGN_IMPORT: &str =
    r#"(component (import "acme:vault/keys@0.2.0" (instance (export "open" (func)))))"#;

#[test]
fn a_thousand_hot_swaps_under_load_lose_nothing_and_fail_nothing() {
    let _turn = take_turn();
    let swaps = std::env::var("ARK_SWAPS")
        .map_or(1000, |swaps| swaps.parse().expect("ARK_SWAPS: a number"));
    let place = TestDir::new(CONFIG);
    let host = place.start();
    let mut client = Client::new(&host);
    for (mark, number) in [(1, 1), (2, 2)] {
        assert_eq!(upload_version(&mut client, mark)["number"], json!(number));
    }
    let over = AtomicBool::new(false);
    let accepted = AtomicUsize::new(0);
    let mut took = Vec::with_capacity(swaps);
    let mut elapsed = Duration::ZERO;
    std::thread::scope(|scope| {
        let senders: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut client = Client::new(&host);
                    while !over.load(Ordering::Relaxed) {
                        let (status, answer) = send_signal(&mut client);
                        assert_eq!(status, 202, "{answer}");
                        assert_eq!(answer["delivered_to"], json!(["chaos"]), "{answer}");
                        accepted.fetch_add(1, Ordering::Relaxed);
                        // Some signals in each swap are enough; more only keep the processors busy.
                        std::thread::sleep(Duration::from_millis(10));
                    }
                })
            })
            .collect();
        let started = Instant::now();
        for swap in 0..swaps {
            let before = Instant::now();
            let number = swap % 2 + 1;
            // Every tenth is an upload of bytes that are known already.
            let answer = if swap % 10 == 9 {
                upload_version(&mut client, u8::try_from(number).expect("1 or 2"))
            } else {
                let order = json!({"number": number, "by": "ada"});
                let (status, answer) = client.post("/v1/agents/chaos/rollout", &order);
                assert_eq!(status, 200, "{answer}");
                answer
            };
            assert_eq!(
                (&answer["serving"], &answer["drained"]),
                (&json!(number), &json!(true)),
                "{answer}"
            );
            took.push(before.elapsed());
        }
        elapsed = started.elapsed();
        over.store(true, Ordering::Relaxed);
        for sender in senders {
            sender.join().expect("a sender");
        }
    });
    wait_until_idle(&mut client);
    let accepted = i64::try_from(accepted.load(Ordering::Relaxed)).expect("a count");
    took.sort_unstable();
    println!(
        "{swaps} swaps in {elapsed:.1?} while {accepted} signals came: median {:.1?}, P99 {:.1?}, slowest {:.1?}",
        took[swaps / 2],
        took[swaps * 99 / 100],
        took[swaps - 1],
    );
    assert!(accepted > 100, "{accepted}");
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(
        read_deliveries(&place.data()),
        [("done".to_owned(), accepted)]
    );
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let one = |query: &str| -> i64 {
        database
            .query_row(query, [], |row| row.get(0))
            .expect("a count")
    };
    // Each signal has a trace of its own, one decision, and one revision of the state.
    let decided = "SELECT count(*) FROM (SELECT trace_id FROM audit_log WHERE kind = 'decision' GROUP BY trace_id HAVING count(*) = 1)";
    assert_eq!(one(decided), accepted);
    assert_eq!(
        one("SELECT count(*) FROM audit_log WHERE kind = 'decision'"),
        accepted
    );
    assert_eq!(
        one("SELECT count(*) FROM state_history WHERE agent = 'chaos'"),
        accepted
    );
    assert_eq!(
        one(
            "SELECT count(*) FROM audit_log WHERE kind = 'operator' AND json_extract(body, '$.by') = 'ada'"
        ),
        i64::try_from(swaps).expect("a count") + 2
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of uploads")]
fn a_bad_upload_is_refused_and_the_old_version_serves_on() {
    let place =
        TestDir::new("[limits]\ndeadline_ms = 30_000\n[watchdog]\nmissed_heartbeats = 100000\n");
    let host = place.start();
    let mut client = Client::new(&host);
    let first = upload_version(&mut client, 1);
    let good = component(2);
    let foreign = wat::parse_str(FOREIGN_IMPORT).expect("a component");
    let heart = std::fs::read(hostile_guests_dir().join("erring-heart.wasm")).expect("a component");
    let truncated = &good[..good.len() / 2];
    let with = |field: &str, value: Value| {
        let mut manifest = write_manifest(&good);
        manifest[field] = value;
        json!({"manifest": manifest, "component": base64(&good)})
    };
    let of = |name: &str, bytes: &[u8]| {
        let mut manifest = write_manifest(bytes);
        manifest["name"] = json!(name);
        json!({"manifest": manifest, "component": base64(bytes)})
    };
    let too_large = json!({"manifest": write_manifest(&good), "component": "A".repeat(89 << 20)});
    let large = vec![0; (64 << 20) + 1];
    for (what, name, body, status, field) in [
        (
            "wrong hash",
            "chaos",
            with("sha256", json!("0".repeat(64))),
            422,
            "manifest.sha256",
        ),
        (
            "forbidden import",
            "foreign",
            of("foreign", &foreign),
            422,
            "component",
        ),
        (
            "truncated",
            "chaos",
            of("chaos", truncated),
            422,
            "component",
        ),
        (
            "no component at all",
            "chaos",
            of("chaos", b"hello"),
            422,
            "component",
        ),
        (
            "too large as a component",
            "chaos",
            of("chaos", &large),
            422,
            "component",
        ),
        ("too large as a body", "chaos", too_large, 413, "body"),
        (
            "other metadata",
            "chaos",
            with("version", json!("9.9.9")),
            422,
            "manifest.version",
        ),
        (
            "other name",
            "chaos",
            with("name", json!("kyle")),
            422,
            "manifest.name",
        ),
        (
            "limits above the ceiling",
            "chaos",
            with("limits", json!({"fuel": 1_000_000_000_000_u64})),
            422,
            "manifest.limits.fuel",
        ),
        (
            "unknown capability",
            "chaos",
            with("capabilities", json!(["root"])),
            422,
            "manifest",
        ),
        (
            "unknown field",
            "chaos",
            with("topic", json!("x")),
            400,
            "manifest.topic",
        ),
        (
            "no base64",
            "chaos",
            json!({"manifest": write_manifest(&good), "component": "*"}),
            400,
            "component",
        ),
        (
            "no manifest",
            "chaos",
            json!({"component": ""}),
            400,
            "manifest",
        ),
        (
            "sick heart",
            "erring-heart",
            of("erring-heart", &heart),
            422,
            "component",
        ),
    ] {
        let path = format!("/v1/agents/{name}");
        // On a connection of its own: to write a large body takes longer than a connection may be idle.
        client = Client::new(&host);
        let (answered, answer) = client
            .try_send("PUT", &path, &[], &body)
            .unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(answered, status, "{what}: {answer}");
        assert_eq!(answer["field"], json!(field), "{what}: {answer}");
        let (_, shown) = client.get(&format!("/v1/agents/{name}"));
        assert!(
            shown["last_refused"]["reason"].is_string(),
            "{what}: {shown}"
        );
        if name == "chaos" {
            assert_eq!(
                (&shown["serving"], &shown["sha256"]),
                (&first["number"], &first["sha256"]),
                "{what}"
            );
        } else {
            assert_eq!(shown["serving"], Value::Null, "{what}: {shown}");
        }
    }
    assert_eq!(send_signal(&mut client).0, 202);
    wait_until_idle(&mut client);
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(read_deliveries(&place.data()), [("done".to_owned(), 1)]);
}

#[test]
fn a_rollout_survives_a_restart() {
    let place = TestDir::new(CONFIG);
    let mut host = place.start();
    let serving = |host: &mut Host, expected: Value| {
        let replaced = std::mem::replace(host, place.restart_killed(host));
        drop(replaced);
        let (_, shown) = Client::new(host).get("/v1/agents/chaos");
        assert_eq!(shown["serving"], expected, "{shown}");
    };
    for mark in 1..=3 {
        upload_version(&mut Client::new(&host), mark);
    }
    serving(&mut host, json!(3));
    let (status, answer) = Client::new(&host).post("/v1/agents/chaos/rollback", &json!({}));
    assert_eq!((status, &answer["serving"]), (200, &json!(2)), "{answer}");
    serving(&mut host, json!(2));
    let unknown = Client::new(&host).post("/v1/agents/chaos/rollout", &json!({"number": 77}));
    assert_eq!(unknown.0, 404, "{}", unknown.1);
    assert_eq!(
        delete_agent(&mut Client::new(&host), "?by=ada").1["deleted"],
        json!(true)
    );
    serving(&mut host, Value::Null);
    assert_eq!(
        send_signal(&mut Client::new(&host)).1["delivered_to"],
        json!([])
    );
    let again = json!({"number": 1});
    assert_eq!(
        Client::new(&host)
            .post("/v1/agents/chaos/rollout", &again)
            .0,
        200
    );
    serving(&mut host, json!(1));
    // Four are kept, and what serves or served always.
    for mark in 4..=9 {
        upload_version(&mut Client::new(&host), mark);
    }
    let (_, shown) = Client::new(&host).get("/v1/agents/chaos");
    let numbers: Vec<u64> = shown["versions"]
        .as_array()
        .expect("versions")
        .iter()
        .filter_map(|version| version["number"].as_u64())
        .collect();
    assert_eq!(numbers, [9, 8, 7, 6]);
    let path = "/v1/agents/chaos/versions/8/component";
    let (status, _, bytes) = Client::new(&host)
        .request("GET", path, &[], b"")
        .expect("an answer");
    assert_eq!((status, bytes), (200, component(8)));
}

#[test]
fn a_kill_during_an_upload_leaves_the_old_or_the_new() {
    let place = TestDir::new(CONFIG);
    let mut host = place.start();
    upload_version(&mut Client::new(&host), 1);
    for round in 0..12_u8 {
        let (_, before) = Client::new(&host).get("/v1/agents/chaos");
        let old = before["sha256"].clone();
        let bytes = component(round + 10);
        let new = json!(sha256(&bytes));
        let body =
            json!({"manifest": write_manifest(&bytes), "component": base64(&bytes)}).to_string();
        let mut client = Client::new(&host);
        std::thread::scope(|scope| {
            scope.spawn(move || {
                let json = [("Content-Type", "application/json")];
                let _ = client.request("PUT", "/v1/agents/chaos", &json, body.as_bytes());
            });
            std::thread::sleep(Duration::from_millis(u64::from(round) * 12));
            host = place.restart_killed(&host);
        });
        let (_, after) = Client::new(&host).get("/v1/agents/chaos");
        assert!(
            after["sha256"] == old || after["sha256"] == new,
            "round {round}: {after}"
        );
        assert!(after["serving"].is_u64(), "{after}");
        assert_eq!(
            send_signal(&mut Client::new(&host)).1["delivered_to"],
            json!(["chaos"])
        );
    }
}

#[test]
fn deleting_while_signals_wait_is_refused_or_lets_them_fail() {
    let place = TestDir::new(CONFIG);
    let host = place.start();
    let mut client = Client::new(&host);
    upload_version(&mut client, 1);
    // In quarantine nothing is handed out, so that they wait.
    let order = json!({"reason": "a test"});
    assert_eq!(client.post("/v1/agents/chaos/quarantine", &order).0, 200);
    for _ in 0..5 {
        assert_eq!(send_signal(&mut client).0, 202);
    }
    let (status, answer) = delete_agent(&mut client, "");
    assert_eq!(
        (status, &answer["field"]),
        (409, &json!("force")),
        "{answer}"
    );
    assert_eq!(client.get("/v1/agents/chaos").1["serving"], json!(1));
    let (status, answer) = delete_agent(&mut client, "?force=true&by=ada&reason=gone");
    assert_eq!(
        (status, &answer["failed_signals"]),
        (200, &json!(5)),
        "{answer}"
    );
    assert_eq!(client.get("/v1/watchdog").1["backlog"]["waiting"], json!(0));
    assert_eq!(delete_agent(&mut client, "").0, 404);
    assert_eq!(host.terminate(), Some(0));
    assert_eq!(read_deliveries(&place.data()), [("failed".to_owned(), 5)]);
}

#[test]
fn a_change_is_the_tokens_that_made_it() {
    let place = TestDir::new(CONFIG);
    let _ = make_token(&place.data(), "root", "admin", &[]);
    let token = make_token(&place.data(), "olga", "operator", &[]);
    let reader = make_token(&place.data(), "rita", "reader", &[]);
    let host = place.start();
    let call = |token: &str, method: &str, path: &str, body: &Value| {
        Client::with_token(&host, token).send(method, path, body)
    };
    let bytes = component(1);
    let body = json!({"manifest": write_manifest(&bytes), "component": base64(&bytes)});
    let chaos = "/v1/agents/chaos";
    assert_eq!(call(&reader, "PUT", chaos, &body).0, 403);
    assert_eq!(call(&reader, "GET", chaos, &Value::Null).0, 404);
    let mut other = body.clone();
    other["by"] = json!("ada");
    let (status, answer) = call(&token, "PUT", chaos, &other);
    assert_eq!((status, &answer["field"]), (403, &json!("by")), "{answer}");
    assert_eq!(call(&token, "PUT", chaos, &body).0, 200);
    let (_, shown) = call(&reader, "GET", chaos, &Value::Null);
    assert_eq!(
        (&shown["rolled_out_by"], &shown["serving"]),
        (&json!("olga"), &json!(1)),
        "{shown}"
    );
    let path = "/v1/agents/chaos/versions/1/component";
    assert_eq!(call(&reader, "GET", path, &Value::Null).0, 200);
    assert_eq!(call(&reader, "DELETE", chaos, &Value::Null).0, 403);
    assert_eq!(call(&token, "DELETE", chaos, &Value::Null).0, 200);
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let made: Vec<String> = database
        .prepare("SELECT action_type || ' ' || json_extract(body, '$.by') FROM audit_log WHERE kind = 'operator' AND action_type LIKE 'agent.%' ORDER BY seq")
        .expect("a query")
        .query_map([], |row| row.get(0))
        .expect("rows")
        .collect::<Result<_, _>>()
        .expect("changes");
    assert_eq!(made, ["agent.upload olga", "agent.delete olga"]);
}
