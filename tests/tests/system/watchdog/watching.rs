//! The watchdog against the real binary: who is stopped, for what, how fast; that it lasts; and that the others go on.

use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::redis::Redis;
use ark_tests::{
    Client, Host, JSON, TestDir, copy_agent, copy_numbered, guests_dir, header, hostile_guests_dir,
    post_signal, run_ark, take_turn, trade, wait_for, wait_until,
};
use serde_json::{Value, json};

fn signal(client: &mut Client, topic: &str, payload: &str) -> Value {
    post_signal(client, topic, &json!(payload))
}

fn agent(client: &mut Client, name: &str) -> Value {
    let (status, answer) = client.get(&format!("/v1/agents/{name}"));
    assert_eq!(status, 200, "{answer}");
    answer
}

fn order(client: &mut Client, path: &str) -> (u16, Value) {
    client.post(path, &json!({"reason": "a test", "by": "ana"}))
}

fn quarantined(client: &mut Client, name: &str, cause: &str) -> Value {
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
        signal(&mut client, "chaos.go", "no such misdeed");
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
fn a_stuck_heart_alerts_soon_and_then_quarantines() {
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
fn what_waits_for_an_agent_in_quarantine_expires_by_its_time_to_live() {
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
fn a_halt_lets_nothing_through_until_it_is_resumed() {
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    let outcome = |client: &mut Client| {
        client.post("/v1/actions", &trade("BTC-USD", 0.01)).1["outcome"].clone()
    };
    assert_eq!(outcome(&mut client), json!("approved"));
    assert_eq!(order(&mut client, "/v1/resume").0, 409, "nothing is halted");
    let (status, receipt) = order(&mut client, "/v1/halt");
    assert_eq!((status, &receipt["changed"]), (200, &json!(true)));
    assert_eq!(outcome(&mut client), json!("denied"));
    assert_eq!(client.get("/readyz").0, 503);
    assert_eq!(order(&mut client, "/v1/halt").1["changed"], json!(false));
    host.kill();
    let host = place.start_halted();
    let mut client = Client::new(&host);
    assert_eq!(outcome(&mut client), json!("denied"));
    let (_, status) = client.get("/v1/watchdog");
    assert_eq!(
        (&status["halt"]["by"], &status["halt"]["reason"]),
        (&json!("ana"), &json!("a test"))
    );
    assert_eq!(order(&mut client, "/v1/resume").0, 200);
    assert_eq!(outcome(&mut client), json!("approved"));
    assert_eq!(client.get("/readyz").0, 200);
    for (body, field) in [
        (json!({}), "reason"),
        (json!({"reason": ""}), "reason"),
        (json!({"reason": "x\u{0007}"}), "reason"),
        (json!({"reason": "x", "by": "watchdog"}), "by"),
        (json!({"reason": "x", "why": "y"}), "why"),
    ] {
        let (status, problem) = client.post("/v1/halt", &body);
        assert_eq!(
            (status, problem["field"].as_str()),
            (400, Some(field)),
            "{body}: {problem}"
        );
    }
    assert_eq!(
        outcome(&mut client),
        json!("approved"),
        "a malformed halt halted"
    );
}

#[test]
fn nothing_is_approved_behind_an_acknowledged_halt() {
    const PROPOSERS: usize = 8;
    let place = TestDir::new("");
    let host = place.start();
    let stop = AtomicBool::new(false);
    // How many proposers had an approval before the halt, and how many a denial after it was acknowledged.
    let (approved, denied) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let halted = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let proposers: Vec<_> = (0..PROPOSERS)
            .map(|worker| {
                let (host, stop, halted) = (&host, &stop, &halted);
                let (approved, denied) = (&approved, &denied);
                scope.spawn(move || {
                    let mut client = Client::new(host);
                    let mut approved_last = None;
                    let mut denied_once = false;
                    for turn in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let behind = halted.load(Ordering::SeqCst);
                        let sent = Instant::now();
                        let (_, answer) = client
                            .post("/v1/actions", &trade(&format!("H{worker}-{turn}"), 0.0001));
                        if answer["outcome"] == json!("approved") {
                            if approved_last.replace(sent).is_none() {
                                approved.fetch_add(1, Ordering::Relaxed);
                            }
                        } else if behind && !std::mem::replace(&mut denied_once, true) {
                            denied.fetch_add(1, Ordering::Relaxed);
                        }
                    }
                    approved_last
                })
            })
            .collect();
        wait_until("an approval for each", || {
            approved.load(Ordering::Relaxed) == PROPOSERS
        });
        assert_eq!(order(&mut Client::new(&host), "/v1/halt").0, 200);
        let acknowledged = Instant::now();
        halted.store(true, Ordering::SeqCst);
        wait_until("a denial for each", || {
            denied.load(Ordering::Relaxed) == PROPOSERS
        });
        stop.store(true, Ordering::Relaxed);
        for proposer in proposers {
            let approved_last = proposer.join().expect("no panic");
            assert!(approved_last.is_some_and(|sent| sent < acknowledged));
        }
    });
    // In the log, too: no approval stands behind the halt.
    host.kill();
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let behind: u64 = database
        .query_row(
            "SELECT count(*) FROM audit_log WHERE outcome = 'approved' AND seq > (SELECT seq FROM audit_log WHERE kind = 'control')",
            [],
            |row| row.get(0),
        )
        .expect("a count");
    assert_eq!(behind, 0);
}

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
fn every_failure_leaves_a_capsule_that_replays_the_same_offline() {
    // Only time cannot be replayed: it is not to be what ends one of these on a busy machine.
    let place = TestDir::new(ark_tests::PATIENT);
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    copy_agent(&guests_dir(), "kyle", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    let misdeeds = [
        "panic",
        "memory",
        "stack",
        "loop",
        "host-call-flood",
        "write-flood",
        "actions",
        "nan",
        "no such misdeed",
    ];
    for how in misdeeds {
        signal(&mut client, "chaos.go", how);
    }
    wait_until("all failures", || {
        agent(&mut client, "chaos")["failed"] == json!(misdeeds.len())
    });
    assert_eq!(host.terminate(), Some(0));
    let (data, agents) = (
        place.data().display().to_string(),
        place.agents().display().to_string(),
    );
    let listed = run_ark(&["agent", "capsules", "--json", "--data-dir", &data]);
    let listed: Vec<Value> = String::from_utf8(listed.stdout)
        .expect("UTF-8")
        .lines()
        .map(|line| serde_json::from_str(line).expect("JSON"))
        .collect();
    assert_eq!(listed.len(), misdeeds.len());
    for capsule in listed {
        let id = capsule["id"].as_str().expect("an id");
        let replayed = run_ark(&[
            "agent",
            "replay",
            id,
            "--json",
            "--data-dir",
            &data,
            "--agents",
            &agents,
        ]);
        let report: Value = serde_json::from_slice(&replayed.stdout).unwrap_or_else(|error| {
            panic!("{error}: {}", String::from_utf8_lossy(&replayed.stderr))
        });
        assert!(replayed.status.success(), "{capsule}: {report:#}");
        assert_eq!(report["then"]["kind"], report["now"]["kind"]);
        assert_ne!(capsule["kind"], json!("deadline"));
        assert_eq!(
            report["then"]["fuel"], report["now"]["fuel"],
            "{capsule}: {report:#}"
        );
    }
    let unknown = run_ark(&[
        "agent",
        "replay",
        "nothing",
        "--data-dir",
        &data,
        "--agents",
        &agents,
    ]);
    assert!(String::from_utf8_lossy(&unknown.stderr).contains("no capsule"));
}

#[test]
fn capsules_are_bounded_in_number() {
    let place = TestDir::new(
        "[watchdog]\nconsecutive_failures = 1000\nfailure_rate = 1.0\ncapsules_per_agent = 3\n",
    );
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let host = place.start();
    let mut client = Client::new(&host);
    for _ in 0..8 {
        signal(&mut client, "chaos.go", "panic");
    }
    wait_until("all failures", || {
        agent(&mut client, "chaos")["failed"] == json!(8)
    });
    let kept = std::fs::read_dir(place.data().join("capsules/chaos"))
        .expect("capsules")
        .count();
    assert_eq!(kept, 3);
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
        stop.store(true, Ordering::Relaxed);
    });
    assert!(turned_away.load(Ordering::Relaxed) > 0);
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

