//! Hosts to check: each a directory of its own with everything that an operator would have, and neighbours that they share.

use std::collections::BTreeSet;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use ark_tests::alertmanager::Alertmanager;
use ark_tests::artefacts::{checkout_path, mark_component};
use ark_tests::faults::{build_fault_library, find_faketime};
use ark_tests::policies::{moody_component, moody_name, put};
use ark_tests::ports::free_port;
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::redis::Redis;
use ark_tests::wait::wait_until;
use ark_tests::{
    Client, Host, TestDir, ark_program, base64, copy_agent, guests_dir, make_token, policies_dir,
    run_ark, sha256, trade,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};
use serde_json::{Value, json};

/// A password of the Redis of these tests.
pub(super) const PASSWORD: &str = "correct-horse-battery-staple";
/// A password that somebody typed.
pub(super) const TYPED_PASSWORD: &str = "aaaaaaaaaaaaaaaaaaaaaaaa";
/// A key as `openssl rand -hex 32` makes one.
pub(super) const KEY: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";

/// What all cases share: neighbours, and a data directory that a host has used.
pub(super) struct CheckFixture {
    pub(super) dir: TestDir,
    pub(super) redis: Redis,
    pub(super) forgetful: Redis,
    /// It takes connections and answers nothing.
    pub(super) frozen: Redis,
    /// It has no memory for what it is given.
    pub(super) full: Redis,
    /// It lacks the replicas without which it takes nothing.
    pub(super) alone: Redis,
    pub(super) replica: Redis,
    /// It has the user `closed`, who may do nothing that the host needs, and the user `ark` with what the documentation says.
    pub(super) closed: Redis,
    pub(super) nearly_full: Redis,
    /// Its password was typed.
    pub(super) typed: Redis,
    /// Its password is the secret key.
    pub(super) keyed: Redis,
    pub(super) prometheus: Prometheus,
    pub(super) bare: Prometheus,
    /// One with everything but a base for the links of alerts that is the operator's own.
    pub(super) without_book: Prometheus,
    pub(super) with_example_book: Prometheus,
    /// Its rules are others than this release's.
    pub(super) altered: Prometheus,
    /// It scrapes another host that lives.
    pub(super) of_another: Prometheus,
    /// It scrapes what is no host.
    pub(super) of_no_host: Prometheus,
    /// It scrapes an address that is not the host's, where nothing is.
    pub(super) of_nothing: Prometheus,
    /// It scrapes a name that no machine has.
    pub(super) of_a_name: Prometheus,
    _another: (TestDir, Host),
    /// The ports of telemetry that Prometheus scrapes and no site has. A check listens on that of its site for a moment.
    telemetry_ports: Mutex<Vec<u16>>,
    pub(super) authority: CertifiedIssuer<'static, KeyPair>,
}

/// A host's files in a directory of their own, as an operator would have them.
pub(super) struct Site {
    pub(super) dir: tempfile::TempDir,
    pub(super) port: u16,
    /// The port of telemetry that the fixture lent.
    pub(super) telemetry_port: u16,
    /// What `telemetry_listen` says.
    pub(super) telemetry: String,
    pub(super) arguments: Vec<String>,
    pub(super) redis_port: u16,
    /// Lines at the top of `ark.toml`.
    pub(super) top: String,
    /// Lines at its end.
    pub(super) end: String,
    /// Lines of its table `[capacity]`.
    pub(super) capacity: &'static str,
    pub(super) listen: String,
    pub(super) environment: String,
    /// The limit of open files that the check is run with, if any.
    pub(super) open_files: Option<u32>,
    /// The limit of processes of its user that the check is run with, if any.
    pub(super) processes: Option<u32>,
    /// How far the clock is shifted that the check reads, in seconds; 0: it reads the real one.
    pub(super) clock_shift: i64,
    /// What `timedatectl` does in the check: a shell's commands. Machines that run tests may have none, or another answer.
    pub(super) timedatectl: &'static str,
    /// What the library of faults is told, if the check runs with it.
    pub(super) disk: &'static [(&'static str, &'static str)],
    /// Whether what was found must be the planted fault's doing: the text of the line.
    pub(super) is_told: fn(&str) -> bool,
    /// Directories elsewhere, for as long as the site.
    pub(super) elsewhere: Vec<tempfile::TempDir>,
    /// A port that somebody else has taken.
    pub(super) taken: Option<TcpListener>,
}

pub(super) fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

pub(super) fn write_with_mode(path: &Path, text: impl AsRef<[u8]>, mode: u32) {
    let _ = fs::remove_file(path);
    fs::write(path, text).expect("a file");
    set_mode(path, mode);
}

