//! The host is killed at random moments under load. What it acknowledged is there, once; what it accepted is processed, once.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_tests::{Client, Host, Random, guests_dir, run_ark, take_turn, trade, wait_until};
use serde_json::{Value, json};

const KILLS: u32 = 20;
/// How many decisions and how many signals are acknowledged in a round, on average, before its kill.
const LOAD: usize = 8;

#[derive(Default)]
struct AcknowledgedDecisions {
    /// Idempotency key to decision id.
    decisions: HashMap<String, String>,
    /// Idempotency key to signal id.
    signals: HashMap<String, String>,
}

fn send_load(
    host: &Host,
    round: u32,
    stop: &Arc<AtomicBool>,
    known: &Arc<Mutex<AcknowledgedDecisions>>,
) -> Vec<std::thread::JoinHandle<()>> {
    (0..4)
        .map(|worker| {
            let mut client = Client::new(host);
            let (stop, known) = (Arc::clone(stop), Arc::clone(known));
            std::thread::spawn(move || {
                for number in 0..u64::MAX {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let key = format!("{round}-{worker}-{number}");
                    let sent = if worker % 2 == 0 {
                        propose_action(&mut client, &key, &known)
                    } else {
                        send_tick(&mut client, &key, number, &known)
                    };
                    if sent.is_err() {
                        return;
                    }
                }
            })
        })
        .collect()
}

fn propose_action(
    client: &mut Client,
    key: &str,
    known: &Mutex<AcknowledgedDecisions>,
) -> std::io::Result<()> {
    let mut request = trade(&format!("S{}", key.replace('-', "")), 0.001);
    request["idempotency_key"] = json!(key);
    for _ in 0..2 {
        // Sent twice: the second must get the first answer.
        let (status, answer) = client.try_post("/v1/actions", &request)?;
        if status == 200 {
            let id = answer["decision_id"]
                .as_str()
                .expect("a decision id")
                .to_owned();
            let mut known = known.lock().expect("no panic");
            let first = known
                .decisions
                .entry(key.to_owned())
                .or_insert_with(|| id.clone());
            assert_eq!(*first, id, "one key, two decisions");
        } else {
            assert_eq!(status, 503, "{answer}");
        }
    }
    Ok(())
}

fn send_tick(
    client: &mut Client,
    key: &str,
    number: u64,
    known: &Mutex<AcknowledgedDecisions>,
) -> std::io::Result<()> {
    let payload = json!({"symbol": "BTC-USD", "price": 100.0 + (number % 7) as f64, "volume": 5.0, "at": number});
    let request = json!({"topic": "market.tick", "payload": payload, "idempotency_key": key});
    let (status, answer) = client.try_post("/v1/signals", &request)?;
    if status == 202 {
        let id = answer["signal_id"]
            .as_str()
            .expect("a signal id")
            .to_owned();
        known
            .lock()
            .expect("no panic")
            .signals
            .insert(key.to_owned(), id);
    } else {
        assert_eq!(status, 503, "{answer}");
    }
    Ok(())
}

#[test]
fn killed_at_random_moments_it_loses_nothing_and_does_nothing_twice() {
    let _turn = take_turn();
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let agents = guests_dir();
    let args = ["--agents", agents.to_str().expect("UTF-8")];
    let known = Arc::new(Mutex::new(AcknowledgedDecisions::default()));
    let mut random = Random::from_clock();
    for round in 0..KILLS {
        let host = Host::start(&data, &args);
        let stop = Arc::new(AtomicBool::new(false));
        let workers = send_load(&host, round, &stop, &known);
        // Under load, and then at a random moment.
        let enough = LOAD * (round as usize + 1);
        wait_until("a load", || {
            let known = known.lock().expect("no panic");
            known.decisions.len() >= enough && known.signals.len() >= enough
        });
        std::thread::sleep(Duration::from_millis(random.below(400)));
        host.kill();
        stop.store(true, Ordering::Relaxed);
        for worker in workers {
            worker.join().expect("a worker without a panic");
        }
        assert_whole(&data);
    }
    let host = Host::start(&data, &args);
    wait_until_idle(&data);
    let known = known.lock().expect("no panic");
    let mut client = Client::new(&host);
    for (key, id) in &known.decisions {
        let (status, decision) = client.get(&format!("/v1/decisions/{id}"));
        assert_eq!(
            (status, decision["decision_id"].as_str()),
            (200, Some(id.as_str())),
            "{key}"
        );
    }
    assert_eq!(host.terminate(), Some(0));
    assert_whole(&data);
    assert_once(&data, &known);
    println!(
        "{KILLS} kills: {} acknowledged decisions and {} accepted signals are there once",
        known.decisions.len(),
        known.signals.len()
    );
    let replayed = run_ark(&[
        "audit",
        "replay",
        "--json",
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ]);
    assert!(
        replayed.status.success(),
        "{}",
        String::from_utf8_lossy(&replayed.stdout)
    );
}

