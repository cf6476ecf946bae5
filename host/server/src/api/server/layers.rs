//! What stands around all calls and knows none of them: answers are compressed, and pages of other origins may read them where the operator says so.

use std::time::Duration;

use axum::http::{HeaderName, HeaderValue, Method, header};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate, SizeAbove};
use tower_http::cors::{AllowOrigin, CorsLayer};

/// A smaller answer gains nothing.
const LEAST_BYTES: u16 = 1024;
/// How long a browser may keep what it may send.
const PREFLIGHT_AGE: Duration = Duration::from_secs(600);

/// Compresses answers for clients that accept it, but for event streams, whose events must not wait in a buffer, and components, which are read
/// once.
pub(crate) fn compress_answers() -> CompressionLayer<impl Predicate> {
    let predicate = SizeAbove::new(LEAST_BYTES)
        .and(NotForContentType::const_new("text/event-stream"))
        .and(NotForContentType::const_new("application/wasm"));
    CompressionLayer::new()
        .quality(CompressionLevel::Fastest)
        .compress_when(predicate)
}

/// Lets pages of these origins call the API and read its answers; without one no page of another origin may. Credentials that a browser adds by
/// itself are never allowed: a page sends a token of its own.
pub(in crate::api) fn allow_origins(origins: &[HeaderValue]) -> Option<CorsLayer> {
    if origins.is_empty() {
        return None;
    }
    let own = HeaderName::from_static;
    Some(
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins.to_vec()))
            .allow_methods([
                Method::GET,
                Method::POST,
                Method::PUT,
                Method::PATCH,
                Method::DELETE,
            ])
            .allow_headers([
                header::AUTHORIZATION,
                header::ACCEPT,
                header::CONTENT_TYPE,
                header::IF_MATCH,
                header::IF_NONE_MATCH,
                own("ark-deadline-ms"),
                own("idempotency-key"),
                own("last-event-id"),
                own("prefer"),
                own("traceparent"),
            ])
            .expose_headers([
                header::ETAG,
                header::RETRY_AFTER,
                own("idempotent-replayed"),
                own("preference-applied"),
                own("traceparent"),
            ])
            .max_age(PREFLIGHT_AGE),
    )
}