/// The names of the host's threads with the least priority, which is a slow guest's. (What keeps the compiled components gives way by 3, and the
/// check of the database always has the least.)
fn lowered(host: &Host) -> Vec<String> {
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
    assert_eq!(lowered(&host), [""; 0], "after the start");
    let mut client = Client::new(&host);
    for _ in 0..3 {
        signal(&mut client, "chaos.go", "loop");
    }
    let slow = wait_for("a slow guest", || {
        Some(lowered(&host)).filter(|names| !names.is_empty())
    });
    assert!(
        slow.iter().all(|name| name.contains("ark-guest")),
        "{slow:?}"
    );
    wait_until("its end", || {
        agent(&mut client, "chaos")["failed"] == json!(3)
    });
    wait_until("fresh threads", || lowered(&host).is_empty());
}

/// Gives an agent's manifest, which has no limits, a deadline.
fn limit_deadline(place: &TestDir, manifest: &str, milliseconds: u32) {
    let path = place.agents().join(manifest).with_extension("toml");
    let text = std::fs::read_to_string(&path).expect("a manifest");
    let text = format!("{text}\n[limits]\ndeadline_ms = {milliseconds}\n");
    std::fs::write(&path, text).expect("a manifest");
}

#[test]
fn six_good_agents_go_on_while_ten_hostile_ones_are_stopped() {
    let _turn = take_turn();
    // Failures alone are to stop an agent here. How fast the good ones stay is measured by the benchmark: here none of their limits of time
    // is near, however busy the machine is.
    let place = TestDir::new(
        "[watchdog]\nheartbeat_ms = 1000\nmissed_heartbeats = 100000\nlatency_ms = 1000000\n",
    );
    let misdeeds = [
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
            for (number, how) in misdeeds.iter().enumerate() {
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

#[test]
fn an_order_that_was_acknowledged_survives_a_kill_at_any_moment() {
    let place = TestDir::new("");
    copy_agent(&hostile_guests_dir(), "chaos", &place.agents());
    let mut in_force = (false, false);
    for round in 0..20_u64 {
        let host = place.start_halted();
        let mut client = Client::new(&host);
        let (_, status) = client.get("/v1/watchdog");
        let found = (
            !status["halt"].is_null(),
            status["quarantines"][0]["agent"] == json!("chaos"),
        );
        assert_eq!(found, in_force, "round {round}: {status:#}");
        // One order whose answer is waited for, one that the kill interrupts.
        let paths = if round % 2 == 0 {
            ["/v1/halt", "/v1/agents/chaos/quarantine"]
        } else {
            ["/v1/resume", "/v1/agents/chaos/restore"]
        };
        let acknowledged = |status: std::io::Result<(u16, Value)>| matches!(status, Ok((200, _)));
        let body = json!({"reason": "a drill"});
        let first = acknowledged(client.try_post(paths[0], &body));
        assert!(first || in_force.0 == (round % 2 == 0), "round {round}");
        let second = std::thread::scope(|scope| {
            let order = scope.spawn(|| {
                let mut client = Client::new(&host);
                acknowledged(client.try_post(paths[1], &body))
            });
            std::thread::sleep(Duration::from_micros(round * 150));
            host.send_kill();
            order.join().expect("no panic")
        });
        drop(host);
        // What was not acknowledged may or may not be in force: the database says which, and the next start must say the same.
        let database =
            rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
        let count = |table: &str| -> u64 {
            database
                .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                    row.get(0)
                })
                .expect("a count")
        };
        in_force = (count("halts") == 1, count("quarantines") == 1);
        assert_eq!(
            in_force.0,
            round % 2 == 0,
            "round {round}: an acknowledged order is lost"
        );
        if second {
            assert_eq!(
                in_force.1,
                round % 2 == 0,
                "round {round}: an acknowledged order is lost"
            );
        }
    }
}
