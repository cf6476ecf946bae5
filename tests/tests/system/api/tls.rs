//! TLS at the binary: certificates, their change without a restart, and clients that do not play by the rules.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use ark_tests::telemetry::series_value;
use ark_tests::{Client, Host, PATIENCE, TestDir, ark_program, make_token, send_raw, wait_until};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair};

/// An authority of its own.
pub(crate) struct CertificateAuthority {
    issuer: CertifiedIssuer<'static, KeyPair>,
}

impl CertificateAuthority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).expect("parameters");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().expect("a key");
        Self {
            issuer: CertifiedIssuer::self_signed(params, key).expect("an authority"),
        }
    }

    pub(crate) fn write(&self, to: &Path) -> PathBuf {
        std::fs::write(to, self.issuer.pem()).expect("the authority's file");
        to.to_owned()
    }

    /// A certificate for this machine, and its key.
    pub(crate) fn certify(&self) -> (String, String) {
        self.certify_names(&["localhost", "127.0.0.1"])
    }

    fn certify_names(&self, names: &[&str]) -> (String, String) {
        self.certify_params(names, |_| {})
    }

    /// A certificate for this machine that ends with the beginning of a year, and its key.
    pub(crate) fn certify_until(&self, year: i32) -> (String, String) {
        self.certify_params(&["localhost", "127.0.0.1"], |params| {
            params.not_after = rcgen::date_time_ymd(year, 1, 1);
        })
    }

    fn certify_params(
        &self,
        names: &[&str],
        change: impl FnOnce(&mut CertificateParams),
    ) -> (String, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new(names).expect("parameters");
        change(&mut params);
        // OpenSSL takes a certificate with its issuer's name for one that signed itself.
        params.distinguished_name.push(DnType::CommonName, "a host");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        (certificate.pem(), key.serialize_pem())
    }
}

struct TlsFixture {
    _dir: tempfile::TempDir,
    data: PathBuf,
    certificate: PathBuf,
    key: PathBuf,
    token: String,
}

pub(crate) fn write_key(path: &Path, pem: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, pem).expect("the key");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).expect("its mode");
}

fn prepare_tls(authority: &CertificateAuthority) -> TlsFixture {
    place_with(authority.certify())
}

fn place_with((chain, secret): (String, String)) -> TlsFixture {
    let dir = tempfile::tempdir().expect("a directory");
    let data = dir.path().join("data");
    let (certificate, key) = (dir.path().join("cert.pem"), dir.path().join("key.pem"));
    std::fs::write(&certificate, chain).expect("the certificate");
    write_key(&key, &secret);
    let config = format!(
        "[tls]\ncertificate = \"{}\"\nkey = \"{}\"\n",
        certificate.display(),
        key.display()
    );
    std::fs::write(data.with_extension("toml"), config).expect("the configuration");
    let token = make_token(&data, "root", "admin", &[]);
    TlsFixture {
        _dir: dir,
        data,
        certificate,
        key,
        token,
    }
}

/// `ark token list` over TLS, trusting one authority.
fn list_tokens(host: &Host, place: &TlsFixture, authority: &Path) -> Output {
    list_at(&format!("https://{}", host.address), place, authority)
}

fn list_at(url: &str, place: &TlsFixture, authority: &Path) -> Output {
    Command::new(ark_program())
        .args(["token", "list", "--url", url, "--ca"])
        .arg(authority)
        .env("ARK_TOKEN", &place.token)
        .output()
        .expect("ark starts")
}

#[test]
fn a_certificate_is_changed_without_a_restart_and_a_bad_one_changes_nothing() {
    let (first, second) = (CertificateAuthority::new(), CertificateAuthority::new());
    let place = prepare_tls(&first);
    let dir = place.data.parent().expect("the directory");
    let (one, two) = (
        first.write(&dir.join("one.pem")),
        second.write(&dir.join("two.pem")),
    );
    let host = Host::start_halted(&place.data, &[]);
    wait_until("TLS", || list_tokens(&host, &place, &one).status.success());
    let refused = list_tokens(&host, &place, &two);
    assert!(
        !refused.status.success(),
        "an authority that did not sign it"
    );
    let said = String::from_utf8_lossy(&refused.stderr);
    assert!(said.contains("certificate"), "{said}");

    // Half a change: the former pair stays in force until its key has come too.
    let (chain, key) = second.certify();
    std::fs::write(&place.certificate, &chain).expect("the certificate");
    // Nothing is to happen: the time for two looks of the host at the files, one every two seconds.
    std::thread::sleep(Duration::from_millis(4_500));
    assert!(
        list_tokens(&host, &place, &one).status.success(),
        "the former certificate"
    );
    write_key(&place.key, &key);
    wait_until("the new certificate", || {
        list_tokens(&host, &place, &two).status.success()
    });
    assert!(
        !list_tokens(&host, &place, &one).status.success(),
        "the former one is gone"
    );

    // SIGHUP does not end the host; it reads the files at once, and what is broken changes nothing.
    std::fs::write(&place.certificate, "no PEM").expect("the certificate");
    host.hang_up();
    // Nothing is to happen here either: what there is to wait for is said in the host's log alone.
    std::thread::sleep(Duration::from_millis(500));
    assert!(list_tokens(&host, &place, &two).status.success());
    let (chain, key) = first.certify();
    write_key(&place.key, &key);
    std::fs::write(&place.certificate, &chain).expect("the certificate");
    host.hang_up();
    wait_until("the third certificate", || {
        list_tokens(&host, &place, &one).status.success()
    });
    assert_eq!(host.terminate(), Some(0));
}

