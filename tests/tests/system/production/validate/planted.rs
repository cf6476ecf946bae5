//! Hosts that are broken in one way each: by triggers that somebody put into the database, by faults of the program, by a library that stands before
//! the system's functions, by an agent. Of all tests exactly the one for the fault fails.

use std::path::Path;
use std::time::Duration;

use ark_tests::faults::build_fault_library;
use ark_tests::policies;
use ark_tests::{
    Client, FAULT_VARIABLE, Host, TestDir, hostile_guests_dir, newer_program, wait_until,
};
use rusqlite::Connection;
use serde_json::{Value, json};

use super::{
    CONFIG, assert_nothing_left, assert_only_fails, cases, url_of, validate, wait_for_store_check,
};

/// A trigger on what the probe writes: its test, the event that it follows, the condition, and what it does.
type Trigger = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    &'static str,
);

#[rustfmt::skip]
const TRIGGERS: [Trigger; 7] = [
    ("flow/end-to-end", "a value that is kept as another one", "AFTER INSERT ON state_history",
        "NEW.agent = 'validation-probe' AND NEW.key = 'seen' AND NEW.value LIKE '\"w%'",
        "UPDATE state_history SET value = '\"v\"' WHERE seq = NEW.seq"),
    ("flow/end-to-end", "a signal whose delivery is kept as another agent's", "AFTER UPDATE OF status ON deliveries",
        "NEW.status = 'done' AND EXISTS (SELECT 1 FROM signals WHERE id = NEW.signal_id AND payload LIKE '\"m%')",
        "UPDATE deliveries SET agent = 'nobody' WHERE signal_id = NEW.signal_id AND agent = NEW.agent"),
    ("state/every-change-versioned", "revisions that lose their author", "AFTER INSERT ON state_history",
        "NEW.agent = 'validation-probe' AND NEW.key = 'versions'",
        "UPDATE state_history SET origin = '' WHERE seq = NEW.seq"),
    ("state/rollback", "revisions that are thrown away when the next one comes", "AFTER INSERT ON state_history",
        "NEW.agent = 'validation-probe' AND NEW.key = 'rollback'",
        "DELETE FROM state_history WHERE agent = NEW.agent AND key = NEW.key AND revision < NEW.revision"),
    ("state/rollback", "a value that no rollback brings back", "AFTER INSERT ON state_history",
        "NEW.agent = 'validation-probe' AND NEW.key = 'rollback' AND NEW.value = '\"before\"'
            AND EXISTS (SELECT 1 FROM state_history WHERE agent = NEW.agent AND key = NEW.key AND revision = NEW.revision - 1 AND value = '\"after\"')",
        "UPDATE state_history SET value = '\"after\"' WHERE seq = NEW.seq"),
    ("isolation/nothing-delivered", "a signal that counts as handled by an agent in quarantine", "AFTER INSERT ON deliveries",
        "EXISTS (SELECT 1 FROM quarantines WHERE agent = NEW.agent)",
        "UPDATE deliveries SET status = 'done', settled_at = 1 WHERE signal_id = NEW.signal_id AND agent = NEW.agent"),
    ("isolation/nothing-delivered", "a signal that is lost while its receiver is in quarantine", "AFTER INSERT ON deliveries",
        "EXISTS (SELECT 1 FROM quarantines WHERE agent = NEW.agent)",
        "DELETE FROM deliveries WHERE signal_id = NEW.signal_id AND agent = NEW.agent"),
];

#[test]
fn a_database_that_loses_or_changes_one_thing_fails_the_test_for_it_alone() {
    for (failing, what, event, condition, change) in TRIGGERS {
        // A host each: the trigger is in its database.
        let dir = TestDir::new(CONFIG);
        let host = dir.start();
        let url = url_of(&host);
        wait_for_store_check(&host);
        let database = Connection::open(dir.data().join("ark.db")).expect("the database");
        database
            .busy_timeout(Duration::from_secs(60))
            .expect("a time");
        database
            .execute_batch(&format!(
                "CREATE TRIGGER planted {event} WHEN {condition} BEGIN {change}; END;"
            ))
            .expect("a trigger");
        assert_only_fails(&url, &dir, &[], (what, failing));
        assert_nothing_left(&mut Client::new(&host), &dir);
        database
            .execute_batch(
                "DROP TRIGGER planted; UPDATE state_history SET origin = 'nobody' WHERE origin = '';",
            )
            .expect("no trigger");
        let category = failing.split('/').next().expect("a category");
        let (report, _) = validate(&url, &dir, &["--category", category]);
        assert_eq!(
            cases(&report, "failed"),
            [""; 0],
            "{what}, mended: {report:#}"
        );
    }
}

/// Starts the newer version, whose faults the file switches on.
fn start_newer(dir: &TestDir, fault_file: &Path) -> Host {
    let config = dir.config();
    Host::try_start_program(
        &newer_program(),
        &dir.data(),
        &["--config", config.to_str().expect("UTF-8")],
        &[(FAULT_VARIABLE, fault_file.to_str().expect("UTF-8"))],
    )
    .expect("a host")
}

