//! How many streams are open: of one caller, and in all.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use parking_lot::Mutex;

use ark_model::meters::{EventStreamEnd, StreamMeters};

use crate::api::http::deadline::WRITE_TIME;
use crate::api::http::problem::Problem;

/// After how many seconds a refused caller may try again.
const RETRY_SECONDS: u32 = 10;

/// The most streams that may be open.
#[derive(Debug, Clone, Copy)]
pub struct StreamLimits {
    /// The streams of all callers together.
    pub all: usize,
    /// The streams of each token; callers without a token count as one.
    pub of_token: usize,
}

/// Counts the open streams.
pub(in crate::api) struct StreamPlaces {
    limits: StreamLimits,
    open: Mutex<OpenStreams>,
    meters: Arc<StreamMeters>,
}

#[derive(Default)]
struct OpenStreams {
    all: usize,
    by_caller: HashMap<String, usize>,
}

/// A place for one stream, free again when it is dropped. What ended the stream is counted then.
pub(in crate::api) struct StreamPlace {
    places: Arc<StreamPlaces>,
    caller: String,
    /// Why the stream ended, if it was not the client's doing.
    pub(in crate::api) end: Option<EventStreamEnd>,
    /// When the last page was handed to the connection.
    pub(in crate::api) handed_at: Option<Instant>,
}

impl StreamPlaces {
    pub(in crate::api) fn new(limits: StreamLimits, meters: Arc<StreamMeters>) -> Arc<Self> {
        Arc::new(Self {
            limits,
            open: Mutex::default(),
            meters,
        })
    }

    /// Takes a place for a caller's stream.
    ///
    /// # Errors
    /// 429: the caller has too many. 503: all places are taken.
    pub(in crate::api) fn take_place(
        self: &Arc<Self>,
        caller: &str,
    ) -> Result<StreamPlace, Problem> {
        let mut open = self.open.lock();
        let own = open.by_caller.get(caller).copied().unwrap_or(0);
        let StreamLimits { all, of_token } = self.limits;
        if own >= of_token {
            self.meters.refused_of_token.increment();
            let detail = format!("{caller} has {own} event streams open, and may have {of_token}");
            let remedy = "close one, follow more kinds with one stream, or raise capacity.event_streams_per_token";
            return Err(Problem::too_many(detail, RETRY_SECONDS).at("Authorization", remedy));
        }
        if open.all >= all {
            self.meters.refused_in_all.increment();
            let detail = format!("{all} event streams are open, as many as this host serves");
            let remedy = "come back after Retry-After seconds, or raise capacity.event_streams";
            return Err(Problem::busy_for(detail, RETRY_SECONDS).at("path", remedy));
        }
        open.all += 1;
        *open.by_caller.entry(caller.to_owned()).or_insert(0) += 1;
        self.meters.opened.increment();
        Ok(StreamPlace {
            places: Arc::clone(self),
            caller: caller.to_owned(),
            end: None,
            handed_at: None,
        })
    }
}

impl Drop for StreamPlace {
    fn drop(&mut self) {
        let mut open = self.places.open.lock();
        open.all = open.all.saturating_sub(1);
        if let Some(own) = open.by_caller.get_mut(&self.caller) {
            *own = own.saturating_sub(1);
            if *own == 0 {
                open.by_caller.remove(&self.caller);
            }
        }
        // The connection takes some chunks after the client has stopped to read, so the last one is younger than the time without a read.
        let is_unread = self
            .handed_at
            .is_some_and(|at| at.elapsed() >= WRITE_TIME / 2);
        let end = self.end.unwrap_or(if is_unread {
            EventStreamEnd::Unread
        } else {
            EventStreamEnd::Closed
        });
        self.places.meters.ended_counter(end).increment();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_limited_for_each_caller_and_in_all_and_come_back() {
        let limits = StreamLimits {
            all: 3,
            of_token: 2,
        };
        let meters = Arc::new(StreamMeters::default());
        let places = StreamPlaces::new(limits, Arc::clone(&meters));
        let mut one = places.take_place("a").unwrap();
        let _two = places.take_place("a").unwrap();
        let refused = places.take_place("a").err().unwrap();
        assert!(refused.detail().contains("a has 2"), "{}", refused.detail());
        let _three = places.take_place("b").unwrap();
        let full = places.take_place("b").err().unwrap();
        assert!(
            full.detail().starts_with("3 event streams"),
            "{}",
            full.detail()
        );
        one.end = Some(EventStreamEnd::Archived);
        drop(one);
        assert!(places.take_place("a").is_ok());
        assert_eq!(meters.ended_counter(EventStreamEnd::Archived).get(), 1);
        assert_eq!(meters.ended_counter(EventStreamEnd::Closed).get(), 1);
        assert_eq!(
            (meters.refused_of_token.get(), meters.refused_in_all.get()),
            (1, 1)
        );
    }
}