#[test]
fn telemetry_says_when_the_certificate_in_force_ends() {
    const SERIES: &str = "ark_tls_certificate_end_timestamp_seconds";
    let authority = CertificateAuthority::new();
    let place = place_with(authority.certify_until(2126));
    let host = Host::start_halted(&place.data, &[]);
    let has_end = |end: f64| {
        let metrics = Client::of_telemetry(&host).get_text("/metrics");
        series_value(&metrics, SERIES) == Some(end)
    };
    wait_until("the end of the first certificate", || {
        has_end(4_922_899_200.0)
    });
    // Behind it is one that has ended, which clients do not need.
    let (certificate, key) = authority.certify_until(2127);
    let (ended, _) = authority.certify_until(2020);
    write_key(&place.key, &key);
    std::fs::write(&place.certificate, format!("{certificate}{ended}")).expect("the certificate");
    wait_until("the end of the second certificate", || {
        has_end(4_954_435_200.0)
    });
    assert_eq!(host.terminate(), Some(0));

    let dir = TestDir::new("");
    let plain = dir.start();
    let metrics = Client::of_telemetry(&plain).get_text("/metrics");
    assert!(!metrics.contains(SERIES), "{metrics}");
}

#[test]
fn clients_without_tls_are_disconnected_and_others_are_served() {
    let authority = CertificateAuthority::new();
    let place = prepare_tls(&authority);
    let dir = place.data.parent().expect("the directory");
    let ca = authority.write(&dir.join("ca.pem"));
    let host = Host::start_halted(&place.data, &[]);
    wait_until("TLS", || list_tokens(&host, &place, &ca).status.success());
    let plain = send_raw(&host, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert!(!plain.starts_with(b"HTTP"), "plain HTTP is not answered");
    let garbage = send_raw(&host, &[0x16, 0x03, 0x01, 0xff, 0xff, 0x00]);
    assert!(!garbage.starts_with(b"HTTP"));
    // Handshakes that stop halfway.
    let mut stalled: Vec<TcpStream> = (0..50)
        .map(|_| {
            let mut stream = TcpStream::connect(&host.address).expect("a connection");
            let _ = stream.write_all(&[0x16, 0x03, 0x01, 0x02, 0x00]);
            stream
        })
        .collect();
    assert!(list_tokens(&host, &place, &ca).status.success());
    for stream in &mut stalled {
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        let mut rest = Vec::new();
        let ended = stream.read_to_end(&mut rest);
        let timed_out = ended.is_err_and(|error| {
            matches!(
                error.kind(),
                std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut
            )
        });
        assert!(
            !timed_out,
            "the host lets a handshake go that does not come to its end"
        );
    }
    assert_eq!(host.terminate(), Some(0));

    // Keys that cannot be used are said before anything starts.
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(&place.key, std::fs::Permissions::from_mode(0o644)).expect("its mode");
    let open = Host::try_start(&place.data, &[])
        .err()
        .expect("it does not start");
    assert!(open.contains("key.pem") && open.contains("chmod"), "{open}");
    write_key(&place.key, &authority.certify().1);
    let foreign = Host::try_start(&place.data, &[])
        .err()
        .expect("it does not start");
    assert!(
        foreign.contains("do not belong together") && foreign.contains("own key"),
        "{foreign}"
    );
}

#[test]
fn a_failure_of_tls_is_told_as_one_with_the_remedy() {
    let (ours, other) = (CertificateAuthority::new(), CertificateAuthority::new());
    let dir = tempfile::tempdir().expect("a directory");
    let trusted = ours.write(&dir.path().join("ours.pem"));
    let foreign = other.write(&dir.path().join("other.pem"));
    let here = prepare_tls(&ours);
    let elsewhere = place_with(ours.certify_names(&["ark.example"]));
    let own_authority = place_with((ours.issuer.pem(), ours.issuer.key().serialize_pem()));
    let plain = prepare_tls(&ours);
    std::fs::write(plain.data.with_extension("toml"), "").expect("a configuration");
    let hosts: Vec<Host> = [&here, &elsewhere, &own_authority, &plain]
        .map(|place| Host::start_halted(&place.data, &[]))
        .into();
    for (host, scheme, authority, said) in [
        (
            0,
            "https",
            &foreign,
            "give the authority's certificate with --ca",
        ),
        (1, "https", &trusted, "made for other names"),
        (2, "https", &trusted, "basicConstraints=CA:FALSE"),
        (3, "https", &trusted, "its address begins with http://"),
        (0, "http", &trusted, "its address begins with https://"),
    ] {
        let url = format!("{scheme}://{}", hosts[host].address);
        let output = list_at(&url, &here, authority);
        let errors = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success(), "{errors}");
        assert!(
            errors.contains(said) && errors.contains(&url),
            "{said}: {errors}"
        );
        assert!(
            !errors.contains("no host answers") && !errors.contains("is not known: look"),
            "{errors}"
        );
        // The cause is said once.
        let cause = errors.rsplit(": ").next().expect("a part").trim();
        assert_eq!(errors.matches(cause).count(), 1, "{errors}");
    }
    let output = list_at(&format!("https://{}", hosts[0].address), &here, &trusted);
    assert!(output.status.success(), "the right way works");
}
