//! Halts, and orders that survive a kill.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use ark_tests::{Client, Host, TestDir, copy_agent, hostile_guests_dir, trade, wait_until};
use serde_json::{Value, json};

use super::watching::order;

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

/// Sets a flag when it is dropped.
struct StopOnDrop<'f>(&'f AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn nothing_is_approved_between_a_halt_and_its_resume() {
    const PROPOSERS: usize = 6;
    const HALTS: usize = 30;
    let place = TestDir::new("");
    let host = place.start();
    let stop = AtomicBool::new(false);
    let approvals = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for worker in 0..PROPOSERS {
            let (host, stop, approvals) = (&host, &stop, &approvals);
            scope.spawn(move || {
                let mut client = Client::new(host);
                for turn in 0.. {
                    if stop.load(Ordering::Relaxed) {
                        break;
                    }
                    let action = trade(&format!("B{worker}-{turn}"), 0.0001);
                    let (_, answer) = client.post("/v1/actions", &action);
                    if answer["outcome"] == json!("approved") {
                        approvals.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
        // The proposers end too when this thread fails.
        let _stop = StopOnDrop(&stop);
        let mut client = Client::new(&host);
        for _ in 0..HALTS {
            let before = approvals.load(Ordering::Relaxed);
            wait_until("approvals", || {
                approvals.load(Ordering::Relaxed) > before + PROPOSERS
            });
            assert_eq!(order(&mut client, "/v1/halt").0, 200);
            assert_eq!(order(&mut client, "/v1/resume").0, 200);
        }
    });
    host.kill();
    let database = rusqlite::Connection::open(place.data().join("ark.db")).expect("the database");
    let mut statement = database
        .prepare("SELECT kind, outcome FROM audit_log WHERE kind IN ('control', 'decision') ORDER BY seq")
        .expect("a query");
    let rows: Vec<(String, Option<String>)> = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .and_then(Iterator::collect)
        .expect("the rows");
    // The orders took turns, so after an odd number of them the host is halted.
    let mut orders = 0;
    for (place, (kind, outcome)) in rows.iter().enumerate() {
        if kind == "control" {
            orders += 1;
        } else if orders % 2 == 1 {
            assert_eq!(outcome.as_deref(), Some("denied"), "row {place}");
        }
    }
    assert_eq!(orders, 2 * HALTS);
}

/// How often the thread of a host has given up the processor to wait for something.
fn count_waits(host: &Host, thread: &str) -> u64 {
    let tasks = std::fs::read_dir(format!("/proc/{}/task", host.pid())).expect("Linux");
    tasks
        .flatten()
        .map(|task| std::fs::read_to_string(task.path().join("status")).expect("a status"))
        .find(|status| status.lines().next() == Some(&format!("Name:\t{thread}")))
        .and_then(|status| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
            line.trim().parse().ok()
        })
        .expect("the thread")
}

#[test]
fn a_lone_proposal_is_judged_without_waking_the_hrms_thread() {
    const PROPOSALS: u64 = 200;
    let place = TestDir::new("");
    let host = place.start();
    let mut client = Client::new(&host);
    for (key, wakes) in [(false, false), (true, true)] {
        let before = count_waits(&host, "ark-hrm");
        for turn in 0..PROPOSALS {
            let mut action = trade(&format!("L{key}-{turn}"), 0.0001);
            if key {
                action["idempotency_key"] = json!(format!("key-{turn}"));
            }
            assert_eq!(client.post("/v1/actions", &action).0, 200);
        }
        // What the host does by itself wakes it now and then.
        let waits = count_waits(&host, "ark-hrm") - before;
        assert_eq!(waits >= PROPOSALS / 2, wakes, "{waits} waits");
    }
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
