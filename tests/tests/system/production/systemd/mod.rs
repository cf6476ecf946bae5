//! The package on a machine with a real systemd: installed by the commands of docs/installation.md, confined, its timers' snapshots and checks, with TLS, with
//! other keys for its secrets (docs/disasters.md), reloaded, restarted and upgraded on an open socket, kept from replacing what runs, gone back to, started again at boot, removed.
//!
//! `TEST_SYSTEMD_BASE=DIR` switches it on: a root file system with systemd, dbus, sudo and openssl, which `.ci/run` makes (CONTRIBUTING.md says how). It
//! needs root and a minute or two.

mod machine;

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use ark_tests::artefacts::checkout_path;
use ark_tests::{Client, ark_program, newer_program, wait_until};
use serde_json::{Value, json};

use super::install::package::build_dist;
use super::process_manager::activation::send_while;
use crate::api::tls::{CertificateAuthority, write_key};
use crate::docs::pages::read_tested_blocks;
use crate::docs::shell::find_missing_line;
use machine::Machine;

const PAGE: &str = "docs/installation.md";
/// The blocks of the guides that are run here: page and number, from 0.
const INSTALL: (&str, usize) = (PAGE, 0);
const PLACE_BESIDE: (&str, usize) = (PAGE, 1);
const HOLD: (&str, usize) = (PAGE, 2);
const ADD_TLS: (&str, usize) = (PAGE, 3);
const CHECK_DAILY: (&str, usize) = (PAGE, 4);
const TAKE_SNAPSHOT: (&str, usize) = ("docs/production.md", 0);
const PUT_KEY_BACK: (&str, usize) = ("docs/disasters.md", 0);
const EXCHANGE_KEY: (&str, usize) = ("docs/disasters.md", 1);
const BEGIN_WITH_NEW_KEY: (&str, usize) = ("docs/disasters.md", 2);
/// How many blocks the pages have for this test, so that none is left out.
const BLOCKS: [(&str, usize); 3] = [
    (PAGE, 5),
    ("docs/production.md", 1),
    ("docs/disasters.md", 3),
];
const API: &str = "127.0.0.1:8000";
const TELEMETRY: &str = "127.0.0.1:9090";
/// An upgrade or a rollback as the guide gives it, with the tests that need no waiting.
const EXCHANGE: &str = "--json --unit ark --data-dir /var/lib/ark --snapshots /var/backups/ark --category ethics --category beyond --timeout 240";

/// Runs a block of a guide beside the packages, and returns what it prints.
fn run_guide(machine: &Machine, (page, number): (&str, usize)) -> String {
    let blocks = read_tested_blocks(page, "production/systemd/mod.rs");
    assert!(
        BLOCKS.contains(&(page, blocks.len())),
        "{page}: {} blocks",
        blocks.len()
    );
    let block = &blocks[number];
    let printed = machine.run(&format!("exec 2>&1\ncd /root/dist\n{}", block.commands));
    let missing = find_missing_line(&block.output, &printed);
    assert_eq!(missing, None, "{printed}");
    printed
}

/// The host of the machine, and who may administer it.
struct InstalledHost {
    machine: Machine,
    token: String,
}

impl InstalledHost {
    /// Installs the package by the guide's own commands.
    fn install(machine: Machine) -> Self {
        let printed = run_guide(&machine, INSTALL);
        // The only line without a blank, a colon or a quotation mark.
        let is_token = |line: &&str| {
            line.len() > 30 && line.bytes().all(|it| it > b' ' && !b":\"".contains(&it))
        };
        let token = printed.lines().find(is_token).expect("a token");
        Self {
            token: token.to_owned(),
            machine,
        }
    }

    fn client(&self) -> Client {
        Client::at(API).bearing(&self.token)
    }

    /// A property of the service.
    fn property(&self, name: &str) -> String {
        let script = format!("systemctl show --value --property={name} ark");
        self.machine.run(&script).trim().to_owned()
    }

    fn is_active(&self, unit: &str) -> bool {
        let output = self.machine.try_run(&format!("systemctl is-active {unit}"));
        output.status.success()
    }

