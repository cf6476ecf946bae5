//! A stream that is closed slowly where a client still sends: RFC 9112, section 9.6.
//!
//! A request can be answered before its body was read, e.g. when the body is too large. Closing such a connection at once makes the system of the
//! host answer what still arrives with a reset, and a reset takes the answer away from a client that has not read it yet.
//!
//! Must not know: requests.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::api::http::unread::LingerFlag;

/// How long a client may send on after it was told that the connection is closed.
const LINGER_TIME: Duration = Duration::from_secs(10);
/// The bytes that are read at a time, to be thrown away.
const CHUNK: usize = 16 * 1024;
/// How many chunks are read before others get their turn.
const CHUNKS_A_TURN: u32 = 64;

/// A stream that, once it is shut down, reads what still comes and throws it away, where its flag says so: until the client closes its side too,
/// for ten seconds at most.
pub(super) struct LingeringClose<S> {
    stream: S,
    flag: LingerFlag,
    is_shut: bool,
    deadline: Option<Pin<Box<Sleep>>>,
}

impl<S> LingeringClose<S> {
    pub(super) const fn new(stream: S, flag: LingerFlag) -> Self {
        Self {
            stream,
            flag,
            is_shut: false,
            deadline: None,
        }
    }
}

impl<S: AsyncRead + Unpin> LingeringClose<S> {
    /// Reads until the client has closed its side, the time is over, or the connection fails.
    fn discard_rest(&mut self, context: &mut Context<'_>) -> Poll<()> {
        let deadline = self
            .deadline
            .get_or_insert_with(|| Box::pin(sleep(LINGER_TIME)));
        if deadline.as_mut().poll(context).is_ready() {
            return Poll::Ready(());
        }
        let mut chunk = [0; CHUNK];
        for _ in 0..CHUNKS_A_TURN {
            let mut buffer = ReadBuf::new(&mut chunk);
            match Pin::new(&mut self.stream).poll_read(context, &mut buffer) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {}
                Poll::Ready(_) => return Poll::Ready(()),
            }
        }
        context.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LingeringClose<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for LingeringClose<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if !self.is_shut {
            match Pin::new(&mut self.stream).poll_shutdown(context) {
                Poll::Ready(Ok(())) => self.is_shut = true,
                other => return other,
            }
        }
        if self.flag.is_set() {
            self.discard_rest(context).map(Ok)
        } else {
            Poll::Ready(Ok(()))
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn remaining_bytes_of_a_client_are_read_until_it_closes() {
        let (mut client, server) = tokio::io::duplex(64);
        let flag = LingerFlag::default();
        let mut server = LingeringClose::new(server, flag.clone());
        flag.set();
        let closing = tokio::spawn(async move { server.shutdown().await });
        // More than the pipe holds: it goes through only if somebody reads.
        client.write_all(&[1; 4096]).await.expect("it is read");
        assert!(!closing.is_finished());
        let mut rest = Vec::new();
        client.read_to_end(&mut rest).await.expect("the end");
        assert!(rest.is_empty());
        drop(client);
        closing.await.expect("no panic").expect("it is closed");
    }

    #[tokio::test]
    async fn without_the_flag_it_closes_at_once() {
        let (_client, server) = tokio::io::duplex(64);
        let mut server = LingeringClose::new(server, LingerFlag::default());
        server.shutdown().await.expect("it is closed");
    }
}
