//! The way back of a canary: the requests first, then the host, if that was stopped or has ended.

use std::sync::atomic::AtomicBool;

use serde_json::json;

use crate::exchange::ExchangeError;
use crate::exchange::token::TokenFile;

use super::error::CanaryError;
use super::journal::CanaryEntry;
use super::report::CanaryReport;
use super::run::{HostCanary, WeightReturn};
use super::takeover::{begin_way_back, bring_stable_back, check_way_back, find_host_to_bring_back};
use super::tripwires::Tripwire;

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
        noted?;
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
        let token_file = self.admin.is_some().then(|| token_file.into_path());
        let mut report = self.into_report(false, tripwire, reason.to_owned(), None);
        report.token_file = token_file;
        report.unweighed = unweighed;
        Ok(report)
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