    /// Runs an exchange and returns its report.
    fn exchange(&self, command: &str) -> Value {
        let script = format!("ark {command} {EXCHANGE}");
        let mut run = self.machine.command("sh");
        // The new version's check reads what the host reads: it has secrets.
        run.args(["-euc", &script])
            .env("ARK_TOKEN", &self.token)
            .env("ARK_SECRET_KEY_FILE", "/etc/ark/secret.key");
        let output = run.output().expect("a shell");
        let errors = String::from_utf8_lossy(&output.stderr);
        let report = serde_json::from_slice(&output.stdout);
        report.unwrap_or_else(|error| {
            panic!("{script}: {error}: {errors}{}", self.machine.read_log())
        })
    }

    /// Sends requests, each on a connection of its own which must be taken, until `work` is done. Returns its result and the decisions.
    fn send_while<T>(&self, work: impl FnOnce(&dyn Fn()) -> T) -> (T, BTreeSet<String>) {
        send_while(&|| self.machine.enter_network(), &|| self.client(), work)
    }

    fn read_decisions(&self) -> BTreeSet<String> {
        self.machine
            .call_inside(|| self.client().read_decisions(""))
    }

    fn assert_serves(&self, version: &str) {
        let printed = self.machine.run("ark health --ready && ark version --json");
        let said: Vec<&str> = printed.splitn(2, '\n').collect();
        assert!(said[0].ends_with("/readyz: ok"), "{printed}");
        let printed: Value = serde_json::from_str(said[1]).expect("JSON");
        assert_eq!(printed["version"], version, "{printed}");
    }
}

/// The kernel keeps from the process what the unit says, and it has its key.
fn assert_confined(host: &InstalledHost) {
    let pid = host.property("MainPID");
    let status = host.machine.run(&format!("cat /proc/{pid}/status"));
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name));
        line.unwrap_or_else(|| panic!("{name}: {status}")).trim()
    };
    let user = host.machine.run("id -u ark");
    for (name, value) in [
        ("Uid:", format!("{0}\t{0}\t{0}\t{0}", user.trim())),
        ("NoNewPrivs:", "1".to_owned()),
        // A filter of system calls.
        ("Seccomp:", "2".to_owned()),
        ("CapEff:", "0000000000000000".to_owned()),
        ("CapBnd:", "0000000000000000".to_owned()),
    ] {
        assert_eq!(field(name), value, "{name}");
    }
    // What it sees: its data may be written and nothing else may, other users' files are not there.
    let inside = |script: &str| {
        let enter = "nsenter --mount --root --wd --target";
        let user = "setpriv --reuid=ark --regid=ark --init-groups";
        host.machine
            .try_run(&format!("{enter} {pid} -- {user} sh -euc '{script}'"))
    };
    for (script, is_possible) in [
        ("touch /var/lib/ark/x && rm /var/lib/ark/x", true),
        ("touch /usr/x", false),
        ("touch /etc/ark/x", false),
        ("ls /root/dist", false),
        ("test -e /dev/kmsg", false),
    ] {
        let output = inside(script);
        assert_eq!(output.status.success(), is_possible, "{script}: {output:?}");
    }
    // The key is what the administrator wrote, for this service alone.
    let same = "cmp /etc/ark/secret.key /run/credentials/ark.service/secret.key";
    let same = inside(same);
    assert!(same.status.success(), "{same:?}");
    let log = host.machine.read_log();
    assert!(!log.contains("\"level\":\"ERROR\""), "{log}");
}

/// The package that is installed is installed again beside the host, which goes on.
fn install_again(host: &InstalledHost) {
    let process = host.property("MainPID");
    host.machine.run("dpkg -i /root/dist/ark_*.deb");
    assert_eq!(host.property("MainPID"), process);
    run_guide(&host.machine, HOLD);
}

