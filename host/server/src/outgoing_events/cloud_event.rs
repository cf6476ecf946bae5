//! Events in the JSON form of `CloudEvents` 1.0.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::Value;

use ark_model::ids::{Millis, Name, TraceId};

use super::source::OutgoingEvent;

/// The most bytes of an event. Of a longer one only the reference to its data is sent.
const MAX_EVENT_BYTES: usize = 32 * 1024;

/// An event in the structured JSON form.
#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    #[serde(rename = "type")]
    event_type: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Name>,
    time: String,
    /// An extension of ours: the trace.
    #[serde(skip_serializing_if = "Option::is_none")]
    traceid: Option<TraceId>,
    /// The extension `dataref`: where the data is.
    #[serde(skip_serializing_if = "Option::is_none")]
    dataref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    datacontenttype: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a Value>,
}

/// Renders an event under an id, of a host whose name is `source`, in at most [`MAX_EVENT_BYTES`] bytes.
///
/// # Errors
/// It cannot be encoded.
pub(crate) fn render_cloud_event(
    event: &OutgoingEvent,
    id: &str,
    source: &str,
) -> Result<String, serde_json::Error> {
    let mut cloud_event = CloudEvent {
        specversion: "1.0",
        id,
        source,
        event_type: &event.class.event_type,
        subject: event.subject.as_ref(),
        time: format_time(event.at),
        traceid: event.trace_id,
        dataref: None,
        datacontenttype: Some("application/json"),
        data: Some(&event.data),
    };
    let text = serde_json::to_string(&cloud_event)?;
    if text.len() <= MAX_EVENT_BYTES {
        return Ok(text);
    }
    cloud_event.dataref = Some(&event.reference);
    cloud_event.datacontenttype = None;
    cloud_event.data = None;
    serde_json::to_string(&cloud_event)
}

/// Formats a moment after RFC 3339. One that no calendar reaches becomes the last that it does.
fn format_time(at: Millis) -> String {
    let millis = i64::try_from(at.0).unwrap_or(i64::MAX);
    Timestamp::from_millisecond(millis)
        .unwrap_or(Timestamp::MAX)
        .to_string()
}

#[cfg(test)]
mod tests {
    use ark_store::EventCursor;
    use serde_json::json;

    use super::super::classes::{EventChannel, EventClass};
    use super::*;

    #[test]
    fn an_event_is_bounded_and_says_where_its_data_is() {
        let mut event = OutgoingEvent {
            position: EventCursor {
                audit_seq: 17,
                alert_seq: 3,
            },
            class: EventClass {
                event_type: "ark.failure".to_owned(),
                channel: EventChannel::AgentEvents,
            },
            subject: Some("kyle".parse().unwrap()),
            at: Millis(1_795_165_200_250),
            trace_id: None,
            log_hash: None,
            data: json!({"seq": 17}),
            reference: "/v1/events?since=16-3".to_owned(),
        };
        let text = render_cloud_event(&event, "17-3", "/hosts/1").unwrap();
        let shown: Value = serde_json::from_str(&text).unwrap();
        let expected = json!({"specversion": "1.0", "id": "17-3", "source": "/hosts/1", "type": "ark.failure", "subject": "kyle",
            "time": "2026-11-20T09:00:00.25Z", "datacontenttype": "application/json", "data": {"seq": 17}});
        assert_eq!(shown, expected);
        event.data = json!({"detail": "x".repeat(MAX_EVENT_BYTES)});
        let text = render_cloud_event(&event, "17-3", "/hosts/1").unwrap();
        let shown: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(shown["dataref"], "/v1/events?since=16-3");
        assert!(shown.get("data").is_none() && text.len() < 1024, "{text}");
    }

    #[test]
    fn every_moment_has_a_time() {
        assert_eq!(format_time(Millis(0)), "1970-01-01T00:00:00Z");
        assert!(format_time(Millis(u64::MAX)).starts_with("9999-12-30T"));
    }
}
