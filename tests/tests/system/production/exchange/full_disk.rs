//! Files that cannot grow: of journals, snapshots, kept copies and the host's record. A step whose entry cannot be written is not begun, the message
//! names the file and the remedy, and a later run goes on.
//!
//! What stands in for a full disk is a limit of the size of files (`RLIMIT_FSIZE`), set at a moment that a gate chooses: no other file system is needed.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use ark_tests::{run_ark, wait_until};
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use serde_json::{Value, json};

use super::gates::Gates;
use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};
use crate::production::{rollback, upgrade};

/// Room for every journal, and for no copy of a database.
const COPIES: u64 = 64 << 10;
/// Room for nothing.
const NOTHING: u64 = 64;
/// What is said of a journal.
const NO_ROOM: &str = "the step was not begun: make room there";

/// The same command, for which a file that would grow past its limit is an error, as on a full disk, and no signal. `limit`: of files, in bytes.
fn limited(command: &Command, limit: Option<u64>) -> Command {
    let limit = limit.map_or_else(|| "unlimited".to_owned(), |limit| limit.to_string());
    let script = format!("trap '' XFSZ; exec prlimit --fsize={limit}:unlimited \"$0\" \"$@\"");
    let mut limited = Command::new("sh");
    limited
        .args(["-c", &script])
        .arg(command.get_program())
        .args(command.get_args())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        if let Some(value) = value {
            limited.env(name, value);
        }
    }
    limited
}

/// Has no file that the process writes grow past a size.
fn limit(pid: u32, bytes: u64) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    let wanted = Rlimit {
        current: Some(bytes),
        maximum: None,
    };
    prlimit(pid, Resource::Fsize, wanted).expect("a limit");
}

fn size_of(path: &Path) -> u64 {
    std::fs::metadata(path).expect("a file").len()
}

/// A stage whose commands and hosts have no limit, whatever that of the `ark` is which runs them.
fn start_stage(config: &str) -> CanaryFixture {
    let stage = CanaryFixture::start(config, "");
    for file in ["stop.sh", "start.sh", "start-new.sh", "new-ark"] {
        let path = stage.dir.path().join(file);
        let text = std::fs::read_to_string(&path).expect("a script");
        let free = "trap '' XFSZ; ulimit -S -f unlimited\n";
        let text = match text.strip_prefix("#!/bin/sh\n") {
            Some(rest) => format!("#!/bin/sh\n{free}{rest}"),
            None => format!("{free}{text}"),
        };
        std::fs::write(&path, text).expect("a script");
    }
    stage
}

/// Begins a command, and lets its journal grow no more once it has come to a gate. Returns its end: whether it succeeds, its report, what it says.
fn fill_at(
    gates: &Gates<'_>,
    gate: &str,
    command: &Command,
    size: impl FnOnce() -> u64,
) -> (bool, String, String) {
    gates.close(gate);
    let begun = limited(command, None).spawn().expect("ark starts");
    gates.wait_held(gate);
    limit(begun.id(), size());
    gates.open();
    end_of(begun)
}

fn end_of(child: Child) -> (bool, String, String) {
    let output = child.wait_with_output().expect("its end");
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (
        output.status.success(),
        text(output.stdout),
        text(output.stderr),
    )
}

fn journal(stage: &CanaryFixture, name: &str) -> PathBuf {
    stage.dir.path().join(format!("{name}.journal"))
}

fn assert_no_room(said: &str, journal: &Path) {
    let named = format!("the journal {}: ", journal.display());
    assert!(said.contains(&named) && said.contains(NO_ROOM), "{said}");
}

/// The names in the directory of snapshots that a copy leaves which was not finished.
fn count_partial(stage: &CanaryFixture) -> usize {
    let names = std::fs::read_dir(stage.dir.path().join("snapshots")).expect("snapshots");
    let names = names.flatten().map(|entry| entry.file_name());
    names
        .filter(|name| name.to_string_lossy().contains(".partial"))
        .count()
}