pub(super) fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

/// Where the runbook of these tests is.
const BOOK: &str = "https://book.ark.test/ark";
/// How many sites there are at most at a time.
const SITES: usize = 4;

/// A Prometheus with the rules of this release, of which somebody changed an expression and a duration. Blanks are not an expression.
fn start_altered_prometheus(targets: &[String]) -> Prometheus {
    let rules = tempfile::tempdir().expect("a directory");
    let shipped = checkout_path("deploy/prometheus/rules");
    for entry in fs::read_dir(shipped).expect("the rules").flatten() {
        let mut text = fs::read_to_string(entry.path()).expect("rules");
        if entry.file_name() == "alerts.yml" {
            for (from, to) in [
                (
                    "up{job=\"ark\"} == 0\n        for: 1m",
                    "up{job=\"ark\"}   ==   0\n        for: 7m",
                ),
                ("ark_halted == 1", "ark_halted == 2"),
                (
                    "ark_watchdog_beating == 0\n        for: 0s\n        labels:\n          severity: critical",
                    "ark_watchdog_beating == 0\n        for: 0s\n        labels:\n          team: a\n          severity: info",
                ),
                ("ark_ready == 0", "ark_ready  ==  0.0"),
            ] {
                let changed = text.replacen(from, to, 1);
                assert_ne!(changed, text, "{from}");
                text = changed;
            }
        }
        if entry.file_name() == "burn-rates.yml" {
            let changed = text.replacen("    rules:\n", "    interval: 1h\n    rules:\n", 1);
            assert_ne!(changed, text);
            text = changed;
        }
        fs::write(rules.path().join(entry.file_name()), text).expect("rules");
    }
    // One that fires at once, for an Alertmanager that is not there.
    let firing = "groups:\n  - name: firing\n    interval: 1s\n    rules:\n      - {alert: Firing, expr: vector(1)}\n";
    fs::write(rules.path().join("firing.yml"), firing).expect("rules");
    let prometheus = Prometheus::start(PrometheusParts {
        target: Some("127.0.0.1:9"),
        more_targets: targets,
        other_rules: Some(rules.path()),
        alertmanager: Some("127.0.0.1:9"),
        ..PrometheusParts::default()
    });
    // It has read them.
    drop(rules);
    wait_until("Prometheus could not send an alert", || {
        let metrics = prometheus.read_page("/metrics").unwrap_or_default();
        metrics.lines().any(|line| {
            let failures = line.strip_prefix("prometheus_notifications_errors_total{");
            failures.is_some_and(|failures| !failures.ends_with("} 0"))
        })
    });
    prometheus
}

/// A Redis that keeps its data, with more arguments.
fn start_keeping(more: &[&str]) -> Redis {
    let mut arguments = vec!["--appendonly", "yes", "--requirepass", PASSWORD];
    arguments.extend(more);
    Redis::start_with(free_port(), &arguments)
}

/// A Redis whose memory is used to 94 % or so.
fn start_nearly_full() -> Redis {
    let redis = start_keeping(&[
        "--maxmemory",
        "20mb",
        "--enable-debug-command",
        "yes",
        "--no-appendfsync-on-rewrite",
        "yes",
    ]);
    let fill = ["-a", PASSWORD, "DEBUG", "POPULATE", "3600", "key", "5000"];
    let filled = redis.run(&fill);
    assert_eq!(filled.trim(), "OK");
    redis
}

/// A Redis whose process is stopped where it is.
fn start_frozen() -> Redis {
    let redis = start_with_password(PASSWORD);
    redis.freeze(true);
    redis
}

fn start_with_password(password: &str) -> Redis {
    let arguments = ["--appendonly", "yes", "--requirepass", password];
    Redis::start_with(free_port(), &arguments)
}

/// A Redis with a user who may do too little, and one who may do what the documentation says.
fn start_with_users() -> Redis {
    let password = format!(">{PASSWORD}");
    let page = fs::read_to_string(checkout_path("docs/redis.md")).expect("the documentation");
    let documented = page.lines().find(|line| line.starts_with("+ping +info "));
    let documented = documented.expect("the commands").split_whitespace();
    let user = |name| ["--user", name, "on", &password, "~*", "&*"];
    let mut arguments = user("closed").to_vec();
    arguments.extend(["+ping", "+info", "+time", "+config|get"]);
    arguments.extend(user("ark"));
    arguments.extend(documented);
    start_keeping(&arguments)
}

