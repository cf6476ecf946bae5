//! What units and containers may take is enough for what the defaults of the host need, and no less than what else goes by it; the guide says the same
//! figures, and those of the pages that it cites.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};

use ark_tests::artefacts::read_checkout_file;
use ark_tests::{ark_program, run_ark, wait_until};
use serde_json::Value;

use super::compose::{NeighbourProcess, start_haproxy};
use super::installation::read_output;
use super::manifests::{read_documents, read_pod};
use super::validators::find_validator;
use crate::api::tls::CertificateAuthority;

const GUIDE: &str = "docs/production.md";
const MIB: u64 = 1024 * 1024;
/// What invocations that have ended still hold, in MiB: `COLLECTED_BYTES` of `host/runtime/src/decommit.rs`.
const ENDED: u64 = 128;
/// What the largest uploads take, and what one large component in Python does, in MiB: docs/limits.md and docs/benchmarks.md.
const UPLOADS: u64 = 2 * 86;
const LARGE_COMPONENT: u64 = 230;

/// The cells of the row of a table that begins with this one.
fn find_cells(text: &str, first: &str) -> Vec<String> {
    let start = format!("| {first} |");
    let row = text.lines().find(|line| line.starts_with(&start));
    let row = row.unwrap_or_else(|| panic!("there is no row {first}"));
    let cells = row.trim_matches('|').split('|');
    cells.map(|cell| cell.trim().to_owned()).collect()
}

/// The default of a number of the configuration.
fn read_default(key: &str) -> u64 {
    let docs = read_output(&run_ark(&["config", "docs"]));
    let cells = find_cells(&docs, &format!("`{key}`"));
    let number = cells[1].trim_matches('`').parse();
    number.unwrap_or_else(|error| panic!("{key}: {cells:?}: {error}"))
}

/// A size as systemd (`6G`), Compose (`6g`) or Kubernetes (`6Gi`) has it, in MiB.
fn parse_mib(size: &str) -> u64 {
    let end = size.find(|c: char| !c.is_ascii_digit());
    let (number, unit) = size.split_at(end.expect("a unit"));
    let number: u64 = number.parse().expect("a number");
    match unit.trim_end_matches('i').to_ascii_lowercase().as_str() {
        "m" => number,
        "g" => number * 1024,
        other => panic!("{size}: {other}"),
    }
}

/// A number as texts have it, e.g. 4,096.
fn group_digits(number: u64) -> String {
    match number {
        0..1000 => number.to_string(),
        _ => format!("{},{:03}", group_digits(number / 1000), number % 1000),
    }
}

