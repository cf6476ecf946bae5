//! Dry runs with the real binary: each shows the steps that the journal of the run has then, finds everything that would keep it from them, and changes
//! nothing. What a run does is told on standard error while it works; standard output has the report alone.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ark_tests::wait_until;
use serde_json::Value;

use super::gates::Gates;
use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::{rollback, upgrade};

/// The lines of a dry run that are no steps of the journal.
const REMARKS: [&str; 6] = [
    "before",
    "goes-on",
    "going-back",
    "went-back",
    "note",
    "promoted",
];

pub(super) fn run(mut command: Command) -> Output {
    command.output().expect("ark starts")
}

pub(super) fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// The lines of a dry run.
pub(super) fn lines_of(output: &Output) -> Vec<String> {
    assert!(output.status.success(), "{output:?}");
    serde_json::from_slice(&output.stdout).expect("a list of lines")
}

/// The names of the steps of a dry run.
fn steps_of(lines: &[String]) -> Vec<String> {
    let names = lines.iter().map(|line| {
        let (name, what) = line.split_once(": ").expect("a name");
        assert!(!what.is_empty(), "{line}");
        name.to_owned()
    });
    names
        .filter(|name| !REMARKS.contains(&name.as_str()))
        .collect()
}

/// The names of the steps that lines of a journal announce.
fn announced(text: &str, from: usize) -> Vec<String> {
    let entries = text.lines().skip(from).map(|line| {
        serde_json::from_str::<Value>(line).unwrap_or_else(|error| panic!("{error}: {line}"))
    });
    let name = |entry: Value| {
        if entry.get("share").is_some() {
            return Some("share".to_owned());
        }
        let step = ["phase", "taking_over", "step"].into_iter();
        let mut step = step.filter_map(|kind| entry.get(kind));
        step.next()
            .map(|step| step.as_str().expect("a name").to_owned())
    };
    entries.filter_map(name).collect()
}

/// The last text of a journal before it is cleared, while `work` runs.
fn watch_journal<T>(journal: &Path, work: impl FnOnce() -> T) -> (T, String) {
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let watch = scope.spawn(|| {
            let mut last = String::new();
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let text = std::fs::read_to_string(journal).unwrap_or_default();
                // A line that is being written is not whole.
                if text.len() > last.len() && text.ends_with('\n') {
                    last = text;
                }
                std::thread::sleep(Duration::from_millis(1));
            }
            last
        });
        let ending = crate::production::canary::stage::EndLoad(&done);
        let result = work();
        drop(ending);
        (result, watch.join().expect("no panic"))
    })
}

/// What a dry run must not change: every path of the stage, the contents of all but what the host itself writes, the rows of its audit log, and the
/// weights.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Untouched {
    files: BTreeMap<PathBuf, Vec<u8>>,
    pub(super) audit_rows: (u64, u64),
    pub(super) weights: (u32, u32),
}

