//! Idempotency: a request whose key was seen before gets the first answer.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::hrm::error::{HrmError, RecordFailure};
use crate::hrm::request::{HrmReply, IdempotencyKey};
use ark_model::ids::{DecisionId, Digest, Name};
use ark_store::{IdempotencyRecord, Store, Unit};

use super::state::Arbiter;

impl Arbiter {
    /// Returns the reply when the request has no key, or is the first with it. Otherwise answers the request, and returns `None`.
    ///
    /// A repetition gets the first answer, read by `parse_answer`, once that is durable, and an error when it does not become so; another request
    /// with the same key is refused.
    pub(super) fn check_idempotency<T: Send + 'static>(
        &self,
        scope: &str,
        key: Option<&IdempotencyKey>,
        reply: HrmReply<T>,
        parse_answer: impl FnOnce(&str) -> Result<T, HrmError>,
    ) -> Option<HrmReply<T>> {
        let Some(key) = key else {
            return Some(reply);
        };
        match self.find_answer(scope, key) {
            Ok(None) => return Some(reply),
            Ok(Some(answer)) => self.repeat_answer(scope, &key.key, reply, parse_answer(&answer)),
            Err(error) => reply(Err(error)),
        }
        None
    }

    /// Answers a repetition once the unit of the first request is completed: with the first answer if it was committed.
    pub(super) fn repeat_answer<T: Send + 'static>(
        &self,
        scope: &str,
        key: &str,
        reply: HrmReply<T>,
        answer: Result<T, HrmError>,
    ) {
        let store = self.store.clone();
        let (scope, key) = (scope.to_owned(), key.to_owned());
        self.store.call_after_pending(Box::new(move || {
            reply(check_recorded(&store, &scope, &key).and(answer));
        }));
    }

    /// Returns the answer to the first request with this key.
    ///
    /// # Errors
    /// [`HrmError::KeyReused`] when the key came with another request.
    pub(super) fn find_answer(
        &self,
        scope: &str,
        key: &IdempotencyKey,
    ) -> Result<Option<String>, HrmError> {
        let (stored, answer): (Digest, String) = match self.recent_keys.get_answer(scope, &key.key)
        {
            Some(recent) => recent,
            None => match self.store.idempotency_record(scope, &key.key)? {
                Some(record) => (record.request, record.answer),
                None => return Ok(None),
            },
        };
        if key.matches(stored) {
            Ok(Some(answer))
        } else {
            Err(HrmError::KeyReused)
        }
    }

    /// Adds the answer to a request with a key: to the recent keys, and to the unit that is committed with it. Without a key no answer is asked for.
    pub(super) fn stage_answer(
        &mut self,
        scope: &str,
        key: Option<IdempotencyKey>,
        answer: impl FnOnce() -> String,
        unit: &mut Unit,
    ) {
        let Some(key) = key else {
            return;
        };
        let answer = answer();
        self.recent_keys
            .insert_answer(scope, &key.key, key.request_digest, answer.clone());
        unit.idempotency = Some(IdempotencyRecord {
            scope: scope.to_owned(),
            key: key.key,
            request: key.request_digest,
            answer,
        });
    }
}

/// A request with a key that was refused before the arbiter saw it: it may be the repetition of one that was answered.
#[derive(Debug, Clone)]
pub struct RefusedRequest {
    /// The key.
    pub key: IdempotencyKey,
    /// The scope within which the key is unique.
    pub scope: RequestScope,
}

/// Where the key of a request is unique.
#[derive(Debug, Clone)]
pub enum RequestScope {
    /// For who proposes in the agent's name.
    Proposal {
        /// The agent.
        agent: Name,
        /// The submitter.
        submitter: String,
    },
    /// For who sends batches.
    Batch {
        /// The sender.
        by: String,
    },
}

impl RefusedRequest {
    /// Returns the decisions on the first request with the key, if that was this request and is recorded. Blocks on the database.
    ///
    /// # Errors
    /// The database cannot be read, or the stored answer is malformed.
    pub fn find_decisions(&self, store: &Store) -> Result<Option<Vec<DecisionId>>, HrmError> {
        let scope = match &self.scope {
            RequestScope::Proposal { agent, submitter } => {
                proposal_scope(store, agent, submitter, Some(&self.key))
            }
            RequestScope::Batch { by } => batch_scope(by),
        };
        let record = store.idempotency_record(&scope, &self.key.key)?;
        record
            .filter(|record| self.key.matches(record.request))
            .map(|record| parse_ids(&record.answer))
            .transpose()
    }
}

/// Returns where the key of a proposal is unique: for its submitter in the agent's name. Without a key it is empty.
pub(super) fn proposal_scope(
    store: &Store,
    agent: &Name,
    submitter: &str,
    key: Option<&IdempotencyKey>,
) -> String {
    let Some(key) = key else {
        return String::new();
    };
    let agent = agent.as_str();
    if submitter == agent {
        return agent.to_owned();
    }
    // An earlier version kept one scope for all who propose in an agent's name. What is not the same request there may be another one's.
    let record = store.idempotency_record(agent, &key.key);
    if matches!(record, Ok(Some(record)) if key.matches(record.request)) {
        agent.to_owned()
    } else {
        format!("proposal:{submitter}:{agent}")
    }
}

/// Returns where the key of a batch is unique: for its sender.
pub(super) fn batch_scope(by: &str) -> String {
    format!("batch:{by}")
}

/// Checks that the first request with a key was committed: its answer is known before that, and the commit can fail.
fn check_recorded(store: &Store, scope: &str, key: &str) -> Result<(), HrmError> {
    match store.idempotency_record(scope, key)? {
        Some(_) => Ok(()),
        None => Err(RecordFailure::FirstRequest.into()),
    }
}

/// Formats a receipt as the stored answer of an idempotency key.
pub(super) fn format_receipt(receipt: &impl Serialize) -> String {
    // Receipts are flat structures of finite numbers and strings: serialising them cannot fail.
    serde_json::to_string(receipt).unwrap_or_default()
}

/// Parses a stored answer that is a receipt.
pub(super) fn parse_receipt<T: DeserializeOwned>(answer: &str) -> Result<T, HrmError> {
    serde_json::from_str(answer).map_err(|_| RecordFailure::StoredAnswer.into())
}

/// Formats decisions as the stored answer of an idempotency key: their ids, separated by commas.
pub(super) fn format_ids<'a>(ids: impl Iterator<Item = &'a DecisionId>) -> String {
    let ids: Vec<String> = ids.map(ToString::to_string).collect();
    ids.join(",")
}

/// Parses a stored answer that is a list of decisions.
pub(super) fn parse_ids(answer: &str) -> Result<Vec<DecisionId>, HrmError> {
    answer.split(',').map(parse_id).collect()
}

/// Parses a stored answer that is one decision.
pub(super) fn parse_id(answer: &str) -> Result<DecisionId, HrmError> {
    answer
        .parse()
        .map_err(|_| RecordFailure::StoredAnswer.into())
}
