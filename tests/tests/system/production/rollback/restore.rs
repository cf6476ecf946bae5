//! A database of a later schema gives way to a snapshot: for how many decisions, what is kept, and the token that a restore makes.

use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;
use std::process::Command;

use ark_tests::{Client, ark_program, run_ark, trade, wait_until};
use serde_json::{Value, json};

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

use super::commands::{command, errors_of, journal_path, options, promote_new, report_of, run};

/// Whether the test is run by root, who can give files away.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Proposes a trade of each of these instruments, which the host must judge.
fn propose_trades(client: &mut Client, names: [&str; 3]) {
    for name in names {
        let (status, answer) = client.post("/v1/actions", &trade(name, 0.000_1));
        assert_eq!(status, 200, "{answer}");
    }
}

/// Has the new version be of a later schema than the stable one, whoever starts it. Returns the options of a rollback, and the schema of the stable one.
fn prepare_later_schema(stage: &CanaryFixture) -> (Vec<String>, u64) {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let version = run_ark(&["version", "--json"]).stdout;
    let version: Value = serde_json::from_slice(&version).expect("JSON");
    let schema = version["schema"].as_u64().expect("a number");
    let later = format!(
        "#!/bin/sh\nTEST_ARK_LATER_SCHEMA=1 exec {} \"$@\"\n",
        ark_program().display()
    );
    std::fs::write(path("new-ark"), later).expect("a file");
    let is_stable = "unset TEST_ARK_LATER_SCHEMA\n";
    let stable = format!(
        "#!/bin/sh\n{is_stable}exec {} \"$@\"\n",
        ark_program().display()
    );
    std::fs::write(path("stable-ark"), stable).expect("a file");
    sh(&format!("chmod 755 {}", path("stable-ark")));
    let text = std::fs::read_to_string(path("start.sh")).expect("a file");
    std::fs::write(path("start.sh"), format!("{is_stable}{text}")).expect("a file");
    let mut options = options(stage);
    let stable = options.iter().position(|one| one == "--stable-binary");
    options[stable.expect("an option") + 1] = path("stable-ark");
    (options, schema)
}

