//! Objects that are read without a tree: of what is read for every decision, the names of members need no texts and no order of their own.

use std::borrow::Cow;
use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use crate::numbers::find_altered_number;
use crate::unique::{TOML_DATE_KEY, UniqueKeysReader};

/// An object with more members is read as a tree, since names are compared one by one here.
const MOST_MEMBERS: usize = 32;
/// For so many members there is room at first.
const USUAL_MEMBERS: usize = 8;

/// The members of an object, each with its name, in the order of the text. No name stands twice.
pub type Members<'a> = Vec<(Cow<'a, str>, Value)>;

/// An object, one of whose members may be an object too.
#[derive(Debug)]
pub struct PlainObject<'a> {
    /// Its members but for that one.
    pub members: Members<'a>,
    /// The members of that one; `None`: it is absent.
    pub inner: Option<Members<'a>>,
}

/// Reads a document that is an object, whose member `inner` is an object too or absent. What it returns is what [`read_json`](crate::read_json)
/// returns, in another form.
///
/// `None`: the document is another one, or one that `read_json` may refuse or read otherwise. It says why.
#[must_use]
pub fn read_plain_object<'a>(text: &'a [u8], inner: &str) -> Option<PlainObject<'a>> {
    let is_doubtful = Cell::new(false);
    let reader = ObjectReader {
        inner: Some(inner),
        values: UniqueKeysReader {
            is_doubtful: &is_doubtful,
        },
    };
    let mut deserializer = serde_json::Deserializer::from_slice(text);
    let object = reader.deserialize(&mut deserializer).ok()?;
    deserializer.end().ok()?;
    let is_altered = is_doubtful.get() && find_altered_number(text).is_some();
    (!is_altered).then_some(object)
}

/// Reads an object.
struct ObjectReader<'a> {
    /// The name of the member that is an object too.
    inner: Option<&'a str>,
    values: UniqueKeysReader<'a>,
}

impl<'de> DeserializeSeed<'de> for ObjectReader<'_> {
    type Value = PlainObject<'de>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<PlainObject<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ObjectReader<'_> {
    type Value = PlainObject<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<PlainObject<'de>, A::Error> {
        let mut members: Members<'de> = Vec::with_capacity(USUAL_MEMBERS);
        let mut inner = None;
        while let Some(name) = entries.next_key_seed(NameReader)? {
            let is_inner = self.inner.is_some_and(|known| known == name);
            let is_known = if is_inner {
                inner.is_some()
            } else {
                members.iter().any(|(known, _)| *known == name)
            };
            if is_known || members.len() == MOST_MEMBERS || name == TOML_DATE_KEY {
                return Err(A::Error::custom("the object is read as a tree"));
            }
            if is_inner {
                let reader = ObjectReader {
                    inner: None,
                    values: self.values,
                };
                inner = Some(entries.next_value_seed(reader)?.members);
            } else {
                members.push((name, entries.next_value_seed(self.values)?));
            }
        }
        Ok(PlainObject { members, inner })
    }
}

/// Reads the name of a member, which is a part of the text where nothing in it is escaped.
struct NameReader;

impl<'de> DeserializeSeed<'de> for NameReader {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for NameReader {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_borrowed_str<E>(self, name: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(name))
    }

    fn visit_str<E>(self, name: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(name.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Map;

    use super::*;
    use crate::{MAX_DEPTH, read_json};

    fn to_value(object: PlainObject<'_>) -> Value {
        let to_map = |members: Members<'_>| -> Map<String, Value> {
            let members = members.into_iter();
            members
                .map(|(name, value)| (name.into_owned(), value))
                .collect()
        };
        let mut map = to_map(object.members);
        if let Some(inner) = object.inner {
            map.insert("p".to_owned(), Value::Object(to_map(inner)));
        }
        Value::Object(map)
    }

    #[test]
    fn what_is_read_plainly_is_what_is_read_as_a_tree() {
        let check = |text: &str, is_plain: bool| {
            let plain = read_plain_object(text.as_bytes(), "p");
            assert_eq!(plain.is_some(), is_plain, "{text}");
            if let Some(plain) = plain {
                let tree = read_json(text.as_bytes()).unwrap();
                assert_eq!(to_value(plain), tree, "{text}");
            }
        };
        for text in [
            "{}",
            r#" { "a" : 1 , "p" : { "b" : -2.5 } , "c" : null } "#,
            r#"{"p":{}}"#,
            r#"{"a":"p","p":{"p":{"a":[1,{"b":2}]},"a":"\u00e9"},"b":true}"#,
            r#"{"\u0061":"\n","\u0070":{"b":"\ud83d\ude00"}}"#,
            r#"{"a":18446744073709551615,"b":-9223372036854775808}"#,
            r#"{"a":0.0,"b":-0,"p":{"a":1e300}}"#,
        ] {
            check(text, true);
        }
        // Read as a tree, or refused.
        for text in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":1}"#,
            r#"{"p":{},"p":{}}"#,
            r#"{"p":{"a":1,"a":1}}"#,
            r#"{"a":{"b":1,"b":1}}"#,
            r#"{"p":null}"#,
            r#"{"p":[]}"#,
            r#"{"a":1e-400}"#,
            r#"{"p":{"a":18446744073709551616}}"#,
            r#"{"$__toml_private_datetime":"1"}"#,
            r#"{"p":{"$__toml_private_datetime":"1"}}"#,
            r#"{"a":1}{}"#,
            r#"{"a":1,}"#,
            r#"{"a":NaN}"#,
            r#"{"a":"\ud800"}"#,
            "\u{feff}{}",
            "[]",
            "1",
            "{",
            "",
        ] {
            check(text, false);
        }
        let members = |count: usize| {
            let members: Vec<String> = (0..count).map(|it| format!("\"m{it}\":{it}")).collect();
            format!("{{{}}}", members.join(","))
        };
        check(&members(MOST_MEMBERS), true);
        check(&members(MOST_MEMBERS + 1), false);
        let nested = |depth: usize| {
            let lists = format!("{}1{}", "[".repeat(depth), "]".repeat(depth));
            format!("{{\"p\":{{\"a\":{lists}}}}}")
        };
        check(&nested(MAX_DEPTH - 2), true);
        check(&nested(MAX_DEPTH - 1), false);
        assert!(read_plain_object(b"{\"a\":\"\xff\"}", "p").is_none());
    }
}