pub(super) fn look(stage: &CanaryFixture) -> Untouched {
    let mut files = BTreeMap::new();
    let mut left = vec![stage.dir.path().to_owned()];
    while let Some(dir) = left.pop() {
        for entry in std::fs::read_dir(dir).expect("a directory").flatten() {
            let path = entry.path();
            let kind = entry.file_type().expect("a kind");
            if kind.is_dir() {
                left.push(path.clone());
            }
            let is_of_host = path.starts_with(stage.dir.data()) || path.ends_with("log");
            let content = if kind.is_file() && !is_of_host {
                std::fs::read(&path).expect("a file")
            } else {
                Vec::new()
            };
            files.insert(path, content);
        }
    }
    let database = rusqlite::Connection::open_with_flags(
        stage.dir.data().join("ark.db"),
        rusqlite::OpenFlags::SQLITE_OPEN_READ_ONLY,
    );
    let database = database.expect("the database");
    let audit_rows = database
        .query_row(
            "SELECT count(*), ifnull(max(seq), 0) FROM audit_log",
            [],
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
        .expect("rows");
    Untouched {
        files,
        audit_rows,
        weights: (
            stage.haproxy.weight("stable"),
            stage.haproxy.weight("canary"),
        ),
    }
}

/// Runs a command that must change nothing.
pub(super) fn rehearse(stage: &CanaryFixture, mut command: Command) -> Output {
    let before = look(stage);
    let output = run({
        command.arg("--dry-run");
        command
    });
    let after = look(stage);
    assert_eq!(before.audit_rows, after.audit_rows, "{output:?}");
    let paths = |one: &Untouched| one.files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(paths(&before), paths(&after), "{output:?}");
    assert!(
        before == after,
        "a file or a weight was changed: {output:?}"
    );
    output
}

/// Each step is told on standard error, and standard output is one report.
fn assert_told(output: &Output, steps: &[String]) {
    let told = text_of(&output.stderr);
    for step in steps {
        // A canary tells the steps of its take-over by one name.
        let is_told = told.lines().any(|line| {
            line.starts_with(&format!("ark: {step:<10}").trim_end().to_owned())
                || line.starts_with("ark: take-over") && line.contains(step.as_str())
        });
        assert!(is_told, "{step}: {told}");
    }
    serde_json::from_slice::<Value>(&output.stdout).expect("one report");
}

pub(super) fn canary_options(stage: &CanaryFixture) -> Vec<String> {
    let mut options = stage.take_over_options();
    options.extend(["--shares".to_owned(), "50,100".to_owned()]);
    options
}

pub(super) fn words(options: &[String]) -> Vec<&str> {
    options.iter().map(String::as_str).collect()
}

#[test]
fn the_steps_of_a_dry_run_are_those_of_the_run() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let options = rollback::options(&stage);
    let options = words(&options);
    let canary = canary_options(&stage);
    let canary = words(&canary);
    // The journal, the command, and how many steps it has.
    type Begin<'a> = &'a dyn Fn() -> Command;
    let rows: [(&str, Begin<'_>, usize); 3] = [
        ("upgrade", &|| upgrade::upgrade(&stage, &[]), 6),
        ("rollback", &|| rollback::command(&stage, &options), 7),
        ("canary", &|| stage.start_command(&canary), 6),
    ];
    for (name, begin, count) in rows {
        if name == "rollback" {
            rollback::promote_new(&stage);
        } else if name == "canary" {
            stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
        }
        let lines = lines_of(&rehearse(&stage, begin()));
        let planned = steps_of(&lines);
        assert_eq!(planned.len(), count, "{lines:#?}");
        let journal = stage.dir.path().join(format!("{name}.journal"));
        let ((output, text), _) = stage.under_load(|| watch_journal(&journal, || run(begin())));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(announced(&text, 1), planned, "{lines:#?}");
        assert_told(&output, &planned);
    }
}

#[test]
fn a_dry_run_of_what_was_killed_shows_what_is_left() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let gates = Gates::install(&stage);
    let options = rollback::options(&stage);
    let options = words(&options);
    let at = |name: &str| stage.dir.path().join(format!("{name}.journal"));
    let kill = |gate: &str, mut command: Command| {
        gates.close(gate);
        let mut begun = command.spawn().expect("ark starts");
        gates.wait_held(gate);
        // Beside a process that runs it nothing else is done.
        begun.kill().expect("SIGKILL");
        begun.wait().expect("its end");
        gates.open();
    };
    let assert_left = |journal: &Path, begin: &dyn Fn() -> Command| {
        let from = std::fs::read_to_string(journal)
            .expect("a journal")
            .lines()
            .count();
        let lines = lines_of(&rehearse(&stage, begin()));
        assert!(lines[0].starts_with("goes-on: "), "{lines:#?}");
        let planned = steps_of(&lines);
        assert!(!planned.is_empty(), "{lines:#?}");
        let (output, text) = watch_journal(journal, || run(begin()));
        assert!(output.status.success(), "{output:?}");
        assert_eq!(announced(&text, from), planned, "{lines:#?}");
        lines
    };
    // An upgrade that was killed in its replay, and after the host was stopped.
    for gate in ["replay", "start-new"] {
        kill(gate, upgrade::upgrade(&stage, &[]));
        wait_until("the host that the commands leave is ready", || {
            let expected = if gate == "replay" { "stable" } else { "new" };
            stage.serving() == expected && is_ready(&stage.owner)
        });
        assert_left(&at("upgrade"), &|| upgrade::command(&stage, &[]));
        upgrade::back_to_stable(&stage);
    }
    // Its way back: nothing was changed, or the steps of a rollback.
    kill("replay", upgrade::upgrade(&stage, &[]));
    let lines = lines_of(&rehearse(&stage, upgrade::command(&stage, &["--back"])));
    assert!(
        lines[1].starts_with("went-back: nothing was changed"),
        "{lines:#?}"
    );
    let report = upgrade::run(upgrade::command(&stage, &["--back"]));
    assert_eq!(report["upgraded"], false, "{report:#}");
    kill("start-new", upgrade::upgrade(&stage, &[]));
    wait_until("the new version is ready", || {
        stage.serving() == "new" && is_ready(&stage.owner)
    });
    let kept = lines_of(&rehearse(&stage, upgrade::command(&stage, &["--keep"])));
    assert!(kept[1].starts_with("kept: "), "{kept:#?}");
    let lines = lines_of(&rehearse(&stage, upgrade::command(&stage, &["--back"])));
    let planned = steps_of(&lines);
    let report = upgrade::run(upgrade::command(&stage, &["--back"]));
    let taken = report["rollback"]["steps"]
        .as_array()
        .expect("steps")
        .iter();
    let taken: Vec<&str> = taken
        .map(|step| step["step"].as_str().expect("a name"))
        .collect();
    assert_eq!(planned, taken, "{lines:#?}");
    assert_eq!(stage.serving(), "stable");
    // A rollback that was killed when the host was to be started.
    rollback::promote_new(&stage);
    kill("start", rollback::command(&stage, &options));
    wait_until("the stable version serves", || {
        stage.serving() == "stable" && is_ready(&stage.owner)
    });
    assert_left(&at("rollback"), &|| rollback::command(&stage, &[]));
    // Nothing is left to show.
    for command in [
        upgrade::command(&stage, &[]),
        rollback::command(&stage, &[]),
    ] {
        let refused = rehearse(&stage, command);
        let told = text_of(&refused.stderr);
        assert!(
            !refused.status.success() && told.contains("is under way"),
            "{told}"
        );
    }
}

