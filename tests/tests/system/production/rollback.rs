//! `ark rollback` with the real binary: the stable version gets host, requests and, where it must, an earlier database; whatever is killed on
//! the way, the end is the same and no decision is lost unsaid.

use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};

use ark_tests::{Client, ark_program, run_ark, trade, wait_until};
use serde_json::{Value, json};

use super::canary::stage::{CanaryFixture, is_ready, script, sh};
use super::validate::damaged::start_with_missed_objective;

/// The steps in their order.
pub(super) const STEPS: [&str; 7] = [
    "canary",
    "backup",
    "database",
    "start",
    "health",
    "traffic",
    "validation",
];

/// A command on the stage's host that keeps its journals there.
pub(super) fn command(stage: &CanaryFixture, more: &[&str]) -> Command {
    let mut command = Command::new(ark_program());
    command
        .args(["rollback", "--json", "--url"])
        .arg(format!("http://{}", stage.owner))
        .arg("--journal")
        .arg(journal_path(stage))
        .args(more)
        .env("XDG_STATE_HOME", stage.dir.path().join("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

pub(super) fn journal_path(stage: &CanaryFixture) -> PathBuf {
    stage.dir.path().join("rollback.journal")
}

/// The options of a rollback of seconds.
pub(super) fn options(stage: &CanaryFixture) -> Vec<String> {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    [
        ("--stable-binary", ark_program().display().to_string()),
        ("--name", "1.0.0".to_owned()),
        ("--data-dir", path("data")),
        ("--snapshots", path("snapshots")),
        ("--stop-command", script(&stage.dir, "stop")),
        ("--start-command", script(&stage.dir, "start")),
        ("--timeout", "240".to_owned()),
        ("--health-tries", "400".to_owned()),
        ("--health-pause", "0.3".to_owned()),
        ("--haproxy", stage.haproxy.socket.display().to_string()),
        ("--step", "1".to_owned()),
        ("--interval", "0.2".to_owned()),
        ("--category", "ethics".to_owned()),
        ("--canary-journal", stage.journal().display().to_string()),
    ]
    .into_iter()
    .flat_map(|(option, value)| [option.to_owned(), value])
    .collect()
}

/// Runs a rollback with these options and more to its end.
pub(super) fn run(stage: &CanaryFixture, options: &[String], more: &[&str]) -> Output {
    let options: Vec<&str> = options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    command(stage, &options).output().expect("ark starts")
}

pub(super) fn report_of(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

pub(super) fn errors_of(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(super) fn steps_of(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| step["step"].as_str().expect("a name"))
        .collect()
}

/// Whether the test is run by root, who can give files away.
fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Has the new version serve, with all requests at its front, as after a canary.
pub(super) fn promote_new(stage: &CanaryFixture) {
    sh(&script(&stage.dir, "stop"));
    sh(&script(&stage.dir, "start-new"));
    wait_until("the new version is ready", || is_ready(&stage.owner));
    stage.haproxy.set_weights(&[("canary", 256), ("stable", 0)]);
    assert_eq!(stage.serving(), "new");
}

#[test]
fn the_stable_version_gets_everything_back_and_no_decision_is_lost() {
    let stage = CanaryFixture::start("", "");
    promote_new(&stage);
    let options = options(&stage);
    let dry = run(&stage, &options, &["--dry-run"]);
    let lines = report_of(&dry);
    assert_eq!(lines.as_array().map(Vec::len), Some(7), "{lines:#}");
    assert!(
        lines[2].to_string().contains("the database stays"),
        "{lines:#}"
    );
    assert_eq!(stage.serving(), "new");
    let (report, decided) = stage.under_load(|| report_of(&run(&stage, &options, &[])));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    assert_eq!(steps_of(&report), STEPS, "{report:#}");
    assert!(report["set_aside"].is_null(), "{report:#}");
    assert_eq!(report["validation"]["passed"], true, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    stage.assert_weights(256, 0);
    let recorded = stage.recorded();
    assert!(decided.is_subset(&recorded), "none is lost");
    stage.assert_chain();
    let told: Vec<Value> = stage.steps().into_iter().rev().collect();
    let names: Vec<&str> = told
        .iter()
        .map(|step| step["step"].as_str().expect("a name"))
        .collect();
    assert_eq!(names, [&STEPS[..], &["rolled-back"]].concat());
    assert!(
        told.iter()
            .all(|step| step["kind"] == "rollback" && step["version"] == "1.0.0")
    );
    // The backup is a snapshot.
    let backup = report["steps"][1]["detail"].as_str().expect("a path");
    let checked = run_ark(&["state", "check", "--snapshot", backup]);
    assert!(checked.status.success(), "{checked:?}");
    let history = report_of(
        &command(&stage, &[])
            .args(["history"])
            .output()
            .expect("ark starts"),
    );
    assert_eq!(history.as_array().map(Vec::len), Some(1), "{history:#}");
    assert_eq!(history[0]["id"], report["id"], "{history:#}");
    assert_eq!(history[0]["result"], "the stable version serves");
    // Nothing is left to go on with.
    let refused = errors_of(&command(&stage, &[]).output().expect("ark starts"));
    assert!(refused.contains("no rollback of"), "{refused}");
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
    let version = run_ark(&["version", "--json"]).stdout;
    let version: Value = serde_json::from_slice(&version).expect("JSON");
    let schema = version["schema"].as_u64().expect("a number");
    let later = format!(
        "#!/bin/sh\nTEST_ARK_LATER_SCHEMA=1 exec {} \"$@\"\n",
        ark_program().display()
    );
    std::fs::write(stage.dir.path().join("new-ark"), later).expect("a file");
    let mut client = Client::at(&stage.haproxy.address);
    let mut propose = |names: [&str; 3]| {
        for name in names {
            let (status, answer) = client.post("/v1/actions", &trade(name, 0.000_1));
            assert_eq!(status, 200, "{answer}");
        }
    };
    propose(["A", "B", "C"]);
    let options = options(&stage);
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
    let output = run(&stage, &options, &["--accept-loss-of-decisions", "3"]);
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
    let start = stage.dir.path().join("start.sh");
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
    let refused = errors_of(&command(&stage, &[]).output().expect("ark starts"));
    assert!(
        refused.contains("--accept-loss-of-decisions 3") && refused.contains("it is stopped now"),
        "{refused}"
    );
    let accepted = &["--accept-loss-of-decisions", "3"];
    let report = report_of(&command(&stage, accepted).output().expect("ark starts"));
    assert_eq!(report["passed"], true, "{report:#}");
    assert_eq!(stage.serving(), "stable");
    let left = stage.recorded();
    assert!(older.is_subset(&left) && newer.difference(&older).all(|id| !left.contains(id)));
    stage.assert_chain();
}

#[test]
fn the_validation_of_a_rollback_reads_the_objectives_and_says_which_one_is_missed() {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let start = std::fs::read_to_string(stage.dir.path().join("start.sh")).expect("a file");
    let mut words = start
        .split(' ')
        .skip_while(|word| *word != "--telemetry-listen");
    let telemetry = words.nth(1).expect("an address");
    promote_new(&stage);
    // By the configuration, where that shows objectives before the exchange.
    let begin = |listen: &str, more: &[&str]| {
        let more = [&options[..], &["--category", "beyond"], more].concat();
        let mut command = command(&stage, &more);
        command
            .env("ARK_LISTEN", &stage.owner)
            .env("ARK_TELEMETRY_LISTEN", listen);
        command.output().expect("ark starts")
    };
    for (listen, is_read) in [(telemetry, true), ("127.0.0.1:9", false)] {
        let lines = report_of(&begin(listen, &["--dry-run"]));
        let expected = format!("with the objectives at http://{listen}");
        assert_eq!(lines.to_string().contains(&expected), is_read, "{lines:#}");
    }
    let find_objectives = |report: &Value| {
        let cases = report["validation"]["cases"].as_array().expect("cases");
        let mut cases = cases.iter();
        let case = cases.find(|case| case["name"] == "objectives");
        case.expect("the test").clone()
    };
    let report = report_of(&begin(telemetry, &[]));
    assert_eq!(report["passed"], true, "{report:#}");
    let case = find_objectives(&report);
    let detail = case["detail"].as_str().expect("text");
    assert!(detail.contains("windows"), "{case}");
    assert_eq!(stage.serving(), "stable");
    // An objective that is missed: the stable version serves, and the report and the exit status say that it does not pass.
    promote_new(&stage);
    let (_dir, missing) = start_with_missed_objective();
    let missed = missing.telemetry.as_deref().expect("telemetry is on");
    let missed = format!("http://{missed}");
    let output = begin(telemetry, &["--telemetry", &missed]);
    let report = report_of(&output);
    assert_eq!(output.status.code(), Some(1), "{report:#}");
    assert_eq!(report["passed"], false, "{report:#}");
    let case = find_objectives(&report);
    assert_eq!(case["status"], "failed", "{case}");
    let step = &report["steps"][6];
    let detail = step["detail"].as_str().expect("text");
    assert!(
        step["step"] == "validation"
            && step["passed"] == false
            && detail.starts_with("FAILED: beyond/objectives: ethics_drift is missed over 5m"),
        "{step}"
    );
    assert_eq!(stage.serving(), "stable");
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
fn a_rollback_that_is_killed_at_any_step_goes_on_to_the_same_end() {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let texts: Vec<String> = options.clone();
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    // Commands that can be killed meanwhile.
    for (file, before) in [("stop.sh", "kill $p"), ("start.sh", "if [ -e ")] {
        let path = stage.dir.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a file");
        let slow = text.replacen(before, &format!("\nsleep 1; {before}"), 1);
        assert_ne!(slow, text);
        std::fs::write(&path, slow).expect("a file");
    }
    let ((), decided) = stage.under_load(|| {
        for step in STEPS {
            for kills_host in [false, true] {
                // Until the stable version runs, a kill of the host is only that of the newer one.
                if kills_host && !["backup", "start", "traffic"].contains(&step) {
                    continue;
                }
                promote_new(&stage);
                let mut rollback = command(&stage, &options).spawn().expect("ark starts");
                wait_step(&stage, &mut rollback, step);
                rollback.kill().expect("SIGKILL");
                rollback.wait().expect("its end");
                if kills_host {
                    sh(&stage.kill_commands());
                }
                let report = report_of(&command(&stage, &[]).output().expect("ark starts"));
                assert_eq!(report["passed"], true, "{step}: {report:#}");
                assert_eq!(steps_of(&report), STEPS, "{step}: {report:#}");
                assert_eq!(report["unrecorded"], json!([]), "{step}: {report:#}");
                assert!(is_ready(&stage.owner), "{step}");
                assert_eq!(stage.serving(), "stable", "{step}");
                stage.assert_weights(256, 0);
            }
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

/// Waits until a rollback that runs has announced a step.
fn wait_step(stage: &CanaryFixture, rollback: &mut Child, step: &str) {
    wait_until("the rollback has come so far", || {
        assert!(
            rollback.try_wait().expect("a state").is_none(),
            "{step}: it has ended"
        );
        let text = std::fs::read_to_string(journal_path(stage)).unwrap_or_default();
        let last = text.rfind("{\"started\"").map_or("", |at| &text[at..]);
        last.contains(&format!("{{\"step\":\"{step}\"}}")) && !last.contains("\"finished\"")
    });
}

#[test]
fn a_canary_that_runs_is_undone_first_and_a_stable_version_that_fails_is_said() {
    let stage = CanaryFixture::start("", "");
    let options = options(&stage);
    let ((), decided) = stage.under_load(|| {
        let canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || {
            stage.run_verb("status")["host"]["share_pct"] == 10
        });
        let report = report_of(&run(&stage, &options, &[]));
        assert_eq!(report["passed"], true, "{report:#}");
        let undone = report["steps"][0]["detail"].as_str().expect("a text");
        assert!(undone.ends_with("was undone"), "{undone}");
        let ended = super::canary::stage::wait_report(canary);
        assert_eq!(ended["tripwire"], "aborted", "{ended:#}");
        stage.assert_weights(256, 0);
        // Not healthy: it starts late, and then the same command goes on.
        let start = stage.dir.path().join("start.sh");
        let text = std::fs::read_to_string(&start).expect("a file");
        std::fs::write(&start, "exit 0\n").expect("a file");
        let mut few = options.clone();
        let tries = few.iter().position(|one| one == "400").expect("tries");
        few[tries] = "2".to_owned();
        let failed = errors_of(&run(&stage, &few, &[]));
        assert!(failed.contains("not healthy after 2 checks"), "{failed}");
        // One that starts the newer version is not the way back.
        std::fs::copy(stage.dir.path().join("start-new.sh"), &start).expect("a copy");
        wait_until("the newer version serves", || {
            let failed = errors_of(&command(&stage, &[]).output().expect("ark starts"));
            failed.contains("the host that serves is not 1.0.0") && failed.contains("ark-next")
        });
        std::fs::write(&start, text).expect("a file");
        // Without a pause in which the host may take its time, another try may be needed.
        wait_until("the rollback ends", || {
            let output = command(&stage, &[]).output().expect("ark starts");
            output.status.success() && report_of(&output)["failures"] != json!([])
        });
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn a_rollback_that_goes_on_takes_options_that_correct_it_and_ignores_none() {
    let stage = CanaryFixture::start("", "");
    promote_new(&stage);
    // Neither the stop command is good, nor is HAProxy named.
    let mut options = options(&stage);
    let set = |options: &mut Vec<String>, option: &str, value: Option<&str>| {
        let found = options.iter().position(|one| one == option);
        let found = found.expect("the option");
        let end = found + 2;
        let value = value.map(|value| [option.to_owned(), value.to_owned()]);
        options.splice(found..end, value.into_iter().flatten());
    };
    set(&mut options, "--stop-command", Some("exit 3"));
    for option in ["--haproxy", "--step", "--interval"] {
        set(&mut options, option, None);
    }
    let failed = errors_of(&run(&stage, &options, &[]));
    assert!(
        failed.contains("the step database failed") && failed.contains("--give-up"),
        "{failed}"
    );
    let journal = || std::fs::read_to_string(journal_path(&stage)).expect("a journal");
    let socket = stage.haproxy.socket.display().to_string();
    let stop = script(&stage.dir, "stop");
    let before = journal();
    for (more, named) in [
        (&["--server", "stable"][..], "--server cannot be taken"),
        (&["--reason", "another"], "--reason another cannot be taken"),
        (&["--stable-binary", "/bin/sh"], "--stable-binary /bin/sh"),
        (&["--unit", "ark"], "--unit ark cannot be taken"),
    ] {
        // What needs a binary gets it with everything else that a rollback needs.
        let refused = if named.starts_with("--stable") {
            errors_of(&run(&stage, &options[2..], more))
        } else {
            errors_of(&command(&stage, more).output().expect("ark starts"))
        };
        assert!(refused.contains(named), "{named}: {refused}");
        assert_eq!(journal(), before, "{named}");
    }
    let more = [
        "--stop-command",
        stop.as_str(),
        "--haproxy",
        socket.as_str(),
        "--server",
        "stable",
        "--step",
        "1",
        "--shares",
        "50,100",
    ];
    let dry = report_of(
        &command(&stage, &more)
            .arg("--dry-run")
            .output()
            .expect("ark starts"),
    );
    assert!(dry.to_string().contains("taken: --haproxy: "), "{dry:#}");
    assert_eq!(journal(), before);
    let output = command(&stage, &more).output().expect("ark starts");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    for option in [
        "--stop-command: ",
        "--haproxy: ",
        "--step: 1s",
        "--shares: [50, 100]",
    ] {
        assert!(said.contains(option), "{option}: {said}");
    }
    let report = report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    let detail = report["steps"][5]["detail"].to_string();
    assert!(detail.contains("stable got 50, 100 %"), "{report:#}");
    stage.assert_weights(256, 0);
    assert_eq!(stage.serving(), "stable");
}

#[test]
fn a_rollback_that_cannot_go_on_is_given_up() {
    let stage = CanaryFixture::start("", "");
    promote_new(&stage);
    let give_up = || command(&stage, &["--give-up"]);
    let refused = errors_of(&give_up().output().expect("ark starts"));
    assert!(refused.contains("no rollback of"), "{refused}");
    let stop = stage.dir.path().join("stop.sh");
    let text = std::fs::read_to_string(&stop).expect("a file");
    std::fs::write(&stop, "sleep 600\n").expect("a file");
    let options = options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let mut running = command(&stage, &options).spawn().expect("ark starts");
    let journal = || std::fs::read_to_string(journal_path(&stage)).unwrap_or_default();
    wait_until("it stops the host", || {
        journal().contains("{\"step\":\"database\"}")
    });
    // While it runs it is not given up.
    let refused = errors_of(&give_up().output().expect("ark starts"));
    assert!(refused.contains("interrupt it (SIGINT)"), "{refused}");
    let pid = rustix::process::Pid::from_child(&running);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).expect("SIGINT");
    assert!(!running.wait().expect("its end").success());
    let report = report_of(&give_up().output().expect("ark starts"));
    assert_eq!(report["passed"], false, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    let result = report["result"].as_str().expect("a result");
    for told in [
        "given up by an operator: another version serves: ",
        "the database was not replaced",
        "the requests go where they went",
    ] {
        assert!(result.contains(told), "{told}: {result}");
    }
    assert_eq!(stage.steps()[0]["step"], "given-up");
    assert!(is_ready(&stage.owner) && stage.serving() == "new");
    stage.assert_weights(0, 256);
    // Nothing is in the way of another one.
    std::fs::write(&stop, text).expect("a file");
    let report = report_of(&command(&stage, &options).output().expect("ark starts"));
    assert_eq!(report["passed"], true, "{report:#}");
    let history = command(&stage, &["history"]).output().expect("ark starts");
    let history = report_of(&history);
    assert_eq!(history.as_array().map(Vec::len), Some(2), "{history:#}");
    assert!(
        history[0]["result"].to_string().contains("given up"),
        "{history:#}"
    );
}
