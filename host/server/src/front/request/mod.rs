//! A request as it is sent to the owner: whole in memory, so that it can be sent again, or streamed where it is large or no memory is left.
//!
//! What the front sends is framed by itself: the body has the length that the front counted, or is chunked. Headers that are for one connection
//! only are left out, and so is what names another sender (`Forwarded`, `X-Forwarded-*`): neither the owner nor the front goes by them.

mod body;
mod headers;

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::uri::PathAndQuery;
use axum::http::{HeaderMap, HeaderValue, Method, Request, header};
use bytes::Bytes;
use serde::Deserialize;
use serde::de::IgnoredAny;

use ark_model::ids::TraceId;

use crate::api::http::body::{incomplete_body, too_large};
use crate::api::http::deadline::{DEADLINE, Deadline};
use crate::api::http::problem::Problem;
use crate::api::http::trace_context::format_traceparent;
use crate::api::repeats::{IDEMPOTENCY_KEY, KeyedCalls};

use super::callers::Caller;

use body::{BodyFailure, ForwardedBody, STREAMED_LIMITS, read_body};
use headers::drop_sender_headers;

pub(super) use body::BodyMemory;
pub(super) use headers::drop_connection_headers;

/// How much earlier than the caller's own deadline the owner's is, so that its answer arrives in time.
const DEADLINE_MARGIN: Duration = Duration::from_millis(10);
/// The name of a front among the hosts that passed a message on.
const VIA: &str = "1.1 ark-front";
/// The calls that get a key of the front's if they have none: decisions and signals.
const GIVEN_KEYS: [&str; 3] = ["/v1/actions", "/v1/actions/batch", "/v1/signals"];
/// The calls that resolve an approval, which get one too: how their paths begin and end, with the approval's id between.
const RESOLUTION_PATHS: (&str, [&str; 2]) = ("/v1/approvals/", ["/approve", "/reject"]);

/// A request on its way to the owner.
pub(super) struct OutgoingRequest {
    pub(super) method: Method,
    pub(super) path: PathAndQuery,
    /// Who sends it.
    pub(super) caller: Caller,
    headers: HeaderMap,
    body: ForwardedBody,
    /// The moment after which the caller waits no more.
    deadline: Option<Instant>,
    /// Whether it may be sent again when it is not known whether it arrived.
    pub(super) may_repeat: bool,
}

impl OutgoingRequest {
    /// Takes a request in: reads its body unless it is streamed, and gives it a trace and a key if it needs one.
    ///
    /// # Errors
    /// 400 for a body that breaks off, 404 for a target that is not a path, 408 for a body that takes too long, 413 for one that declares to be too
    /// large, 508 for a request that has passed a front before.
    pub(super) async fn take_in(
        request: Request<Body>,
        calls: &KeyedCalls,
        memory: &BodyMemory,
    ) -> Result<Self, Problem> {
        let (mut parts, body) = request.into_parts();
        let path = parts.uri.path_and_query().cloned();
        let path = path.filter(|path| path.as_str().starts_with('/'));
        let Some(path) = path.filter(|_| parts.method != Method::CONNECT) else {
            let detail = format!("there is no {} of this target", parts.method);
            return Err(Problem::not_found(
                detail,
                "path",
                "send a path that begins with /, e.g. GET /docs",
            ));
        };
        let vias = parts.headers.get_all(header::VIA).iter();
        if vias
            .filter_map(|via| via.to_str().ok())
            .any(|via| via.contains(VIA))
        {
            return Err(Problem::passed_before());
        }
        let deadline = parts
            .extensions
            .get::<Deadline>()
            .and_then(Deadline::moment);
        let declared = parts.headers.get(header::CONTENT_LENGTH).cloned();
        let body = read_body(&parts.headers, declared, body, memory).await?;
        drop_connection_headers(&mut parts.headers);
        // The front compresses answers itself: it reads what they say.
        parts.headers.remove(header::ACCEPT_ENCODING);
        drop_sender_headers(&mut parts.headers);
        parts
            .headers
            .append(header::VIA, HeaderValue::from_static(VIA));
        if !parts.headers.contains_key("traceparent")
            && let Some(trace) = format_traceparent(TraceId::fresh())
        {
            parts.headers.insert("traceparent", trace);
        }
        let mut outgoing = Self {
            method: parts.method,
            path,
            caller: Caller::of_request(&parts.headers),
            headers: parts.headers,
            body,
            deadline,
            may_repeat: false,
        };
        let has_key = outgoing.ensure_key();
        let is_whole = outgoing.whole_body().is_some();
        outgoing.may_repeat =
            is_whole && calls.may_repeat(&outgoing.method, outgoing.path.path(), has_key);
        Ok(outgoing)
    }

