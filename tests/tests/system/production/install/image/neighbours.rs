//! The image as `deploy/compose.yaml` runs it: a host with the file's environment and secrets, and a front with its arguments, each in a container
//! of its own; beside them Debian's Redis, `HAProxy`, Prometheus and Alertmanager with the configuration that the file mounts. All have the network
//! of this machine, so addresses are the test's own.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::Path;
use std::process::{Command, Stdio};

use ark_tests::artefacts::checkout_path;
use ark_tests::ports::free_port;
use ark_tests::wait_until;

use super::buildah::{Buildah, Contained, finish};
use super::{USER, is_ready};
use crate::api::tls::CertificateAuthority;
use crate::production::install::compose::{
    NeighbourProcess, SECRETS, outcome, propose, read_front_arguments, start_haproxy,
};
use crate::production::install::installation::variables_of_compose;
use crate::production::install::manifests::read_probe;
use crate::production::install::monitoring::{Monitoring, Targets};

/// Writes a secret that only this user may read, as docs/installation.md has it.
fn write_secret(path: &Path, text: &str, owner: u32) {
    fs::write(path, text).expect("a file");
    fs::set_permissions(path, fs::Permissions::from_mode(0o400)).expect("its mode");
    chown(path, Some(owner), Some(owner)).expect("its owner");
}

/// Starts the Redis of Compose. Its password is in the directory of secrets.
fn start_redis(secrets: &Path, dir: &Path, port: u16) -> NeighbourProcess {
    let script = fs::read_to_string(checkout_path("deploy/compose/start-redis.sh"));
    let script = script
        .expect("the script")
        .replace("bind 0.0.0.0", &format!("bind 127.0.0.1\nport {port}"))
        .replace("dir /data", &format!("dir {}", dir.display()));
    let start = dir.join("start-redis.sh");
    fs::write(&start, script).expect("a file");
    let redis = Command::new("sh")
        .arg(start)
        .env("REDIS_PASSWORD_FILE", secrets.join("redis_server_password"))
        .stdout(Stdio::null())
        .spawn();
    NeighbourProcess(redis.expect("redis starts"))
}

/// The settings of the host in `deploy/compose.yaml`, with addresses of the test.
fn host_options(ports: &Ports) -> Vec<String> {
    let text = fs::read_to_string(checkout_path("deploy/compose.yaml")).expect("the file");
    let variables = variables_of_compose(&text);
    let options: Vec<String> = variables
        .iter()
        .map(|(name, value)| {
            let value = match *name {
                "ARK_LISTEN" => format!("127.0.0.1:{}", ports.host),
                "ARK_TELEMETRY_LISTEN" => format!("127.0.0.1:{}", ports.host_telemetry),
                "ARK_REDIS_URL" => {
                    value.replace("redis:6379", &format!("127.0.0.1:{}", ports.redis))
                }
                _ => (*value).to_owned(),
            };
            format!("--env={name}={value}")
        })
        .collect();
    assert!(options.len() >= 7, "{options:?}");
    options
}

struct Ports {
    host: u16,
    host_telemetry: u16,
    front: u16,
    front_telemetry: u16,
    redis: u16,
}

pub(super) fn run_as_compose_does(buildah: &Buildah, tag: &str) {
    let secrets = buildah.path("secrets");
    fs::create_dir(&secrets).expect("a directory");
    let at = |name: &str| secrets.join(name);
    let authority = CertificateAuthority::new();
    let (chain, key) = authority.certify();
    authority.write(&at("host_ca"));
    // HAProxy and Redis are run by root here.
    write_secret(&at("tls_bundle"), &format!("{chain}{key}"), 0);
    write_secret(&at("redis_server_password"), "correct-horse\n", 0);
    write_secret(&at("redis_password"), "correct-horse\n", USER);
    write_secret(&at("tls_certificate"), &chain, USER);
    write_secret(&at("tls_key"), &key, USER);
    write_secret(&at("secret_key"), &"2c".repeat(32), USER);
    let ports = Ports {
        host: free_port(),
        host_telemetry: free_port(),
        front: free_port(),
        front_telemetry: free_port(),
        redis: free_port(),
    };
    let redis_data = buildah.path("redis");
    fs::create_dir(&redis_data).expect("a directory");
    let _redis = start_redis(&secrets, &redis_data, ports.redis);

    let (host_container, _) = buildah.make_container(tag);
    let make_token = |role: &str, name: &str| {
        let name = ["--name", name, "--data-dir", "/var/lib/ark"];
        let args = [&["token", "create", "--role", role][..], &name].concat();
        finish(&mut buildah.program(&host_container, &[], &args))
    };
    let admin = make_token("admin", "ada");
    write_secret(&at("front_token"), &make_token("reader", "front"), USER);
    let mount = format!(
        "--volume={}:{}:ro",
        secrets.display(),
        SECRETS.trim_end_matches('/')
    );
    let options = [&[mount.clone()][..], &host_options(&ports)].concat();
    let host = Contained::start(buildah.program(&host_container, &options, &["serve"]));
    // As the file's healthcheck: there is TLS, so it is telemetry that is asked.
    let healthy = || {
        buildah
            .program(&host_container, &options, &["health"])
            .output()
    };
    wait_until("the host is healthy", || {
        healthy().expect("buildah starts").status.success()
    });

    let (front_container, _) = buildah.make_container(tag);
    let mut arguments = read_front_arguments(Path::new(SECRETS.trim_end_matches('/')));
    arguments.extend([
        format!("--owner=https://localhost:{}", ports.host),
        format!("--listen=127.0.0.1:{}", ports.front),
        format!("--telemetry-listen=127.0.0.1:{}", ports.front_telemetry),
    ]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let words = [&["front"][..], &arguments].concat();
    let _front = Contained::start(buildah.program(&front_container, &[mount], &words));
    wait_until("the front is ready", || is_ready(ports.front_telemetry));
    let (kind, probe) = read_probe("front");
    assert_eq!((kind.as_str(), probe[0].as_str()), ("CMD", "/usr/bin/ark"));
    let telemetry = format!("127.0.0.1:{}", ports.front_telemetry);
    let probe: Vec<String> = probe[1..]
        .iter()
        .map(|word| word.replace("127.0.0.1:9090", &telemetry))
        .collect();
    let probe: Vec<&str> = probe.iter().map(String::as_str).collect();
    finish(&mut buildah.program(&front_container, &[], &probe));

    // No front of a new version is there, as without the profile `canary`.
    let stable = format!("127.0.0.1:{}", ports.front);
    let (_haproxy, url) = start_haproxy(&secrets, &stable, "127.0.0.1:9");
    wait_until(
        "a proposal reaches the host by HAProxy and the front",
        || {
            let answer = propose(&url, &secrets, &admin, "BTC-USD").output();
            outcome(&answer.expect("curl starts").stdout) == "approved"
        },
    );
    let monitoring = Monitoring::start(&Targets {
        host: format!("127.0.0.1:{}", ports.host_telemetry),
        front: format!("127.0.0.1:{}", ports.front_telemetry),
        canary: "127.0.0.1:9".to_owned(),
        webhook: "127.0.0.1:9".to_owned(),
    });
    monitoring.wait_scraped();
    assert_eq!(host.terminate(), Some(0));
}
