//! The certificate authorities that a client of TLS trusts, from a PEM file that an operator names: for requests to hosts, to registries and to
//! webhooks.
//!
//! Invariants: a file is read up to a bound; one without a certificate is refused, so that nobody trusts nothing, or everything, by mistake.
//!
//! Must not know: who is called, and which option or key named the file.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use ureq::tls::{PemItem, RootCerts, parse_pem};

/// The longest file that is read, in bytes.
const MAX_BYTES: u64 = 1 << 20;

/// Why a file of certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{path} {problem}", path = path.display())]
pub struct AuthorityError {
    /// The file.
    pub path: PathBuf,
    /// What is wrong with it, to be read after its name.
    pub problem: String,
}

/// Reads the certificates of a PEM file. What else is in it, e.g. a key, is passed over.
///
/// # Errors
/// The file cannot be read, has more than 1 MiB, is not PEM, or holds no certificate.
pub fn read_authorities(path: &Path) -> Result<RootCerts, AuthorityError> {
    let refused = |problem: String| AuthorityError {
        path: path.to_owned(),
        problem,
    };
    let mut pem = Vec::new();
    File::open(path)
        .and_then(|file| file.take(MAX_BYTES + 1).read_to_end(&mut pem))
        .map_err(|error| refused(format!("cannot be read: {error}")))?;
    if pem.len() as u64 > MAX_BYTES {
        return Err(refused(format!("has more than {MAX_BYTES} bytes")));
    }
    let mut authorities = Vec::new();
    for item in parse_pem(&pem) {
        let item = item.map_err(|error| refused(format!("is not PEM: {error}")))?;
        if let PemItem::Certificate(certificate) = item {
            authorities.push(certificate);
        }
    }
    if authorities.is_empty() {
        return Err(refused("holds no certificate; give a PEM file".to_owned()));
    }
    Ok(RootCerts::new_with_certs(&authorities))
}
