//! Moments on the command line, and in what it prints.

use anyhow::bail;
use jiff::Timestamp;

use ark_model::ids::Millis;

/// A moment given as milliseconds since 1970 or as an age such as 30d; `flag` is named where it is neither.
pub(super) fn parse_moment(flag: &str, text: &str) -> anyhow::Result<Millis> {
    let units = [
        ('d', 86_400_000),
        ('h', 3_600_000),
        ('m', 60_000),
        ('s', 1000),
    ];
    let age = units.iter().find_map(|(unit, millis)| {
        let number: u64 = text.strip_suffix(*unit)?.parse().ok()?;
        number.checked_mul(*millis)
    });
    match (age, text.parse()) {
        (Some(age), _) => Ok(Millis(Millis::now().0.saturating_sub(age))),
        (None, Ok(millis)) if i64::try_from(millis).is_ok() => Ok(Millis(millis)),
        _ => bail!("{flag} {text}: give milliseconds since 1970, or an age such as 30d, 12h, 90m"),
    }
}

/// A moment in UTC, e.g. `2026-11-25T19:07:06Z`, to the second.
pub(super) fn format_utc(at: Millis) -> String {
    i64::try_from(at.0 / 1000)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .map_or_else(|| format!("{} ms", at.0), |at| at.to_string())
}
