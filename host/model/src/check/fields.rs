//! Checks of single values. Each returns an error that names the field it was given.

use unicode_normalization::UnicodeNormalization;

use crate::action::Family;
use crate::instrument;

use super::error::FieldError;
use super::text::clip_for_error;

/// The longest reasoning, rollback plan, code, message text or JSON value, in bytes.
pub const MAX_TEXT: usize = 64 * 1024;
/// The longest extra JSON of an action, in bytes: as much as the Graveyard can search within its fuel for attempts on a guard, even when every
/// key names one.
pub const MAX_OPEN_JSON: usize = 16 * 1024;
/// The longest name of a source, subject, destination, purpose or language, in bytes.
pub const MAX_LABEL: usize = 256;

/// Checks a topic: 1 to 128 of `a-z 0-9 . _ -`, starting with a letter.
///
/// # Errors
/// The topic has another form. The error names `field`.
pub fn check_topic(field: &str, topic: &str) -> Result<(), FieldError> {
    if has_name_form(topic, 128) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {:?}, not a topic", clip_for_error(topic)),
        "give 1 to 128 of a-z, 0-9, '.', '_', '-', starting with a letter, e.g. market.tick",
    ))
}

/// Checks an idempotency key: 1 to 200 visible ASCII characters.
///
/// # Errors
/// The key has another form. The error names `field`.
pub fn check_idempotency_key(field: &str, key: &str) -> Result<(), FieldError> {
    if (1..=200).contains(&key.len()) && key.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {:?}", clip_for_error(key)),
        "give 1 to 200 visible ASCII characters",
    ))
}

/// Checks an action type: 1 to 64 of `a-z 0-9 _ . -`, starting with a letter.
///
/// # Errors
/// The action type has another form. The error names `action_type`.
pub fn check_action_type(action_type: &str) -> Result<(), FieldError> {
    if has_name_form(action_type, 64) {
        return Ok(());
    }
    Err(FieldError::new(
        "action_type",
        describe_text(action_type),
        "give 1 to 64 of a-z, 0-9, '_', '.', '-', starting with a letter, e.g. trade",
    ))
}

fn has_name_form(text: &str, max_bytes: usize) -> bool {
    text.len() <= max_bytes
        && text.starts_with(|c: char| c.is_ascii_lowercase())
        && text
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"._-".contains(&b))
}

/// Checks that a text is a symbol. Its spelling is kept: what compares instruments does so by their key.
///
/// # Errors
/// See [`SymbolError`](crate::instrument::SymbolError). The error names `field`.
pub fn check_symbol(field: &str, symbol: &str) -> Result<(), FieldError> {
    instrument::check_symbol(symbol)
        .map_err(|error| FieldError::new(field, error.problem(), error.remedy()))
}

fn describe_text(text: &str) -> String {
    if text.is_empty() {
        "is empty".to_owned()
    } else {
        format!("is {:?}", clip_for_error(text))
    }
}

pub(super) fn check_fraction(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    check_number(
        field,
        value,
        |value| (0.0..=1.0).contains(&value),
        "give a number from 0 to 1: a fraction of capital, 0.05 is 5 %",
    )
}

pub(super) fn check_finite(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    check_number(field, value, f64::is_finite, "give a finite number")
}

pub(super) fn check_positive(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    check_number(
        field,
        value,
        |value| value.is_finite() && value > 0.0,
        "give a finite number greater than 0",
    )
}

pub(super) fn check_not_negative(field: &str, value: Option<f64>) -> Result<(), FieldError> {
    check_number(
        field,
        value,
        |value| value.is_finite() && value >= 0.0,
        "give a finite number, 0 or greater",
    )
}

fn check_number(
    field: &str,
    value: Option<f64>,
    fits: impl Fn(f64) -> bool,
    remedy: &str,
) -> Result<(), FieldError> {
    match value {
        Some(value) if !fits(value) => Err(FieldError::new(field, format!("is {value}"), remedy)),
        _ => Ok(()),
    }
}

pub(super) fn check_text_length(
    field: &str,
    value: &str,
    max_bytes: usize,
) -> Result<(), FieldError> {
    if value.len() <= max_bytes {
        return Ok(());
    }
    Err(FieldError::new(
        field,
        format!("is {} bytes long", value.len()),
        format!("give {max_bytes} bytes at most"),
    ))
}

pub(super) fn check_optional_text(field: &str, value: Option<&str>) -> Result<(), FieldError> {
    value.map_or(Ok(()), |value| check_text_length(field, value, MAX_TEXT))
}

/// Checks a label: 1 to [`MAX_LABEL`] bytes without control characters.
///
/// # Errors
/// The text has another form. The error names `field`.
pub fn check_label(field: &str, value: &str) -> Result<(), FieldError> {
    if !value.is_empty() && !value.chars().any(char::is_control) {
        return check_text_length(field, value, MAX_LABEL);
    }
    let problem = if value.is_empty() {
        "is empty"
    } else {
        "contains control characters"
    };
    Err(FieldError::new(
        field,
        problem,
        format!("give 1 to {MAX_LABEL} bytes of plain text"),
    ))
}

pub(super) fn check_optional_label(field: &str, value: Option<&str>) -> Result<(), FieldError> {
    value.map_or(Ok(()), |value| check_label(field, value))
}

/// Returns the typed field of a family whose name is this one but for case, separators and compatibility forms.
#[must_use]
pub fn find_resembling_field(family: Family, name: &str) -> Option<&'static str> {
    let fields = family.typed_fields();
    if fields.is_empty() {
        return None;
    }
    let folded = fold_name(name);
    fields
        .iter()
        .map(|field| field.name)
        .find(|typed| fold_name(typed) == folded)
}

/// The letters and digits of a name in lower case: what its spellings have in common.
#[must_use]
pub fn fold_name(name: &str) -> String {
    name.nfkc()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}
