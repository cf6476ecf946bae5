//! TLS: certificate and key from files, read again when they change.
//!
//! Invariants: certificate and key belong together; files that cannot be used leave the former ones in force and are tried again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// How often the files are looked at.
const LOOK_EVERY: Duration = Duration::from_secs(2);

/// Where certificate and key are.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and those that lead to its authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM; a file that not everybody may read.
    pub key: PathBuf,
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why, and what would be right.
        reason: String,
    },
    /// They cannot be used.
    #[error("{certificate} with {key}: {source}; give a certificate and its own key", certificate = files.certificate.display(), key = files.key.display())]
    Unusable {
        /// The files.
        files: TlsFiles,
        /// Why.
        source: rustls::Error,
    },
}

/// What tells a file from its successor.
type Mark = (u64, u64, Option<SystemTime>);

fn mark(path: &Path) -> Option<Mark> {
    let of = |metadata: Metadata| (metadata.ino(), metadata.len(), metadata.modified().ok());
    std::fs::metadata(path).ok().map(of)
}

/// Certificate and key in force.
pub struct Tls {
    files: TlsFiles,
    current: ArcSwap<ServerConfig>,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = ArcSwap::new(read(&files)?);
        Ok(Self { files, current })
    }

    /// Takes on one connection with what is in force now.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    fn marks(&self) -> (Option<Mark>, Option<Mark>) {
        (mark(&self.files.certificate), mark(&self.files.key))
    }

    /// Reads the files again when they change or on SIGHUP; never returns.
    pub(super) async fn follow(self: Arc<Self>) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be handled; changed certificates are still noticed");
                None
            }
        };
        let mut seen = self.marks();
        let mut failed = false;
        loop {
            let told = tokio::select! {
                () = tokio::time::sleep(LOOK_EVERY) => false,
                () = async {
                    match &mut hangup {
                        Some(hangup) => drop(hangup.recv().await),
                        None => std::future::pending().await,
                    }
                } => true,
            };
            let marks = self.marks();
            let changed = marks != seen;
            // A certificate without its new key is tried again until the key is there too.
            if !(told || changed || failed) {
                continue;
            }
            let files = self.files.clone();
            let Ok(result) = tokio::task::spawn_blocking(move || read(&files)).await else {
                return;
            };
            match result {
                Ok(config) => {
                    self.current.store(config);
                    failed = false;
                    tracing::info!(certificate = %self.files.certificate.display(), "certificate read again");
                }
                Err(error) => {
                    if told || changed {
                        tracing::warn!(%error, "the former certificate stays in force");
                    }
                    failed = true;
                }
            }
            seen = marks;
        }
    }
}

fn read(files: &TlsFiles) -> Result<Arc<ServerConfig>, TlsError> {
    let refused = |path: &Path, reason: String| TlsError::File {
        path: path.to_owned(),
        reason,
    };
    let unusable = |source| TlsError::Unusable {
        files: files.clone(),
        source,
    };
    let pem = |path: &Path| std::fs::read(path).map_err(|error| refused(path, error.to_string()));
    let chain = CertificateDer::pem_slice_iter(&pem(&files.certificate)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|error| refused(&files.certificate, format!("is no PEM: {error}")))?;
    if chain.is_empty() {
        let reason = "holds no certificate; give a PEM file".to_owned();
        return Err(refused(&files.certificate, reason));
    }
    let open = std::fs::metadata(&files.key).is_ok_and(|metadata| metadata.mode() & 0o007 != 0);
    if open {
        let reason = "is open to every user; chmod 0600 it".to_owned();
        return Err(refused(&files.key, reason));
    }
    let key = PrivateKeyDer::from_pem_slice(&pem(&files.key)?)
        .map_err(|error| refused(&files.key, format!("holds no private key: {error}")))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}