#[test]
fn orders_to_a_canary_can_be_tried() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let canary = canary_options(&stage);
    let canary = [&words(&canary)[..], &["--step", "600"]].concat();
    let orders = ["pause", "resume", "promote", "abort"];
    for order in orders {
        let refused = rehearse(&stage, stage.command(order, &[]));
        let told = text_of(&refused.stderr);
        assert!(
            !refused.status.success() && told.contains("no canary is under way"),
            "{told}"
        );
    }
    let ((), _) = stage.under_load(|| {
        let mut running = stage.spawn_canary(&canary);
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        // While the process runs it, that takes the orders; none was given.
        for (order, told) in orders
            .iter()
            .zip(["paused", "resumed", "promote", "going-back"])
        {
            let output = run({
                let mut command = stage.command(order, &[]);
                command.arg("--dry-run");
                command
            });
            let lines = lines_of(&output);
            let expected = format!("{told}: process {}", running.id());
            assert!(lines[1].starts_with(&expected), "{lines:#?}");
        }
        assert!(!stage.is_paused() && running.try_wait().expect("a state").is_none());
        running.kill().expect("SIGKILL");
        running.wait().expect("its end");
    });
    // No process runs it any more: it goes on or is undone.
    for order in ["pause", "promote"] {
        let refused = rehearse(&stage, stage.command(order, &[]));
        let told = text_of(&refused.stderr);
        assert!(
            !refused.status.success() && told.contains("`ark canary resume`"),
            "{told}"
        );
    }
    let lines = lines_of(&rehearse(&stage, stage.command("resume", &[])));
    let left = ["share", "share", "snapshot", "replay", "stop", "start"];
    assert_eq!(steps_of(&lines), left, "{lines:#?}");
    let lines = lines_of(&rehearse(&stage, stage.command("abort", &[])));
    assert!(
        lines
            .iter()
            .any(|line| line.starts_with("went-back: the weights are ")),
        "{lines:#?}"
    );
    let report = stage.run_verb("abort");
    assert_eq!(report["promoted"], false, "{report:#}");
    stage.assert_weights(100, 0);
}

/// What is changed of a command line that is good otherwise, and what is told. NONE is a path where nothing is, FILE a file, SILENT a program that says
/// nothing, READER a socket of `HAProxy` that permits no change, the others reports of `ark synthetic`.
type Missing = (&'static [&'static str], &'static [&'static str]);

