//! The host that serves is killed while a command exchanges it: at each step of a rollback, an upgrade and a canary. The command goes on to its end,
//! goes back, or ends with an error that names the remedy, which is then applied; no answered decision is lost, none is made twice, and a host
//! serves in the end.
//!
//! No test relies on speed. A command is frozen (SIGSTOP) while a step is the last entry of its journal, the host is killed, and the command goes on;
//! or the operator's own script kills the host. A step that was over before it could be frozen is tried again from the start.

mod canary;
mod rollback;
mod upgrade;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output};
use std::time::Duration;

use ark_tests::{Client, wait_until};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

/// How often a kill in a step is tried.
const TRIES: u32 = 20;
/// The pause between two looks at a journal.
const LOOK: Duration = Duration::from_micros(200);

/// What a process manager does with a host that was killed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manager {
    /// There is none: the host stays away.
    None,
    /// It starts the same version again, by this script, and the command goes on when that is ready.
    Restarts(&'static str),
}

/// The last entry of a journal.
fn last_entry(journal: &Path) -> String {
    let text = std::fs::read_to_string(journal).unwrap_or_default();
    text.lines().last().unwrap_or_default().to_owned()
}

/// Freezes a command at this entry. Returns whether it stands there: otherwise it has ended.
fn freeze_at(command: &mut Child, journal: &Path, entry: &str) -> bool {
    let pid = Pid::from_child(command);
    while command.try_wait().expect("a state").is_none() {
        if last_entry(journal) != entry {
            std::thread::sleep(LOOK);
            continue;
        }
        kill_process(pid, Signal::STOP).expect("SIGSTOP");
        let stat = format!("/proc/{}/stat", command.id());
        wait_until("the command is frozen, or has ended", || {
            let stat = std::fs::read_to_string(&stat).unwrap_or_default();
            let state = stat.rsplit(") ").next().unwrap_or_default();
            state.is_empty() || state.starts_with(['T', 'Z'])
        });
        if last_entry(journal) == entry && command.try_wait().expect("a state").is_none() {
            return true;
        }
        let _ended = kill_process(pid, Signal::CONT);
    }
    false
}

/// Kills the host that serves, when it is ready if it was just started, and waits until nothing of it is left. Returns whether it was there: the
/// command may have had it stopped.
fn kill_host(stage: &CanaryFixture) -> bool {
    wait_until("a host is ready, or has ended", || {
        is_ready(&stage.owner) || !stage.has_host()
    });
    if !stage.has_host() {
        return false;
    }
    sh(&stage.kill_commands());
    sh(&format!(
        "flock {} true",
        path(stage, "data/ark.lock").display()
    ));
    true
}

/// Has a script kill the host once: at its end, when what it has started is ready.
fn kill_when_ready(stage: &CanaryFixture, name: &str) {
    kill_at_end(stage, name, "");
}

/// As [`kill_when_ready`], after a wait of the script.
fn kill_at_end(stage: &CanaryFixture, name: &str, wait: &str) {
    let at = |name: &str| stage.dir.path().join(name).display().to_string();
    std::fs::write(at("kills"), "").expect("a marker");
    let ark = ark_tests::ark_program().display().to_string();
    let file = at(&format!("{name}.sh"));
    let text = std::fs::read_to_string(&file).expect("a script");
    // A script that finds its host there ends at once: it has killed it before.
    let text = format!(
        "{text}if [ -e {marker} ]; then rm {marker}\n\
         until {ark} health --ready --url http://{owner} >/dev/null 2>&1; do sleep 0.05; done\n{wait}\n\
         {kill}fi\n",
        marker = at("kills"),
        owner = stage.owner,
        kill = stage.kill_commands(),
    );
    std::fs::write(file, text).expect("a script");
}

