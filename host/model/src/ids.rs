//! Newtypes for ids, names, digests, fractions and times. Using one in the place of another does not compile.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest as _, Sha256};
use uuid::Uuid;

/// A text is not an id, digest or name. Each variant holds the start of the text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseIdError {
    /// The text is not a UUID.
    #[error("not a UUID: {0:?}")]
    Uuid(String),
    /// The text is not 32 lower-case hexadecimal digits, or they are all zero (W3C Trace Context, section 3.2.2.3).
    #[error("not a trace id (32 lower-case hexadecimal digits, not all zero): {0:?}")]
    Trace(String),
    /// The text is not 64 hexadecimal digits.
    #[error("not a SHA-256 digest (64 hexadecimal digits): {0:?}")]
    Digest(String),
    /// The text is not a name.
    #[error("not a name (1 to 64 of a-z, 0-9, '-', '_', starting with a letter): {0:?}")]
    Name(String),
}

impl ParseIdError {
    /// What the text would have to be, as it follows "give" or "expected".
    #[must_use]
    pub fn form(&self) -> &'static str {
        match self {
            Self::Uuid(_) => "a UUID",
            Self::Trace(_) => "a trace id: 32 lower-case hexadecimal digits, not all zero",
            Self::Digest(_) => "a SHA-256 digest: 64 hexadecimal digits",
            Self::Name(_) => "a name: 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
        }
    }
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(Uuid);

        impl $name {
            /// Returns a new id. Ids made later in a process sort later (UUID version 7, RFC 9562).
            #[must_use]
            pub fn fresh() -> Self {
                Self(Uuid::now_v7())
            }

            /// Returns the 36 characters as which the id is displayed.
            #[must_use]
            pub fn to_text(self) -> [u8; 36] {
                let mut text = [0; 36];
                self.0.as_hyphenated().encode_lower(&mut text);
                text
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl FromStr for $name {
            type Err = ParseIdError;

            fn from_str(text: &str) -> Result<Self, ParseIdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| ParseIdError::Uuid(quote_start(text)))
            }
        }
    };
}

uuid_id!(
    /// The id of a decision.
    DecisionId
);
uuid_id!(
    /// The id of a signal.
    SignalId
);
uuid_id!(
    /// The id of a row of the audit log. The row of a decision has the decision's id; every other row has an id of its own.
    AuditId
);
uuid_id!(
    /// The id of an operation, which goes on after its request was answered.
    OperationId
);

impl From<DecisionId> for AuditId {
    fn from(id: DecisionId) -> Self {
        Self(id.0)
    }
}

/// A W3C trace id: 16 bytes, not all zero, written as 32 lower-case hexadecimal digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TraceId([u8; 16]);

impl TraceId {
    /// Returns a new trace id.
    #[must_use]
    pub fn fresh() -> Self {
        Self(Uuid::now_v7().into_bytes())
    }

    /// Returns the 16 bytes.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }

    /// Returns the 32 lower-case hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 32] {
        let mut text = [0; 32];
        fill_hex(&mut text, &self.0);
        text
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for TraceId {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let bytes: Option<[u8; 16]> = parse_hex(text);
        match bytes {
            Some(bytes) if bytes != [0; 16] && !text.bytes().any(|b| b.is_ascii_uppercase()) => {
                Ok(Self(bytes))
            }
            _ => Err(ParseIdError::Trace(quote_start(text))),
        }
    }
}

/// A SHA-256 digest, written as 64 lower-case hexadecimal digits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Digest([u8; 32]);

impl Digest {
    /// Returns the digest of some bytes.
    #[must_use]
    pub fn hash_bytes(bytes: &[u8]) -> Self {
        Self(Sha256::digest(bytes).into())
    }

    /// Returns the digest of what a reader yields until its end, and how many bytes that is.
    ///
    /// # Errors
    /// The reader fails.
    pub fn hash_reader(mut reader: impl std::io::Read) -> std::io::Result<(Self, u64)> {
        let mut hasher = Sha256::new();
        let bytes = std::io::copy(&mut reader, &mut hasher)?;
        Ok((Self(hasher.finalize().into()), bytes))
    }