    /// The body, if it is in memory.
    pub(super) const fn whole_body(&self) -> Option<&Bytes> {
        match &self.body {
            ForwardedBody::Whole { bytes, .. } => Some(bytes),
            ForwardedBody::Streamed { .. } => None,
        }
    }

    /// Whether it can be sent: a streamed body only once.
    pub(super) const fn can_be_sent(&self) -> bool {
        !matches!(&self.body, ForwardedBody::Streamed { body: None, .. })
    }

    /// The problem of a streamed body that the client did not send whole, or not within its bounds.
    pub(super) fn client_failure(&self) -> Option<Problem> {
        let ForwardedBody::Streamed { failure, .. } = &self.body else {
            return None;
        };
        failure.get().map(|failure| match failure {
            BodyFailure::TooLarge => too_large(STREAMED_LIMITS),
            BodyFailure::Incomplete(error) => incomplete_body(error),
        })
    }

    /// Makes the message to send: with what is left of the deadline. A streamed body is taken out of it.
    pub(super) fn build_message(&mut self) -> Request<Body> {
        let mut message = Request::new(Body::empty());
        *message.method_mut() = self.method.clone();
        message.headers_mut().clone_from(&self.headers);
        if let Some(deadline) = self.deadline {
            let left = deadline.saturating_duration_since(Instant::now());
            let left = left.saturating_sub(DEADLINE_MARGIN.min(left / 10));
            let millis = u64::try_from(left.as_millis()).unwrap_or(u64::MAX).max(1);
            message
                .headers_mut()
                .insert(DEADLINE, HeaderValue::from(millis));
        }
        *message.body_mut() = match &mut self.body {
            ForwardedBody::Whole { bytes, .. } => Body::from(bytes.clone()),
            ForwardedBody::Streamed { body, length, .. } => {
                if let Some(length) = length {
                    let headers = message.headers_mut();
                    headers.insert(header::CONTENT_LENGTH, length.clone());
                }
                body.take().unwrap_or_else(Body::empty)
            }
        };
        message
    }

    /// Gives a decision or a signal a key if it has none. Returns whether it has one now.
    fn ensure_key(&mut self) -> bool {
        if self.headers.contains_key(IDEMPOTENCY_KEY) {
            return true;
        }
        let Some(body) = self.whole_body() else {
            return false;
        };
        if self.method != Method::POST || !is_given_key(self.path.path()) {
            return false;
        }
        match serde_json::from_slice(body) {
            Ok(KeyField {
                idempotency_key: Some(IgnoredAny),
            }) => true,
            Ok(KeyField {
                idempotency_key: None,
            }) => {
                let key = format!("ark-front-{}", TraceId::fresh());
                let Ok(key) = HeaderValue::from_str(&key) else {
                    return false;
                };
                self.headers.insert(IDEMPOTENCY_KEY, key);
                true
            }
            // The owner refuses it.
            Err(_) => false,
        }
    }
}

/// The key that a body may hold.
#[derive(Deserialize)]
struct KeyField {
    #[serde(default)]
    idempotency_key: Option<IgnoredAny>,
}