/// A number in a text, e.g. 2,732.
fn parse_grouped(text: &str) -> u64 {
    let digits = text.replace(',', "");
    digits
        .parse()
        .unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The resident memory of an idle host in MiB, as measured.
fn read_idle_memory() -> u64 {
    let cells = find_cells(
        &read_checkout_file("docs/benchmarks.md"),
        "idle resident memory, example agents loaded",
    );
    let number = cells[1].strip_suffix(" MiB").expect("MiB");
    let (whole, tenths) = number.split_once('.').expect("tenths");
    let is_up = tenths.parse::<u64>().expect("tenths") >= 5;
    whole.parse::<u64>().expect("a number") + u64::from(is_up)
}

fn read_services() -> Value {
    read_documents("deploy/compose.yaml").remove(0)["services"].take()
}

fn find_unit_value(key: &str) -> String {
    let unit = read_checkout_file("deploy/systemd/ark.service");
    let start = format!("{key}=");
    let value = unit.lines().find_map(|line| line.strip_prefix(&start));
    value.unwrap_or_else(|| panic!("no {key}")).to_owned()
}

#[test]
fn the_memory_of_a_host_is_enough_for_the_worst_case_of_the_defaults() {
    let [workers, slow] = ["capacity.workers", "capacity.slow_workers"].map(read_default);
    let each = read_default("limits.memory_bytes") / MIB;
    let (invocations, idle) = ((workers + slow) * each, read_idle_memory());
    let needed = invocations + ENDED + UPLOADS + idle;

    let services = read_services();
    let compose = services["ark"]["mem_limit"].as_str().expect("a limit");
    let pod = read_pod("statefulset.yaml");
    let kubernetes = &pod["spec"]["containers"][0]["resources"]["limits"]["memory"];
    let limits = [
        find_unit_value("MemoryMax"),
        compose.to_owned(),
        kubernetes.as_str().expect("a limit").to_owned(),
    ];
    let [limit, ..] = limits.each_ref().map(|limit| parse_mib(limit));
    for one in &limits {
        assert_eq!(parse_mib(one), limit, "{limits:?}");
    }
    // Four large components besides.
    assert!(
        limit >= needed + 4 * LARGE_COMPONENT,
        "{limits:?}: invocations take {invocations} MiB, ended ones {ENDED}, uploads {UPLOADS}, an idle host {idle}"
    );
    // The check has the same worst case.
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let data = data.to_str().expect("UTF-8");
    let report = run_ark(&["check", "--json", "--data-dir", data]);
    let report: Value = serde_json::from_slice(&report.stdout).expect("JSON");
    let mut lines = report["lines"].as_array().expect("lines").iter();
    let line = lines.find(|line| line["check"] == "memory");
    let found = line.expect("a line")["found"].as_str().expect("text");
    let said = format!("up to {needed} MiB ({invocations} of invocations, ");
    assert!(found.contains(&said), "{found}");
    // What the constants say is what the pages say.
    let page = read_checkout_file("docs/limits.md");
    assert!(page.contains("makes a request of 86 MiB; two are taken at a time"));
    let guide = read_checkout_file(GUIDE);
    for said in [
        format!(
            "({workers} + {slow}) × {each} MiB = {} MiB",
            group_digits(invocations)
        ),
        format!(
            "{ENDED} MiB, {UPLOADS} MiB and the idle host: {} MiB",
            group_digits(needed)
        ),
        format!(
            "have {} GiB, which leaves {} MiB for components",
            limit / 1024,
            group_digits(limit - needed)
        ),
        format!("80 in JavaScript, 100 to {LARGE_COMPONENT} in Python"),
    ] {
        assert!(guide.contains(&said), "{GUIDE} does not say: {said}");
    }
}

#[test]
fn the_figures_of_the_guide_are_those_that_were_measured() {
    let rates = find_cells(
        &read_checkout_file("docs/benchmarks.md"),
        "durable decisions/s, approved",
    );
    let round = |text: &str, to: u64| group_digits((parse_grouped(text) + to / 2) / to * to);
    let guide = read_checkout_file(GUIDE);
    for said in [
        format!(
            "about {} durable decisions a second on one connection, {} on 64",
            round(&rates[1], 100),
            round(&rates[3], 1000)
        ),
        format!(
            "An idle host with the example agents takes {} MiB",
            read_idle_memory()
        ),
    ] {
        assert!(guide.contains(&said), "{GUIDE} does not say: {said}");
    }
}

/// How many threads a host has at most, as its check counts them.
fn count_threads() -> u64 {
    let dir = tempfile::tempdir().expect("a directory");
    let checked = Command::new(ark_program())
        .args(["check", "--json", "--data-dir", "data"])
        .current_dir(dir.path())
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&checked.stdout)
        .unwrap_or_else(|error| panic!("{error}: {}", read_output(&checked)));
    let mut lines = report["lines"].as_array().expect("lines").iter();
    let line = lines.find(|line| line["check"] == "threads");
    let found = line.expect("a line")["found"].as_str().expect("a text");
    let (_, most) = found
        .split_once("has up to ")
        .unwrap_or_else(|| panic!("{found}"));
    let end = most.find(|c: char| !c.is_ascii_digit());
    most[..end.unwrap_or(most.len())].parse().expect("a number")
}

#[test]
fn a_host_and_its_fronts_may_have_their_threads() {
    // A front has fewer than a host: no workers.
    let needed = count_threads();
    let services = read_services();
    for service in ["ark", "front", "front-canary"] {
        let limit = services[service]["pids_limit"].as_u64();
        let limit = limit.unwrap_or_else(|| panic!("{service} has no limit"));
        assert!(limit >= needed, "{service}: {limit} of {needed}");
    }
    let limit: u64 = find_unit_value("TasksMax").parse().expect("a number");
    assert!(limit >= needed, "the unit: {limit} of {needed}");
}

