//! Certificate and key of the API.

use std::path::Path;

use ark_host::api::Tls;
use ark_model::ids::Millis;
use ark_model::printable::format_count;
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;

use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How many days before its end a certificate should be renewed.
const NOTICE_DAYS: i64 = 14;
const DAY_SECONDS: i64 = 86_400;

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
    let is_chain = certificates.windows(2).all(|pair| match pair {
        [one, next] => one.issuer() == next.subject(),
        _ => true,
    });
    if !is_chain {
        lines.add_error(
            format!("{path}: a certificate is not issued by the one behind it"),
            "put the host's certificate first, each followed by that of its issuer",
        );
    }
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

/// Whether clients will take the certificate as a server's.
fn check_use(leaf: &X509Certificate<'_>, path: &str, lines: &mut CheckLines) {
    if leaf.is_ca() {
        lines.add_error(
            format!("{path}: the first certificate is an authority's, not a host's"),
            "have the authority issue a certificate for the host (CA:FALSE), and put that first",
        );
    }
    let names = leaf.subject_alternative_name().ok().flatten();
    if names.is_none_or(|names| names.value.general_names.is_empty()) {
        lines.add_error(
            format!("{path}: the certificate names no host (subjectAltName); clients refuse it"),
            "have it issued with the names and addresses that clients use",
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