/// The package of another version than the one that runs changes nothing and says what to do. (dpkg clears the mark of `apt-mark hold` all the same.)
fn assert_package_refused(host: &InstalledHost) {
    let look = "sha256sum /usr/bin/ark /usr/share/ark/graveyard.wasm; dpkg-query --show ark; dpkg-query --show --showformat='${db:Status-Status}' ark";
    let (before, process) = (host.machine.run(look), host.property("MainPID"));
    assert!(before.ends_with("installed"), "{before}");
    let refused = host.machine.try_run("dpkg -i /root/dist/ark_*.deb");
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success(), "{said}");
    for part in [
        "the host that runs (ark.socket ark.service)",
        "`ark upgrade`",
        "systemctl stop ark.socket ark.service",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
    assert_eq!(host.machine.run(look), before);
    assert_eq!(host.property("MainPID"), process);
}

/// The timer's unit makes a snapshot beside the host, and takes away those of its own that are old.
fn take_snapshots(host: &InstalledHost) {
    host.machine.run(
        "cd /var/backups/ark; mkdir hourly-old mine; chown ark:ark hourly-old mine; touch -d '3 days ago' hourly-old mine first",
    );
    run_guide(&host.machine, TAKE_SNAPSHOT);
    assert!(host.is_active("ark-snapshot.timer"));
    let names = host.machine.run("ls /var/backups/ark");
    let names: BTreeSet<&str> = names.lines().collect();
    let made = names.iter().filter(|name| name.starts_with("hourly-2"));
    assert!(
        made.count() >= 1 && !names.contains("hourly-old"),
        "{names:?}"
    );
    for kept in ["first", "mine"] {
        assert!(names.contains(kept), "{kept}: {names:?}");
    }
}

/// The lines of a check: status and name. Without those about the process of the check itself, and about a disk that is measured.
fn list_statuses(printed: &str) -> BTreeSet<(String, String)> {
    let lines = printed.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        Some((words.next()?, words.next()?))
    });
    lines
        .filter(|(status, name)| {
            ["ok", "warning", "ERROR", "SKIPPED"].contains(status)
                && !["disk-sync", "env-file", "open-files"].contains(name)
        })
        .map(|(status, name)| (status.to_owned(), name.to_owned()))
        .collect()
}

/// The unit of the daily check finds what the guide's own command finds, and its result is the unit's.
fn check_daily(host: &InstalledHost) {
    run_guide(&host.machine, CHECK_DAILY);
    assert!(host.is_active("ark-check.timer"));
    let by_hand = host.machine.run(
        "sudo -u ark env ARK_SECRET_KEY_FILE=/etc/ark/secret.key ark check --env-file /etc/ark/env || true",
    );
    let started = host.machine.try_run("systemctl start ark-check.service");
    let log = host
        .machine
        .run("journalctl --sync; journalctl --unit ark-check --no-pager --output cat");
    let found = list_statuses(&log);
    assert!(found.len() >= 15, "{log}");
    assert_eq!(found, list_statuses(&by_hand), "{log}\n{by_hand}");
    let is_good = found.iter().all(|(status, _)| status == "ok");
    assert_eq!(started.status.success(), is_good, "{log}");
    host.machine.run("systemctl reset-failed ark-check.service");
}

/// A certificate by the guide's own commands: check, host and `ark health` read the same files, root's check too, which an upgrade makes.
fn add_tls(host: &InstalledHost) {
    let authority = CertificateAuthority::new();
    let (chain, key) = authority.certify();
    let beside = |name: &str| host.machine.path("/root/dist").join(name);
    fs::write(beside("certificate.pem"), chain).expect("a file");
    write_key(&beside("key.pem"), &key);
    authority.write(&beside("authority.pem"));
    run_guide(&host.machine, ADD_TLS);
    host.machine.run(
        "ARK_SECRET_KEY_FILE=/etc/ark/secret.key ark check --env-file /etc/ark/env --data-dir /var/lib/ark",
    );
    let mut list = host.machine.command("ark");
    list.args(["token", "list", "--url", "https://127.0.0.1:8000", "--ca"])
        .arg("/root/dist/authority.pem")
        .env("ARK_TOKEN", &host.token);
    let listed = list.output().expect("ark starts");
    assert!(listed.status.success(), "{listed:?}");
    // What follows asks without TLS.
    host.machine
        .run("sed -i /^ARK_TLS_/d /etc/ark/env; systemctl restart ark; systemctl reset-failed ark");
}

