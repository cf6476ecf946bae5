//! Times for people beside times for programs: an answer with `decided_at_ms`, in milliseconds since 1970, has `decided_at` too, as RFC 3339 in UTC.
//!
//! It is one rule for all answers and events, in one place: a field whose name is `at_ms`, `since_ms` or ends in `_at_ms` gets a sibling without `_ms`. Only
//! fields of answers have one, not names in JSON that is data (a value of the state, the payload of a signal): those are maps of a known length,
//! while the fields of a struct are written as a map without one. The answer to a proposal has its own moment written by hand
//! (`v1/actions/decision_text.rs`), and a test compares it with this rule.

use jiff::Timestamp;
use jiff::tz::Offset;
use serde::Serialize;
use serde::ser::{
    SerializeMap, SerializeSeq, SerializeStruct, SerializeStructVariant, SerializeTuple,
    SerializeTupleStruct, SerializeTupleVariant, Serializer,
};
use serde_json::Value;

/// The ending of a field that holds milliseconds.
const MILLIS: &str = "_ms";

/// A moment as it is written, without its digits.
const MOMENT_FORM: [u8; 24] = *b"0000-00-00T00:00:00.000Z";

/// Returns the name of the field with the same moment as RFC 3339, if a field holds a moment.
pub(crate) fn moment_name(field: &str) -> Option<&str> {
    let name = field.strip_suffix(MILLIS)?;
    (name == "at" || name == "since" || name.ends_with("_at")).then_some(name)
}

/// Returns a moment as RFC 3339 in UTC, with milliseconds; `None`: it is later than the year 9999.
pub(crate) fn write_moment(millis: u64) -> Option<[u8; MOMENT_FORM.len()]> {
    let millis = i64::try_from(millis).ok()?;
    let at = Offset::UTC.to_datetime(Timestamp::from_millisecond(millis).ok()?);
    let mut text = MOMENT_FORM;
    put_digits(&mut text[0..4], at.year());
    put_digits(&mut text[5..7], at.month().into());
    put_digits(&mut text[8..10], at.day().into());
    put_digits(&mut text[11..13], at.hour().into());
    put_digits(&mut text[14..16], at.minute().into());
    put_digits(&mut text[17..19], at.second().into());
    put_digits(&mut text[20..23], at.millisecond());
    Some(text)
}

/// Writes a number that is not negative with as many digits as there is room for.
fn put_digits(room: &mut [u8], number: i16) {
    let mut rest = number.unsigned_abs();
    for place in room.iter_mut().rev() {
        *place = b"0123456789"[usize::from(rest % 10)];
        rest /= 10;
    }
}

/// As [`write_moment`].
fn format_moment(millis: u64) -> Option<String> {
    String::from_utf8(write_moment(millis)?.to_vec()).ok()
}

/// A value whose moments are given in both forms.
pub(crate) struct WithMoments<'a, T: ?Sized>(pub(crate) &'a T);

impl<T: Serialize + ?Sized> Serialize for WithMoments<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.0.serialize(MomentSerializer(serializer))
    }
}

/// Returns a value as JSON, with its moments in both forms.
pub(crate) fn to_json_with_moments<T: Serialize>(value: &T) -> Result<Value, serde_json::Error> {
    serde_json::to_value(WithMoments(value))
}

struct MomentSerializer<S>(S);

/// Passes values of plain types on.
macro_rules! pass_on {
    ($($method:ident: $type:ty,)+) => {$(
        fn $method(self, value: $type) -> Result<S::Ok, S::Error> {
            self.0.$method(value)
        }
    )+};
}

impl<S: Serializer> Serializer for MomentSerializer<S> {
    type Ok = S::Ok;
    type Error = S::Error;
    type SerializeSeq = Parts<S::SerializeSeq>;
    type SerializeTuple = Parts<S::SerializeTuple>;
    type SerializeTupleStruct = Parts<S::SerializeTupleStruct>;
    type SerializeTupleVariant = Parts<S::SerializeTupleVariant>;
    type SerializeMap = MomentFields<S::SerializeMap>;
    type SerializeStruct = MomentFields<S::SerializeMap>;
    type SerializeStructVariant = Parts<S::SerializeStructVariant>;

    pass_on! {
        serialize_bool: bool,
        serialize_i8: i8,
        serialize_i16: i16,
        serialize_i32: i32,
        serialize_i64: i64,
        serialize_u8: u8,
        serialize_u16: u16,
        serialize_u32: u32,
        serialize_u64: u64,
        serialize_f32: f32,
        serialize_f64: f64,
        serialize_char: char,
        serialize_str: &str,
        serialize_bytes: &[u8],
        serialize_unit_struct: &'static str,
    }