fn is_given_key(path: &str) -> bool {
    let (start, ends) = RESOLUTION_PATHS;
    GIVEN_KEYS.contains(&path)
        || (path.starts_with(start) && ends.iter().any(|end| path.ends_with(end)))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use axum::http::HeaderName;
    use futures_util::StreamExt;
    use http_body_util::BodyExt;
    use tokio::sync::Semaphore;

    use super::body::{UNCOUNTED_BYTES, WHOLE_LIMITS};
    use super::*;

    async fn take_in(request: axum::http::request::Builder, body: &str) -> OutgoingRequest {
        let request = request
            .header("Content-Length", body.len())
            .body(Body::from(body.to_owned()))
            .expect("a request");
        let calls = KeyedCalls::from_descriptions();
        OutgoingRequest::take_in(request, &calls, &BodyMemory::default())
            .await
            .unwrap_or_else(|problem| panic!("{}", problem.detail()))
    }

    fn idempotency_key(outgoing: &OutgoingRequest) -> Option<&str> {
        let key = outgoing.headers.get(IDEMPOTENCY_KEY)?;
        key.to_str().ok()
    }

    #[tokio::test]
    async fn decisions_without_a_key_get_one_and_others_keep_theirs() {
        let post = |path: &str| Request::post(path.to_owned());
        let given = take_in(post("/v1/actions"), r#"{"agent":"a"}"#).await;
        assert!(idempotency_key(&given).is_some_and(|key| key.starts_with("ark-front-")));
        assert!(given.may_repeat);
        let other = take_in(post("/v1/actions"), r#"{"agent":"a"}"#).await;
        assert_ne!(idempotency_key(&given), idempotency_key(&other));
        let own = post("/v1/actions").header("Idempotency-Key", "mine");
        let own = take_in(own, r#"{"agent":"a"}"#).await;
        assert_eq!(
            (idempotency_key(&own), own.may_repeat),
            (Some("mine"), true)
        );
        let within = take_in(
            post("/v1/actions/batch"),
            r#"{"idempotency_key":"k","actions":[]}"#,
        );
        let within = within.await;
        assert_eq!((idempotency_key(&within), within.may_repeat), (None, true));
        for (path, body) in [
            ("/v1/actions", "no JSON"),
            ("/v1/tokens", r#"{"name":"ada"}"#),
            ("/v1/state/a/b", "{}"),
        ] {
            let outgoing = take_in(post(path), body).await;
            assert_eq!(
                (idempotency_key(&outgoing), outgoing.may_repeat),
                (None, false),
                "{path}"
            );
        }
    }

    #[tokio::test]
    async fn connection_and_sender_headers_are_not_passed_on() {
        let request = Request::get("/v1/agents?limit=3")
            .header("Host", "ark.example.com")
            .header("Connection", "close, X-Hop, Authorization, Idempotency-Key")
            .header("X-Hop", "1")
            .header("Keep-Alive", "timeout=5")
            .header("Upgrade", "h2c")
            .header("TE", "trailers")
            .header("Expect", "100-continue")
            .header("Accept-Encoding", "gzip")
            .header("X-Forwarded-For", "10.0.0.1")
            .header("Forwarded", "for=10.0.0.1")
            .header("Authorization", "Bearer ark_x")
            .header("Idempotency-Key", "k")
            .header("X-Other", "stays");
        let mut outgoing = take_in(request, "").await;
        assert_eq!(outgoing.path.as_str(), "/v1/agents?limit=3");
        let message = outgoing.build_message();
        let mut names: Vec<&str> = message.headers().keys().map(HeaderName::as_str).collect();
        names.sort_unstable();
        assert_eq!(
            names,
            [
                "authorization",
                "host",
                "idempotency-key",
                "traceparent",
                "via",
                "x-other"
            ]
        );
    }

    #[tokio::test]
    async fn a_request_that_passed_a_front_is_passed_on_no_further() {
        let request = Request::get("/v1/agents")
            .header("Via", "1.1 proxy, 1.1 ark-front")
            .body(Body::empty())
            .expect("a request");
        let calls = KeyedCalls::from_descriptions();
        let taken = OutgoingRequest::take_in(request, &calls, &BodyMemory::default()).await;
        assert!(taken.is_err());
    }

    #[tokio::test]
    async fn a_body_without_memory_for_it_is_streamed_whole_and_once() {
        let memory = BodyMemory(Arc::new(Semaphore::new(1)));
        let calls = KeyedCalls::from_descriptions();
        let chunks = |parts: &[usize]| {
            let parts: Vec<_> = parts
                .iter()
                .zip(*b"abc")
                .map(|(length, byte)| Ok::<_, std::io::Error>(Bytes::from(vec![byte; *length])))
                .collect();
            let length: usize = parts.iter().flatten().map(Bytes::len).sum();
            Request::post("/v1/actions")
                .header("Content-Length", length)
                .header("Idempotency-Key", "mine")
                .body(Body::from_stream(futures_util::stream::iter(parts)))
                .expect("a request")
        };
        let take = async |request: Request<Body>| {
            let taken = OutgoingRequest::take_in(request, &calls, &memory).await;
            taken.unwrap_or_else(|problem| panic!("{}", problem.detail()))
        };
        let first = take(chunks(&[UNCOUNTED_BYTES, 1])).await;
        assert!(first.whole_body().is_some() && first.may_repeat);
        assert_eq!(memory.0.available_permits(), 0);
        // What was read of it before the memory was used up is sent too, under the length that the client gave.
        for parts in [
            &[UNCOUNTED_BYTES + 1][..],
            &[UNCOUNTED_BYTES, 1],
            &[10, UNCOUNTED_BYTES, 3],
        ] {
            let mut streamed = take(chunks(parts)).await;
            assert!(streamed.whole_body().is_none() && !streamed.may_repeat);
            assert!(streamed.can_be_sent());
            let message = streamed.build_message();
            assert!(!streamed.can_be_sent(), "it can be sent once");
            let length: usize = parts.iter().sum();
            let declared = message.headers().get(header::CONTENT_LENGTH);
            assert_eq!(declared, Some(&HeaderValue::from(length)));
            let sent = message.into_body().collect().await.expect("a body");
            let expected: Vec<u8> = parts
                .iter()
                .zip(*b"abc")
                .flat_map(|(length, byte)| vec![byte; *length])
                .collect();
            assert!(sent.to_bytes() == expected, "{parts:?}");
        }
        // A small one needs no memory of the others.
        let small = take(chunks(&[UNCOUNTED_BYTES])).await;
        assert!(small.whole_body().is_some() && small.may_repeat);
        // A length that is declared holds no memory: bytes do.
        drop(first);
        let silent = Request::post("/v1/actions")
            .header("Content-Length", 200_000)
            .body(Body::from_stream(futures_util::stream::pending::<
                Result<Bytes, std::io::Error>,
            >()))
            .expect("a request");
        let silent = OutgoingRequest::take_in(silent, &calls, &memory);
        let waiting = tokio::time::timeout(Duration::from_millis(10), silent).await;
        assert!(waiting.is_err(), "it waits for bytes");
        assert_eq!(memory.0.available_permits(), 1);
    }

    #[tokio::test]
    async fn the_begin_of_a_streamed_body_holds_its_memory_and_a_client_that_fails_is_named() {
        let memory = BodyMemory(Arc::new(Semaphore::new(400)));
        let chunks = [
            Ok(Bytes::from(vec![b'a'; WHOLE_LIMITS.bytes + 1])),
            Err(std::io::Error::other("the client left")),
        ];
        let request = Request::post("/v1/actions")
            .header("Transfer-Encoding", "chunked")
            .body(Body::from_stream(futures_util::stream::iter(chunks)))
            .expect("a request");
        let calls = KeyedCalls::from_descriptions();
        let mut outgoing = OutgoingRequest::take_in(request, &calls, &memory)
            .await
            .unwrap_or_else(|problem| panic!("{}", problem.detail()));
        assert!(outgoing.whole_body().is_none() && outgoing.client_failure().is_none());
        let mut sent = outgoing.build_message().into_body().into_data_stream();
        let begun = sent.next().await.expect("a chunk").expect("bytes");
        // 256 KiB and a byte, of which 4 KiB are not counted.
        assert_eq!(memory.0.available_permits(), 400 - 253);
        drop(begun);
        assert_eq!(memory.0.available_permits(), 400);
        assert!(sent.next().await.expect("an end").is_err());
        let problem = outgoing.client_failure().expect("a failure");
        assert!(problem.detail().contains("the client left"));
    }
}
