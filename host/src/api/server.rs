//! Connections: how many, how long, and how they end.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router as Routes;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;

/// How long a client may take to send its headers.
const HEADER_TIME: Duration = Duration::from_secs(10);
/// The most bytes of headers.
const HEADER_BYTES: usize = 16 * 1024;
/// The most header lines.
const HEADER_LINES: usize = 64;
/// How long running requests may take once the host is told to stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the API cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {listen}: {source}; is another host running there?")]
pub struct ServerError {
    listen: SocketAddr,
    source: std::io::Error,
}

/// A bound listener.
pub struct Server {
    listener: TcpListener,
}

impl Server {
    /// Binds.
    ///
    /// # Errors
    /// The address is taken or not ours.
    pub async fn bind(listen: SocketAddr) -> Result<Self, ServerError> {
        let listener = TcpListener::bind(listen)
            .await
            .map_err(|source| ServerError { listen, source })?;
        Ok(Self { listener })
    }

    /// Where it listens: with the port the system chose, if 0 was asked for.
    ///
    /// # Errors
    /// The system does not say.
    pub fn address(&self) -> std::io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// Serves until `stop` resolves, then accepts no more and waits for the requests that run, 10 s at most.
pub async fn serve(
    server: Server,
    app: &crate::app::App,
    submitters: Vec<crate::model::ids::Name>,
    connections: usize,
    stop: impl Future<Output = ()>,
) {
    let (close, closing) = tokio::sync::watch::channel(false);
    let routes: Routes = super::routes::routes(app, submitters, closing);
    let graceful = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(connections));
    let mut builder = hyper::server::conn::http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIME)
        .max_buf_size(HEADER_BYTES.max(8192) * 2)
        .max_headers(HEADER_LINES);
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
        let _ = stream.set_nodelay(true);
        let service = TowerToHyperService::new(routes.clone());
        let connection = graceful.watch(builder.serve_connection(TokioIo::new(stream), service));
        tokio::spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(%error, "a connection ended badly");
            }
            drop(permit);
        });
    }
    drop(server);
    // Event streams would run on for ever.
    close.send_replace(true);
    tokio::select! {
        () = graceful.shutdown() => {}
        () = tokio::time::sleep(DRAIN) => tracing::warn!("requests still ran when the time to drain was over"),
    }
}