    /// Returns the digest of several parts, one after the other, with nothing between them.
    #[must_use]
    pub fn hash_parts<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> Self {
        let mut hasher = Sha256::new();
        for part in parts {
            hasher.update(part);
        }
        Self(hasher.finalize().into())
    }

    /// Makes a digest from its 32 bytes.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Returns the 32 bytes.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Returns the 64 hexadecimal digits.
    #[must_use]
    pub fn to_hex(self) -> [u8; 64] {
        let mut text = [0; 64];
        fill_hex(&mut text, &self.0);
        text
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_hex(f, &self.0)
    }
}

impl FromStr for Digest {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        parse_hex(text)
            .map(Self)
            .ok_or_else(|| ParseIdError::Digest(quote_start(text)))
    }
}

/// The name of an agent, a policy or an API consumer: 1 to 64 of `a-z 0-9 - _`, starting with a letter. It needs no escaping in a path, a URL, a
/// metric label or a log line.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Name(Arc<str>);

impl Name {
    /// Returns the name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for Name {
    type Err = ParseIdError;

    fn from_str(text: &str) -> Result<Self, ParseIdError> {
        let fits = (1..=64).contains(&text.len())
            && text.as_bytes()[0].is_ascii_lowercase()
            && text
                .bytes()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_');
        if fits {
            Ok(Self(text.into()))
        } else {
            Err(ParseIdError::Name(quote_start(text)))
        }
    }
}

macro_rules! text_serde {
    ($($name:ident),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = Cow::<'de, str>::deserialize(deserializer)?;
                text.parse().map_err(|error: ParseIdError| {
                    let given = quote_start(&text);
                    let given = serde::de::Unexpected::Str(&given);
                    serde::de::Error::invalid_value(given, &error.form())
                })
            }
        }
    )*};
}

text_serde!(
    DecisionId,
    AuditId,
    SignalId,
    OperationId,
    TraceId,
    Digest,
    Name
);

/// A fraction of capital: finite and not negative, may exceed 1. 0.05 is 5 %.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize)]
#[serde(transparent)]
pub struct Fraction(f64);

impl Fraction {
    /// The fraction 0.
    pub const ZERO: Self = Self(0.0);

    /// Makes a fraction; `None` when the value is negative, NaN or infinite.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value.is_finite() && value >= 0.0).then_some(Self(value + 0.0))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Returns the sum; the largest finite number when it would be infinite.
    #[must_use]
    pub fn saturating_add(self, other: Self) -> Self {
        Self((self.0 + other.0).min(f64::MAX))
    }

    /// Returns the difference; 0 when it would be negative.
    #[must_use]
    pub fn saturating_sub(self, other: Self) -> Self {
        Self((self.0 - other.0).max(0.0))
    }
}

/// A share of all traces, greater than 0 and at most 1. 0.05 is 5 %.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Serialize)]
#[serde(transparent)]
pub struct Share(f64);

impl<'de> Deserialize<'de> for Share {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let share = f64::deserialize(deserializer)?;
        Self::new(share)
            .ok_or_else(|| serde::de::Error::custom("a share is greater than 0 and at most 1"))
    }
}

impl Share {
    /// Makes a share; `None` when the value is not greater than 0 and at most 1.
    #[must_use]
    pub fn new(value: f64) -> Option<Self> {
        (value > 0.0 && value <= 1.0).then_some(Self(value))
    }

    /// Returns the number.
    #[must_use]
    pub const fn get(self) -> f64 {
        self.0
    }

    /// Returns whether a trace belongs to the share. The answer depends on the trace id alone, and a trace that belongs to a share belongs to
    /// every larger share. It depends on a digest of the id, since callers choose the ids of their traces.
    #[must_use]
    pub fn contains_trace(self, trace: TraceId) -> bool {
        let digest = Digest::hash_bytes(&trace.to_bytes());
        let [a, b, c, d, ..] = digest.as_bytes();
        f64::from(u32::from_be_bytes([*a, *b, *c, *d])) < self.0 * 4_294_967_296.0
    }
}

/// Milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Millis(pub u64);

impl Millis {
    /// Returns the time of the host's clock; 0 when that is before 1970.
    #[must_use]
    pub fn now() -> Self {
        let elapsed = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self(u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX))
    }

    /// Returns the seconds since an earlier moment; 0 when that is not earlier.
    #[must_use]
    pub fn seconds_since(self, earlier: Self) -> f64 {
        self.0.saturating_sub(earlier.0) as f64 / 1000.0
    }

    /// Returns the moment that is this much later; the latest moment when it would be past that.
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Self {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        Self(self.0.saturating_add(millis))
    }

    /// Returns the UTC day, as days since the Unix epoch.
    #[must_use]
    pub const fn utc_day(self) -> u64 {
        self.0 / 86_400_000
    }
}

/// Returns the start of a text for an error message.
fn quote_start(text: &str) -> String {
    text.chars().take(80).collect()
}

fn write_hex(f: &mut fmt::Formatter<'_>, bytes: &[u8]) -> fmt::Result {
    let mut text = [0u8; 64];
    fill_hex(&mut text, bytes);
    f.write_str(std::str::from_utf8(&text[..bytes.len() * 2]).map_err(|_| fmt::Error)?)
}

/// Writes bytes as hexadecimal digits, two for each, from the start of a text.
fn fill_hex(text: &mut [u8], bytes: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    for (pair, byte) in text.chunks_exact_mut(2).zip(bytes) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
}

fn parse_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let text = text.as_bytes();
    if text.len() != N * 2 {
        return None;
    }
    let mut bytes = [0u8; N];
    for (byte, pair) in bytes.iter_mut().zip(text.chunks_exact(2)) {
        let high = char::from(pair[0]).to_digit(16)?;
        let low = char::from(pair[1]).to_digit(16)?;
        *byte = u8::try_from(high << 4 | low).ok()?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_digests_and_traces_refuse_what_they_are_not() {
        for bad in ["", "Kyle", "1st", "a/b", "a.b", "ä", &"a".repeat(65)] {
            assert!(bad.parse::<Name>().is_err(), "{bad:?}");
        }
        for bad in ["", "0", &"0".repeat(32), &"A".repeat(32), &"g".repeat(32)] {
            assert!(bad.parse::<TraceId>().is_err(), "{bad:?}");
        }
        let digest = Digest::hash_bytes(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
        let trace = TraceId::fresh();
        assert_eq!(trace.to_string().into_bytes(), trace.to_hex());
        assert_eq!(digest.to_string().into_bytes(), digest.to_hex());
        let id = DecisionId::fresh();
        assert_eq!(id.to_string().into_bytes(), id.to_text());
        assert_eq!(Digest::hash_parts([b"a".as_slice(), b"bc"]), digest);
    }

    #[test]
    fn fractions_are_finite_and_not_negative() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -0.001] {
            assert_eq!(Fraction::new(bad), None, "{bad}");
        }
        assert_eq!(Fraction::new(-0.0).map(|f| f.get().to_bits()), Some(0));
    }

    #[test]
    fn a_share_takes_its_part_of_the_traces_and_a_larger_one_those_too() {
        for bad in [0.0, -0.1, 1.000_001, f64::NAN, f64::INFINITY] {
            assert_eq!(Share::new(bad), None, "{bad}");
        }
        let traces: Vec<TraceId> = (0..20_000).map(|_| TraceId::fresh()).collect();
        let in_share = |share: f64| {
            let share = Share::new(share).unwrap();
            traces
                .iter()
                .filter(move |trace| share.contains_trace(**trace))
        };
        for share in [0.05, 0.25, 0.9] {
            let part = in_share(share).count() as f64 / 20_000.0;
            // Eleven standard deviations of a binomial at most.
            assert!((part - share).abs() < 0.04, "{part} of {share}");
        }
        assert_eq!(in_share(1.0).count(), traces.len());
        let larger = Share::new(0.25).unwrap();
        assert!(in_share(0.05).all(|trace| larger.contains_trace(*trace)));
    }
}
