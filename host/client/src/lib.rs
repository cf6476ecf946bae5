//! Requests to a running host over its HTTP API, for every command that talks to one.
//!
//! Invariants: a token leaves this machine only under TLS, and goes only to the host that it is sent to (no redirect is followed). The host of
//! this machine is reached directly, whatever proxies the environment names. A request that changes something is sent twice only under an idempotency key,
//! and only where a kept connection ended under it.
//!
//! Reading order: [`HostClient`], [`Answer`], [`ClientError`], [`UploadStage`], [`members`].
//!
//! Must not know: what a call means (but for operations, which uploads become), the host's own types, how anything is printed, where address and token come from.

mod address;
mod answer;
mod connection;
mod error;
mod kept;
pub mod members;
mod operation;
mod pages;
mod path;
mod tls_failure;

pub use address::normalize_address;
pub use answer::Answer;
pub use ark_model::page::MAX_PAGE;
pub use connection::{AwaitedWork, Endpoint, HostClient, OutgoingBody};
pub use error::ClientError;
pub use operation::UploadStage;
pub use pages::ListRows;
pub use path::{escape_query, join_path};
