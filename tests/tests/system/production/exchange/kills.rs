//! A command that exchanges the host is killed between an entry of its journal and the effect that the entry announces, and between that effect and
//! the next entry: the commands that stop and start the host kill the `ark` that runs them, when they begin and when they end. The end is the same.

use std::process::Child;

use ark_tests::{run_ark, wait_until};

use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::{rollback, upgrade};

/// Ends the nearest `ark` above a shell.
const KILL: &str = "p=$PPID\n\
    while [ \"$p\" -gt 1 ] && [ \"$(basename \"$(readlink /proc/$p/exe)\")\" != ark ]; do\n\
    p=$(sed -n 's/^PPid:\t//p' /proc/$p/status)\ndone\nkill -9 $p\n";

/// A moment of a command.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Moment {
    /// Before it does anything; then it goes on.
    Begin,
    /// Before it does anything, and it does nothing.
    Instead,
    End,
}

/// Has a script end the `ark` that runs it the next time, once.
pub(super) fn kill_once_in(stage: &CanaryFixture, script: &str, moment: Moment) {
    let at = |name: &str| stage.dir.path().join(name);
    let text = std::fs::read_to_string(at(script)).expect("a script");
    let marker = at("kills");
    std::fs::write(&marker, "").expect("a marker");
    let marker = marker.display();
    let then = if moment == Moment::Instead {
        "exit 1\n"
    } else {
        ""
    };
    let kill = format!("if [ -e {marker} ]; then rm {marker}\n{KILL}{then}fi\n");
    let text = match moment {
        Moment::Begin | Moment::Instead => kill + &text,
        Moment::End => format!("{text}\n{kill}"),
    };
    std::fs::write(at(script), text).expect("a script");
}

/// Waits until a script has ended the command.
pub(super) fn wait_killed(stage: &CanaryFixture, mut command: Child) {
    let status = command.wait().expect("its end");
    let signal = std::os::unix::process::ExitStatusExt::signal(&status);
    assert_eq!(signal, Some(9), "{status:?}");
    assert!(!stage.dir.path().join("kills").exists());
}

/// The scripts as they were, for the next round.
pub(super) struct Scripts(Vec<(std::path::PathBuf, String)>);

impl Scripts {
    pub(super) fn of(stage: &CanaryFixture) -> Self {
        let paths = ["stop.sh", "start.sh", "start-new.sh"].map(|name| stage.dir.path().join(name));
        let read = |path: std::path::PathBuf| {
            let text = std::fs::read_to_string(&path).expect("a script");
            (path, text)
        };
        Self(paths.into_iter().map(read).collect())
    }

    pub(super) fn put_back(&self) {
        for (path, text) in &self.0 {
            std::fs::write(path, text).expect("a script");
        }
    }
}

/// The script and the moment of each kill, and where the command has come by then.
const KILLS: [(&str, Moment); 4] = [
    ("stop.sh", Moment::Begin),
    ("stop.sh", Moment::End),
    ("start-new.sh", Moment::Begin),
    ("start-new.sh", Moment::End),
];

/// Why nobody knows how long no host was there.
const ORDERED: &str = "an earlier run gave the order to stop";

