//! The clock: the kernel says that it is synchronised, and it agrees with what was recorded and with the clocks of the neighbours that the check asks anyway.
//!
//! Where nobody says what the kernel knows, e.g. in a container, neighbours on other machines stand for it. One on this machine has the same clock, so that it
//! agrees proves nothing. One in another container of this machine has it too, and cannot be told from one on another machine: its address is another one.

use std::net::ToSocketAddrs;
use std::time::Duration;

use ark_host::redis::RedisLink;
use ark_model::ids::Millis;
use jiff::Timestamp;
use jiff::fmt::rfc2822;

use crate::exchange::programs::commands::run_bounded;
use crate::prometheus::PrometheusClient;

use super::address::{find_address, is_own_address};
use super::inputs::CheckInputs;
use super::line::CheckLines;

/// How far two clocks may be apart, in milliseconds.
const MAX_DRIFT_MS: i64 = 2_000;
/// How far two clocks may be apart, in milliseconds, by all that an answer leaves open, for the one to prove anything about the other. A date of HTTP leaves a
/// second open, and each answer the time that it took.
const MAX_UNSURE_MS: i64 = 5_000;
/// The resolution of a date of HTTP, in milliseconds.
const DATE_RESOLUTION_MS: i64 = 1_000;
/// How long a neighbour may take to say what time it is.
const TIMEOUT: Duration = Duration::from_secs(5);
/// How often a neighbour is asked whose answers take too long to tell its clock.
const ATTEMPTS: u32 = 3;
/// How long `timedatectl` may take.
const TIMEDATECTL_TIMEOUT: Duration = Duration::from_secs(5);
/// A moment before which no clock can be right: this program was not written yet (2026-01-01, in milliseconds).
const EARLIEST_MS: i64 = 1_767_225_600_000;
/// What to do about a clock that is wrong.
const REMEDY: &str =
    "keep the clock in step (timedatectl set-ntp true, chrony); the host believes it";

/// Where a neighbour is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// At an address that is none of this machine.
    Elsewhere,
    /// At one of this machine.
    Here,
    /// Its address is not known here: a proxy or a Sentinel knows it.
    Unknown,
}

/// What a neighbour said of its clock. Moments are in milliseconds since 1970.
#[derive(Debug, Clone)]
struct ClockReading {
    /// Who said it, and at which address.
    who: String,
    place: Place,
    /// Its clock when it answered: this at least, and this at most.
    theirs: (i64, i64),
    /// The clock of this machine when it was asked, and when the answer was there.
    ours: (i64, i64),
}

impl ClockReading {
    /// How far its clock is ahead of this machine's, at least and at most; negative: behind.
    const fn drift_range(&self) -> (i64, i64) {
        let least = self.theirs.0.saturating_sub(self.ours.1);
        let most = self.theirs.1.saturating_sub(self.ours.0);
        (least, most)
    }

    /// How far the two clocks are apart at least, whatever the answer leaves open.
    fn least_distance(&self) -> i64 {
        let (least, most) = self.drift_range();
        least.max(most.saturating_neg()).max(0)
    }

    /// How far they are apart at most.
    fn most_distance(&self) -> i64 {
        let (least, most) = self.drift_range();
        most.max(least.saturating_neg())
    }

    fn differs(&self) -> bool {
        self.least_distance() > MAX_DRIFT_MS
    }

    /// Why its clock proves nothing about that of this machine; `None`: it does.
    fn find_weakness(&self) -> Option<String> {
        let who = &self.who;
        match self.place {
            Place::Here => Some(format!(
                "{who} is on this machine, so its clock proves nothing"
            )),
            Place::Unknown => Some(format!(
                "where {who} is cannot be known from here, so its clock proves nothing"
            )),
            Place::Elsewhere if !self.differs() && self.most_distance() > MAX_UNSURE_MS => Some(
                format!("{who} took too long to answer for its clock to be compared"),
            ),
            Place::Elsewhere => None,
        }
    }
}

