//! The headers that a front passes on, and those that it takes off.

use axum::http::{HeaderMap, HeaderName, header};

use crate::api::http::deadline::DEADLINE;
use crate::api::repeats::IDEMPOTENCY_KEY;

/// Headers that are for one connection (RFC 9110, section 7.6.1), and those that are made again.
static DROPPED_HEADERS: [HeaderName; 13] = [
    header::CONNECTION,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
    HeaderName::from_static("keep-alive"),
    HeaderName::from_static("proxy-connection"),
    // Answered by the front itself, when it reads the body.
    header::EXPECT,
    header::CONTENT_LENGTH,
    header::FORWARDED,
    HeaderName::from_static("x-real-ip"),
];

/// Takes the headers off a message that are for one connection only.
pub(in crate::front) fn drop_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        // What the owner must know is not dropped because a caller says so.
        .filter(|name| !KEPT_HEADERS.contains(name))
        .collect();
    for name in DROPPED_HEADERS.iter().chain(&named) {
        headers.remove(name);
    }
}

/// Headers that `Connection` cannot take off a request: without them the owner would do something else than it was asked for.
static KEPT_HEADERS: [HeaderName; 9] = [
    header::HOST,
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    header::CONTENT_ENCODING,
    header::IF_MATCH,
    HeaderName::from_static(IDEMPOTENCY_KEY),
    HeaderName::from_static(DEADLINE),
    HeaderName::from_static("traceparent"),
    HeaderName::from_static("last-event-id"),
];

/// Takes off what names another sender than the one who is connected.
pub(super) fn drop_sender_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .keys()
        .filter(|name| name.as_str().starts_with("x-forwarded-"))
        .cloned()
        .collect();
    for name in named {
        headers.remove(name);
    }
}
