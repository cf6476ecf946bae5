//! What an operator, or an upgrade on its way back, asks of a rollback: to begin, to go on with other options, to say what it would do, to end.
//!
//! Invariant: what may refuse is asked before the journal has an entry; a dry run asks the same and changes nothing.
//!
//! Reading order: [`begin`] (one is taken up or begun), [`given`] (options of one that goes on), [`tokens`], [`rehearsal`] (the dry run), [`give_up`].
//!
//! Must not know: how a step is taken.

mod begin;
mod give_up;
mod given;
mod rehearsal;
mod tokens;

pub(crate) use give_up::{give_up_for_upgrade, may_give_up};
pub use rehearsal::rehearse_rollback;
pub(crate) use rehearsal::{describe_rollback, read_way_back};
