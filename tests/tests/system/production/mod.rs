//! The way to production: what `ark check` finds, what `ark synthetic` proves of a live host, what `ark validate` tests of it,
//! what `ark front` does before it, what `ark canary` and `ark rollback` do with versions, what `ark upgrade` does with the host of this machine, how a host takes
//! sockets of systemd, and what operators install.

mod activation;
pub(crate) mod altering;
mod canary;
mod check;
mod compose;
mod dry_runs;
mod exchange_kills;
mod exchange_losses;
mod exchange_tokens;
mod exclusion;
mod front;
mod full_disk;
mod gates;
mod handover;
mod host_kills;
mod identity;
mod image;
mod installation;
mod interruptions;
mod kustomize;
mod manifests;
mod monitoring;
mod package;
mod partial_copies;
mod paths;
mod progress;
mod rollback;
mod root;
mod synthetic;
mod systemd;
mod units;
mod upgrade;
mod validate;
