//! The exchange of one version of the host for another on its data directory: what canaries, upgrades and rollbacks share.
//!
//! Invariants: a command of the operator's that outlives the process that ran it holds the journal's lock until it has ended, so that no second
//! run begins beside it. A database that a new version migrates is kept first, as the old host left it.
//!
//! # Journal and effect
//!
//! Canaries, upgrades and rollbacks note a step in their journal, on disk, before they take it. The exception is a canary's way back, which is noted
//! when the weights are changed and what serves is stopped, or was to be, so that it needs no room on a full disk; it may be begun again. So after a kill an entry says that its effect may have been
//! made: not at all, in part, or whole. No entry says that one was made, but those of rollbacks, whose steps from the database on are taken again
//! all the same. Therefore each effect can be made again from any of these states, whatever somebody did meanwhile:
//!
//! | entry | effect | again |
//! |---|---|---|
//! | check, snapshot, replay | the new version looks at the machine and at a snapshot | nothing has changed; a snapshot has a path of its own |
//! | stop | what serves is stopped; the database is kept where it will be migrated | a stop command may be run where nothing runs; [`hosts::serving`] says what runs, and all but a new version that was started already is stopped; a way back leaves a process that was not stopped |
//! | start | the new version is started, and is ready | one that serves is left; else everything from the stop on |
//! | going back | the stable version is brought back | the steps of a rollback; a canary has its own, likewise repeated as a whole |
//! | setting aside | a snapshot takes the database's place | while the restore has not ended its file `restore.pending` says so, and it is made again; when it has, that is `restore.json` beside the replaced database, with the name of the restore, by which the next run finds it; then the stable version can open the database, and nothing is restored |
//! | kept before a migration | the database is copied | it is copied again while it has not been migrated: a host may have served since |
//! | rollback: start, health, traffic, validation | the stable version serves | all but the traffic are taken again |
//!
//! A host that ends by itself, e.g. by a kill, is one more state of these: before the stop its database is taken as it is; after a start
//! [`hosts::serving::HostWatch`] tells that it has ended, or that it never came and nothing is left that may bring it, and the exchange goes back or, in a rollback, starts it again.
//!
//! A command that was begun goes on when the process that ran it is killed, and holds the journal's lock: who goes on waits for its end. A journal
//! is cleared, or its end noted, after the last effect.
//!
//! Reading order: three rooms, each of which knows those before it: [`programs`] (what is run), [`data`] (the data directory), [`hosts`] (what serves on it, stop and start). Then
//! [`validation`], [`given`] (options that a run which goes on is given), [`preflight`] (what a dry run looks at), [`traffic`] (weights of `HAProxy`), [`record`] (steps that the host records).
//!
//! Must not know: journals' entries, arguments, how anything is printed.

pub(crate) mod data;
mod error;
pub(crate) mod given;
pub(crate) mod hosts;
pub(crate) mod preflight;
pub(crate) mod programs;
pub(crate) mod record;
pub(crate) mod traffic;
pub(crate) mod validation;

pub use data::database::{Migration, find_migration};
pub use error::ExchangeError;
pub use given::GivenOption;
pub use hosts::control::HostControl;
pub use preflight::rehearse_validation;
pub use validation::{HostClients, ValidationPlan};
