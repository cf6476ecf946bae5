//! What an operator sets up.

use std::collections::BTreeSet;
use std::fmt;

use ark_guest::policy::{SettingsProblem, SymbolForms, SymbolPattern};
use jiff::civil::{Date, Weekday};
use jiff::tz::{TimeZone, TimeZoneDatabase};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::calendar;

/// One of the two ways of comparing a pattern with a symbol.
type Compare = fn(&SymbolPattern, &SymbolForms) -> bool;

/// The action types that are bound to the hours unless the settings say otherwise.
const TRADES: [&str; 5] = ["trade", "order", "buy", "sell", "open_position"];
/// Minutes of a day.
const DAY: u16 = 24 * 60;

/// The settings: see the crate's documentation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// The calendars; the first that means an action counts.
    pub calendars: Vec<Calendar>,
    /// The action types that are bound to the hours; `None`: the trade family.
    pub actions: Option<Vec<String>>,
    /// What of actions that no calendar means.
    pub unlisted: Unlisted,
}

/// When something is open.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calendar {
    /// Its name, for answers.
    pub name: String,
    /// The symbols that it means.
    #[serde(default)]
    pub symbols: Vec<SymbolPattern>,
    /// It means actions too that concern no symbol.
    #[serde(default)]
    pub without_symbol: bool,
    /// The time zone: a name of IANA's database.
    pub zone: String,
    /// When it is open.
    pub sessions: Vec<Session>,
    /// When no session begins.
    #[serde(default, deserialize_with = "deserialize_dates")]
    pub holidays: BTreeSet<Date>,
    /// When it closes before its time.
    #[serde(default)]
    pub early_closes: Vec<EarlyClose>,
    /// What of actions outside the sessions.
    #[serde(default)]
    pub outside: Outside,
}

/// A time of the week in which a market is open.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Session {
    /// The days on which it begins; without it, each.
    #[serde(default = "every_day")]
    pub days: Vec<Day>,
    /// When it begins.
    pub open: TimeOfDay,
    /// When it ends: on the next day, where that is not later than it begins.
    pub close: TimeOfDay,
}

/// A session that ends before its time.
#[derive(Debug, Clone, Copy, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EarlyClose {
    /// The day on which it ends.
    #[serde(deserialize_with = "deserialize_date")]
    pub date: Date,
    /// When it ends.
    pub close: TimeOfDay,
}

/// A day of the week.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "days")]
pub enum Day {
    Mon,
    Tue,
    Wed,
    Thu,
    Fri,
    Sat,
    Sun,
}

/// What of actions outside the sessions.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Outside {
    /// They are denied.
    #[default]
    Deny,
    /// They wait for an approval.
    Hold,
}

/// What of actions that no calendar means.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unlisted {
    /// They are denied.
    #[default]
    Deny,
    /// They wait for an approval.
    Hold,
    /// They are allowed at any time.
    Allow,
}

/// A time of a day, from 00:00 to 24:00, in minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct TimeOfDay(u16);

impl TimeOfDay {
    /// Hour and minute; the end of the day is `None`.
    #[must_use]
    pub fn clock(self) -> Option<(i8, i8)> {
        let hour = i8::try_from(self.0 / 60).ok()?;
        let minute = i8::try_from(self.0 % 60).ok()?;
        (self.0 < DAY).then_some((hour, minute))
    }

    fn parse(text: &str) -> Option<Self> {
        let (hour, minute) = text.split_once(':')?;
        let digits = |text: &str| text.len() == 2 && text.bytes().all(|b| b.is_ascii_digit());
        if !digits(hour) || !digits(minute) {
            return None;
        }
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        let minutes = hour * 60 + minute;
        (minute < 60 && minutes <= DAY).then_some(Self(minutes))
    }
}

impl fmt::Display for TimeOfDay {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:02}:{:02}", self.0 / 60, self.0 % 60)
    }
}

impl<'de> Deserialize<'de> for TimeOfDay {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| {
            D::Error::custom(format_args!(
                "is {:?}; give a time of day from 00:00 to 24:00, e.g. 09:30",
                clip_text(&text)
            ))
        })
    }
}

/// A date in text.
struct CivilDate(Date);

impl<'de> Deserialize<'de> for CivilDate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let read = (text.len() == 10).then(|| text.parse().ok()).flatten();
        read.map(Self).ok_or_else(|| {
            D::Error::custom(format_args!(
                "is {:?}; give a date of the calendar, e.g. 2026-12-25",
                clip_text(&text)
            ))
        })
    }
}

fn deserialize_date<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Date, D::Error> {
    CivilDate::deserialize(deserializer).map(|CivilDate(date)| date)
}

fn deserialize_dates<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<BTreeSet<Date>, D::Error> {
    let dates = Vec::<CivilDate>::deserialize(deserializer)?;
    Ok(dates.into_iter().map(|CivilDate(date)| date).collect())
}

fn every_day() -> Vec<Day> {
    use Day::{Fri, Mon, Sat, Sun, Thu, Tue, Wed};
    vec![Mon, Tue, Wed, Thu, Fri, Sat, Sun]
}

fn clip_text(text: &str) -> String {
    text.chars().take(60).collect()
}

impl From<Weekday> for Day {
    fn from(day: Weekday) -> Self {
        match day {
            Weekday::Monday => Self::Mon,
            Weekday::Tuesday => Self::Tue,
            Weekday::Wednesday => Self::Wed,
            Weekday::Thursday => Self::Thu,
            Weekday::Friday => Self::Fri,
            Weekday::Saturday => Self::Sat,
            Weekday::Sunday => Self::Sun,
        }
    }
}

