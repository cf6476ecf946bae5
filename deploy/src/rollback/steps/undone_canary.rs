//! The step `canary`: one that is under way is undone first.

use std::sync::atomic::AtomicBool;

use serde_json::json;

use crate::canary::{
    CanaryEnd, CanaryError, CanaryOrder, HostCanary, OrderAnswer, end_silent, read_state,
    send_request,
};
use crate::rollback::error::RollbackError;

use super::run::{Rollback, TICK};

impl Rollback<'_> {
    /// Undoes a canary, by its own way back.
    pub(super) fn undo_canary(&mut self, stop: &AtomicBool) -> Result<String, RollbackError> {
        let client = self.clients.client;
        let path = &self.state.begin.plan.canary_journal;
        let Some(canary) = read_state(client, path)? else {
            return Ok("none is under way".to_owned());
        };
        let mut was_promoted = false;
        loop {
            match send_request(client, path, CanaryOrder::Abort, stop) {
                // The command that runs it takes everything back. If that is killed meanwhile, the next request finds the canary free.
                Ok(OrderAnswer::Noted | OrderAnswer::Ended) => std::thread::sleep(TICK),
                // It has come to its end before it took the order. The next request finds whether another one has begun.
                Err(CanaryError::Over { end, .. }) => was_promoted = end == CanaryEnd::Promoted,
                Ok(OrderAnswer::NotRun) => {
                    let taken = HostCanary::take_up(client, path, &[], &mut *self.tell)?;
                    let left = taken.leave_to_rollback(stop)?;
                    let mut detail = if left.has_begun {
                        let next = "what its take-over began is undone by the next steps";
                        format!("{} was ended; {next}", canary.id)
                    } else {
                        format!("{} was undone", canary.id)
                    };
                    if let Some(unweighed) = left.unweighed {
                        detail = format!("{detail}; {unweighed}");
                    }
                    return Ok(detail);
                }
                // It has ended meanwhile.
                Err(CanaryError::None(_)) => break,
                Err(error) => {
                    let Some(pid) = error.find_silent() else {
                        return Err(error.into());
                    };
                    // It would hold up the way back: what it left is undone in its stead.
                    let reason = format!("{error}; it is ended now");
                    (self.tell)("canary", json!({"reason": reason}));
                    end_silent(path, pid)?;
                }
            }
        }
        let ended = if was_promoted {
            "had come to its end: its version was promoted"
        } else {
            "was undone"
        };
        Ok(format!("{} {ended}", canary.id))
    }
}