    fn serialize_none(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_none()
    }

    fn serialize_unit(self) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.serialize_some(&WithMoments(value))
    }

    fn serialize_unit_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_unit_variant(name, index, variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        self.0.serialize_newtype_struct(name, &WithMoments(value))
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<S::Ok, S::Error> {
        let value = WithMoments(value);
        self.0
            .serialize_newtype_variant(name, index, variant, &value)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Self::SerializeSeq, S::Error> {
        self.0.serialize_seq(length).map(Parts)
    }

    fn serialize_tuple(self, length: usize) -> Result<Self::SerializeTuple, S::Error> {
        self.0.serialize_tuple(length).map(Parts)
    }

    fn serialize_tuple_struct(
        self,
        name: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleStruct, S::Error> {
        self.0.serialize_tuple_struct(name, length).map(Parts)
    }

    fn serialize_tuple_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeTupleVariant, S::Error> {
        let variant = self.0.serialize_tuple_variant(name, index, variant, length);
        variant.map(Parts)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Self::SerializeMap, S::Error> {
        // A struct with flattened fields is written as a map, without a length.
        let kind = if length.is_some() {
            ValueKind::Data
        } else {
            ValueKind::Fields(String::new())
        };
        Ok(MomentFields {
            map: self.0.serialize_map(length)?,
            kind,
        })
    }

    fn serialize_struct(
        self,
        _name: &'static str,
        _length: usize,
    ) -> Result<Self::SerializeStruct, S::Error> {
        Ok(MomentFields {
            map: self.0.serialize_map(None)?,
            kind: ValueKind::Fields(String::new()),
        })
    }

    fn serialize_struct_variant(
        self,
        name: &'static str,
        index: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Self::SerializeStructVariant, S::Error> {
        let variant = self
            .0
            .serialize_struct_variant(name, index, variant, length);
        variant.map(Parts)
    }

    fn collect_str<T: std::fmt::Display + ?Sized>(self, value: &T) -> Result<S::Ok, S::Error> {
        self.0.collect_str(value)
    }

    fn is_human_readable(&self) -> bool {
        self.0.is_human_readable()
    }
}

/// The parts of a list, a tuple or a variant.
struct Parts<C>(C);

impl<C: SerializeSeq> SerializeSeq for Parts<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_element(&WithMoments(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

impl<C: SerializeTuple> SerializeTuple for Parts<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_element(&WithMoments(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

impl<C: SerializeTupleStruct> SerializeTupleStruct for Parts<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_field(&WithMoments(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

impl<C: SerializeTupleVariant> SerializeTupleVariant for Parts<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), C::Error> {
        self.0.serialize_field(&WithMoments(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

impl<C: SerializeStructVariant> SerializeStructVariant for Parts<C> {
    type Ok = C::Ok;
    type Error = C::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), C::Error> {
        self.0.serialize_field(key, &WithMoments(value))
    }

    fn end(self) -> Result<C::Ok, C::Error> {
        self.0.end()
    }
}

/// The entries of a map, or the fields of a struct.
struct MomentFields<M> {
    map: M,
    kind: ValueKind,
}

enum ValueKind {
    /// JSON that is data.
    Data,
    /// Fields of an answer. The name is that of the field whose value comes next, where the two are given one after the other.
    Fields(String),
}

impl<M: SerializeMap> MomentFields<M> {
    fn write_field<T: Serialize + ?Sized>(&mut self, key: &str, value: &T) -> Result<(), M::Error> {
        self.map.serialize_entry(key, &WithMoments(value))?;
        self.write_moment(key, value)
    }

    /// Writes the same moment as RFC 3339, if the field holds one.
    fn write_moment<T: Serialize + ?Sized>(
        &mut self,
        key: &str,
        value: &T,
    ) -> Result<(), M::Error> {
        let Some(name) = moment_name(key) else {
            return Ok(());
        };
        let millis = serde_json::to_value(value).ok().and_then(|it| it.as_u64());
        match millis.and_then(format_moment) {
            Some(moment) => self.map.serialize_entry(name, &moment),
            None => Ok(()),
        }
    }
}

impl<M: SerializeMap> SerializeMap for MomentFields<M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), M::Error> {
        if let ValueKind::Fields(name) = &mut self.kind {
            *name = read_key(key);
        }
        self.map.serialize_key(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), M::Error> {
        self.map.serialize_value(&WithMoments(value))?;
        let ValueKind::Fields(name) = &mut self.kind else {
            return Ok(());
        };
        let name = std::mem::take(name);
        self.write_moment(&name, value)
    }

    fn serialize_entry<K: Serialize + ?Sized, V: Serialize + ?Sized>(
        &mut self,
        key: &K,
        value: &V,
    ) -> Result<(), M::Error> {
        self.map.serialize_entry(key, &WithMoments(value))?;
        match self.kind {
            ValueKind::Data => Ok(()),
            ValueKind::Fields(_) => self.write_moment(&read_key(key), value),
        }
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}

impl<M: SerializeMap> SerializeStruct for MomentFields<M> {
    type Ok = M::Ok;
    type Error = M::Error;

    fn serialize_field<T: Serialize + ?Sized>(
        &mut self,
        key: &'static str,
        value: &T,
    ) -> Result<(), M::Error> {
        self.write_field(key, value)
    }

    fn end(self) -> Result<M::Ok, M::Error> {
        self.map.end()
    }
}

/// A key as text; empty if it is none.
fn read_key<K: Serialize + ?Sized>(key: &K) -> String {
    match serde_json::to_value(key) {
        Ok(Value::String(text)) => text,
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use serde_json::json;

    use super::*;

    #[derive(Serialize)]
    struct MomentRow {
        at_ms: u64,
        settled_at_ms: Option<u64>,
    }

    #[derive(Serialize)]
    struct Outer<'a> {
        #[serde(flatten)]
        inner: MomentRow,
        #[serde(flatten)]
        also: Flat,
        since_ms: u64,
        latency_ms: u64,
        rows: Vec<MomentRow>,
        by_name: BTreeMap<&'a str, MomentRow>,
        value: Value,
    }

    #[derive(Serialize)]
    struct Flat {
        #[serde(flatten)]
        deep: Deep,
    }

    #[derive(Serialize)]
    struct Deep {
        decided_at_ms: u64,
    }

    #[test]
    fn moments_are_written_as_they_are_displayed() {
        let display = |millis: u64| {
            let moment = Timestamp::from_millisecond(i64::try_from(millis).ok()?).ok()?;
            Some(format!("{moment:.3}"))
        };
        // The last moment that `Timestamp` takes in whole milliseconds.
        let last = u64::try_from(Timestamp::MAX.as_second()).unwrap() * 1_000;
        assert!(display(last).is_some_and(|text| text.starts_with("9999-12-3")));
        assert_eq!(display(last + 1), None);
        let spread = (0..10_000).map(|step| step * (last / 10_000) + step * step);
        for millis in spread.chain([
            0,
            1,
            951_782_399_999,
            951_782_400_000,
            1_709_164_800_000,
            1_764_222_247_001,
            1_767_225_599_999,
            4_107_542_399_999,
            last - 1,
            last,
            last + 1,
            u64::MAX,
        ]) {
            assert_eq!(format_moment(millis), display(millis), "{millis}");
        }
    }

    #[test]
    fn moments_of_answers_have_both_forms_and_data_stays_as_it_is() {
        let inner = |at_ms, settled_at_ms| MomentRow {
            at_ms,
            settled_at_ms,
        };
        let data = json!({"at_ms": 5, "rows": [{"x_at_ms": 6}]});
        let outer = Outer {
            inner: inner(0, None),
            also: Flat {
                deep: Deep {
                    decided_at_ms: 1_764_222_247_001,
                },
            },
            since_ms: 1_000,
            latency_ms: 7,
            rows: vec![inner(u64::MAX, Some(1))],
            by_name: BTreeMap::from([("at_ms", inner(1, None))]),
            value: data.clone(),
        };
        let second = "1970-01-01T00:00:00.001Z";
        assert_eq!(
            to_json_with_moments(&outer).unwrap(),
            json!({
                "at_ms": 0, "at": "1970-01-01T00:00:00.000Z", "settled_at_ms": null,
                "decided_at_ms": 1_764_222_247_001_u64, "decided_at": "2025-11-27T05:44:07.001Z",
                "since_ms": 1_000, "since": "1970-01-01T00:00:01.000Z", "latency_ms": 7,
                "rows": [{"at_ms": u64::MAX, "settled_at_ms": 1, "settled_at": second}],
                "by_name": {"at_ms": {"at_ms": 1, "at": second, "settled_at_ms": null}},
                "value": data,
            })
        );
        let text = serde_json::to_string(&WithMoments(&outer)).unwrap();
        assert!(
            text.starts_with(r#"{"at_ms":0,"at":"1970-01-01T00:00:00.000Z","settled_at_ms":null,"#),
            "{text}"
        );
    }
}
