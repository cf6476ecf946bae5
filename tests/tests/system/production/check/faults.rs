//! What is planted, each with the line that must find it.

use std::fmt::Write as _;
use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::{chown, lchown, symlink};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime};

use ark_tests::base64;
use ark_tests::ports::free_port;
use ark_tests::{TestDir, make_token, run_ark, sha256};
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, KeyUsagePurpose, SanType,
};
use serde_json::Value;

use super::site::{
    CheckFixture, KEY, PASSWORD, Site, TYPED_PASSWORD, set_mode, text, write_with_mode,
};

/// Seconds of a day.
const DAY: i64 = 86_400;

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

/// A fault: what it is, the line that finds it, whether that is an error, and how it is planted.
pub(super) type PlantedFault = (
    &'static str,
    &'static str,
    bool,
    fn(&CheckFixture, &mut Site),
);

fn damage_pages(site: &Site) {
    // A page of a table that no check of the chains reads.
    let database = site.database();
    let page: u32 = database
        .query_row(
            "SELECT rootpage FROM sqlite_schema WHERE name = 'audit_traces'",
            [],
            |row| row.get(0),
        )
        .expect("a table");
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

fn change_state(site: &Site, change: &str) {
    let changed = site.database().execute(change, []).expect("a change");
    assert_eq!(changed, 1, "{change}");
}

/// The first number of a text, which is in milliseconds.
fn milliseconds_in(text: &str) -> f64 {
    let mut words = text.split_whitespace();
    words.find_map(|word| word.parse().ok()).unwrap_or_default()
}

fn days_from_now(days: u64) -> impl Fn(&mut CertificateParams) {
    move |params| {
        let end = SystemTime::now() + Duration::from_secs(days * 86_400 + 3600);
        params.not_after = end.into();
    }
}

/// Signs the certificate of a site anew with its own key.
fn sign_again(site: &Site, options: &[&str]) {
    let made = Command::new("openssl")
        .current_dir(site.dir.path())
        .args([
            "req", "-x509", "-key", "key.pem", "-subj", "/CN=host", "-days", "100",
        ])
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .args([
            "-addext",
            "subjectAltName=DNS:localhost",
            "-out",
            "cert.pem",
        ])
        .args(options)
        .output()
        .expect("openssl");
    assert!(made.status.success(), "{made:?}");
}

/// Lets everybody read the last snapshot.
fn open_snapshot(site: &Site) {
    for (name, mode) in [
        ("snapshots", 0o755),
        ("snapshots/last", 0o755),
        ("snapshots/last/ark.db", 0o644),
    ] {
        set_mode(&site.at(name), mode);
    }
    // As `TempDir` does not make it.
    set_mode(site.dir.path(), 0o755);
}

/// Moves the snapshots elsewhere.
fn move_snapshots(site: &mut Site, to: &Path) {
    let made = Command::new("cp")
        .arg("-a")
        .args([site.at("snapshots"), to.to_owned()])
        .status()
        .expect("cp");
    assert!(made.success(), "{made}");
    site.arguments[3] = text(to);
}

/// Lets the check meet this Redis, for a host that reads a stream and sends events.
fn use_redis(site: &mut Site, port: u16, user: &str, is_told: fn(&str) -> bool) {
    site.redis_port = port;
    site.use_streams(user);
    site.is_told = is_told;
}

/// Sets the password of the Redis of a host, which is not that of the Redis that it meets.
fn set_password(site: &mut Site, password: &str, is_told: fn(&str) -> bool) {
    write_with_mode(&site.at("redis-password"), password, 0o400);
    site.is_told = is_told;
}

/// Puts the configuration into a directory of this mode.
fn move_config(site: &Site, mode: u32) {
    site.write_config();
    fs::create_dir(site.at("open")).expect("a directory");
    fs::rename(site.at("ark.toml"), site.at("open/ark.toml")).expect("a file");
    set_mode(&site.at("open"), mode);
    symlink("open/ark.toml", site.at("ark.toml")).expect("a link");
}

/// Makes the host one of a fleet with this key.
fn join_fleet(site: &mut Site, key: &str) {
    let file = site.at("fleet.key");
    write_with_mode(&file, key, 0o400);
    let _ = write!(
        site.end,
        "[watchdog]\nfleet = \"ark:orders\"\nfleet_key_file = \"{}\"\n",
        file.display()
    );
}

/// Gives a file to a user who is neither root nor the host's.
fn give_away(site: &Site, name: &str) {
    site.write_config();
    chown(site.at(name), Some(STRANGER), None).expect("a file of another user");
}

/// Gives the host's files to a user for whom root then checks, but for the keys.
fn give_to_host(site: &Site) {
    site.write_config();
    let of_host = |path: &Path, mode| {
        chown(path, Some(STRANGER), Some(STRANGER)).expect("a file of the host");
        set_mode(path, mode);
    };
    of_host(site.dir.path(), 0o755);
    of_host(&site.at("data"), 0o700);
    for entry in fs::read_dir(site.at("data"))
        .expect("a directory")
        .flatten()
    {
        lchown(entry.path(), Some(STRANGER), Some(STRANGER)).expect("a file of the host");
    }
    let _ = fs::remove_file(site.at("data/cache"));
    for (name, mode) in [
        ("ark.toml", 0o640),
        ("env", 0o600),
        ("key.pem", 0o600),
        ("redis-password", 0o400),
        ("policies", 0o755),
        ("snapshots", 0o755),
        ("snapshots/last", 0o700),
    ] {
        of_host(&site.at(name), mode);
    }
}

/// Puts a copy of a database into the data directory, as a disaster leaves it.
fn plant_leftover(site: &mut Site, name: &str, is_told: fn(&str) -> bool) {
    let dir = site.at("data").join(name);
    fs::create_dir(&dir).expect("a directory");
    set_mode(&dir, 0o700);
    write_with_mode(&dir.join("ark.db"), vec![0; 3_500_000], 0o600);
    site.is_told = is_told;
}

/// Takes the right to write to a file of the data directory from the user of the host.
fn plant_unwritable(site: &mut Site, name: &str) {
    give_to_host(site);
    give_away(site, "secret.key");
    set_mode(&site.at("data").join(name), 0o444);
    site.is_told = |found| found.contains("cannot read and write it");
}

/// Gives the host to a user who may have only so many threads. Root, who checks for that user, is not held to the limit.
fn limit_processes(site: &mut Site, limit: u32, is_told: fn(&str) -> bool) {
    give_to_host(site);
    give_away(site, "secret.key");
    site.processes = Some(limit);
    site.is_told = is_told;
}

/// A user who is not the host's.
const STRANGER: u32 = 65_534;

/// What only root can plant.
#[rustfmt::skip]
pub(super) const FAULTS_OF_ROOT: &[PlantedFault] = &[
    ("a configuration of another user", "config-file", true, |_, site| give_away(site, "ark.toml")),
    ("an environment of another user", "env-file", true, |_, site| give_away(site, "env")),
    ("a key of another user", "secret-key", true, |_, site| give_away(site, "secret.key")),
    ("a key of TLS of another user", "tls", true, |_, site| give_away(site, "key.pem")),
    ("a key of TLS that a foreign group can read", "tls", true, |_, site| {
        chown(site.at("key.pem"), None, Some(STRANGER)).expect("a file of another group");
        set_mode(&site.at("key.pem"), 0o640);
    }),
    ("a directory of agents of another user", "agents-directory", true, |_, site| give_away(site, "agents")),
    ("a directory of policies of another user", "agents-directory", true, |_, site| give_away(site, "policies")),
    ("a snapshot of another user", "snapshot", true, |_, site| give_away(site, "snapshots/last")),
    ("keys that the user of the host cannot read", "secret-key", true, |_, site| give_to_host(site)),
    ("a database that the user of the host cannot write to", "data-directory", true, |_, site| plant_unwritable(site, "ark.db")),
    ("a lock that the user of the host cannot write to", "data-directory", true, |_, site| plant_unwritable(site, "ark.lock")),
    ("anchors that the user of the host cannot write to", "data-directory", true, |_, site| plant_unwritable(site, "anchors.jsonl")),
    ("a user who may have fewer threads than a start makes", "threads", true, |_, site| limit_processes(site, 60, |found| {
        found.contains("the limit of processes of user 65534 is 60") && found.contains("cannot start")
    })),
    ("a user who may have few threads for calls that wait", "threads", false, |_, site| limit_processes(site, 400, |found| {
        found.contains("is 400") && found.contains("calls wait for a thread")
    })),
    ("a data directory by a link of another user", "data-directory", true, |_, site| {
        fs::rename(site.at("data"), site.at("real")).expect("a directory");
        symlink("real", site.at("data")).expect("a link");
        lchown(site.at("data"), Some(STRANGER), Some(STRANGER)).expect("a link of another user");
    }),
];

#[rustfmt::skip]
pub(super) const FAULTS: &[PlantedFault] = &[
    ("a key that does not exist", "configuration", true, |_, site| "listne = \"x\"\n".clone_into(&mut site.top)),
    ("a variable in the place of a key", "configuration", true, |_, site| {
        "secret_key_file = \"x\"\n".clone_into(&mut site.top);
        site.is_told = |found| found.contains("`secret_key_file` is no key of the file; set the variable ARK_SECRET_KEY_FILE");
    }),
    ("a quota of more than a quarter of the database", "configuration", false, |_, site| {
        site.capacity = "max_database_bytes = 1_073_741_824\n";
        site.end.push_str("[quotas]\nstored_bytes = 900_000_000\n");
    }),
    ("a public address without TLS", "configuration", true, |_, site| {
        site.write_config();
        let config = fs::read_to_string(site.at("ark.toml")).expect("a configuration");
        let config = config.replace("listen = \"127.0.0.1:", "listen = \"0.0.0.0:").replace("telemetry_listen = \"0.0.0.0:", "telemetry_listen = \"127.0.0.1:");
        let lines: Vec<&str> = config.lines().filter(|line| !["[tls]", "certificate", "key ="].iter().any(|start| line.starts_with(start))).collect();
        write_with_mode(&site.at("ark.toml"), lines.join("\n"), 0o640);
    }),
    ("a configuration that others can change", "config-file", true, |_, site| { site.write_config(); set_mode(&site.at("ark.toml"), 0o666); }),
    ("a password in a configuration that others can read", "config-file", true, |_, site| {
        // Somebody listens there.
        site.end = format!("[telemetry]\notlp_endpoint = \"http://u:{PASSWORD}@127.0.0.1:{}/v1/traces\"\n", site.redis_port);
        site.write_config();
        set_mode(&site.at("ark.toml"), 0o644);
    }),
    ("a form of log lines that there is not", "env-file", true, |_, site| site.environment.push_str("ARK_LOG_FORMAT=xml\n")),
    ("commands that ask another host", "env-file", false, |_, site| {
        site.environment.push_str("ARK_URL=https://192.0.2.1:8000\n");
        site.is_told = |found| found.contains("line 2: ARK_URL leads to 192.0.2.1:8000, and this host listens on 127.0.0.1:");
    }),
    ("commands that ask this host without TLS", "env-file", false, |_, site| {
        site.environment = format!("{}ARK_URL=http://127.0.0.1:{}\n", site.environment, site.port);
        site.is_told = |found| found.contains("ARK_URL has http://, and this host speaks https");
    }),
    ("a level of log lines that there is not", "env-file", true, |_, site| site.environment.push_str("ARK_LOG=ark=nolevel\n")),
    ("a token's file that others can read", "env-file", true, |_, site| {
        write_with_mode(&site.at("admin.token"), "x", 0o644);
        site.environment = format!("{}ARK_TOKEN_FILE={}\n", site.environment, text(&site.at("admin.token")));
    }),
    ("a token's file that is not there", "env-file", true, |_, site| site.environment.push_str("ARK_TOKEN_FILE=/nowhere\n")),
    ("a token that this host does not know", "env-file", false, |_, site| {
        write_with_mode(&site.at("admin.token"), "x", 0o400);
        site.environment = format!("{}ARK_TOKEN_FILE={}\n", site.environment, text(&site.at("admin.token")));
        site.is_told = |found| found.contains("line 2: the token in ") && found.contains("(ARK_TOKEN_FILE) is none of this host's");
    }),
    ("an authority of commands that is no certificate", "env-file", true, |_, site| {
        write_with_mode(&site.at("ca.pem"), "x", 0o644);
        site.environment = format!("{}ARK_CA={}\n", site.environment, text(&site.at("ca.pem")));
        site.is_told = |found| found.contains("line 2: ARK_CA ") && found.contains("ca.pem holds no certificate");
    }),
    ("an HAProxy that is not there", "env-file", false, |_, site| {
        site.environment.push_str("ARK_HAPROXY=/nowhere/admin.sock\n");
        site.is_told = |found| found.contains("line 2: ARK_HAPROXY: HAProxy at unix:/nowhere/admin.sock: No such file");
    }),
    ("an HAProxy that does not answer", "env-file", false, |_, site| {
        let silent = TcpListener::bind("127.0.0.1:0").expect("a port");
        let _ = writeln!(site.environment, "ARK_HAPROXY={}", silent.local_addr().expect("an address"));
        site.taken = Some(silent);
        site.is_told = |found| found.contains("gave no whole answer to `show cli level`");
    }),
    ("an authority of commands that is not there", "env-file", true, |_, site| site.environment.push_str("ARK_CA=/nowhere\n")),
    ("a configuration in a directory that others can write to", "config-file", true, |_, site| move_config(site, 0o777)),
    ("an environment that others can change", "env-file", true, |_, site| { site.write_config(); set_mode(&site.at("env"), 0o620); }),
    ("a key of the fleet of zeros", "secret-key", true, |_, site| join_fleet(site, &"0".repeat(64))),
    ("a key of the fleet that is the key of secrets", "secret-key", true, |_, site| join_fleet(site, KEY)),
    ("agents that a group can add to", "agents-directory", true, |_, site| set_mode(&site.at("agents"), 0o775)),
    ("an agent that others can change", "agents-directory", true, |_, site| set_mode(&site.at("agents/kyle.wasm"), 0o666)),
    ("a manifest that others can change", "agents-directory", true, |_, site| set_mode(&site.at("agents/kyle.toml"), 0o666)),
    ("a policy that others can change", "agents-directory", true, |_, site| set_mode(&site.at("policies/market-hours.wasm"), 0o666)),
    ("a collector of traces that is not there", "traces", true, |_, site| {
        site.end = format!("[telemetry]\notlp_endpoint = \"http://127.0.0.1:{}/v1/traces\"\n", free_port());
    }),
    ("a directory of snapshots that others can write to", "snapshot", true, |_, site| set_mode(&site.at("snapshots"), 0o777)),
    ("a snapshot that others can change", "snapshot", true, |_, site| set_mode(&site.at("snapshots/last/ark.db"), 0o666)),
    ("a snapshot of another host", "snapshot", true, |_, site| {
        let other = TestDir::new("");
        let _ = make_token(&other.data(), "eve", "admin", &[]);
        fs::remove_dir_all(site.at("snapshots/last")).expect("a directory");
        let (to, data) = (text(&site.at("snapshots/last")), text(&other.data()));
        let made = run_ark(&["state", "snapshot", &to, "--data-dir", &data]);
        assert!(made.status.success(), "{made:?}");
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
    ("another certificate's key", "tls", true, |_, site| {
        site.is_told = |found| found.contains("cert.pem and ") && found.contains("key.pem do not belong together");
        write_with_mode(&site.at("key.pem"), KeyPair::generate().expect("a key").serialize_pem(), 0o600);
    }),
    ("a key of TLS that everybody can read", "tls", true, |_, site| set_mode(&site.at("key.pem"), 0o644)),
    ("an expired certificate", "certificate", true, |stage, site| stage.certify(site, |params| params.not_after = rcgen::date_time_ymd(2026, 1, 2))),
    ("a certificate that expires soon", "certificate", false, |stage, site| stage.certify(site, days_from_now(5))),
    ("an authority's certificate", "certificate", true, |stage, site| stage.certify(site, |params| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained))),
    ("a certificate whose key may not sign", "certificate", true, |stage, site| {
        site.is_told = |found| found.contains("keyUsage without digitalSignature");
        stage.certify(site, |params| params.key_usages = vec![KeyUsagePurpose::CrlSign]);
    }),
    ("a certificate for no host", "certificate", true, |stage, site| stage.certify(site, |params| params.subject_alt_names.clear())),
    ("a certificate that names only a mailbox", "certificate", true, |stage, site| stage.certify(site, |params| {
        params.subject_alt_names = vec![SanType::Rfc822Name("a@b.example".try_into().expect("an address"))];
    })),
    ("a certificate issued by one that is no authority's", "certificate", true, |stage, site| {
        site.is_told = |found| found.contains("which is no authority's certificate");
        stage.certify_chain(site, |params| params.is_ca = IsCa::ExplicitNoCa);
    }),
    ("an authority that may not sign", "certificate", true, |stage, site| {
        site.is_told = |found| found.contains("which is no authority's certificate");
        stage.certify_chain(site, |params| params.key_usages = vec![KeyUsagePurpose::DigitalSignature]);
    }),
    ("an authority of the same name behind the certificate", "certificate", true, |stage, site| {
        site.is_told = |found| found.contains("is not signed by the certificate behind it");
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let other = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
        assert_ne!(other.pem(), stage.authority.pem());
        let chain = fs::read_to_string(site.at("cert.pem")).expect("a certificate") + &other.pem();
        write_with_mode(&site.at("cert.pem"), chain, 0o644);
    }),
    ("a chain in the wrong order", "certificate", true, |stage, site| {
        site.is_told = |found| found.contains("is not issued by the certificate behind it");
        stage.certify_chain(site, |_| {});
        let chain = fs::read_to_string(site.at("cert.pem")).expect("a chain");
        let parts: Vec<&str> = chain.split_inclusive("-----END CERTIFICATE-----").collect();
        write_with_mode(&site.at("cert.pem"), [parts[0], parts[2], parts[1]].concat(), 0o644);
    }),
    ("a certificate with a signature that can be forged", "certificate", true, |_, site| {
        site.is_told = |found| found.contains("signed with SHA-1");
        sign_again(site, &["-sha1"]);
    }),
    ("a public address without tokens", "tokens", true, |_, site| {
        "0.0.0.0".clone_into(&mut site.listen);
        site.database().execute("DELETE FROM tokens", []).expect("tokens");
    }),
    ("a public address whose tokens are all revoked", "tokens", true, |_, site| {
        "0.0.0.0".clone_into(&mut site.listen);
        site.database().execute("UPDATE tokens SET revoked_at = 1", []).expect("tokens");
    }),
    ("a public address whose tokens have all expired", "tokens", true, |_, site| {
        "0.0.0.0".clone_into(&mut site.listen);
        site.database().execute("UPDATE tokens SET expires_at = 1", []).expect("tokens");
    }),
    ("nobody who may administer", "tokens", false, |_, site| { site.database().execute("UPDATE tokens SET revoked_at = 1", []).expect("tokens"); }),
    ("a token with another role than the log says", "tokens", true, |_, site| {
        site.is_told = |found| found.contains("the token ada: role: the log says \"admin\", the table \"reader\"");
        site.database().execute("UPDATE tokens SET role = 'reader'", []).expect("tokens");
    }),
    ("two listeners on one port", "listeners", true, |_, site| {
        // It is the port that Prometheus scrapes.
        site.port = site.telemetry_port;
    }),
    ("two listeners on one port, written as IPv4 and as IPv6", "listeners", true, |_, site| {
        site.port = site.telemetry_port;
        site.telemetry = format!("[::ffff:127.0.0.1]:{}", site.telemetry_port);
    }),
    ("a port that is taken", "ports", true, |_, site| site.taken = Some(TcpListener::bind(("127.0.0.1", site.port)).expect("the port"))),
    ("a component that no manifest names", "agents-directory", false, |_, site| {
        site.is_told = |found| found.contains("no manifest (*.toml) names the component stray.wasm");
        fs::copy(site.at("agents/kyle.wasm"), site.at("agents/stray.wasm")).expect("a component");
    }),
    ("a directory of agents without a manifest", "agents-directory", false, |_, site| {
        site.is_told = |found| found.contains("has no manifest");
        for name in ["agents/kyle.toml", "agents/kyle.wasm"] {
            fs::remove_file(site.at(name)).expect("a file");
        }
    }),
    ("no directory of agents", "agents-directory", true, |_, site| fs::remove_dir_all(site.at("agents")).expect("a directory")),
    ("open files for hardly a connection", "open-files", true, |_, site| {
        site.open_files = Some(100);
        site.is_told = |found| found.contains("the host takes 1 connection at a time");
    }),
    ("open files for a part of the connections", "open-files", false, |_, site| {
        site.environment.push_str("ARK_CAPACITY_CONNECTIONS=1000\n");
        site.open_files = Some(700);
        site.is_told = |found| found.contains("the host takes 444 connections at a time");
    }),
    ("invocations that may take more memory than there is", "memory", false, |_, site| {
        site.capacity = "workers = 128\n";
        site.end.push_str("[limits]\nmemory_bytes = 1_073_741_824\n");
        // (128 + 48) GiB, and 379 MiB.
        site.is_told = |found| found.contains("up to 180603 MiB") && found.contains("the memory of the machine is ");
    }),
    ("a data directory that is open to others", "data-directory", true, |_, site| set_mode(&site.at("data"), 0o755)),
    ("what a restore moved aside", "data-directory", false, |_, site| plant_leftover(site, "before-restore-1764400000", |found| {
        found.contains("before-restore-1764400000 is left of a disaster: 3 MB, mode 0700")
    })),
    ("what a new beginning moved aside", "data-directory", false, |_, site| plant_leftover(site, "before-anew-1764400000", |found| {
        found.contains("before-anew-1764400000 is left of a disaster: 3 MB, mode 0700")
    })),
    ("what a host rescued", "data-directory", false, |_, site| plant_leftover(site, "rescued-1764400000", |found| {
        found.contains("rescued-1764400000 is left of a disaster: 3 MB, mode 0700")
    })),
    ("a data directory that others can move away", "data-directory", true, |_, site| {
        fs::create_dir(site.at("open")).expect("a directory");
        fs::rename(site.at("data"), site.at("open/data")).expect("a directory");
        symlink("open/data", site.at("data")).expect("a link");
        set_mode(&site.at("open"), 0o777);
    }),
    ("a limit of the database that the disk does not have", "disk-space", false, |_, site| site.capacity = "max_database_bytes = 1_000_000_000_000_000\n"),
    ("a disk that is slow", "disk-sync", false, |_, site| {
        site.disk = &[("SYNC_DELAY_MS", "500")];
        // No disk of a machine that runs tests is as slow by itself.
        site.is_told = |found| milliseconds_in(found) >= 500.0;
    }),
    ("a disk that does not sync", "disk-sync", false, |_, site| {
        site.disk = &[("SYNC_SKIP", "1")];
        site.is_told = |found| found.contains("which no disk can do");
    }),
    ("a clock that is a day behind what was recorded", "clock", true, |_, site| {
        site.clock_shift = -DAY;
        date_snapshot(site, |now| now - 86_400_000);
    }),
    ("a clock that is years behind", "clock", true, |stage, site| {
        site.clock_shift = -10 * 365 * DAY;
        stage.certify(site, |params| params.not_before = rcgen::date_time_ymd(2000, 1, 1));
        date_snapshot(site, |now| now - 3650 * 86_400_000);
    }),
    ("a clock that is a minute ahead of its neighbours'", "clock", false, |_, site| {
        site.clock_shift = 60;
        site.is_told = |found| found.contains("this machine has 20") && found.contains("Z, and Prometheus at 127.0.0.1:") && found.contains(" s apart");
    }),
    ("a clock that is not synchronised", "clock", false, |_, site| {
        site.timedatectl = "[ \"$*\" = 'show --property=NTPSynchronized --value' ] && echo no";
        site.is_told = |found| found == "the clock is not synchronised";
    }),
    ("a machine that does not say whether its clock is synchronised", "clock", false, |_, site| {
        site.timedatectl = "echo 'not booted with systemd' >&2; exit 1";
        site.is_told = |found| ["cannot be known", "not booted with systemd", "the Redis at redis://127.0.0.1:", "is on this machine, so its clock proves nothing"].iter().all(|part| found.contains(part));
    }),
    ("an answer about the clock that says nothing", "clock", false, |_, site| {
        site.timedatectl = "echo maybe";
        site.is_told = |found| found.contains("says \"maybe\"");
    }),
    ("an answer about the clock that does not come", "clock", false, |_, site| {
        site.timedatectl = "exec sleep 1000";
        site.is_told = |found| found.contains("cannot be known");
    }),
    ("an interrupted restore", "database", true, |_, site| fs::write(site.at("data/restore.pending"), "").expect("a file")),
    ("a database that is gone", "database", true, |_, site| fs::remove_file(site.at("data/ark.db")).expect("a file")),
    ("anchors that are none", "database", true, |_, site| {
        site.is_told = |found| found.contains("anchors.jsonl cannot be read");
        write_with_mode(&site.at("data/anchors.jsonl"), "no anchor\n", 0o600);
    }),
    ("another journal", "database", false, |_, site| {
        let mode: String = site.database().query_row("PRAGMA journal_mode = DELETE", [], |row| row.get(0)).expect("a mode");
        assert_eq!(mode, "delete");
    }),
    ("a trigger that drops halts", "database", true, |_, site| {
        site.is_told = |found| found.contains("the trigger evil on halts was not made by this program");
        site.database().execute_batch("CREATE TRIGGER evil AFTER INSERT ON halts BEGIN DELETE FROM halts; END").expect("a trigger");
    }),
    ("a table of another program", "database", false, |_, site| site.database().execute_batch("CREATE TABLE foreigner (n)").expect("a table")),
    ("a view of another program", "database", false, |_, site| {
        site.is_told = |found| found.contains("the view report was not made by this program");
        site.database().execute_batch("CREATE VIEW report AS SELECT name FROM tokens").expect("a view");
    }),
    ("a halt that the log does not have", "state", true, |_, site| {
        site.database().execute("INSERT INTO halts (id, reason, by, at) VALUES (1, 'r', 'eve', 1)", []).expect("a halt");
    }),
    ("a damaged page", "database", true, |_, site| damage_pages(site)),
    ("a changed row of the audit log", "audit-log", true, |_, site| { site.database().execute("UPDATE audit_log SET action_type = 'report' WHERE seq = 5", []).expect("a row"); }),
    ("a log whose anchors are gone", "audit-log", false, |_, site| {
        site.is_told = |found| found.contains("rows and no anchor");
        fs::remove_file(site.at("data/anchors.jsonl")).expect("a file");
    }),
    ("a log whose anchors were emptied", "audit-log", false, |_, site| {
        site.is_told = |found| found.contains("rows and no anchor");
        fs::write(site.at("data/anchors.jsonl"), "").expect("a file");
    }),
    ("a log without the file that attests its end", "audit-log", false, |_, site| {
        site.is_told = |found| found.contains("rows and no ark.lock");
        fs::remove_file(site.at("data/ark.lock")).expect("a file");
    }),
    ("a changed value of agents' state", "state", true, |_, site| change_state(site, "UPDATE agents_state SET value = '9' WHERE key = 'seen'")),
    ("a changed revision of agents' state", "state", true, |_, site| change_state(site, "UPDATE state_history SET value = '9' WHERE key = 'seen' AND revision = 2")),
    ("a revision of agents' state that is gone", "state", true, |_, site| change_state(site, "DELETE FROM state_history WHERE key = 'seen' AND revision = 2")),
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
    ("a Redis that is frozen", "redis", true, |stage, site| {
        site.redis_port = stage.frozen.port;
        site.is_told = |found| found.contains("the Redis at redis://127.0.0.1:") && found.contains("has not answered within 5 s");
    }),
    ("a Redis that keeps nothing", "redis", true, |stage, site| site.redis_port = stage.forgetful.port),
    ("a Redis whose user may not do what the host needs", "redis", true, |stage, site| use_redis(site, stage.closed.port, "closed", |found| {
        found.contains("may not run") && found.contains("MULTI")
    })),
    ("a Redis that is a replica", "redis", true, |stage, site| use_redis(site, stage.replica.port, "default", |found| found.contains("is a replica"))),
    ("a replica that takes no writes", "redis", true, |stage, site| use_redis(site, stage.replica.port, "default", |found| found.contains("XGROUP CREATE") && found.contains("read only replica"))),
    ("a Redis without memory", "redis", true, |stage, site| use_redis(site, stage.full.port, "default", |found| found.contains("command not allowed when used memory"))),
    ("a Redis whose memory is nearly used", "redis", false, |stage, site| use_redis(site, stage.nearly_full.port, "default", |found| found.contains("(maxmemory)"))),
    ("a Redis that does not sync its log while it rewrites it", "redis", false, |stage, site| use_redis(site, stage.nearly_full.port, "default", |found| found.contains("no-appendfsync-on-rewrite"))),
    ("a stream that is a string", "redis", true, |stage, site| {
        assert_eq!(stage.redis.run(&["-a", PASSWORD, "SET", "ark:text", "x"]).trim(), "OK");
        use_redis(site, stage.redis.port, "default", |found| found.contains("ark:text") && found.contains("is a string"));
        site.end = site.end.replace("ark:events", "ark:text");
    }),
    ("a Redis that lacks replicas", "redis", true, |stage, site| use_redis(site, stage.alone.port, "default", |found| found.contains("Not enough good replicas"))),
    ("a password that repeats", "redis", false, |stage, site| {
        site.redis_port = stage.typed.port;
        set_password(site, TYPED_PASSWORD, |found| found.contains("is no random one"));
    }),
    ("a password that is the secret key", "redis", true, |stage, site| {
        site.redis_port = stage.keyed.port;
        set_password(site, KEY, |found| found.contains("is the key that encrypts secrets"));
    }),
    ("a password that others can read", "redis", true, |_, site| set_mode(&site.at("redis-password"), 0o644)),
    ("a webhook's secret that others can read", "configuration", true, |_, site| add_webhook(site, "", 1, 0o644)),
    ("a webhook's authority that is not there", "webhooks", true, |_, site| add_webhook(site, "ca_file = \"/nowhere\"\n", 1, 0o400)),
    ("a webhook whose receiver is not there", "webhooks", false, |_, site| {
        add_webhook(site, "allow_networks = [\"127.0.0.1\"]\n", 1, 0o400);
        site.end = site.end.replace("https://consumer.example/", &format!("http://127.0.0.1:{}/hook", free_port()));
        site.is_told = |found| found.contains("the webhook desk cannot be reached at http://127.0.0.1:") && found.contains("Connection refused") && !found.contains("/hook");
    }),
    ("two webhooks with one secret", "webhooks", false, |_, site| {
        let file = site.at("webhook-secret");
        let more = format!("[[webhooks]]\nname = \"other\"\nurl = \"https://other.example/\"\nsecret_file = \"{}\"\n", file.display());
        add_webhook(site, &more, 1, 0o400);
        site.is_told = |found| found.contains("the same secret");
    }),
    ("a webhook's secret beside its old one", "webhooks", false, |_, site| add_webhook(site, "", 2, 0o400)),
    ("no Prometheus", "monitoring", false, |_, site| { site.arguments.drain(..2); }),
    ("a Prometheus that is down", "monitoring", true, |_, site| site.arguments[1] = format!("http://127.0.0.1:{}", free_port())),
    ("a Prometheus without rules", "monitoring", true, |stage, site| site.arguments[1].clone_from(&stage.bare.url)),
    ("a Prometheus whose alerts lead to no runbook", "monitoring", false, |stage, site| {
        site.arguments[1].clone_from(&stage.without_book.url);
        site.is_told = |found| found.contains("no external label runbook_base");
    }),
    ("a Prometheus whose alerts lead to the example's address", "monitoring", false, |stage, site| {
        site.arguments[1].clone_from(&stage.with_example_book.url);
        site.is_told = |found| found.contains("still that of the example");
    }),
    ("a Prometheus with other rules", "monitoring", false, |stage, site| {
        site.arguments[1].clone_from(&stage.altered.url);
        site.is_told = |text| {
            let parts = ["has 3 of ARK's rules otherwise", "ArkDown (for 420 s, not 60 s)", "ArkHalted (another expression)", "ArkWatchdogSilent (severity info, not critical)"];
            parts.iter().all(|part| text.contains(part))
        };
    }),
    ("a Prometheus that evaluates rules once an hour", "monitoring", false, |stage, site| {
        site.arguments[1].clone_from(&stage.altered.url);
        site.is_told = |found| found.contains("(every 3600 s, not 60 s)");
    }),
    ("an Alertmanager that does not run", "monitoring", true, |stage, site| {
        site.arguments[1].clone_from(&stage.altered.url);
        site.is_told = |found| found.contains("no alert of Prometheus reaches anybody") && found.contains("failures of sending");
    }),
    ("a Prometheus that drops alerts", "monitoring", false, |stage, site| {
        site.arguments[1].clone_from(&stage.without_book.url);
        site.is_told = |found| found.contains("can drop alerts (action drop)");
    }),
    ("an address of Prometheus without a scheme", "monitoring", true, |_, site| {
        site.arguments[1] = site.arguments[1].replace("http://", "");
        site.is_told = |found| found.contains("is no address of a Prometheus") && found.contains("--prometheus, ARK_PROMETHEUS");
    }),
    ("a snapshot that everybody can read", "snapshot", true, |_, site| open_snapshot(site)),
    ("snapshots in memory", "snapshot", false, |_, site| {
        site.is_told = |found| found.contains("are in memory (tmpfs)");
        let memory = tempfile::tempdir_in("/dev/shm").expect("a directory in memory");
        move_snapshots(site, &memory.path().join("snapshots"));
        site.elsewhere.push(memory);
    }),
    ("snapshots in the data directory", "snapshot", false, |_, site| {
        site.is_told = |found| found.contains("are inside the data directory");
        let inside = site.at("data/snapshots");
        move_snapshots(site, &inside);
    }),
    ("the secret key beside the snapshots", "snapshot", false, |_, site| write_with_mode(&site.at("snapshots/secret.key"), KEY, 0o400)),
    ("the secret key in a snapshot", "snapshot", false, |_, site| write_with_mode(&site.at("snapshots/last/key"), format!("{KEY}\n"), 0o400)),
    ("the secret key in the data directory", "snapshot", false, |_, site| write_with_mode(&site.at("data/secret.key"), KEY, 0o400)),
    ("a Prometheus that scrapes another host", "monitoring", true, |stage, site| {
        site.arguments[1].clone_from(&stage.of_another.url);
        site.is_told = |text| text.contains("scrapes another host than this one") && text.contains("is another host (process ");
    }),
    ("a Prometheus that scrapes what is no host", "monitoring", true, |stage, site| {
        site.arguments[1].clone_from(&stage.of_no_host.url);
        site.is_told = |text| text.contains("answers while the host of the data directory does not run");
    }),
    ("a Prometheus that scrapes an address where nothing is", "monitoring", true, |stage, site| {
        site.arguments[1].clone_from(&stage.of_nothing.url);
        site.is_told = |text| text.contains("http://127.0.0.1:9/metrics is not the address of telemetry_listen (127.0.0.1:");
    }),
    ("a Prometheus that scrapes a name which this machine does not know", "monitoring", false, |stage, site| {
        site.arguments[1].clone_from(&stage.of_a_name.url);
        site.is_told = |text| text.contains("cannot be known") && text.contains("ark.invalid");
    }),
    ("telemetry on another port with each start", "monitoring", false, |_, site| {
        "127.0.0.1:0".clone_into(&mut site.telemetry);
        site.is_told = |text| text.contains("whose port is 0");
    }),
    ("no telemetry", "monitoring", true, |_, site| {
        "off".clone_into(&mut site.telemetry);
        site.is_told = |text| text.contains("telemetry_listen is off");
    }),
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
