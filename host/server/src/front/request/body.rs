//! The body of a request: in memory where it is small, streamed where it is large. Both are bounded.

use std::sync::{Arc, OnceLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, header};
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt;
use http_body_util::{BodyExt, LengthLimitError, Limited};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use crate::api::http::body::{BodyLimits, incomplete_body, refuse_large, too_slow};
use crate::api::http::problem::Problem;

/// Bodies up to this size are held in memory: all except uploads.
pub(super) const WHOLE_LIMITS: BodyLimits = BodyLimits::DEFAULT;
/// Bodies up to this size are streamed: the uploads. The owner has its own limits.
pub(super) const STREAMED_LIMITS: BodyLimits = BodyLimits::UPLOAD;
/// The unit in which memory for bodies is counted.
const BUFFER_UNIT: usize = 1024;
/// Memory for the bodies of all requests at the same time.
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
    /// Reserves memory in units of [`BUFFER_UNIT`].
    fn reserve(&self, units: usize) -> Result<OwnedSemaphorePermit, Problem> {
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let free = Arc::clone(&self.0).try_acquire_many_owned(units);
        free.map_err(|_| Problem::busy("too many requests with bodies are under way"))
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

/// Reads a body that is not large. A large one, or one whose length nobody knows and that turns out to be large, is streamed.
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
    if length.is_some_and(|length| length > WHOLE_LIMITS.bytes) {
        return Ok(stream_body(body, declared.filter(|_| !is_coded)));
    }
    let mut permit = memory.reserve(0)?;
    let mut stream = body.into_data_stream();
    let mut read = BytesMut::new();
    let reading = async {
        while let Some(chunk) = stream.next().await {
            let chunk = chunk.map_err(|error| incomplete_body(&error))?;
            let needed = (read.len() + chunk.len()).div_ceil(BUFFER_UNIT);
            let missing = needed.saturating_sub(permit.num_permits());
            permit.merge(memory.reserve(missing)?);
            read.extend_from_slice(&chunk);
            if read.len() > WHOLE_LIMITS.bytes {
                return Ok(false);
            }
        }
        Ok::<bool, Problem>(true)
    };
    let is_whole = tokio::time::timeout(WHOLE_LIMITS.time, reading).await;
    let is_whole = is_whole.map_err(|_| too_slow(WHOLE_LIMITS))??;
    let bytes = read.freeze();
    if is_whole {
        return Ok(ForwardedBody::Whole {
            bytes,
            _memory: permit,
        });
    }
    let begun = Bytes::from_owner(BegunBytes {
        bytes,
        _memory: permit,
    });
    let begun = futures_util::stream::once(async move { Ok(begun) });
    Ok(stream_body(Body::from_stream(begun.chain(stream)), None))
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
