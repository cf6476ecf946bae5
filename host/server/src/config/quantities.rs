//! Values with a unit: `64MiB`, `1h`, `500ms`.
//!
//! The name of a key says its unit (`drain_ms`, `capsule_bytes`), so a bare number means that. A text with a unit of its own becomes that number
//! before anything else reads it.

use serde_json::Value;

/// What a key counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    /// Time; the key counts in units of this many milliseconds.
    Time(u64),
    /// The number of bytes.
    Bytes,
}

/// The units of time, in milliseconds.
const TIMES: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1_000),
    ("min", 60_000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
];
/// The units of bytes.
const SIZES: [(&str, u64); 10] = [
    ("B", 1),
    ("kB", 1_000),
    ("KB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
];

impl Quantity {
    /// What a key counts, by its name; `None`: its values have no unit.
    fn of_key(key: &str) -> Option<Self> {
        let name = key.rsplit('.').next().unwrap_or(key);
        let times = [
            ("_ms", 1),
            ("_seconds", 1_000),
            ("_hours", 3_600_000),
            ("_days", 86_400_000),
        ];
        if let Some((_, unit)) = times.iter().find(|(end, _)| name.ends_with(end)) {
            return Some(Self::Time(*unit));
        }
        let counts_bytes = name.ends_with("bytes") || name.ends_with("bytes_per_minute");
        counts_bytes.then_some(Self::Bytes)
    }

    /// The unit of a bare number.
    const fn unit(self) -> u64 {
        match self {
            Self::Time(unit) => unit,
            Self::Bytes => 1,
        }
    }

    fn units(self) -> &'static [(&'static str, u64)] {
        match self {
            Self::Time(_) => &TIMES,
            Self::Bytes => &SIZES,
        }
    }

    /// What would be right.
    fn describe(self) -> &'static str {
        match self {
            Self::Time(1) => {
                "a time such as 500ms, 30s, 10m or 2h, or milliseconds as a whole number"
            }
            Self::Time(1_000) => "a time such as 30s, 10m or 2h, or seconds as a whole number",
            Self::Time(3_600_000) => "a time such as 12h or 7d, or hours as a whole number",
            Self::Time(_) => "a time such as 30d, or days as a whole number",
            Self::Bytes => "a size such as 64MiB, 512KiB or 2GB, or bytes as a whole number",
        }
    }

    fn parse(self, text: &str) -> Option<u64> {
        let digits = text.find(|it: char| !(it.is_ascii_digit() || it == '_'))?;
        let (number, unit) = text.split_at(digits);
        let number: u64 = number.replace('_', "").parse().ok()?;
        let unit = unit.trim();
        let (_, factor) = self.units().iter().find(|(name, _)| *name == unit)?;
        let counted = number.checked_mul(*factor)?;
        counted
            .is_multiple_of(self.unit())
            .then(|| counted / self.unit())
    }
}

/// Makes a number of the text of a key whose values have a unit; any other value stays as it is.
///
/// # Errors
/// The text is not such a value, or not a whole number of the key's unit; the error says what would be right.
pub(super) fn read_quantity(key: &str, value: Value) -> Result<Value, String> {
    let (Some(quantity), Value::String(text)) = (Quantity::of_key(key), &value) else {
        return Ok(value);
    };
    // A number in quotes is what it always was.
    if text.bytes().all(|it| it.is_ascii_digit()) {
        return Ok(value);
    }
    quantity
        .parse(text.trim())
        .map(Value::from)
        .ok_or_else(|| format!("{key} is {text:?}; give {}", quantity.describe()))
}

/// What a value must be, in words, with an example: for a message about one that is of another type. `expected` is serde's word for the type.
pub(super) fn describe_expected(key: &str, expected: &str, default: Option<&Value>) -> String {
    let words = match expected {
        "usize" | "u64" | "u32" | "u16" | "u8" | "i64" => {
            Quantity::of_key(key).map_or("a whole number", Quantity::describe)
        }
        "f64" | "f32" => "a number",
        "a boolean" => "true or false",
        "path string" => "a path, as text",
        other => other,
    };
    match default.filter(|it| !it.is_null() && !it.is_array() && !it.is_object()) {
        Some(example) => {
            let name = key.rsplit('.').next().unwrap_or(key);
            format!("{words}, e.g. {name} = {example}")
        }
        None => words.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_text_with_a_unit_becomes_the_number_of_the_key() {
        for (key, text, number) in [
            ("capacity.drain_ms", "500ms", 500),
            ("capacity.drain_ms", "10s", 10_000),
            ("capacity.drain_ms", "2 min", 120_000),
            ("capacity.approval_seconds", "1h", 3_600),
            ("capacity.approval_seconds", "60_000ms", 60),
            ("watchdog.store_check_hours", "7d", 168),
            ("watchdog.capsule_days", "48h", 2),
            ("limits.memory_bytes", "64MiB", 67_108_864),
            ("capacity.max_database_bytes", "2GB", 2_000_000_000),
            ("quotas.stored_bytes_per_minute", "512KiB", 524_288),
        ] {
            assert_eq!(read_quantity(key, json!(text)), Ok(json!(number)), "{text}");
        }
        for (key, value) in [
            ("capacity.drain_ms", json!(500)),
            ("capacity.drain_ms", json!("500")),
            ("capacity.workers", json!("7h")),
            ("redis.url", json!("redis://a")),
        ] {
            assert_eq!(read_quantity(key, value.clone()), Ok(value), "{key}");
        }
    }

    #[test]
    fn invalid_quantities_are_refused_with_an_example() {
        for (key, text, named) in [
            ("capacity.drain_ms", "10 parsecs", "500ms"),
            ("capacity.drain_ms", "64MiB", "500ms"),
            ("capacity.drain_ms", "-5s", "500ms"),
            ("capacity.approval_seconds", "1500ms", "30s"),
            ("limits.memory_bytes", "64 MIB", "64MiB"),
            ("limits.memory_bytes", "99999999999TiB", "64MiB"),
        ] {
            let refused = read_quantity(key, json!(text));
            let problem = refused.expect_err(text);
            assert!(
                problem.contains(key) && problem.contains(named),
                "{problem}"
            );
        }
    }
}
