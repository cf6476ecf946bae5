//! The documentation: its commands do what it says, its links lead somewhere, and the files that it names exist.

mod limits;
mod links;
pub(crate) mod pages;
mod runbook;
pub(crate) mod shell;
