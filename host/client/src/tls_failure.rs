//! What is wrong with a TLS connection that did not come about, and what to do about it.
//!
//! Must not know: requests, tokens.

use rustls::{CertificateError, Error};

/// Says why a TLS connection to a host did not come about; `None`: the failure is not one of TLS. Then nothing was sent.
pub(crate) fn describe_tls_failure(url: &str, error: &ureq::Error) -> Option<String> {
    Some(match find_tls_error(error)? {
        Error::InvalidCertificate(certificate) => {
            let remedy = describe_certificate_remedy(certificate);
            format!("the certificate of {url} is not accepted, so nothing was sent: {remedy}")
        }
        _ => format!(
            "there is no TLS connection to {url}, so nothing was sent; is it a host with a certificate? Without one its address begins with http://"
        ),
    })
}

/// Returns the failure of TLS that a request ended with, if it is one.
pub(crate) fn find_tls_error(error: &ureq::Error) -> Option<&Error> {
    match error {
        ureq::Error::Io(error) => error.get_ref()?.downcast_ref(),
        ureq::Error::Rustls(failure) => Some(failure),
        _ => None,
    }
}

fn describe_certificate_remedy(problem: &CertificateError) -> &'static str {
    match problem {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "its authority is not known here; give the authority's certificate with --ca (ARK_CA)"
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is made for other names; use one of them in --url, or have this one added (subjectAltName)"
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "it has expired; have it renewed, and check the clock of this machine"
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet; check the clocks of both machines"
        }
        CertificateError::Revoked => "it is revoked; have another one made",
        _ => {
            "it is no certificate of a server, e.g. an authority's own; make one for the host with basicConstraints=CA:FALSE, signed by the authority that --ca names (the guide on access has the commands)"
        }
    }
}
