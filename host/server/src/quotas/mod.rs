//! Quotas: how much each agent and each token may use over time, and who is refused when one is used up.
//!
//! The store's writer counts what is committed ([`ark_store::Store::read_usage`]); [`QuotaKeeper`] compares it with the quotas before work is
//! handed on. What is asked for and not committed yet counts as used, so no number of requests at the same time gets past a quota. What an
//! invocation asks for is known before its commit, so it is refused as a whole or not at all.
//!
//! Reading order: [`keeper`], [`demand`] (what is asked for), [`config`].
//!
//! Must not know: HTTP, SQL, how agents run, what a decision is.

mod config;
mod database;
mod demand;
mod keeper;

pub use config::{QuotaConfig, TokenQuotas};
pub use database::limit_database;
pub use demand::Demand;
pub use keeper::{QuotaExceeded, QuotaKeeper, QuotaUse, Reservation};
