//! Answers that are sent before the request's body was read: the connection cannot be used again, and the answer says so.
//!
//! Without that, hyper would close the connection after the answer, and the client's next request on it would be lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::response::Response;
use futures_util::StreamExt;

/// Smaller bodies have arrived with the head, as a rule, and are read away: watching them costs more than a connection now and then.
const SMALL: u64 = 16 * 1024;

/// Counts the bytes of a body that are not read yet.
pub(crate) struct Unread(Option<Arc<AtomicU64>>);

/// Watches how much of a request's body is read.
pub(crate) fn watch_body(request: Request) -> (Request, Unread) {
    let length = request
        .headers()
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok())
        .filter(|length| *length > SMALL);
    let Some(length) = length else {
        return (request, Unread(None));
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
    (request, Unread(Some(left)))
}

impl Unread {
    /// Adds `Connection: close` to the answer, if a part of the body was not read.
    pub(crate) fn close_connection(&self, response: &mut Response) {
        if let Some(left) = &self.0
            && left.load(Ordering::Relaxed) > 0
        {
            response
                .headers_mut()
                .insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
    }
}
