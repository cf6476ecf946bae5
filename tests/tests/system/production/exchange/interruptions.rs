//! A process that does nothing holds up no rollback, and SIGINT ends every wait of a command that exchanges the host; the next run goes on.

use std::process::{Child, Output};
use std::time::{Duration, Instant};

use ark_tests::wait_until;
use rustix::process::{Pid, Signal, kill_process};

use super::gates::Gates;
use crate::production::canary::stage::{CanaryFixture, is_ready, wait_report};
use crate::production::rollback::{self, command, options, promote_new, report_of};
use crate::production::upgrade;

/// How long a signal may be without effect: what does not look for it ends after 5 s, on a machine that has other work.
const AT_ONCE: Duration = Duration::from_secs(15);

fn send(child: &Child, signal: Signal) {
    kill_process(Pid::from_child(child), signal).expect("a signal");
}

/// Interrupts a command, which ends at once. Returns what it says.
fn interrupt(child: Child) -> String {
    send(&child, Signal::INT);
    let since = Instant::now();
    let output = child.wait_with_output().expect("its end");
    let took = since.elapsed();
    let errors = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(took < AT_ONCE, "{took:?}: {errors}");
    assert_eq!(output.status.code(), Some(1), "{errors}");
    assert!(errors.contains("interrupted"), "{errors}");
    errors
}

/// Waits until a journal has a text.
fn wait_journal(stage: &CanaryFixture, name: &str, text: &str) {
    let path = stage.dir.path().join(name);
    wait_until("the journal has the step", || {
        std::fs::read_to_string(&path).is_ok_and(|found| found.contains(text))
    });
}

fn go_on(stage: &CanaryFixture) -> Output {
    command(stage, &[]).output().expect("ark starts")
}

#[test]
fn a_canary_whose_process_is_stopped_holds_up_no_rollback() {
    let stage = CanaryFixture::start("", "");
    let gates = Gates::install(&stage);
    let options = options(&stage);
    let ((), decided) = stage.under_slow_load(|| {
        // In a step.
        let mut canary = stage.spawn_canary(&["--step", "600"]);
        wait_until("it has a share", || {
            stage.run_verb("status")["host"]["share_pct"] == 10
        });
        send(&canary, Signal::STOP);
        let (is_taken, errors) = stage.ask("pause");
        let remedy = format!("`kill -KILL {}`", canary.id());
        assert!(
            !is_taken && errors.contains("since it is stopped") && errors.contains(&remedy),
            "{errors}"
        );
        let report = report_of(&rollback::run(&stage, &options, &[]));
        assert_eq!(report["passed"], true, "{report:#}");
        let undone = report["steps"][0]["detail"].as_str().expect("a text");
        assert!(undone.ends_with(" was undone"), "{undone}");
        let status = canary.wait().expect("its end");
        let signal = std::os::unix::process::ExitStatusExt::signal(&status);
        assert_eq!(signal, Some(9), "{status:?}");
        // The weight that it had before the canary.
        stage.assert_weights(100, 0);
        // In the take-over, when the host was stopped.
        let take_over = stage.take_over_options();
        let mut take_over: Vec<&str> = take_over.iter().map(String::as_str).collect();
        take_over.extend(["--shares", "100"]);
        gates.close("start-new");
        let mut canary = stage.spawn_canary(&take_over);
        gates.wait_held("start-new");
        send(&canary, Signal::STOP);
        // What it began ends by itself, and is waited for.
        gates.open();
        let report = report_of(&rollback::run(&stage, &options, &[]));
        assert_eq!(report["passed"], true, "{report:#}");
        let undone = report["steps"][0]["detail"].as_str().expect("a text");
        assert!(undone.contains("is undone by the next steps"), "{undone}");
        canary.wait().expect("its end");
    });
    assert!(stage.run_verb("status")["host"].is_null());
    assert_eq!(stage.serving(), "stable");
    assert!(decided.is_subset(&stage.recorded()), "none is lost");
    stage.assert_chain();
}

