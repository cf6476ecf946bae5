//! The threads that `ark check` says a host starts are those that it has.

use std::fs;
use std::process::Command;

use ark_tests::redis::Redis;
use ark_tests::{Host, TestDir, ark_program, wait_until};
use serde_json::Value;

/// The line `threads` of a check of a directory's host.
fn check_threads(dir: &TestDir) -> Value {
    let output = Command::new(ark_program())
        .args(["check", "--json", "--config"])
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut lines = report["lines"].as_array().expect("lines").iter();
    let line = lines.find(|one| one["check"] == "threads");
    line.unwrap_or_else(|| panic!("no line: {report:#}"))
        .clone()
}

/// How many threads a host has, but for those that wait for the disk: they have the name of the two that serve HTTP.
fn count_threads(host: &Host) -> usize {
    let tasks = fs::read_dir(format!("/proc/{}/task", host.pid())).expect("its threads");
    let names = tasks
        .flatten()
        .filter_map(|task| fs::read_to_string(task.path().join("comm")).ok());
    2 + names.filter(|name| name.trim() != "ark-http").count()
}

#[test]
fn a_host_starts_as_many_threads_as_its_check_says() {
    let redis = Redis::start();
    let bare = "[capacity]\nworkers = 3\nslow_workers = 5\n";
    let streams = format!(
        "{bare}[redis]\nurl = \"redis://127.0.0.1:{}/0\"\n[redis.events]\nstream = \"ark:events\"\n\
         [[redis.signals]]\nstream = \"orders\"\ntopic = \"desk.order\"\nfield = \"event\"\n",
        redis.port
    );
    for config in [bare, &streams] {
        let dir = TestDir::new(config);
        let before = check_threads(&dir);
        let told = before["found"].as_str().expect("text");
        let mut words = told
            .split("the host starts ")
            .nth(1)
            .expect(told)
            .split(' ');
        let number = words.next().and_then(|word| word.parse().ok());
        let number: usize = number.unwrap_or_else(|| panic!("no number: {told}"));
        let host = dir.start();
        // What comes and goes at a start has gone.
        wait_until(told, || count_threads(&host) == number);
        let while_it_runs = check_threads(&dir);
        assert_eq!(before["status"], while_it_runs["status"], "{while_it_runs}");
        assert_eq!(host.terminate(), Some(0));
    }
}
