//! One canary, upgrade or rollback of a host at a time, whether a process runs it or it was killed.

use std::process::{Child, Command, Stdio};

use ark_tests::wait_until;

use super::gates::Gates;
use crate::production::canary::stage::{CanaryFixture, is_ready};
use crate::production::{rollback, upgrade};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Canary,
    Upgrade,
    Rollback,
}

const KINDS: [Kind; 3] = [Kind::Canary, Kind::Upgrade, Kind::Rollback];

/// The command that begins one.
fn beginning(stage: &CanaryFixture, kind: Kind) -> Command {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let [canary, upgrades, rollbacks] =
        ["canary", "upgrade", "rollback"].map(|name| path(&format!("{name}.journal")));
    match kind {
        Kind::Canary => stage.start_command(&[
            "--step",
            "600",
            "--upgrade-journal",
            &upgrades,
            "--rollback-journal",
            &rollbacks,
        ]),
        Kind::Upgrade => upgrade::upgrade(
            stage,
            &[
                "--canary-journal",
                &canary,
                "--rollback-journal",
                &rollbacks,
            ],
        ),
        Kind::Rollback => {
            let options = rollback::options(stage);
            let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
            options.extend(["--upgrade-journal", &upgrades]);
            rollback::command(stage, &options)
        }
    }
}

/// Begins one, which comes to a point at which it stays.
fn begin(stage: &CanaryFixture, gates: &Gates<'_>, kind: Kind) -> Child {
    let gate = match kind {
        Kind::Canary => None,
        Kind::Upgrade => Some("check"),
        Kind::Rollback => Some("stop"),
    };
    gate.inspect(|gate| gates.close(gate));
    let begun = beginning(stage, kind).spawn().expect("ark starts");
    match gate {
        Some(gate) => gates.wait_held(gate),
        None => wait_until("it has a share", || {
            stage.run_verb("status")["host"]["share_pct"] == 10
        }),
    }
    begun
}

fn kill(mut begun: Child) {
    begun.kill().expect("SIGKILL");
    begun.wait().expect("its end");
}

/// What is told to do with one that is under way.
fn remedy(kind: Kind, is_run: bool) -> &'static str {
    match (kind, is_run) {
        (Kind::Canary, true) => "wait for its end, or undo it with `ark canary abort`",
        (Kind::Canary, false) => {
            "`ark canary resume` goes on with it, `ark canary abort` undoes it"
        }
        (Kind::Upgrade, true) => "interrupt it (SIGINT) and undo it with `ark upgrade --back`",
        (Kind::Upgrade, false) => "`ark upgrade` goes on with it, `ark upgrade --back` undoes it",
        (Kind::Rollback, true) => "interrupt it (SIGINT); `ark rollback --journal ",
        (Kind::Rollback, false) => "end it with `ark rollback --journal ",
    }
}

#[test]
fn a_canary_an_upgrade_and_a_rollback_of_a_host_exclude_each_other() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let gates = Gates::install(&stage);
    for running in KINDS {
        let begun = begin(&stage, &gates, running);
        let (pid, mut begun) = (begun.id(), Some(begun));
        for is_run in [true, false] {
            if !is_run {
                begun.take().into_iter().for_each(kill);
            }
            for starting in KINDS {
                let begins = match (running, starting) {
                    // It undoes the canary first: `canary_that_runs_is_undone_first`.
                    (Kind::Canary, Kind::Rollback) => true,
                    // Who was killed goes on: the tests of kills.
                    (Kind::Upgrade, Kind::Upgrade) | (Kind::Rollback, Kind::Rollback) => !is_run,
                    _ => false,
                };
                if begins {
                    continue;
                }
                let case = format!("{starting:?} beside {running:?}, run: {is_run}");
                let by = if is_run {
                    format!("; process {pid} runs it: ")
                } else {
                    "; no process runs it".to_owned()
                };
                let id = format!("{}-", format!("{running:?}").to_lowercase());
                let parts = [
                    &id,
                    "was begun and has not ended, since 2",
                    &by,
                    remedy(running, is_run),
                ];
                let mut tries = vec![beginning(&stage, starting)];
                if starting != running {
                    let mut rehearsal = beginning(&stage, starting);
                    rehearsal.arg("--dry-run");
                    tries.push(rehearsal);
                }
                for tried in tries {
                    let refused = upgrade::errors_of(tried);
                    for part in parts {
                        assert!(refused.contains(part), "{case}: {part}: {refused}");
                    }
                }
            }
        }
        gates.open();
        match running {
            Kind::Canary => {
                let report = stage.run_verb("abort");
                assert_eq!(report["promoted"], false, "{report:#}");
            }
            Kind::Upgrade => {
                let report = upgrade::run(upgrade::command(&stage, &["--back"]));
                assert_eq!(report["upgraded"], false, "{report:#}");
            }
            Kind::Rollback => {
                let output = rollback::command(&stage, &[]).output().expect("ark starts");
                let report = rollback::report_of(&output);
                assert_eq!(report["passed"], true, "{report:#}");
            }
        }
        assert!(is_ready(&stage.owner) && stage.serving() == "stable");
    }
    // Nothing is left that keeps another from its beginning.
    stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
    for kind in KINDS {
        let mut rehearsal = beginning(&stage, kind);
        rehearsal.arg("--dry-run");
        let output = rehearsal.output().expect("ark starts");
        assert!(output.status.success(), "{kind:?}: {output:?}");
    }
}