#[rustfmt::skip]
const OF_UPGRADES: [Missing; 13] = [
    (&["--config", "NONE"], &["--config NONE", "name a file that is there"]),
    (&["--env-file", "NONE"], &["--env-file NONE", "name a file that is there"]),
    (&["--snapshots", "FILE"], &["--snapshots FILE", "is no directory"]),
    (&["--snapshots", "FILE/snapshots"], &["--snapshots FILE", "is no directory"]),
    (&["--data-dir", "FILE"], &["--data-dir FILE: it is no directory; give the directory of the host's data"]),
    (&["--data-dir", "NONE"], &["--data-dir NONE: there is no such directory; give the directory of the host's data"]),
    (&["--stable-binary", "NONE"], &["NONE version", "cannot be run"]),
    (&["--stable-binary", "SILENT"], &["SILENT version", "says nothing that is understood"]),
    (&["--stop-command", "stop 'it"], &["sh -n", "stop 'it"]),
    (&["--start-command", "a; ) b"], &["sh -n", "a; ) b"]),
    (&["--start-stable-command", "if x"], &["sh -n", "if x"]),
    (&["--rollback-journal", "FILE"], &["FILE is not the journal of `ark rollback`", "another place with --rollback-journal"]),
    // All at once.
    (&["--config", "NONE", "--stop-command", "stop 'it", "--snapshots", "FILE"], &["--config NONE", "stop 'it", "--snapshots FILE"]),
];
#[rustfmt::skip]
const OF_ROLLBACKS: [Missing; 8] = [
    (&["--stable-binary", "NONE"], &["NONE version", "cannot be run"]),
    (&["--snapshot", "NONE"], &["--snapshot NONE", "name the directory of a snapshot"]),
    (&["--snapshots", "FILE"], &["--snapshots FILE", "is no directory"]),
    (&["--data-dir", "NONE"], &["--data-dir NONE: there is no such directory; give the directory of the host's data"]),
    (&["--haproxy", "NONE"], &["NONE"]),
    (&["--backend", "nobody"], &["nobody"]),
    (&["--server", "nobody"], &["nobody"]),
    (&["--start-command", "start 'it"], &["sh -n", "start 'it"]),
];
#[rustfmt::skip]
const OF_CANARIES: [Missing; 16] = [
    (&["--haproxy", "NONE"], &["NONE"]),
    (&["--backend", "nobody"], &["nobody"]),
    (&["--server", "nobody"], &["nobody"]),
    (&["--prometheus", "http://127.0.0.1:9"], &["127.0.0.1:9"]),
    (&["--baseline-report", "NONE"], &["there is no baseline: NONE"]),
    (&["--baseline-report", "FAILED"], &["FAILED: `passed` is false", "ends with 0"]),
    (&["--baseline-report", "INTERRUPTED"], &["INTERRUPTED: `interrupted` is true", "ends with 0"]),
    (&["--baseline-report", "PARTIAL"], &["PARTIAL: it is no report of `ark synthetic --json`", "ends with 0"]),
    (&["--canary-series", "job=typo"], &["--canary-series job=typo", "parse error"]),
    (&["--new-binary", "NONE"], &["NONE version", "cannot be run"]),
    (&["--data-dir", "NONE"], &["--data-dir NONE: there is no such directory; give the directory of the host's data"]),
    (&["--snapshots", "FILE"], &["--snapshots FILE", "is no directory"]),
    (&["--start-stable-command", "x '"], &["sh -n", "x '"]),
    (&["--haproxy", "READER"], &["`level admin`"]),
    // All at once.
    (&["--haproxy", "NONE", "--prometheus", "bogus"], &["NONE", "bogus"]),
    (&["--server", "stable", "--baseline-report", "NONE", "--data-dir", "NONE"],
        &["stable has weight 100", "no other server of ark is up", "there is no baseline: NONE", "--data-dir"]),
];

