//! With `--json` and without a terminal: progress is told on standard error while a command works, and standard output is one report.

use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ark_tests::{TestDir, ark_program};
use serde_json::Value;

/// Runs a command. Returns the lines of its standard error that came before its report, and the report.
fn run(dir: &TestDir, args: &[&str]) -> (Vec<String>, Value) {
    let mut child = Command::new(ark_program())
        .args(args)
        .arg("--json")
        .env("XDG_STATE_HOME", dir.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("ark starts");
    let stderr = child.stderr.take().expect("its errors");
    let reader = std::thread::spawn(move || {
        let lines = BufReader::new(stderr).lines();
        lines.map_while(Result::ok).collect::<Vec<String>>()
    });
    let output = child.wait_with_output().expect("its end");
    let told = reader.join().expect("no panic");
    let report = serde_json::from_slice(&output.stdout);
    let report: Value = report.unwrap_or_else(|error| panic!("{error}: {told:#?}"));
    if report["passed"] == false {
        assert_eq!(output.status.code(), Some(1), "{report:#}");
    }
    (told, report)
}

#[test]
fn a_check_lists_its_checks_and_tells_each_beside_the_report() {
    let dir = TestDir::new("");
    let data = dir.data().display().to_string();
    let config = dir.config().display().to_string();
    let words = ["check", "--config", &config, "--data-dir", &data];
    let (told, names) = run(&dir, &[&words[..], &["--dry-run"]].concat());
    assert_eq!(told, [""; 0], "nothing is checked");
    let names: Vec<&str> = names
        .as_array()
        .expect("names")
        .iter()
        .map(|name| name.as_str().expect("a name"))
        .collect();
    assert!(
        !dir.data().join("ark.db").exists() && names.len() > 20,
        "{names:?}"
    );
    let (told, report) = run(&dir, &words);
    let expected = names.iter().map(|name| format!("ark: checking: {name}"));
    assert_eq!(told, expected.collect::<Vec<_>>());
    // The lines of the report have these names, in this order; what is not configured has none.
    let found: Vec<&str> = report["lines"]
        .as_array()
        .expect("lines")
        .iter()
        .map(|line| line["check"].as_str().expect("a name"))
        .collect();
    let mut left = names.iter();
    let mut last = "";
    for check in &found {
        let is_next = *check == last || left.any(|name| name == check);
        assert!(is_next, "{check}: {report:#}");
        last = check;
    }
    assert_eq!(found.first(), Some(&"configuration"), "{report:#}");
    // For people the same names, one a line.
    let mut listed = Command::new(ark_program());
    let listed = listed.args(words).arg("--dry-run").output();
    let listed = String::from_utf8(listed.expect("ark starts").stdout).expect("UTF-8");
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
}

#[test]
fn what_fails_without_a_report_of_its_own_says_so_in_its_json() {
    let dir = TestDir::new("");
    // Nothing listens there.
    let url = "http://127.0.0.1:9";
    let none = dir.path().join("none").display().to_string();
    let token_file = ["validate", "--url", url, "--submitter-token-file", &none];
    let upgrade = [
        "upgrade",
        &none,
        "--url",
        url,
        "--data-dir",
        &none,
        "--snapshots",
        &none,
        "--stop-command",
        "true",
        "--start-command",
        "true",
        "--start-stable-command",
        "true",
    ];
    let rollback = [
        "rollback",
        "--url",
        url,
        "--stable-binary",
        &none,
        "--data-dir",
        &none,
        "--snapshots",
        &none,
        "--stop-command",
        "true",
        "--start-command",
        "true",
    ];
    let canary = [
        "canary",
        "start",
        "--url",
        url,
        "--name",
        "next",
        "--haproxy",
        &none,
        "--prometheus",
        url,
    ];
    let pause = ["canary", "pause", "--url", url];
    let synthetic = ["synthetic", "--url", url, "--duration", "50"];
    let dry = ["--dry-run"];
    // The command, and what its error names.
    let rows: Vec<(Vec<&str>, &str)> = vec![
        (vec!["health", "--url", url], "127.0.0.1:9"),
        (synthetic.to_vec(), "127.0.0.1:9"),
        ([&synthetic[..], &dry].concat(), "127.0.0.1:9"),
        (vec!["validate", "--url", url], "127.0.0.1:9"),
        (vec!["validate", "--url", url, "--dry-run"], "127.0.0.1:9"),
        (token_file.to_vec(), &none),
        ([&token_file[..], &dry].concat(), &none),
        (upgrade.to_vec(), &none),
        ([&upgrade[..], &dry].concat(), &none),
        (rollback.to_vec(), &none),
        ([&rollback[..], &dry].concat(), &none),
        (rollback[..3].to_vec(), "no rollback of"),
        ([&rollback[..3], &dry].concat(), "no rollback of"),
        (canary.to_vec(), "127.0.0.1:9"),
        ([&canary[..], &dry].concat(), &none),
        (pause.to_vec(), "no canary is under way"),
        ([&pause[..], &dry].concat(), "no canary is under way"),
    ];
    for (words, named) in rows {
        let (told, report) = run(&dir, &words);
        assert_eq!(report["passed"], false, "{words:?}: {report:#}");
        let error = report["error"].as_str().expect("an error");
        assert!(error.contains(named), "{words:?}: {error}");
        assert!(
            told.iter().any(|line| line.contains(named)),
            "{words:?}: {told:#?}"
        );
    }
}

#[test]
fn a_validation_and_a_synthetic_run_tell_each_step_beside_the_report() {
    let dir = TestDir::new("submitters = [\"api\", \"synthetic\"]\n");
    let host = dir.start();
    let url = format!("http://{}", host.address);
    let (told, report) = run(&dir, &["validate", "--url", &url, "--category", "ethics"]);
    let cases = report["cases"].as_array().expect("cases");
    assert_eq!(cases.len(), 4, "{report:#}");
    assert_eq!(told.len(), cases.len(), "{told:#?}");
    for (line, case) in told.iter().zip(cases) {
        let name = case["name"].as_str().expect("a name");
        assert!(line.starts_with("ark: ok") && line.contains(name), "{line}");
    }
    // A dry run of a validation names its tests, or what it would fail for, and makes no file.
    let junit = dir.path().join("junit.xml").display().to_string();
    let words = [
        "validate",
        "--url",
        &url,
        "--category",
        "ethics",
        "--dry-run",
    ];
    let (_, names) = run(&dir, &[&words[..], &["--junit", &junit]].concat());
    assert_eq!(names.as_array().map(Vec::len), Some(4), "{names:#}");
    assert!(!std::path::Path::new(&junit).exists());
    let none = dir.path().join("none").display().to_string();
    let below = dir.config().join("x.xml").display().to_string();
    for more in [
        ["--junit", &below],
        ["--data-dir", &none],
        ["--telemetry", "http://127.0.0.1:9"],
        ["--url", "http://127.0.0.1:9"],
    ] {
        let mut words: Vec<&str> = words.to_vec();
        if more[0] == "--url" {
            words[2] = more[1];
        } else {
            words.extend(more);
        }
        let (told, report) = run(&dir, &words);
        let problems = report["problems"].as_array().expect("problems");
        assert!(
            report["passed"] == false
                && told.concat().contains(more[1])
                && problems.len() == 1
                && problems[0]
                    .as_str()
                    .is_some_and(|one| one.contains(more[1])),
            "{more:?}: {told:#?} {report:#}"
        );
    }
    let words = ["--duration", "8", "--hz", "2", "--violation-every", "4"];
    let (told, report) = run(&dir, &[&["synthetic", "--url", &url][..], &words].concat());
    assert_eq!(report["passed"], true, "{report:#}");
    let ticks = report["ticks"].as_u64().expect("a number");
    let counts: Vec<u64> = told
        .iter()
        .filter_map(|line| line.strip_prefix("ark: ")?.split(' ').next()?.parse().ok())
        .collect();
    assert!(counts.len() >= 5, "{told:#?}");
    assert!(
        counts.windows(2).all(|pair| pair[0] < pair[1]),
        "{counts:?}"
    );
    assert_eq!(counts.last(), Some(&ticks), "{told:#?}");
}
