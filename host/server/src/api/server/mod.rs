//! Connections: the listener, TLS, and clients that stop reading.

mod listener;
mod stall;
mod tls;

pub use listener::{AccessConfig, ServeError, Server, ServerError, serve};
pub use tls::{Tls, TlsError, TlsFiles};
