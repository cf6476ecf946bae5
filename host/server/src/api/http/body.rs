//! Reads the body of a request: of the right type, not too large, in time.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, HttpBody};
use axum::http::{HeaderMap, StatusCode, header};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, LengthLimitError, Limited};

use ark_model::check::{FieldError, clip_for_error};
use ark_runtime::MAX_COMPONENT_BYTES;

use super::problem::Problem;

/// How large a body may be, and how long a client may take to send it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// The most bytes.
    pub(crate) bytes: usize,
    /// From the end of the headers to the last byte.
    pub(crate) time: Duration,
}

impl BodyLimits {
    /// For every request that carries no component.
    pub(crate) const DEFAULT: Self = Self {
        bytes: 256 * 1024,
        time: Duration::from_secs(10),
    };

    /// For a request with a component: the largest one in Base64, and a manifest or settings.
    pub(crate) const UPLOAD: Self = Self {
        bytes: MAX_COMPONENT_BYTES / 3 * 4 + 256 * 1024,
        time: Duration::from_secs(60),
    };
}

/// How much of a body that is too large is read and dropped.
const DRAIN_BYTES: usize = 4 * 1024 * 1024;

/// What a body's head says of it.
enum DeclaredBody {
    /// It may be read.
    Fits,
    /// It has more bytes than it may have.
    TooLarge {
        /// Whether the client sends it without being told that it may.
        is_sent: bool,
    },
}

/// Reads a body whose `Content-Type` is `application/json`. The headers are needed until it returns, not until the body is read.
///
/// # Errors
/// 415 for another type, 413 for too many bytes, 408 when it does not arrive in time, 400 when it does not arrive whole.
pub(crate) fn read_body(
    headers: &HeaderMap,
    body: Body,
    limits: BodyLimits,
) -> impl Future<Output = Result<Bytes, Problem>> + Send + use<> {
    let declared = check_head(headers, limits).map_err(Box::new);
    async move {
        match declared.map_err(|problem| *problem)? {
            DeclaredBody::Fits => read_whole(body, limits).await,
            DeclaredBody::TooLarge { is_sent } => {
                Err(Box::pin(refuse_declared(is_sent, body, limits)).await)
            }
        }
    }
}

/// Checks what the headers say of a body.
fn check_head(headers: &HeaderMap, limits: BodyLimits) -> Result<DeclaredBody, Problem> {
    check_content_type(headers)?;
    check_content_encoding(headers)?;
    let declared = headers
        .get(header::CONTENT_LENGTH)
        .and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    if declared.is_some_and(|length| length > limits.bytes as u64) {
        let is_sent = is_sent_unasked(headers);
        return Ok(DeclaredBody::TooLarge { is_sent });
    }
    Ok(DeclaredBody::Fits)
}

/// Reads a body to its end.
async fn read_whole(mut body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    // Most bodies have come with the head, in one piece: these need no timer, and nothing is put together.
    let arrived = poll_fn(|context| Poll::Ready(Pin::new(&mut body).poll_frame(context))).await;
    let first = match arrived {
        Poll::Ready(Some(Ok(frame))) => frame.into_data().unwrap_or_default(),
        Poll::Ready(Some(Err(error))) => return Err(incomplete_body(&error)),
        Poll::Ready(None) => return Ok(Bytes::new()),
        Poll::Pending => Bytes::new(),
    };
    if first.len() > limits.bytes {
        return Err(too_large(limits));
    }
    if body.is_end_stream() {
        return Ok(first);
    }
    Box::pin(read_rest(first, body, limits)).await
}

