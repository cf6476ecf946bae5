//! The idempotency keys of late, so that a repetition is recognised before the first is durable. It holds more than can be under way at once.

use std::collections::{HashMap, VecDeque};

use ark_model::ids::Digest;

#[derive(Default)]
pub(super) struct SeenKeys {
    seen: HashMap<(String, String), (Digest, String)>,
    order: VecDeque<(String, String)>,
}

impl SeenKeys {
    const MOST: usize = 65_536;

    pub(super) fn get(&self, scope: &str, key: &str) -> Option<(Digest, String)> {
        if self.seen.is_empty() {
            return None;
        }
        self.seen.get(&(scope.to_owned(), key.to_owned())).cloned()
    }

    pub(super) fn insert(&mut self, scope: &str, key: &str, request: Digest, answer: String) {
        if self.order.len() >= Self::MOST
            && let Some(oldest) = self.order.pop_front()
        {
            self.seen.remove(&oldest);
        }
        let key = (scope.to_owned(), key.to_owned());
        self.order.push_back(key.clone());
        self.seen.insert(key, (request, answer));
    }
}
