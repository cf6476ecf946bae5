//! What whole-system tests need: the real `ark` in a directory of its own, and a plain HTTP client.
//!
//! Nothing here is the process's own: no environment variable or working directory is changed, no port is fixed. Tests share a process
//! when they run without nextest.

pub mod alertmanager;
pub mod artefacts;
pub mod client;
pub mod encoding;
pub mod faults;
pub mod haproxy;
pub mod host;
mod module_cache;
pub mod policies;
pub mod ports;
pub mod programs;
pub mod prometheus;
pub mod proxy;
pub mod random;
pub mod redis;
pub mod registry;
pub mod requests;
pub mod telemetry;
pub mod turn;
pub mod wait;
pub mod ways;

pub use artefacts::{
    FAULT_VARIABLE, ark_program, copy_agent, copy_numbered, guests_dir, hostile_guests_dir,
    mark_component, newer_program, policies_dir, run_ark,
};
pub use client::{Client, JSON, RawAnswer, header, send_raw, send_raw_to};
pub use encoding::{base64, hex, sha256};
pub use host::{Host, PATIENT, TestDir, make_token};
pub use module_cache::seed_module_cache;
pub use random::Random;
pub use requests::{post_signal, trade, wait_for_trace};
pub use turn::take_turn;
pub use wait::{PATIENCE, wait_for, wait_until};
pub use ways::{WAYS, Way};