#[test]
fn a_snapshot_that_does_not_restore_stops_no_host_and_an_older_one_takes_its_place() {
    let stage = CanaryFixture::start("", "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let (options, _) = prepare_later_schema(&stage);
    let mut client = Client::at(&stage.haproxy.address);
    std::fs::create_dir(path("snapshots")).expect("a directory");
    let snapshot = |name: &str| {
        let (to, data) = (path(name), path("data"));
        let made = run_ark(&["state", "snapshot", &to, "--data-dir", &data]);
        assert!(made.status.success(), "{made:?}");
    };
    propose_trades(&mut client, ["A", "B", "C"]);
    let older = stage.recorded();
    snapshot("earlier");
    propose_trades(&mut client, ["D", "E", "F"]);
    snapshot("snapshots/last");
    promote_new(&stage);
    // A byte of the last one is not what was written.
    let damaged = stage.dir.path().join("snapshots/last/ark.db");
    let file = std::fs::File::options()
        .read(true)
        .write(true)
        .open(damaged);
    let file = file.expect("the snapshot");
    let (middle, mut byte) = (file.metadata().expect("a size").len() / 2, [0]);
    file.read_exact_at(&mut byte, middle).expect("a byte");
    byte[0] ^= 1;
    file.write_all_at(&byte, middle).expect("a byte");
    let accepted = ["--accept-loss-of-decisions", "100"];
    let assert_refused = |output: &std::process::Output, named: &str| {
        let refused = errors_of(output);
        assert!(refused.contains(named), "{refused}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == "new",
            "{refused}"
        );
    };
    // There is no other, or this one is named.
    let checksum = "ark.db does not match its checksum";
    assert_refused(&run(&stage, &options, &accepted), checksum);
    std::fs::rename(path("earlier"), path("snapshots/earlier")).expect("a directory");
    let last = path("snapshots/last");
    let named = [&accepted[..], &["--snapshot", &last]].concat();
    assert_refused(&run(&stage, &options, &named), checksum);
    // What the earlier one lacks is counted before the host is stopped.
    let needed = "--accept-loss-of-decisions 3";
    assert_refused(&run(&stage, &options, &[]), needed);
    let report = report_of(&run(&stage, &options, &accepted));
    assert_eq!(report["passed"], true, "{report:#}");
    let aside = &report["set_aside"];
    assert_eq!(aside["snapshot"], path("snapshots/earlier"), "{report:#}");
    assert_eq!(aside["decisions"], 3, "{report:#}");
    let reason = aside["reason"].as_str().expect("a reason");
    assert!(
        reason.contains("passed over") && reason.contains(checksum),
        "{reason}"
    );
    assert_eq!(stage.serving(), "stable");
    assert!(older.is_subset(&stage.recorded()));
    stage.assert_chain();
}

#[test]
#[expect(
    clippy::too_many_lines,
    reason = "one story of one host, whose steps build on each other"
)]
fn a_database_of_a_later_schema_is_set_aside_only_for_a_number_of_decisions() {
    let stage = CanaryFixture::start("", "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let data = path("data");
    let (options, schema) = prepare_later_schema(&stage);
    let start = stage.dir.path().join("start.sh");
    let mut client = Client::at(&stage.haproxy.address);
    let mut propose = |names| propose_trades(&mut client, names);
    propose(["A", "B", "C"]);
    promote_new(&stage);
    propose(["D", "E", "F"]);
    let newer = stage.recorded();
    // Without a snapshot there is no way.
    let refused = errors_of(&run(&stage, &options, &[]));
    assert!(refused.contains("--snapshot DIR"), "{refused}");
    std::fs::create_dir(path("snapshots")).expect("a directory");
    let refused = errors_of(&run(&stage, &options, &[]));
    assert!(
        refused.contains(&format!("holds none of schema {schema} or earlier")),
        "{refused}"
    );
    // Back by hand, for a snapshot of before.
    sh(&script(&stage.dir, "stop"));
    let kept = path("kept");
    let status = Command::new("cp").args(["-r", &data, &kept]).status();
    assert!(status.expect("cp").success());
    std::fs::remove_dir_all(&data).expect("a directory");
    sh(&script(&stage.dir, "start"));
    wait_until("the host is ready", || is_ready(&stage.owner));
    propose(["A", "B", "C"]);
    let older = stage.recorded();
    let made = run_ark(&[
        "state",
        "snapshot",
        &path("snapshots/first"),
        "--data-dir",
        &data,
    ]);
    assert!(made.status.success(), "{made:?}");
    promote_new(&stage);
    propose(["D", "E", "F"]);
    assert_eq!((newer.len(), stage.recorded().len()), (6, 6));
    let newer = stage.recorded();
    for more in [
        &[][..],
        &["--accept-loss-of-decisions", "2"],
        &["--accept-loss-of-decisions", "unknown"],
    ] {
        let refused = errors_of(&run(&stage, &options, more));
        assert!(
            refused.contains(&format!(
                "its schema is {}, and the stable version opens {schema}",
                schema + 1
            )),
            "{refused}"
        );
        assert!(
            refused.contains("--accept-loss-of-decisions 3"),
            "{refused}"
        );
        assert!(is_ready(&stage.owner) && stage.serving() == "new");
    }
    // Root rolls a host of another user back.
    let owner = is_root().then_some(65_534);
    if let Some(owner) = owner {
        sh(&format!("chown {owner} {data}"));
    }
    // As after an upgrade, the newer version is the one that rolls back.
    let output = command(&stage, &["--accept-loss-of-decisions", "3"])
        .args(&options)
        .env("TEST_ARK_LATER_SCHEMA", "1")
        .output()
        .expect("ark starts");
    let report = report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["set_aside"]["decisions"], 3, "{report:#}");
    let said = String::from_utf8_lossy(&output.stderr);
    let way = said.find("3 decisions are newer").expect("the way is said");
    assert!(way < said.find("ark: backup").expect("the steps"), "{said}");
    assert_eq!(stage.serving(), "stable");
    let recorded = stage.recorded();
    assert!(
        older.is_subset(&recorded) && newer.difference(&older).all(|id| !recorded.contains(id))
    );
    stage.assert_chain();
    // What was set aside is whole, for the version that wrote it.
    let aside = report["kept_aside"].as_str().expect("a path");
    let verified = Command::new(ark_program())
        .args(["audit", "verify", "--data-dir", aside])
        .env("TEST_ARK_LATER_SCHEMA", "1")
        .output()
        .expect("ark starts");
    assert!(verified.status.success(), "{verified:?}");
    if let Some(owner) = owner {
        for path in [&data, aside].map(PathBuf::from) {
            for name in ["", "ark.db", "anchors.jsonl"] {
                let found = std::fs::metadata(path.join(name)).expect("a file");
                assert_eq!(found.uid(), owner, "{}", path.join(name).display());
            }
        }
    }
    // A rollback that restored the snapshot and cannot start the stable version; then an operator starts the newer one, which judges.
    promote_new(&stage);
    propose(["D", "E", "F"]);
    let text = std::fs::read_to_string(&start).expect("a file");
    std::fs::write(&start, "exit 7\n").expect("a file");
    let failed = errors_of(&run(
        &stage,
        &options,
        &["--accept-loss-of-decisions", "100"],
    ));
    assert!(failed.contains("fails (exit status: 7)"), "{failed}");
    std::fs::write(&start, text).expect("a file");
    promote_new(&stage);
    propose(["G", "H", "I"]);
    // Nothing else begins meanwhile.
    let upgrade = Command::new(ark_program())
        .args(["upgrade", &path("new-ark"), "--dry-run", "--url"])
        .arg(format!("http://{}", stage.owner))
        .args(["--data-dir", &data, "--snapshots", &path("snapshots")])
        .args(["--stop-command", "true", "--start-command", "true"])
        .args(["--start-stable-command", "true", "--rollback-journal"])
        .arg(journal_path(&stage))
        .env("XDG_STATE_HOME", path("state"))
        .output()
        .expect("ark starts");
    let refused = errors_of(&upgrade);
    assert!(
        refused.contains("end it with `ark rollback --journal"),
        "{refused}"
    );
    // It is refused before the host is stopped.
    let refused = errors_of(&command(&stage, &[]).output().expect("ark starts"));
    assert!(
        refused.contains("--accept-loss-of-decisions 3") && !refused.contains("it is stopped now"),
        "{refused}"
    );
    assert!(is_ready(&stage.owner) && stage.serving() == "new");
    let accepted = &["--accept-loss-of-decisions", "3"];
    let report = report_of(&command(&stage, accepted).output().expect("ark starts"));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    let left = stage.recorded();
    assert!(older.is_subset(&left) && newer.difference(&older).all(|id| !left.contains(id)));
    stage.assert_chain();
}

