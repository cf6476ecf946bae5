//! The way to production: what `ark check` finds, what `ark synthetic` proves of a live host, what `ark validate` tests of it,
//! what `ark front` does before it, what `ark canary` and `ark rollback` do with versions, what `ark upgrade` does with the host of this machine, what the three
//! share (`exchange`), how a host takes sockets of a process manager, and what operators install.

pub(crate) mod altering;
mod canary;
mod check;
mod exchange;
mod front;
mod install;
mod paths;
mod process_manager;
mod progress;
mod rollback;
mod root;
mod synthetic;
mod systemd;
mod upgrade;
mod validate;
