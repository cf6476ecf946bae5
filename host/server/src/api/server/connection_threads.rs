//! The threads that serve connections. Each has a runtime of its own, and a connection stays on the thread that it was given to.
//!
//! A runtime that moves tasks between its threads costs more than it gains here: with one such thread on two processors, a decision takes a tenth less of the
//! processor's time (docs/benchmarks.md). Whatever takes long must leave the thread (`Api::run_blocking`), since all other connections of the thread wait
//! for it.
//!
//! Must not know: HTTP, calls.

use std::io;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use crate::reply::WakeList;

/// The name of the threads, also of those that resolve names in their stead.
const THREAD_NAME: &str = "ark-http";
/// How many threads of its own each may start: a front resolves its owner's name there. What waits for the disk runs elsewhere.
const RESOLVERS: usize = 4;

/// The threads. They are told to end when this is dropped.
pub struct ConnectionThreads {
    first: ConnectionThread,
    others: Vec<ConnectionThread>,
}

/// One thread.
struct ConnectionThread {
    runtime: Handle,
    /// How many connections it serves.
    open: Arc<AtomicUsize>,
    /// Tells it to end.
    stop: oneshot::Sender<()>,
    /// Is closed when it has ended.
    ended: mpsc::Receiver<()>,
}

/// A connection's place on a thread, until it is dropped.
pub(super) struct ThreadPlace {
    runtime: Handle,
    open: Arc<AtomicUsize>,
}

impl ConnectionThreads {
    /// Starts so many threads.
    ///
    /// # Errors
    /// The system gives no thread, or a thread gets no runtime.
    pub fn start(count: NonZeroUsize) -> io::Result<Self> {
        let others = (1..count.get()).map(|_| ConnectionThread::start());
        Ok(Self {
            first: ConnectionThread::start()?,
            others: others.collect::<io::Result<_>>()?,
        })
    }

    /// Gives a connection a place on the thread that serves the fewest.
    pub(super) fn take_place(&self) -> ThreadPlace {
        let fewest = self.others.iter().fold(&self.first, |fewest, thread| {
            if thread.count_open() < fewest.count_open() {
                thread
            } else {
                fewest
            }
        });
        fewest.open.fetch_add(1, Ordering::Relaxed);
        ThreadPlace {
            runtime: fewest.runtime.clone(),
            open: Arc::clone(&fewest.open),
        }
    }

    /// Ends the threads, and what they still serve. That they have ended is waited for, for `patience` at most.
    pub fn stop(self, patience: Duration) {
        let threads = std::iter::once(self.first).chain(self.others);
        let ending: Vec<_> = threads
            .map(|ConnectionThread { stop, ended, .. }| {
                let _ = stop.send(());
                ended
            })
            .collect();
        let until = Instant::now() + patience;
        for ended in ending {
            let left = until.saturating_duration_since(Instant::now());
            if ended.recv_timeout(left) == Err(RecvTimeoutError::Timeout) {
                tracing::warn!(
                    "a call holds up a thread that serves connections; the process ends without it"
                );
            }
        }
    }
}

impl ConnectionThread {
    fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread()
            .max_blocking_threads(RESOLVERS)
            .thread_name(THREAD_NAME)
            .enable_all()
            .build()?;
        let handle = runtime.handle().clone();
        let (stop, stopped) = oneshot::channel();
        let (ending, ended) = mpsc::channel::<()>();
        std::thread::Builder::new()
            .name(THREAD_NAME.to_owned())
            .spawn(move || {
                let wakes = Arc::new(WakeList::default());
                wakes.install();
                runtime.block_on(async {
                    tokio::select! {
                        _ = stopped => {}
                        () = wakes.forward() => {}
                    }
                });
                runtime.shutdown_background();
                drop(ending);
            })?;
        Ok(Self {
            runtime: handle,
            open: Arc::default(),
            stop,
            ended,
        })
    }

    fn count_open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }
}

impl ThreadPlace {
    /// Moves a stream from the runtime that accepted it to that of the thread.
    ///
    /// # Errors
    /// The system does not let it be registered there.
    pub(super) fn move_stream(&self, stream: TcpStream) -> io::Result<TcpStream> {
        let stream = stream.into_std()?;
        let _entered = self.runtime.enter();
        TcpStream::from_std(stream)
    }

    /// Runs a future on the thread. It keeps the place until it has ended.
    pub(super) fn spawn(self, future: impl Future<Output = ()> + Send + 'static) {
        let runtime = self.runtime.clone();
        runtime.spawn(async move {
            let _place = self;
            future.await;
        });
    }
}

impl Drop for ThreadPlace {
    fn drop(&mut self) {
        self.open.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_connection_gets_a_place_on_the_thread_that_serves_the_fewest() {
        let count = NonZeroUsize::new(2).unwrap();
        let threads = ConnectionThreads::start(count).unwrap();
        let count_open = || (threads.first.count_open(), threads.others[0].count_open());
        let mut places: Vec<_> = (0..5).map(|_| threads.take_place()).collect();
        assert_eq!(count_open(), (3, 2));
        // Those of the first thread.
        drop((places.remove(4), places.remove(2)));
        assert_eq!(count_open(), (1, 2));
        places.push(threads.take_place());
        assert_eq!(count_open(), (2, 2));
        let (reply, answer) = std::sync::mpsc::channel();
        for place in places {
            let reply = reply.clone();
            place.spawn(async move {
                let _ = reply.send(std::thread::current().id());
            });
        }
        drop(reply);
        let ran_on: HashSet<_> = answer.iter().collect();
        assert_eq!(ran_on.len(), 2);
        threads.stop(Duration::from_secs(5));
    }
}
