//! JSON in which no object has the same key twice.

use std::cell::Cell;
use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::map::Entry;
use serde_json::{Map, Number, Value};

/// How TOML's deserializer hands over a date without quotes.
pub(crate) const TOML_DATE_KEY: &str = "$__toml_private_datetime";

/// A JSON value without duplicate keys and without numbers that are not finite. Reading one that breaks either rule is a data error at the
/// value concerned. A TOML date becomes a string, since JSON has no dates.
///
/// Integers beyond 64 bits are read as doubles: from a text that came from outside, use [`read_json`](crate::read_json).
pub struct UniqueKeysJson(pub Value);

impl<'de> Deserialize<'de> for UniqueKeysJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let is_doubtful = Cell::new(false);
        let reader = UniqueKeysReader {
            is_doubtful: &is_doubtful,
        };
        reader.deserialize(deserializer).map(Self)
    }
}

/// A double in this range, its sign aside, is the number in the text. One below may stand for a number that is not 0, one above for an integer of more
/// than 64 bits.
const CERTAIN_DOUBLES: std::ops::Range<f64> = 1e-300..9e18;

/// Reads a value as [`UniqueKeysJson`] is read, and notes whether one of its numbers may be another one in the text.
#[derive(Clone, Copy)]
pub(crate) struct UniqueKeysReader<'a> {
    pub(crate) is_doubtful: &'a Cell<bool>,
}

impl<'de> DeserializeSeed<'de> for UniqueKeysReader<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for UniqueKeysReader<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, flag: bool) -> Result<Value, E> {
        Ok(Value::Bool(flag))
    }

    fn visit_i64<E>(self, number: i64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_u64<E>(self, number: u64) -> Result<Value, E> {
        Ok(number.into())
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<Value, E> {
        if !CERTAIN_DOUBLES.contains(&number.abs()) {
            self.is_doubtful.set(true);
        }
        Number::from_f64(number)
            .map(Value::Number)
            .ok_or_else(|| E::custom("the number is not finite"))
    }

    fn visit_str<E>(self, text: &str) -> Result<Value, E> {
        Ok(Value::String(text.to_owned()))
    }

    fn visit_string<E>(self, text: String) -> Result<Value, E> {
        Ok(Value::String(text))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut array = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            let is_date = key == TOML_DATE_KEY;
            match object.entry(key) {
                Entry::Occupied(_) => entries.next_value_seed(DuplicateKey)?,
                Entry::Vacant(place) => {
                    let value = entries.next_value_seed(self)?;
                    if is_date && value.is_string() {
                        return Ok(value);
                    }
                    place.insert(value);
                }
            }
        }
        Ok(Value::Object(object))
    }
}

/// Refuses the value of a key that was there before. The error is raised while the value is read, so that its path names the key.
struct DuplicateKey;

impl<'de> DeserializeSeed<'de> for DuplicateKey {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, _: D) -> Result<(), D::Error> {
        Err(D::Error::custom("a key is given twice"))
    }
}
