//! From an entry of a stream to a signal.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use ark_model::check::{FieldError, check_idempotency_key, clip_for_error};
use ark_model::form::parse_json;
use ark_model::ids::{Digest, TraceId};

use super::sink::StreamSignal;

/// The bytes of an entry that becomes a signal, names included: as many as the body of a request over HTTP may have.
const MAX_ENTRY_BYTES: usize = 256 * 1024;

/// An entry as it was read. `fields` is `None` when the stream was trimmed before it could be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct StreamEntry {
    pub(super) id: String,
    pub(super) fields: Option<Vec<(Vec<u8>, Vec<u8>)>>,
}

/// What an entry becomes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EntryForm {
    /// The topic of the signals.
    pub topic: String,
    /// Where the payload stands.
    pub payload: PayloadSource,
    /// The name of the field of the entry, or of the payload, that holds the idempotency key. `None`: the entry's id and content are the key.
    pub key: Option<String>,
    /// The members of the payload, each with the name that it has in the entry. `None`: the payload stays as it is.
    pub select: Option<BTreeMap<String, String>>,
}

/// Where the payload of an entry stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PayloadSource {
    /// The payload is the JSON text of this field.
    Field(String),
    /// The whole entry is the payload: an object with the fields as texts.
    Entry,
}

impl StreamEntry {
    /// The digest of the fields, lengths included.
    pub(super) fn digest(&self) -> Digest {
        let mut bytes = Vec::new();
        for (name, value) in self.fields.iter().flatten() {
            for part in [name, value] {
                bytes.extend((part.len() as u64).to_be_bytes());
                bytes.extend(part);
            }
        }
        Digest::hash_bytes(&bytes)
    }

    fn size(&self) -> usize {
        let fields = self.fields.iter().flatten();
        fields.map(|(name, value)| name.len() + value.len()).sum()
    }

    fn find_field(&self, name: &str) -> Option<&[u8]> {
        let mut fields = self.fields.iter().flatten();
        fields
            .find(|(known, _)| known == name.as_bytes())
            .map(|(_, value)| value.as_slice())
    }
}

impl EntryForm {
    /// Makes a signal of an entry of `stream`.
    ///
    /// # Errors
    /// The entry is too long or not of this form.
    pub(super) fn to_signal(
        &self,
        stream: &str,
        entry: &StreamEntry,
    ) -> Result<StreamSignal, FieldError> {
        let size = entry.size();
        if size > MAX_ENTRY_BYTES {
            return Err(FieldError::new(
                "entry",
                format!("has {size} bytes"),
                format!("write at most {MAX_ENTRY_BYTES}"),
            ));
        }
        let mut payload = match &self.payload {
            PayloadSource::Entry => read_whole(entry)?,
            PayloadSource::Field(name) => match entry.find_field(name) {
                Some(text) => parse_json(text).map_err(|error| below_field(name, error))?,
                None => {
                    return Err(FieldError::new(
                        name,
                        "is missing",
                        "write the payload in it, as JSON",
                    ));
                }
            },
        };
        let content = entry.digest();
        let key = match &self.key {
            Some(name) => Some(find_key(name, entry, &payload)?),
            None => None,
        };
        if let Some(select) = &self.select {
            payload = select_members(select, &payload)?;
        }
        let payload_json = payload.to_string();
        let request_digest = match key {
            // A producer that writes the same again may write its fields in another order.
            Some(_) => Digest::hash_bytes(format!("{}\n{payload_json}", self.topic).as_bytes()),
            None => content,
        };
        Ok(StreamSignal {
            stream: stream.to_owned(),
            entry: entry.id.clone(),
            topic: self.topic.clone(),
            payload_json,
            trace_id: find_trace(entry).unwrap_or_else(TraceId::fresh),
            // An id alone does not tell entries apart: a stream that was lost can give it to another one.
            key: key.unwrap_or_else(|| format!("{} {content}", entry.id)),
            request_digest,
        })
    }
}

/// Puts the name of the field before that of what is wrong inside it.
fn below_field(name: &str, error: FieldError) -> FieldError {
    FieldError {
        field: if error.field == "body" {
            name.to_owned()
        } else {
            format!("{name}.{}", error.field)
        },
        ..error
    }
}

