//! The log of one invocation: what the guest logged and what it wrote to its standard streams, up to a number of bytes.

use std::collections::VecDeque;
use std::sync::Arc;

use ark_model::check::clip_to;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

/// The number of bytes that a line costs in addition to its text, so that empty lines are not free.
const LINE_COST: usize = 32;
/// The number of lines of the standard error in which the message of a panic is looked for.
const LAST_LINES: usize = 16;
/// The most characters of such a line.
const MAX_KEPT_CHARS: usize = 1000;

/// The level of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// For the agent's author.
    Debug,
    /// For the record.
    Info,
    /// Something is unusual.
    Warn,
    /// Something failed.
    Error,
}

/// A line that an agent logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLine {
    /// The level.
    pub level: LogLevel,
    /// The text, without its line end.
    pub text: String,
}

/// A standard stream of a guest.
#[derive(Debug, Clone, Copy)]
pub(crate) enum StdStream {
    /// Its lines are logged at [`LogLevel::Info`].
    Stdout,
    /// Its lines are logged at [`LogLevel::Warn`].
    Stderr,
}

/// A handle to the log of an invocation, which the guest's streams hold too.
#[derive(Debug, Clone)]
pub(crate) struct SharedLog(Arc<Mutex<LogBuffer>>);

impl SharedLog {
    /// Makes a log that keeps up to `max_bytes` bytes.
    pub(crate) fn new(max_bytes: usize) -> Self {
        Self(Arc::new(Mutex::new(LogBuffer {
            lines: Vec::new(),
            left: max_bytes,
            dropped: false,
            partial: [Vec::new(), Vec::new()],
            last_stderr: VecDeque::new(),
        })))
    }

    /// Adds a line.
    pub(crate) fn add_line(&self, level: LogLevel, text: &str) {
        self.0.lock().add_line(level, text);
    }

    /// Adds bytes that the guest wrote to a stream. A line is added when it is complete.
    pub(crate) fn write_bytes(&self, stream: StdStream, bytes: &[u8]) {
        self.0.lock().write_bytes(stream, bytes);
    }

    /// Returns what the guest wrote last to its standard error: the last line of a Python traceback, the message of a panic with its place, of a
    /// JavaScript error the line before its stack, else the last line. `None`: nothing, or the log was full before.
    pub(crate) fn last_words(&self) -> Option<String> {
        let log = self.0.lock();
        // What came last was dropped: an earlier line would mislead.
        if log.dropped {
            return None;
        }
        let open = String::from_utf8_lossy(&log.partial[StdStream::Stderr as usize]);
        let lines = log.last_stderr.iter().map(String::as_str).chain([&*open]);
        let lines: Vec<&str> = lines
            .map(str::trim)
            .filter(|line| !line.is_empty() && !line.starts_with("note: run with"))
            .collect();
        let panic = lines.iter().rposition(|line| line.contains("panicked at"));
        let traceback = lines
            .iter()
            .rposition(|line| line.starts_with("Traceback (most recent call last)"));
        match (traceback, panic) {
            // The runtime of Python panics after the traceback.
            (Some(traceback), Some(panic)) if traceback + 1 < panic => {
                return Some(lines[panic - 1].to_owned());
            }
            (_, Some(panic)) => return Some(lines[panic..].join(" ")),
            (_, None) => {}
        }
        let stack = lines.iter().rposition(|line| *line == "Stack:");
        let end = stack.filter(|stack| *stack > 0).unwrap_or(lines.len());
        lines[..end].last().map(|line| (*line).to_owned())
    }

    /// Takes the lines, including those that are not complete.
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        let mut log = self.0.lock();
        log.flush_partial(StdStream::Stdout);
        log.flush_partial(StdStream::Stderr);
        std::mem::take(&mut log.lines)
    }
}

#[derive(Debug)]
struct LogBuffer {
    lines: Vec<LogLine>,
    /// The bytes that may still be added.
    left: usize,
    /// Whether the note about dropped lines was added.
    dropped: bool,
    /// The beginning of an incomplete line, for each stream.
    partial: [Vec<u8>; 2],
    /// The latest lines of the standard error, oldest first.
    last_stderr: VecDeque<String>,
}

impl LogBuffer {
    fn add_line(&mut self, level: LogLevel, text: &str) {
        let cost = text.len().saturating_add(LINE_COST);
        if cost <= self.left {
            self.left -= cost;
            self.lines.push(LogLine {
                level,
                text: text.to_owned(),
            });
        } else {
            self.note_dropped();
        }
    }

    /// Adds the note that lines are dropped, once.
    fn note_dropped(&mut self) {
        if !self.dropped {
            self.dropped = true;
            self.left = 0;
            self.lines.push(LogLine {
                level: LogLevel::Warn,
                text: "the log limit is reached; further lines are dropped".to_owned(),
            });
        }
    }

    fn write_bytes(&mut self, stream: StdStream, bytes: &[u8]) {
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            let partial = &mut self.partial[stream as usize];
            let room = self.left.saturating_sub(partial.len());
            let kept = part.strip_suffix(b"\n").unwrap_or(part);
            partial.extend_from_slice(&kept[..kept.len().min(room)]);
            let is_cut = kept.len() > room;
            if part.ends_with(b"\n") || is_cut {
                self.flush_partial(stream);
            }
            if is_cut {
                self.note_dropped();
            }
        }
    }

    fn flush_partial(&mut self, stream: StdStream) {
        let bytes = std::mem::take(&mut self.partial[stream as usize]);
        if !bytes.is_empty() {
            let level = match stream {
                StdStream::Stdout => LogLevel::Info,
                StdStream::Stderr => LogLevel::Warn,
            };
            let line = String::from_utf8_lossy(&bytes);
            if matches!(stream, StdStream::Stderr) {
                if self.last_stderr.len() == LAST_LINES {
                    self.last_stderr.pop_front();
                }
                self.last_stderr.push_back(clip_to(&line, MAX_KEPT_CHARS));
            }
            self.add_line(level, &line);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{SharedLog, StdStream};

    #[test]
    fn the_closing_lines_are_those_that_explain_the_failure() {
        for (written, words) in [
            ("", None),
            ("a\nb\n", Some("b")),
            ("not ended", Some("not ended")),
            (
                "thread 'main' panicked at src/lib.rs:3:5:\nboom\nnote: run with `RUST_BACKTRACE=1`\n",
                Some("thread 'main' panicked at src/lib.rs:3:5: boom"),
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: boom\n",
                Some("ValueError: boom"),
            ),
            (
                "Traceback (most recent call last):\n  File \"a.py\", line 1\nValueError: boom\n\nthread panicked at lib.rs:1:\nPython\n",
                Some("ValueError: boom"),
            ),
            (
                "Error: boom\nStack:\n  handle@a.js:1\nRedirecting call to abort()\n",
                Some("Error: boom"),
            ),
            ("Stack:\n", Some("Stack:")),
        ] {
            let log = SharedLog::new(10_000);
            log.write_bytes(StdStream::Stderr, written.as_bytes());
            log.write_bytes(StdStream::Stdout, b"something else\n");
            assert_eq!(log.last_words().as_deref(), words, "{written:?}");
        }
    }

    #[test]
    fn a_full_log_drops_the_closing_lines() {
        let log = SharedLog::new(200);
        for _ in 0..10 {
            log.write_bytes(StdStream::Stderr, b"all is well so far\n");
        }
        log.write_bytes(
            StdStream::Stderr,
            b"thread 'main' panicked at a.rs:1:\nboom\n",
        );
        assert_eq!(log.last_words(), None);
    }
}
