//! Errors of reading JSON.

use std::fmt;

/// The most characters of a number that an error repeats.
const QUOTED_CHARS: usize = 60;

/// Why a text is not read as JSON.
#[derive(Debug, thiserror::Error)]
#[error("{problem}")]
pub struct JsonError {
    /// The path of the value at fault, e.g. `parameters.sizes[3]`; empty outside of any field. It has the length that the document gives it.
    pub path: String,
    /// What is wrong there.
    #[source]
    pub problem: JsonProblem,
}

impl JsonError {
    pub(crate) const fn outside(problem: JsonProblem) -> Self {
        Self {
            path: String::new(),
            problem,
        }
    }
}

/// What is wrong with a text that should be JSON.
#[derive(Debug, thiserror::Error)]
pub enum JsonProblem {
    /// It begins with a byte order mark of this encoding.
    #[error("begins with a byte order mark of {0}")]
    ByteOrderMark(&'static str),
    /// It is not JSON, is nested too deep, or has a number beyond the doubles.
    #[error("is not JSON: {0}")]
    Syntax(serde_json::Error),
    /// An object has a key twice.
    #[error("{0}")]
    Content(serde_json::Error),
    /// An integer fits neither `i64` nor `u64`.
    #[error("is the integer {0}, which does not fit 64 bits")]
    LargeInteger(QuotedNumber),
    /// A number that is not 0 would become 0.
    #[error("is the number {0}, which a double rounds to 0")]
    RoundedToZero(QuotedNumber),
}

impl JsonProblem {
    /// Returns what to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        match self {
            Self::ByteOrderMark("UTF-8") => "send it without its first three bytes, EF BB BF",
            Self::ByteOrderMark(_) => "send UTF-8 without a byte order mark",
            Self::Syntax(_) => "send JSON in UTF-8, nested 127 deep at most",
            Self::Content(_) => "give each key once",
            Self::LargeInteger(_) => "give it as a string, or as a float with a decimal point",
            Self::RoundedToZero(_) => "give 0, or a number of at least 5e-324",
        }
    }
}

/// The text of a number, shortened for an error.
#[derive(Debug)]
pub struct QuotedNumber(String);

impl QuotedNumber {
    pub(crate) fn new(number: &[u8]) -> Self {
        let mut text = String::from_utf8_lossy(number).into_owned();
        if text.len() > QUOTED_CHARS {
            // Digits and signs only, one byte each.
            text.truncate(QUOTED_CHARS);
            text.push('…');
        }
        Self(text)
    }
}

impl fmt::Display for QuotedNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
