//! TLS: the certificate and key of the API, read again when their files change.
//!
//! Invariant: files that cannot be used leave the certificate in force that was in force before.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// The certificate and those that vouch for it, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM.
    pub key: PathBuf,
}

/// Why they cannot be used.
#[derive(Debug, thiserror::Error)]
#[error("{file}: {problem}", file = file.display())]
pub struct TlsError {
    file: PathBuf,
    problem: String,
}

/// What connections are encrypted with. Cheap to clone.
#[derive(Clone)]
pub(super) struct Tls {
    files: TlsFiles,
    config: Arc<ArcSwap<ServerConfig>>,
}

impl Tls {
    pub(super) fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let config = read(&files)?;
        Ok(Self {
            files,
            config: Arc::new(ArcSwap::from_pointee(config)),
        })
    }

    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.load_full())
    }

    /// Reads the files again whenever they change. Does not return.
    pub(super) async fn watch(self) {
        let mut seen = changed_at(&self.files);
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let now = changed_at(&self.files);
            if now == seen {
                continue;
            }
            // Half of a pair may be in place yet: then the next look finds the other half.
            match read(&self.files) {
                Ok(config) => {
                    self.config.store(Arc::new(config));
                    seen = now;
                    tracing::info!(certificate = %self.files.certificate.display(), "the certificate was read again");
                }
                Err(error) => {
                    tracing::error!(%error, "the changed certificate cannot be used; the one before stays");
                }
            }
        }
    }
}

fn changed_at(files: &TlsFiles) -> [Option<SystemTime>; 2] {
    let of = |path: &Path| {
        std::fs::metadata(path)
            .and_then(|metadata| metadata.modified())
            .ok()
    };
    [of(&files.certificate), of(&files.key)]
}

fn read(files: &TlsFiles) -> Result<ServerConfig, TlsError> {
    let of = |file: &Path| {
        let file = file.to_owned();
        move |problem: String| TlsError { file, problem }
    };
    let failed = of(&files.certificate);
    let certificates = CertificateDer::pem_file_iter(&files.certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(|error| failed(error.to_string()))?;
    if certificates.is_empty() {
        return Err(of(&files.certificate)("holds no certificate".to_owned()));
    }
    let failed = of(&files.key);
    let key =
        PrivateKeyDer::from_pem_file(&files.key).map_err(|error| failed(error.to_string()))?;
    let failed = of(&files.certificate);
    let mut config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(|error| failed(format!("does not go with its key: {error}")))?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}