#[test]
fn nothing_begins_without_an_entry() {
    let stage = start_stage(upgrade::CONFIG);
    let options = rollback::options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    for (name, command) in [
        ("canary", stage.start_command(&[])),
        ("upgrade", upgrade::upgrade(&stage, &[])),
        ("rollback", rollback::command(&stage, &options)),
    ] {
        let begun = limited(&command, Some(NOTHING))
            .spawn()
            .expect("ark starts");
        let (succeeded, _, errors) = end_of(begun);
        assert!(!succeeded, "{name}");
        assert_no_room(&errors, &journal(&stage, name));
        assert_eq!(size_of(&journal(&stage, name)), 0, "{name}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == "stable",
            "{name}"
        );
        stage.assert_weights(100, 0);
    }
}

#[test]
fn a_canary_without_room_gives_everything_back_and_goes_on_later() {
    let stage = start_stage("");
    let gates = Gates::install(&stage);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let path = journal(&stage, "canary");
    let ((), decided) = stage.under_load(|| {
        // The next thing written is the snapshot of a further round; then it is SQLite's file beside the database, which is read for its schema. A
        // take-over that fails ends the canary, also where no entry can say so.
        for (gate, reason) in [
            ("replay", "the database cannot be copied"),
            ("stop", "cannot be opened"),
        ] {
            let command = stage.start_command(&options);
            let (succeeded, _, errors) = fill_at(&gates, gate, &command, || size_of(&path));
            assert!(!succeeded, "{gate}: {errors}");
            let unnoted = format!("is not in the journal ({}: ", path.display());
            assert!(errors.contains(&unnoted), "{gate}: {errors}");
            assert!(errors.contains(reason), "{gate}: {errors}");
            // Also where the host was stopped.
            assert!(
                is_ready(&stage.owner) && stage.serving() == "stable",
                "{gate}: {errors}"
            );
            stage.assert_weights(100, 0);
            assert_eq!(size_of(&path), 0, "{gate}: it is over");
        }
        // The next entry is that of the take-over: it is not begun, and the canary goes on once there is room.
        options.extend(["--step", "8"]);
        for verb in ["abort", "resume"] {
            let command = stage.start_command(&options);
            let canary = limited(&command, None).spawn().expect("ark starts");
            wait_until("its share is noted", || {
                stage.run_verb("status")["host"]["share_pct"] == 100
            });
            limit(canary.id(), size_of(&path));
            let (succeeded, _, errors) = end_of(canary);
            assert!(!succeeded, "{verb}");
            assert_no_room(&errors, &path);
            assert!(
                is_ready(&stage.owner) && stage.serving() == "stable",
                "{verb}: {errors}"
            );
            stage.assert_weights(100, 0);
            let report = stage.run_verb(verb);
            let is_promoted = verb == "resume";
            assert_eq!(report["promoted"], is_promoted, "{verb}: {report:#}");
            if is_promoted {
                assert_eq!(stage.serving(), "new", "{verb}");
                stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
                upgrade::back_to_stable(&stage);
            }
        }
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}

/// Runs an order with this limit. Returns whether it succeeds, what it prints and what it says.
fn order(stage: &CanaryFixture, verb: &str, limit: Option<u64>) -> (bool, String, String) {
    let begun = limited(&stage.command(verb, &[]), limit).spawn();
    end_of(begun.expect("ark starts"))
}

#[test]
fn an_order_to_abort_ends_the_canary_also_where_neither_journal_nor_order_has_room() {
    let stage = start_stage("");
    let path = journal(&stage, "canary");
    let host = || stage.run_verb("status")["host"].clone();
    // Whether the run has room, then whoever sends the order.
    for (run_has_room, sender_has_room) in [(false, true), (true, false), (false, false)] {
        let case = format!("run {run_has_room}, sender {sender_has_room}");
        let command = stage.start_command(&["--step", "3600"]);
        let canary = limited(&command, None).spawn().expect("ark starts");
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        // The entry of the share is there, and nothing is added until an order comes.
        wait_until("its share is noted", || host()["share_pct"] == 10);
        let weights = ["stable", "canary"].map(|server| stage.haproxy.weight(server));
        if !run_has_room {
            limit(canary.id(), size_of(&path));
        }
        if sender_has_room {
            // The run, whose journal takes no entry of it, refuses it, and goes on as it was.
            for verb in ["pause", "promote", "resume"] {
                let (succeeded, _, errors) = order(&stage, verb, None);
                // To go on with what is not paused needs no entry.
                assert_eq!(succeeded, verb == "resume", "{case}: {errors}");
                let refused = format!("`{verb}` was not taken, and the canary goes on");
                assert!(succeeded || errors.contains(&refused), "{case}: {errors}");
            }
            assert_eq!(host()["paused"], false, "{case}");
            let given = ["stable", "canary"].map(|server| stage.haproxy.weight(server));
            assert_eq!(given, weights, "{case}");
        } else {
            // Any other order is refused by name, and changes nothing.
            let (succeeded, _, errors) = order(&stage, "pause", Some(0));
            assert!(!succeeded, "{case}");
            assert!(
                errors.contains("the canary goes on") && errors.contains("make room there"),
                "{case}: {errors}"
            );
            assert_eq!(host()["paused"], false, "{case}");
        }
        let room = (!sender_has_room).then_some(0);
        let (succeeded, taken, errors) = order(&stage, "abort", room);
        assert!(succeeded, "{case}: {errors}");
        let taken: Value = serde_json::from_str(&taken).expect("JSON");
        assert_eq!(taken["noted"], false, "{case}: {taken:#}");
        let named = format!(
            "no room for the order or its entry in the journal {}",
            path.display()
        );
        assert!(errors.contains(&named), "{case}: {errors}");
        // What was said is so already, and no later run goes on.
        stage.assert_weights(100, 0);
        let (succeeded, report, told) = end_of(canary);
        assert!(!succeeded, "{case}: {report}");
        let report: Value = serde_json::from_str(&report).expect("a report");
        assert_eq!(report["tripwire"], "aborted", "{case}: {told}");
        assert_eq!(report["unnoted"].is_string(), !run_has_room, "{report:#}");
        assert_eq!(size_of(&path), 0, "{case}");
        assert!(host().is_null(), "{case}");
        let (succeeded, _, errors) = order(&stage, "resume", None);
        assert!(
            !succeeded && errors.contains("no canary is under way"),
            "{case}: {errors}"
        );
    }
    let names = std::fs::read_dir(stage.dir.path()).expect("a directory");
    let left: Vec<_> = names
        .flatten()
        .map(|entry| entry.file_name())
        .filter(|name| name.to_string_lossy().contains(".request"))
        .collect();
    assert!(left.is_empty(), "{left:?}");
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
}

#[test]
fn a_version_that_goes_back_without_an_entry_of_it_gets_no_further_share() {
    let stage = start_stage("");
    let path = journal(&stage, "canary");
    stage.under_load(|| {
        let command = stage.start_command(&["--step", "3600"]);
        let canary = limited(&command, None).spawn().expect("ark starts");
        wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
        wait_until("its share is noted", || {
            stage.run_verb("status")["host"]["share_pct"] == 10
        });
        limit(canary.id(), size_of(&path));
        stage.set_fault("denies");
        let (succeeded, report, told) = end_of(canary);
        assert!(!succeeded, "{report}");
        let report: Value = serde_json::from_str(&report).expect("a report");
        assert_eq!(report["tripwire"], "verdicts", "{report:#}: {told}");
        let unnoted = report["unnoted"].as_str().expect("why");
        assert!(unnoted.contains("is not in the journal"), "{unnoted}");
        stage.assert_weights(100, 0);
    });
    assert_eq!(size_of(&path), 0);
    assert_eq!(stage.steps()[0]["step"], "went-back");
    let (succeeded, _, errors) = order(&stage, "resume", None);
    assert!(
        !succeeded && errors.contains("no canary is under way"),
        "{errors}"
    );
    stage.assert_weights(100, 0);
}

#[test]
fn an_abort_without_an_entry_whose_way_back_fails_is_not_acknowledged_and_can_be_given_again() {
    let stage = start_stage("");
    let path = journal(&stage, "canary");
    let command = stage.start_command(&["--step", "3600"]);
    let canary = limited(&command, None).spawn().expect("ark starts");
    wait_until("it has a share", || stage.haproxy.weight("canary") > 0);
    wait_until("its share is noted", || {
        stage.run_verb("status")["host"]["share_pct"] == 10
    });
    limit(canary.id(), size_of(&path));
    let socket = stage.haproxy.socket.clone();
    let away = socket.with_extension("away");
    std::fs::rename(&socket, &away).expect("a socket");
    // The run cannot give the requests back, and neither can the command that goes on with it.
    let (succeeded, _, errors) = order(&stage, "abort", None);
    assert!(!succeeded, "{errors}");
    assert!(errors.contains("the weights are not set back"), "{errors}");
    let (succeeded, _, errors) = end_of(canary);
    assert!(
        !succeeded && errors.contains("is not in the journal"),
        "{errors}"
    );
    std::fs::rename(&away, &socket).expect("a socket");
    let report = stage.run_verb("abort");
    assert_eq!(report["tripwire"], "aborted", "{report:#}");
    assert!(report["unnoted"].is_null(), "{report:#}");
    stage.assert_weights(100, 0);
}

#[test]
fn a_way_back_without_haproxy_starts_the_stable_host() {
    let stage = CanaryFixture::start("", "");
    let gates = Gates::install(&stage);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let socket = stage.haproxy.socket.clone();
    let away = socket.with_extension("away");
    upgrade::change(
        &stage,
        "start-new.sh",
        "if [ -e ",
        "echo it has no legs >&2; exit 7\nif [ -e ",
    );
    let ((), decided) = stage.under_load(|| {
        gates.close("start-new");
        let canary = stage.start_command(&options).spawn().expect("ark starts");
        gates.wait_held("start-new");
        std::fs::rename(&socket, &away).expect("a socket");
        gates.open();
        let (succeeded, _, errors) = end_of(canary);
        assert!(!succeeded && errors.contains("no legs"), "{errors}");
        assert!(errors.contains(&socket.display().to_string()), "{errors}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == "stable",
            "{errors}"
        );
        std::fs::rename(&away, &socket).expect("a socket");
        stage.assert_weights(0, 256);
        let report = stage.run_verb("resume");
        assert_eq!(report["promoted"], false, "{report:#}");
        assert_eq!(report["tripwire"], "take-over", "{report:#}");
        stage.assert_weights(100, 0);
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}

#[test]
fn an_upgrade_without_room_changes_nothing_or_goes_on_later() {
    let stage = start_stage(upgrade::CONFIG);
    let gates = Gates::install(&stage);
    let path = journal(&stage, "upgrade");
    let new = upgrade::upgrade(&stage, &[]);
    // Before the host is stopped it is over, and nothing has changed.
    for gate in ["check", "replay"] {
        let (succeeded, report, errors) = fill_at(&gates, gate, &new, || size_of(&path));
        assert!(!succeeded, "{gate}");
        assert_no_room(&report, &path);
        assert!(
            is_ready(&stage.owner) && stage.serving() == "stable",
            "{gate}: {errors}"
        );
        let refused = upgrade::errors_of(upgrade::command(&stage, &[]));
        assert!(refused.contains("no upgrade of"), "{refused}");
    }
    for (more, serving) in [(&[][..], "new"), (&["--back"], "stable")] {
        let (succeeded, _, errors) = fill_at(&gates, "stop", &new, || size_of(&path));
        assert!(!succeeded, "{more:?}");
        assert_no_room(&errors, &path);
        let report = upgrade::run(upgrade::command(&stage, more));
        assert_eq!(report["upgraded"], serving == "new", "{report:#}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == serving,
            "{report:#}"
        );
        upgrade::back_to_stable(&stage);
    }
    // A snapshot.
    let (_, report, _) = fill_at(&gates, "check", &new, || COPIES);
    assert!(
        report.contains("cannot be copied to ") && report.contains("make room there"),
        "{report}"
    );
    // What is kept before a migration, when the host was stopped: the stable one serves again.
    upgrade::change(
        &stage,
        "new-ark",
        "\n",
        "\nexport TEST_ARK_LATER_SCHEMA=1\n",
    );
    let (_, report, errors) = fill_at(&gates, "stop", &new, || COPIES);
    assert!(
        report.contains("-before-migration: ") && report.contains("make room there"),
        "{report} {errors}"
    );
    assert!(report.contains("none was made: "), "{report}");
    assert!(
        is_ready(&stage.owner) && stage.serving() == "stable",
        "{report}"
    );
    assert_eq!(count_partial(&stage), 0);
    // A host whose record has no room holds nothing up.
    let host = std::fs::read_to_string(stage.dir.path().join("pid")).expect("a file");
    limit(host.trim().parse().expect("a number"), 0);
    let report = upgrade::run(new);
    assert_eq!(report["upgraded"], true, "{report:#}");
    // The steps that it could not record waited for the new one, which has room.
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    let steps = stage.steps();
    for step in ["check", "replay", "start", "validation", "upgraded"] {
        let is_of = |one: &&Value| one["deployment"] == report["id"] && one["step"] == step;
        assert_eq!(steps.iter().filter(is_of).count(), 1, "{step}: {steps:#?}");
    }
}

/// A file system with little room.
struct SmallDisk(PathBuf);

impl SmallDisk {
    /// Mounts one. `None`: this user may not.
    fn mount(place: &Path) -> Option<Self> {
        std::fs::create_dir(place).expect("a directory");
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=2m", "tmpfs"])
            .arg(place)
            .output();
        let is_mounted = mounted.is_ok_and(|output| output.status.success());
        is_mounted.then(|| Self(place.to_owned()))
    }

    /// Leaves no room.
    fn fill(&self) {
        let mut ballast = std::fs::File::create(self.0.join("ballast")).expect("a file");
        for size in [1 << 16, 1] {
            while std::io::Write::write_all(&mut ballast, &vec![1; size]).is_ok() {}
        }
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("ballast")).expect("a file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

#[test]
fn a_disk_that_is_filled_while_the_host_is_stopped_leaves_no_upgrade_without_a_host() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let at = |name: &str| stage.dir.path().join(name);
    let Some(disk) = SmallDisk::mount(&at("small")) else {
        println!("skipped: this user may mount no file system");
        return;
    };
    // All journals are there: that of the upgrade, and those of its validation and its way back.
    std::fs::create_dir(at("small/state")).expect("a directory");
    std::os::unix::fs::symlink(at("small/state"), at("state")).expect("a link");
    std::os::unix::fs::symlink(at("small/upgrade.journal"), at("upgrade.journal")).expect("a link");
    let gates = Gates::install(&stage);
    let start_new = std::fs::read_to_string(at("start-new.sh")).expect("a script");
    for (script, serving) in [
        (start_new.clone(), "new"),
        ("echo it has no legs >&2; exit 7\n".to_owned(), "stable"),
    ] {
        std::fs::write(at("start-new.sh"), script).expect("a script");
        gates.close("stop");
        let begun = upgrade::upgrade(&stage, &[]).spawn().expect("ark starts");
        gates.wait_held("stop");
        disk.fill();
        gates.open();
        let output = begun.wait_with_output().expect("its end");
        let report = upgrade::report_of(&output);
        assert_eq!(report["upgraded"], serving == "new", "{report:#}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == serving,
            "{report:#}"
        );
        disk.make_room();
        std::fs::write(at("start-new.sh"), &start_new).expect("a script");
        upgrade::back_to_stable(&stage);
    }
}

#[test]
fn a_rollback_without_room_goes_on_later() {
    let stage = start_stage("");
    let gates = Gates::install(&stage);
    let path = journal(&stage, "rollback");
    let options = rollback::options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let command = rollback::command(&stage, &options);
    let go_on = |case: &str| {
        let output = rollback::command(&stage, &[]).output().expect("ark starts");
        let report = rollback::report_of(&output);
        assert_eq!(report["passed"], true, "{case}: {report:#}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == "stable",
            "{case}"
        );
        stage.assert_weights(256, 0);
        report
    };
    for gate in ["stop", "start"] {
        rollback::promote_new(&stage);
        let (succeeded, _, errors) = fill_at(&gates, gate, &command, || size_of(&path));
        assert!(!succeeded, "{gate}");
        assert_no_room(&errors, &path);
        go_on(gate);
    }
    // The copy before: the newer version serves on until there is room.
    rollback::promote_new(&stage);
    let begun = limited(&command, Some(COPIES)).spawn().expect("ark starts");
    let (succeeded, _, errors) = end_of(begun);
    assert!(
        !succeeded && errors.contains("cannot be copied to ") && errors.contains("make room there"),
        "{errors}"
    );
    assert!(is_ready(&stage.owner) && stage.serving() == "new");
    assert_eq!(count_partial(&stage), 0);
    let report = go_on("copy");
    assert_ne!(report["failures"], json!([]), "{report:#}");
    wait_until("a host serves", || is_ready(&stage.owner));
    stage.assert_chain();
}

/// How many databases restores have set aside. What an interrupted one made itself is in a directory of its own, without a database.
fn count_aside(stage: &CanaryFixture) -> usize {
    let entries = std::fs::read_dir(stage.dir.data()).expect("the data directory");
    let asides = entries.flatten().filter(|entry| {
        let name = entry.file_name();
        name.to_string_lossy().starts_with("before-restore-")
    });
    asides
        .filter(|aside| aside.path().join("ark.db").exists())
        .count()
}

#[test]
fn a_rollback_over_a_restore_that_was_interrupted_goes_on_or_says_what_to_repeat() {
    let stage = start_stage("");
    let gates = Gates::install(&stage);
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    upgrade::change(
        &stage,
        "new-ark",
        "\n",
        "\nexport TEST_ARK_LATER_SCHEMA=1\n",
    );
    std::fs::create_dir(path("snapshots")).expect("a directory");
    let (snapshot, data) = (path("snapshots/first"), path("data"));
    let made = run_ark(&["state", "snapshot", &snapshot, "--data-dir", &data]);
    assert!(made.status.success(), "{made:?}");
    let options = rollback::options(&stage);
    let options: Vec<&str> = options.iter().map(String::as_str).collect();
    let command = rollback::command(&stage, &options);
    let pending = stage.dir.data().join("restore.pending");
    // Its own: the database was moved aside, and there is no room for the snapshot's.
    rollback::promote_new(&stage);
    let (succeeded, _, errors) = fill_at(&gates, "stop", &command, || COPIES);
    assert!(!succeeded && errors.contains("make room there"), "{errors}");
    assert!(errors.contains(&data) && pending.exists(), "{errors}");
    let output = rollback::command(&stage, &[]).output().expect("ark starts");
    let report = rollback::report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    assert_eq!((count_aside(&stage), pending.exists()), (1, false));
    // An operator's: no rollback begins over it, since no host starts there.
    rollback::promote_new(&stage);
    sh(&script(&stage.dir, "stop"));
    let restore = |limit: Option<u64>| {
        let mut restore = Command::new(ark_tests::ark_program());
        restore.args([
            "state",
            "restore",
            "--replace",
            &snapshot,
            "--data-dir",
            &data,
        ]);
        end_of(limited(&restore, limit).spawn().expect("ark starts"))
    };
    let (succeeded, _, errors) = restore(Some(COPIES));
    assert!(!succeeded && pending.exists(), "{errors}");
    let before = size_of(&journal(&stage, "rollback"));
    let refused = upgrade::errors_of(rollback::command(&stage, &options));
    assert!(
        refused.contains(&format!("a restore into {data} was interrupted"))
            && refused.contains("`ark state restore --replace`"),
        "{refused}"
    );
    assert_eq!(
        size_of(&journal(&stage, "rollback")),
        before,
        "nothing has begun"
    );
    let (succeeded, _, errors) = restore(None);
    assert!(succeeded && !pending.exists(), "{errors}");
    let output = rollback::command(&stage, &options)
        .output()
        .expect("ark starts");
    let report = rollback::report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(report["set_aside"].is_null(), "{report:#}");
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    assert_eq!(count_aside(&stage), 2);
    stage.assert_chain();
}