impl Calendar {
    /// The zone, if there is one of this name.
    #[must_use]
    pub fn time_zone(&self) -> Option<TimeZone> {
        TimeZoneDatabase::bundled().get(&self.zone).ok()
    }

    fn means(&self, symbol: Option<&SymbolForms>, compare: Compare) -> bool {
        match symbol {
            Some(symbol) => self.symbols.iter().any(|pattern| compare(pattern, symbol)),
            None => self.without_symbol,
        }
    }

    fn problems(&self, field: &str, problems: &mut Vec<SettingsProblem>) {
        let mut add = |name: &str, problem: String, remedy: &str| {
            problems.push(SettingsProblem::new(
                format!("{field}.{name}"),
                problem,
                remedy,
            ));
        };
        if self.name.is_empty() || self.name.len() > 64 || self.name.chars().any(char::is_control) {
            add(
                "name",
                format!("is {:?}", clip_text(&self.name)),
                "give 1 to 64 bytes without control characters",
            );
        }
        if self.symbols.is_empty() && !self.without_symbol {
            add(
                "symbols",
                "is empty, so the calendar means nothing".to_owned(),
                "name symbols, e.g. [\"*\"], or give without_symbol = true",
            );
        }
        if self.sessions.is_empty() {
            add(
                "sessions",
                "is empty, so the market never opens".to_owned(),
                "give one, e.g. {\"open\": \"00:00\", \"close\": \"24:00\"} for round the clock",
            );
        }
        for (index, session) in self.sessions.iter().enumerate() {
            if session.days.is_empty() {
                add(
                    &format!("sessions[{index}].days"),
                    "is empty".to_owned(),
                    "name days, mon to sun, or leave it away for each day",
                );
            }
            if session.open.clock().is_none() {
                add(
                    &format!("sessions[{index}].open"),
                    "is 24:00, the end of the day".to_owned(),
                    "give 00:00 on the day after",
                );
            }
        }
        let Some(zone) = self.time_zone() else {
            add(
                "zone",
                format!("is {:?}, which is no time zone", clip_text(&self.zone)),
                "give a name of IANA's time zone database, e.g. America/New_York or UTC",
            );
            return;
        };
        for (index, early) in self.early_closes.iter().enumerate() {
            // A half-holiday on a day without trading is a wrong date, and a full day of trading that nobody wanted.
            if !calendar::ends_early(self, &zone, *early) {
                add(
                    &format!("early_closes[{index}]"),
                    format!("is {} {}, when no session is open", early.date, early.close),
                    "check the date and the time",
                );
            }
        }
    }
}

impl Settings {
    /// Whether an action type is bound to the hours.
    #[must_use]
    pub fn restricts(&self, action_type: &str) -> bool {
        match &self.actions {
            Some(actions) => actions.iter().any(|action| action == action_type),
            None => TRADES.contains(&action_type),
        }
    }

    /// The calendars that count, each of which has to be open: the first that means the symbol, `None` if none does; and the first that could
    /// mean it, where that is another one.
    #[must_use]
    pub fn list_calendars(&self, symbol: Option<&str>) -> Vec<Option<&Calendar>> {
        let symbol = symbol.map(SymbolForms::new);
        let find = |compare: Compare| {
            let mut calendars = self.calendars.iter();
            calendars.find(|calendar| calendar.means(symbol.as_ref(), compare))
        };
        let meant = find(SymbolPattern::matches);
        let could_be = find(SymbolPattern::could_match);
        let is_other = could_be.is_some_and(|other| meant.is_none_or(|meant| meant != other));
        let other = is_other.then_some(could_be);
        std::iter::once(meant).chain(other).collect()
    }

    /// What is wrong with them beyond their form.
    #[must_use]
    pub fn problems(&self) -> Vec<SettingsProblem> {
        let mut problems = Vec::new();
        for (index, calendar) in self.calendars.iter().enumerate() {
            let field = format!("calendars[{index}]");
            calendar.problems(&field, &mut problems);
            let before = &self.calendars[..index];
            if before.iter().any(|other| other.name == calendar.name) {
                problems.push(SettingsProblem::new(
                    format!("{field}.name"),
                    format!("is {:?}, as another's", clip_text(&calendar.name)),
                    "give each calendar a name of its own",
                ));
            }
            for (place, pattern) in calendar.symbols.iter().enumerate() {
                let taken = before.iter().find(|other| {
                    other.symbols.iter().any(|earlier| {
                        earlier == pattern || earlier.as_str().trim_matches('*').is_empty()
                    })
                });
                if let Some(other) = taken {
                    problems.push(SettingsProblem::new(
                        format!("{field}.symbols[{place}]"),
                        format!(
                            "is {pattern}, which {:?} means before it",
                            clip_text(&other.name)
                        ),
                        "put the more particular calendar first, or take this pattern off",
                    ));
                }
            }
        }
        for (index, action) in self.actions.iter().flatten().enumerate() {
            let fits = action.len() <= 64
                && action.starts_with(|c: char| c.is_ascii_lowercase())
                && action
                    .bytes()
                    .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b"_.-".contains(&b));
            if !fits {
                problems.push(SettingsProblem::new(
                    format!("actions[{index}]"),
                    format!("is {:?}, which is no action type", clip_text(action)),
                    "give e.g. buy or close_position",
                ));
            }
        }
        problems
    }
}
