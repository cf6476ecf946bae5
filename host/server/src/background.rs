//! Work that goes on beside the start of a host until its result is needed.
//!
//! Must not know: what the work is.

use std::thread::{Builder, JoinHandle};

/// A piece of work with a thread of its own. When it is dropped the work goes on, and its result is lost.
pub struct BackgroundTask<T>(Task<T>);

enum Task<T> {
    Running(JoinHandle<T>),
    /// No thread could be started: it is done once its result is needed.
    Waiting(Box<dyn FnOnce() -> T + Send>),
}

impl<T: Send + 'static> BackgroundTask<T> {
    /// Starts the work on a thread with this name.
    pub fn start(name: &str, work: impl FnOnce() -> T + Clone + Send + 'static) -> Self {
        let thread = Builder::new().name(name.to_owned()).spawn(work.clone());
        Self(thread.map_or_else(|_| Task::Waiting(Box::new(work)), Task::Running))
    }

    /// Waits for the result.
    ///
    /// # Panics
    /// The work has panicked.
    pub fn finish(self) -> T {
        match self.0 {
            Task::Running(thread) => thread
                .join()
                .unwrap_or_else(|panic| std::panic::resume_unwind(panic)),
            Task::Waiting(work) => work(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_result_is_there_whether_or_not_there_was_a_thread_and_a_panic_is_passed_on() {
        let caller = std::thread::current().id();
        let work = || std::thread::current().id();
        assert_ne!(BackgroundTask::start("ark-test", work).finish(), caller);
        assert_eq!(
            BackgroundTask(Task::Waiting(Box::new(work))).finish(),
            caller
        );
        let failing = || -> u32 { panic!("a fault of the test") };
        let waiting =
            std::thread::spawn(move || BackgroundTask::start("ark-test", failing).finish());
        let panic = waiting.join().unwrap_err();
        assert_eq!(panic.downcast_ref(), Some(&"a fault of the test"));
    }
}
