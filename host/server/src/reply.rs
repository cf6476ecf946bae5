//! Replies: how the threads of the host answer a request, and how a caller waits for the answer.
//!
//! The HRM, the router and the store answer through a callback, so that none of them knows how its callers wait. [`ask_async`] turns such a callback
//! into a value for asynchronous callers, [`ask_blocking`] for plain threads.

use tokio::sync::oneshot;

use ark_store::CommitError;

/// Receives the result of a request, exactly once. It is called on the thread that answers, so it must be quick.
pub type Reply<T, E> = Box<dyn FnOnce(Result<T, E>) + Send>;

/// The reply was dropped without a call: the thread that should have answered has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyDropped;

impl From<ReplyDropped> for CommitError {
    fn from(_: ReplyDropped) -> Self {
        Self::Closed
    }
}

/// Sends a request at once; the future waits for its result without blocking the thread. What is sent is no part of the future, which stays small.
///
/// # Errors
/// What the request answers, or what [`ReplyDropped`] becomes when it is never answered.
pub fn ask_async<T, E>(send: impl FnOnce(Reply<T, E>)) -> impl Future<Output = Result<T, E>>
where
    T: Send + 'static,
    E: From<ReplyDropped> + Send + 'static,
{
    let (reply, pending) = open_reply();
    send(reply);
    pending.wait()
}

/// The result of a request that was sent.
pub struct PendingReply<T, E>(oneshot::Receiver<Result<T, E>>);

/// Makes a reply, and what receives the result. For a caller that keeps what it waits for beside other things; [`ask_async`] sends and waits in one.
#[must_use]
pub fn open_reply<T, E>() -> (Reply<T, E>, PendingReply<T, E>)
where
    T: Send + 'static,
    E: Send + 'static,
{
    let (sender, receiver) = oneshot::channel();
    let reply: Reply<T, E> = Box::new(move |result| drop(sender.send(result)));
    (reply, PendingReply(receiver))
}

impl<T, E: From<ReplyDropped>> PendingReply<T, E> {
    /// Waits for the result without blocking the thread.
    ///
    /// # Errors
    /// As [`ask_async`].
    pub async fn wait(self) -> Result<T, E> {
        let result = self.0.await;
        result.unwrap_or_else(|_| Err(E::from(ReplyDropped)))
    }
}

/// Sends a request and blocks the thread until its result is there. Not for threads of the asynchronous runtime.
///
/// # Errors
/// As [`ask_async`].
pub fn ask_blocking<T, E>(send: impl FnOnce(Reply<T, E>)) -> Result<T, E>
where
    T: Send + 'static,
    E: From<ReplyDropped> + Send + 'static,
{
    let (sender, receiver) = crossbeam_channel::bounded(1);
    send(Box::new(move |result| drop(sender.send(result))));
    receiver
        .recv()
        .unwrap_or_else(|_| Err(E::from(ReplyDropped)))
}
