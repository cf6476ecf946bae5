//! How long no host will be there while a new version migrates the database: what is measured of it before the stop, and how long fronts park requests.
//!
//! Most of it is the copy that is the way back ([`super::database::keep_before_migration`]), which is made when the old host has ended. An earlier one
//! would not do. The way back loses nothing only where the copy has all that the host recorded until its end, also what no replay repeats: signals, tokens,
//! reports. A copy of before the stop has that only together with the database's log since then. To keep the host from resetting that log, a reader would have
//! to hold it for as long as the copy and its checks take; the log would grow meanwhile, of which hosts raise an alert (`log_held`).
//!
//! Must not know: who parks requests, how anything is printed.

use std::path::Path;
use std::time::{Duration, Instant};

use super::database::{MIB, measure_database};

/// How long a front parks a request whose configuration says nothing else (`front.hold_ms`).
const DEFAULT_HOLD: Duration = Duration::from_secs(30);
/// The longest time for which a front can be told to park one.
const MAX_HOLD: Duration = Duration::from_mins(10);

/// How long a copy of the database took that was made while the host served.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MeasuredCopy {
    bytes: u64,
    took: Duration,
}

impl MeasuredCopy {
    /// Has a copy made and measures it. Returns what `copy` returns, too.
    pub(crate) fn measure<T, E>(
        data_dir: &Path,
        copy: impl FnOnce() -> Result<T, E>,
    ) -> Result<(T, Self), E> {
        let bytes = measure_database(data_dir);
        let began = Instant::now();
        let made = copy()?;
        let took = began.elapsed();
        Ok((made, Self { bytes, took }))
    }

    /// How long another one will take of so many bytes.
    fn scale_to(self, bytes: u64) -> Duration {
        let all = self.took.as_micros().saturating_mul(u128::from(bytes));
        let micros = all / u128::from(self.bytes.max(1));
        Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX))
    }
}

/// How long requests are parked while no host is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum HoldTime {
    /// The shortest time of the fronts, as they say it.
    Asked(Duration),
    /// Nobody could be asked: fronts that are told nothing park them for 30 s.
    Unknown,
}

impl HoldTime {
    const fn shortest(self) -> Duration {
        match self {
            Self::Asked(time) => time,
            Self::Unknown => DEFAULT_HOLD,
        }
    }

    /// The time, in words.
    pub(crate) fn describe_hold(self) -> String {
        match self {
            Self::Asked(time) => format!("fronts park requests for {time:?}"),
            Self::Unknown => format!("fronts park requests for {DEFAULT_HOLD:?} by default"),
        }
    }
}

/// How long the start of the new version may take, and the option that says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct StartLimit {
    /// The option.
    pub(crate) option: &'static str,
    /// The time.
    pub(crate) timeout: Duration,
}

/// How long no host will be there.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ExpectedPause {
    /// The size of the database.
    bytes: u64,
    /// How long the copy will take that is kept.
    copy: Duration,
    /// How long the new version took to restore a copy and migrate it: its migration alone takes no longer.
    migration: Duration,
}

impl ExpectedPause {
    /// What is to be expected of a database as it is now. `migration`: how long the new version took to restore and migrate a copy.
    pub(crate) fn expect_pause(data_dir: &Path, copy: MeasuredCopy, migration: Duration) -> Self {
        let bytes = measure_database(data_dir);
        Self {
            bytes,
            copy: copy.scale_to(bytes),
            migration,
        }
    }

    /// How long it is likely to be, without the time in which the old host ends.
    pub(crate) const fn total(self) -> Duration {
        self.copy.saturating_add(self.migration)
    }

