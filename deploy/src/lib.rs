//! The way to production: what is checked before a host serves, and what is driven and validated once it does.
//!
//! * [`canary`]: a new version in front of real traffic, and its take-over of the data.
//! * [`check`]: everything `ark serve` would refuse, and what an experienced operator would look at. It reads the configuration, the files and
//!   the database of this machine through the host's own loaders, so that it and a start cannot disagree.
//! * [`env_file`]: files of environment variables.
//! * [`synthetic`]: a steady load on a live host, and the proof that the host did what it must.
//! * [`redis_signals`]: signals of such a load through the Redis of a host.
//! * [`validate`]: the tests that a live host must pass after a deployment.
//! * [`haproxy`]: the runtime API of the `HAProxy` in front of a host.
//! * [`rollback`]: back to the stable version.
//! * [`upgrade`]: a new version in the place of the host on this machine.
//! * [`exchange`]: one version of the host for another on its data: what those that do so share.
//! * [`journal`]: what a command has begun on a host and not undone yet.
//! * [`event_lines`]: the events of a stream of server-sent events.
//! * [`host_identity`]: whether an address, a data directory and a telemetry are those of one host.
//! * [`quarantines`]: the quarantines that began since some moment, also those that were lifted.
//! * [`exclusion`]: one canary, upgrade or rollback of a host at a time; [`runner`]: which process runs it; [`data_lock`]: one
//!   at a time on a data directory, whatever the address.
//!
//! A host that runs, and a Prometheus, are reached as any client would reach them: over the HTTP API and `PromQL`. No room here may know how
//! the host does what it does, or open its database to write; none but [`exchange`] runs another program; and none prints: what happens is
//! reported to the caller.

pub mod canary;
pub mod check;
mod data_lock;
mod durable;
pub mod env_file;
mod event_lines;
pub mod exchange;
mod exclusion;
#[cfg(test)]
mod fixtures;
pub mod haproxy;
mod host_identity;
pub mod journal;
mod process_start;
mod prometheus;
mod proposal;
mod quarantines;
mod record;
pub mod redis_signals;
pub mod rollback;
mod runner;
#[cfg(test)]
mod scripted_host;
mod snapshots;
pub mod synthetic;
pub mod upgrade;
pub mod validate;

pub use quarantines::{SYNTHETIC_REQUESTER, VALIDATION_PROBE};
