//! Certificate and key of the API.

use std::path::Path;

use ark_host::api::{Tls, TlsError};
use ark_model::ids::Millis;
use ark_model::printable::format_count;
use x509_parser::certificate::X509Certificate;
use x509_parser::error::X509Error;
use x509_parser::extensions::GeneralName;
use x509_parser::pem::Pem;
use x509_parser::public_key::PublicKey;

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How many days before its end a certificate should be renewed.
const NOTICE_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 86_400;
/// The shortest RSA key that clients take, in bits.
const LEAST_RSA_BITS: usize = 2048;
/// Signatures with MD5 or SHA-1, which can be forged: of RSA (two each), ECDSA, DSA.
const WEAK_SIGNATURES: [&str; 6] = [
    "1.2.840.113549.1.1.4",
    "1.3.14.3.2.25",
    "1.2.840.113549.1.1.5",
    "1.3.14.3.2.29",
    "1.2.840.10045.4.1",
    "1.2.840.10040.4.3",
];
/// What to do about a chain whose parts do not belong together.
const CHAIN_REMEDY: &str =
    "put the host's certificate first, then the one that issued it, up to the authority's";

/// The host's own reader takes both files: they can be read, the key is the certificate's and is not open to every user.
pub(super) fn check_tls(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(files) = &inputs.config.access.tls else {
        if inputs.config.access.behind_proxy {
            lines.add_ok("a proxy ends TLS (behind_proxy)");
        }
        return;
    };
    match Tls::load(files.clone()) {
        Ok(_) => {
            let user = &inputs.host_user;
            user.check_file(&files.certificate, "0644", lines);
            user.check_secret(&files.key, "0600", lines);
            if lines.is_good() {
                lines.add_ok(format!(
                    "{} with {}",
                    files.certificate.display(),
                    files.key.display()
                ));
            }
        }
        Err(error @ TlsError::Mismatched { .. }) => lines.add_error(
            error.to_string(),
            "put the key with which the certificate was requested into the file of tls.key, or have the certificate issued again for this key; the two belong together where `openssl x509 -noout -pubkey -in` of the one and `openssl pkey -pubout -in` of the other print the same",
        ),
        Err(error) => lines.add_error(
            error.to_string(),
            "tls.certificate is a PEM file with the chain, tls.key one of mode 0600 with its own key",
        ),
    }
}

/// The certificate is one of a server, and holds now and for a while.
pub(super) fn check_certificate(inputs: &CheckInputs, lines: &mut CheckLines) {
    let Some(files) = &inputs.config.access.tls else {
        return;
    };
    let Some(chain) = read_chain(&files.certificate) else {
        return lines.add_skipped(
            format!(
                "{} holds no certificate to look at",
                files.certificate.display()
            ),
            "see the line `tls`",
        );
    };
    let certificates: Vec<X509Certificate<'_>> = chain
        .iter()
        .filter_map(|pem| pem.parse_x509().ok())
        .collect();
    let path = files.certificate.display();
    let Some(leaf) = certificates
        .first()
        .filter(|_| certificates.len() == chain.len())
    else {
        return lines.add_error(
            format!("{path} holds what is no X.509 certificate"),
            "have it issued again",
        );
    };
    check_use(leaf, &path.to_string(), lines);
    let now = i64::try_from(Millis::now().0 / 1000).unwrap_or(i64::MAX);
    for certificate in &certificates {
        check_dates(certificate, now, &path.to_string(), lines);
    }
    check_chain(&certificates, &path.to_string(), lines);
    if lines.is_good() {
        let days = (leaf.validity().not_after.timestamp() - now) / DAY_SECONDS;
        lines.add_ok(format!(
            "{}, for {} more",
            leaf.subject(),
            format_count(days, "day", "days")
        ));
    }
}

fn read_chain(path: &Path) -> Option<Vec<Pem>> {
    let text = std::fs::read(path).ok()?;
    let blocks = Pem::iter_from_buffer(&text)
        .collect::<Result<Vec<_>, _>>()
        .ok()?;
    let chain: Vec<Pem> = blocks
        .into_iter()
        .filter(|pem| pem.label == "CERTIFICATE")
        .collect();
    (!chain.is_empty()).then_some(chain)
}

