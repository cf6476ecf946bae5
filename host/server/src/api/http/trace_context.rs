//! The trace of a request (W3C Trace Context).

use axum::http::{HeaderMap, HeaderName, HeaderValue};

use ark_model::check::FieldError;
use ark_model::ids::{ParseIdError, TraceId};

/// The header with the trace of a request, and with that of an answer.
pub(crate) static TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// A `traceparent` without its trace. The span is that of a trace whose last 8 bytes are zero: a span id of nothing but zeros is invalid.
const TRACEPARENT_FORM: [u8; 55] = *b"00-00000000000000000000000000000000-0000000000000001-01";

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
    Ok(read_trace_id(headers)?.unwrap_or_else(TraceId::fresh))
}

/// The trace of the `traceparent` header; `None`: there is no such header.
///
/// # Errors
/// The header is malformed.
pub(crate) fn read_trace_id(headers: &HeaderMap) -> Result<Option<TraceId>, FieldError> {
    let Some(header) = headers.get(&TRACEPARENT) else {
        return Ok(None);
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
                .parse::<TraceId>()
                .map(Some)
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

/// A trace as a W3C `traceparent`. Its span is the last half of the trace, or 1 where that is zero: a span id of nothing but zeros is invalid.
pub(crate) fn format_traceparent(trace_id: TraceId) -> Option<HeaderValue> {
    let digits = trace_id.to_hex();
    let span = &digits[16..];
    let mut text = TRACEPARENT_FORM;
    text[3..35].copy_from_slice(&digits);
    if span.iter().any(|digit| *digit != b'0') {
        text[36..52].copy_from_slice(span);
    }
    HeaderValue::from_bytes(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_written_with_a_span_that_is_not_zero() {
        for (trace, span) in [
            ("0123456789abcdef0123456789abcdef", "0123456789abcdef"),
            ("00000000000000010000000000000000", "0000000000000001"),
            ("00000000000000000000000000000f00", "0000000000000f00"),
        ] {
            let trace_id: TraceId = trace.parse().unwrap();
            let value = format_traceparent(trace_id).unwrap();
            assert_eq!(value, format!("00-{trace}-{span}-01"));
            let mut headers = HeaderMap::new();
            headers.insert(&TRACEPARENT, value);
            assert_eq!(read_trace_id(&headers), Ok(Some(trace_id)));
            assert_eq!(find_trace_id(&headers, None), Ok(trace_id));
        }
        assert_eq!(read_trace_id(&HeaderMap::new()), Ok(None));
    }
}
