//! JSON in which no object has the same key twice.

use std::fmt;

use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// How TOML's deserializer hands over a date without quotes.
const TOML_DATE_KEY: &str = "$__toml_private_datetime";

/// A JSON value without duplicate keys and without numbers that are not finite. Reading one that breaks either rule is a data error at the
/// value concerned. A TOML date becomes a string, since JSON has no dates.
///
/// Integers beyond 64 bits are read as doubles: from a text that came from outside, use [`read_json`](crate::read_json).
pub struct UniqueKeysJson(pub Value);

impl<'de> Deserialize<'de> for UniqueKeysJson {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(UniqueKeysVisitor).map(Self)
    }
}

struct UniqueKeysVisitor;

impl<'de> Visitor<'de> for UniqueKeysVisitor {
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
        while let Some(UniqueKeysJson(item)) = items.next_element()? {
            array.push(item);
        }
        Ok(Value::Array(array))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Value, A::Error> {
        let mut object = Map::new();
        while let Some(key) = entries.next_key::<String>()? {
            if object.contains_key(&key) {
                entries.next_value_seed(DuplicateKey)?;
            }
            let UniqueKeysJson(value) = entries.next_value()?;
            if key == TOML_DATE_KEY && value.is_string() {
                return Ok(value);
            }
            object.insert(key, value);
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
