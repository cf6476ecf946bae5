//! The idempotency keys of recent requests.

use std::collections::{HashMap, VecDeque};

use ark_model::ids::Digest;

/// Idempotency keys with the digest of their request and its answer, so that a repetition is recognised before the first request is durable. Holds more
/// keys than can wait for a commit at once.
#[derive(Default)]
pub(super) struct RecentKeys {
    answers: HashMap<(String, String), (Digest, String)>,
    oldest_first: VecDeque<(String, String)>,
}

impl RecentKeys {
    const CAPACITY: usize = 65_536;

    pub(super) fn get_answer(&self, scope: &str, key: &str) -> Option<(Digest, String)> {
        if self.answers.is_empty() {
            return None;
        }
        self.answers
            .get(&(scope.to_owned(), key.to_owned()))
            .cloned()
    }

    /// Adds a key. The oldest one leaves when there is no room.
    pub(super) fn insert_answer(
        &mut self,
        scope: &str,
        key: &str,
        request: Digest,
        answer: String,
    ) {
        if self.oldest_first.len() >= Self::CAPACITY
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.answers.remove(&oldest);
        }
        let key = (scope.to_owned(), key.to_owned());
        self.oldest_first.push_back(key.clone());
        self.answers.insert(key, (request, answer));
    }
}