#[test]
fn a_front_may_hold_more_than_a_canary_lets_it() {
    let help = read_output(&run_ark(&["canary", "start", "--help"]));
    let (_, rest) = help.split_once("--max-memory <MIB>").expect("the option");
    let (_, default) = rest.split_once("[default: ").expect("its default");
    let (default, _) = default.split_once(']').expect("its end");
    let tripwire: u64 = default.parse().expect("a number");
    let services = read_services();
    for service in ["front", "front-canary"] {
        let limit = parse_mib(services[service]["mem_limit"].as_str().expect("a limit"));
        // It is seen at the next check (--interval), so there is room to grow until then.
        assert!(limit >= tripwire + tripwire / 4, "{service}: {limit} MiB");
    }
}

/// Opens connections whose requests are not sent whole, says so, and holds them until its input ends: with the test.
const UNFINISHED: &str = r#"
import socket, ssl, sys
context = ssl._create_unverified_context()
context.set_alpn_protocols(["http/1.1"])
head = b"POST /v1/actions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: 15000\r\n\r\n"
held = []
for _ in range(int(sys.argv[2])):
    connection = context.wrap_socket(socket.create_connection(("127.0.0.1", int(sys.argv[1]))))
    connection.sendall(head + b'{"a":"' + b"x" * 12000)
    held.append(connection)
print("sent", flush=True)
sys.stdin.read()
"#;
const CONNECTIONS: u64 = 200;
/// What has arrived of each of them, in bytes.
const ARRIVED: u64 = 12_000;
/// What the answer of a request takes besides, in bytes (`tune.bufsize`).
const ANSWER: u64 = 16 * 1024;

/// The resident memory of a process in bytes.
fn read_resident(process: u32) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("a process");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.expect("its memory").split_whitespace().next();
    words.expect("a number").parse::<u64>().expect("KiB") * 1024
}

#[test]
fn the_memory_of_haproxy_is_enough_for_all_its_connections() {
    let dir = tempfile::tempdir().expect("a directory");
    let authority = CertificateAuthority::new();
    let (chain, secret) = authority.certify();
    fs::write(dir.path().join("tls_bundle"), format!("{chain}{secret}")).expect("a file");
    let (haproxy, url) = start_haproxy(dir.path(), "127.0.0.1:9", "127.0.0.1:9");
    let port = url.rsplit(':').next().expect("a port").to_owned();
    wait_until("HAProxy listens", || {
        std::net::TcpStream::connect(format!("127.0.0.1:{port}")).is_ok()
    });
    let before = read_resident(haproxy.0.id());
    let client = find_validator("python")
        .args(["-c", UNFINISHED, &port, &CONNECTIONS.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python starts");
    let mut client = NeighbourProcess(client);
    let mut said = String::new();
    let printed = client.0.stdout.take().expect("its output");
    BufReader::new(printed)
        .read_line(&mut said)
        .expect("a line");
    assert_eq!(said, "sent\n");
    let grown = || read_resident(haproxy.0.id()).saturating_sub(before);
    wait_until("HAProxy holds what was sent", || {
        grown() >= CONNECTIONS * ARRIVED
    });
    let each = grown() / CONNECTIONS;

    let config = read_checkout_file("deploy/compose/haproxy.cfg");
    let most = config
        .lines()
        .find_map(|line| line.trim().strip_prefix("maxconn "));
    let most: u64 = most.expect("maxconn").parse().expect("a number");
    let services = read_services();
    let limit = parse_mib(services["haproxy"]["mem_limit"].as_str().expect("a limit")) * MIB;
    let needed = before + most * (each + ANSWER);
    assert!(
        needed <= limit,
        "{most} connections of {each} bytes and {ANSWER} for the answer need {needed} bytes of {limit}"
    );
    println!(
        "{each} bytes for a request that waits for its end; {needed} of {limit} bytes for all"
    );
}
