//! `ark check`: a good host has no finding, and each planted fault is found by its own line and no other.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

use ark_tests::artefacts::{checkout_path, mark_component};
use ark_tests::policies::{moody_component, moody_name, put};
use ark_tests::prometheus::{Prometheus, PrometheusParts};
use ark_tests::redis::{Redis, free_port};
use ark_tests::{
    Client, Host, TestDir, ark_program, base64, copy_agent, guests_dir, make_token, policies_dir,
    run_ark, sha256, trade,
};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use serde_json::{Value, json};

/// A password of the Redis of these tests.
const PASSWORD: &str = "correct-horse-battery-staple";
/// A key as `openssl rand -hex 32` makes one.
const KEY: &str = "2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae";
/// What depends on the machine that runs the tests: a finding of these on the good host is not the host's.
const OF_THE_MACHINE: [&str; 3] = ["disk-sync", "disk-space", "open-files"];

/// Adds a webhook, with so many secrets in a file of a mode.
fn add_webhook(site: &mut Site, more: &str, secrets: u8, mode: u32) {
    let lines = (0..secrets).map(|secret| {
        let bytes: Vec<u8> = (secret..secret + 32).collect();
        format!("whsec_{}\n", base64(&bytes))
    });
    let file = site.at("webhook-secret");
    write_with_mode(&file, lines.collect::<String>(), mode);
    let _ = write!(
        site.end,
        "[[webhooks]]\nname = \"desk\"\nurl = \"https://consumer.example/\"\nsecret_file = \"{}\"\n{more}",
        file.display()
    );
}

/// What all cases share: neighbours, and a data directory that a host has used.
struct Stage {
    dir: TestDir,
    redis: Redis,
    forgetful: Redis,
    prometheus: Prometheus,
    bare: Prometheus,
    authority: CertifiedIssuer<'static, KeyPair>,
}

/// A host's files in a directory of their own, as an operator would have them.
struct Site {
    dir: tempfile::TempDir,
    port: u16,
    arguments: Vec<String>,
    redis_port: u16,
    /// Lines at the top of `ark.toml`.
    top: String,
    /// Lines at its end.
    end: String,
    /// Lines of its table `[capacity]`.
    capacity: &'static str,
    listen: String,
    environment: String,
    /// The limit of open files that the check is run with, if any.
    open_files: Option<u32>,
    /// A port that somebody else has taken.
    taken: Option<TcpListener>,
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("its mode");
}

fn write_with_mode(path: &Path, text: impl AsRef<[u8]>, mode: u32) {
    let _ = fs::remove_file(path);
    fs::write(path, text).expect("a file");
    set_mode(path, mode);
}

fn text(path: &Path) -> String {
    path.to_str().expect("UTF-8").to_owned()
}

