//! A trigger that somebody puts into the database of a host: every start refuses it, so that no exchange stops the host that serves.

use std::time::Duration;

use rusqlite::Connection;

use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::{rollback, upgrade};

const PLANT: &str =
    "CREATE TRIGGER IF NOT EXISTS evil AFTER INSERT ON halts BEGIN DELETE FROM halts; END";

/// Changes the schema beside the host, which holds the lock for moments.
fn change_schema(stage: &CanaryFixture, sql: &str) {
    let database = Connection::open(stage.dir.data().join("ark.db")).expect("the database");
    database
        .busy_timeout(Duration::from_secs(60))
        .expect("a time");
    database.execute_batch(sql).expect("a change");
}

/// The process of the host, which is the one of before where it was not stopped.
fn read_process(stage: &CanaryFixture) -> String {
    std::fs::read_to_string(stage.dir.path().join("pid")).expect("a process id")
}

/// What refuses the exchange names the trigger and the statement that takes it out, and the host of before serves.
fn assert_refused(stage: &CanaryFixture, said: &str, process: &str) {
    for named in ["the trigger evil on halts", "DROP TRIGGER"] {
        assert!(said.contains(named), "{named}: {said}");
    }
    assert_eq!(read_process(stage), process, "{said}");
    assert!(stage.has_host() && is_ready(&stage.owner), "{said}");
}

#[test]
fn a_trigger_stops_no_host_for_a_take_over() {
    let stage = CanaryFixture::start("", "");
    let texts = stage.take_over_options();
    let mut options: Vec<&str> = texts.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    // A view changes nothing that is written.
    change_schema(
        &stage,
        "CREATE VIEW report AS SELECT name, role FROM tokens",
    );
    // The trigger comes while the new version judges the decisions again.
    let database = stage.dir.data().join("ark.db");
    let hook = format!(
        "\nif [ \"$1 $2\" = 'audit replay' ]; then sqlite3 -cmd '.timeout 60000' {} '{PLANT}'; fi\n",
        database.display()
    );
    upgrade::change(&stage, "new-ark", "\n", &hook);
    let process = read_process(&stage);
    // While the schema is changed the host may refuse a request.
    let (report, _) = stage.under_failing_load(|| stage.run_canary(&options));
    assert_eq!(report["promoted"], false, "{report:#}");
    assert_eq!(report["tripwire"], "take-over", "{report:#}");
    let reason = report["reason"].as_str().expect("a reason");
    assert_refused(&stage, reason, &process);
    stage.assert_weights(100, 0);
    assert!(stage.run_verb("status")["host"].is_null());
    // The next one does not begin.
    let output = stage.start_command(&options).output().expect("ark starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success(), "{said}");
    assert_refused(&stage, &said, &process);
    stage.assert_weights(100, 0);
    assert_eq!(stage.serving(), "stable");
}

#[test]
fn a_trigger_stops_no_host_for_a_rollback() {
    let stage = CanaryFixture::start("", "");
    let stop = std::fs::read_to_string(stage.dir.path().join("stop.sh")).expect("a script");
    rollback::promote_new(&stage);
    let process = read_process(&stage);
    let options = rollback::options(&stage);
    change_schema(&stage, PLANT);
    for more in [&["--dry-run"][..], &[]] {
        let refused = rollback::errors_of(&rollback::run(&stage, &options, more));
        assert_refused(&stage, &refused, &process);
    }
    change_schema(&stage, "DROP TRIGGER evil");
    // One that has begun and could not stop the host.
    std::fs::write(stage.dir.path().join("stop.sh"), "exit 3\n").expect("a script");
    let failed = rollback::errors_of(&rollback::run(&stage, &options, &[]));
    assert!(failed.contains("the step database failed"), "{failed}");
    std::fs::write(stage.dir.path().join("stop.sh"), stop).expect("a script");
    change_schema(&stage, PLANT);
    for more in [&["--dry-run"][..], &[]] {
        let again = rollback::command(&stage, more).output();
        let refused = rollback::errors_of(&again.expect("ark starts"));
        assert_refused(&stage, &refused, &process);
    }
    assert_eq!(stage.serving(), "new");
    change_schema(&stage, "DROP TRIGGER evil");
    let again = rollback::command(&stage, &[]).output();
    let report = rollback::report_of(&again.expect("ark starts"));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    stage.assert_chain();
}
