//! The open files of a host: those of the one that runs are judged, and a start raises its limit before its parts open any.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ark_tests::{TestDir, ark_program};

use super::check_line;

#[test]
fn the_open_files_of_a_host_that_runs_are_its_own() {
    let dir = TestDir::new("[capacity]\nconnections = 64\n");
    let host = dir.start();
    let pid = host.pid().to_string();
    for (limit, status, told) in [
        (320, "ok", "room for 64 connections"),
        (
            300,
            "error",
            "300 files may be open, and 64 connections are wanted: the host takes 44 connections",
        ),
    ] {
        let limited = Command::new("prlimit")
            .args(["--pid", &pid, &format!("--nofile={limit}:{limit}")])
            .status()
            .expect("prlimit");
        assert!(limited.success(), "{limited}");
        let line = check_line(&dir, "open-files");
        assert_eq!(line["status"], status, "{line}");
        assert!(
            line["found"].as_str().expect("text").contains(told),
            "{line}"
        );
    }
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn a_start_raises_its_limit_of_open_files_before_its_parts_open_any() {
    let dir = TestDir::new("[capacity]\nconnections = 64\n");
    let mut child = Command::new("sh")
        .args(["-c", "ulimit -S -n 20; exec \"$0\" \"$@\""])
        .arg(ark_program())
        .args(["serve", "--listen", "127.0.0.1:0"])
        .args(["--telemetry-listen", "off", "--config"])
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell");
    let output = child.stdout.take().expect("its output");
    let mut lines = BufReader::new(output).lines().map_while(Result::ok);
    let listens = lines.any(|line| line.starts_with("ark: listening on "));
    let _ = child.kill();
    let ended = child.wait().expect("its end");
    assert!(listens, "{ended}");
}
