//! Moments and ages on the command line, and moments in what it prints.

use std::time::Duration;

use anyhow::bail;
use ark_model::ids::Millis;
use jiff::Timestamp;

/// The longest age: a hundred years, in seconds.
const MAX_AGE_SECONDS: u64 = 36_500 * 86_400;

/// Reads an age such as 90d, 12h, 30m or 45s, from one second to a hundred years.
///
/// # Errors
/// The text is no such age; the error says what to give.
pub(crate) fn parse_age(text: &str) -> Result<Duration, String> {
    let units = [('d', 86_400), ('h', 3_600), ('m', 60), ('s', 1)];
    units
        .iter()
        .find_map(|(unit, seconds)| {
            let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
            number.checked_mul(*seconds)
        })
        .filter(|seconds| (1..=MAX_AGE_SECONDS).contains(seconds))
        .map(Duration::from_secs)
        .ok_or_else(|| "give an age such as 90d, 12h or 30m".to_owned())
}

/// Reads a moment: milliseconds since 1970 (UTC), or an age such as 30d before now.
///
/// # Errors
/// The text is neither; the error names `flag`.
pub(crate) fn parse_moment(flag: &str, text: &str) -> anyhow::Result<Millis> {
    if let Ok(age) = parse_age(text) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        return Ok(Millis(Millis::now().0.saturating_sub(age)));
    }
    match text.parse() {
        Ok(millis) if i64::try_from(millis).is_ok() => Ok(Millis(millis)),
        _ => bail!("{flag} {text}: give milliseconds since 1970, or an age such as 30d, 12h, 90m"),
    }
}

/// A moment in UTC to the second, e.g. `2026-11-25T19:07:06Z`.
pub(crate) fn format_utc(at: Millis) -> String {
    i64::try_from(at.0 / 1000)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} ms", at.0), |at| at.to_string())
}
