//! Damage of the database that `SQLite` itself does not see: recent damage refuses the start, older damage is found beside serving.

use std::path::Path;

use ark_tests::telemetry::series_value;
use ark_tests::{Client, Host, TestDir, run_ark, trade, wait_for};
use rusqlite::Connection;
use serde_json::{Value, json};

/// More rows than a start looks at.
const BATCHES: usize = 12;

/// Has more decisions recorded than a start looks at.
fn record_decisions(host: &Host) {
    let mut client = Client::new(host);
    let batch = json!({"actions": vec![trade("BTC-USD", 0.5); 100]});
    for _ in 0..BATCHES {
        let (status, answer) = client.post("/v1/actions/batch", &batch);
        assert_eq!(status, 200, "{answer}");
    }
}

/// Changes a recorded decision by hand.
fn edit_row(data: &Path, seq: u64) {
    let database = Connection::open(data.join("ark.db")).expect("the database");
    let changed = database
        .execute(
            "UPDATE audit_log SET body = replace(body, '\"denied\"', '\"allowed\"') || ' ' WHERE seq = ?1",
            [seq],
        )
        .expect("an update");
    assert_eq!(changed, 1);
}

/// The result of the first check that has ended.
fn wait_for_check(host: &Host) -> (u16, Value) {
    let mut client = Client::new(host);
    wait_for("the database is checked", || {
        let (status, ready) = client.get("/readyz");
        (!ready["store_check"].is_null()).then_some((status, ready))
    })
}

fn start_whatever_is_found(place: &TestDir) -> Host {
    let config = place.config().display().to_string();
    Host::start_halted(&place.data(), &["--config", &config])
}

#[test]
fn old_damage_is_found_beside_serving_and_told() {
    let place = TestDir::new("");
    let host = place.start();
    record_decisions(&host);
    let (_, sound) = wait_for_check(&host);
    assert_eq!(sound["store_check"]["fault"], Value::Null, "{sound}");
    assert_eq!(host.terminate(), Some(0));

    // All of it is looked at, while the host serves.
    let host = place.start();
    let (status, sound) = wait_for_check(&host);
    assert_eq!(status, 200, "{sound}");
    let check = &sound["store_check"];
    assert_eq!(
        (&check["fault"], &check["skipped"]),
        (&Value::Null, &json!([]))
    );
    assert!(
        check["rows"].as_u64() >= Some(100 * BATCHES as u64),
        "{check}"
    );
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    assert_eq!(series_value(&metrics, "ark_store_check_failed"), Some(0.0));
    assert_eq!(
        series_value(&metrics, "ark_store_check_runs_total"),
        Some(1.0)
    );
    assert_eq!(host.terminate(), Some(0));

    edit_row(&place.data(), 5);
    let host = start_whatever_is_found(&place);
    let (status, damaged) = wait_for_check(&host);
    assert_eq!(status, 503, "{damaged}");
    let fault = damaged["store_check"]["fault"].as_str().expect("a fault");
    assert!(fault.contains("audit log: row 5 "), "{fault}");
    let problems = damaged["problems"].to_string();
    assert!(
        problems.contains("row 5") && problems.contains("ark state restore SNAPSHOT --replace"),
        "{problems}"
    );
    let metrics = Client::of_telemetry(&host).get_text("/metrics");
    assert_eq!(series_value(&metrics, "ark_store_check_failed"), Some(1.0));
    wait_for("an alert", || {
        let (_, alerts) = Client::new(&host).get("/v1/watchdog/alerts");
        alerts
            .to_string()
            .contains("database_damaged")
            .then_some(())
    });
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn recent_damage_refuses_the_start_with_the_command_that_restores() {
    let place = TestDir::new("");
    let data = place.data();
    let host = place.start();
    record_decisions(&host);
    let snapshot = place.path().join("snapshot");
    let path = |path: &Path| path.display().to_string();
    let output = run_ark(&[
        "state",
        "snapshot",
        &path(&snapshot),
        "--data-dir",
        &path(&data),
    ]);
    assert!(output.status.success(), "{output:?}");
    assert_eq!(host.terminate(), Some(0));
    let last: u64 = Connection::open(data.join("ark.db"))
        .expect("the database")
        .query_row("SELECT max(seq) FROM audit_log", [], |row| row.get(0))
        .expect("a row");
    // Not the last one, which the anchors and the lock attest.
    let seq = last - 300;
    edit_row(&data, seq);
    let refused = place.try_start().err().expect("it does not start");
    assert!(
        refused.contains(&format!("audit log: row {seq} ")),
        "{refused}"
    );
    let remedy = format!(
        "ark state restore SNAPSHOT --replace --data-dir {}",
        path(&data)
    );
    assert!(refused.contains(&remedy), "{refused}");
    let output = run_ark(&[
        "state",
        "restore",
        &path(&snapshot),
        "--replace",
        "--data-dir",
        &path(&data),
    ]);
    assert!(output.status.success(), "{output:?}");
    let host = place.start();
    let (status, sound) = wait_for_check(&host);
    assert_eq!(status, 200, "{sound}");
    assert_eq!(host.terminate(), Some(0));
}
