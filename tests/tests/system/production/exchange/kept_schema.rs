//! The newer version, of a later schema, runs the way back: the database that it restores keeps the schema of the stable version, which could not open
//! another one.

use std::path::{Path, PathBuf};

use ark_tests::{ark_program, run_ark};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;

use super::kills::{Moment, kill_once_in, wait_killed};
use crate::production::canary::stage::{CanaryFixture, is_ready, run_by_newer};
use crate::production::upgrade;

/// Has the new version be of a later schema: its start migrates the database and ends, so that nothing is decided, and the `ark` that runs it is
/// killed. The stable version is of this program's schema, whoever starts it.
fn prepare_stage(stage: &CanaryFixture) {
    let at = |name: &str| stage.dir.path().join(name);
    let later = "\nexport TEST_ARK_LATER_SCHEMA=1\n";
    upgrade::change(stage, "new-ark", "\n", later);
    let start = std::fs::read_to_string(at("start.sh")).expect("a script");
    let start = format!("unset TEST_ARK_LATER_SCHEMA\n{start}");
    std::fs::write(at("start.sh"), start).expect("a script");
    let text = format!(
        "{new} serve --data-dir {data} --config {config} --listen 127.0.0.1:0 --telemetry-listen off >{out} 2>&1 &\n\
         until grep -q listening {out}; do sleep 0.1; done; kill $!; wait $!\n",
        new = at("new-ark").display(),
        data = stage.dir.data().display(),
        config = stage.dir.config().display(),
        out = at("out").display(),
    );
    std::fs::write(at("start-new.sh"), text).expect("a script");
    kill_once_in(stage, "start-new.sh", Moment::End);
}

/// The schema of a database, and that of this program.
fn read_schemas(dir: &Path) -> (u32, u32) {
    let database =
        Connection::open_with_flags(dir.join("ark.db"), OpenFlags::SQLITE_OPEN_READ_ONLY);
    let found = database
        .and_then(|database| database.query_row("PRAGMA user_version", [], |row| row.get(0)))
        .expect("a schema");
    let version = run_ark(&["version", "--json"]).stdout;
    let version: Value = serde_json::from_slice(&version).expect("JSON");
    let own = version["schema"].as_u64().expect("a number");
    (found, u32::try_from(own).expect("a schema"))
}

/// The database is the migrated one.
fn assert_migrated(dir: &Path) {
    let (found, own) = read_schemas(dir);
    assert_eq!(found, own + 1, "{}", dir.display());
}

/// The stable version serves on a database of its schema, beside which the migrated one is kept.
fn assert_stable(stage: &CanaryFixture) {
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    let data = stage.dir.data();
    let (found, own) = read_schemas(&data);
    assert_eq!(found, own);
    let entries = std::fs::read_dir(&data).expect("the data directory");
    let entries = entries.flatten().map(|entry| entry.path());
    let asides: Vec<PathBuf> = entries
        .filter(|path| path.display().to_string().contains("before-restore-"))
        .collect();
    let [aside] = &asides[..] else {
        panic!("{asides:?}");
    };
    assert_migrated(aside);
}

#[test]
fn a_canary_that_the_newer_version_aborts_gives_the_stable_one_a_database_of_its_schema() {
    let stage = CanaryFixture::start("", "");
    prepare_stage(&stage);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let ((), decided) = stage.under_slow_load(|| {
        wait_killed(&stage, stage.spawn_canary(&options));
        assert_migrated(&stage.dir.data());
        let mut abort = run_by_newer(&stage.command("abort", &[]));
        let report = upgrade::report_of(&abort.output().expect("ark-next starts"));
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "aborted", "{report:#}");
        assert_stable(&stage);
        stage.assert_weights(100, 0);
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}

#[test]
fn an_upgrade_that_the_newer_version_takes_back_gives_the_stable_one_a_database_of_its_schema() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    prepare_stage(&stage);
    // What runs the way back asks this program for its schema.
    let stable = stage.dir.path().join("stable-ark");
    let text = format!(
        "#!/bin/sh\nunset TEST_ARK_LATER_SCHEMA\nexec {} \"$@\"\n",
        ark_program().display()
    );
    std::fs::write(&stable, text).expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(&stable, mode).expect("a mode");
    let stable = stable.display().to_string();
    let ((), decided) = stage.under_slow_load(|| {
        let mut killed = upgrade::upgrade(&stage, &["--stable-binary", &stable]);
        wait_killed(&stage, killed.spawn().expect("ark starts"));
        assert_migrated(&stage.dir.data());
        let report = upgrade::run(run_by_newer(&upgrade::command(&stage, &["--back"])));
        assert_eq!(report["upgraded"], false, "{report:#}");
        let back = &report["rollback"];
        assert_eq!(back["passed"], true, "{report:#}");
        assert_eq!(back["set_aside"]["decisions"], 0, "{report:#}");
        assert_stable(&stage);
    });
    // What the validation proposed comes on top.
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}
