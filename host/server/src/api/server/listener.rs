//! The listener: how many connections are served, how long a client may take, and how serving ends.

use std::net::SocketAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use axum::http::HeaderValue;
use futures_util::TryFutureExt;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tower_service::Service;

use ark_store::ReadError;

use crate::api::auth::Auth;
use crate::api::events::{EventFeed, StartFeedError, StreamLimits, StreamPlaces};
use crate::api::http::deadline::WRITE_TIME;
use crate::api::http::head::HEAD_BYTES;
use crate::api::http::unread::{LingerFlag, may_be_left_unread};
use crate::api::routes::{PreparedRoutes, build_routes};
use crate::api::state::ApiDeps;
use crate::listen::bind_address;

use super::connection_threads::ConnectionThreads;
use super::head_timer::HeadTimer;
use super::linger::LingeringClose;
use super::stall::StallLimit;
use super::tls::{Tls, TlsFiles};
use super::yielding::YieldingBody;

/// How long a client may take to send its headers, to begin another request, and for the TLS handshake.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The most bytes that are read before a request's head is known: more than a head may have, so that one that is a little too large is answered
/// with a problem document. One that is larger still is answered 431 without a body.
const READ_BYTES: usize = HEAD_BYTES + 16 * 1024;

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
#[error(
    "cannot listen on {listen}: {source}; give another address with `listen` (--listen, ARK_LISTEN), port 0 for a free one{}",
    if source.kind() == std::io::ErrorKind::AddrInUse { "; or stop the host that runs there" } else { "" }
)]
pub struct ServerError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// Why the API cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The tokens cannot be read.
    #[error(transparent)]
    Tokens(#[from] ReadError),
    /// Event streams cannot be served.
    #[error(transparent)]
    Events(#[from] StartFeedError),
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Binds the API's address.
    ///
    /// # Errors
    /// The address stays in use, or is not one of this machine's.
    pub async fn bind(listen: SocketAddr) -> Result<Self, ServerError> {
        let listener = bind_address(listen)
            .await
            .map_err(|source| ServerError { listen, source })?;
        Ok(Self { listener })
    }

    /// Takes a listener that another process has bound and keeps open. It must be non-blocking.
    ///
    /// # Errors
    /// The system does not let it be used.
    pub fn from_listener(listener: std::net::TcpListener) -> std::io::Result<Self> {
        let listener = TcpListener::from_std(listener)?;
        Ok(Self { listener })
    }

    /// The address it listens on: with the port the system chose, if the port was 0.
    ///
    /// # Errors
    /// The system does not report it.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// How the API can be reached.
#[derive(Debug, Clone)]
pub struct AccessConfig {
    /// Certificate and key; absent: plain HTTP.
    pub tls: Option<TlsFiles>,
    /// A proxy before the host ends TLS and passes on requests of other machines.
    pub behind_proxy: bool,
    /// The most requests a token may send in a second.
    pub rate: NonZeroU32,
    /// The most connections at the same time.
    pub connections: usize,
    /// The most event streams at the same time.
    pub streams: StreamLimits,
    /// The origins whose pages may call the API; none: only its own page may.
    pub origins: Vec<HeaderValue>,
}

impl AccessConfig {
    /// Whether other machines can reach the API.
    #[must_use]
    pub const fn is_exposed(&self, listen: SocketAddr) -> bool {
        self.behind_proxy || !listen.ip().is_loopback()
    }
}

/// Serves the routes on the threads until `stop` resolves, then accepts no more connections and waits for the running requests, for `drain` at most.
///
/// # Errors
/// See [`ServeError`].
pub async fn serve_api(
    (server, routes): (Server, PreparedRoutes),
    threads: &ConnectionThreads,
    deps: ApiDeps,
    access: &AccessConfig,
    tls: Option<Tls>,
    drain: Duration,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError> {
    let certificate_end = Arc::clone(&deps.meters.certificate_end);
    let tls = tls.map(|tls| Arc::new(tls.record_end_in(certificate_end)));
    let (close, closing) = watch::channel(false);
    let exposed = server
        .address()
        .map_or(true, |address| access.is_exposed(address));
    let auth = Arc::new(Auth::open(deps.store.clone(), access.rate, exposed)?);
    let streams = Arc::clone(&deps.meters.streams);
    let feed = EventFeed::start(deps.store.clone(), Arc::clone(&streams))?;
    let places = StreamPlaces::new(access.streams, streams);
    let streams = (feed.clone(), places);
    let routes: Routes = build_routes(
        routes,
        deps,
        auth,
        streams,
        closing.clone(),
        &access.origins,
    );
    let ending = async {
        stop.await;
        // Event streams do not end by themselves.
        close.send_replace(true);
        feed.stop();
    };
    let connections = access.connections;
    let served = (routes, connections, tls);
    serve_connections(server, threads, served, drain, &closing, ending).await;
    Ok(())
}

/// How long a connection that was accepted before the host stops may take to send its request.
const LATE_REQUESTS: Duration = Duration::from_millis(200);

/// Serves calls on the connections of a listener until `stop` resolves, then accepts no more and waits for the running requests, for `drain` at
/// most. What is served: routes, on so many connections at the same time, with TLS if there is a certificate. `closing` becomes true with the end.
pub(crate) async fn serve_connections(
    server: Server,
    threads: &ConnectionThreads,
    (routes, connections, tls): (Routes, usize, Option<Arc<Tls>>),
    drain: Duration,
    closing: &watch::Receiver<bool>,
    stop: impl Future<Output = ()>,
) {
    let follower = tls
        .clone()
        .map(|tls| tokio::spawn(async move { tls.follow_files().await }));
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(connections));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        // A client that has closed its sending side is still answered.
        .half_close(true)
        .header_read_timeout(HEADER_TIME)
        // Of header lines hyper reads 100 at most, which is likewise more than a head may have. With a number that is set here, it would allocate
        // 8 KiB for the lines of each request.
        .max_buf_size(READ_BYTES);
    let mut stop = std::pin::pin!(stop);
    loop {
        // A connection past the limit waits in the kernel's queue until another one ends.
        let permit = tokio::select! {
            () = &mut stop => break,
            permit = Arc::clone(&room).acquire_owned() => match permit {
                Ok(permit) => permit,
                Err(_) => break,
            },
        };
        let stream = tokio::select! {
            () = &mut stop => break,
            accepted = server.listener.accept() => match accepted {
                Ok((stream, _)) => stream,
                Err(error) => {
                    // Out of file descriptors, most likely: give others time to end.
                    tracing::warn!(%error, "a connection could not be accepted");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    continue;
                }
            },
        };
        let place = threads.take_place();
        let stream = match place.move_stream(stream) {
            Ok(stream) => stream,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be served");
                continue;
            }
        };
        let _ = stream.set_nodelay(true);
        let linger = LingerFlag::default();
        let stream = LingeringClose::new(StallLimit::new(stream, WRITE_TIME), linger.clone());
        let routes = routes.clone();
        let service = service_fn(move |mut request: hyper::Request<Incoming>| {
            // Most requests need no flag, and an extension costs an allocation.
            if may_be_left_unread(request.headers()) {
                request.extensions_mut().insert(linger.clone());
            }
            // Routes are always ready: a service that first waits for that moves each request twice more.
            let answering = routes.clone().call(request);
            answering.map_ok(|response| response.map(YieldingBody::new))
        });
        let acceptor = tls.as_ref().map(|tls| tls.current_acceptor());
        let (mut builder, watcher) = (builder.clone(), graceful.watcher());
        let mut closing = closing.clone();
        place.spawn(async move {
            // A timer belongs to the runtime that it is made in.
            builder.timer(HeadTimer::new(HEADER_TIME));
            let ended = match acceptor {
                None => {
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    watcher.watch(connection).await
                }
                Some(acceptor) => {
                    let shaken = tokio::select! {
                        _ = closing.wait_for(|closing| *closing) => return,
                        shaken = tokio::time::timeout(HEADER_TIME, acceptor.accept(stream)) => shaken,
                    };
                    let stream = match shaken {
                        Ok(Ok(stream)) => stream,
                        Ok(Err(error)) => {
                            tracing::debug!(%error, "the TLS handshake failed");
                            return;
                        }
                        Err(_) => return,
                    };
                    let connection = builder.serve_connection(TokioIo::new(stream), service);
                    watcher.watch(connection).await
                }
            };
            if let Err(error) = ended {
                tracing::debug!(%error, "a connection failed");
            }
            drop(permit);
        });
    }
    drop(server);
    if let Some(follower) = follower {
        follower.abort();
    }
    // A connection that was accepted last may not have sent its request yet: it would be closed without an answer.
    if graceful.count() > 0 {
        tokio::time::sleep(LATE_REQUESTS.min(drain)).await;
    }
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(drain) => tracing::warn!("requests were still running when the drain time was over; they are cut off"),
    }
}
