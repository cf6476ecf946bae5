//! `ark rollback` with the real binary: the stable version gets host, requests and, where it must, an earlier database; whatever is killed on
//! the way, the end is the same and no decision is lost unsaid.

mod commands;
mod give_up;
mod given_options;
mod kills;
mod restore;
mod stable_version;
mod validation;

pub(super) use commands::{
    STEPS, command, errors_of, journal_path, options, promote_new, report_of, run, steps_of,
};
