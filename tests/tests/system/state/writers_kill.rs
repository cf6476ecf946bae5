//! The host is killed at random moments while 16 writers change state. What it acknowledged is in the history, once, under the revision it
//! named; revisions have no gap; both chains are whole. 40 rounds, or as many as `ARK_KILL_ROUNDS` says.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_tests::{Client, Host, JSON, Random, run_ark, take_turn, wait_until};
use serde_json::{Value, json};

const WRITERS: u64 = 16;
/// Writers that share a key, and so conflict.
const SHARED: u64 = 4;
const ROUNDS: u64 = 40;
/// How many writes are acknowledged in a round, on average, before its kill.
const LOAD: usize = 16;

/// Key and revision to the value that was acknowledged.
type AcknowledgedWrites = Arc<Mutex<HashMap<(String, u64), String>>>;

/// Writes until the host is gone.
fn write_values(
    mut client: Client,
    round: u64,
    writer: u64,
    stop: &AtomicBool,
    known: &AcknowledgedWrites,
) {
    let key = if writer < SHARED {
        "shared".to_owned()
    } else {
        format!("own-{writer}")
    };
    let path = format!("/v1/state/kyle/{key}");
    let mut expected: Option<Value> = None;
    for number in 0u64.. {
        if stop.load(Ordering::Relaxed) {
            return;
        }
        let value = format!("{round}-{writer}-{number}");
        let mut body = json!({"value": value});
        if let Some(expected) = expected.take() {
            body["expected_revision"] = expected;
        }
        let sent = client.request("PUT", &path, &[JSON], body.to_string().as_bytes());
        let Ok((status, _, answer)) = sent else {
            return;
        };
        let answer: Value = serde_json::from_slice(&answer).expect("JSON");
        match status {
            200 => {
                let revision = answer["revision"].as_u64().expect("a revision");
                let first = known
                    .lock()
                    .expect("no panic")
                    .insert((key.clone(), revision), value);
                assert_eq!(
                    first, None,
                    "revision {revision} of {key} was given out twice"
                );
                // Every other write says which revision it is made on.
                expected = (number % 2 == 0).then(|| json!(revision));
            }
            409 => expected = Some(answer["current_revision"].clone()),
            503 => {}
            other => panic!("{other}: {answer}"),
        }
    }
}

#[test]
fn killed_while_16_writers_change_state_nothing_acknowledged_is_lost() {
    let _turn = take_turn();
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let known = AcknowledgedWrites::default();
    let mut random = Random::from_clock();
    let rounds = std::env::var("ARK_KILL_ROUNDS").map_or(ROUNDS, |rounds| {
        rounds.parse().expect("ARK_KILL_ROUNDS: a number")
    });
    for round in 0..rounds {
        let host = Host::start(&data, &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (client, stop, known) =
                    (Client::new(&host), Arc::clone(&stop), Arc::clone(&known));
                std::thread::spawn(move || write_values(client, round, writer, &stop, &known))
            })
            .collect();
        // Under load, and then at a random moment.
        let enough = LOAD * (usize::try_from(round).expect("a count") + 1);
        wait_until("a load", || known.lock().expect("no panic").len() >= enough);
        std::thread::sleep(Duration::from_millis(random.below(400)));
        host.kill();
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.join().expect("no panic");
        }
    }
    // The log that the killed host left behind is read in by anyone who opens the database.
    let data_dir = data.to_str().expect("UTF-8");
    for command in [["state", "check"], ["audit", "verify"]] {
        let output = run_ark(&[&command[..], &["--data-dir", data_dir]].concat());
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    assert_eq!(Host::start(&data, &[]).terminate(), Some(0));
    let database = rusqlite::Connection::open(data.join("ark.db")).expect("the database");
    let count = |sql: &str| -> u64 {
        database
            .query_row(sql, [], |row| row.get(0))
            .expect("a count")
    };
    let known = known.lock().expect("no panic");
    let mut find = database
        .prepare(
            "SELECT value FROM state_history WHERE agent = 'kyle' AND key = ?1 AND revision = ?2",
        )
        .expect("a statement");
    for ((key, revision), value) in known.iter() {
        let found: String = find
            .query_row(rusqlite::params![key, revision], |row| row.get(0))
            .unwrap_or_else(|error| panic!("{key} {revision} was acknowledged: {error}"));
        assert_eq!(found, format!("\"{value}\""), "{key} {revision}");
    }
    assert_eq!(
        count("SELECT count(*) - count(DISTINCT value) FROM state_history"),
        0,
        "done twice"
    );
    let revisions = count("SELECT count(*) FROM state_history");
    assert_eq!(
        count("SELECT count(*) FROM audit_log WHERE kind = 'operator'"),
        revisions
    );
    assert!(revisions >= known.len() as u64 && known.len() as u64 > rounds);
    println!(
        "{rounds} kills, {} writes acknowledged, {revisions} on disk",
        known.len()
    );
}