impl CheckFixture {
    pub(super) fn prepare() -> Self {
        let mut params = dated_params(Vec::new());
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let alertmanager = Alertmanager::start();
        let telemetry_ports: Vec<u16> = (0..SITES).map(|_| free_port()).collect();
        let targets: Vec<String> = telemetry_ports
            .iter()
            .map(|port| format!("127.0.0.1:{port}"))
            .collect();
        let watched = PrometheusParts {
            target: Some("127.0.0.1:9"),
            more_targets: &targets,
            rules: true,
            alertmanager: Some(&alertmanager.address),
            ..PrometheusParts::default()
        };
        let another_dir = TestDir::new("");
        let another = another_dir.start();
        let start_with_target = |target: &str| {
            Prometheus::start(PrometheusParts {
                target: Some(target),
                more_targets: &[],
                runbook_base: Some(BOOK),
                ..watched
            })
        };
        let bare = Prometheus::start(PrometheusParts {
            alertmanager: Some(&alertmanager.address),
            ..PrometheusParts::default()
        });
        let stage = Self {
            dir: TestDir::new(""),
            of_another: start_with_target(another.telemetry.as_deref().expect("telemetry is on")),
            of_no_host: start_with_target(bare.url.trim_start_matches("http://")),
            of_nothing: start_with_target("127.0.0.1:9"),
            of_a_name: start_with_target("ark.invalid:9090"),
            _another: (another_dir, another),
            redis: Redis::start_with(
                free_port(),
                &["--appendonly", "yes", "--requirepass", PASSWORD],
            ),
            frozen: start_frozen(),
            forgetful: Redis::start_with(free_port(), &["--requirepass", PASSWORD]),
            full: start_keeping(&["--maxmemory", "1"]),
            alone: start_keeping(&["--min-replicas-to-write", "2"]),
            replica: start_keeping(&["--replicaof", "127.0.0.1", "9"]),
            closed: start_with_users(),
            nearly_full: start_nearly_full(),
            typed: start_with_password(TYPED_PASSWORD),
            keyed: start_with_password(KEY),
            prometheus: Prometheus::start(PrometheusParts {
                runbook_base: Some(BOOK),
                ..watched
            }),
            without_book: Prometheus::start(PrometheusParts {
                alert_relabeling: Some(
                    "[{source_labels: [severity], regex: critical, action: drop}]",
                ),
                ..watched
            }),
            with_example_book: Prometheus::start(PrometheusParts {
                runbook_base: Some("https://docs.example.com/ark"),
                ..watched
            }),
            altered: start_altered_prometheus(&targets),
            bare,
            telemetry_ports: Mutex::new(telemetry_ports),
            authority: CertifiedIssuer::self_signed(params, key).expect("an authority"),
        };
        copy_agent(&guests_dir(), "kyle", &stage.dir.agents());
        let host = stage.dir.start();
        let mut client = Client::new(&host);
        for round in 0..20 {
            let (status, _) = client.post("/v1/actions", &trade(&format!("S{round}-USD"), 0.01));
            assert_eq!(status, 200);
        }
        for value in 1..=3 {
            let (status, answer) =
                client.send("PUT", "/v1/state/kyle/seen", &json!({"value": value}));
            assert_eq!(status, 200, "{answer}");
        }
        upload_guests(&mut client);
        assert_eq!(host.terminate(), Some(0));
        let _ = make_token(&stage.dir.data(), "ada", "admin", &[]);
        let snapshot = text(&stage.dir.path().join("snapshot"));
        let data = text(&stage.dir.data());
        let made = run_ark(&["state", "snapshot", &snapshot, "--data-dir", &data]);
        assert!(made.status.success(), "{made:?}");
        stage
    }

