//! The trace of a request (W3C Trace Context).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use ark_model::check::FieldError;
use ark_model::ids::{ParseIdError, TraceId};

/// The header that names a request's trace, as a name that needs no check at each request.
static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// The span of an answer whose trace's last 8 bytes are zero: a span id of nothing but zeros is invalid.
const FALLBACK_SPAN: &str = "0000000000000001";

/// The trace of the body, else of the `traceparent` header, else a fresh one.
///
/// # Errors
/// The header is malformed.
pub(crate) fn find_trace_id(
    headers: &HeaderMap,
    body: Option<TraceId>,
) -> Result<TraceId, FieldError> {
    if let Some(trace_id) = body {
        return Ok(trace_id);
    }
    let Some(header) = headers.get(&TRACEPARENT) else {
        return Ok(TraceId::fresh());
    };
    let malformed = |problem: String| {
        FieldError::new(
            "traceparent",
            problem,
            "send a W3C traceparent header, or none",
        )
    };
    let parts: Vec<&str> = header.to_str().unwrap_or("").split('-').collect();
    match parts.as_slice() {
        ["00", trace_id, parent, flags]
            if parent.len() == 16
                && flags.len() == 2
                && [parent, flags].iter().all(|part| part.bytes().all(is_hex))
                && parent.bytes().any(|digit| digit != b'0') =>
        {
            trace_id
                .parse()
                .map_err(|error: ParseIdError| malformed(error.to_string()))
        }
        _ => Err(malformed(
            "is not of the form 00-TRACE-PARENT-FLAGS".to_owned(),
        )),
    }
}

const fn is_hex(digit: u8) -> bool {
    matches!(digit, b'0'..=b'9' | b'a'..=b'f')
}

/// A trace as a W3C `traceparent`.
pub(crate) fn format_traceparent(trace_id: TraceId) -> Option<HeaderValue> {
    let text = trace_id.to_string();
    let span = text
        .get(16..)
        .filter(|span| span.bytes().any(|digit| digit != b'0'))
        .unwrap_or(FALLBACK_SPAN);
    HeaderValue::from_str(&format!("00-{text}-{span}-01")).ok()
}
