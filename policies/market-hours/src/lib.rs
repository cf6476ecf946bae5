//! An operator policy: when which symbols may be traded.
//!
//! # Settings
//!
//! ```json
//! {
//!   "calendars": [
//!     {
//!       "name": "us-equities",
//!       "symbols": ["AAPL", "MSFT", "*.US"],
//!       "zone": "America/New_York",
//!       "sessions": [{"days": ["mon", "tue", "wed", "thu", "fri"], "open": "09:30", "close": "16:00"}],
//!       "holidays": ["2026-12-25", "2027-01-01"],
//!       "early_closes": [{"date": "2026-11-27", "close": "13:00"}],
//!       "outside": "deny"
//!     },
//!     {"name": "crypto", "symbols": ["BTC-*", "ETH-*"], "zone": "UTC", "sessions": [{"open": "00:00", "close": "24:00"}]},
//!     {
//!       "name": "office", "without_symbol": true, "zone": "Europe/Berlin", "outside": "hold",
//!       "sessions": [{"days": ["mon", "tue", "wed", "thu", "fri"], "open": "08:00", "close": "18:00"}]
//!     }
//!   ],
//!   "actions": ["trade", "order", "buy", "sell", "open_position", "execute_code"],
//!   "unlisted": "deny"
//! }
//! ```
//!
//! * `calendars`: the first one that means an action counts. It means those whose symbol one of its `symbols` fits
//!   ([`SymbolPattern`](ark_guest::policy::SymbolPattern): a name is meant in every spelling, `*` stands for any characters) and, with
//!   `without_symbol`, those that concern none. Where a symbol without separators could be one that an earlier calendar means (`EURUSD` for
//!   `EUR-*`), that calendar counts as well: both must be open.
//!   * `zone`: a name of IANA's time zone database. Its rules are part of this component; a new version of them is a new component.
//!   * `sessions`: from `open` up to `close`, in the zone's time, on `days` (each day, where none are given). A `close` that is not later than
//!     `open` is on the next day: `{"days": ["sun"], "open": "17:00", "close": "16:00"}` begins on Sunday and ends on Monday. Where clocks are
//!     put forward, a time that does not exist is the moment as long after the change; of one that exists twice the first counts.
//!   * `holidays`: no session begins on that day, and what is open from the day before ends at midnight.
//!   * `early_closes`: a session that is open at that moment ends there. One that begins later on the same day is held.
//!   * `outside`: `deny` (if not given) or `hold`: an action outside the sessions waits for an approval.
//! * `actions`: the action types that are bound to the hours: the trade family, if not given. `close_position` reduces risk and is possible at any
//!   time, unless it is named here.
//! * `unlisted`: what of actions that no calendar means: `deny` (if not given, so that without settings every trade is denied), `hold` or
//!   `allow`.
//!
//! # Rules
//!
//! | rule | fires when |
//! |---|---|
//! | 1 `market_open` | the action comes outside the sessions of a calendar that denies it then, or no calendar means it and `unlisted` is `deny` |
//! | 2 `market_open_or_approved` (hold) | the same where it is `hold`, and nobody approved the action |
//!
//! The limit says when the market opens next. The time is the fact `now_ms`, so that a verdict can be reproduced.

mod calendar;
mod settings;

use ark_guest::policy::{
    self, Action, Answer, Approval, ConfigurablePolicy, Facts, Metadata, Parameters, RuleSpec,
    SettingsProblem, Severity, Verdict,
};
use jiff::Timestamp;

use calendar::{Market, format_moment};
pub use settings::{Calendar, Day, EarlyClose, Outside, Session, Settings, Unlisted};

/// The policy.
#[derive(Debug)]
pub struct MarketHours;

/// What a rule is about.
const RULES: [RuleSpec<Unlisted>; 2] = [
    RuleSpec {
        number: 1,
        name: "market_open",
        category: "market_hours",
        severity: Severity::High,
        hold: false,
        description: "An action is carried out while its market is open, where the calendar denies it at other times.",
        judge: Unlisted::Deny,
    },
    RuleSpec {
        number: 2,
        name: "market_open_or_approved",
        category: "market_hours",
        severity: Severity::High,
        hold: true,
        description: "An action is carried out while its market is open, or with an approval, where the calendar holds it at other times.",
        judge: Unlisted::Hold,
    },
];