/// The secret key is lost and put back, exchanged for another one, and lost for good, by the guide's own commands: each time the host starts.
fn lose_keys(host: &InstalledHost) {
    let count_secrets = || -> Value {
        let check = "sudo -u ark env ARK_SECRET_KEY_FILE=/etc/ark/secret.key ark state check --data-dir /var/lib/ark";
        let report: Value = serde_json::from_str(&host.machine.run(check)).expect("JSON");
        json!([
            report["secrets"],
            report["secrets_given_up"],
            report["fault"]
        ])
    };
    let write_secret = || {
        let mut write = host.machine.command("sh");
        write
            .args([
                "-euc",
                "echo '\"s3cr3t\"' | ark state set kyle secret/feed -",
            ])
            .env("ARK_TOKEN", &host.token);
        let written = write.output().expect("a shell");
        assert!(written.status.success(), "{written:?}");
    };
    let assert_starts = || {
        host.machine
            .run("ark health --ready --env-file /etc/ark/env; systemctl reset-failed ark");
    };
    write_secret();
    host.machine
        .run("cp /etc/ark/secret.key /root/dist/kept-elsewhere.key; rm /etc/ark/secret.key");
    run_guide(&host.machine, PUT_KEY_BACK);
    assert_starts();
    assert_eq!(count_secrets(), json!([1, 0, null]));

    run_guide(&host.machine, EXCHANGE_KEY);
    assert_starts();
    assert_eq!(count_secrets(), json!([1, 0, null]));
    let same = "cmp /etc/ark/former.key /root/dist/kept-elsewhere.key";
    host.machine.run(same);

    host.machine.run("rm /etc/ark/secret.key");
    run_guide(&host.machine, BEGIN_WITH_NEW_KEY);
    assert_starts();
    assert_eq!(count_secrets(), json!([0, 1, null]));
    write_secret();
    assert_eq!(count_secrets(), json!([1, 1, null]));
}

/// `systemctl reload` has the host read its configuration again.
fn reload(host: &InstalledHost) {
    let file = host.machine.path("/etc/ark/ark.toml");
    fs::write(&file, "").expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("a mode");
    host.machine
        .run("echo ARK_CONFIG=/etc/ark/ark.toml >>/etc/ark/env; systemctl restart ark");
    let process = host.property("MainPID");
    fs::write(&file, "[limits]\ndeadline_ms = 777\n").expect("a file");
    host.machine.run("systemctl reload ark");
    wait_until("the host has read its configuration again", || {
        let log = host.machine.read_log();
        log.lines().any(|line| {
            line.contains("limits.deadline_ms") && line.contains("its new value is in force")
        })
    });
    assert_eq!(host.property("MainPID"), process);
}

/// The ports that systemd holds for a host that was not started yet are good, for root and for the user of the host.
fn assert_ports_of_socket(host: &InstalledHost) {
    assert!(host.is_active("ark.socket") && !host.is_active("ark"));
    for user in ["root", "ark"] {
        // Other lines, e.g. of the monitoring that this machine has not, decide on the exit status.
        let check = format!(
            "sudo -u {user} env ARK_SECRET_KEY_FILE=/etc/ark/secret.key ark check --json --env-file /etc/ark/env || true"
        );
        let report: Value = serde_json::from_str(&host.machine.run(&check)).expect("JSON");
        let lines = report["lines"].as_array().expect("lines");
        let ports: Vec<&Value> = lines.iter().filter(|one| one["check"] == "ports").collect();
        let [ports] = &ports[..] else {
            panic!("{user}: {report:#}");
        };
        assert_eq!(ports["status"], "ok", "{user}: {ports}");
        let found = ports["found"].as_str().expect("text");
        for address in [API, TELEMETRY] {
            let part = format!("{address} is held by systemd (ark.socket) for ark.service");
            assert!(found.contains(&part), "{user}: {ports}");
        }
    }
    assert!(!host.is_active("ark"), "a check connects to nothing");
}

