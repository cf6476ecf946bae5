//! `ark check`: a good host has no finding, and each planted fault is found by its own line and no other.

mod client_variables;
mod clock;
mod deliveries;
mod faults;
mod open_files;
mod refusals;
mod restarts;
mod site;
mod threads;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;
use std::sync::Mutex;

use ark_tests::alertmanager::Alertmanager;
use ark_tests::ports::free_port;
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::{Host, TestDir, ark_program, make_token, run_ark};
use serde_json::Value;

use faults::{FAULTS, FAULTS_OF_ROOT, PlantedFault};
use site::{CheckFixture, text, write_with_mode};

/// What depends on the machine that runs the tests: a finding of these on the good host is not the host's.
const OF_THE_MACHINE: [&str; 5] = ["disk-sync", "disk-space", "open-files", "threads", "memory"];

/// The lines of a check of a directory's host.
fn check_lines(dir: &TestDir) -> Vec<Value> {
    let output = Command::new(ark_program())
        .args(["check", "--json", "--config"])
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    report["lines"].as_array().expect("lines").clone()
}

/// The line of this name of such a check.
fn check_line(dir: &TestDir, name: &str) -> Value {
    let lines = check_lines(dir);
    let line = lines.iter().find(|line| line["check"] == name);
    line.unwrap_or_else(|| panic!("no line {name}: {lines:#?}"))
        .clone()
}

/// Whether a line means that the host is not fit to serve.
fn is_failure(line: &Value) -> bool {
    line["status"] == "error" || line["status"] == "skipped"
}

/// Whether a check ended with the exit status that its lines ask for, whoever caused these, and counts them.
fn is_exit_of(code: Option<i32>, report: &Value) -> bool {
    let lines = report["lines"].as_array().expect("lines");
    let count = |status: &str| lines.iter().filter(|line| line["status"] == status).count();
    let fails = lines.iter().any(is_failure);
    let is_counted = ["error", "warning", "skipped"]
        .into_iter()
        .zip(["errors", "warnings", "skipped"])
        .all(|(status, counted)| report[counted] == count(status));
    is_counted && code == Some(i32::from(fails))
}

/// Plants a fault on a good host and checks that host. Returns what is wrong with what was found.
fn try_fault(
    stage: &CheckFixture,
    (what, line, is_error, plant): &PlantedFault,
    of_the_machine: &BTreeSet<String>,
) -> Option<String> {
    let mut site = stage.build();
    plant(stage, &mut site);
    let (found, report, code) = site.check();
    stage.end_site(site.telemetry_port);
    let found: BTreeSet<&str> = found
        .iter()
        .filter(|name| name == line || !of_the_machine.contains(*name))
        .map(String::as_str)
        .collect();
    let lines = report["lines"].as_array().expect("lines").iter();
    let bad: Vec<&Value> = lines.filter(|one| one["status"] != "ok").collect();
    let of_line = bad.iter().filter(|one| one["check"] == *line);
    let told: Vec<_> = of_line
        .filter(|one| (site.is_told)(one["found"].as_str().expect("text")))
        .collect();
    let is_right = found == BTreeSet::from([*line])
        && told.iter().any(|one| is_failure(one)) == *is_error
        && !told.is_empty()
        && is_exit_of(code, &report);
    (!is_right).then(|| format!("{what}: not only {line}, code {code:?}: {bad:#?}"))
}

/// A host with streams, as the user of the Redis that the documentation describes, and one with a whole chain of certificates, have no finding.
fn assert_streams_are_good(stage: &CheckFixture, allowed: &BTreeSet<String>) {
    let mut site = stage.build();
    site.redis_port = stage.closed.port;
    site.use_streams("ark");
    stage.certify_chain(&site, |_| {});
    let (found, report, _) = site.check();
    stage.end_site(site.telemetry_port);
    assert!(found.is_subset(allowed), "a host with streams: {report:#}");
}

/// That the snapshots are where the data directory is, is said where all else is good: nothing tells the check of copies elsewhere.
fn assert_shared_disk_is_told(report: &Value) {
    let mut lines = report["lines"].as_array().expect("lines").iter();
    let line = lines.find(|line| line["check"] == "snapshot");
    let line = line.expect("a line about the snapshot");
    assert_eq!(line["status"], "ok", "{line}");
    let found = line["found"].as_str().expect("text");
    assert!(
        found.contains("on the file system of the data directory, so a lost disk takes both"),
        "{line}"
    );
}

