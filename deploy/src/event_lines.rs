//! The events of a stream of server-sent events, one after the other.
//!
//! Invariant: no more than [`MAX_EVENT`] bytes of a stream are kept, whatever it sends: what is read may not be a host.
//!
//! Must not know: what an event says.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read};
use std::ops::ControlFlow;

/// The most bytes of an event, and of a line.
const MAX_EVENT: usize = 1 << 20;

/// Why a stream is not read on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum EventStreamError {
    /// An event, or a line, is longer than any of a host.
    #[error("the stream sends an event of more than 1 MiB")]
    TooLong,
    /// It cannot be read, or is no text.
    #[error(transparent)]
    Read(#[from] Error),
}

/// An event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ServerEvent<'a> {
    /// Its own id; empty: it has none.
    pub(crate) id: &'a str,
    /// Its kind; empty: it has none.
    pub(crate) kind: &'a str,
    /// Its data, with a line break between the lines. An event has some.
    pub(crate) data: &'a str,
}

/// Reads events until `on_event` breaks off or the stream ends. An event whose end the stream does not send is none.
///
/// # Errors
/// See [`EventStreamError`].
pub(crate) fn read_event_lines(
    stream: impl Read,
    mut on_event: impl FnMut(ServerEvent<'_>) -> ControlFlow<()>,
) -> Result<(), EventStreamError> {
    let mut reader = BufReader::new(stream);
    let mut event = PartialEvent::default();
    let mut line = Vec::new();
    loop {
        line.clear();
        let left = MAX_EVENT.saturating_sub(event.length());
        // A byte more tells a line that is too long from one that is not.
        (&mut reader)
            .take(left as u64 + 1)
            .read_until(b'\n', &mut line)?;
        if line.len() > left {
            return Err(EventStreamError::TooLong);
        }
        let Some(text) = line.strip_suffix(b"\n") else {
            return Ok(());
        };
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let text =
            std::str::from_utf8(text).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
        if !text.is_empty() {
            event.take_line(text);
            continue;
        }
        if let Some(whole) = event.as_event()
            && on_event(whole).is_break()
        {
            return Ok(());
        }
        event = PartialEvent::default();
    }
}

/// What was read of an event.
#[derive(Default)]
struct PartialEvent {
    id: String,
    kind: String,
    data: Option<String>,
}

impl PartialEvent {
    /// How many bytes are kept.
    fn length(&self) -> usize {
        self.id.len() + self.kind.len() + self.data.as_ref().map_or(0, String::len)
    }

    /// Takes a line: a field and its value. What begins with a colon is a comment, and fields of other names are ignored.
    fn take_line(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => value.clone_into(&mut self.id),
            "event" => value.clone_into(&mut self.kind),
            "data" => match &mut self.data {
                None => self.data = Some(value.to_owned()),
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
            },
            _ => {}
        }
    }

    fn as_event(&self) -> Option<ServerEvent<'_>> {
        Some(ServerEvent {
            id: &self.id,
            kind: &self.kind,
            data: self.data.as_ref()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Sends its piece again and again, and counts the bytes.
    struct Endless {
        piece: &'static [u8],
        sent: usize,
    }

    impl Read for Endless {
        fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
            let rest = self.piece.iter().cycle().skip(self.sent % self.piece.len());
            for (to, from) in buffer.iter_mut().zip(rest) {
                *to = *from;
            }
            self.sent += buffer.len();
            Ok(buffer.len())
        }
    }

    #[test]
    fn events_are_read_with_their_fields_and_a_cut_one_is_none() {
        let stream = "retry: 100\n: alive\n\nid: 1-0\nevent: decision\ndata: {\"a\":\ndata: 1}\n\n\
                      data:b\r\n\r\nid: 2-0\n\nid: 3-0\ndata: cut\n";
        let mut found = Vec::new();
        read_event_lines(stream.as_bytes(), |event| {
            let texts = [event.id, event.kind, event.data];
            found.push(texts.map(str::to_owned));
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(found, [["1-0", "decision", "{\"a\":\n1}"], ["", "", "b"]]);
        let mut read = 0;
        read_event_lines(stream.as_bytes(), |_| {
            read += 1;
            ControlFlow::Break(())
        })
        .unwrap();
        assert_eq!(read, 1, "it ends where it is told to");
    }

    #[test]
    fn what_does_not_end_is_given_up_after_a_mebibyte_and_comments_are_not_kept() {
        let never = |_: ServerEvent<'_>| -> ControlFlow<()> { panic!("no event ends") };
        for piece in [b"data: x".as_slice(), b"data: x\n", b": x"] {
            let mut stream = Endless { piece, sent: 0 };
            let refused = read_event_lines(&mut stream, never).unwrap_err();
            assert!(matches!(refused, EventStreamError::TooLong), "{refused}");
            assert!(stream.sent < 8 * MAX_EVENT, "{}", stream.sent);
        }
        let comments = ": alive\n".repeat(MAX_EVENT / 4);
        let longest = "x".repeat(MAX_EVENT - 64);
        let stream = format!("{comments}data: {longest}\n\n");
        let mut lengths = Vec::new();
        read_event_lines(stream.as_bytes(), |event| {
            lengths.push(event.data.len());
            ControlFlow::Continue(())
        })
        .unwrap();
        assert_eq!(lengths, [longest.len()]);
    }

    #[test]
    fn a_stream_that_breaks_or_is_no_text_is_an_error_with_its_cause() {
        struct Broken;
        impl Read for Broken {
            fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
                Err(Error::new(ErrorKind::ConnectionReset, "reset by the peer"))
            }
        }
        let ignore = |_: ServerEvent<'_>| ControlFlow::Continue(());
        let broken = read_event_lines(b"data: 1\n".as_slice().chain(Broken), ignore).unwrap_err();
        assert_eq!(broken.to_string(), "reset by the peer");
        assert!(
            matches!(&broken, EventStreamError::Read(cause) if cause.kind() == ErrorKind::ConnectionReset)
        );
        let no_text = read_event_lines(b"data: \xff\n".as_slice(), ignore).unwrap_err();
        assert!(
            matches!(&no_text, EventStreamError::Read(cause) if cause.kind() == ErrorKind::InvalidData)
        );
    }
}