    /// What is expected, in few words, since the reason of a step is cut to a length. Warns of what will not hold so long, and names the remedy.
    pub(crate) fn describe_pause(self, hold: HoldTime, limit: StartLimit) -> String {
        let Self {
            bytes,
            copy,
            migration,
        } = self;
        let mut text = format!(
            "about {:.1?} without a host: {} MiB copied ({copy:.1?}), then migrated (up to {migration:.1?})",
            self.total(),
            bytes.div_ceil(MIB)
        );
        if self.total() > hold.shortest() {
            let needed = self.total().saturating_mul(2);
            let remedy = if needed <= MAX_HOLD {
                format!("give them --hold-for {}", needed.as_millis())
            } else {
                "make it smaller first (`ark audit archive`)".to_owned()
            };
            let parked = hold.describe_hold();
            text = format!("{text}; WARNING: {parked}, then refuse: {remedy}");
        }
        if migration > limit.timeout {
            let StartLimit { option, timeout } = limit;
            text = format!("{text}; WARNING: a start over {timeout:?} goes back ({option})");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use ark_store::{Store, StoreConfig};

    use super::*;

    /// The most characters of the reason of a step.
    const MAX_REASON: usize = 250;

    #[test]
    fn a_pause_that_is_longer_than_requests_are_parked_is_warned_of_with_the_remedy() {
        let seconds = Duration::from_secs;
        let expect = |copy, migration| ExpectedPause {
            bytes: 4096 * MIB,
            copy: seconds(copy),
            migration: seconds(migration),
        };
        let asked = |time| HoldTime::Asked(seconds(time));
        let all =
            "about 30.0s without a host: 4096 MiB copied (20.0s), then migrated (up to 10.0s)";
        let parked = "; WARNING: fronts park requests for ";
        for (pause, hold, timeout, expected) in [
            (expect(20, 10), HoldTime::Unknown, 25, String::new()),
            (expect(20, 10), asked(30), 25, String::new()),
            (
                expect(20, 10),
                asked(29),
                25,
                format!("{parked}29s, then refuse: give them --hold-for 60000"),
            ),
            (
                expect(20, 11),
                HoldTime::Unknown,
                25,
                format!("{parked}30s by default, then refuse: give them --hold-for 62000"),
            ),
            (
                expect(300, 1),
                asked(300),
                25,
                format!("{parked}300s, then refuse: make it smaller first (`ark audit archive`)"),
            ),
            (
                expect(1, 26),
                asked(600),
                25,
                "; WARNING: a start over 25s goes back (--timeout)".to_owned(),
            ),
            // Requests are parked for no time at all.
            (
                expect(0, 1),
                asked(0),
                25,
                format!("{parked}0ns, then refuse: give them --hold-for 2000"),
            ),
        ] {
            let limit = StartLimit {
                option: "--timeout",
                timeout: seconds(timeout),
            };
            let told = pause.describe_pause(hold, limit);
            assert!(told.ends_with(&expected), "{expected}: {told}");
            assert_eq!(told.contains("WARNING"), !expected.is_empty(), "{told}");
            if pause.total() == seconds(30) {
                assert!(told.starts_with(all), "{told}");
            }
        }
        let limit = StartLimit {
            option: "--take-over-timeout",
            timeout: seconds(25),
        };
        let longest = expect(100, 120).describe_pause(HoldTime::Unknown, limit);
        assert_eq!(longest.matches("WARNING").count(), 2, "{longest}");
        assert!(longest.chars().count() <= MAX_REASON, "{longest}");
    }

    #[test]
    fn what_a_copy_took_is_measured_and_scaled_to_a_database_that_has_grown() {
        let dir = tempfile::tempdir().unwrap();
        drop(Store::open(&StoreConfig::in_dir(dir.path().to_owned())).unwrap());
        let took = Duration::from_millis(50);
        let (made, copy) = MeasuredCopy::measure(dir.path(), || {
            std::thread::sleep(took);
            Ok::<_, ()>(7)
        })
        .unwrap();
        assert_eq!(made, 7);
        assert_eq!(copy.bytes, measure_database(dir.path()));
        assert!(copy.took >= took && copy.bytes > 0, "{copy:?}");
        assert!(MeasuredCopy::measure(dir.path(), || Err::<(), _>(3)).is_err());
        let copy = MeasuredCopy {
            bytes: 1000,
            took: Duration::from_secs(2),
        };
        assert_eq!(copy.scale_to(3000), Duration::from_secs(6));
        assert_eq!(copy.scale_to(500), Duration::from_secs(1));
        let migration = Duration::from_secs(1);
        let expected = ExpectedPause::expect_pause(dir.path(), copy, migration);
        let bytes = measure_database(dir.path());
        assert_eq!(expected.total(), copy.scale_to(bytes) + migration);
        // One that could not be looked at.
        let empty = MeasuredCopy {
            bytes: 0,
            took: Duration::MAX,
        };
        assert!(empty.scale_to(u64::MAX) > Duration::from_hours(1));
    }
}