#[test]
fn an_upgrade_ends_alike_whatever_kill_comes_between_journal_and_effect() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let scripts = Scripts::of(&stage);
    let ((), decided) = stage.under_slow_load(|| {
        for (script, moment) in KILLS {
            for back in [false, true] {
                let case = format!("{script} {moment:?} {back}");
                kill_once_in(&stage, script, moment);
                wait_killed(
                    &stage,
                    upgrade::upgrade(&stage, &[]).spawn().expect("ark starts"),
                );
                let more: &[&str] = if back { &["--back"] } else { &[] };
                let report = upgrade::run(upgrade::command(&stage, more));
                assert_eq!(report["upgraded"], !back, "{case}: {report:#}");
                assert!(report["pause_ms"].is_null(), "{case}: {report:#}");
                let unknown = report["pause_unknown"].as_str();
                assert_eq!(unknown, (!back).then_some(ORDERED), "{case}: {report:#}");
                assert!(is_ready(&stage.owner), "{case}");
                let serving = if back { "stable" } else { "new" };
                assert_eq!(stage.serving(), serving, "{case}: {report:#}");
                scripts.put_back();
                if !back {
                    upgrade::back_to_stable(&stage);
                }
            }
        }
        // The way back is killed, too.
        for (script, moment) in [("start.sh", Moment::Begin), ("start.sh", Moment::End)] {
            kill_once_in(&stage, "start-new.sh", Moment::End);
            wait_killed(
                &stage,
                upgrade::upgrade(&stage, &[]).spawn().expect("ark starts"),
            );
            kill_once_in(&stage, script, moment);
            let back = upgrade::command(&stage, &["--back"]).spawn();
            wait_killed(&stage, back.expect("ark starts"));
            let report = upgrade::run(upgrade::command(&stage, &[]));
            assert_eq!(report["upgraded"], false, "{script}: {report:#}");
            assert_eq!(report["rollback"]["passed"], true, "{script}: {report:#}");
            assert_eq!(stage.serving(), "stable", "{script}: {report:#}");
            scripts.put_back();
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn a_take_over_ends_alike_whatever_kill_comes_between_journal_and_effect() {
    let stage = CanaryFixture::start("", "");
    let scripts = Scripts::of(&stage);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let ((), decided) = stage.under_slow_load(|| {
        for (script, moment) in KILLS {
            for verb in ["abort", "resume"] {
                let case = format!("{script} {moment:?} {verb}");
                kill_once_in(&stage, script, moment);
                wait_killed(&stage, stage.spawn_canary(&options));
                let report = stage.run_verb(verb);
                let is_promoted = verb == "resume";
                assert_eq!(report["promoted"], is_promoted, "{case}: {report:#}");
                // The order to stop was given by the run that was killed: nobody knows for how long no host was there.
                let taken = &report["take_over"];
                assert!(taken["pause_ms"].is_null(), "{case}: {report:#}");
                let unknown = taken["pause_unknown"].as_str();
                assert_eq!(
                    unknown,
                    is_promoted.then_some(ORDERED),
                    "{case}: {report:#}"
                );
                assert!(is_ready(&stage.owner), "{case}");
                let serving = if is_promoted { "new" } else { "stable" };
                assert_eq!(stage.serving(), serving, "{case}: {report:#}");
                scripts.put_back();
                if is_promoted {
                    stage.assert_weights(0, 256);
                    stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
                    upgrade::back_to_stable(&stage);
                }
                stage.assert_weights(100, 0);
            }
        }
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}

#[test]
fn a_rollback_ends_alike_whatever_kill_comes_between_journal_and_effect() {
    let stage = CanaryFixture::start("", "");
    let scripts = Scripts::of(&stage);
    let texts = rollback::options(&stage);
    let options: Vec<&str> = texts.iter().map(String::as_str).collect();
    let ((), decided) = stage.under_slow_load(|| {
        for script in ["stop.sh", "start.sh"] {
            for moment in [Moment::Begin, Moment::End] {
                let case = format!("{script} {moment:?}");
                rollback::promote_new(&stage);
                kill_once_in(&stage, script, moment);
                let began = rollback::command(&stage, &options).spawn();
                wait_killed(&stage, began.expect("ark starts"));
                let output = rollback::command(&stage, &[]).output().expect("ark starts");
                let report = rollback::report_of(&output);
                assert_eq!(report["passed"], true, "{case}: {report:#}");
                assert_eq!(stage.serving(), "stable", "{case}: {report:#}");
                stage.assert_weights(256, 0);
                scripts.put_back();
            }
        }
    });
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
    wait_until("a host serves", || is_ready(&stage.owner));
}

#[test]
fn a_rollback_that_is_killed_after_its_restore_knows_what_it_replaced() {
    let stage = CanaryFixture::start("", "");
    let at = |name: &str| stage.dir.path().join(name);
    upgrade::change(
        &stage,
        "new-ark",
        "\n",
        "\nexport TEST_ARK_LATER_SCHEMA=1\n",
    );
    std::fs::create_dir(at("snapshots")).expect("a directory");
    let snapshot = at("snapshots/first").display().to_string();
    let data = stage.dir.data();
    let made = run_ark(&[
        "state",
        "snapshot",
        &snapshot,
        "--data-dir",
        data.to_str().expect("UTF-8"),
    ]);
    assert!(made.status.success(), "{made:?}");
    rollback::promote_new(&stage);
    let start = std::fs::read_to_string(at("start.sh")).expect("a script");
    std::fs::write(at("start.sh"), "exit 7\n").expect("a script");
    let options = rollback::options(&stage);
    let failed = rollback::errors_of(&rollback::run(&stage, &options, &[]));
    assert!(failed.contains("fails (exit status: 7)"), "{failed}");
    // What the disk holds after a kill between the end of the restore and its entry.
    let journal = at("rollback.journal");
    let text = std::fs::read_to_string(&journal).expect("a journal");
    let end = text.find("{\"kept_aside\"").expect("the entry");
    std::fs::write(&journal, &text[..end]).expect("a journal");
    std::fs::write(at("start.sh"), start).expect("a script");
    let output = rollback::command(&stage, &[]).output().expect("ark starts");
    let report = rollback::report_of(&output);
    assert_eq!(report["passed"], true, "{report:#}");
    let kept = report["kept_aside"].as_str().expect("a path");
    assert!(text[end..].contains(kept), "{report:#}");
    let detail = report["steps"][2]["detail"].to_string();
    assert!(detail.contains(kept), "{report:#}");
    let names = std::fs::read_dir(&data).expect("the data directory");
    let names = names.flatten().map(|entry| entry.file_name());
    let asides = names.filter(|name| name.to_string_lossy().starts_with("before-restore-"));
    assert_eq!(asides.count(), 1, "it is restored once");
}
