//! Bodies of answers that give other connections their turn.
//!
//! An answer of megabytes is compressed while it is sent. As long as the client takes what is sent, its connection would keep the thread until all of it is
//! compressed, and every other connection of the thread would wait.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};

/// After so many bytes the others have a turn. Where they are compressed they come of some ten times as many, which take about a millisecond.
const TURN_BYTES: usize = 8 * 1024;

/// A body that ends its turn after [`TURN_BYTES`].
pub(super) struct YieldingBody {
    body: Body,
    /// What was sent since the others had a turn.
    sent: usize,
    /// Is done once they had it.
    turn: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
}

impl YieldingBody {
    pub(super) const fn new(body: Body) -> Self {
        Self {
            body,
            sent: 0,
            turn: None,
        }
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
            // This also lets the runtime look at sockets and timers; a task that only wakes itself would not.
            let turn = self
                .turn
                .get_or_insert_with(|| Box::pin(tokio::task::yield_now()));
            ready!(turn.as_mut().poll(context));
            self.turn = None;
            self.sent = 0;
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
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::UnixStream;

    use super::*;

    const PARTS: usize = 1_000;

    #[tokio::test]
    async fn a_long_body_lets_sockets_be_served_and_loses_nothing() {
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&sent);
        let part = Bytes::from(vec![b'x'; TURN_BYTES]);
        let parts = stream::repeat(part).take(PARTS).map(move |part| {
            counted.fetch_add(1, Ordering::Relaxed);
            Ok::<_, std::io::Error>(part)
        });
        let (mut near, mut far) = UnixStream::pair().unwrap();
        let reading = tokio::spawn(async move {
            near.read_u8().await.unwrap();
            sent.load(Ordering::Relaxed)
        });
        // It waits for the socket now.
        tokio::task::yield_now().await;
        let body = YieldingBody::new(Body::from_stream(parts));
        let sending = tokio::spawn(async move {
            far.write_u8(1).await.unwrap();
            body.collect().await.unwrap().to_bytes().len()
        });
        assert_eq!(sending.await.unwrap(), TURN_BYTES * PARTS);
        let parts_before = reading.await.unwrap();
        assert!(
            parts_before < 10,
            "{parts_before} parts were sent before the socket was read"
        );
    }
}