/// Reads what follows the first bytes of a body. Returns all.
async fn read_rest(first: Bytes, body: Body, limits: BodyLimits) -> Result<Bytes, Problem> {
    let left = limits.bytes - first.len();
    let declared = usize::try_from(body.size_hint().lower()).unwrap_or(left);
    let mut rest = Limited::new(body, left);
    // Copied piece by piece, to where all of it has room: to copy it at once would hold up the other connections of the thread. What is declared and
    // not sent takes no memory.
    let reading = async {
        let mut whole = BytesMut::with_capacity(first.len() + declared.min(left));
        whole.extend_from_slice(&first);
        while let Some(frame) = rest.frame().await {
            if let Ok(data) = frame?.into_data() {
                whole.extend_from_slice(&data);
            }
        }
        Ok::<_, axum::BoxError>(whole.freeze())
    };
    match tokio::time::timeout(limits.time, reading).await {
        Ok(Ok(whole)) => Ok(whole),
        Ok(Err(error)) if error.is::<LengthLimitError>() => Err(too_large(limits)),
        Ok(Err(error)) => Err(incomplete_body(&error)),
        Err(_) => Err(too_slow(limits)),
    }
}

/// Refuses a body that declares more bytes than it may have.
pub(crate) async fn refuse_large(headers: &HeaderMap, body: Body, limits: BodyLimits) -> Problem {
    refuse_declared(is_sent_unasked(headers), body, limits).await
}

async fn refuse_declared(is_sent: bool, body: Body, limits: BodyLimits) -> Problem {
    if is_sent {
        let most = DRAIN_BYTES.max(limits.bytes + limits.bytes / 4);
        read_and_drop(body, most, limits.time).await;
    }
    too_large(limits)
}

/// Whether a client sends its body at once. One that waits for permission (Expect: 100-continue) has not sent it.
fn is_sent_unasked(headers: &HeaderMap) -> bool {
    !headers.contains_key(header::EXPECT)
}

/// The problem of a body that breaks off.
pub(crate) fn incomplete_body(error: &dyn std::fmt::Display) -> Problem {
    let problem = format!("did not arrive whole: {error}");
    FieldError::new("body", problem, "send it again").into()
}

/// The problem of a body that takes too long.
pub(crate) fn too_slow(limits: BodyLimits) -> Problem {
    Problem::new(
        StatusCode::REQUEST_TIMEOUT,
        "too-slow",
        "The body did not arrive in time",
        format!("the body did not arrive within {} s", limits.time.as_secs()),
    )
    .at("body", "send it faster")
}

/// A form post from a web page cannot carry this type without the browser asking first.
///
/// A character set can only be UTF-8: bytes that another reader takes for other characters are not judged.
fn check_content_type(headers: &HeaderMap) -> Result<(), Problem> {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|kind| kind.to_str().ok())
        .unwrap_or("");
    let mut parts = kind.split(';').map(str::trim);
    let is_json = parts
        .next()
        .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
    if is_json && parts.all(|parameter| !names_other_charset(parameter)) {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "not-json",
        "The body must be JSON",
        format!("the Content-Type is {:?}", clip_for_error(kind)),
    )
    .at(
        "Content-Type",
        "send Content-Type: application/json, in UTF-8",
    ))
}

/// Whether a parameter of a media type names a character set that is not UTF-8.
fn names_other_charset(parameter: &str) -> bool {
    let Some((name, value)) = parameter.split_once('=') else {
        return false;
    };
    let value = value.trim().trim_matches('"');
    name.trim().eq_ignore_ascii_case("charset")
        && !["utf-8", "utf8", "us-ascii"]
            .iter()
            .any(|known| value.eq_ignore_ascii_case(known))
}

/// A body that is compressed is not decoded: what would be read is not what was sent.
fn check_content_encoding(headers: &HeaderMap) -> Result<(), Problem> {
    let Some(encoding) = headers.get(header::CONTENT_ENCODING) else {
        return Ok(());
    };
    let encoding = String::from_utf8_lossy(encoding.as_bytes());
    if encoding.trim().eq_ignore_ascii_case("identity") {
        return Ok(());
    }
    Err(Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "encoded",
        "The body must not be encoded",
        format!("the Content-Encoding is {:?}", clip_for_error(&encoding)),
    )
    .at(
        "Content-Encoding",
        "send the JSON as it is, without Content-Encoding",
    ))
}

