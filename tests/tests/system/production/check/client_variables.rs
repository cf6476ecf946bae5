//! What stands in the file of a service's environment: `ark check --env-file` refuses what `ark serve` refuses, and warns of a variable of commands that
//! leads elsewhere.

use std::process::Command;

use ark_tests::ports::free_port;
use ark_tests::{Host, TestDir, ark_program, run_ark};
use serde_json::Value;

use super::site::{text, write_with_mode};

/// The gravest status of what a check says of configuration and environment.
fn check_environment(dir: &TestDir, port: u16) -> (String, Value) {
    let output = Command::new(ark_program())
        .args(["check", "--json", "--env-file"])
        .arg(dir.path().join("env"))
        .arg("--data-dir")
        .arg(dir.data())
        .args(["--listen", &format!("127.0.0.1:{port}")])
        .args(["--telemetry-listen", "off"])
        .env_remove("ARK_URL")
        .env_remove("ARK_TOKEN")
        .current_dir(dir.path())
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let lines = report["lines"].as_array().expect("lines").iter();
    let of_environment = lines.filter(|line| {
        ["configuration", "env-file"].contains(&line["check"].as_str().expect("a name"))
    });
    let statuses: Vec<&str> = of_environment
        .map(|line| line["status"].as_str().expect("a status"))
        .collect();
    let gravest = ["error", "warning", "ok"]
        .into_iter()
        .find(|status| statuses.contains(status));
    (gravest.unwrap_or_default().to_owned(), report)
}

#[test]
fn a_check_refuses_what_a_start_refuses_and_warns_of_commands_for_another_host() {
    let port = free_port();
    let own = format!("ARK_URL=http://localhost:{port}\n");
    for (environment, starts, expected) in [
        (own.as_str(), true, "ok"),
        ("ARK_URL=\n", true, "ok"),
        ("ARK_URL=http://192.0.2.1:8000\n", true, "warning"),
        ("ARK_URL=localhost\n", true, "warning"),
        (
            "ARK_TOKEN=abc\nARK_PROMETHEUS=http://127.0.0.1:9\n",
            true,
            "ok",
        ),
        ("ARK_LOG_FORMAT=xml\n", false, "error"),
        ("ARK_TOKN=abc\n", false, "error"),
        ("ARK_CAPACITY_WORKERS=many\n", false, "error"),
    ] {
        let dir = TestDir::new("");
        let env = dir.path().join("env");
        write_with_mode(&env, environment, 0o600);
        let (status, report) = check_environment(&dir, port);
        assert_eq!(status, expected, "{environment}: {report:#}");
        let file = text(&env);
        if starts {
            let host = Host::try_start_with(&dir.data(), &["--env-file", &file], &[]);
            let host = host.unwrap_or_else(|error| panic!("{environment}: {error:?}"));
            assert_eq!(host.terminate(), Some(0));
        } else {
            let data = text(&dir.data());
            let listen = ["--listen", "127.0.0.1:0", "--telemetry-listen", "off"];
            let serve = ["serve", "--env-file", &file, "--data-dir", &data];
            let arguments = [&serve[..], &listen[..]];
            let refused = run_ark(&arguments.concat());
            assert!(!refused.status.success(), "{environment}: {refused:?}");
        }
    }
}