    /// A good host of its own, which is stopped.
    pub(super) fn build(&self) -> Site {
        let dir = tempfile::tempdir().expect("a directory");
        let at = |name: &str| dir.path().join(name);
        for name in ["data", "snapshots", "policies"] {
            fs::create_dir(at(name)).expect("a directory");
            set_mode(&at(name), 0o700);
        }
        copy_files(&self.dir.data(), &at("data"));
        symlink(self.dir.data().join("cache"), at("data/cache")).expect("a link");
        fs::create_dir(at("snapshots/last")).expect("a directory");
        copy_files(&self.dir.path().join("snapshot"), &at("snapshots/last"));
        copy_agent(&guests_dir(), "kyle", &at("agents"));
        set_mode(&at("agents"), 0o755);
        fs::copy(
            policies_dir().join("market-hours.wasm"),
            at("policies/market-hours.wasm"),
        )
        .expect("a policy");
        fs::copy(
            checkout_path("policies/graveyard.wasm"),
            at("graveyard.wasm"),
        )
        .expect("the module");
        set_mode(&at("graveyard.wasm"), 0o444);
        write_with_mode(&at("secret.key"), KEY, 0o400);
        write_with_mode(&at("redis-password"), PASSWORD, 0o400);
        let telemetry_port = {
            let mut free = self.telemetry_ports.lock().expect("no panic");
            free.pop().expect("a port for each site")
        };
        let site = Site {
            port: free_port(),
            telemetry_port,
            telemetry: format!("127.0.0.1:{telemetry_port}"),
            arguments: vec![
                "--prometheus".to_owned(),
                self.prometheus.url.clone(),
                "--snapshots".to_owned(),
                text(&at("snapshots")),
            ],
            redis_port: self.redis.port,
            top: String::new(),
            end: String::new(),
            capacity: "",
            listen: "127.0.0.1".to_owned(),
            environment: format!("ARK_SECRET_KEY_FILE={}\n", text(&at("secret.key"))),
            open_files: None,
            processes: None,
            clock_shift: 0,
            timedatectl: "echo yes",
            disk: &[],
            is_told: |_| true,
            elsewhere: Vec::new(),
            taken: None,
            dir,
        };
        site.declare_policy(&sha256(
            &fs::read(site.at("policies/market-hours.wasm")).expect("a policy"),
        ));
        self.certify(&site, |_| {});
        site
    }

    /// Takes back what a site has of the fixture.
    pub(super) fn end_site(&self, telemetry_port: u16) {
        let mut free = self.telemetry_ports.lock().expect("no panic");
        free.push(telemetry_port);
    }

    /// Gives a site a certificate and its key.
    pub(super) fn certify(&self, site: &Site, change: impl FnOnce(&mut CertificateParams)) {
        certify_by(&self.authority, site, change);
    }

    /// Gives a site a chain: its certificate, and that of the one who issued it.
    pub(super) fn certify_chain(&self, site: &Site, change: impl FnOnce(&mut CertificateParams)) {
        let mut params = dated_params(Vec::new());
        params
            .distinguished_name
            .push(DnType::CommonName, "between");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let between = CertifiedIssuer::signed_by(params, key, &self.authority);
        let between = between.expect("a certificate");
        certify_by(&between, site, |_| {});
        let leaf = fs::read_to_string(site.at("cert.pem")).expect("a certificate");
        let chain = format!("{leaf}{}{}", between.pem(), self.authority.pem());
        write_with_mode(&site.at("cert.pem"), chain, 0o644);
    }
}

/// What is to be in a certificate that holds for long, for these names.
fn dated_params(names: Vec<String>) -> CertificateParams {
    let mut params = CertificateParams::new(names).expect("parameters");
    params.not_before = rcgen::date_time_ymd(2026, 1, 1);
    params.not_after = rcgen::date_time_ymd(2126, 1, 1);
    params
}

/// Gives a site a certificate of this issuer and its key.
pub(super) fn certify_by(
    issuer: &CertifiedIssuer<'_, KeyPair>,
    site: &Site,
    change: impl FnOnce(&mut CertificateParams),
) {
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let mut params = dated_params(names);
    change(&mut params);
    let key = KeyPair::generate().expect("a key");
    let certificate = params.signed_by(&key, issuer).expect("a certificate");
    write_with_mode(&site.at("cert.pem"), certificate.pem(), 0o644);
    write_with_mode(&site.at("key.pem"), key.serialize_pem(), 0o600);
}

/// Uploads what a start would load besides files: an agent with a version on trial, and an operator policy on trial with settings.
fn upload_guests(client: &mut Client) {
    let component = fs::read(guests_dir().join("joey.wasm")).expect("a component");
    for mark in [1, 2] {
        let bytes = mark_component(component.clone(), mark);
        let body = json!({
            "manifest": {"name": "joey", "version": "0.1.0", "component": "joey.wasm", "sha256": sha256(&bytes),
                "topics": ["joey.go"], "actions": ["message"], "quotas": {"keys": 1000}},
            "component": base64(&bytes), "rollout": mark == 1, "by": "ada", "reason": "a test",
        });
        let (status, answer) = client.send("PUT", "/v1/agents/joey", &body);
        assert_eq!(status, 200, "{answer}");
    }
    let trial = json!({"number": 2, "share": 0.5, "by": "ada", "reason": "a test"});
    let (status, answer) = client.post("/v1/agents/joey/canary", &trial);
    assert_eq!(status, 200, "{answer}");
    let shadow = json!({"mode": "shadow", "settings": {"mood": "pass"}, "by": "ada"});
    put(client, &moody_name(0), &moody_component(0, 1), &shadow);
}

