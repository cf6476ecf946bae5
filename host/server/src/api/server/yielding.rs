//! Bodies of answers that give other connections their turn.
//!
//! An answer of megabytes is compressed while it is sent. As long as the client takes what is sent, its connection would keep the thread until all of it is
//! compressed, and every other connection of the thread would wait.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// After so many bytes the others have a turn: compressed, they are about half a megabyte, which takes some milliseconds.
const TURN_BYTES: usize = 32 * 1024;

/// A body that ends its turn after [`TURN_BYTES`].
pub(super) struct YieldingBody {
    body: Body,
    /// What was sent in this turn.
    sent: usize,
}

impl YieldingBody {
    pub(super) const fn new(body: Body) -> Self {
        Self { body, sent: 0 }
    }
}

impl HttpBody for YieldingBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.sent >= TURN_BYTES {
            self.sent = 0;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &polled {
            self.sent += frame.data_ref().map_or(0, Bytes::len);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::{StreamExt, stream};
    use http_body_util::BodyExt;

    use super::*;

    #[tokio::test]
    async fn a_long_body_gives_others_their_turn_and_loses_nothing() {
        let part = Bytes::from(vec![b'x'; TURN_BYTES / 2]);
        let parts = stream::repeat(part).take(8).map(Ok::<_, std::io::Error>);
        let body = YieldingBody::new(Body::from_stream(parts));
        let turns = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&turns);
        let others = tokio::spawn(async move {
            loop {
                counted.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
            }
        });
        let whole = body.collect().await.unwrap().to_bytes();
        assert_eq!(whole.len(), TURN_BYTES * 4);
        assert!(turns.load(Ordering::Relaxed) >= 3);
        others.abort();
    }
}
