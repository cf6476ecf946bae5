//! A client's stream: pages from the feed, one at a time, and signs of life between them.

use std::convert::Infallible;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::Stream;
use tokio::sync::{oneshot, watch};

use ark_model::meters::EventStreamEnd;
use ark_store::EventCursor;

use super::feed::EventFeed;
use super::filter::EventFilter;
use super::limits::StreamPlace;
use super::ring::EventPage;

/// How often a silent connection is shown to be alive.
const ALIVE: Duration = Duration::from_secs(10);
/// What shows it: a comment, which clients ignore.
const ALIVE_TEXT: &[u8] = b":\n\n";

/// A client's stream.
pub(in crate::api) struct EventStream {
    feed: EventFeed,
    filter: EventFilter,
    /// How far the stream has come.
    cursor: EventCursor,
    /// The page that was asked for.
    pending: Option<oneshot::Receiver<Result<EventPage, EventStreamEnd>>>,
    place: StreamPlace,
    closing: watch::Receiver<bool>,
}

impl EventStream {
    pub(in crate::api) const fn new(
        feed: EventFeed,
        filter: EventFilter,
        cursor: EventCursor,
        place: StreamPlace,
        closing: watch::Receiver<bool>,
    ) -> Self {
        Self {
            feed,
            filter,
            cursor,
            pending: None,
            place,
            closing,
        }
    }

    /// The chunks of the body. It ends when the host ends, or when the log cannot be read on: the client comes back by itself.
    pub(in crate::api) fn into_chunks(self) -> impl Stream<Item = Result<Bytes, Infallible>> {
        futures_util::stream::unfold(self, |mut stream| async move {
            let chunk = stream.next_chunk().await?;
            stream.place.handed_at = Some(Instant::now());
            Some((Ok(chunk), stream))
        })
    }

    /// The next chunk. It is asked for when the connection has taken the one before.
    async fn next_chunk(&mut self) -> Option<Bytes> {
        self.place.handed_at = None;
        let pending = self
            .pending
            .get_or_insert_with(|| self.feed.request_page(self.cursor, &self.filter));
        let answer = tokio::select! {
            _ = self.closing.wait_for(|closing| *closing) => {
                self.place.end = Some(EventStreamEnd::Stopping);
                return None;
            }
            answer = pending => answer,
            () = tokio::time::sleep(ALIVE) => return Some(Bytes::from_static(ALIVE_TEXT)),
        };
        self.pending = None;
        match answer {
            Ok(Ok(page)) => {
                self.cursor = page.cursor;
                Some(page.text)
            }
            Ok(Err(end)) => {
                self.place.end = Some(end);
                None
            }
            Err(_) => {
                self.place.end = Some(EventStreamEnd::Stopping);
                None
            }
        }
    }
}
