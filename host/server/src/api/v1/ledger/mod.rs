//! What operators attest: the account and the lists.

pub(crate) mod account;
mod attestations;
pub(crate) mod lists;