/// The clock is synchronised, and agrees with what was recorded and with the neighbours' clocks. The audit log has its times from this clock, so that alone does
/// not make the check good.
pub(super) fn check_clock(inputs: &CheckInputs, lines: &mut CheckLines) {
    if read_clock() < EARLIEST_MS {
        return lines.add_error("the clock is years behind", REMEDY);
    }
    let last = inputs
        .open_database()
        .ok()
        .flatten()
        .and_then(|store| store.last_recorded_at().ok()?);
    if let Some(Millis(last)) = last {
        let ahead = i64::try_from(last)
            .unwrap_or(i64::MAX)
            .saturating_sub(read_clock());
        if ahead > MAX_DRIFT_MS {
            lines.add_error(
                format!(
                    "the last audit row is {} s ahead of the clock",
                    ahead / 1000
                ),
                REMEDY,
            );
        }
    }
    let readings: Vec<ClockReading> = [ask_redis(inputs), ask_prometheus(inputs)]
        .into_iter()
        .flatten()
        .collect();
    judge_clock(&ask_synchronised(), &readings, last.is_some(), lines);
}

/// Judges the clock by what `timedatectl` says, or why it says nothing, and by the neighbours' clocks. `is_logged`: the audit log has a row.
fn judge_clock(
    synchronised: &Result<bool, String>,
    readings: &[ClockReading],
    is_logged: bool,
    lines: &mut CheckLines,
) {
    for reading in readings.iter().filter(|reading| reading.differs()) {
        lines.add_warning(
            format!(
                "this machine has {}, and {} {}: their clocks are {:.1} s apart",
                show_time(reading.ours.1),
                reading.who,
                show_time(reading.theirs.0),
                reading.least_distance() as f64 / 1000.0
            ),
            format!("find out which of the two is wrong, and {REMEDY}"),
        );
    }
    let proving: Vec<&ClockReading> = readings
        .iter()
        .filter(|reading| reading.find_weakness().is_none())
        .collect();
    match synchronised {
        Ok(true) if lines.is_good() => {
            let log = is_logged.then_some("the audit log");
            let neighbours = readings.iter().map(|reading| reading.who.as_str());
            let compared: Vec<&str> = log.into_iter().chain(neighbours).collect();
            let agrees = if compared.is_empty() {
                String::new()
            } else {
                format!(", and agrees with {}", compared.join(", "))
            };
            lines.add_ok(format!("synchronised{agrees}"));
        }
        Ok(false) => lines.add_warning("the clock is not synchronised", REMEDY),
        Err(problem) if proving.is_empty() => {
            let weaknesses = readings.iter().filter_map(ClockReading::find_weakness);
            let reasons: Vec<String> = std::iter::once(first_line(problem).to_owned())
                .chain(weaknesses)
                .collect();
            lines.add_warning(
                format!(
                    "whether the clock is synchronised cannot be known: {}",
                    reasons.join("; ")
                ),
                "run `timedatectl show` on the machine itself (in a container its clock is that of the machine), or name a Prometheus on another machine (--prometheus)",
            );
        }
        Err(problem) if lines.is_good() => {
            let agreeing = proving.iter().map(|reading| {
                let most = reading.most_distance() as f64 / 1000.0;
                format!("{} (within {most:.1} s)", reading.who)
            });
            let agreeing: Vec<String> = agreeing.collect();
            lines.add_ok(format!(
                "agrees with {}, at another address than this machine's; whether it is synchronised is not said here: {}",
                agreeing.join(", "),
                first_line(problem)
            ));
        }
        // A line says already what is wrong.
        Ok(true) | Err(_) => {}
    }
}

/// The first line of a message. The rest of what is told says the same again.
fn first_line(text: &str) -> &str {
    text.lines().next().unwrap_or_default()
}

/// The clock of this machine.
fn read_clock() -> i64 {
    i64::try_from(Millis::now().0).unwrap_or(i64::MAX)
}

/// A moment as people read it, in UTC and whole seconds.
fn show_time(moment: i64) -> String {
    let shown = Timestamp::from_second(moment.div_euclid(1000));
    shown.map_or_else(|_| format!("{moment} ms"), |shown| shown.to_string())
}