#[test]
fn a_version_with_one_fault_fails_the_test_for_it_alone() {
    let dir = TestDir::new(CONFIG);
    let fault_file = dir.path().join("fault");
    let set_fault = |fault: &str| std::fs::write(&fault_file, fault).expect("a file");
    set_fault("");
    let host = start_newer(&dir, &fault_file);
    let url = url_of(&host);
    let (report, _) = validate(&url, &dir, &["--patience", "20"]);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    let of_watchdog = ["--category", "watchdog"];
    // All categories, but where nothing is approved any more without a beat.
    for (fault, more, failing) in [
        (
            "overlooks-max_position_size",
            &[][..],
            "ethics/position-size",
        ),
        ("overlooks-max_leverage", &[], "ethics/leverage"),
        ("overlooks-require_stop_loss", &[], "ethics/stop-loss"),
        ("loses-traces", &[], "flow/one-trace"),
        ("repeats-events", &[], "beyond/events-resume"),
        ("hears-all", &[], "watchdog/missed-heartbeat"),
        // The Graveyard is checked less often than the host says.
        ("stops-beating", &of_watchdog, "watchdog/intervals"),
    ] {
        set_fault(fault);
        assert_only_fails(&url, &dir, more, (fault, failing));
        if fault == "stops-beating" {
            wait_until("the watchdog does not beat", || {
                Client::new(&host).get("/v1/watchdog").1["beating"] == false
            });
            assert_only_fails(&url, &dir, more, (fault, failing));
        }
        set_fault("");
        assert_nothing_left(&mut Client::new(&host), &dir);
    }
    assert_eq!(host.terminate(), Some(0));
    // Faults of the start.
    for (fault, failing) in [
        ("skips-vectors", "beyond/pin-and-vectors"),
        ("skips-probes", "beyond/ready"),
    ] {
        set_fault(fault);
        let host = start_newer(&dir, &fault_file);
        assert_only_fails(&url_of(&host), &dir, &[], (fault, failing));
        assert_nothing_left(&mut Client::new(&host), &dir);
        assert_eq!(host.terminate(), Some(0));
    }
}

#[test]
fn decisions_that_cannot_be_judged_again_fail_the_test_of_the_replay_alone() {
    let dir = TestDir::new(CONFIG);
    let host = dir.start();
    let policy = policies::moody_component(0, 1);
    let shadow = json!({"mode": "shadow", "settings": {"mood": "pass"}, "by": "ada"});
    policies::put(
        &mut Client::new(&host),
        &policies::moody_name(0),
        &policy,
        &shadow,
    );
    let data = dir.data();
    let more = [
        "--category",
        "beyond",
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ];
    let (report, _) = validate(&url_of(&host), &dir, &more);
    assert_eq!(cases(&report, "failed"), [""; 0], "{report:#}");
    // Somebody puts another component in the place of the policy that took part in the decisions; no chain covers it.
    let database = Connection::open(data.join("ark.db")).expect("the database");
    let changed = database.execute(
        "UPDATE policy_components SET bytes = ?1",
        [policies::moody_component(0, 2)],
    );
    assert_eq!(changed.expect("a change"), 1);
    let fault = ("another component", "beyond/replay");
    assert_only_fails(&url_of(&host), &dir, &more, fault);
}

/// Places an agent whose heartbeat never returns, with so long a deadline.
fn place_slow_heart(dir: &Path, deadline_ms: u64) {
    std::fs::create_dir_all(dir).expect("a directory");
    let from = hostile_guests_dir();
    std::fs::copy(from.join("stuck-heart.wasm"), dir.join("stuck-heart.wasm")).expect("an agent");
    let manifest = std::fs::read_to_string(from.join("stuck-heart.toml")).expect("a manifest");
    let slow = manifest.replace(
        "deadline_ms = 200",
        &format!("deadline_ms = {deadline_ms}\nfuel = 1_000_000_000_000"),
    );
    assert_ne!(slow, manifest);
    std::fs::write(dir.join("stuck-heart.toml"), slow).expect("a manifest");
}

#[test]
fn a_slow_watchdog_and_a_slow_heartbeat_fail_the_test_of_the_intervals_alone() {
    // Each round of heartbeats takes longer than the interval allows, and less than a missed one may take to be an alert.
    let dir = TestDir::new(CONFIG);
    let library = build_fault_library(dir.path());
    let config = dir.config();
    let slow_watchdog = Host::try_start_with(
        &dir.data(),
        &["--config", config.to_str().expect("UTF-8")],
        &[
            ("LD_PRELOAD", library.to_str().expect("UTF-8")),
            ("HEARTBEAT_DELAY_MS", "4500"),
        ],
    )
    .expect("a host");
    let of_watchdog = ["--category", "watchdog"];
    let fault = ("a slow watchdog", "watchdog/intervals");
    assert_only_fails(&url_of(&slow_watchdog), &dir, &of_watchdog, fault);
    assert_nothing_left(&mut Client::new(&slow_watchdog), &dir);
    assert_eq!(slow_watchdog.terminate(), Some(0));

    let dir = TestDir::new(&format!(
        "{CONFIG}missed_heartbeats = 100000\n[limits]\nfuel = 1_000_000_000_000\ndeadline_ms = 600_000\n"
    ));
    place_slow_heart(&dir.agents(), 4500);
    let slow_heart = dir.start();
    wait_until("the slow heart is asked", || {
        let path = "/v1/watchdog/alerts?kind=heartbeat_missed";
        let (_, alerts) = Client::new(&slow_heart).get(path);
        alerts["alerts"]
            .as_array()
            .is_some_and(|alerts: &Vec<Value>| !alerts.is_empty())
    });
    let fault = ("another agent's slow heartbeat", "watchdog/intervals");
    assert_only_fails(&url_of(&slow_heart), &dir, &of_watchdog, fault);
    assert_nothing_left(&mut Client::new(&slow_heart), &dir);
}
