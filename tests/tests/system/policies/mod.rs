//! Operator policies: uploaded over the API, and declared in files.

mod declared;
mod exchange;
mod recovery;
mod verdicts;