/// Whether the kernel's clock is synchronised, as `timedatectl` says, whichever program does that.
fn ask_synchronised() -> Result<bool, String> {
    let args = ["show", "--property=NTPSynchronized", "--value"];
    let said = run_bounded("timedatectl", &args, TIMEDATECTL_TIMEOUT)
        .map_err(|error| error.to_string())?;
    match said.trim() {
        "yes" => Ok(true),
        "no" => Ok(false),
        said => Err(format!("timedatectl says {said:?}")),
    }
}

/// Where the host of an address is. Of a name with several addresses, one that is this machine's counts.
fn find_place(address: &impl ToSocketAddrs) -> Place {
    let Ok(found) = address.to_socket_addrs() else {
        return Place::Unknown;
    };
    let mut addresses = found.peekable();
    if addresses.peek().is_none() {
        Place::Unknown
    } else if addresses.any(|found| is_own_address(found.ip())) {
        Place::Here
    } else {
        Place::Elsewhere
    }
}

/// The clock of the Redis; `None`: there is none, or it does not say.
fn ask_redis(inputs: &CheckInputs) -> Option<ClockReading> {
    let config = inputs.config.redis.as_ref()?;
    let address = &config.settings.address;
    let mut link = RedisLink::new(config.settings.clone(), TIMEOUT);
    let connection = link.connect().ok()?;
    let asked_at = read_clock();
    let (seconds, micros): (i64, i64) = redis::cmd("TIME").query(connection).ok()?;
    let answered_at = read_clock();
    let theirs = seconds.saturating_mul(1000).saturating_add(micros / 1000);
    Some(ClockReading {
        who: format!("the Redis at {}", address.shown()),
        place: address
            .host_and_port()
            .map_or(Place::Unknown, |(host, port)| {
                find_place(&(host.trim_matches(['[', ']']), port))
            }),
        theirs: (theirs, theirs),
        ours: (asked_at, answered_at),
    })
}

/// The clock of Prometheus, by the date of its answer; `None`: none is named, or it does not say. One that takes long to answer is asked again.
fn ask_prometheus(inputs: &CheckInputs) -> Option<ClockReading> {
    let url = inputs.options.prometheus.as_deref()?;
    let address = find_address(url)?;
    let prometheus = PrometheusClient::new(url).ok()?;
    let place = find_place(&address);
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let asked_at = read_clock();
        let date = prometheus.read_date(TIMEOUT).ok()??;
        let answered_at = read_clock();
        let theirs = parse_date(&date)?;
        let reading = ClockReading {
            who: format!("Prometheus at {address}"),
            place,
            theirs: (theirs, theirs.saturating_add(DATE_RESOLUTION_MS)),
            ours: (asked_at, answered_at),
        };
        if reading.most_distance() <= MAX_UNSURE_MS || reading.differs() {
            return Some(reading);
        }
        last = Some(reading);
    }
    last
}

