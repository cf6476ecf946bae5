//! What operators do with webhooks: enabling one again, and asking for one more attempt at dead letters.
//!
//! Each is one commit with its row of the audit log; the thread of the webhook sees it at its next look around.

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::changes::ChangeRequest;
use ark_model::ids::{Millis, Name};
use ark_store::{CommitError, IdempotencyRecord, ReadError, Unit, WebhookChange};

use super::handle::Webhooks;
use super::status::WebhookStatus;

/// Where the idempotency keys of these changes are unique.
const SCOPE: &str = "webhooks";

/// Which dead letters are tried again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WebhookRedelivery {
    /// The webhook.
    pub webhook: Name,
    /// The one event; `None`: all.
    pub event_id: Option<String>,
    /// How many dead letters that are.
    pub dead_letters: u64,
}

/// Why nothing has changed.
#[derive(Debug, thiserror::Error)]
pub enum WebhookChangeError {
    /// The configuration has no such webhook.
    #[error("there is no webhook {0}")]
    Unknown(Name),
    /// It is not disabled.
    #[error("the webhook {0} is not disabled")]
    NotDisabled(Name),
    /// It is disabled, so nothing is sent.
    #[error("the webhook {webhook} is disabled: {reason}")]
    Disabled {
        /// The webhook.
        webhook: Name,
        /// Why it is disabled.
        reason: String,
    },
    /// It has no dead letter of this event.
    #[error("the webhook {webhook} has no dead letter {event_id:?}")]
    NoDeadLetter {
        /// The webhook.
        webhook: Name,
        /// The event.
        event_id: String,
    },
    /// The database cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The change cannot be committed, or its idempotency key was used for another request.
    #[error(transparent)]
    Commit(#[from] CommitError),
}

impl Webhooks {
    /// Returns a webhook of the configuration.
    ///
    /// # Errors
    /// There is none of this name.
    pub fn find(&self, name: &Name) -> Result<&Arc<WebhookStatus>, WebhookChangeError> {
        let mut statuses = self.statuses().iter();
        statuses
            .find(|status| status.name == *name)
            .ok_or_else(|| WebhookChangeError::Unknown(name.clone()))
    }

    /// Lets a webhook that is disabled send again, from the event on that it was disabled at. Blocks until that is durable. Returns whether it was
    /// done before, under the same idempotency key.
    ///
    /// # Errors
    /// See [`WebhookChangeError`]. Nothing has changed then.
    pub fn enable(&self, name: &Name, request: &ChangeRequest) -> Result<bool, WebhookChangeError> {
        let status = self.find(name)?;
        if self.find_answer(request)?.is_some() {
            return Ok(true);
        }
        let row = self.store().webhook(name)?;
        let Some((since, reason)) = row.and_then(|row| row.disabled) else {
            return Err(WebhookChangeError::NotDisabled(name.clone()));
        };
        let body = json!({"order": "webhook.enable", "webhook": name, "disabled_at_ms": since, "disabled_because": reason});
        let change = WebhookChange::Enable(name.clone());
        let first = self.commit_change(change, body, request, String::new())?;
        status.note_change();
        Ok(first.is_some())
    }

    /// Asks for one more attempt at the dead letter of an event, or at all dead letters of a webhook, oldest first. Blocks until that is durable.
    /// Returns the chosen dead letters, and whether the same request was made before under the same idempotency key.
    ///
    /// # Errors
    /// See [`WebhookChangeError`]. Nothing has changed then.
    pub fn redeliver(
        &self,
        name: &Name,
        event_id: Option<String>,
        request: &ChangeRequest,
    ) -> Result<(WebhookRedelivery, bool), WebhookChangeError> {
        let status = self.find(name)?;
        if let Some(first) = self.find_answer(request)? {
            return Ok((parse_answer(first)?, true));
        }
        if let Some((_, reason)) = self.store().webhook(name)?.and_then(|row| row.disabled) {
            return Err(WebhookChangeError::Disabled {
                webhook: name.clone(),
                reason,
            });
        }
        let dead_letters = match &event_id {
            None => self.store().count_webhook_dead_letters(name)?,
            Some(id) if self.store().find_webhook_dead_letter(name, id)?.is_some() => 1,
            Some(id) => {
                return Err(WebhookChangeError::NoDeadLetter {
                    webhook: name.clone(),
                    event_id: id.clone(),
                });
            }
        };
        let redelivery = WebhookRedelivery {
            webhook: name.clone(),
            event_id: event_id.clone(),
            dead_letters,
        };
        let mut body = json!(redelivery);
        body["order"] = json!("webhook.redeliver");
        let change = WebhookChange::RequestRedelivery(name.clone(), event_id);
        let answer = json!(redelivery).to_string();
        let first = self.commit_change(change, body, request, answer)?;
        status.note_change();
        match first {
            Some(first) => Ok((parse_answer(first)?, true)),
            None => Ok((redelivery, false)),
        }
    }

    /// Commits a change with its row of the audit log. Returns the answer to the first request under the same idempotency key, if there was one.
    fn commit_change(
        &self,
        change: WebhookChange,
        body: Value,
        request: &ChangeRequest,
        answer: String,
    ) -> Result<Option<IdempotencyRecord>, WebhookChangeError> {
        let now = Millis::now();
        let unit = Unit {
            at: now,
            audit: vec![request.audit_entry(None, body, now)],
            webhooks: vec![change],
            idempotency: request.idempotency_record(SCOPE, answer),
            may_use_reserve: true,
            ..Unit::default()
        };
        match self.store().commit(unit) {
            Ok(_) => Ok(None),
            Err(CommitError::AlreadyAnswered(_)) => self.find_answer(request),
            Err(error) => Err(error.into()),
        }
    }

    /// Returns what the first request under the same idempotency key was answered.
    fn find_answer(
        &self,
        request: &ChangeRequest,
    ) -> Result<Option<IdempotencyRecord>, WebhookChangeError> {
        let Some(record) = request.idempotency_record(SCOPE, String::new()) else {
            return Ok(None);
        };
        let first = self
            .store()
            .idempotency_record(&record.scope, &record.key)?;
        match first {
            Some(first) if first.request != record.request => {
                Err(CommitError::AlreadyAnswered(first).into())
            }
            first => Ok(first),
        }
    }
}

fn parse_answer(first: IdempotencyRecord) -> Result<WebhookRedelivery, CommitError> {
    serde_json::from_str(&first.answer).map_err(|_| CommitError::AlreadyAnswered(first))
}
