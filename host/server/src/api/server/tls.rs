//! TLS: certificate and key from files, read again when they change.
//!
//! Invariants: certificate and key belong together; files that cannot be used leave the previous ones in force and are tried again.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use arc_swap::ArcSwap;
use ark_model::meters::Level;
use tokio::signal::unix::{SignalKind, signal};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{self, ServerConfig};

/// How often the files are checked for changes.
const CHECK_INTERVAL: Duration = Duration::from_secs(2);

/// The files of certificate and key.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsFiles {
    /// The certificate and its chain to the authority, PEM.
    pub certificate: PathBuf,
    /// Its private key, PEM. The file must not be open to every user.
    pub key: PathBuf,
}

impl TlsFiles {
    fn versions(&self) -> FileVersions {
        (file_version(&self.certificate), file_version(&self.key))
    }
}

/// Why TLS cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("{key} = {path}: {reason}", path = path.display())]
    File {
        /// The key of the table `[tls]` that names the file.
        key: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong with it, and what to do.
        reason: String,
    },
    /// The key is another one than the certificate's.
    #[error("{certificate} and {key} do not belong together: the key is not that of the first certificate; give that certificate's own key, and the host's certificate first", certificate = files.certificate.display(), key = files.key.display())]
    Mismatched {
        /// The files.
        files: TlsFiles,
    },
    /// Certificate and key cannot be used.
    #[error("{certificate} with {key}: {source}; give a certificate and its own key", certificate = files.certificate.display(), key = files.key.display())]
    Unusable {
        /// The files.
        files: TlsFiles,
        /// The error of the TLS library.
        source: rustls::Error,
    },
}

/// Inode, length and modification time: what tells a file from its successor.
type FileVersion = (u64, u64, Option<SystemTime>);

/// Those of certificate and key; `None` where there is no file.
type FileVersions = (Option<FileVersion>, Option<FileVersion>);

fn file_version(path: &Path) -> Option<FileVersion> {
    let of = |metadata: Metadata| (metadata.ino(), metadata.len(), metadata.modified().ok());
    std::fs::metadata(path).ok().map(of)
}

/// The certificate and key in force.
pub struct Tls {
    files: TlsFiles,
    /// What the files were before [`Tls::load`] read them: what changes from then on is noticed by [`Tls::follow_files`], however late it starts.
    loaded: FileVersions,
    current: ArcSwap<ServerConfig>,
    /// When the certificate in force ends, as [`TlsSettings::end`].
    end: Arc<Level>,
}

/// What is read from the files.
struct TlsSettings {
    config: Arc<ServerConfig>,
    /// When the certificate ends, in seconds since 1970; 0 where it cannot be read. One of an authority behind it may end before: clients need none that
    /// has, e.g. a cross-signed one for which they have a root of their own.
    end: u64,
}

impl Tls {
    /// Reads certificate and key.
    ///
    /// # Errors
    /// See [`TlsError`].
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let loaded = files.versions();
        let settings = read_settings(&files)?;
        let end = Arc::new(Level::default());
        end.set(settings.end);
        Ok(Self {
            files,
            loaded,
            current: ArcSwap::new(settings.config),
            end,
        })
    }

    /// Records in `meter`, from now on, when the certificate in force ends.
    pub(crate) fn record_end_in(mut self, meter: Arc<Level>) -> Self {
        meter.set(self.end.get());
        self.end = meter;
        self
    }

    /// An acceptor with the certificate that is in force now.
    pub(super) fn current_acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.current.load_full())
    }

    /// Reads the files again when they change or on SIGHUP; never returns.
    pub(super) async fn follow_files(self: Arc<Self>) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => Some(hangup),
            Err(error) => {
                tracing::warn!(%error, "SIGHUP cannot be handled; changed certificates are still noticed");
                None
            }
        };
        let mut seen = self.loaded;
        let mut failed = false;
        loop {
            let signalled = tokio::select! {
                () = tokio::time::sleep(CHECK_INTERVAL) => false,
                () = async {
                    match &mut hangup {
                        Some(hangup) => drop(hangup.recv().await),
                        None => std::future::pending().await,
                    }
                } => true,
            };
            let versions = self.files.versions();
            let changed = versions != seen;
            // A certificate without its new key is tried again until the key is there too.
            if !(signalled || changed || failed) {
                continue;
            }
            let files = self.files.clone();
            let Ok(result) = tokio::task::spawn_blocking(move || read_settings(&files)).await
            else {
                return;
            };
            match result {
                Ok(settings) => {
                    self.current.store(settings.config);
                    self.end.set(settings.end);
                    failed = false;
                    tracing::info!(certificate = %self.files.certificate.display(), "certificate read again");
                }
                Err(error) => {
                    if signalled || changed {
                        tracing::warn!(%error, "the previous certificate stays in force");
                    }
                    failed = true;
                }
            }
            seen = versions;
        }
    }
}

fn read_settings(files: &TlsFiles) -> Result<TlsSettings, TlsError> {
    let refused = |path: &Path, reason: String| TlsError::File {
        key: if path == files.certificate {
            "certificate"
        } else {
            "key"
        },
        path: path.to_owned(),
        reason,
    };
    let unusable = |source| match source {
        rustls::Error::InconsistentKeys(rustls::InconsistentKeys::KeyMismatch) => {
            TlsError::Mismatched {
                files: files.clone(),
            }
        }
        source => TlsError::Unusable {
            files: files.clone(),
            source,
        },
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
    let end = chain.first().and_then(find_end).unwrap_or(0);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(unusable)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(unusable)?;
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsSettings {
        config: Arc::new(config),
        end,
    })
}

/// When a certificate ends, in seconds since 1970; `None`: it cannot be read.
fn find_end(der: &CertificateDer<'_>) -> Option<u64> {
    let (_, certificate) = x509_parser::parse_x509_certificate(der).ok()?;
    u64::try_from(certificate.validity().not_after.timestamp()).ok()
}
