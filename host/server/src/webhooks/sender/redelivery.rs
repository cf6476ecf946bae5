//! Dead letters of a webhook: how an event becomes one, and the attempt at one that an operator asked for.

use ark_store::{NewDeadLetter, WebhookChange, WebhookDeadLetter, WebhookProgress};

use crate::webhooks::client::AttemptResult;

use super::{StepError, WebhookSender};

impl WebhookSender {
    /// Makes the current event a dead letter, in the commit that moves past it.
    pub(super) fn write_dead_letter(
        &mut self,
        mut progress: WebhookProgress,
    ) -> Result<(), StepError> {
        let Some(current) = &self.current else {
            return Ok(());
        };
        let name = self.config.name.clone();
        let kept = self.store.count_webhook_dead_letters(&name)?;
        let limit = self.config.dead_letters;
        // After a restart the reason is no longer known.
        let reason = match self.last_reason.as_str() {
            "" => "the attempts before the host's last start failed".to_owned(),
            reason => reason.to_owned(),
        };
        let letter = NewDeadLetter {
            event_id: current.id.clone(),
            event_type: current.event_type.clone(),
            event_at: current.at,
            body: current.body.clone(),
            attempts: progress.attempts,
            reason,
        };
        let (event, attempts) = (letter.event_id.clone(), letter.attempts);
        let mut behind = progress.clone();
        behind.cursor = current.position;
        behind.event_id = None;
        behind.attempts = 0;
        behind.retry_at = None;
        self.commit_changes(vec![
            WebhookChange::AddDeadLetter(name.clone(), letter, limit),
            WebhookChange::Progress(name.clone(), behind.clone()),
        ])?;
        self.recorded = Some(behind);
        self.status.dead_letters_written.increment();
        let dropped = (kept + 1).saturating_sub(u64::from(limit));
        self.status.dropped.add(dropped);
        tracing::warn!(webhook = %name, event, attempts, reason = self.last_reason, dropped, "an event became a dead letter");
        self.move_past_current(&mut progress);
        self.keep_progress(progress);
        Ok(())
    }

    /// Makes the one attempt at a dead letter that an operator asked for.
    pub(super) fn redeliver(&mut self, letter: &WebhookDeadLetter) -> Result<(), StepError> {
        let name = self.config.name.clone();
        let event_id = letter.letter.event_id.clone();
        match self.client.send(&event_id, &letter.letter.body) {
            AttemptResult::Delivered => {
                self.status.delivered.increment();
                self.note_delivery();
                if let Some(mut progress) = self.progress.clone() {
                    progress.failing_since = None;
                    self.keep_progress(progress);
                }
                self.commit_changes(vec![WebhookChange::Delivered(name, event_id)])
            }
            AttemptResult::Gone => self.disable_webhook(),
            AttemptResult::Unsent(problem) => Err(StepError::Unsent(problem)),
            AttemptResult::Failed { kind, reason, .. } => {
                self.status.failed(kind).increment();
                self.commit_changes(vec![WebhookChange::RedeliveryFailed(
                    name, event_id, reason,
                )])
            }
        }
    }
}
