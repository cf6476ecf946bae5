//! The way back of a canary: the requests first, then the host, if that was stopped or has ended.
//!
//! Invariants: where decisions would be lost it is refused, and the new version serves on; repeated after a kill at any point, it comes to the same end;
//! one that comes to its end is the canary's end, also where the journal took no entry of it, unless the journal is why it was made.
//!
//! Must not know: why the canary goes back.

use std::sync::atomic::AtomicBool;

use ark_store::is_restore_pending;
use serde_json::json;

use crate::canary::analysis::Tripwire;
use crate::canary::error::CanaryError;
use crate::canary::journal::CanaryEntry;
use crate::canary::orders::OrderInbox;
use crate::canary::report::CanaryReport;
use crate::canary::stable_host::{
    begin_way_back, bring_stable_back, check_way_back, find_host_to_bring_back,
};
use crate::exchange::ExchangeError;
use crate::exchange::data::token::TokenFile;

use super::HostCanary;
use super::weights::WeightReturn;

/// A canary that was ended for a rollback.
pub(crate) struct CanaryLeft {
    /// Whether its take-over had begun, so that its host is left to the rollback.
    pub(crate) has_begun: bool,
    /// Why its weights are not those of before.
    pub(crate) unweighed: Option<String>,
}

impl HostCanary<'_> {
    pub(super) fn go_back(
        mut self,
        tripwire: Option<Tripwire>,
        reason: &str,
        stop: &AtomicBool,
    ) -> Result<CanaryReport, CanaryError> {
        let take_over = self.begin.plan.take_over.clone();
        let (take_over, ended) = find_host_to_bring_back(self.client, take_over, &self.state);
        let reason = &format!("{reason}{ended}");
        (self.tell)(
            "going-back",
            json!({"tripwire": tripwire, "reason": reason}),
        );
        let is_new = self.state.going_back.is_none();
        if let Some(plan) = &take_over
            && let Err(refused) = check_way_back(plan, &self.begin.id)
        {
            return Err(self.refuse_way_back(refused));
        }
        // The requests go back whatever fails from here on, also where a full disk takes no entry: the stable fronts park them while the host comes back.
        // The entry is made also where HAProxy is away.
        let weighed = self.return_weights();
        let begun = take_over.as_ref().map_or(Ok(None), |plan| {
            let lock = self.journal.share_lock()?;
            begin_way_back(plan, &self.begin.id, &lock, stop).map_err(CanaryError::from)
        });
        if let Ok(Some(refused)) = begun {
            // That the way back is refused is what counts.
            if let Err(unweighed) = self.weigh_share() {
                (self.tell)("unweighed", json!({"reason": unweighed.to_string()}));
            }
            return Err(self.refuse_way_back(refused));
        }
        let noted = if is_new {
            self.journal.record_entry(&CanaryEntry::GoingBack {
                tripwire,
                reason: reason.to_owned(),
            })
        } else {
            Ok(())
        };
        let lacking = match noted {
            // The journal, which says that the canary goes on, is emptied below: it must not give a version that has failed its share again.
            Err(unnoted) if !self.lacks_entry => {
                self.tell_unnoted(&unnoted);
                None
            }
            noted => noted.err(),
        };
        let token_file = TokenFile::place_beside(&self.path, &self.begin.id);
        let mut serving = String::new();
        if let Some(plan) = &take_over {
            if let Err(CanaryError::TakeOver(ExchangeError::Interrupted(what))) = begun {
                return Err(ExchangeError::Interrupted(what).into());
            }
            // Whatever failed before, but for the stop: without it no host serves.
            let brought = begun.and_then(|_| {
                let lock = self.journal.share_lock()?;
                bring_stable_back(self.client, plan, &self.begin, &lock, &token_file, stop)
                    .map_err(CanaryError::from)
            });
            serving = brought.map_err(|cause| CanaryError::WayBack {
                reason: reason.clone(),
                cause: Box::new(cause),
            })?;
        }
        // Nothing is wrong with the version: a later run goes on by the journal once that takes entries.
        if let Some(unnoted) = lacking {
            return Err(unnoted.into());
        }
        let unweighed = match weighed {
            Err(error) if self.weights == WeightReturn::Needed => return Err(error),
            weighed => self.note_unweighed(weighed.err().map(|error| error.to_string())),
        };
        self.admin = token_file.read_client(self.client)?;
        if self.admin.is_some() {
            (self.tell)("token", json!({"reason": token_file.describe_token()}));
        }
        let mut text = tripwire.map_or_else(
            || reason.to_owned(),
            |tripwire| format!("{}: {reason}", tripwire.as_str()),
        );
        if let Some(unweighed) = &unweighed {
            text = format!("{text}; {unweighed}");
        }
        if !serving.is_empty() {
            text = format!("{text}; the stable host serves{serving}");
        }
        let figures = json!({"tripwire": tripwire, "unweighed": unweighed});
        self.record_step("went-back", &text, &figures);
        self.journal.clear_entries()?;
        // One that was noted is acknowledged, and one that came too late finds that no canary is under way.
        if self.unnoted.is_some() {
            OrderInbox::new(&self.path, &self.begin.id).acknowledge_end();
        }
        let token_file = self.admin.is_some().then(|| token_file.into_path());
        let mut report = self.into_report(false, tripwire, reason.to_owned(), None);
        report.token_file = token_file;
        report.unweighed = unweighed;
        Ok(report)
    }

    /// Ends a canary for a rollback, which brings the stable version back by its own steps, also where decisions are lost that somebody accepts:
    /// the requests go back, and the canary is over. An `HAProxy` that is away or changed does not hold up the rollback, which starts the stable host.
    ///
    /// # Errors
    /// As [`Self::resume`].
    pub(crate) fn leave_to_rollback(
        mut self,
        stop: &AtomicBool,
    ) -> Result<CanaryLeft, CanaryError> {
        self.weights = WeightReturn::Tried;
        let plan = &self.begin.plan;
        let take_over = plan.take_over.as_ref().filter(|_| self.state.was_stopped);
        // A restore that this canary began and that was interrupted is its own to repeat: no host starts before.
        if take_over.is_some_and(|plan| is_restore_pending(&plan.data_dir)) {
            let report = self.abort("a rollback", stop)?;
            return Ok(CanaryLeft {
                has_begun: false,
                unweighed: report.unweighed,
            });
        }
        let has_begun = take_over.is_some();
        let unweighed = self.return_weights().err().map(|error| error.to_string());
        let unweighed = self.note_unweighed(unweighed);
        let tripwire = Tripwire::Aborted;
        let mut text = format!("{}: a rollback", tripwire.as_str());
        if let Some(unweighed) = &unweighed {
            text = format!("{text}; {unweighed}");
        }
        let figures = json!({"tripwire": tripwire, "unweighed": unweighed});
        self.record_step("went-back", &text, &figures);
        self.journal.clear_entries()?;
        Ok(CanaryLeft {
            has_begun,
            unweighed,
        })
    }

    /// Notes that the new version serves on, so that the take-over may be finished. Returns the refusal.
    fn refuse_way_back(&mut self, refused: ExchangeError) -> CanaryError {
        // Where nothing was noted of the way back, nothing is to be taken back; and that it is refused is what counts.
        if self.state.going_back.is_some()
            && let Err(unnoted) = self.journal.record_entry(&CanaryEntry::BackRefused)
        {
            (self.tell)("unnoted", json!({"reason": unnoted.to_string()}));
        }
        refused.into()
    }
}
