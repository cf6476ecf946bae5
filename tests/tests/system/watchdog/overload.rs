//! More than the host can take: full queues, floods, slow and hostile agents.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use ark_tests::{
    Client, Host, JSON, TestDir, copy_agent, copy_numbered, header, hostile_guests_dir, take_turn,
    trade, wait_for, wait_until,
};
use serde_json::{Value, json};

use super::watching::{agent, order, quarantined, signal};

#[test]
fn a_full_queue_turns_senders_away_and_takes_nothing_from_the_others() {
    let place = TestDir::new("[capacity]\nagent_queue = 5\n");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    copy_agent(&hostile_guests_dir(), "stuck-heart", &place.agents());
    let manifest = place.agents().join("stuck-heart.toml");
    let both = std::fs::read_to_string(&manifest)
        .expect("a manifest")
        .replace("heart.go", "chaos.go");
    std::fs::write(&manifest, both).expect("a manifest");
    let host = place.start();
    let mut client = Client::new(&host);
    assert_eq!(order(&mut client, "/v1/agents/chaos/quarantine").0, 200);
    assert_eq!(
        order(&mut client, "/v1/agents/stuck-heart/quarantine").0,
        200
    );
    for _ in 0..5 {
        signal(&mut client, "chaos.go", "environment");
    }
    let body = json!({"topic": "chaos.go", "payload": "environment"}).to_string();
    let (status, headers, _) = client
        .request("POST", "/v1/signals", &[JSON], body.as_bytes())
        .expect("an answer");
    assert_eq!(status, 503);
    assert!(header(&headers, "retry-after").is_some(), "{headers:?}");
    let (_, alerts) =
        client.get("/v1/watchdog/alerts?agent=chaos&kind=limit_queue&severity=warning");
    assert!(!alerts["alerts"].as_array().expect("alerts").is_empty());
    // One of the two has room again: the other's delivery is shed, and on record.
    assert_eq!(order(&mut client, "/v1/agents/stuck-heart/restore").0, 200);
    wait_until("room", || {
        agent(&mut client, "stuck-heart")["waiting"] == json!(0)
    });
    let answer = signal(&mut client, "chaos.go", "environment");
    assert_eq!(
        (&answer["delivered_to"], &answer["shed"]),
        (&json!(["stuck-heart"]), &json!(["chaos"]))
    );
    let (_, trace) = client.get(&format!(
        "/v1/traces/{}",
        answer["trace_id"].as_str().expect("a trace")
    ));
    let deliveries = trace["steps"][0]["deliveries"]
        .as_array()
        .expect("deliveries");
    assert!(
        deliveries
            .iter()
            .any(|delivery| delivery["agent"] == json!("chaos")
                && delivery["status"] == json!("failed")
                && delivery["reason"]
                    .as_str()
                    .is_some_and(|reason| reason.starts_with("shed"))),
        "{trace:#}"
    );
    assert_eq!(order(&mut client, "/v1/agents/chaos/restore").0, 200);
    wait_until("an empty queue", || {
        agent(&mut client, "chaos")["waiting"] == json!(0)
    });
}

#[test]
fn a_flood_of_proposals_is_turned_away_and_what_reduces_risk_still_finds_room() {
    let place = TestDir::new("submitters = [\"flood\", \"desk\"]\n[capacity]\nproposals = 4\n");
    let host = place.start();
    let stop = AtomicBool::new(false);
    let turned_away = AtomicU64::new(0);
    std::thread::scope(|scope| {
        for worker in 0..32 {
            let (host, stop, turned_away) = (&host, &stop, &turned_away);
            scope.spawn(move || {
                let mut client = Client::new(host);
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let mut body = trade(&format!("F{worker}-{turn}"), 0.0001);
                    body["agent"] = json!("flood");
                    let body = body.to_string();
                    let (status, headers, _) = client
                        .request("POST", "/v1/actions", &[JSON], body.as_bytes())
                        .expect("an answer");
                    if status == 503 {
                        assert!(header(&headers, "retry-after").is_some(), "{headers:?}");
                        turned_away.fetch_add(1, Ordering::Relaxed);
                    } else {
                        assert_eq!(status, 200);
                    }
                }
            });
        }
        let mut client = Client::new(&host);
        for turn in 0..200 {
            let action = if turn % 2 == 0 {
                "close_position"
            } else {
                "cancel_order"
            };
            let body = json!({"agent": "desk", "action_type": action, "parameters": {"symbol": "F0-0"}, "reasoning": "out of here"});
            let (status, answer) = client.post("/v1/actions", &body);
            assert_eq!(status, 200, "{answer}");
        }
        wait_until("a proposal that is turned away", || {
            turned_away.load(Ordering::Relaxed) > 0
        });
        stop.store(true, Ordering::Relaxed);
    });
}

/// The names of the host's threads with the least priority, which is a slow guest's. (What keeps the compiled components gives way by 3, and the
/// check of the database always has the least.)
fn list_lowered(host: &Host) -> Vec<String> {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("Linux");
    tasks
        .filter_map(|task| std::fs::read_to_string(task.ok()?.path().join("stat")).ok())
        .filter_map(|stat| {
            let (name, rest) = stat.rsplit_once(") ")?;
            // `nice` is the 19th field; the first of `rest` is the third.
            let nice: i32 = rest.split(' ').nth(16)?.parse().ok()?;
            (nice == 19 && !name.contains("ark-store-check")).then(|| name.to_owned())
        })
        .collect()
}

