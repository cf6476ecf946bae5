//! Upgrades of the host of a stage: how they are run, waited for and read, and what is changed in the stage before and after.

use std::process::{Child, Command, Output, Stdio};

use ark_tests::{ark_program, wait_until};
use serde_json::Value;

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

/// What the new version's check finds no fault with: ports that nobody else has.
pub(in crate::production) const CONFIG: &str =
    "listen = \"127.0.0.1:0\"\ntelemetry_listen = \"127.0.0.1:0\"\n";

pub(in crate::production) fn command(stage: &CanaryFixture, more: &[&str]) -> Command {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let mut command = Command::new(ark_program());
    command
        .args(["upgrade", "--json", "--url"])
        .arg(format!("http://{}", stage.owner))
        .args(["--journal", &path("upgrade.journal")])
        .args(more)
        .env("XDG_STATE_HOME", path("state"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// An upgrade of the stage's host.
pub(in crate::production) fn upgrade(stage: &CanaryFixture, more: &[&str]) -> Command {
    upgrade_to(stage, "new-ark", more)
}

/// An upgrade of the stage's host to the program in a file.
pub(super) fn upgrade_to(stage: &CanaryFixture, file: &str, more: &[&str]) -> Command {
    command_within(stage, file, "240", more)
}

/// As [`upgrade`], with so many seconds for the start of a host.
pub(in crate::production) fn upgrade_within(stage: &CanaryFixture, seconds: &str) -> Command {
    command_within(stage, "new-ark", seconds, &[])
}

fn command_within(stage: &CanaryFixture, file: &str, seconds: &str, more: &[&str]) -> Command {
    let path = |name: &str| stage.dir.path().join(name).display().to_string();
    let mut command = command(stage, &[&path(file)]);
    command
        .args([
            "--name",
            "2.0.0",
            "--category",
            "ethics",
            "--timeout",
            seconds,
        ])
        .args([
            "--data-dir",
            &path("data"),
            "--snapshots",
            &path("snapshots"),
        ])
        .args(["--config", &path("ark.toml")])
        .args(["--stop-command", &script(&stage.dir, "stop")])
        .args(["--start-command", &script(&stage.dir, "start-new")])
        .args(["--start-stable-command", &script(&stage.dir, "start")])
        .args(more);
    command
}

pub(in crate::production) fn report_of(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

pub(in crate::production) fn errors_of(mut command: Command) -> String {
    let output = command.output().expect("ark starts");
    assert!(!output.status.success(), "{output:?}");
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(in crate::production) fn run(mut command: Command) -> Value {
    report_of(&command.output().expect("ark starts"))
}

pub(super) fn journal_text(stage: &CanaryFixture) -> String {
    std::fs::read_to_string(stage.dir.path().join("upgrade.journal")).unwrap_or_default()
}

/// Replaces text in a file of the stage.
pub(in crate::production) fn change(stage: &CanaryFixture, file: &str, from: &str, to: &str) {
    let path = stage.dir.path().join(file);
    let text = std::fs::read_to_string(&path).expect("a file");
    let changed = text.replacen(from, to, 1);
    assert_ne!(changed, text, "{file}");
    std::fs::write(&path, changed).expect("a file");
}

/// The stable version serves again, for the next round.
pub(in crate::production) fn back_to_stable(stage: &CanaryFixture) {
    sh(&script(&stage.dir, "stop"));
    sh(&script(&stage.dir, "start"));
    wait_until("the host is ready", || is_ready(&stage.owner));
}

/// Waits until an upgrade that runs has announced a phase.
pub(super) fn wait_phase(stage: &CanaryFixture, upgrade: &mut Child, phase: &str) {
    wait_until("the upgrade has come so far", || {
        assert!(
            upgrade.try_wait().expect("a state").is_none(),
            "{phase}: it has ended"
        );
        journal_text(stage).contains(&format!("{{\"phase\":\"{phase}\"}}"))
    });
}
