//! The way of a request in `deploy/compose.yaml`, without containers: the `HAProxy` of `deploy/compose/haproxy.cfg` before two fronts with the arguments of
//! the file, before a real host with TLS and tokens. Only addresses and paths are those of the test.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use ark_tests::artefacts::checkout_path;
use ark_tests::ports::free_port;
use ark_tests::{Host, TestDir, make_token, trade, wait_until};
use serde_json::Value;

use crate::api::tls::{CertificateAuthority, write_key};
use crate::production::front::{settled_verdicts, token_file, wait_ready, write};

/// Where containers find their secrets.
pub(super) const SECRETS: &str = "/run/secrets/";

/// A program that is killed when the test ends.
pub(super) struct NeighbourProcess(pub(super) Child);

impl Drop for NeighbourProcess {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The arguments of a service in `deploy/compose.yaml`.
pub(super) fn read_command(service: &str) -> Vec<String> {
    let text = fs::read_to_string(checkout_path("deploy/compose.yaml")).expect("the file");
    let (_, found) = text
        .split_once(&format!("\n  {service}:\n"))
        .expect("the service");
    let (_, command) = found.split_once("    command:\n").expect("a command");
    let lines = command
        .lines()
        .map_while(|line| line.strip_prefix("      - "));
    lines.map(str::to_owned).collect()
}

/// The arguments of a front in `deploy/compose.yaml`, without those that name addresses; secrets are files of `dir`.
pub(super) fn read_front_arguments(dir: &Path) -> Vec<String> {
    let file = checkout_path("deploy/compose.yaml");
    let text = fs::read_to_string(file).expect("the file of Compose");
    let (_, front) = text.split_once("x-front: &front\n").expect("fronts");
    let (_, command) = front.split_once("  command:\n").expect("a command");
    let (command, _) = command.split_once("  secrets:").expect("secrets");
    let arguments: Vec<&str> = command
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- "))
        .collect();
    assert_eq!(arguments[0], "front");
    let is_address = |argument: &str| {
        ["--owner=", "--listen=", "--telemetry-listen="]
            .iter()
            .any(|start| argument.starts_with(start))
    };
    let (addresses, others): (Vec<&str>, Vec<&str>) = arguments[1..]
        .iter()
        .partition(|argument| is_address(argument));
    assert_eq!(addresses.len(), 3, "{addresses:?}");
    let secrets = format!("{}/", dir.display());
    others
        .iter()
        .map(|argument| argument.replace(SECRETS, &secrets))
        .collect()
}

/// Starts the `HAProxy` of Compose before the fronts at these addresses. Returns it with its own.
pub(super) fn start_haproxy(dir: &Path, stable: &str, canary: &str) -> (NeighbourProcess, String) {
    let port = free_port();
    let file = checkout_path("deploy/compose/haproxy.cfg");
    let mut text = fs::read_to_string(file).expect("the configuration");
    let socket = dir.join("admin.sock");
    for (from, to) in [
        (SECRETS, format!("{}/", dir.display())),
        // The container has its own limit of open files, the test that of its machine.
        ("maxconn 8000", "maxconn 500".to_owned()),
        ("bind :8000 ", format!("bind 127.0.0.1:{port} ")),
        ("/run/haproxy/admin.sock", socket.display().to_string()),
        (
            "server stable front:8000",
            format!("server stable {stable}"),
        ),
        (
            "server canary front-canary:8000",
            format!("server canary {canary}"),
        ),
    ] {
        assert!(text.contains(from), "haproxy.cfg has no {from}");
        text = text.replace(from, &to);
    }
    let config = dir.join("haproxy.cfg");
    fs::write(&config, text).expect("a file");
    let checked = Command::new("haproxy")
        .args(["-c", "-f"])
        .arg(&config)
        .output()
        .expect("haproxy; install it with `apt-get install haproxy`");
    let said = String::from_utf8_lossy(&checked.stderr);
    assert!(
        checked.status.success() && !said.contains("[WARNING]"),
        "{said}"
    );
    let child = Command::new("haproxy")
        .arg("-f")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("haproxy starts");
    (NeighbourProcess(child), format!("https://localhost:{port}"))
}

/// The command that makes a proposal as a caller does.
pub(super) fn propose(url: &str, dir: &Path, token: &str, symbol: &str) -> Command {
    let mut command = Command::new("curl");
    command
        .args(["-s", "--max-time", "60", "--cacert"])
        .arg(dir.join("host_ca"))
        .arg(format!("{url}/v1/actions"))
        .args(["-H", "content-type: application/json"])
        .args(["-H", &format!("authorization: Bearer {token}")])
        .args(["-d", &trade(symbol, 0.01).to_string()])
        .stdout(Stdio::piped());
    command
}

/// The outcome that an answer says; empty while there is none.
pub(super) fn outcome(answer: &[u8]) -> String {
    let value: Value = serde_json::from_slice(answer).unwrap_or_default();
    value["outcome"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn requests_reach_the_host_by_haproxy_and_a_front_and_outlive_its_restart() {
    let dir = TestDir::new("");
    let at = |name: &str| dir.path().join(name);
    let authority = CertificateAuthority::new();
    authority.write(&at("host_ca"));
    let (chain, secret) = authority.certify();
    fs::write(at("tls_bundle"), format!("{chain}{secret}")).expect("a file");
    fs::write(at("host.crt"), chain).expect("a file");
    write_key(&at("host.key"), &secret);
    dir.configure(&format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        at("host.crt").display(),
        at("host.key").display()
    ));
    let admin = make_token(&dir.data(), "root", "admin", &[]);
    let reader = make_token(&dir.data(), "front", "reader", &[]);
    token_file(&dir, "front_token", &reader);
    let config = dir.config().display().to_string();
    let listen = format!("127.0.0.1:{}", free_port());
    let start_owner = || {
        let args = ["--config", &config, "--listen", &listen];
        Host::start_halted(&dir.data(), &args)
    };
    let owner = start_owner();

    let arguments = read_front_arguments(dir.path());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let owner_url = format!("https://{}", listen.replace("127.0.0.1", "localhost"));
    let front_config = write(&dir, "front.toml", "");
    let [stable, canary] =
        [(); 2].map(|()| Host::start_front(&owner_url, &front_config, &arguments));
    wait_ready(&stable);
    wait_ready(&canary);
    let (mut haproxy, url) = start_haproxy(dir.path(), &stable.address, &canary.address);
    let ask = |symbol: &str| {
        let answer = propose(&url, dir.path(), &admin, symbol).output();
        answer.expect("curl starts").stdout
    };
    wait_until("HAProxy passes requests on", || {
        let ended = haproxy.0.try_wait().expect("its status");
        assert_eq!(ended, None, "HAProxy ended");
        outcome(&ask("UP-USD")) == "approved"
    });

    // All requests go to the stable front, which judges them again with its reader's token.
    assert_eq!(outcome(&ask("BTC-USD")), "approved");
    let verdicts = settled_verdicts(&stable, 2);
    assert_eq!(verdicts["same"], 2, "{verdicts:#}");
    let verdicts = settled_verdicts(&canary, 0);
    assert_eq!(verdicts["same"], 0, "{verdicts:#}");

    // The runtime socket moves them, as `ark canary` does.
    let command = "set server ark/canary weight 100; set server ark/stable weight 0\n";
    let mut socket = std::os::unix::net::UnixStream::connect(at("admin.sock")).expect("the socket");
    std::io::Write::write_all(&mut socket, command.as_bytes()).expect("a command");
    let answer = std::io::read_to_string(socket).expect("an answer");
    assert_eq!(answer.trim(), "", "{answer}");
    assert_eq!(outcome(&ask("ETH-USD")), "approved");
    assert_eq!(settled_verdicts(&canary, 1)["same"], 1);

    // A restart of the host costs a pause.
    assert_eq!(owner.terminate(), Some(0));
    let waiting = propose(&url, dir.path(), &admin, "SOL-USD")
        .spawn()
        .expect("curl starts");
    let _owner = start_owner();
    let answer = waiting.wait_with_output().expect("an answer");
    assert_eq!(outcome(&answer.stdout), "approved");
}
