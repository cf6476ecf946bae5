//! A Redis with TLS and a user of its own, and one that Sentinels know.

use std::path::Path;
use std::process::{Child, Command, Stdio};

use ark_tests::ports::free_port;
use ark_tests::proxy::Proxy;
use ark_tests::redis::{Redis, RedisClient};
use ark_tests::{TestDir, wait_for, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};

use super::Records;

/// What the user of the host may do: the commands that docs/redis.md names, on the keys of its streams.
const USER: &str = "~beats ~beats:dead +ping +info +role +xgroup +xinfo +xreadgroup +xautoclaim +xclaim +xpending +xack +xadd +xrevrange +multi +exec +type +xlen";

fn write_certificates(dir: &Path) {
    let mut authority = CertificateParams::new(Vec::new()).expect("parameters");
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    let issuer = CertifiedIssuer::self_signed(authority, key).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(dir.join("ca.pem"), issuer.pem()).expect("a file");
    std::fs::write(dir.join("cert.pem"), certificate.pem()).expect("a file");
    std::fs::write(dir.join("key.pem"), key.serialize_pem()).expect("a file");
}

#[test]
fn a_redis_with_tls_and_a_user_is_read_and_its_password_can_change() {
    let files = tempfile::tempdir().expect("a directory");
    write_certificates(files.path());
    let tls_port = free_port();
    let path = |name: &str| files.path().join(name).display().to_string();
    let redis = Redis::start_with(
        free_port(),
        &[
            "--tls-port",
            &tls_port.to_string(),
            "--tls-cert-file",
            &path("cert.pem"),
            "--tls-key-file",
            &path("key.pem"),
            "--tls-ca-cert-file",
            &path("ca.pem"),
            "--tls-auth-clients",
            "no",
        ],
    );
    let proxy = Proxy::start(tls_port);
    let mut client = redis.connect();
    let mut user = vec!["ACL", "SETUSER", "ark", "on", ">first"];
    user.extend(USER.split(' '));
    client.run(&user);
    std::fs::write(path("password"), "first\n").expect("a password");
    let dir = TestDir::new(&format!(
        r#"
[redis]
url = "rediss://localhost:{}/0"
username = "ark"
password_file = {:?}
ca_file = {:?}
[[redis.signals]]
stream = "beats"
topic = "original.heartbeat"
"#,
        proxy.port,
        path("password"),
        path("ca.pem")
    ));
    let host = dir.start();
    let records = Records::open(&dir);
    client.run(&["XADD", "beats", "*", "n", "1"]);
    wait_until("a signal over TLS", || records.count_signals() == 1);

    // The password changes: the host is let in again once its file says so.
    client.run(&["ACL", "SETUSER", "ark", "resetpass", ">second"]);
    client.run(&["CLIENT", "KILL", "USER", "ark"]);
    client.run(&["XADD", "beats", "*", "n", "2"]);
    std::fs::write(path("password"), "second").expect("a password");
    wait_until("a signal with the new password", || {
        records.count_signals() == 2
    });
    // The dead letters need nothing more than this user may do.
    client.run(&["XADD", "beats", "*", "n", "1", "n", "2"]);
    wait_until("a dead letter", || {
        client.run(&["XLEN", "beats:dead"]).text() == "1"
    });
    assert_eq!(host.terminate(), Some(0));

    // An authority that did not sign the certificate is not enough. The host has two connections: by the fifth, each has failed.
    write_certificates(files.path());
    let before = proxy.accepted();
    let host = dir.start();
    wait_until("the refusals", || proxy.accepted() >= before + 5);
    let log = host.terminate_for_log();
    assert!(log.contains("certificate"), "{log}");
    assert_eq!(records.count_signals(), 2);
}

/// A Sentinel. It is killed when it is dropped.
struct Sentinel {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Sentinel {
    fn start(master: u16) -> Self {
        let dir = tempfile::tempdir().expect("a directory");
        let port = free_port();
        let config = dir.path().join("sentinel.conf");
        let text = format!(
            "port {port}\nbind 127.0.0.1\nsentinel monitor main 127.0.0.1 {master} 1\nsentinel down-after-milliseconds main 60000\nsentinel failover-timeout main 60000\n"
        );
        std::fs::write(&config, text).expect("a configuration");
        let child = Command::new("redis-server")
            .arg(&config)
            .arg("--sentinel")
            .stdout(Stdio::null())
            .spawn()
            .expect("a Sentinel");
        let sentinel = Self {
            child,
            port,
            _dir: dir,
        };
        wait_until("the Sentinel answers", || {
            RedisClient::connect(port).is_ok()
        });
        sentinel
    }

    fn connect(&self) -> RedisClient {
        RedisClient::connect(self.port).expect("a connection")
    }
}

impl Drop for Sentinel {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn reading_follows_the_master_that_sentinels_know() {
    let first = Redis::start();
    let first_port = first.port.to_string();
    let second = Redis::start_with(free_port(), &["--replicaof", "127.0.0.1", &first_port]);
    let sentinel = Sentinel::start(first.port);
    let dir = TestDir::new(&format!(
        r#"
[redis]
url = "redis+sentinel://127.0.0.1:1,127.0.0.1:{}/main"
[[redis.signals]]
stream = "beats"
topic = "original.heartbeat"
"#,
        sentinel.port
    ));
    let host = dir.start();
    let records = Records::open(&dir);
    first.connect().run(&["XADD", "beats", "*", "n", "1"]);
    wait_until("a signal of the first master", || {
        records.count_signals() == 1
    });
    let mut asked = sentinel.connect();
    wait_until("the Sentinel knows the replica", || {
        asked.run(&["SENTINEL", "REPLICAS", "main"]).list().len() == 1
            && second.run(&["XLEN", "beats"]).trim() == "1"
    });
    wait_for("the failover", || {
        let reply = asked.try_run(&["SENTINEL", "FAILOVER", "main"]).ok()?;
        (reply.text() == "OK").then_some(())
    });
    wait_until("the second is the master", || {
        second.run(&["ROLE"]).lines().next() == Some("master")
    });
    second.connect().run(&["XADD", "beats", "*", "n", "2"]);
    wait_until("a signal of the second master", || {
        records.count_signals() == 2
    });
    assert_eq!(
        records.query_texts("SELECT payload FROM signals ORDER BY id"),
        [r#"{"n":"1"}"#, r#"{"n":"2"}"#]
    );
    assert_eq!(host.terminate(), Some(0));
}
