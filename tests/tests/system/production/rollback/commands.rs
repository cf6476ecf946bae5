//! Rollbacks of the host of a stage: how they are run and read, and how the newer version comes to serve before.

use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use ark_tests::{ark_program, wait_until};
use serde_json::Value;

use crate::production::canary::stage::{CanaryFixture, is_ready, script, sh};

/// The steps in their order.
pub(in crate::production) const STEPS: [&str; 7] = [
    "canary",
    "backup",
    "database",
    "start",
    "health",
    "traffic",
    "validation",
];

/// A command on the stage's host that keeps its journals there.
pub(in crate::production) fn command(stage: &CanaryFixture, more: &[&str]) -> Command {
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

pub(in crate::production) fn journal_path(stage: &CanaryFixture) -> PathBuf {
    stage.dir.path().join("rollback.journal")
}

/// The options of a rollback of seconds.
pub(in crate::production) fn options(stage: &CanaryFixture) -> Vec<String> {
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
pub(in crate::production) fn run(
    stage: &CanaryFixture,
    options: &[String],
    more: &[&str],
) -> Output {
    let options: Vec<&str> = options
        .iter()
        .map(String::as_str)
        .chain(more.iter().copied())
        .collect();
    command(stage, &options).output().expect("ark starts")
}

pub(in crate::production) fn report_of(output: &Output) -> Value {
    let errors = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {errors}"))
}

pub(in crate::production) fn errors_of(output: &Output) -> String {
    assert!(!output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

pub(in crate::production) fn steps_of(report: &Value) -> Vec<&str> {
    let steps = report["steps"].as_array().expect("steps").iter();
    steps
        .map(|step| step["step"].as_str().expect("a name"))
        .collect()
}

/// Has the new version serve, with all requests at its front, as after a canary.
pub(in crate::production) fn promote_new(stage: &CanaryFixture) {
    sh(&script(&stage.dir, "stop"));
    sh(&script(&stage.dir, "start-new"));
    wait_until("the new version is ready", || is_ready(&stage.owner));
    stage.haproxy.set_weights(&[("canary", 256), ("stable", 0)]);
    assert_eq!(stage.serving(), "new");
}
