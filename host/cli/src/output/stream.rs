//! Standard output and standard error, where readers may go away and disks fill up.
//!
//! A closed pipe (`ark audit export | head`) is not a fault: the reader has what it wanted, and what else would be printed is dropped. Any other
//! failure is kept until the end of the command, whose work it does not interrupt.

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The number of bytes that are held at most before they are written.
const MAX_HELD_BYTES: usize = 64 * 1024;

/// What happened to standard output.
enum OutputFault {
    /// Its reader has closed it.
    Closed,
    /// What was printed is lost.
    Lost(io::Error),
}

struct StandardOutput {
    /// Text that is not written yet.
    held: Vec<u8>,
    /// The number of [`HeldOutput`]s.
    holders: usize,
    fault: Option<OutputFault>,
    /// Whether anything was printed.
    is_used: bool,
}

static OUTPUT: Mutex<StandardOutput> = Mutex::new(StandardOutput {
    held: Vec::new(),
    holders: 0,
    fault: None,
    is_used: false,
});

impl StandardOutput {
    fn flush(&mut self) {
        let held = std::mem::take(&mut self.held);
        if self.fault.is_some() {
            return;
        }
        #[expect(
            clippy::disallowed_methods,
            reason = "the one place that writes to standard output"
        )]
        let mut out = io::stdout().lock();
        match out.write_all(&held).and_then(|()| out.flush()) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.fault = Some(OutputFault::Closed);
            }
            Err(error) => self.fault = Some(OutputFault::Lost(error)),
        }
    }
}

fn lock_output() -> MutexGuard<'static, StandardOutput> {
    // What a panicking thread has not finished is text.
    OUTPUT.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Writes to standard output, at once unless the output is held.
pub(super) fn write_output(text: &str) {
    let mut output = lock_output();
    output.is_used |= !text.is_empty();
    output.held.extend_from_slice(text.as_bytes());
    if output.holders == 0 || output.held.len() >= MAX_HELD_BYTES {
        output.flush();
    }
}

/// Whether anything was printed on standard output.
pub(crate) fn is_used() -> bool {
    lock_output().is_used
}

/// Whether standard output is a terminal.
pub(super) fn is_terminal() -> bool {
    #[expect(clippy::disallowed_methods, reason = "nothing is written")]
    io::stdout().is_terminal()
}

/// Whether standard error is a terminal.
pub(super) fn is_error_terminal() -> bool {
    #[expect(clippy::disallowed_methods, reason = "nothing is written")]
    io::stderr().is_terminal()
}

/// Writes to standard error. Nobody can be told when that fails.
pub(super) fn write_error(text: &str) {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one place that writes to standard error"
    )]
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// While it lives, what is printed is written in larger parts. For commands that print many lines at once.
pub(crate) struct HeldOutput(());

/// Holds the output; see [`HeldOutput`].
pub(crate) fn hold_output() -> HeldOutput {
    lock_output().holders += 1;
    HeldOutput(())
}

impl Drop for HeldOutput {
    fn drop(&mut self) {
        let mut output = lock_output();
        output.holders -= 1;
        output.flush();
    }
}

/// Whether what is printed still reaches somebody. Commands that only print may end when it does not.
pub(crate) fn is_read() -> bool {
    lock_output().fault.is_none()
}

/// Writes what is held, and returns why something that was printed is lost.
///
/// # Errors
/// Standard output failed for another reason than a closed pipe.
pub(super) fn close_output() -> io::Result<()> {
    let mut output = lock_output();
    output.flush();
    match output.fault.take() {
        None | Some(OutputFault::Closed) => Ok(()),
        Some(OutputFault::Lost(error)) => Err(error),
    }
}