#[test]
fn each_planted_fault_is_found_by_its_own_line() {
    let stage = CheckFixture::prepare();
    let good = stage.build();
    // As a check leaves it that is killed while it restores.
    let left = good.at("snapshots/.ark-check-restore");
    fs::create_dir_all(left.join("data")).expect("a directory");
    fs::write(left.join("data/ark.db"), "x").expect("a file");
    let (of_the_machine, report, code) = good.check();
    assert!(!left.exists(), "what was restored is removed: {report:#}");
    let allowed: BTreeSet<String> = OF_THE_MACHINE.map(str::to_owned).into();
    assert!(
        of_the_machine.is_subset(&allowed),
        "a good host: {report:#}"
    );
    assert!(is_exit_of(code, &report), "{code:?}: {report:#}");
    assert_shared_disk_is_told(&report);
    assert_streams_are_good(&stage, &allowed);
    // Every line has a fault that it finds. Those that only root can plant are in the other table.
    let names = |lines: &Value| -> BTreeSet<String> {
        let lines = lines.as_array().expect("lines").iter();
        let names = lines.map(|line| line["check"].as_str().expect("a name").to_owned());
        names.collect()
    };
    let planted = FAULTS.iter().chain(FAULTS_OF_ROOT);
    let planted: BTreeSet<String> = planted.map(|fault| fault.1.to_owned()).collect();
    let untested: Vec<_> = names(&report["lines"])
        .difference(&planted)
        .cloned()
        .collect();
    assert_eq!(untested, [""; 0], "no fault is planted for these lines");
    println!(
        "{} faults are planted for {} lines",
        FAULTS.len(),
        planted.len()
    );
    let of_root = if rustix::process::geteuid().is_root() {
        FAULTS_OF_ROOT
    } else {
        println!("skipped: what only root can plant");
        &[]
    };
    let faults = Mutex::new(FAULTS.iter().chain(of_root));
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let next = faults.lock().expect("no panic").next();
                    let Some(fault) = next else {
                        break;
                    };
                    if let Some(problem) = try_fault(&stage, fault, &of_the_machine) {
                        wrong.lock().expect("no panic").push(problem);
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The clock is good if this machine says that it is synchronised, whatever that is. The audit log and a Prometheus beside the host have the same clock.
fn assert_clock_of_this_machine(clock: &Value) {
    let asked = Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .output();
    let is_synchronised = asked.is_ok_and(|asked| asked.stdout == b"yes\n");
    let expected = if is_synchronised { "ok" } else { "warning" };
    assert_eq!(clock["status"], expected, "{clock}");
    let found = clock["found"].as_str().expect("text");
    assert!(found.contains("synchronised"), "{clock}");
}

/// Somebody else listens where the configuration of a host that runs would.
fn assert_foreign_port(check_ports: &dyn Fn(&str) -> Value) {
    let foreign = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let taken = foreign.local_addr().expect("an address").to_string();
    let ports = check_ports(&taken);
    assert_eq!(ports["status"], "error", "{ports}");
    let found = ports["found"].as_str().expect("text");
    assert!(found.contains("another process than the host"), "{ports}");
}

fn assert_only_env_file_is_judged(report: &Value) {
    let lines = report["lines"].as_array().expect("lines");
    // One line for all that was skipped.
    assert_eq!(lines.len(), 2, "{report:#}");
    assert_eq!(lines[1]["remedy"], "see the line `env-file`", "{report:#}");
    for one in lines {
        let is_env_file = one["check"] == "env-file";
        let expected = if is_env_file { "error" } else { "skipped" };
        assert_eq!(one["status"], expected, "{one}");
    }
}

#[test]
fn a_host_that_runs_is_checked_and_read_by_the_file_of_its_environment() {
    let dir = TestDir::new("");
    let env = dir.path().join("env");
    let (api, telemetry) = (free_port(), free_port());
    let data = dir.data();
    write_with_mode(
        &env,
        format!(
            "ARK_LISTEN=127.0.0.1:{api}\nARK_CAPACITY_CONNECTIONS=64\nARK_TELEMETRY_LISTEN=\"127.0.0.1:{telemetry}\"\n"
        ),
        0o600,
    );
    let _ = make_token(&data, "ada", "admin", &[]);
    let env_file = text(&env);
    let config = text(&dir.config());
    // The environment comes before the file, flags before both.
    let telemetry_flag = format!("127.0.0.1:{telemetry}");
    let host = Host::try_start_with(
        &data,
        &[
            "--config",
            &config,
            "--env-file",
            &env_file,
            "--telemetry-listen",
            &telemetry_flag,
        ],
        &[],
    )
    .expect("a host");
    let port: u16 = host
        .address
        .rsplit(':')
        .next()
        .and_then(|port| port.parse().ok())
        .expect("a port");
    let alertmanager = Alertmanager::start();
    let prometheus = Prometheus::start(PrometheusParts {
        target: Some(&telemetry_flag),
        rules: true,
        alertmanager: Some(&alertmanager.address),
        runbook_base: Some("https://book.ark.test"),
        ..PrometheusParts::default()
    });
    let listen = format!("127.0.0.1:{port}");
    let check = |more: &[&str]| {
        let output = Command::new(ark_program())
            .args([
                "check",
                "--json",
                "--config",
                &config,
                "--env-file",
                &env_file,
                "--data-dir",
            ])
            .arg(&data)
            .args(more)
            .args(["--prometheus", &prometheus.url])
            .output()
            .expect("ark starts");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        report
    };
    let line = |report: &Value, name: &str| {
        let findings = report["lines"].as_array().expect("lines").clone();
        let mut found = findings.into_iter().filter(|one| one["check"] == name);
        found
            .next()
            .unwrap_or_else(|| panic!("no line {name}: {report:#}"))
    };
    let report = check(&["--listen", &listen]);
    for name in [
        "configuration",
        "ports",
        "database",
        "audit-log",
        "monitoring",
        "guests",
    ] {
        assert_eq!(line(&report, name)["status"], "ok", "{report:#}");
    }
    assert!(
        line(&report, "ports")["found"]
            .as_str()
            .expect("text")
            .contains(&host.pid().to_string()),
        "{report:#}"
    );
    assert_clock_of_this_machine(&line(&report, "clock"));
    // Without the flag the file of the environment names the port, and no host listens there.
    assert_eq!(line(&check(&[]), "ports")["status"], "warning");
    assert_foreign_port(&|listen| line(&check(&["--listen", listen]), "ports"));
    // Nothing is judged by defaults where the file of the environment is refused.
    write_with_mode(&env, "ARK_CONFIG=/nowhere\nARK_SNAPSHOT=/x\n", 0o600);
    assert_only_env_file_is_judged(&check(&[]));
    // What `ark serve` refuses, it refuses by the line.
    write_with_mode(&env, "\nARK_CAPACITY_CONNECTIONS=many\n", 0o600);
    let refused = run_ark(&["serve", "--env-file", &env_file]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("line 2"),
        "{told}"
    );
}

/// The line `monitoring` of a check of a host that listens for Prometheus at `listen`.
fn check_monitoring(dir: &TestDir, listen: &str, prometheus: &Prometheus) -> Value {
    let output = Command::new(ark_program())
        .args(["check", "--json", "--config"])
        .arg(dir.config())
        .arg("--data-dir")
        .arg(dir.data())
        .args(["--telemetry-listen", listen])
        .args(["--prometheus", &prometheus.url])
        .output()
        .expect("ark starts");
    let report: Value = serde_json::from_slice(&output.stdout)
        .unwrap_or_else(|error| panic!("{error}: {output:?}"));
    let mut lines = report["lines"].as_array().expect("lines").iter();
    let line = lines.find(|one| one["check"] == "monitoring");
    line.unwrap_or_else(|| panic!("no line: {report:#}"))
        .clone()
}

#[test]
fn what_prometheus_scrapes_is_compared_with_the_host_that_runs() {
    let alertmanager = Alertmanager::start();
    let watch = |target: &str| {
        Prometheus::start(PrometheusParts {
            target: Some(target),
            rules: true,
            alertmanager: Some(&alertmanager.address),
            runbook_base: Some("https://book.ark.test"),
            ..PrometheusParts::default()
        })
    };
    let (dir, other_dir) = (TestDir::new(""), TestDir::new(""));
    let other = other_dir.start();
    let other = other.telemetry.as_deref().expect("telemetry is on");
    let port = free_port();
    let own = watch(&format!("localhost:{port}"));
    let [of_another, of_no_host, of_nothing] =
        [other, own.url.trim_start_matches("http://"), "127.0.0.1:9"].map(watch);
    // Each is a start of its own, with another process: one that was just begun is waited for.
    for listen in [
        format!("127.0.0.1:{port}"),
        format!("0.0.0.0:{port}"),
        format!("[::]:{port}"),
    ] {
        let host = Host::try_start_with(&dir.data(), &["--telemetry-listen", &listen], &[])
            .expect("a host");
        let good = check_monitoring(&dir, &listen, &own);
        assert_eq!(good["status"], "ok", "{listen}: {good}");
        for (prometheus, parts) in [
            (
                &of_another,
                [
                    "scrapes another host than this one",
                    "is another host (process ",
                    other,
                ],
            ),
            (
                &of_no_host,
                [
                    "scrapes another host than this one",
                    "is no host of ARK",
                    &own.url,
                ],
            ),
            (
                &of_nothing,
                [
                    "does not reach the host that runs here",
                    "job ark is down",
                    "127.0.0.1:9",
                ],
            ),
        ] {
            let line = check_monitoring(&dir, &listen, prometheus);
            assert_eq!(line["status"], "error", "{listen}: {line}");
            let found = line["found"].as_str().expect("text");
            for part in parts {
                assert!(found.contains(part), "{listen}: {part}: {line}");
            }
            let remedy = line["remedy"].as_str().expect("text");
            assert!(
                remedy.contains("scrape_configs") && remedy.contains(&listen),
                "{line}"
            );
        }
        assert_eq!(host.terminate(), Some(0));
        // It is stopped: its address decides.
        let stopped = check_monitoring(&dir, &listen, &own);
        assert_eq!(stopped["status"], "ok", "{listen}: {stopped}");
        let line = check_monitoring(&dir, &listen, &of_another);
        assert_eq!(line["status"], "error", "{listen}: {line}");
    }
}