/// The ports become systemd's, by the guide's own commands; then a restart refuses nothing.
fn open_socket(host: &InstalledHost) {
    assert!(!host.is_active("ark.socket"));
    let guide = fs::read_to_string(checkout_path(PAGE)).expect("the guide");
    for command in [
        "systemctl stop ark",
        "systemctl enable --now ark.socket",
        "systemctl start ark",
    ] {
        assert!(guide.contains(&format!("`{command}`")), "{command}");
        if command == "systemctl start ark" {
            assert_ports_of_socket(host);
        }
        host.machine.run(command);
    }
    // Each start of this test counts for `StartLimitBurst=`, and a unit that exceeds it closes the socket.
    host.machine.run("systemctl reset-failed ark");
    let ((), decided) = host.send_while(|wait_more| {
        for _ in 0..3 {
            host.machine.run("systemctl restart ark");
            wait_more();
        }
    });
    let recorded = host.read_decisions();
    assert!(decided.is_subset(&recorded), "none is lost");
    // A connection starts the host that was stopped, also one to the telemetry.
    host.machine.run("systemctl stop ark");
    assert!(!host.is_active("ark"));
    let (status, _) = host
        .machine
        .call_inside(|| Client::at(TELEMETRY).get("/slos"));
    assert_eq!(status, 200);
    assert!(host.is_active("ark"));
}

/// Places a version in the machine. `first` is what it does before it is itself.
fn place_version(machine: &Machine, name: &str, first: &str) -> String {
    // Not below /root or /home, which the unit hides.
    let program = machine.path("/opt/ark-next");
    if !program.exists() {
        fs::copy(newer_program(), &program).expect("a copy");
    }
    let path = format!("/opt/{name}");
    let text = format!("#!/bin/sh\n{first}\nexec /opt/ark-next \"$@\"\n");
    fs::write(machine.path(&path), text).expect("a file");
    let mode = fs::Permissions::from_mode(0o755);
    fs::set_permissions(machine.path(&path), mode).expect("a mode");
    path
}

/// A new version takes the place of the old one beside clients none of which is refused.
fn upgrade(host: &InstalledHost, stable: &str, newer: &str) {
    let new = place_version(&host.machine, "good", "");
    let (report, decided) = host.send_while(|_| host.exchange(&format!("upgrade {new}")));
    assert_eq!(report["upgraded"], true, "{report:#}");
    println!(
        "{} requests beside an upgrade of the unit; {} ms without a host",
        decided.len(),
        report["pause_ms"]
    );
    // The record in the data directory is validated too.
    let cases = report["validation"]["cases"].as_array().expect("cases");
    for name in ["audit-log", "state-history", "replay"] {
        let case = cases.iter().find(|case| case["name"] == name);
        assert_eq!(case.expect("a test")["status"], "passed", "{report:#}");
    }
    assert!(decided.is_subset(&host.read_decisions()), "none is lost");
    host.assert_serves(newer);
    assert_package_refused(host);
    host.assert_serves(newer);

    // One that does not serve is given up by systemd, and the version of before comes back.
    let failing = "case $1 in serve) exit 7;; esac";
    let failing = place_version(&host.machine, "failing", failing);
    let report = host.exchange(&format!("upgrade {failing}"));
    assert_eq!(report["upgraded"], false, "{report:#}");
    assert_eq!(report["rollback"]["passed"], true, "{report:#}");
    assert_eq!(report["unrecorded"], json!([]), "{report:#}");
    host.assert_serves(newer);
    assert!(host.is_active("ark.socket") && host.is_active("ark"));

    // A version is unpacked beside the others and put in the program's place by hand, too.
    let packages = host.machine.path("/root/dist");
    let tarball = fs::read_dir(&packages)
        .expect("packages")
        .find_map(|entry| {
            let path = entry.expect("an entry").path();
            path.to_str()
                .filter(|path| path.ends_with(".tar.gz"))
                .map(PathBuf::from)
        });
    let unpacked = packages.join("ark-2.0.0-x86_64-linux.tar.gz");
    fs::rename(tarball.expect("a tarball"), unpacked).expect("a name");
    host.machine.run("systemctl stop ark.socket ark");
    // Nothing runs, so the package may replace what is there.
    host.machine.run("dpkg -i /root/dist/ark_*.deb");
    run_guide(&host.machine, PLACE_BESIDE);
    host.assert_serves(stable);
    host.machine
        .run("systemctl stop ark && systemctl start ark.socket ark");
    let new = place_version(&host.machine, "good", "");
    assert_eq!(host.exchange(&format!("upgrade {new}"))["upgraded"], true);

    let (report, decided) =
        host.send_while(|_| host.exchange("rollback --stable-binary /opt/ark-2.0.0/ark"));
    assert_eq!(report["passed"], true, "{report:#}");
    assert!(decided.is_subset(&host.read_decisions()), "none is lost");
    host.assert_serves(stable);
}