#[test]
fn a_slow_guest_gives_way_while_it_runs_and_no_thread_stays_slow_after_it() {
    let place = TestDir::new(ark_tests::PATIENT);
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    assert_eq!(list_lowered(&host), [""; 0], "after the start");
    let mut client = Client::new(&host);
    for _ in 0..3 {
        signal(&mut client, "chaos.go", "loop");
    }
    let slow = wait_for("a slow guest", || {
        Some(list_lowered(&host)).filter(|names| !names.is_empty())
    });
    assert!(
        slow.iter().all(|name| name.contains("ark-guest")),
        "{slow:?}"
    );
    wait_until("its end", || {
        agent(&mut client, "chaos")["failed"] == json!(3)
    });
    wait_until("fresh threads", || list_lowered(&host).is_empty());
}

/// Gives an agent's manifest, which has no limits, a deadline.
fn limit_deadline(place: &TestDir, manifest: &str, milliseconds: u32) {
    let path = place.agents().join(manifest).with_extension("toml");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    let text = format!("{text}\n[limits]\ndeadline_ms = {milliseconds}\n");
    std::fs::write(&path, text).expect("a manifest");
}

#[test]
fn guests_that_sleep_keep_nobody_from_running() {
    let _turn = take_turn();
    // More than there are processors, and fewer than there are workers.
    let processors = std::thread::available_parallelism().map_or(2, |found| found.get().min(10));
    let sleepers = u32::try_from(processors).expect("at most ten") + 2;
    let place = TestDir::new(ark_tests::PATIENT);
    let names: Vec<String> = (0..=sleepers)
        .map(|number| {
            let topic = if number < sleepers {
                "rest.go"
            } else {
                "good.go"
            };
            copy_numbered(&hostile_guests_dir(), "mob", number, topic, &place.agents())
        })
        .collect();
    let (good, sleeping) = names.split_last().expect("agents");
    let host = place.start();
    let mut client = Client::new(&host);
    let answer = signal(&mut client, "rest.go", "sleep");
    assert_eq!(answer["delivered_to"], json!(sleeping));
    for handled in 1..=3 {
        signal(&mut client, "good.go", "behave");
        wait_until("the good agent's work", || {
            agent(&mut client, good)["handled"] == json!(handled)
        });
    }
    for name in sleeping {
        let seen = agent(&mut client, name);
        assert_eq!(
            (&seen["handled"], &seen["failed"]),
            (&json!(0), &json!(0)),
            "it should still sleep: {seen:#}"
        );
    }
}

#[test]
fn six_good_agents_go_on_while_ten_hostile_ones_are_stopped() {
    let _turn = take_turn();
    // Failures alone are to stop an agent here. How fast the good ones stay is measured by the benchmark: here none of their limits of time
    // is near, however busy the machine is.
    let place = TestDir::new(
        "[watchdog]\nheartbeat_ms = 1000\nmissed_heartbeats = 100000\nlatency_ms = 1000000\n",
    );
    let faults = [
        "loop",
        "memory",
        "panic",
        "fail",
        "stack",
        "sleep",
        "call-flood",
        "write-flood",
        "log-flood-and-panic",
        "actions",
    ];
    let good: Vec<String> = (0..6)
        .map(|number| {
            copy_numbered(
                &hostile_guests_dir(),
                "mob",
                number,
                "good.go",
                &place.agents(),
            )
        })
        .collect();
    let hostile: Vec<String> = (0..10)
        .map(|number| {
            copy_numbered(
                &hostile_guests_dir(),
                "mob",
                50 + number,
                &format!("bad.n{number}"),
                &place.agents(),
            )
        })
        .collect();
    for number in 50..60 {
        limit_deadline(&place, &format!("mob-{number}"), 500);
    }
    let host = place.start();
    let mut client = Client::new(&host);
    for round in 0..40_u64 {
        signal(&mut client, "good.go", "behave");
        if round >= 10 {
            for (number, how) in faults.iter().enumerate() {
                let request = json!({"topic": format!("bad.n{number}"), "payload": how});
                assert!(matches!(client.post("/v1/signals", &request).0, 202));
            }
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    for name in &hostile {
        quarantined(&mut client, name, "consecutive_failures");
    }
    for name in &good {
        let seen = wait_for("the good agents' work", || {
            let seen = agent(&mut client, name);
            (seen["waiting"] == json!(0)).then_some(seen)
        });
        assert_eq!(
            (&seen["handled"], &seen["failed"]),
            (&json!(40), &json!(0)),
            "{seen:#}"
        );
        assert_eq!(seen["quarantine"], Value::Null);
    }
    // Nothing of the hostile ones was committed.
    assert_eq!(host.terminate(), Some(0));
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let count = |query: &str| -> u64 {
        database
            .query_row(query, [], |row| row.get(0))
            .expect("a count")
    };
    assert_eq!(
        count("SELECT count(*) FROM audit_log WHERE kind = 'decision'"),
        0
    );
    assert_eq!(count("SELECT count(DISTINCT agent) FROM state_history"), 6);
}
