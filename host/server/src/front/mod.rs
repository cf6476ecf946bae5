//! A front: a host without a database of its own. It takes requests as a host does, passes them on to the host that owns the data (the *owner*),
//! and judges the owner's decisions again with its own engine and policies.
//!
//! Invariants:
//! * An answer is the owner's, or says that it is the front's own: the owner is away, a bound is reached, a request is not passed on.
//! * Nothing is applied twice: a request whose connection broke is sent again only if it reads, or has an idempotency key. Decisions and
//!   signals without one are given one.
//! * Judging again never holds up an answer and never changes one.
//!
//! Reading order: [`config`], [`connection`] (how the owner is reached), [`owner`] (its state), [`callers`] (whom it has admitted), [`parking`], [`request`] (what is sent), [`relay`] (a request from end to
//! end), [`verdicts`] (judging again), [`serve`] (the ports).
//!
//! Must not know: the store, agents.

mod callers;
mod config;
mod connection;
mod error;
mod owner;
mod parking;
mod relay;
mod request;
mod serve;
mod verdicts;

pub use config::{FrontConfig, FrontPolicies, OwnerAddress};
pub use error::FrontError;
pub use owner::is_front_readiness;
pub use relay::Front;
pub use serve::{FrontListeners, serve_front};
