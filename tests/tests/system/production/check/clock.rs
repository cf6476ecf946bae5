//! The clock of a machine on which nobody says whether it is synchronised, e.g. in a container: it is compared with that of a Prometheus on another machine.
//! A library in the process of the check leads an address of another machine to this one.

use std::fs;
use std::process::Command;

use ark_tests::faults::{build_fault_library, find_faketime};
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::{TestDir, ark_program};
use serde_json::Value;

use super::site::write_with_mode;

/// An address of another machine (RFC 5737).
const ELSEWHERE: &str = "192.0.2.1";
/// What `timedatectl` does in a container.
const SILENT: &str = "echo 'System has not been booted with systemd' >&2; exit 1";

/// The lines about the clock of a check whose clock is so many seconds ahead. `timedatectl`: what that program does, in a shell's words.
fn check_clock(dir: &TestDir, prometheus: &str, timedatectl: &str, ahead: i64) -> Vec<Value> {
    let programs = dir.path().join("programs");
    fs::create_dir_all(&programs).expect("a directory");
    let script = format!("#!/bin/sh\n{timedatectl}\n");
    write_with_mode(&programs.join("timedatectl"), script, 0o755);
    let path = std::env::var("PATH").expect("a path");
    let mut libraries = build_fault_library(dir.path()).display().to_string();
    let mut command = Command::new(ark_program());
    if ahead != 0 {
        libraries = format!("{libraries}:{}", find_faketime().display());
        command
            .env("FAKETIME", format!("{ahead:+}"))
            .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
            .env("DONT_FAKE_MONOTONIC", "1");
    }
    for proxy in ["ALL_PROXY", "HTTP_PROXY", "HTTPS_PROXY"] {
        command.env_remove(proxy).env_remove(proxy.to_lowercase());
    }
    let output = command
        .args(["check", "--json", "--config"])
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .args(["--prometheus", prometheus])
        .env("PATH", format!("{}:{path}", programs.display()))
        .env("LD_PRELOAD", libraries)
        .env("CONNECT_HERE", ELSEWHERE)
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let lines = report["lines"].as_array().expect("lines").iter();
    let of_clock = lines.filter(|line| line["check"] == "clock");
    of_clock.cloned().collect()
}

/// The address of Prometheus, what `timedatectl` does, how far the clock is ahead, and the status of the line and parts of it.
type ClockCase<'a> = (&'a str, &'a str, i64, &'a str, &'a [&'a str]);

#[test]
fn the_clock_is_compared_with_that_of_another_machine() {
    let dir = TestDir::new("");
    let prometheus = Prometheus::start(PrometheusParts::default());
    let here = prometheus.url.as_str();
    let elsewhere = here.replace("127.0.0.1", ELSEWHERE);
    let elsewhere = elsewhere.as_str();
    assert_ne!(here, elsewhere);
    let cases: [ClockCase<'_>; 6] = [
        (
            elsewhere,
            SILENT,
            0,
            "ok",
            &[
                "agrees with Prometheus at 192.0.2.1:",
                "not been booted with systemd",
            ],
        ),
        (
            here,
            SILENT,
            0,
            "warning",
            &[
                "cannot be known",
                "is on this machine, so its clock proves nothing",
            ],
        ),
        (
            elsewhere,
            SILENT,
            60,
            "warning",
            &[
                "this machine has 20",
                "Z, and Prometheus at 192.0.2.1:",
                " s apart",
            ],
        ),
        (
            elsewhere,
            "echo yes",
            -60,
            "warning",
            &[
                "this machine has 20",
                "Z, and Prometheus at 192.0.2.1:",
                " s apart",
            ],
        ),
        (
            elsewhere,
            "echo yes",
            0,
            "ok",
            &["synchronised, and agrees with Prometheus at 192.0.2.1:"],
        ),
        (
            elsewhere,
            "echo no",
            0,
            "warning",
            &["the clock is not synchronised"],
        ),
    ];
    for (url, timedatectl, ahead, status, parts) in cases {
        let lines = check_clock(&dir, url, timedatectl, ahead);
        let [line] = &lines[..] else {
            panic!("{url}, {timedatectl}, {ahead}: {lines:#?}");
        };
        assert_eq!(line["status"], status, "{line}");
        let found = line["found"].as_str().expect("text");
        for part in parts {
            assert!(found.contains(part), "{part}: {line}");
        }
        assert_eq!(line["remedy"].is_string(), status == "warning", "{line}");
    }
}
