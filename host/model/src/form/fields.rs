//! Reading of a JSON object field by field.

use std::borrow::Cow;

use ark_json::is_exact_double;
use serde_json::{Map, Value};

use crate::check::{FieldError, clip_for_error};

/// A JSON object that is being read. Each field can be taken once; `null` counts as absent.
pub struct FormFields<'a> {
    prefix: &'static str,
    /// Each name once, those of a tree in their order; `None`: it was taken. There are few, and most names that are asked for are absent, so they are
    /// compared one by one.
    fields: Vec<(Cow<'a, str>, Option<Value>)>,
}

impl<'a> FormFields<'a> {
    /// Starts to read a document. `prefix` is put before field names in errors, e.g. `parameters.`.
    ///
    /// # Errors
    /// The document is not an object.
    pub fn from_document(document: Value, prefix: &'static str) -> Result<Self, FieldError> {
        match document {
            Value::Object(object) => Ok(Self::from_object(object, prefix)),
            other => Err(wrong_type("body", &other, "a JSON object")),
        }
    }

    pub(super) fn from_object(object: Map<String, Value>, prefix: &'static str) -> Self {
        let members = object.into_iter();
        let members = members.map(|(name, value)| (Cow::<str>::Owned(name), value));
        Self::from_members(members, prefix)
    }

    pub(super) fn from_members(
        members: impl IntoIterator<Item = (Cow<'a, str>, Value)>,
        prefix: &'static str,
    ) -> Self {
        let fields = members.into_iter();
        let fields = fields.map(|(name, value)| (name, Some(value)));
        Self {
            prefix,
            fields: fields.collect(),
        }
    }

    /// Takes a field of any type.
    pub fn take_value(&mut self, name: &str) -> Option<Value> {
        let (_, value) = self.fields.iter_mut().find(|(known, _)| known == name)?;
        value.take().filter(|value| !value.is_null())
    }

    /// Takes a string.
    ///
    /// # Errors
    /// The field has another type.
    pub fn take_text(&mut self, name: &str) -> Result<Option<String>, FieldError> {
        match self.take_value(name) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong_type(self.field_path(name), &other, "a string")),
        }
    }

    /// Takes a required string.
    ///
    /// # Errors
    /// The field is absent (the error carries `remedy`) or has another type.
    pub(super) fn required_text(&mut self, name: &str, remedy: &str) -> Result<String, FieldError> {
        self.take_text(name)?
            .ok_or_else(|| missing_field(self.field_path(name), remedy))
    }

    /// Takes a list of strings; absent: an empty list.
    ///
    /// # Errors
    /// The field or one of its items has another type.
    pub(super) fn take_texts(&mut self, name: &str) -> Result<Vec<String>, FieldError> {
        match self.take_value(name) {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) => items
                .into_iter()
                .enumerate()
                .map(|(index, item)| match item {
                    Value::String(text) => Ok(text),
                    other => Err(wrong_type(
                        format!("{}[{index}]", self.field_path(name)),
                        &other,
                        "a string",
                    )),
                })
                .collect(),
            Some(other) => Err(wrong_type(
                self.field_path(name),
                &other,
                "a list of strings",
            )),
        }
    }

    /// Takes a boolean.
    ///
    /// # Errors
    /// The field has another type.
    pub(super) fn take_flag(&mut self, name: &str) -> Result<Option<bool>, FieldError> {
        match self.take_value(name) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(flag)),
            Some(other) => Err(wrong_type(self.field_path(name), &other, "true or false")),
        }
    }

    /// Takes a number as a double. It is finite, since JSON has no other numbers and the reader refuses those that do not fit a double.
    ///
    /// # Errors
    /// The field has another type, e.g. a number in a string, or is an integer that a double would round.
    pub(super) fn take_number(&mut self, name: &str) -> Result<Option<f64>, FieldError> {
        match self.take_value(name) {
            None => Ok(None),
            Some(Value::Number(number)) if !is_exact_double(&number) => Err(FieldError::new(
                self.field_path(name),
                format!("is the integer {number}, which a double rounds"),
                "give an integer of at most 53 bits, or a float with a decimal point",
            )),
            Some(Value::Number(number)) => Ok(number.as_f64()),
            Some(other) => Err(wrong_type(self.field_path(name), &other, "a number")),
        }
    }

    /// Takes a string that must be one of the given names; returns the value that belongs to it.
    ///
    /// # Errors
    /// The field has another type, or is none of the names. `allowed` lists them for the error.
    pub(super) fn take_choice<T: Copy>(
        &mut self,
        name: &str,
        choices: &[(&str, T)],
        allowed: &str,
    ) -> Result<Option<T>, FieldError> {
        let Some(given) = self.take_text(name)? else {
            return Ok(None);
        };
        let known = choices.iter().find(|(choice, _)| *choice == given);
        known.map(|(_, value)| Some(*value)).ok_or_else(|| {
            FieldError::new(
                self.field_path(name),
                format!("is {:?}", clip_for_error(&given)),
                format!("give {allowed}"),
            )
        })
    }

    /// Returns the fields that were not taken, as canonical JSON.
    pub(super) fn into_rest_json(self) -> String {
        let fields = self.fields.into_iter();
        let rest: Map<String, Value> = fields
            .filter_map(|(name, value)| Some((name.into_owned(), value?)))
            .collect();
        if rest.is_empty() {
            "{}".to_owned()
        } else {
            Value::Object(rest).to_string()
        }
    }

    /// Ends the reading of a closed object.
    ///
    /// # Errors
    /// A field is left that was not taken.
    pub fn reject_unknown(&self) -> Result<(), FieldError> {
        match self.fields.iter().find(|(_, value)| value.is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(FieldError::new(
                self.field_path(&clip_for_error(name)),
                "is not a field of this request",
                "check its spelling; what only a policy reads goes into parameters",
            )),
        }
    }

    pub(super) fn field_path(&self, name: &str) -> String {
        format!("{}{name}", self.prefix)
    }
}

pub(super) fn missing_field(field: impl Into<String>, remedy: &str) -> FieldError {
    FieldError::new(field, "is missing", remedy)
}

pub(super) fn wrong_type(field: impl Into<String>, given: &Value, wanted: &str) -> FieldError {
    let given = match given {
        Value::Null => "null".to_owned(),
        Value::Bool(flag) => format!("{flag}"),
        Value::Number(number) => format!("the number {number}"),
        Value::String(text) => format!("the string {:?}", clip_for_error(text)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    };
    FieldError::new(field, format!("is {given}"), format!("give {wanted}"))
}