fn read_whole(entry: &StreamEntry) -> Result<Value, FieldError> {
    let mut object = Map::new();
    for (name, value) in entry.fields.iter().flatten() {
        let text = |bytes: &[u8]| {
            String::from_utf8(bytes.to_vec()).map_err(|_| {
                let name = clip_for_error(&String::from_utf8_lossy(name));
                FieldError::new(name, "is not UTF-8", "write texts")
            })
        };
        let key = text(name)?;
        if object.insert(key, Value::String(text(value)?)).is_some() {
            let name = clip_for_error(&String::from_utf8_lossy(name));
            return Err(FieldError::new(
                name,
                "is given twice",
                "give each field once",
            ));
        }
    }
    Ok(Value::Object(object))
}

/// The idempotency key: of a field of the entry, or else of a member of the payload.
fn find_key(name: &str, entry: &StreamEntry, payload: &Value) -> Result<String, FieldError> {
    let key = match (entry.find_field(name), payload.get(name)) {
        (Some(bytes), _) => String::from_utf8_lossy(bytes).into_owned(),
        (None, Some(Value::String(text))) => text.clone(),
        (None, Some(Value::Number(number))) => number.to_string(),
        (None, Some(_)) => {
            return Err(FieldError::new(
                name,
                "is neither a text nor a number",
                "write the key in it",
            ));
        }
        (None, None) => {
            return Err(FieldError::new(name, "is missing", "write the key in it"));
        }
    };
    check_idempotency_key(name, &key)?;
    Ok(key)
}

fn select_members(select: &BTreeMap<String, String>, payload: &Value) -> Result<Value, FieldError> {
    let Value::Object(object) = payload else {
        return Err(FieldError::new(
            "payload",
            "is not a JSON object",
            "write one, since members of it are selected",
        ));
    };
    let mut selected = Map::new();
    for (member, source) in select {
        let value = object
            .get(source)
            .ok_or_else(|| FieldError::new(source, "is missing", "write it"))?;
        selected.insert(member.clone(), value.clone());
    }
    Ok(Value::Object(selected))
}