/// The same command with its arguments as `change` gives them.
pub(super) fn change_arguments(
    command: &Command,
    change: impl Fn(Vec<String>) -> Vec<String>,
) -> Command {
    let given = command.get_args();
    let given = given.map(|argument| argument.to_string_lossy().into_owned());
    let mut changed = Command::new(command.get_program());
    changed
        .args(change(given.collect()))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => changed.env(name, value),
            None => changed.env_remove(name),
        };
    }
    changed
}

/// Takes the option that names the own journal away, so that the journal is the one of the host.
fn drop_journal(mut arguments: Vec<String>) -> Vec<String> {
    let at = arguments
        .iter()
        .position(|argument| argument == "--journal");
    arguments.drain(at.map_or(0..0, |at| at..at + 2));
    arguments
}

#[test]
fn an_exchange_is_one_of_its_host_and_its_data_however_they_are_named() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let gates = Gates::install(&stage);
    let port = stage.owner.rsplit(':').next().expect("a port");
    let at_address = |command: &Command, url: &str| {
        change_arguments(command, |arguments| {
            let given = format!("http://{}", stage.owner);
            let arguments = drop_journal(arguments).into_iter();
            arguments
                .map(|argument| {
                    if argument == given {
                        url.to_owned()
                    } else {
                        argument
                    }
                })
                .collect()
        })
    };
    gates.close("check");
    let begun = at_address(
        &beginning(&stage, Kind::Upgrade),
        &format!("http://127.0.0.1:{port}"),
    )
    .spawn()
    .expect("ark starts");
    gates.wait_held("check");
    let run = format!("; process {} runs it: ", begun.id());
    for url in [
        format!("http://localhost:{port}"),
        format!("HTTP://LOCALHOST:{port}/"),
        format!("http://127.0.0.2:{port}"),
        format!("http://[::1]:{port}"),
    ] {
        let refused = upgrade::errors_of(at_address(&beginning(&stage, Kind::Upgrade), &url));
        assert!(refused.contains(&run), "{url}: {refused}");
    }
    // An address that nothing connects with the other, or a journal in another place: the data are the same.
    let elsewhere = |kind| {
        change_arguments(&beginning(&stage, kind), |arguments| {
            let other = |argument: String| {
                if argument.ends_with(".journal") {
                    argument + "-of-another"
                } else {
                    argument
                }
            };
            arguments.into_iter().map(other).collect()
        })
    };
    for kind in [Kind::Upgrade, Kind::Rollback] {
        let mut rehearsal = elsewhere(kind);
        rehearsal.arg("--dry-run");
        for tried in [elsewhere(kind), rehearsal] {
            let refused = upgrade::errors_of(tried);
            let told = "another canary, upgrade or rollback exchanges the version on ";
            assert!(refused.contains(told), "{kind:?}: {refused}");
            assert!(refused.contains("`lslocks` names its process"), "{refused}");
        }
    }
    kill(begun);
    gates.open();
    // What was killed is under way, for each spelling.
    let url = format!("http://localhost:{port}");
    let back = at_address(&upgrade::command(&stage, &["--back"]), &url);
    let report = upgrade::run(back);
    assert_eq!(report["upgraded"], false, "{report:#}");
    let mut rehearsal = elsewhere(Kind::Upgrade);
    rehearsal.arg("--dry-run");
    let output = rehearsal.output().expect("ark starts");
    assert!(output.status.success(), "{output:?}");
    assert!(is_ready(&stage.owner) && stage.serving() == "stable");
}
