//! The HTTP API: requests in, answers out, errors as problem documents.
//!
//! Invariants: a malformed request is answered 4xx with the field at fault and changes nothing; an answer to a proposal or a
//! signal is sent after it is on disk; every answer carries the trace id (`traceparent`, W3C Trace Context).
//!
//! Must not know: SQL, wasmtime, rules. Reads that touch the disk run off the reactor.

pub mod auth;
pub(crate) mod call;
mod events;
pub(crate) mod http;
mod notes;
mod openapi;
mod operations;
pub(crate) mod repeats;
mod routes;
mod server;
mod state;
mod v1;

pub use auth::access;
pub use events::{EventReader, StartFeedError, StreamLimits};
pub use http::fields::validate_reason;
pub use routes::PreparedRoutes;
pub use server::{
    AccessConfig, ConnectionThreads, ServeError, Server, ServerError, Tls, TlsError, TlsFiles,
    serve_api,
};
pub(crate) use server::{compress_answers, serve_connections};
pub use state::ApiDeps;
pub use v1::actions::decision_view as view;
pub use v1::actions::held_action::{HeldAction, HeldRule};
pub(crate) use v1::actions::propose::read_proposed_actions;
pub use v1::tokens::{advise_on_lockout, agents_of, grants_of, token_view};
