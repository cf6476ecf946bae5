//! When an event is tried again.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use jiff::Timestamp;
use jiff::fmt::rfc2822;

use super::config::RetryLimits;

impl RetryLimits {
    /// Returns how long the next attempt waits after so many that failed. The time doubles with each, up to the limit; of it at least half is
    /// waited, and the rest by `chance` (0 to 1), so that webhooks that failed together do not come back together. What the receiver asks for
    /// counts where it is longer, up to the limit.
    pub(super) fn delay_after(
        &self,
        failed: u32,
        asked: Option<Duration>,
        chance: f64,
    ) -> Duration {
        let doublings = failed.saturating_sub(1).min(31);
        let full = self
            .first_delay
            .saturating_mul(1 << doublings)
            .min(self.max_delay);
        let jittered = full / 2 + (full / 2).mul_f64(chance.clamp(0.0, 1.0));
        jittered.max(asked.unwrap_or_default()).min(self.max_delay)
    }
}

/// Reads the header `Retry-After`: seconds, or a date of HTTP (RFC 9110, section 10.2.3); `None`: it is neither.
pub(super) fn parse_retry_after(value: &str, now: SystemTime) -> Option<Duration> {
    if let Ok(seconds) = value.trim().parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at: Timestamp = rfc2822::DateTimeParser::new()
        .relaxed_weekday(true)
        .parse_timestamp(value.trim())
        .ok()?;
    let at = Duration::from_millis(u64::try_from(at.as_millisecond()).ok()?);
    let now = now.duration_since(UNIX_EPOCH).ok()?;
    Some(at.saturating_sub(now))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_double_up_to_the_limit_and_half_of_each_is_chance() {
        let limits = RetryLimits {
            attempts: 9,
            first_delay: Duration::from_secs(1),
            max_delay: Duration::from_secs(10),
        };
        let seconds = |failed, asked: Option<u64>, chance| {
            let asked = asked.map(Duration::from_secs);
            limits.delay_after(failed, asked, chance).as_secs_f64()
        };
        let longest: Vec<f64> = (1..7).map(|failed| seconds(failed, None, 1.0)).collect();
        assert_eq!(longest, [1.0, 2.0, 4.0, 8.0, 10.0, 10.0]);
        let shortest: Vec<f64> = (1..7).map(|failed| seconds(failed, None, 0.0)).collect();
        assert_eq!(shortest, [0.5, 1.0, 2.0, 4.0, 5.0, 5.0]);
        // What the receiver asks for: longer counts, shorter does not, and the limit holds.
        assert_eq!(seconds(1, Some(7), 0.5), 7.0);
        assert_eq!(seconds(3, Some(0), 0.0), 2.0);
        assert_eq!(seconds(1, Some(86_400), 0.5), 10.0);
        assert_eq!(seconds(u32::MAX, Some(u64::MAX), 1.0), 10.0);
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777);
        for (value, seconds) in [
            ("120", Some(120)),
            (" 0 ", Some(0)),
            ("Sun, 06 Nov 1994 08:50:37 GMT", Some(60)),
            ("Sun, 06 Nov 1994 08:40:00 GMT", Some(0)),
            ("-1", None),
            ("1.5", None),
            ("soon", None),
            ("", None),
        ] {
            let expected = seconds.map(Duration::from_secs);
            assert_eq!(parse_retry_after(value, now), expected, "{value}");
        }
    }
}