#[test]
fn a_token_that_a_restore_makes_is_kept_in_a_file_and_used() {
    let stage = CanaryFixture::start("", "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let later = format!(
        "#!/bin/sh\nTEST_ARK_LATER_SCHEMA=1 exec {} \"$@\"\n",
        ark_program().display()
    );
    std::fs::write(stage.dir.path().join("new-ark"), later).expect("a file");
    std::fs::create_dir(path("snapshots")).expect("a directory");
    let (first, data) = (path("snapshots/first"), path("data"));
    let made = run_ark(&["state", "snapshot", &first, "--data-dir", &data]);
    assert!(made.status.success(), "{made:?}");
    promote_new(&stage);
    let url = format!("http://{}", stage.owner);
    let words = ["token", "create", "--role", "admin", "--name", "first"];
    let made = run_ark(&[&words[..], &["--url", &url]].concat());
    assert!(made.status.success(), "{made:?}");
    // The first run ends after the restore.
    let start = stage.dir.path().join("start.sh");
    let text = std::fs::read_to_string(&start).expect("a file");
    std::fs::write(&start, "exit 7\n").expect("a file");
    let options = options(&stage);
    let failed = errors_of(&run(&stage, &options, &[]));
    assert!(failed.contains("fails (exit status: 7)"), "{failed}");
    assert!(failed.contains("-admin.token"), "{failed}");
    std::fs::write(&start, text).expect("a file");
    let output = command(&stage, &[]).output().expect("ark starts");
    let report = report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    let file = report["token_file"].as_str().expect("a path");
    let found = std::fs::metadata(file).expect("a file");
    assert_eq!(found.mode() & 0o777, 0o600);
    let token = std::fs::read_to_string(file).expect("a file");
    let said = [output.stdout, output.stderr].concat();
    let said = failed + &String::from_utf8_lossy(&said);
    assert!(!token.trim().is_empty() && !said.contains(token.trim()));
    let used = run_ark(&["token", "list", "--url", &url, "--token-file", file]);
    assert!(used.status.success(), "{used:?}");
}