impl Stage {
    fn prepare() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        let stage = Self {
            dir: TestDir::new(""),
            redis: Redis::start_with(
                free_port(),
                &["--appendonly", "yes", "--requirepass", PASSWORD],
            ),
            forgetful: Redis::start_with(free_port(), &["--requirepass", PASSWORD]),
            prometheus: Prometheus::start(PrometheusParts {
                target: Some("127.0.0.1:9"),
                rules: true,
                alertmanager: true,
                ..PrometheusParts::default()
            }),
            bare: Prometheus::start(PrometheusParts {
                alertmanager: true,
                ..PrometheusParts::default()
            }),
            authority: CertifiedIssuer::self_signed(params, key).expect("an authority"),
        };
        copy_agent(&guests_dir(), "kyle", &stage.dir.agents());
        let host = stage.dir.start();
        let mut client = Client::new(&host);
        for round in 0..20 {
            let (status, _) = client.post("/v1/actions", &trade(&format!("S{round}-USD"), 0.01));
            assert_eq!(status, 200);
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
    fn build(&self) -> Site {
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
        let site = Site {
            port: free_port(),
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
            taken: None,
            dir,
        };
        site.declare_policy(&sha256(
            &fs::read(site.at("policies/market-hours.wasm")).expect("a policy"),
        ));
        self.certify(&site, |_| {});
        site
    }

    /// Gives a site a certificate and its key.
    fn certify(&self, site: &Site, change: impl FnOnce(&mut CertificateParams)) {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).expect("parameters");
        let now = rcgen::date_time_ymd(2026, 1, 1);
        params.not_before = now;
        params.not_after = rcgen::date_time_ymd(2126, 1, 1);
        change(&mut params);
        let key = KeyPair::generate().expect("a key");
        let certificate = params
            .signed_by(&key, &self.authority)
            .expect("a certificate");
        write_with_mode(&site.at("cert.pem"), certificate.pem(), 0o644);
        write_with_mode(&site.at("key.pem"), key.serialize_pem(), 0o600);
    }
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

/// Gives the uploaded policy other settings, with their right digest.
fn change_settings(site: &Site, settings: &str) {
    let (database, digest) = (site.database(), sha256(settings.as_bytes()));
    database
        .execute_batch(&format!(
            "INSERT INTO policy_settings (sha256, json) VALUES (x'{digest}', '{settings}');
             UPDATE policy_versions SET settings = x'{digest}' WHERE source = 'api';"
        ))
        .expect("settings");
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
    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn declare_policy(&self, digest: &str) {
        let manifest = format!(
            "name = \"market-hours\"\ncomponent = \"market-hours.wasm\"\nsha256 = \"{digest}\"\nmode = \"shadow\"\n"
        );
        fs::write(self.at("policies/market-hours.toml"), manifest).expect("a manifest");
    }

    fn database(&self) -> rusqlite::Connection {
        rusqlite::Connection::open(self.at("data/ark.db")).expect("the database")
    }

    fn write_config(&self) {
        let at = |name: &str| text(&self.at(name));
        let config = format!(
            "{top}data_dir = \"{data}\"\nlisten = \"{listen}:{port}\"\ntelemetry_listen = \"127.0.0.1:0\"\nagents_dir = \"{agents}\"\n\
             policies_dir = \"{policies}\"\ngraveyard = \"{graveyard}\"\n[tls]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n\
             [capacity]\nconnections = 64\n{capacity}[redis]\nurl = \"redis://127.0.0.1:{redis}/0\"\npassword_file = \"{password}\"\n{end}",
            top = self.top,
            data = at("data"),
            listen = self.listen,
            port = self.port,
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
    fn check(&self) -> (BTreeSet<String>, Value, Option<i32>) {
        self.write_config();
        let mut command = match self.open_files {
            None => Command::new(ark_program()),
            Some(limit) => {
                let mut shell = Command::new("sh");
                let script = format!("ulimit -n {limit}; exec \"$0\" \"$@\"");
                shell.args(["-c", &script]).arg(ark_program());
                shell
            }
        };
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

/// A fault: what it is, the line that finds it, whether that is an error, and how it is planted.
type Fault = (&'static str, &'static str, bool, fn(&Stage, &mut Site));

fn damage_pages(site: &Site) {
    // A page of an index that no check of the chains reads.
    let database = site.database();
    let page: u32 = database
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'audit_log_trace'",
            [],
            |row| row.get(0),
        )
        .expect("an index");
    let bytes: u32 = database
        .query_row("PRAGMA page_size", [], |row| row.get(0))
        .expect("a size");
    drop(database);
    let path = site.at("data/ark.db");
    let mut content = fs::read(&path).expect("the database");
    let start = usize::try_from((page - 1) * bytes).expect("a size");
    let end = start + usize::try_from(bytes).expect("a size");
    content[start + 12..end].fill(0x5a);
    fs::write(&path, content).expect("the database");
}

fn date_snapshot(site: &Site, change: fn(u64) -> u64) {
    let path = site.at("snapshots/last/manifest.json");
    let mut manifest: Value =
        serde_json::from_slice(&fs::read(&path).expect("a manifest")).expect("JSON");
    let made = manifest["made_at_ms"].as_u64().expect("a moment");
    manifest["made_at_ms"] = change(made).into();
    fs::write(&path, manifest.to_string()).expect("a manifest");
}

fn days_from_now(days: u64) -> impl Fn(&mut CertificateParams) {
    move |params| {
        let end =
            std::time::SystemTime::now() + std::time::Duration::from_secs(days * 86_400 + 3600);
        params.not_after = end.into();
    }
}

#[rustfmt::skip]
const FAULTS: &[Fault] = &[
    ("a key that does not exist", "configuration", true, |_, site| "listne = \"x\"\n".clone_into(&mut site.top)),
    ("a public address without TLS", "configuration", true, |_, site| {
        site.write_config();
        let config = fs::read_to_string(site.at("ark.toml")).expect("a configuration");
        let config = config.replace("listen = \"127.0.0.1:", "listen = \"0.0.0.0:").replace("telemetry_listen = \"0.0.0.0:", "telemetry_listen = \"127.0.0.1:");
        let lines: Vec<&str> = config.lines().filter(|line| !["[tls]", "certificate", "key ="].iter().any(|start| line.starts_with(start))).collect();
        write_with_mode(&site.at("ark.toml"), lines.join("\n"), 0o640);
    }),
    ("a configuration that others can change", "config-file", true, |_, site| { site.write_config(); set_mode(&site.at("ark.toml"), 0o666); }),
    ("a password in a configuration that others can read", "config-file", true, |_, site| {
        site.end = format!("[telemetry]\notlp_endpoint = \"http://u:{PASSWORD}@127.0.0.1:4318/v1/traces\"\n");
        site.write_config();
        set_mode(&site.at("ark.toml"), 0o644);
    }),
    ("a line of the environment that is no variable", "env-file", true, |_, site| site.environment = format!("{}ARK_LISTEN\n", site.environment)),
    ("an unknown variable in the environment's file", "env-file", true, |_, site| site.environment = format!("{}ARK_LISTN=127.0.0.1:1\n", site.environment)),
    ("a secret in a file that others can read", "env-file", true, |_, site| {
        site.environment = format!("ARK_SECRET_KEY={KEY}\n");
        site.write_config();
        set_mode(&site.at("env"), 0o644);
    }),
    ("no key for secrets", "secret-key", false, |_, site| "OTHER=1\n".clone_into(&mut site.environment)),
    ("a key that others can read", "secret-key", true, |_, site| set_mode(&site.at("secret.key"), 0o644)),
    ("a key that is too short", "secret-key", true, |_, site| write_with_mode(&site.at("secret.key"), "abc", 0o400)),
    ("a key that was typed", "secret-key", true, |_, site| write_with_mode(&site.at("secret.key"), "0123456789abcdef".repeat(4), 0o400)),
    ("no certificate", "tls", true, |_, site| fs::remove_file(site.at("cert.pem")).expect("a file")),
    ("another certificate's key", "tls", true, |_, site| write_with_mode(&site.at("key.pem"), KeyPair::generate().expect("a key").serialize_pem(), 0o600)),
    ("a key of TLS that everybody can read", "tls", true, |_, site| set_mode(&site.at("key.pem"), 0o644)),
    ("an expired certificate", "certificate", true, |stage, site| stage.certify(site, |params| params.not_after = rcgen::date_time_ymd(2026, 1, 2))),
    ("a certificate that expires soon", "certificate", false, |stage, site| stage.certify(site, days_from_now(5))),
    ("an authority's certificate", "certificate", true, |stage, site| stage.certify(site, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
    ("a certificate for no host", "certificate", true, |stage, site| stage.certify(site, |params| params.subject_alt_names.clear())),
    ("a public address without tokens", "tokens", true, |_, site| {
        "0.0.0.0".clone_into(&mut site.listen);
        site.database().execute("DELETE FROM tokens", []).expect("tokens");
    }),
    ("nobody who may administer", "tokens", false, |_, site| { site.database().execute("UPDATE tokens SET role = 'reader'", []).expect("tokens"); }),
    ("two listeners on one port", "listeners", true, |_, site| {
        site.write_config();
        let config = fs::read_to_string(site.at("ark.toml")).expect("a configuration");
        let config = config.replace("telemetry_listen = \"127.0.0.1:0\"", &format!("telemetry_listen = \"127.0.0.1:{}\"", site.port));
        write_with_mode(&site.at("ark.toml"), config, 0o640);
    }),
    ("a port that is taken", "ports", true, |_, site| site.taken = Some(TcpListener::bind(("127.0.0.1", site.port)).expect("the port"))),
    ("no directory of agents", "agents-directory", true, |_, site| fs::remove_dir_all(site.at("agents")).expect("a directory")),
    ("few open files", "open-files", false, |_, site| site.open_files = Some(100)),
    ("a data directory that is open to others", "data-directory", true, |_, site| set_mode(&site.at("data"), 0o755)),
    ("a limit of the database that the disk does not have", "disk-space", false, |_, site| site.capacity = "max_database_bytes = 1_000_000_000_000_000\n"),
    ("an interrupted restore", "database", true, |_, site| fs::write(site.at("data/restore.pending"), "").expect("a file")),
    ("a database that is gone", "database", true, |_, site| fs::remove_file(site.at("data/ark.db")).expect("a file")),
    ("another journal", "database", false, |_, site| {
        let mode: String = site.database().query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).expect("a mode");
        assert_eq!(mode, "delete");
    }),
    ("a damaged page", "database", true, |_, site| damage_pages(site)),
    ("a changed row of the audit log", "audit-log", true, |_, site| { site.database().execute("UPDATE audit_log SET action_type = 'report' WHERE seq = 5", []).expect("a row"); }),
    ("a Graveyard that can be written to", "graveyard", true, |_, site| set_mode(&site.at("graveyard.wasm"), 0o644)),
    ("a Graveyard of another mode", "graveyard", false, |_, site| set_mode(&site.at("graveyard.wasm"), 0o400)),
    ("another Graveyard", "graveyard", true, |_, site| {
        let mut bytes = fs::read(site.at("graveyard.wasm")).expect("the module");
        bytes.extend([0, 4, 1, b'x', 1, 1]);
        write_with_mode(&site.at("graveyard.wasm"), bytes, 0o444);
    }),
    ("an agent that is no component", "guests", true, |_, site| fs::write(site.at("agents/kyle.wasm"), "x").expect("a file")),
    ("a policy of another digest", "guests", true, |_, site| site.declare_policy(&"0".repeat(64))),
    ("an uploaded agent over the ceiling", "guests", true, |_, site| "[quotas]\nkeys = 999\n".clone_into(&mut site.end)),
    ("an uploaded agent that is not kept", "guests", true, |_, site| { site.database().execute("UPDATE agent_rollouts SET serving = 7", []).expect("a rollout"); }),
    ("a broken trial", "guests", true, |_, site| {
        site.database().execute("UPDATE agent_versions SET manifest = json_set(manifest, '$.topics', 1) WHERE number = 2", []).expect("a version");
    }),
    ("an uploaded policy with bad settings", "guests", true, |_, site| change_settings(site, r#"{"symbol":"btc"}"#)),
    ("more policies than are allowed", "guests", true, |_, site| site.capacity = "policies = 1\n"),
    ("a Redis that is down", "redis", true, |_, site| site.redis_port = free_port()),
    ("a Redis that keeps nothing", "redis", true, |stage, site| site.redis_port = stage.forgetful.port),
    ("a password that others can read", "redis", true, |_, site| set_mode(&site.at("redis-password"), 0o644)),
    ("a webhook's secret that others can read", "configuration", true, |_, site| add_webhook(site, "", 1, 0o644)),
    ("a webhook's authority that is not there", "webhooks", true, |_, site| add_webhook(site, "ca_file = \"/nowhere\"\n", 1, 0o400)),
    ("a webhook's secret beside its old one", "webhooks", false, |_, site| add_webhook(site, "", 2, 0o400)),
    ("no Prometheus", "monitoring", false, |_, site| { site.arguments.drain(..2); }),
    ("a Prometheus that is down", "monitoring", true, |_, site| site.arguments[1] = format!("http://127.0.0.1:{}", free_port())),
    ("a Prometheus without rules", "monitoring", true, |stage, site| site.arguments[1].clone_from(&stage.bare.url)),
    ("no snapshot", "snapshot", true, |_, site| fs::remove_dir_all(site.at("snapshots/last")).expect("a directory")),
    ("an old snapshot", "snapshot", true, |_, site| date_snapshot(site, |now| now - 2 * 86_400_000)),
    ("a snapshot from the future", "snapshot", true, |_, site| date_snapshot(site, |now| now + 86_400_000)),
    ("a damaged snapshot", "snapshot", true, |_, site| {
        let path = site.at("snapshots/last/ark.db");
        let mut content = fs::read(&path).expect("the database");
        content[9000] ^= 1;
        fs::write(path, content).expect("the database");
    }),
];

#[test]
fn each_planted_fault_is_found_by_its_own_line() {
    let stage = Stage::prepare();
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
    assert!(report["errors"] != 0 || code == Some(0), "{report:#}");
    let faults = Mutex::new(FAULTS.iter());
    let wrong = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                loop {
                    let next = faults.lock().expect("no panic").next();
                    let Some((what, line, is_error, plant)) = next else {
                        break;
                    };
                    let mut site = stage.build();
                    plant(&stage, &mut site);
                    let (found, report, code) = site.check();
                    let found: BTreeSet<&str> = found
                        .iter()
                        .filter(|name| !of_the_machine.contains(*name))
                        .map(String::as_str)
                        .collect();
                    let fails = code == Some(1);
                    if found != BTreeSet::from([*line])
                        || (fails != *is_error && of_the_machine.is_empty())
                    {
                        let lines = report["lines"].as_array().expect("lines");
                        let bad: Vec<&Value> =
                            lines.iter().filter(|one| one["status"] != "ok").collect();
                        wrong
                            .lock()
                            .expect("no panic")
                            .push(format!("{what}: not only {line}, code {code:?}: {bad:#?}"));
                    }
                }
            });
        }
    });
    let wrong = wrong.into_inner().expect("no panic");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
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
    let prometheus = Prometheus::start(PrometheusParts {
        target: Some(&telemetry_flag),
        rules: true,
        alertmanager: true,
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
    // Without the flag the file of the environment names the port, and no host listens there.
    assert_eq!(line(&check(&[]), "ports")["status"], "warning");
    // What `ark serve` refuses, it refuses by the line.
    write_with_mode(&env, "\nARK_CAPACITY_CONNECTIONS=many\n", 0o600);
    let refused = run_ark(&["serve", "--env-file", &env_file]);
    let told = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(
        !refused.status.success() && told.contains("line 2"),
        "{told}"
    );
}
