//! How the owner is reached: its certificate's authorities, the front's token, bounds on connecting, and probes of idle connections.

use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::BoxError;
use axum::body::Body;
use axum::http::{HeaderValue, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore, crypto::ring};
use tower_service::Service;

use super::config::FrontConfig;
use super::error::FrontError;

/// How long it may take to reach the owner, the TLS handshake included.
const CONNECT_TIME: Duration = Duration::from_secs(5);
/// How long a connection is kept that nothing uses: for less time than a host keeps it (10 s), so that none is used that the owner is closing.
const IDLE_TIME: Duration = Duration::from_secs(5);
/// How much of a streamed body waits on a connection to be written at most, and the largest head of an answer: an owner that reads nothing costs no more.
const MAX_BUFFER: usize = 64 * 1024;
/// After how long a silent connection is probed, how often then, and how many probes may fail.
const KEEPALIVE: (Duration, Duration, u32) = (Duration::from_secs(5), Duration::from_secs(2), 3);

/// The client of the owner, and the front's own token.
pub(super) struct OwnerAccess {
    pub(super) client: Client<BoundedConnector, Body>,
    /// The `Authorization` of the front's own requests.
    pub(super) authorization: Option<HeaderValue>,
}

impl OwnerAccess {
    /// Reads the authorities and the token. Nothing is sent yet.
    ///
    /// # Errors
    /// A file cannot be used.
    pub(super) fn read(config: &FrontConfig) -> Result<Self, FrontError> {
        let mut client = Client::builder(TokioExecutor::new());
        client
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_TIME)
            .http1_max_buf_size(MAX_BUFFER);
        let connector = BoundedConnector(build_connector(config.owner_ca.as_deref())?);
        Ok(Self {
            client: client.build(connector),
            authorization: config.token_file.as_deref().map(read_token).transpose()?,
        })
    }
}

/// Connects within [`CONNECT_TIME`].
#[derive(Clone)]
pub(super) struct BoundedConnector(HttpsConnector<HttpConnector>);

/// What connecting comes to.
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

impl Service<Uri> for BoundedConnector {
    type Response = <HttpsConnector<HttpConnector> as Service<Uri>>::Response;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let connecting = self.0.call(uri);
        Box::pin(async move {
            tokio::time::timeout(CONNECT_TIME, connecting)
                .await
                .unwrap_or_else(|_| Err("it takes too long to connect".into()))
        })
    }
}

fn build_connector(ca: Option<&Path>) -> Result<HttpsConnector<HttpConnector>, FrontError> {
    let mut http = HttpConnector::new();
    http.enforce_http(false);
    http.set_nodelay(true);
    let (time, interval, retries) = KEEPALIVE;
    http.set_keepalive(Some(time));
    http.set_keepalive_interval(Some(interval));
    http.set_keepalive_retries(Some(retries));
    let builder = HttpsConnectorBuilder::new();
    let builder = match ca {
        None => builder.with_provider_and_webpki_roots(ring::default_provider())?,
        Some(path) => builder.with_tls_config(
            ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_root_certificates(read_authorities(path)?)
                .with_no_client_auth(),
        ),
    };
    Ok(builder.https_or_http().enable_http1().wrap_connector(http))
}

fn read_authorities(path: &Path) -> Result<RootCertStore, FrontError> {
    let refused = |reason: String| FrontError::File {
        path: path.to_owned(),
        reason,
    };
    let text = std::fs::read(path).map_err(|error| {
        refused(format!(
            "the authority of the owner cannot be read from it: {error}; correct front.owner_ca (--owner-ca)"
        ))
    })?;
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| refused(format!("is no PEM: {error}")))?;
        roots.add(certificate).map_err(|error| {
            refused(format!("holds a certificate that cannot be used: {error}"))
        })?;
    }
    if roots.is_empty() {
        return Err(refused(
            "holds no certificate; give the PEM file of the authority".to_owned(),
        ));
    }
    Ok(roots)
}

fn read_token(path: &Path) -> Result<HeaderValue, FrontError> {
    let refused = |reason: String| FrontError::File {
        path: path.to_owned(),
        reason,
    };
    let unreadable = |error: std::io::Error| {
        refused(format!(
            "the token for the owner cannot be read from it: {error}; correct front.token_file (--token-file)"
        ))
    };
    let is_open = is_open_to_all(path).map_err(unreadable)?;
    if is_open {
        return Err(refused("is open to every user; chmod 0600 it".to_owned()));
    }
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let token = text.trim();
    if token.is_empty() {
        return Err(refused("is empty; write the token into it".to_owned()));
    }
    let value = HeaderValue::from_str(&format!("Bearer {token}"));
    let mut value = value.map_err(|_| refused("holds no token".to_owned()))?;
    value.set_sensitive(true);
    Ok(value)
}

fn is_open_to_all(path: &Path) -> std::io::Result<bool> {
    use std::os::unix::fs::MetadataExt;
    Ok(std::fs::metadata(path)?.mode() & 0o007 != 0)
}