/// Each certificate is issued by the one behind it, which is an authority's, and with signatures and keys that clients take.
fn check_chain(certificates: &[X509Certificate<'_>], path: &str, lines: &mut CheckLines) {
    for (place, certificate) in certificates.iter().enumerate() {
        let issuer = certificates.get(place + 1);
        check_strength(certificate, place, path, lines);
        if let Some(issuer) = issuer {
            check_issuer(certificate, issuer, place, path, lines);
        }
    }
}

/// Nobody can forge the certificate by a weak digest or key. The signature of an authority on itself counts nothing.
fn check_strength(
    certificate: &X509Certificate<'_>,
    place: usize,
    path: &str,
    lines: &mut CheckLines,
) {
    let subject = certificate.subject();
    let is_root = place > 0 && subject == certificate.issuer();
    let algorithm = certificate.signature_algorithm.oid().to_id_string();
    if !is_root && WEAK_SIGNATURES.contains(&algorithm.as_str()) {
        lines.add_error(
            format!("{path}: {subject} is signed with SHA-1 or MD5; clients refuse it"),
            "have it issued again with SHA-256",
        );
    }
    if let Ok(PublicKey::RSA(key)) = certificate.public_key().parsed()
        && (1..LEAST_RSA_BITS).contains(&key.key_size())
    {
        lines.add_error(
            format!(
                "{path}: {subject} has an RSA key of {} bits; clients refuse it",
                key.key_size()
            ),
            "make another key (ECDSA P-256, or RSA of 2048 bits), and have it issued again",
        );
    }
}

/// `issuer` has signed the certificate, and may: it is an authority's, as far down as this.
fn check_issuer(
    certificate: &X509Certificate<'_>,
    issuer: &X509Certificate<'_>,
    place: usize,
    path: &str,
    lines: &mut CheckLines,
) {
    let (subject, name) = (certificate.subject(), issuer.subject());
    if certificate.issuer() != name {
        return lines.add_error(
            format!("{path}: {subject} is not issued by the certificate behind it, {name}"),
            CHAIN_REMEDY,
        );
    }
    match certificate.verify_signature(Some(issuer.public_key())) {
        Ok(()) => {}
        Err(X509Error::SignatureUnsupportedAlgorithm) => lines.add_warning(
            format!("{path}: whether {name} has signed {subject} is not known: the algorithm cannot be checked here"),
            "look at the chain with `openssl verify`, or use ECDSA P-256, P-384, Ed25519 or RSA with SHA-256",
        ),
        Err(_) => lines.add_error(
            format!("{path}: {subject} is not signed by the certificate behind it, {name}, which has the name of its issuer and another key"),
            CHAIN_REMEDY,
        ),
    }
    let constraints = issuer.basic_constraints().ok().flatten();
    let constraints = constraints.map(|found| found.value);
    let may_sign = issuer
        .key_usage()
        .ok()
        .flatten()
        .is_none_or(|usage| usage.value.key_cert_sign());
    if !constraints.is_some_and(|found| found.ca) || !may_sign {
        lines.add_error(
            format!("{path}: {subject} is issued by {name}, which is no authority's certificate (CA:TRUE, keyCertSign); clients refuse it"),
            "have the certificate issued by an authority",
        );
    } else if constraints
        .and_then(|found| found.path_len_constraint)
        .is_some_and(|most| usize::try_from(most).is_ok_and(|most| place > most))
    {
        lines.add_error(
            format!("{path}: {name} may not have {place} authorities below it (pathlen); clients refuse the chain"),
            "have the certificate issued by an authority that may",
        );
    }
}

/// Whether clients will take the certificate as a server's.
fn check_use(leaf: &X509Certificate<'_>, path: &str, lines: &mut CheckLines) {
    if leaf.is_ca() {
        lines.add_error(
            format!("{path}: the first certificate is an authority's, not a host's"),
            "have the authority issue a certificate for the host (CA:FALSE), and put that first",
        );
    }
    let names = leaf.subject_alternative_name().ok().flatten();
    let is_host = |name: &GeneralName<'_>| {
        matches!(name, GeneralName::DNSName(_) | GeneralName::IPAddress(_))
    };
    if !names.is_some_and(|names| names.value.general_names.iter().any(is_host)) {
        lines.add_error(
            format!("{path}: the certificate names no host (a DNS name or an address in subjectAltName); clients refuse it"),
            "have it issued with the names and addresses that clients use",
        );
    }
    // TLS 1.3, and every exchange of keys that this host has, is signed with the key.
    let usage = leaf.key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.digital_signature()) {
        lines.add_error(
            format!("{path}: the key of the certificate may not sign (keyUsage without digitalSignature); clients refuse it"),
            "have it issued with keyUsage digitalSignature, or without keyUsage",
        );
    }
    let usage = leaf.extended_key_usage().ok().flatten();
    if usage.is_some_and(|usage| !usage.value.server_auth && !usage.value.any) {
        lines.add_error(
            format!("{path}: the certificate is not for servers (extendedKeyUsage)"),
            "have it issued with serverAuth",
        );
    }
}

fn check_dates(certificate: &X509Certificate<'_>, now: i64, path: &str, lines: &mut CheckLines) {
    let subject = certificate.subject();
    let validity = certificate.validity();
    let left = validity.not_after.timestamp() - now;
    if validity.not_before.timestamp() > now {
        lines.add_error(
            format!("{path}: {subject} holds only from {}", validity.not_before),
            "check the clock, or have the certificate issued again",
        );
    } else if left < 0 {
        lines.add_error(
            format!("{path}: {subject} has expired at {}", validity.not_after),
            "renew it; a running host reads the new files by itself",
        );
    } else if left < NOTICE_DAYS * DAY_SECONDS {
        lines.add_warning(
            format!(
                "{path}: {subject} expires in {}",
                format_count(left / DAY_SECONDS, "day", "days")
            ),
            "renew it; a running host reads the new files by itself",
        );
    }
}