#[test]
fn a_dry_run_names_everything_that_the_run_would_fail_for() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    std::fs::write(path("silent"), "#!/bin/sh\nexit 3\n").expect("a file");
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    std::fs::set_permissions(path("silent"), mode).expect("a mode");
    for (name, report) in [
        (
            "failed.json",
            r#"{"passed": false, "interrupted": false, "approved": 90, "denied": 9, "held": 1}"#,
        ),
        (
            "interrupted.json",
            r#"{"passed": false, "interrupted": true, "approved": 90, "denied": 9, "held": 1}"#,
        ),
        (
            "partial.json",
            r#"{"approved": 90, "denied": 9, "held": 1}"#,
        ),
    ] {
        std::fs::write(path(name), report).expect("a file");
    }
    let fill_in = |texts: &[&str]| -> Vec<String> {
        let texts = texts.iter().map(|text| {
            text.replace("NONE", &path("none"))
                .replace("FAILED", &path("failed.json"))
                .replace("INTERRUPTED", &path("interrupted.json"))
                .replace("PARTIAL", &path("partial.json"))
                .replace("READER", &stage.haproxy.user_socket.display().to_string())
                .replace("FILE", &path("ark.toml"))
                .replace("SILENT", &path("silent"))
        });
        texts.collect()
    };
    let options = rollback::options(&stage);
    let canary = canary_options(&stage);
    type Build<'a> = &'a dyn Fn() -> Command;
    let kinds: [(Build<'_>, &[Missing]); 3] = [
        (&|| upgrade::upgrade(&stage, &[]), &OF_UPGRADES),
        (
            &|| rollback::command(&stage, &words(&options)),
            &OF_ROLLBACKS,
        ),
        (&|| stage.start_command(&words(&canary)), &OF_CANARIES),
    ];
    for (build, rows) in kinds {
        for (more, expected) in rows {
            let more = fill_in(more);
            let refused = rehearse(&stage, replace_options(&build(), &words(&more)));
            let told = text_of(&refused.stderr);
            assert_eq!(refused.status.code(), Some(1), "{more:?}: {told}");
            let report: Value = serde_json::from_slice(&refused.stdout).expect("a report");
            assert_eq!(report["passed"], false, "{more:?}: {report:#}");
            let problems = report["problems"].as_array().expect("problems");
            let problems: Vec<&str> = problems.iter().filter_map(Value::as_str).collect();
            for part in fill_in(expected) {
                assert!(told.contains(&part), "{more:?}: {part}: {told}");
                assert!(
                    problems.iter().any(|problem| problem.contains(&part)),
                    "{more:?}: {part}: {report:#}"
                );
            }
        }
    }
}

/// Listens at a socket of its own, and passes each command on to `HAProxy`. Returns the path, and the commands so far.
fn record_commands(stage: &CanaryFixture) -> (PathBuf, Arc<Mutex<Vec<String>>>) {
    let path = stage.dir.path().join("recorded.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    let (seen, haproxy) = (Arc::default(), stage.haproxy.socket.clone());
    let commands: Arc<Mutex<Vec<String>>> = Arc::clone(&seen);
    std::thread::spawn(move || {
        for mut client in listener.incoming().map_while(Result::ok) {
            let mut command = String::new();
            let read = BufReader::new(&client).read_line(&mut command);
            let passed = read.and_then(|_| {
                commands.lock().expect("no panic").push(command.clone());
                let mut server = UnixStream::connect(&haproxy)?;
                server.write_all(command.as_bytes())?;
                std::io::copy(&mut server, &mut client)
            });
            passed.expect("a command");
        }
    });
    (path, seen)
}

#[test]
fn a_dry_run_of_a_canary_only_reads_from_haproxy() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let canary = canary_options(&stage);
    let (socket, commands) = record_commands(&stage);
    let more = ["--haproxy", socket.to_str().expect("UTF-8")];
    let begin = stage.start_command(&words(&canary));
    lines_of(&rehearse(&stage, replace_options(&begin, &more)));
    let commands = commands.lock().expect("no panic");
    let is_read = |command: &String| command.starts_with("show ");
    assert!(
        !commands.is_empty() && commands.iter().all(is_read),
        "{commands:#?}"
    );
}

#[test]
fn a_dry_run_looks_for_the_unit() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let mut command = Command::new(ark_tests::ark_program());
    command
        .args(["upgrade", &path("new-ark"), "--unit", "nobody"])
        .args(["--program", &ark_tests::ark_program().display().to_string()])
        .args(["--snapshots", &path("snapshots")])
        .args(["--data-dir", &path("data"), "--url"])
        .arg(format!("http://{}", stage.owner))
        .env("XDG_STATE_HOME", path("state"));
    let refused = rehearse(&stage, command);
    let told = text_of(&refused.stderr);
    // Where there is no systemd, that is what is told.
    assert!(
        !refused.status.success() && told.contains("nobody.service"),
        "{told}"
    );
}

/// The same command with other values of some options.
fn replace_options(command: &Command, more: &[&str]) -> Command {
    let mut arguments: Vec<String> = command
        .get_args()
        .map(|argument| argument.to_str().expect("UTF-8").to_owned())
        .collect();
    for pair in more.chunks(2) {
        match arguments.iter().position(|argument| argument == pair[0]) {
            Some(place) => pair[1].clone_into(&mut arguments[place + 1]),
            None => arguments.extend(pair.iter().map(|part| (*part).to_owned())),
        }
    }
    let mut replaced = Command::new(command.get_program());
    replaced.args(arguments).stdin(std::process::Stdio::null());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            replaced.env(name, value);
        }
    }
    replaced
}
