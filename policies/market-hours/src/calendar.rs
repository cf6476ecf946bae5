//! Whether a market is open, and when it will be.

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;

use crate::settings::{Calendar, Day, EarlyClose, Session, TimeOfDay};

/// How many days ahead the next session is looked for.
const AHEAD: usize = 31;

/// What a market is at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Market {
    /// A session is on.
    Open {
        /// When it ends.
        closes: Timestamp,
    },
    /// None is.
    Closed {
        /// Why not, in words.
        why: &'static str,
        /// When the next one begins, if that is within [`AHEAD`] days.
        opens: Option<Timestamp>,
    },
}

/// From when to when a session is on.
#[derive(Debug, Clone, Copy)]
struct Interval {
    open: Timestamp,
    close: Timestamp,
    cut: bool,
}

/// What a calendar's market is at a moment. `None`: the moment is at the very end of the calendar, where there is no next day.
pub fn find_market(calendar: &Calendar, zone: &TimeZone, now: Timestamp) -> Option<Market> {
    let today = zone.to_datetime(now).date();
    let yesterday = today.yesterday().ok()?;
    let mut closed_early = false;
    let mut closes: Option<Timestamp> = None;
    for day in [yesterday, today] {
        for interval in beginning_on(calendar, zone, day) {
            let interval = interval?;
            if interval.open <= now && now < interval.close {
                closes = closes.max(Some(interval.close));
            }
            closed_early |= interval.cut && interval.close <= now && day == today;
        }
    }
    if let Some(closes) = closes {
        return Some(Market::Open { closes });
    }
    let why = if calendar.holidays.contains(&today) {
        "a holiday"
    } else if closed_early {
        "an early close"
    } else {
        "outside its sessions"
    };
    Some(Market::Closed {
        why,
        opens: next_opening(calendar, zone, today, now),
    })
}

/// Whether an early close ends a session.
pub fn ends_early(calendar: &Calendar, zone: &TimeZone, early: EarlyClose) -> bool {
    let whole = Calendar {
        early_closes: Vec::new(),
        ..calendar.clone()
    };
    instant_at(zone, early.date, early.close)
        .and_then(|at| find_market(&whole, zone, at))
        .is_some_and(|market| matches!(market, Market::Open { .. }))
}

/// A moment in words, in the zone's time.
pub fn format_moment(zone: &TimeZone, at: Timestamp) -> String {
    let local = zone.to_datetime(at);
    let zone = zone.iana_name().unwrap_or("UTC");
    format!(
        "{:?} {} {:02}:{:02} {zone}",
        Day::from(local.date().weekday()),
        local.date(),
        local.hour(),
        local.minute()
    )
}

fn next_opening(
    calendar: &Calendar,
    zone: &TimeZone,
    today: Date,
    now: Timestamp,
) -> Option<Timestamp> {
    let mut day = today;
    for _ in 0..=AHEAD {
        let first = beginning_on(calendar, zone, day)
            .flatten()
            .filter(|interval| interval.open > now && interval.open < interval.close)
            .map(|interval| interval.open)
            .min();
        if first.is_some() {
            return first;
        }
        day = day.tomorrow().ok()?;
    }
    None
}

/// The sessions that begin on a day. `None` in the place of one that the end of the calendar cuts off.
fn beginning_on<'a>(
    calendar: &'a Calendar,
    zone: &'a TimeZone,
    day: Date,
) -> impl Iterator<Item = Option<Interval>> + 'a {
    let held = !calendar.holidays.contains(&day);
    let on = move |session: &&Session| held && session.days.contains(&day.weekday().into());
    calendar
        .sessions
        .iter()
        .filter(on)
        .map(move |session| session_interval(calendar, zone, day, session))
}

fn session_interval(
    calendar: &Calendar,
    zone: &TimeZone,
    day: Date,
    session: &Session,
) -> Option<Interval> {
    let tomorrow = day.tomorrow().ok()?;
    let open = instant_at(zone, day, session.open)?;
    let overnight = session.close <= session.open;
    let last = if overnight { tomorrow } else { day };
    let whole = instant_at(zone, last, session.close)?;
    let mut close = whole;
    if overnight && calendar.holidays.contains(&tomorrow) {
        close = close.min(start_of_day(zone, tomorrow)?);
    }
    for early in &calendar.early_closes {
        if early.date == day || early.date == tomorrow {
            let at = instant_at(zone, early.date, early.close)?;
            if open <= at {
                close = close.min(at);
            }
        }
    }
    Some(Interval {
        open,
        close,
        cut: close < whole,
    })
}

fn instant_at(zone: &TimeZone, day: Date, time: TimeOfDay) -> Option<Timestamp> {
    match time.clock() {
        Some((hour, minute)) => zone.to_timestamp(day.at(hour, minute, 0, 0)).ok(),
        None => start_of_day(zone, day.tomorrow().ok()?),
    }
}

fn start_of_day(zone: &TimeZone, day: Date) -> Option<Timestamp> {
    zone.to_timestamp(day.at(0, 0, 0, 0)).ok()
}
