//! The HTTP API: requests, connections, TLS, tokens, roles, pages, events and its own document.

mod bad_input;
mod clients;
mod conditions;
pub(crate) mod connections;
mod consumers;
mod event_streams;
pub(crate) mod events;
mod exports;
mod idempotency;
mod openapi;
mod roles;
mod strict_input;
pub(crate) mod tls;
mod token_grants;
mod token_limits;
mod tokens;
