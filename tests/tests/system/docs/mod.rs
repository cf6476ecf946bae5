//! The documentation: its commands do what it says, its links lead somewhere, and the files that it names exist.

mod limits;
mod links;
mod pages;
mod runbook;
mod shell;
