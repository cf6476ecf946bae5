//! The inputs of a request's form: a JSON document, and the text of a parameter.

use serde::de::value::{
    MapAccessDeserializer, MapDeserializer, SeqDeserializer, StringDeserializer,
};
use serde::de::{Deserializer, IntoDeserializer, Visitor};
use serde::forward_to_deserialize_any;
use serde_json::{Number, Value};

use ark_json::is_exact_double;
use ark_model::check::clip_for_error;

use super::error::{FormError, join_choices};

/// The largest integer up to which every integer is a double: 2^53.
const MAX_EXACT_DOUBLE: f64 = 9_007_199_254_740_992.0;

/// A JSON value as the input of a request's form.
pub(super) struct JsonInput(pub(super) Value);

impl IntoDeserializer<'_, FormError> for JsonInput {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl JsonInput {
    /// The number as an integer, if it is one.
    fn to_integer(&self) -> Option<Number> {
        let number = self.0.as_number()?;
        if number.is_u64() || number.is_i64() {
            return Some(number.clone());
        }
        let double = number.as_f64()?;
        let exact = double.fract() == 0.0 && double.abs() <= MAX_EXACT_DOUBLE;
        exact.then(|| format!("{double:.0}").parse().ok())?
    }

    fn visit_integer<'de, V: Visitor<'de>>(
        self,
        visitor: V,
        wanted: &str,
    ) -> Result<V::Value, FormError> {
        let Some(number) = self.to_integer() else {
            return Err(FormError::invalid(&self.0, wanted));
        };
        match (number.as_u64(), number.as_i64()) {
            (Some(number), _) => visitor.visit_u64(number),
            (None, Some(number)) => visitor.visit_i64(number),
            (None, None) => Err(FormError::invalid(&self.0, wanted)),
        }
    }
}

/// Methods for the types of one kind: the value is visited if it is of this kind, refused with what is wanted otherwise.
macro_rules! deserialize_kinds {
    ($($method:ident: $check:ident, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            if self.0.$check() {
                self.deserialize_any(visitor)
            } else {
                Err(FormError::invalid(&self.0, $wanted))
            }
        }
    )*};
}

/// Methods for the integer types.
macro_rules! deserialize_integers {
    ($($method:ident)*: $wanted:literal) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            self.visit_integer(visitor, $wanted)
        }
    )*};
}

impl<'de> Deserializer<'de> for JsonInput {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(flag),
            Value::String(text) => visitor.visit_string(text),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), _, _) => visitor.visit_u64(number),
                (None, Some(number), _) => visitor.visit_i64(number),
                (None, None, Some(number)) => visitor.visit_f64(number),
                (None, None, None) => Err(FormError::invalid(
                    &Value::Number(number),
                    "a number that fits a double",
                )),
            },
            Value::Array(items) => {
                visitor.visit_seq(SeqDeserializer::new(items.into_iter().map(JsonInput)))
            }
            Value::Object(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name, JsonInput(value)));
                visitor.visit_map(MapDeserializer::new(fields))
            }
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match self.0 {
            Value::Null => visitor.visit_none(),
            value => visitor.visit_some(Self(value)),
        }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        match self.0 {
            Value::String(text) => visitor.visit_enum(StringDeserializer::new(text)),
            Value::Object(fields) => {
                let fields = fields
                    .into_iter()
                    .map(|(name, value)| (name, JsonInput(value)));
                visitor.visit_enum(MapAccessDeserializer::new(MapDeserializer::new(fields)))
            }
            other => Err(FormError::invalid(&other, &join_choices(variants))),
        }
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        match &self.0 {
            Value::Number(number) if is_exact_double(number) => self.deserialize_any(visitor),
            Value::Number(_) => Err(FormError::invalid(
                &self.0,
                "an integer of at most 53 bits, which a double holds, or a float with a decimal point",
            )),
            _ => Err(FormError::invalid(&self.0, "a number")),
        }
    }

    deserialize_kinds! {
        deserialize_bool: is_boolean, "true or false";
        deserialize_str: is_string, "a string";
        deserialize_string: is_string, "a string";
        deserialize_seq: is_array, "a list";
        deserialize_map: is_object, "a JSON object";
    }
    deserialize_integers! {
        deserialize_u8 deserialize_u16 deserialize_u32 deserialize_u64: "a whole number, 0 or more"
    }
    deserialize_integers! {
        deserialize_i8 deserialize_i16 deserialize_i32 deserialize_i64: "a whole number"
    }
    forward_to_deserialize_any! {
        i128 u128 char bytes byte_buf unit unit_struct tuple tuple_struct identifier ignored_any
    }
}

/// The text of a parameter as the input of a request's form.
pub(super) struct TextInput(pub(super) String);

impl IntoDeserializer<'_, FormError> for TextInput {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

impl TextInput {
    fn parse<T: std::str::FromStr>(&self, wanted: &str) -> Result<T, FormError> {
        self.0.parse().map_err(|_| FormError::Invalid {
            problem: format!("is {:?}", clip_for_error(&self.0)),
            remedy: Some(format!("give {wanted}")),
        })
    }
}

/// Methods that parse the text as the type a visitor wants.
macro_rules! parse_texts {
    ($($method:ident, $visit:ident, $wanted:literal;)*) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
            visitor.$visit(self.parse($wanted)?)
        }
    )*};
}

impl<'de> Deserializer<'de> for TextInput {
    type Error = FormError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        visitor.visit_string(self.0)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, FormError> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, FormError> {
        visitor.visit_enum(StringDeserializer::new(self.0))
    }

    parse_texts! {
        deserialize_bool, visit_bool, "true or false";
        deserialize_u8, visit_u8, "a whole number, 0 or more";
        deserialize_u16, visit_u16, "a whole number, 0 or more";
        deserialize_u32, visit_u32, "a whole number, 0 or more";
        deserialize_u64, visit_u64, "a whole number, 0 or more";
        deserialize_i8, visit_i8, "a whole number";
        deserialize_i16, visit_i16, "a whole number";
        deserialize_i32, visit_i32, "a whole number";
        deserialize_i64, visit_i64, "a whole number";
        deserialize_f32, visit_f32, "a number";
        deserialize_f64, visit_f64, "a number";
    }
    forward_to_deserialize_any! {
        i128 u128 char str string bytes byte_buf unit unit_struct seq tuple tuple_struct map struct identifier ignored_any
    }
}