#[test]
fn a_database_whose_header_is_destroyed_is_kept_as_evidence_and_the_snapshot_takes_its_place() {
    let stage = CanaryFixture::start("", "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let data = stage.dir.data();
    promote_new(&stage);
    let mut client = Client::at(&stage.haproxy.address);
    let mut propose = |names| propose_trades(&mut client, names);
    propose(["A", "B", "C"]);
    let older = stage.recorded();
    std::fs::create_dir(path("snapshots")).expect("a directory");
    let first = path("snapshots/first");
    let made = run_ark(&["state", "snapshot", &first, "--data-dir", &path("data")]);
    assert!(made.status.success(), "{made:?}");
    propose(["D", "E", "F"]);
    assert_eq!((older.len(), stage.recorded().len()), (3, 6));
    sh(&script(&stage.dir, "stop"));
    // A log that is left would stand in for the pages of the file.
    for name in ["ark.db-wal", "ark.db-shm"] {
        let _absent = std::fs::remove_file(data.join(name));
    }
    let database = data.join("ark.db");
    let file = std::fs::OpenOptions::new().write(true).open(&database);
    let file = file.expect("the database");
    file.write_all_at(&[0xff; 100], 0).expect("it is written");
    drop(file);
    let evidence = std::fs::read(&database).expect("the database");
    // Nobody can count what would be lost: a number does not accept that, and nothing is changed.
    let options = options(&stage);
    for more in [&[][..], &["--accept-loss-of-decisions", "1000000"]] {
        let refused = errors_of(&run(&stage, &options, more));
        assert!(
            refused.contains("it is damaged: file is not a database")
                && refused.contains("--accept-loss-of-decisions unknown"),
            "{refused}"
        );
        assert!(std::fs::read(&database).is_ok_and(|found| found == evidence));
    }
    let accepted = ["--accept-loss-of-decisions", "unknown"];
    let report = report_of(&run(&stage, &options, &accepted));
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(report["set_aside"]["decisions"].is_null(), "{report:#}");
    assert_eq!(report["set_aside"]["snapshot"], first, "{report:#}");
    let backup = report["steps"][1]["detail"].to_string();
    assert!(backup.contains("is kept as it is"), "{backup}");
    let aside = report["kept_aside"].as_str().expect("a path");
    let kept = std::fs::read(PathBuf::from(aside).join("ark.db")).expect("a database");
    assert!(kept == evidence, "{aside}: the evidence was changed");
    assert_eq!(stage.serving(), "stable");
    // What the validation proposed comes on top.
    assert!(older.is_subset(&stage.recorded()));
    stage.assert_chain();
}