fn assert_whole(data: &Path) {
    let output = run_ark(&[
        "audit",
        "verify",
        "--json",
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ]);
    let report: Value = serde_json::from_slice(&output.stdout).expect("a report");
    assert!(
        output.status.success() && report["fault"].is_null(),
        "{report}"
    );
}

fn open_database(data: &Path) -> rusqlite::Connection {
    let flags = rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY;
    rusqlite::Connection::open_with_flags(data.join("ark.db"), flags).expect("the database")
}

fn count_rows(database: &rusqlite::Connection, sql: &str) -> u64 {
    database
        .query_row(sql, [], |row| row.get(0))
        .expect("a count")
}

/// Waits until every accepted signal is processed and every message handed on.
fn wait_until_idle(data: &Path) {
    let database = open_database(data);
    wait_until("no delivery and no message is left", || {
        let pending = "SELECT count(*) FROM deliveries WHERE status = 'pending'";
        count_rows(&database, pending) + count_rows(&database, "SELECT count(*) FROM outbox") == 0
    });
}

fn assert_once(data: &Path, known: &AcknowledgedDecisions) {
    let database = open_database(data);
    let keyed: HashMap<String, String> =
        read_pairs(&database, "SELECT key, answer_id FROM idempotency");
    for (key, id) in &known.decisions {
        assert_eq!(keyed.get(key), Some(id), "{key}");
    }
    // Every decision of the client's agent stands under a key of its own: none was made twice.
    let made = count_rows(
        &database,
        "SELECT count(*) FROM audit_log WHERE kind = 'decision' AND agent = 'api'",
    );
    assert_eq!(made, keyed.len() as u64);
    let signals: HashMap<String, String> =
        read_pairs(&database, "SELECT key, signal_id FROM signal_keys");
    for (key, id) in &known.signals {
        assert_eq!(signals.get(key), Some(id), "{key}");
    }
    // kyle writes his statistics once a tick, in the transaction that settles the delivery. On a busy machine an invocation may be ended
    // at its deadline: then its delivery has failed, with a failure on record, and has written nothing.
    let of_kyle = |status: &str| {
        let sql = "SELECT count(*) FROM deliveries WHERE agent = 'kyle' AND status = ";
        count_rows(&database, &format!("{sql}'{status}'"))
    };
    let (done, failed) = (of_kyle("done"), of_kyle("failed"));
    assert_eq!(done + failed, signals.len() as u64);
    let failures = "SELECT count(*) FROM audit_log WHERE kind = 'failure' AND agent = 'kyle'";
    assert_eq!(count_rows(&database, failures), failed);
    let (revision, statistics): (u64, String) = database
        .query_row(
            "SELECT revision, value FROM agents_state WHERE agent = 'kyle' AND key = 'statistics/BTC-USD'",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("kyle's statistics");
    let statistics: Value = serde_json::from_str(&statistics).expect("JSON");
    assert_eq!((revision, &statistics["ticks"]), (done, &json!(done)));
    let gaps = "SELECT count(*) FROM (SELECT max(revision) AS last, count(*) AS all_of_them, min(revision) AS first
                FROM state_history GROUP BY agent, key) WHERE last <> all_of_them OR first <> 1";
    assert_eq!(count_rows(&database, gaps), 0, "a history has a gap");
}

fn read_pairs(database: &rusqlite::Connection, sql: &str) -> HashMap<String, String> {
    let mut statement = database.prepare(sql).expect("a query");
    let rows = statement
        .query_map([], |row| Ok((row.get(0)?, row.get(1)?)))
        .expect("rows");
    rows.map(|row| row.expect("a row")).collect()
}