/// The problem of a body with too many bytes.
pub(crate) fn too_large(limits: BodyLimits) -> Problem {
    Problem::new(
        StatusCode::PAYLOAD_TOO_LARGE,
        "too-large",
        "The body is too large",
        format!("the body is larger than {} bytes", limits.bytes),
    )
    .at("body", "send less")
}

/// Reads a body that is refused anyway. A connection that is closed while bytes are still arriving is reset, and a reset can destroy the answer
/// before the client has read it.
async fn read_and_drop(mut body: Body, most: usize, time: Duration) {
    let all = async {
        let mut read = 0;
        while read < most {
            match body.frame().await {
                Some(Ok(frame)) => read += frame.data_ref().map_or(0, Bytes::len),
                Some(Err(_)) | None => break,
            }
        }
    };
    let _ = tokio::time::timeout(time, all).await;
}

#[cfg(test)]
mod tests {
    use std::io;

    use axum::http::HeaderValue;
    use futures_util::StreamExt;

    use super::*;

    const LIMITS: BodyLimits = BodyLimits {
        bytes: 8,
        time: Duration::from_secs(10),
    };

    const WHOLE: &[u8] = b"12345678";
    const EMPTY: &[u8] = b"";

    /// A body that comes in pieces, which are all there.
    fn body_of(pieces: &[&'static [u8]]) -> Body {
        let pieces = pieces.iter().map(|&piece| Bytes::from_static(piece));
        let pieces: Vec<io::Result<Bytes>> = pieces.map(Ok).collect();
        Body::from_stream(futures_util::stream::iter(pieces))
    }

    /// A body that comes in pieces, each of them late.
    fn late_body(pieces: &[&'static [u8]]) -> Body {
        let pieces = body_of(pieces).into_data_stream();
        Body::from_stream(pieces.then(|piece| async {
            tokio::task::yield_now().await;
            piece
        }))
    }

    #[tokio::test]
    async fn a_body_is_the_same_in_whatever_pieces_it_comes() {
        let mut headers = HeaderMap::new();
        let kind = HeaderValue::from_static("application/json");
        headers.insert(header::CONTENT_TYPE, kind);
        for (body, expected) in [
            (Body::from(WHOLE), Some(WHOLE)),
            (body_of(&[WHOLE]), Some(WHOLE)),
            (body_of(&[b"123", b"", b"45678"]), Some(WHOLE)),
            (late_body(&[WHOLE]), Some(WHOLE)),
            (late_body(&[b"", b"1", b"2345678"]), Some(WHOLE)),
            (Body::empty(), Some(EMPTY)),
            (body_of(&[]), Some(EMPTY)),
            (late_body(&[b""]), Some(EMPTY)),
            (Body::from(&b"123456789"[..]), None),
            (body_of(&[b"123456789"]), None),
            (body_of(&[WHOLE, b"9"]), None),
            (late_body(&[b"1234", b"56789"]), None),
        ] {
            let read = read_body(&headers, body, LIMITS).await;
            match (read, expected) {
                (Ok(read), Some(expected)) => assert_eq!(read, expected),
                (Err(problem), None) => assert_eq!(problem.detail(), too_large(LIMITS).detail()),
                (read, expected) => panic!("{read:?}, not {expected:?}"),
            }
        }
        for body in [
            Body::from_stream(futures_util::stream::iter([
                Ok(Bytes::from_static(b"1")),
                Err(io::Error::other("gone")),
            ])),
            Body::from_stream(futures_util::stream::iter([Err::<Bytes, _>(
                io::Error::other("gone"),
            )])),
        ] {
            let problem = read_body(&headers, body, LIMITS).await.unwrap_err();
            assert!(problem.detail().contains("did not arrive whole: gone"));
        }
    }
}
