//! What a user sees while a component is on its way to the host and while the host compiles it, which takes tens of seconds for a large one.

use std::io::{self, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicUsize, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use ark_client::UploadStage;

use crate::output::{StatusLine, print_notice};

/// How often the line on a terminal changes.
const TICK: Duration = Duration::from_millis(500);
/// After this time a user without a terminal gets one line that says that the host still works.
const NOTICE_AFTER: Duration = Duration::from_secs(10);

/// The body of an upload, which counts the bytes that were sent.
pub(super) struct CountedBody {
    bytes: Cursor<Vec<u8>>,
    sent: Arc<AtomicUsize>,
}

impl Read for CountedBody {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.bytes.read(buffer)?;
        self.sent.fetch_add(count, Ordering::Relaxed);
        Ok(count)
    }
}

/// The host has not accepted the request yet.
const SENT: u8 = 0;
/// See [`UploadStage::Waiting`].
const WAITING: u8 = 1;
/// See [`UploadStage::Compiling`].
const COMPILING: u8 = 2;

/// Shows the progress of an upload until it is dropped.
pub(super) struct UploadProgress {
    stage: Arc<AtomicU8>,
    ended: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl UploadProgress {
    /// Starts to show the progress of sending `body`, and returns it as the body to send.
    pub(super) fn start(body: Vec<u8>) -> (Self, CountedBody) {
        let total = body.len();
        let sent = Arc::new(AtomicUsize::new(0));
        let counted = CountedBody {
            bytes: Cursor::new(body),
            sent: Arc::clone(&sent),
        };
        let stage = Arc::new(AtomicU8::new(SENT));
        let shown_stage = Arc::clone(&stage);
        let (ended, is_ended) = channel();
        let thread = std::thread::spawn(move || {
            let mut line = StatusLine::on_terminal();
            let started = Instant::now();
            let mut is_noticed = false;
            while is_ended.recv_timeout(TICK) == Err(RecvTimeoutError::Timeout) {
                let sent = sent.load(Ordering::Relaxed);
                let stage = shown_stage.load(Ordering::Relaxed);
                let text = describe_progress(sent, total, stage, started.elapsed());
                if let Some(line) = &mut line {
                    line.show(&text);
                } else if !is_noticed && started.elapsed() >= NOTICE_AFTER {
                    is_noticed = true;
                    print_notice!("{text}");
                }
            }
        });
        let progress = Self {
            stage,
            ended: Some(ended),
            thread: Some(thread),
        };
        (progress, counted)
    }
}

impl UploadProgress {
    /// Shows what the host says of an upload that it has accepted.
    pub(super) fn set_stage(&self, stage: UploadStage) {
        let stage = match stage {
            UploadStage::Waiting => WAITING,
            UploadStage::Compiling => COMPILING,
        };
        self.stage.store(stage, Ordering::Relaxed);
    }
}

impl Drop for UploadProgress {
    fn drop(&mut self) {
        drop(self.ended.take());
        if let Some(thread) = self.thread.take() {
            // It only prints; a failure of it changes nothing.
            let _ = thread.join();
        }
    }
}

fn describe_progress(sent: usize, total: usize, stage: u8, elapsed: Duration) -> String {
    let seconds = elapsed.as_secs();
    if stage == WAITING {
        format!("the host has everything; it compiles other uploads before, {seconds} s")
    } else if stage == COMPILING {
        format!("compiling, {seconds} s")
    } else if sent < total {
        let megabytes = |bytes: usize| bytes as f64 / 1e6;
        let (sent, total) = (megabytes(sent), megabytes(total));
        format!("uploading: {sent:.1} of {total:.1} MB, {seconds} s")
    } else {
        format!("the host has everything; it checks and compiles the component, {seconds} s")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{COMPILING, SENT, WAITING, describe_progress};

    #[test]
    fn progress_tells_the_upload_from_the_compilation() {
        let at = Duration::from_secs(12);
        assert_eq!(
            describe_progress(1_000_000, 24_000_000, SENT, at),
            "uploading: 1.0 of 24.0 MB, 12 s"
        );
        assert_eq!(
            describe_progress(24_000_000, 24_000_000, SENT, at),
            "the host has everything; it checks and compiles the component, 12 s"
        );
        assert_eq!(
            describe_progress(24_000_000, 24_000_000, WAITING, at),
            "the host has everything; it compiles other uploads before, 12 s"
        );
        assert_eq!(
            describe_progress(24_000_000, 24_000_000, COMPILING, at),
            "compiling, 12 s"
        );
    }
}
