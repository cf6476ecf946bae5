//! Replies: how the threads of the host answer a request, and how a caller waits for the answer.
//!
//! The HRM, the router and the store answer through a callback, so that none of them knows how its callers wait. [`ask_async`] turns such a callback
//! into a value for asynchronous callers, [`ask_blocking`] for plain threads.

use std::cell::OnceCell;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
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
        let result = match WakeList::of_thread() {
            Some(wakes) => ListedReply(self.0, wakes).await,
            None => self.0.await,
        };
        result.unwrap_or_else(|_| Err(E::from(ReplyDropped)))
    }
}

/// The tasks of a thread's runtime that other threads have woken.
///
/// To wake a task of a runtime from another thread is a system call. The writer answers all that shared a commit, one after the other: through this list
/// it makes about one call for those of a thread, and the runtime's own thread wakes the tasks.
#[derive(Default)]
pub(crate) struct WakeList {
    woken: Mutex<Vec<Waker>>,
    forwarder: AtomicWaker,
}

thread_local! {
    static WAKES: OnceCell<Arc<WakeList>> = const { OnceCell::new() };
}

impl WakeList {
    /// Makes this the list of replies that tasks of the calling thread wait for. Its runtime must run [`WakeList::forward`].
    pub(crate) fn install(self: &Arc<Self>) {
        WAKES.with(|list| {
            list.get_or_init(|| Arc::clone(self));
        });
    }

    fn of_thread() -> Option<Arc<Self>> {
        WAKES.with(|list| list.get().map(Arc::clone))
    }

    /// Wakes the tasks on the list, on and on.
    pub(crate) async fn forward(&self) {
        let mut taken = Vec::new();
        std::future::poll_fn(|context| {
            // Before the list is read: what is added after that wakes this task again.
            self.forwarder.register(context.waker());
            std::mem::swap(&mut taken, &mut *self.woken.lock());
            taken.drain(..).for_each(Waker::wake);
            Poll::<()>::Pending
        })
        .await;
    }
}

/// What wakes a task by way of its thread's list.
struct ListedWaker {
    task: Waker,
    wakes: Arc<WakeList>,
}

impl Wake for ListedWaker {
    fn wake(self: Arc<Self>) {
        let is_first = {
            let mut woken = self.wakes.woken.lock();
            woken.push(self.task.clone());
            woken.len() == 1
        };
        if is_first {
            self.wakes.forwarder.wake();
        }
    }
}

/// Waits for a result, and is woken by way of a thread's list.
struct ListedReply<T>(oneshot::Receiver<T>, Arc<WakeList>);

impl<T> Future for ListedReply<T> {
    type Output = Result<T, oneshot::error::RecvError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let waker = Waker::from(Arc::new(ListedWaker {
            task: context.waker().clone(),
            wakes: Arc::clone(&self.1),
        }));
        Pin::new(&mut self.0).poll(&mut Context::from_waker(&waker))
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use futures_util::future::join_all;

    use super::*;

    type TestReply = Reply<usize, CommitError>;

    /// Runs a future on a runtime whose replies wake by way of a list.
    fn run_with_list<T>(future: impl Future<Output = T>) -> T {
        let list = Arc::new(WakeList::default());
        list.install();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap();
        runtime.block_on(async {
            tokio::select! {
                result = future => result,
                () = list.forward() => panic!("the list ended"),
            }
        })
    }

    /// Counts how often a task is woken from outside.
    struct CountedWaker(AtomicUsize);

    impl Wake for CountedWaker {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn every_reply_wakes_its_task_whenever_other_threads_answer() {
        let (to_answer, inbox) = crossbeam_channel::unbounded::<(TestReply, usize)>();
        let answering = std::thread::spawn(move || {
            for (reply, number) in inbox {
                // Some are answered together, some one by one.
                if number % 7 == 0 {
                    std::thread::yield_now();
                }
                reply(Ok(number));
            }
        });
        std::thread::spawn(move || {
            run_with_list(async move {
                for round in 0..2_000 {
                    let asked = (0..round % 20).map(|number| {
                        let (reply, pending) = open_reply();
                        to_answer.send((reply, number)).unwrap();
                        tokio::spawn(pending.wait())
                    });
                    let asked: Vec<_> = asked.collect();
                    for (number, answer) in join_all(asked).await.into_iter().enumerate() {
                        assert_eq!(answer.unwrap(), Ok(number));
                    }
                }
            });
        })
        .join()
        .unwrap();
        answering.join().unwrap();
    }

    #[test]
    fn replies_that_are_given_together_wake_the_runtime_once() {
        let list = Arc::new(WakeList::default());
        let outside = Arc::new(CountedWaker(AtomicUsize::new(0)));
        list.forwarder.register(&Waker::from(Arc::clone(&outside)));
        let tasks: Vec<_> = (0..5)
            .map(|_| Arc::new(CountedWaker(AtomicUsize::new(0))))
            .collect();
        for task in &tasks {
            let wakes = Arc::clone(&list);
            let task = Waker::from(Arc::clone(task));
            Waker::from(Arc::new(ListedWaker { task, wakes })).wake();
        }
        assert_eq!(outside.0.load(Ordering::Relaxed), 1);
        let mut forward = Box::pin(list.forward());
        let mut context = Context::from_waker(Waker::noop());
        assert!(forward.as_mut().poll(&mut context).is_pending());
        for task in &tasks {
            assert_eq!(task.0.load(Ordering::Relaxed), 1);
        }
    }

    #[test]
    fn a_reply_that_is_dropped_is_an_error() {
        let (reply, pending) = open_reply::<usize, CommitError>();
        drop(reply);
        let waited = std::thread::spawn(move || run_with_list(pending.wait()));
        assert_eq!(waited.join().unwrap(), Err(CommitError::Closed));
    }
}
