//! How long no host was there in an exchange, as far as it is known.

use std::time::Duration;

/// How long no host was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HostPause {
    /// From the order to stop what served until the new version was ready.
    Measured(Duration),
    /// An earlier run, which was killed, gave that order.
    OrderedEarlier,
    /// The host had ended before that order, so long before the new version was ready.
    HostHadEnded(Duration),
}

impl HostPause {
    /// The time in milliseconds; `None`: it is not known.
    pub(crate) fn as_millis(self) -> Option<u64> {
        match self {
            Self::Measured(time) => Some(to_millis(time)),
            Self::OrderedEarlier | Self::HostHadEnded(_) => None,
        }
    }

    /// Why the time is not known; `None`: it is.
    pub(crate) fn explain_unknown(self) -> Option<String> {
        match self {
            Self::Measured(_) => None,
            Self::OrderedEarlier => Some("an earlier run gave the order to stop".to_owned()),
            Self::HostHadEnded(since) => Some(format!(
                "the host had ended before the order to stop, {} ms before the new version was ready",
                to_millis(since)
            )),
        }
    }
}

fn to_millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_is_a_time_or_says_why_it_is_none() {
        let time = Duration::from_millis(1500);
        for (pause, millis, why) in [
            (HostPause::Measured(time), Some(1500), None),
            (
                HostPause::OrderedEarlier,
                None,
                Some("an earlier run gave the order to stop"),
            ),
            (
                HostPause::HostHadEnded(time),
                None,
                Some(
                    "the host had ended before the order to stop, 1500 ms before the new version was ready",
                ),
            ),
        ] {
            assert_eq!(pause.as_millis(), millis);
            assert_eq!(pause.explain_unknown().as_deref(), why);
        }
    }
}