/// Copies the files of a directory, without the directories in it.
fn copy_files(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).expect("a directory").flatten() {
        if entry.file_type().expect("a type").is_file() {
            fs::copy(entry.path(), to.join(entry.file_name())).expect("a copy");
        }
    }
}

impl Site {
    pub(super) fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(super) fn declare_policy(&self, digest: &str) {
        let manifest = format!(
            "name = \"market-hours\"\ncomponent = \"market-hours.wasm\"\nsha256 = \"{digest}\"\nmode = \"shadow\"\n"
        );
        fs::write(self.at("policies/market-hours.toml"), manifest).expect("a manifest");
    }

    /// Lets the host read a stream and send events, as this user of the Redis.
    pub(super) fn use_streams(&mut self, user: &str) {
        self.end = format!(
            "username = \"{user}\"\n[redis.events]\nstream = \"ark:events\"\n[[redis.signals]]\nstream = \"orders\"\ntopic = \"kyle.order\"\nfield = \"event\"\n"
        );
    }

    pub(super) fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.at("data/ark.db")).expect("the database")
    }

    pub(super) fn write_config(&self) {
        let at = |name: &str| text(&self.at(name));
        let config = format!(
            "{top}data_dir = \"{data}\"\nlisten = \"{listen}:{port}\"\ntelemetry_listen = \"{telemetry}\"\nagents_dir = \"{agents}\"\n\
             policies_dir = \"{policies}\"\ngraveyard = \"{graveyard}\"\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
             [capacity]\nconnections = 64\n{capacity}[redis]\nurl = \"redis://127.0.0.1:{redis}/0\"\npassword_file = \"{password}\"\n{end}",
            top = self.top,
            data = at("data"),
            listen = self.listen,
            port = self.port,
            telemetry = self.telemetry,
            agents = at("agents"),
            policies = at("policies"),
            graveyard = at("graveyard.wasm"),
            certificate = at("cert.pem"),
            key = at("key.pem"),
            redis = self.redis_port,
            password = at("redis-password"),
            end = self.end,
            capacity = self.capacity,
        );
        if !self.at("ark.toml").exists() {
            write_with_mode(&self.at("ark.toml"), config, 0o640);
        }
        if !self.at("env").exists() {
            write_with_mode(&self.at("env"), &self.environment, 0o600);
        }
    }

    /// Runs the check. Returns the names of the lines that are not ok, what was printed, and the exit code.
    pub(super) fn check(&self) -> (BTreeSet<String>, Value, Option<i32>) {
        self.write_config();
        let mut command = match (self.open_files, self.processes) {
            (None, None) => Command::new(ark_program()),
            (Some(limit), _) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script]).arg(ark_program());
                shell
            }
            (None, Some(limit)) => {
                let mut limited = Command::new("prlimit");
                limited.arg(format!("--nproc={limit}")).arg(ark_program());
                limited
            }
        };
        let preload = |command: &mut Command, library: &Path| {
            command.env("LD_PRELOAD", library);
        };
        let programs = self.at("programs");
        fs::create_dir_all(&programs).expect("a directory");
        let script = format!("#!/bin/sh\n{}\n", self.timedatectl);
        write_with_mode(&programs.join("timedatectl"), script, 0o755);
        let path = std::env::var("PATH").expect("a path");
        command.env("PATH", format!("{}:{path}", programs.display()));
        if !self.disk.is_empty() {
            preload(&mut command, &build_fault_library(self.dir.path()));
            command.envs(self.disk.iter().copied());
        }
        if self.clock_shift != 0 {
            preload(&mut command, &find_faketime());
            command
                .env("FAKETIME", format!("{:+}", self.clock_shift))
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1");
        }
        let output = command
            .args(["check", "--json", "--config"])
            .arg(self.at("ark.toml"))
            .arg("--env-file")
            .arg(self.at("env"))
            .args(&self.arguments)
            .current_dir(self.dir.path())
            .output()
            .expect("ark starts");
        let report: Value = serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|error| panic!("{error}: {output:?}"));
        let findings = report["lines"].as_array().expect("lines");
        for finding in findings.iter().filter(|one| one["status"] != "ok") {
            assert!(
                finding["remedy"]
                    .as_str()
                    .is_some_and(|remedy| !remedy.is_empty()),
                "{finding}"
            );
        }
        // What could not be checked is no finding of its own: its cause has a line too.
        let bad = findings
            .iter()
            .filter(|one| one["status"] == "error" || one["status"] == "warning");
        let names = bad.map(|one| one["check"].as_str().expect("a name").to_owned());
        (names.collect(), report.clone(), output.status.code())
    }
}