#[test]
fn an_interrupted_rollback_ends_at_once_and_goes_on() {
    let stage = CanaryFixture::start("", "");
    let gates = Gates::install(&stage);
    let start = stage.dir.path().join("start.sh");
    let good = std::fs::read_to_string(&start).expect("a script");
    let begin = |more: &[&str]| {
        let options = options(&stage);
        let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
        // The last one of an option counts.
        for pair in more.chunks(2) {
            match options.iter().position(|option| *option == pair[0]) {
                Some(at) => options[at + 1] = pair[1],
                None => options.extend(pair),
            }
        }
        command(&stage, &options).spawn().expect("ark starts")
    };
    for wait in ["canary", "stop", "start", "health", "traffic", "validation"] {
        println!("{wait}");
        promote_new(&stage);
        let mut canary = None;
        match wait {
            "canary" => {
                // It has no share to be promoted by: the host's weights are those of before a canary.
                stage.haproxy.set_weights(&[("stable", 100), ("canary", 0)]);
                let began = stage.spawn_canary(&["--step", "600"]);
                wait_until("it has a share", || {
                    stage.run_verb("status")["host"]["share_pct"] == 10
                });
                send(&began, Signal::STOP);
                canary = Some(began);
            }
            "stop" | "start" => gates.close(wait),
            "health" => std::fs::write(&start, "exit 0\n").expect("a script"),
            _ => {}
        }
        let rollback = match wait {
            "health" => begin(&["--health-pause", "20"]),
            "traffic" => begin(&["--step", "20", "--shares", "100"]),
            "validation" => begin(&["--category", "watchdog"]),
            _ => begin(&[]),
        };
        match wait {
            "stop" | "start" => gates.wait_held(wait),
            "canary" => wait_until("the canary is asked", || {
                stage.dir.path().join("canary.journal.request").exists()
            }),
            step => {
                let is_last = |text: &str| {
                    let last = &text[text.rfind("{\"started\"").unwrap_or_default()..];
                    last.contains(&format!("{{\"step\":\"{step}\"}}"))
                        && !last.contains("\"finished\"")
                };
                wait_until("the rollback has come so far", || {
                    let journal = stage.dir.path().join("rollback.journal");
                    std::fs::read_to_string(journal).is_ok_and(|text| is_last(&text))
                });
            }
        }
        let errors = interrupt(rollback);
        assert!(
            errors.contains("`ark rollback` goes on") || errors.contains("goes on by its journal"),
            "{wait}: {errors}"
        );
        gates.open();
        std::fs::write(&start, &good).expect("a script");
        if let Some(canary) = &canary {
            // Nobody asks anything of it any more.
            assert!(!stage.dir.path().join("canary.journal.request").exists());
            send(canary, Signal::CONT);
        }
        let report = report_of(&go_on(&stage));
        assert_eq!(report["passed"], true, "{wait}: {report:#}");
        assert!(
            is_ready(&stage.owner) && stage.serving() == "stable",
            "{wait}"
        );
        if let Some(canary) = canary {
            assert_eq!(wait_report(canary)["tripwire"], "aborted");
        }
    }
    stage.assert_chain();
}

#[test]
fn an_interrupted_upgrade_ends_at_once_and_goes_on_or_back() {
    let stage = CanaryFixture::start(upgrade::CONFIG, "");
    let gates = Gates::install(&stage);
    let start_new = stage.dir.path().join("start-new.sh");
    let good = std::fs::read_to_string(&start_new).expect("a script");
    for wait in [
        "check",
        "replay",
        "stop",
        "start-new",
        "ready",
        "validation",
        "outliving",
    ] {
        for more in [&[][..], &["--back"]] {
            println!("{wait} {more:?}");
            match wait {
                "ready" => std::fs::write(&start_new, "exit 0\n").expect("a script"),
                "validation" => {}
                "outliving" => gates.close("stop"),
                gate => gates.close(gate),
            }
            let category: &[&str] = match wait {
                "validation" => &["--category", "watchdog"],
                _ => &[],
            };
            let mut begun = upgrade::upgrade(&stage, category)
                .spawn()
                .expect("ark starts");
            match wait {
                "ready" => wait_journal(&stage, "upgrade.journal", "{\"phase\":\"start\"}"),
                "validation" => {
                    wait_journal(&stage, "upgrade.journal", "{\"phase\":\"validation\"}");
                }
                "outliving" => {
                    gates.wait_held("stop");
                    begun.kill().expect("SIGKILL");
                    begun.wait().expect("its end");
                    // What it began holds the journal, and who goes on waits for it.
                    begun = upgrade::command(&stage, &[]).spawn().expect("ark starts");
                    wait_until("it handles signals", || handles_interrupts(&begun));
                }
                gate => gates.wait_held(gate),
            }
            interrupt(begun);
            gates.open();
            std::fs::write(&start_new, &good).expect("a script");
            let report = upgrade::run(upgrade::command(&stage, more));
            assert_eq!(report["upgraded"], more.is_empty(), "{wait}: {report:#}");
            let serving = if more.is_empty() { "new" } else { "stable" };
            assert!(
                is_ready(&stage.owner) && stage.serving() == serving,
                "{wait}"
            );
            if more.is_empty() {
                upgrade::back_to_stable(&stage);
            }
        }
    }
    stage.assert_chain();
}

/// Whether a process handles SIGINT: it is past its start.
fn handles_interrupts(child: &Child) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id()));
    let status = status.unwrap_or_default();
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
    let caught = caught.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok());
    caught.is_some_and(|mask| mask & 2 != 0)
}

#[test]
fn an_interrupted_take_over_goes_back_at_once() {
    let stage = CanaryFixture::start("", "");
    let gates = Gates::install(&stage);
    let options = stage.take_over_options();
    let mut options: Vec<&str> = options.iter().map(String::as_str).collect();
    options.extend(["--shares", "100"]);
    let start_new = stage.dir.path().join("start-new.sh");
    let good = std::fs::read_to_string(&start_new).expect("a script");
    let ((), decided) = stage.under_slow_load(|| {
        for wait in ["replay", "stop", "start-new", "ready"] {
            println!("{wait}");
            match wait {
                "ready" => std::fs::write(&start_new, "exit 0\n").expect("a script"),
                gate => gates.close(gate),
            }
            let canary = stage.spawn_canary(&options);
            match wait {
                "ready" => wait_until("it waits for the host", || {
                    stage.journal_text().contains("\"start\"}")
                }),
                gate => gates.wait_held(gate),
            }
            send(&canary, Signal::INT);
            // What was held up is not let go: it was ended.
            let report = wait_report(canary);
            assert_eq!(report["tripwire"], "aborted", "{wait}: {report:#}");
            gates.open();
            std::fs::write(&start_new, &good).expect("a script");
            assert!(
                is_ready(&stage.owner) && stage.serving() == "stable",
                "{wait}"
            );
            stage.assert_weights(100, 0);
        }
    });
    assert_eq!(stage.recorded(), decided, "each once, and none lost");
    stage.assert_chain();
}
