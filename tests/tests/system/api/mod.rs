//! The HTTP API: requests, connections, TLS, tokens, roles, pages, events and its own document.

mod bad_input;
mod clients;
mod conditions;
mod connections;
mod consumers;
mod event_streams;
mod events;
mod idempotency;
mod openapi;
mod roles;
mod strict_input;
mod tls;
mod token_limits;
mod tokens;
