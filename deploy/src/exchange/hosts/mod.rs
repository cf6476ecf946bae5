//! The hosts of an exchange: how one is stopped and started, which version serves, and that it is the one that is meant.
//!
//! Invariant: what a host says of itself is not believed of its version, which is that of the program of its process.
//!
//! Reading order: [`control`] (stop and start, by `sh -c` or by argument vectors), [`serving`] (which version serves), [`identity`] (whether address and
//! data directory are of one host), [`pause`] (how long none was there), [`exchange`] (stop, start, ready).
//!
//! Must not know: journals, requests and their shares, validations.

pub(crate) mod control;
mod exchange;
pub(crate) mod identity;
pub(crate) mod pause;
pub(crate) mod serving;

pub(crate) use exchange::HostExchange;
