//! The arbiter.

pub mod redaction;
