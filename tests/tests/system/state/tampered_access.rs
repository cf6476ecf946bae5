//! A database that was changed by hand so that orders vanish, or that a token may do more.

use ark_tests::{Client, Host, TestDir, make_token, run_ark, trade};
use rusqlite::Connection;
use serde_json::{Value, json};

fn change_database(place: &TestDir, sql: &str) {
    let database = Connection::open(place.data().join("ark.db")).expect("the database");
    database.execute_batch(sql).expect("a change");
}

fn check_state(place: &TestDir) -> (bool, Value) {
    let data = place.data().display().to_string();
    let checked = run_ark(&["state", "check", "--data-dir", &data]);
    let report = serde_json::from_slice(&checked.stdout).expect("JSON");
    (checked.status.success(), report)
}

#[test]
fn a_trigger_that_drops_halts_ends_the_start() {
    let place = TestDir::new("");
    assert_eq!(place.start().terminate(), Some(0));
    change_database(
        &place,
        "CREATE TRIGGER evil AFTER INSERT ON halts BEGIN DELETE FROM halts; END",
    );
    let named = "the trigger evil on halts was not made by this program";
    let (is_sound, report) = check_state(&place);
    assert!(!is_sound, "{report}");
    assert_eq!(report["schema"], json!([named]), "{report}");
    let config = place.config().display().to_string();
    let refused = Host::try_start(&place.data(), &["--config", &config])
        .err()
        .expect("no host");
    assert!(
        refused.contains(named) && refused.contains("DROP TRIGGER \"evil\""),
        "{refused}"
    );

    change_database(&place, "DROP TRIGGER evil");
    let host = place.start();
    let (status, _) = Client::new(&host).get("/readyz");
    assert_eq!(status, 200);
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_view_of_the_tables_is_told_and_ends_no_start() {
    let place = TestDir::new("");
    assert_eq!(place.start().terminate(), Some(0));
    change_database(
        &place,
        "CREATE VIEW report AS SELECT name, role FROM tokens",
    );
    let (is_sound, report) = check_state(&place);
    assert!(is_sound, "{report}");
    let named = "the view report was not made by this program";
    assert_eq!(report["schema_notes"], json!([named]), "{report}");
    assert_eq!(place.start().terminate(), Some(0));
}

#[test]
fn a_snapshot_with_a_trigger_is_restored_without_it_by_order_and_loses_no_decision() {
    let place = TestDir::new("");
    let host = place.start();
    let (status, answer) = Client::new(&host).post("/v1/actions", &trade("BTC-USD", 0.001));
    assert_eq!(status, 200, "{answer}");
    let decided = Client::new(&host).read_decisions("");
    assert_eq!(host.terminate(), Some(0));
    change_database(
        &place,
        "CREATE TRIGGER evil AFTER INSERT ON halts BEGIN DELETE FROM halts; END",
    );
    let data = place.data().display().to_string();
    let snapshot = place.path().join("snapshot").display().to_string();
    let made = run_ark(&["state", "snapshot", &snapshot, "--data-dir", &data]);
    assert!(made.status.success(), "{made:?}");
    let restore = [
        "state",
        "restore",
        &snapshot,
        "--data-dir",
        &data,
        "--replace",
    ];
    let order = "--drop-added";
    for refused in [
        run_ark(&["state", "check", "--snapshot", &snapshot]),
        run_ark(&restore),
    ] {
        let said = String::from_utf8_lossy(&refused.stderr);
        assert!(
            !refused.status.success()
                && said.contains("the trigger evil on halts")
                && said.contains(order),
            "{said}"
        );
    }
    let restored = run_ark(&[&restore[..], &[order]].concat());
    let report: Value = serde_json::from_slice(&restored.stdout).expect("JSON");
    assert_eq!(
        report["dropped"],
        json!(["DROP TRIGGER \"evil\""]),
        "{report}"
    );
    let aside = report["moved_aside"].as_str().expect("the evidence");
    assert!(std::path::Path::new(aside).join("ark.db").is_file());
    let (is_sound, report) = check_state(&place);
    assert!(is_sound, "{report}");
    let host = place.start();
    assert_eq!(Client::new(&host).read_decisions(""), decided);
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_role_that_was_raised_by_hand_is_named() {
    let place = TestDir::new("");
    let _ = make_token(&place.data(), "ada", "admin", &[]);
    let _ = make_token(&place.data(), "bot", "reader", &[]);
    let (is_sound, report) = check_state(&place);
    assert!(is_sound, "{report}");
    change_database(
        &place,
        "UPDATE tokens SET role = 'admin' WHERE name = 'bot'",
    );
    let (is_sound, report) = check_state(&place);
    assert!(!is_sound, "{report}");
    let named = "the token bot: role: the log says \"reader\", the table \"admin\"";
    assert_eq!(report["tokens"], json!([named]), "{report}");
}
