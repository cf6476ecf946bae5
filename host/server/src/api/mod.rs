//! The HTTP API: requests in, answers out, errors as problem documents.
//!
//! Invariants: a request that cannot be judged is answered 4xx, names the field and leaves nothing behind; an answer to a proposal or a
//! signal is sent after it is on disk; every answer carries the trace id (`traceparent`, W3C Trace Context).
//!
//! Must not know: SQL, wasmtime, rules. Reads that touch the disk run off the reactor.

pub mod access;
mod agent_problem;
mod agent_view;
mod agents;
mod amendments;
mod approvals;
mod auth;
mod control;
mod envelope;
mod events;
mod exchange;
mod forms;
mod lists;
mod memories;
mod metering;
mod openapi;
mod operating;
mod page;
mod policies;
mod policy_problem;
mod policy_view;
mod problem;
mod proposing;
mod reading;
mod routes;
mod server;
mod session_log;
mod settings;
mod stall;
mod state;
mod tls;
mod tokens;
mod traces;
mod truths;
mod unread;
pub mod view;

pub use server::{AccessConfig, Server, ServerError, serve};
pub use tls::{Tls, TlsError, TlsFiles};
pub use tokens::{agents_of, token_view};