/// Reads a date of HTTP (RFC 9110, section 5.6.7), in milliseconds since 1970; `None`: it is none.
fn parse_date(text: &str) -> Option<i64> {
    let parser = rfc2822::DateTimeParser::new().relaxed_weekday(true);
    let moment = parser.parse_timestamp(text.trim()).ok()?;
    Some(moment.as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::super::line::Status;
    use super::*;

    /// A moment of this machine at which a neighbour is asked.
    const NOW: i64 = 1_795_000_000_400;

    /// The answer of a Prometheus, whose date has whole seconds, to a question that took so long.
    fn read_date_of(place: Place, ahead_ms: i64, took_ms: i64) -> ClockReading {
        let date = (NOW + ahead_ms).div_euclid(1000) * 1000;
        ClockReading {
            who: "Prometheus at p:9090".to_owned(),
            place,
            theirs: (date, date + DATE_RESOLUTION_MS),
            ours: (NOW, NOW + took_ms),
        }
    }

    /// What `timedatectl` says (`None`: nothing), where Prometheus is, how far its clock is ahead and how long it took, in milliseconds; the status of the line, and a
    /// part of it.
    type ClockCase = (Option<bool>, Place, i64, i64, Status, &'static str);

    #[rustfmt::skip]
    const CLOCK_CASES: [ClockCase; 13] = [
        (Some(true), Place::Here, 0, 10, Status::Ok, "synchronised, and agrees with the audit log, Prometheus at p:9090"),
        // The second of the date and the time of the answer are nobody's fault.
        (Some(true), Place::Elsewhere, 2_500, 100, Status::Ok, "synchronised"),
        (Some(true), Place::Elsewhere, 2_700, 100, Status::Warning, "s apart"),
        (Some(true), Place::Elsewhere, 2_700, 3_000, Status::Ok, "synchronised"),
        (Some(true), Place::Elsewhere, -3_500, 100, Status::Warning, "s apart"),
        (Some(true), Place::Elsewhere, -60_000, 10, Status::Warning, "this machine has 2026-11-18T11:06:40Z, and Prometheus at p:9090 2026-11-18T11:05:40Z: their clocks are 59.4 s apart"),
        (Some(true), Place::Here, 60_000, 10, Status::Warning, "s apart"),
        (Some(false), Place::Elsewhere, 0, 10, Status::Warning, "not synchronised"),
        (None, Place::Elsewhere, 0, 10, Status::Ok, "agrees with Prometheus at p:9090 (within 0.6 s), at another address than this machine's; whether it is synchronised is not said here: no timedatectl"),
        (None, Place::Elsewhere, 60_000, 10, Status::Warning, "s apart"),
        (None, Place::Elsewhere, 0, 4_900, Status::Warning, "took too long"),
        (None, Place::Here, 0, 10, Status::Warning, "cannot be known: no timedatectl; Prometheus at p:9090 is on this machine, so its clock proves nothing"),
        (None, Place::Unknown, 0, 10, Status::Warning, "cannot be known from here"),
    ];

    /// What `timedatectl` says, or why it says nothing.
    fn read_said(said: Option<bool>) -> Result<bool, String> {
        said.ok_or_else(|| "no timedatectl\nand more".to_owned())
    }

    #[test]
    fn clocks_are_compared_by_what_an_answer_leaves_open() {
        for (said, place, ahead_ms, took_ms, expected, told) in CLOCK_CASES {
            let reading = read_date_of(place, ahead_ms, took_ms);
            let mut lines = CheckLines::for_check("clock");
            judge_clock(&read_said(said), &[reading], true, &mut lines);
            let [line] = &lines.found[..] else {
                panic!("{said:?}, {ahead_ms}: {:?}", lines.found);
            };
            assert_eq!(line.status, expected, "{line:?}");
            assert!(line.found.contains(told), "{told}: {}", line.found);
        }
        // Nobody was asked.
        let mut lines = CheckLines::for_check("clock");
        judge_clock(&read_said(None), &[], true, &mut lines);
        assert!(!lines.is_good());
    }

    #[test]
    fn a_neighbour_that_differs_counts_beside_one_that_agrees() {
        let readings = [
            read_date_of(Place::Elsewhere, 0, 10),
            read_date_of(Place::Here, 60_000, 10),
        ];
        let mut lines = CheckLines::for_check("clock");
        judge_clock(&Err("none".to_owned()), &readings, false, &mut lines);
        let found: Vec<_> = lines.found.iter().map(|line| line.status).collect();
        assert_eq!(found, [Status::Warning]);
    }

    #[test]
    fn dates_of_http_are_read() {
        for (text, expected) in [
            ("Wed, 18 Nov 2026 11:06:40 GMT", Some(1_795_000_000_000)),
            (" Wed, 18 Nov 2026 11:06:40 GMT ", Some(1_795_000_000_000)),
            ("now", None),
            ("", None),
        ] {
            assert_eq!(parse_date(text), expected, "{text:?}");
        }
    }

    #[test]
    fn a_neighbour_is_here_elsewhere_or_unknown() {
        for (address, expected) in [
            ("127.0.0.1:9090", Place::Here),
            ("localhost:9090", Place::Here),
            ("[::ffff:127.0.0.1]:9090", Place::Here),
            ("192.0.2.1:9090", Place::Elsewhere),
            ("ark.invalid:9090", Place::Unknown),
        ] {
            assert_eq!(find_place(&address), expected, "{address}");
        }
    }
}
