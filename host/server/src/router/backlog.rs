//! How much waits in all: deliveries, messages in the outbox, and the messages of invocations that are being committed. `capacity.backlog` bounds the sum.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use ark_store::Store;

/// Counts what waits. Cheap to clone.
#[derive(Clone)]
pub(super) struct Backlog {
    /// Deliveries that are pending.
    pub(super) deliveries: Arc<AtomicUsize>,
    /// Deliveries that the messages of invocations will become that are being committed.
    committing: Arc<AtomicUsize>,
    store: Store,
    limit: usize,
}

/// Places for the messages of one invocation. They are given back when this is dropped: after the commit, when the messages are in the outbox.
pub(super) struct MessagePlaces {
    committing: Arc<AtomicUsize>,
    count: usize,
}

impl Drop for MessagePlaces {
    fn drop(&mut self) {
        self.committing.fetch_sub(self.count, Ordering::AcqRel);
    }
}

impl Backlog {
    /// Counts from `pending` deliveries on.
    pub(super) fn new(store: Store, pending: usize, limit: usize) -> Self {
        Self {
            deliveries: Arc::new(AtomicUsize::new(pending)),
            committing: Arc::default(),
            store,
            limit,
        }
    }

    /// The most that may wait.
    pub(super) const fn limit(&self) -> usize {
        self.limit
    }

    /// Returns whether nothing more may be added from outside.
    pub(super) fn is_full(&self) -> bool {
        let committing = self.committing.load(Ordering::Acquire);
        self.waiting_with(committing) >= self.limit
    }

    /// Returns whether streams may add something: they leave half of the places to the others.
    pub(super) fn has_room_for_streams(&self) -> bool {
        let committing = self.committing.load(Ordering::Acquire);
        self.waiting_with(committing) < (self.limit / 2).max(1)
    }

    fn waiting_with(&self, committing: usize) -> usize {
        let deliveries = self.deliveries.load(Ordering::Acquire);
        let messages = self.store.waiting_messages();
        deliveries
            .saturating_add(messages)
            .saturating_add(committing)
    }

    /// Takes places for the `count` deliveries that the messages of an invocation will become. The delivery that it completes makes room for one.
    /// Returns `None` when there is no room: then none of them may be sent.
    pub(super) fn reserve_messages(&self, count: usize) -> Option<MessagePlaces> {
        let reserved =
            self.committing
                .fetch_update(Ordering::AcqRel, Ordering::Acquire, |committing| {
                    let waiting = self.waiting_with(committing).saturating_sub(1);
                    let fits = count == 0 || waiting.saturating_add(count) <= self.limit;
                    fits.then_some(committing.saturating_add(count))
                });
        reserved.is_ok().then(|| MessagePlaces {
            committing: Arc::clone(&self.committing),
            count,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ark_store::StoreConfig;

    #[test]
    fn messages_take_places_until_they_are_given_back_and_none_passes_the_limit() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&StoreConfig::in_dir(dir.path())).unwrap();
        let backlog = Backlog::new(store, 3, 5);
        // 3 wait, and the invocation's own ends: there is room for 3.
        assert!(backlog.reserve_messages(4).is_none());
        let places = backlog.reserve_messages(3).unwrap();
        assert!(backlog.is_full() && !backlog.has_room_for_streams());
        assert!(backlog.reserve_messages(1).is_none());
        assert!(backlog.reserve_messages(0).is_some());
        drop(places);
        assert!(!backlog.is_full());
        assert!(backlog.reserve_messages(3).is_some());
    }
}
