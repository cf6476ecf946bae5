//! The ARK host: runs agents nobody has to trust.
//!
//! Read [`app`] first: it turns a [`config::Config`] into running parts. `ARCHITECTURE.md` says what each part is for and what it must not
//! know.

pub mod agents;
pub mod api;
pub mod app;
pub mod changes;
pub mod config;
pub mod front;
pub mod hrm;
pub mod outgoing_events;
pub mod policies;
pub mod quotas;
pub mod readiness;
pub mod redis;
pub mod reply;
pub mod router;
pub mod telemetry;
pub mod watchdog;
pub mod webhooks;
