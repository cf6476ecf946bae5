//! What stands in the file of a service's environment: `ark check --env-file` refuses what `ark serve` refuses, and finds variables of commands that lead
//! elsewhere or name what commands cannot use.

use std::os::unix::net::UnixListener;
use std::process::Command;

use ark_tests::haproxy::Haproxy;
use ark_tests::ports::free_port;
use ark_tests::{Host, TestDir, ark_program, make_token, run_ark, wait_until};
use serde_json::Value;

use super::site::{set_mode, text, write_with_mode};
use crate::api::tls::CertificateAuthority;

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
        .env_remove("ARK_TOKEN_FILE")
        .env_remove("ARK_CA")
        .env_remove("ARK_HAPROXY")
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

/// Lines of the environment (`@`: the directory), the gravest status, and what a line says.
type CommandCase = (&'static str, &'static str, &'static str);

const COMMAND_CASES: [CommandCase; 12] = [
    (
        "ARK_TOKEN_FILE=@/ada\nARK_CA=@/ca.pem\nARK_HAPROXY=@/admin.sock\n",
        "ok",
        "3 variables",
    ),
    (
        "ARK_TOKEN_FILE=@/strange\n",
        "warning",
        "(ARK_TOKEN_FILE) is none of this host's: this host refuses commands",
    ),
    ("ARK_TOKEN_FILE=@/eve\n", "warning", "is revoked (eve)"),
    ("ARK_TOKEN_FILE=@/open\n", "error", "others can read it"),
    ("ARK_TOKEN_FILE=@/nowhere\n", "error", "No such file"),
    ("ARK_TOKEN_FILE=@\n", "error", "is no file"),
    // It is one of another host.
    (
        "ARK_URL=http://192.0.2.1:8000\nARK_TOKEN_FILE=@/strange\n",
        "warning",
        "leads to 192.0.2.1:8000",
    ),
    (
        "\nARK_CA=@/strange\n",
        "error",
        "/env, line 2: ARK_CA @/strange holds no certificate",
    ),
    (
        "ARK_HAPROXY=@/nowhere.sock\n",
        "warning",
        "ARK_HAPROXY: HAProxy at unix:@/nowhere.sock: No such file",
    ),
    (
        "ARK_HAPROXY=@/silent.sock\n",
        "warning",
        "gave no whole answer",
    ),
    (
        "ARK_HAPROXY=@/user.sock\n",
        "warning",
        "does not permit `set server`",
    ),
    (
        "ARK_HAPROXY=haproxy\n",
        "warning",
        "is neither the path of a socket nor HOST:PORT",
    ),
];

#[test]
fn what_the_variables_of_commands_name_is_tried() {
    let dir = TestDir::new("");
    let at = |name: &str| dir.path().join(name);
    let ada = make_token(&dir.data(), "ada", "admin", &[]);
    let eve = make_token(&dir.data(), "eve", "reader", &[]);
    for (name, content, mode) in [
        ("ada", ada.as_str(), 0o400),
        ("eve", eve.as_str(), 0o400),
        ("open", ada.as_str(), 0o644),
        ("strange", "x", 0o400),
    ] {
        write_with_mode(&at(name), content, mode);
    }
    CertificateAuthority::new().write(&at("ca.pem"));
    set_mode(&at("ca.pem"), 0o644);
    let _silent = UnixListener::bind(at("silent.sock")).expect("a socket");
    let haproxy = Haproxy::start(&[], "inter 1s", "1s");
    wait_until("the socket of HAProxy answers", || {
        !haproxy.ask("show info").is_empty()
    });
    for (socket, name) in [
        (&haproxy.socket, "admin.sock"),
        (&haproxy.user_socket, "user.sock"),
    ] {
        std::os::unix::fs::symlink(socket, at(name)).expect("a link");
    }
    let host = Host::start(&dir.data(), &[]);
    let port = host
        .address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok());
    let port: u16 = port.expect("a port");
    let url = format!("http://127.0.0.1:{port}");
    let token_file = text(&at("ada"));
    let revoke = [
        "token",
        "revoke",
        "eve",
        "--url",
        &url,
        "--token-file",
        &token_file,
    ];
    let revoked = run_ark(&revoke);
    assert!(revoked.status.success(), "{revoked:?}");
    let place = text(dir.path());
    for (environment, expected, told) in COMMAND_CASES {
        write_with_mode(&at("env"), environment.replace('@', &place), 0o600);
        let (status, report) = check_environment(&dir, port);
        assert_eq!(status, expected, "{environment}: {report:#}");
        let told = told.replace('@', &place);
        let mut lines = report["lines"].as_array().expect("lines").iter();
        let is_told = |line: &Value| {
            let found = line["found"].as_str().expect("text");
            line["check"] == "env-file" && found.contains(&told)
        };
        assert!(lines.any(is_told), "{told}: {report:#}");
        if environment.starts_with("ARK_URL") {
            let said = report.to_string();
            assert!(!said.contains("none of this host's"), "{report:#}");
        }
    }
}
