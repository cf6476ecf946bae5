//! Connections: the listener, TLS, clients that stop reading, and those that still send when they are answered.

mod connection_threads;
mod head_timer;
mod layers;
mod linger;
mod listener;
mod stall;
mod tls;
mod yielding;

pub use connection_threads::ConnectionThreads;
pub(super) use layers::allow_origins;
pub(crate) use layers::compress_answers;
pub(crate) use listener::serve_connections;
pub use listener::{AccessConfig, ServeError, Server, ServerError, serve_api};
pub use tls::{Tls, TlsError, TlsFiles};