/// Has the script that stops the host kill it while it drains.
fn kill_in_drain(stage: &CanaryFixture) {
    let file = stage.dir.path().join("stop.sh");
    let text = std::fs::read_to_string(&file).expect("a script");
    let killing = text.replacen("kill $p 2>/dev/null", "kill $p && kill -9 $p", 1);
    assert_ne!(killing, text);
    std::fs::write(file, killing).expect("a script");
}

/// Runs a command that is frozen at an entry of its journal while the host is killed. `prepare` brings the stage to where the command begins.
fn run_over_kill(
    stage: &CanaryFixture,
    manager: Manager,
    (journal, entry): (&Path, &str),
    prepare: &dyn Fn(),
    begin: &dyn Fn() -> Command,
) -> Output {
    for _ in 0..TRIES {
        prepare();
        let mut command = begin().spawn().expect("ark starts");
        let pid = Pid::from_child(&command);
        let is_frozen = freeze_at(&mut command, journal, entry);
        let is_killed = is_frozen && kill_host(stage);
        if is_killed && let Manager::Restarts(name) = manager {
            sh(&script(&stage.dir, name));
            wait_until("the host is ready again", || is_ready(&stage.owner));
            wait_until("the fronts see it", || {
                let table = stage.haproxy.ask("show servers state ark");
                let states = table.lines().filter(|line| !line.starts_with('#'));
                let states: Vec<_> = states.filter_map(|line| line.split(' ').nth(5)).collect();
                !states.is_empty() && states.iter().all(|state| *state == "2")
            });
        }
        if is_frozen {
            kill_process(pid, Signal::CONT).expect("SIGCONT");
        }
        let output = command.wait_with_output().expect("its end");
        if is_killed {
            return output;
        }
        assert!(is_ready(&stage.owner), "{entry}: {output:?}");
    }
    panic!("{entry}: it was over before the host could be killed, {TRIES} times")
}

/// Checks that each answered decision can be looked up, that the host holds no other of these clients, and that the chain is whole.
fn assert_each_once(stage: &CanaryFixture, decided: &BTreeSet<String>) {
    assert!(!decided.is_empty(), "requests were answered");
    let mut client = Client::at(&stage.owner);
    for id in decided {
        let (status, decision) = client.get(&format!("/v1/decisions/{id}"));
        assert_eq!(status, 200, "{id}: {decision}");
        assert_eq!(decision["decision_id"], id.as_str(), "{decision}");
    }
    assert_eq!(stage.recorded_of("api"), *decided, "none is made twice");
    stage.assert_chain();
}

/// Checks what is said of the pause where the host was killed before the order to stop. Without a process manager nobody knows how long none was there.
fn assert_pause(told: &Value, manager: Manager) {
    let unknown = told["pause_unknown"].as_str();
    match manager {
        Manager::None => {
            assert!(told["pause_ms"].is_null(), "{told:#}");
            let why = "the host had ended before the order to stop, ";
            assert!(unknown.is_some_and(|it| it.starts_with(why)), "{told:#}");
        }
        Manager::Restarts(_) => {
            assert!(told["pause_ms"].as_u64() > Some(0), "{told:#}");
            assert_eq!(unknown, None, "{told:#}");
        }
    }
}

fn path(stage: &CanaryFixture, name: &str) -> PathBuf {
    stage.dir.path().join(name)
}

/// The id of a host that was killed is another process's soon where many processes are made: that is neither taken for the host nor ended.
#[test]
fn a_process_that_has_the_id_of_a_killed_host_is_no_host() {
    let stage = CanaryFixture::start("", "");
    let pid = path(&stage, "pid");
    for run in ["start", "stop"] {
        assert!(kill_host(&stage), "{run}");
        std::fs::write(&pid, std::process::id().to_string()).expect("a process id");
        assert!(!stage.has_host(), "{run}");
        // It would end this process.
        sh(&stage.kill_commands());
        sh(&script(&stage.dir, run));
        if run == "stop" {
            sh(&script(&stage.dir, "start"));
        }
        wait_until("the host is ready again", || is_ready(&stage.owner));
        assert!(stage.has_host(), "{run}");
    }
}