/// A version that migrates the database: the socket is closed while the old one could be started on it, and open afterwards.
fn upgrade_with_migration(host: &InstalledHost, newer: &str) {
    let before = host.read_decisions();
    let later = place_version(&host.machine, "later", "export TEST_ARK_LATER_SCHEMA=1");
    let report = host.exchange(&format!("upgrade {later}"));
    assert_eq!(report["upgraded"], true, "{report:#}");
    host.assert_serves(newer);
    assert!(host.is_active("ark.socket") && host.is_active("ark"));
    assert!(before.is_subset(&host.read_decisions()), "none is lost");
}

#[test]
fn the_package_serves_is_upgraded_and_goes_back_on_a_machine_with_systemd() {
    let Some(base) = std::env::var_os("TEST_SYSTEMD_BASE").map(PathBuf::from) else {
        println!("TEST_SYSTEMD_BASE is not set, so no systemd is started");
        return;
    };
    let dir = tempfile::tempdir().expect("a directory");
    let root = dir.path().join("root");
    let copied = Command::new("cp").arg("-a").arg(&base).arg(&root).status();
    assert!(copied.expect("cp").success());
    build_dist(&root.join("root/dist"));

    let host = InstalledHost::install(Machine::boot(&root));
    let version = |program: &Path| {
        let output = Command::new(program).args(["version", "--json"]).output();
        let output = output.expect("it starts").stdout;
        let version: Value = serde_json::from_slice(&output).expect("JSON");
        version["version"].as_str().expect("a version").to_owned()
    };
    let (stable, newer) = (version(&ark_program()), version(&newer_program()));
    assert_confined(&host);
    install_again(&host);
    take_snapshots(&host);
    check_daily(&host);
    add_tls(&host);
    lose_keys(&host);
    reload(&host);
    open_socket(&host);
    upgrade(&host, &stable, &newer);

    // The machine goes down without a word and comes up again.
    let before = host.read_decisions();
    let InstalledHost { machine, token } = host;
    drop(machine);
    let machine = Machine::boot(&root);
    let host = InstalledHost { machine, token };
    wait_until("the host is up again", || host.machine.has_listener(API));
    assert_eq!(host.read_decisions(), before, "none is lost");
    host.machine
        .run("sudo -u ark ark audit verify --data-dir /var/lib/ark");

    upgrade_with_migration(&host, &newer);
    host.machine
        .run("apt-mark unhold ark && apt-get remove --yes ark");
    assert!(!host.is_active("ark-snapshot.timer") && !host.is_active("ark-check.timer"));
    assert!(!host.is_active("ark") && !host.is_active("ark.socket"));
    assert!(!host.machine.has_listener(API));
    assert!(!host.machine.path("/usr/bin/ark").exists());
    for kept in [
        "/var/lib/ark/ark.db",
        "/var/backups/ark/first",
        "/etc/ark/env",
    ] {
        assert!(host.machine.path(kept).exists(), "{kept}");
    }
}
