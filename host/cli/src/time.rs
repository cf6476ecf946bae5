//! Moments and ages on the command line, and moments in what it prints.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::bail;
use ark_model::ids::Millis;
use jiff::Timestamp;
use jiff::tz::{Offset, TimeZone};
use serde_json::Value;

/// The longest age: a hundred years, in seconds.
const MAX_AGE_SECONDS: u64 = 36_500 * 86_400;

/// Reads an age such as 90d, 12h, 30m or 45s, from one second to a hundred years.
///
/// # Errors
/// The text is not such an age; the error says what to give.
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

/// Reads a moment: milliseconds since 1970 (UTC), RFC 3339, or an age such as 30d before now.
///
/// # Errors
/// The text is none of them; the error names `flag`.
pub(crate) fn parse_moment(flag: &str, text: &str) -> anyhow::Result<Millis> {
    if let Ok(age) = parse_age(text) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        return Ok(Millis(Millis::now().0.saturating_sub(age)));
    }
    if let Some(moment) = parse_timestamp(text) {
        return Ok(moment);
    }
    match text.parse() {
        Ok(millis) if i64::try_from(millis).is_ok() => Ok(Millis(millis)),
        _ => bail!(
            "{flag} {text}: give milliseconds since 1970, RFC 3339 (2026-11-25T19:07:06Z), or an age such as 30d, 12h, 90m"
        ),
    }
}

/// Reads a moment of RFC 3339 from 1970 on.
fn parse_timestamp(text: &str) -> Option<Millis> {
    let moment: Timestamp = text.parse().ok()?;
    u64::try_from(moment.as_millisecond()).ok().map(Millis)
}

/// Reads when something ends: an age such as 90d from now on, or a moment to come of RFC 3339.
///
/// # Errors
/// The text is neither, or the moment is past; the error says what to give.
pub(crate) fn parse_end(text: &str) -> Result<Millis, String> {
    let now = Millis::now();
    if let Ok(age) = parse_age(text) {
        let age = u64::try_from(age.as_millis()).unwrap_or(u64::MAX);
        return Ok(Millis(now.0.saturating_add(age)));
    }
    match parse_timestamp(text) {
        Some(end) if end > now => Ok(end),
        Some(_) => Err("this moment is past; give one to come, or an age such as 90d".to_owned()),
        None => Err(
            "give an age such as 90d, 12h or 30m, or a moment as RFC 3339 (2026-11-25T19:07:06Z)"
                .to_owned(),
        ),
    }
}

/// Whether moments are printed in UTC.
static IN_UTC: AtomicBool = AtomicBool::new(false);

/// Has moments printed in UTC from now on, in place of the zone of this machine.
pub(crate) fn print_in_utc() {
    IN_UTC.store(true, Ordering::Relaxed);
}

/// A moment to the second, in the zone of this machine (`TZ`) with its offset, e.g. `2026-11-25T20:07:06+01:00`; in UTC with `--utc`:
/// `2026-11-25T19:07:06Z`.
pub(crate) fn format_moment(at: Millis) -> String {
    let zone = if IN_UTC.load(Ordering::Relaxed) {
        TimeZone::UTC
    } else {
        TimeZone::system()
    };
    format_in(at, &zone)
}

fn format_in(at: Millis, zone: &TimeZone) -> String {
    let moment = i64::try_from(at.0 / 1000)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok());
    let Some(moment) = moment else {
        return format!("{} ms", at.0);
    };
    let offset = zone.to_offset(moment);
    if offset == Offset::UTC {
        moment.to_string()
    } else {
        moment.display_with_offset(offset).to_string()
    }
}

/// As [`format_moment`], of a number in the host's answer; `-` where there is none.
pub(crate) fn format_millis(at: &Value) -> String {
    at.as_u64()
        .map_or_else(|| "-".to_owned(), |at| format_moment(Millis(at)))
}

#[cfg(test)]
mod tests {
    use jiff::tz::{TimeZone, offset};

    use super::{Millis, format_in, parse_end, parse_moment};

    #[test]
    fn a_moment_is_read_in_each_form() {
        for (text, millis) in [
            ("1764097626123", 1_764_097_626_123),
            ("2025-11-25T19:07:06.123Z", 1_764_097_626_123),
            ("2025-11-25T20:07:06+01:00", 1_764_097_626_000),
        ] {
            let moment = parse_moment("--since", text).expect(text);
            assert_eq!(moment, Millis(millis), "{text}");
        }
        for text in ["", "yesterday", "2025-11-25", "1969-01-01T00:00:00Z", "-1"] {
            let error = parse_moment("--since", text).expect_err(text).to_string();
            assert!(
                error.starts_with(&format!("--since {text}: give milliseconds since 1970")),
                "{error}"
            );
        }
    }

    #[test]
    fn an_expiry_must_lie_in_the_future() {
        let now = Millis::now();
        let in_an_hour = parse_end("1h").expect("an age");
        assert!(in_an_hour.0 >= now.0 + 3_600_000, "{in_an_hour:?}");
        let end = parse_end("2999-01-01T00:00:00Z").expect("a moment");
        assert_eq!(end, Millis(32_472_144_000_000));
        for (text, told) in [
            ("2000-01-01T00:00:00Z", "is past"),
            ("1764097626123", "give an age"),
            ("soon", "give an age"),
        ] {
            let error = parse_end(text).expect_err(text);
            assert!(error.contains(told), "{error}");
        }
    }

    #[test]
    fn a_moment_is_told_with_its_offset_and_in_utc_with_a_z() {
        let at = Millis(1_764_097_626_123);
        assert_eq!(format_in(at, &TimeZone::UTC), "2025-11-25T19:07:06Z");
        let zone = TimeZone::fixed(offset(1));
        assert_eq!(format_in(at, &zone), "2025-11-25T20:07:06+01:00");
        assert_eq!(
            format_in(Millis(u64::MAX), &zone),
            "18446744073709551615 ms"
        );
    }
}
