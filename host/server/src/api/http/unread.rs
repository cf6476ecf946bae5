//! Answers that are sent before the request's body was read: the connection cannot be used again, and the answer says so.
//!
//! Without that, hyper would close the connection after the answer, and the client's next request on it would be lost. The connection is closed
//! slowly, so that a client that still sends gets the answer.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::Response;
use futures_util::StreamExt;

/// Smaller bodies have arrived with the head, as a rule, and are read away: watching them costs more than a connection now and then.
const SMALL: u64 = 16 * 1024;

/// Says of a connection that its client may still be sending when the host closes it.
#[derive(Debug, Clone, Default)]
pub(crate) struct LingerFlag(Arc<AtomicBool>);

impl LingerFlag {
    /// Marks the connection to be closed slowly.
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Release);
    }

    /// Whether it is to be closed slowly.
    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Acquire)
    }
}

/// Whether an answer may come before the body of a request is read.
pub(crate) fn may_be_left_unread(headers: &HeaderMap) -> bool {
    headers.contains_key(header::TRANSFER_ENCODING) || read_large_length(headers).is_some()
}

/// The length of a body that is not small.
fn read_large_length(headers: &HeaderMap) -> Option<u64> {
    let length = headers.get(header::CONTENT_LENGTH)?.to_str().ok()?;
    length.parse().ok().filter(|length| *length > SMALL)
}

/// Counts the bytes of a body that are not read yet.
pub(crate) struct Unread {
    bytes: Option<Arc<AtomicU64>>,
    linger: Option<LingerFlag>,
}

/// Watches how much of a request's body is read.
pub(crate) fn watch_body(request: Request) -> (Request, Unread) {
    let linger = request.extensions().get::<LingerFlag>().cloned();
    if let Some(linger) = &linger
        && request.headers().contains_key(header::TRANSFER_ENCODING)
    {
        // How much there is of it is not known, and its connection is closed in any case.
        linger.set();
    }
    let Some(length) = read_large_length(request.headers()) else {
        let bytes = None;
        return (request, Unread { bytes, linger });
    };
    let left = Arc::new(AtomicU64::new(length));
    let counted = Arc::clone(&left);
    let request = request.map(|body| {
        Body::from_stream(body.into_data_stream().inspect(move |chunk| {
            let read = chunk.as_ref().map_or(0, |chunk| chunk.len() as u64);
            // One reader at a time: a body is read once.
            let before = counted.load(Ordering::Relaxed);
            counted.store(before.saturating_sub(read), Ordering::Relaxed);
        }))
    });
    let bytes = Some(left);
    (request, Unread { bytes, linger })
}

impl Unread {
    /// Adds `Connection: close` to the answer, if a part of the body was not read.
    pub(crate) fn close_connection(&self, response: &mut Response) {
        if let Some(left) = &self.bytes
            && left.load(Ordering::Relaxed) > 0
        {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
            if let Some(linger) = &self.linger {
                linger.set();
            }
        }
    }
}
