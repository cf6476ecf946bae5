//! Judging the owner's decisions again, off the path of their answers.
//!
//! An answer with decisions is queued ([`queue`]); each decision's record is read back from the owner, and its action is judged under its facts by
//! the front's own engine, Graveyard and operator policies ([`judge`]). Policies that were uploaded to the owner are judged by the owner's
//! component, on the front's engine ([`uploaded`]). What the front reads in the request is compared with the recorded action too, so that parser
//! and redaction are part of the comparison.

mod judge;
mod queue;
mod recent;
mod tally;
mod uploaded;

pub(super) use judge::FrontJudge;
pub(super) use queue::{AnswerKind, AnsweredCall, VerdictQueue};
pub(super) use tally::VerdictTally;
