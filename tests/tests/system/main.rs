//! Whole-system tests: the real `ark`, driven from outside through its ports, its command line and its files.
//!
//! All of them are one binary, so that one link serves them all. A test starts its own hosts in a directory of its own, on ports that the
//! kernel chooses, and changes nothing of its process: with nextest each test has a process, with `cargo test` they share one.

mod agents;
mod api;
mod cli;
mod decisions;
mod docs;
mod journeys;
mod policies;
mod production;
mod redis;
mod state;
mod telemetry;
mod watchdog;
mod webhooks;