/// The trace that the producer gives: the field `traceparent` (W3C) or `trace_id`, 32 hexadecimal digits or a UUID. A malformed one is none:
/// the signal matters more than its trace.
fn find_trace(entry: &StreamEntry) -> Option<TraceId> {
    let text = |name| {
        entry
            .find_field(name)
            .and_then(|value| std::str::from_utf8(value).ok())
    };
    if let Some(parent) = text("traceparent") {
        return parent.split('-').nth(1)?.parse().ok();
    }
    let digits = text("trace_id")?.replace('-', "").to_ascii_lowercase();
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn make_entry(fields: &[(&str, &str)]) -> StreamEntry {
        let fields = fields
            .iter()
            .map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        StreamEntry {
            id: "5-1".to_owned(),
            fields: Some(fields.collect()),
        }
    }

    fn make_form(payload: PayloadSource, key: Option<&str>, select: &[(&str, &str)]) -> EntryForm {
        let select: BTreeMap<String, String> = select
            .iter()
            .map(|(to, from)| ((*to).to_owned(), (*from).to_owned()))
            .collect();
        EntryForm {
            topic: "market.tick".to_owned(),
            payload,
            key: key.map(str::to_owned),
            select: (!select.is_empty()).then_some(select),
        }
    }

    fn event_field() -> PayloadSource {
        PayloadSource::Field("event".to_owned())
    }

    #[test]
    fn entries_become_payloads_by_their_form() {
        let object = r#"{"b":1,"a":[1.5,null],"id":"x"}"#;
        for (form, fields, payload) in [
            (
                make_form(event_field(), None, &[]),
                vec![("event", object)],
                r#"{"a":[1.5,null],"b":1,"id":"x"}"#,
            ),
            (
                make_form(event_field(), None, &[]),
                vec![("other", "7"), ("event", "7")],
                "7",
            ),
            (
                make_form(event_field(), None, &[("at", "b")]),
                vec![("event", object)],
                r#"{"at":1}"#,
            ),
            (
                make_form(PayloadSource::Entry, None, &[]),
                vec![("ts", "1.5"), ("source", "s")],
                r#"{"source":"s","ts":"1.5"}"#,
            ),
        ] {
            let signal = form.to_signal("s", &make_entry(&fields)).unwrap();
            assert_eq!(signal.payload_json, payload);
            assert!(signal.key.starts_with("5-1 "), "{}", signal.key);
        }
    }

    #[test]
    fn malformed_entries_are_refused_with_the_field() {
        let long = format!("\"{}\"", "x".repeat(MAX_ENTRY_BYTES));
        for (form, fields, field) in [
            (
                make_form(event_field(), None, &[]),
                vec![("evnt", "7")],
                "event",
            ),
            (
                make_form(event_field(), None, &[]),
                vec![("event", "{")],
                "event",
            ),
            (
                make_form(event_field(), None, &[]),
                vec![("event", "{} {}")],
                "event",
            ),
            (
                make_form(event_field(), None, &[]),
                vec![("event", r#"{"a":1,"a":2}"#)],
                "event",
            ),
            (
                make_form(event_field(), None, &[]),
                vec![("event", long.as_str())],
                "entry",
            ),
            (
                make_form(event_field(), Some("id"), &[]),
                vec![("event", "{}")],
                "id",
            ),
            (
                make_form(event_field(), Some("id"), &[]),
                vec![("event", r#"{"id":[]}"#)],
                "id",
            ),
            (
                make_form(event_field(), Some("id"), &[]),
                vec![("event", r#"{"id":"with space"}"#)],
                "id",
            ),
            (
                make_form(event_field(), None, &[("at", "ts")]),
                vec![("event", r#"{"at":1}"#)],
                "ts",
            ),
            (
                make_form(event_field(), None, &[("at", "ts")]),
                vec![("event", "[]")],
                "payload",
            ),
            (
                make_form(PayloadSource::Entry, None, &[]),
                vec![("a", "1"), ("a", "2")],
                "a",
            ),
        ] {
            let error = form.to_signal("s", &make_entry(&fields)).unwrap_err();
            assert!(error.field.starts_with(field), "{field}: {error}");
        }
        let binary = StreamEntry {
            id: "1-1".to_owned(),
            fields: Some(vec![(b"event".to_vec(), vec![0xff, 0xfe])]),
        };
        for form in [
            make_form(event_field(), None, &[]),
            make_form(PayloadSource::Entry, None, &[]),
        ] {
            let error = form.to_signal("s", &binary).unwrap_err();
            assert_eq!(error.field, "event", "{error}");
        }
    }

    #[test]
    fn a_key_is_the_producers_or_id_and_content() {
        let keyed = make_form(event_field(), Some("id"), &[("p", "p")]);
        let one = keyed
            .to_signal("s", &make_entry(&[("event", r#"{"id":"k","p":1}"#)]))
            .unwrap();
        let same = keyed
            .to_signal("s", &make_entry(&[("event", r#"{"p":1,"id":"k"}"#)]))
            .unwrap();
        let other = keyed
            .to_signal("s", &make_entry(&[("event", r#"{"id":"k","p":2}"#)]))
            .unwrap();
        assert_eq!(
            (&one.key, one.request_digest),
            (&"k".to_owned(), same.request_digest)
        );
        assert_ne!(one.request_digest, other.request_digest);
        let first = keyed.to_signal(
            "s",
            &make_entry(&[("id", "e"), ("event", r#"{"id":7,"p":1}"#)]),
        );
        assert_eq!(first.unwrap().key, "e");
        let number = keyed.to_signal("s", &make_entry(&[("event", r#"{"id":7,"p":1}"#)]));
        assert_eq!(number.unwrap().key, "7");
        // Without a key, an id that comes back with other content is another entry, however the bytes are cut into fields.
        let plain = make_form(PayloadSource::Entry, None, &[]);
        let keys: std::collections::BTreeSet<String> = [
            vec![("ab", "c"), ("d", "")],
            vec![("a", "bc"), ("d", "")],
            vec![("ab", "cd")],
            vec![("ab", "c"), ("", "d")],
        ]
        .iter()
        .map(|fields| plain.to_signal("s", &make_entry(fields)).unwrap().key)
        .collect();
        assert_eq!(keys.len(), 4);
    }

    #[test]
    fn the_producers_trace_is_joined_and_a_malformed_one_is_none() {
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let plain = make_form(PayloadSource::Entry, None, &[]);
        for (fields, joined) in [
            (vec![("trace_id", trace)], true),
            (
                vec![("trace_id", "0AF76519-16CD-43DD-8448-EB211C80319C")],
                true,
            ),
            (
                vec![(
                    "traceparent",
                    "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
                )],
                true,
            ),
            (vec![("trace_id", "17")], false),
            (vec![("traceparent", "nothing")], false),
            (vec![("x", trace)], false),
        ] {
            let signal = plain.to_signal("s", &make_entry(&fields)).unwrap();
            assert_eq!(signal.trace_id.to_string() == trace, joined, "{fields:?}");
        }
    }
}
