//! The body of a request: in memory where it is small, streamed where it is large, or where the memory for bodies is used up. All are bounded.
//!
//! The front does not know whether a caller may call: the owner does, before it reads a body. So a body for which there is no memory is not refused, but
//! streamed to the owner: callers without a token who send bodies slowly would else deny the front to everybody.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::http::body::{BodyLimits, incomplete_body, refuse_large, too_slow};
use crate::api::http::problem::Problem;

/// Bodies up to this size are held in memory, where there is some: all except uploads.
pub(super) const WHOLE_LIMITS: BodyLimits = BodyLimits::DEFAULT;
/// Bodies up to this size are streamed: the uploads. The owner has its own limits.
pub(super) const STREAMED_LIMITS: BodyLimits = BodyLimits::UPLOAD;
/// The unit in which memory for bodies is counted.
const BUFFER_UNIT: usize = 1024;
/// What each body has without its memory being counted, so that most requests are held in memory whatever others send. It is less than the buffers of its
/// connection, whose number `capacity.connections` bounds.
pub(super) const UNCOUNTED_BYTES: usize = 4 * 1024;
/// Memory for what the bodies of all requests have beyond [`UNCOUNTED_BYTES`] at the same time.
const MAX_BUFFERED_BYTES: usize = 128 * 1024 * 1024;

/// Memory for the bodies of requests.
#[derive(Clone)]
pub(in crate::front) struct BodyMemory(pub(super) Arc<Semaphore>);

impl Default for BodyMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_BUFFERED_BYTES / BUFFER_UNIT)))
    }
}

impl BodyMemory {
    /// Begins to hold memory for a body: none yet.
    fn hold(&self) -> Option<OwnedSemaphorePermit> {
        Arc::clone(&self.0).try_acquire_many_owned(0).ok()
    }

    /// Holds memory for a body of `bytes` so far, in units of [`BUFFER_UNIT`]. Returns whether there is enough.
    fn extend(&self, held: &mut OwnedSemaphorePermit, bytes: usize) -> bool {
        let needed = bytes.saturating_sub(UNCOUNTED_BYTES).div_ceil(BUFFER_UNIT);
        let missing = needed.saturating_sub(held.num_permits());
        let missing = u32::try_from(missing).unwrap_or(u32::MAX);
        match Arc::clone(&self.0).try_acquire_many_owned(missing) {
            Ok(more) => {
                held.merge(more);
                true
            }
            Err(_) => false,
        }
    }
}

/// Set when the client failed while its body was streamed, so that the broken connection is not blamed on the owner.
pub(super) type ClientFailure = Arc<OnceLock<BodyFailure>>;

/// What is wrong with a body that is streamed.
pub(super) enum BodyFailure {
    TooLarge,
    Incomplete(String),
}

/// The first bytes of a body, which are in memory until they are sent.
struct BegunBytes {
    bytes: Bytes,
    _memory: OwnedSemaphorePermit,
}

impl AsRef<[u8]> for BegunBytes {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A body on its way to the owner.
pub(super) enum ForwardedBody {
    Whole {
        bytes: Bytes,
        _memory: OwnedSemaphorePermit,
    },
    /// Sent once; `None`: it was.
    Streamed {
        body: Option<Body>,
        length: Option<HeaderValue>,
        failure: ClientFailure,
    },
}

/// How reading a body into memory ended.
enum ReadEnd {
    /// It is in memory.
    Whole,
    /// It is larger than what is held in memory.
    Large,
    /// There is no memory for its next chunk.
    NoMemory(Bytes),
}

/// Reads a body that is not large. A large one, one whose length nobody knows and that turns out to be large, and one for which there is no memory, is
/// streamed.
pub(super) async fn read_body(
    headers: &HeaderMap,
    declared: Option<HeaderValue>,
    body: Body,
    memory: &BodyMemory,
) -> Result<ForwardedBody, Problem> {
    let length = declared
        .as_ref()
        .and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let is_coded = headers.contains_key(header::TRANSFER_ENCODING);
    if length.is_some_and(|length| length > STREAMED_LIMITS.bytes) && !is_coded {
        return Err(refuse_large(headers, body, STREAMED_LIMITS).await);
    }
    let declared = declared.filter(|_| !is_coded);
    if length.is_some_and(|length| length > WHOLE_LIMITS.bytes) {
        return Ok(stream_body(body, declared));
    }
    let Some(mut held) = memory.hold() else {
        return Ok(stream_body(body, declared));
    };
    let mut stream = body.into_data_stream();
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| incomplete_body(&error))?;
            if !memory.extend(&mut held, read.len() + chunk.len()) {
                return Ok(ReadEnd::NoMemory(chunk));
            }
            read.extend_from_slice(&chunk);
            if read.len() > WHOLE_LIMITS.bytes {
                return Ok(ReadEnd::Large);
            }
        }
        Ok::<ReadEnd, Problem>(ReadEnd::Whole)
    };
    let end = tokio::time::timeout(WHOLE_LIMITS.time, reading).await;
    let end = end.map_err(|_| too_slow(WHOLE_LIMITS))??;
    let bytes = read.freeze();
    let next = match end {
        ReadEnd::Whole => {
            return Ok(ForwardedBody::Whole {
                bytes,
                _memory: held,
            });
        }
        ReadEnd::Large => None,
        ReadEnd::NoMemory(chunk) => Some(chunk),
    };
    let begun = Bytes::from_owner(BegunBytes {
        bytes,
        _memory: held,
    });
    let begun = std::iter::once(begun).chain(next).map(Ok);
    let whole = futures_util::stream::iter(begun).chain(stream);
    Ok(stream_body(Body::from_stream(whole), declared))
}

/// Streams a body within [`STREAMED_LIMITS`], and notes what the client does wrong.
fn stream_body(body: Body, length: Option<HeaderValue>) -> ForwardedBody {
    let failure = ClientFailure::default();
    let noted = Arc::clone(&failure);
    let body = Limited::new(body, STREAMED_LIMITS.bytes).map_err(move |error| {
        let found = if error.is::<LengthLimitError>() {
            BodyFailure::TooLarge
        } else {
            BodyFailure::Incomplete(error.to_string())
        };
        let _ = noted.set(found);
        error
    });
    ForwardedBody::Streamed {
        body: Some(Body::new(body)),
        length,
        failure,
    }
}
