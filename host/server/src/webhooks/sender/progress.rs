//! How far a webhook has come: what is kept and recorded of it, and what operators are shown.

use std::time::Instant;

use ark_model::ids::Millis;
use ark_store::{WebhookChange, WebhookProgress};

use crate::webhooks::status::FailureKind;

use super::WebhookSender;

impl WebhookSender {
    pub(super) fn keep_progress(&mut self, progress: WebhookProgress) {
        self.show_progress(&progress);
        self.progress = Some(progress);
    }

    fn show_progress(&self, progress: &WebhookProgress) {
        self.status.update(|state| {
            state.position = Some(progress.cursor);
            state.event_id.clone_from(&progress.event_id);
            state.attempts = progress.attempts;
            state.retry_at = progress.retry_at;
            state.failing_since = progress.failing_since.or(self.unable_since);
        });
    }

    /// Records that the host itself cannot make an attempt now, e.g. for want of the secret.
    pub(super) fn note_inability(&mut self, problem: &str) {
        self.note_problem(problem);
        let since = *self.unable_since.get_or_insert_with(Millis::now);
        self.status.update(|state| {
            state.failing_since.get_or_insert(since);
        });
    }

    /// Notes that nothing keeps the host from making attempts.
    pub(super) fn note_ability(&mut self) {
        if self.unable_since.take().is_none() {
            return;
        }
        let failing_since = self
            .progress
            .as_ref()
            .and_then(|progress| progress.failing_since);
        self.status.update(|state| {
            state.failing_since = failing_since;
            if failing_since.is_none() {
                state.problem = None;
            }
        });
    }

    pub(super) fn note_delivery(&mut self) {
        self.unable_since = None;
        let mut did_fail = false;
        self.status.update(|state| {
            did_fail = state.problem.take().is_some();
            state.delivered_at = Some(Millis::now());
        });
        if did_fail {
            tracing::info!(webhook = %self.config.name, "events are delivered to a webhook again");
        }
    }

    pub(super) fn note_failure(&mut self, kind: FailureKind, reason: String) {
        self.status.failed(kind).increment();
        self.note_problem(&reason);
        self.last_reason = reason;
    }

    /// Shows why events are not delivered. The log has the first of the same problems in a row.
    fn note_problem(&self, problem: &str) {
        let mut is_new = false;
        self.status.update(|state| {
            is_new = state.problem.as_deref() != Some(problem);
            state.problem = Some(problem.to_owned());
        });
        if is_new {
            tracing::warn!(webhook = %self.config.name, problem, "events are not delivered to a webhook for now");
        }
    }

    /// Records how far the webhook has come, if that changed. When it cannot be, the next time does it.
    pub(super) fn record_progress(&mut self) {
        self.recorded_at = Instant::now();
        let Some(progress) = self.progress.clone() else {
            return;
        };
        if self.recorded.as_ref() == Some(&progress) {
            return;
        }
        let change = WebhookChange::Progress(self.config.name.clone(), progress.clone());
        match self.commit_changes(vec![change]) {
            Ok(()) => self.recorded = Some(progress),
            Err(error) => {
                tracing::debug!(webhook = %self.config.name, %error, "how far events were sent is not recorded");
            }
        }
    }
}