impl ConfigurablePolicy for MarketHours {
    type Settings = Settings;

    fn metadata() -> Metadata {
        policy::describe("market-hours", env!("CARGO_PKG_VERSION"), &RULES)
    }

    fn validate(settings: &Settings) -> Vec<SettingsProblem> {
        settings.problems()
    }

    fn evaluate(settings: &Settings, action: &Action, facts: &Facts) -> Verdict {
        let standings = judge_action(settings, action, facts);
        policy::judge(&RULES, |rule| {
            let mut of_rule = standings.iter().filter(|found| found.of_rule == rule.judge);
            let first = of_rule.clone().next();
            of_rule
                .find(|found| found.stops)
                .or(first)
                .map_or_else(Answer::not_applicable, |found| found.answer.clone())
        })
    }
}

/// How an action stands with one calendar, or with none.
struct Standing {
    /// The rule it falls under. What falls under `Allow` is allowed.
    of_rule: Unlisted,
    /// Whether the market is closed, or nobody knows.
    stops: bool,
    answer: Answer,
}

/// How the action stands with each calendar that counts.
fn judge_action(settings: &Settings, action: &Action, facts: &Facts) -> Vec<Standing> {
    if !settings.restricts(&action.action_type) {
        return Vec::new();
    }
    let symbol = symbol_of(action);
    let calendars = settings.list_calendars(symbol);
    let judge = |calendar: Option<&Calendar>| match calendar {
        Some(calendar) => judge_calendar(calendar, facts),
        None => Standing {
            of_rule: settings.unlisted,
            stops: settings.unlisted != Unlisted::Allow,
            answer: fires_unless_approved(settings.unlisted, facts)
                .observed(symbol.unwrap_or("no symbol"))
                .limit("no calendar means it"),
        },
    };
    calendars.into_iter().map(judge).collect()
}

fn judge_calendar(calendar: &Calendar, facts: &Facts) -> Standing {
    let of_rule = match calendar.outside {
        Outside::Deny => Unlisted::Deny,
        Outside::Hold => Unlisted::Hold,
    };
    let stopped = |answer: Answer| Standing {
        of_rule,
        stops: true,
        answer,
    };
    let now = i64::try_from(facts.now_ms)
        .ok()
        .and_then(|now| Timestamp::from_millisecond(now).ok());
    let Some(now) = now else {
        return stopped(Answer::error("now_ms is no moment of the calendar"));
    };
    let Some(zone) = calendar.time_zone() else {
        return stopped(Answer::error(format!("{} is no time zone", calendar.zone)));
    };
    let name = &calendar.name;
    let observed = format_moment(&zone, now);
    match calendar::find_market(calendar, &zone, now) {
        None => stopped(Answer::error("now_ms is at the end of the calendar").observed(observed)),
        Some(Market::Open { closes }) => Standing {
            of_rule,
            stops: false,
            answer: Answer::passes()
                .limit(format!("{name} closes {}", format_moment(&zone, closes)))
                .observed(observed),
        },
        Some(Market::Closed { why, opens }) => {
            let opens = opens.map_or_else(
                || "does not open within a month".to_owned(),
                |opens| format!("opens {}", format_moment(&zone, opens)),
            );
            stopped(
                fires_unless_approved(of_rule, facts)
                    .limit(format!("{name} is closed ({why}) and {opens}"))
                    .observed(observed),
            )
        }
    }
}

/// What is held has to pass once it is approved.
fn fires_unless_approved(of_rule: Unlisted, facts: &Facts) -> Answer {
    Answer::fires_if(of_rule != Unlisted::Hold || facts.approval == Approval::None)
}

fn symbol_of(action: &Action) -> Option<&str> {
    match &action.parameters {
        Parameters::Trade(trade) => Some(&trade.symbol),
        Parameters::ClosePosition(close) => Some(&close.symbol),
        Parameters::Message(message) => message.symbol.as_deref(),
        _ => None,
    }
}

ark_guest::export_configurable_policy!(MarketHours);
