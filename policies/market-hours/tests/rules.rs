//! Sessions, holidays, early closes and changes of the clocks, at their very moments; each setting; and what is refused as settings.

use ark_guest::policy::sample::{buy, close_position, custom, message};
use ark_guest::policy::{
    Action, Approval, ConfigurablePolicy, Facts, RuleAnswer, RuleResult, Value, read_settings,
};
use ark_market_hours::{MarketHours, Settings};
use jiff::Timestamp;

const SETTINGS: &str = r#"{
    "calendars": [
        {
            "name": "us-equities", "symbols": ["AAPL", "*.US"], "zone": "America/New_York",
            "sessions": [{"days": ["mon", "tue", "wed", "thu", "fri"], "open": "09:30", "close": "16:00"}],
            "holidays": ["2026-11-26", "2026-12-25"],
            "early_closes": [{"date": "2026-11-27", "close": "13:00"}]
        },
        {
            "name": "futures", "symbols": ["ES-*"], "zone": "America/Chicago", "outside": "hold",
            "sessions": [{"days": ["sun", "mon", "tue", "wed", "thu"], "open": "17:00", "close": "16:00"}],
            "holidays": ["2026-12-25"],
            "early_closes": [{"date": "2026-11-26", "close": "12:00"}]
        },
        {"name": "crypto", "symbols": ["BTC-*"], "zone": "UTC", "sessions": [{"open": "00:00", "close": "24:00"}]},
        {"name": "early-birds", "symbols": ["DST"], "zone": "America/New_York", "sessions": [{"open": "02:30", "close": "03:00"}]},
        {"name": "office", "without_symbol": true, "zone": "Europe/Berlin", "sessions": [{"open": "08:00", "close": "18:00"}]}
    ],
    "actions": ["buy", "execute", "message"]
}"#;

fn settings(text: &str) -> Settings {
    read_settings::<MarketHours>(text).expect("settings")
}

fn answers(settings: &Settings, at: &str, action: &Action, approval: Approval) -> Vec<RuleAnswer> {
    let at: Timestamp = at.parse().expect("a moment");
    let facts = Facts {
        now_ms: u64::try_from(at.as_millisecond()).expect("after 1970"),
        approval,
        ..Facts::default()
    };
    MarketHours::evaluate(settings, action, &facts).answers
}

fn found(settings: &Settings, at: &str, action: &Action) -> [RuleResult; 2] {
    let answers = answers(settings, at, action, Approval::None);
    [answers[0].answer, answers[1].answer]
}

#[test]
fn sessions_begin_and_end_at_their_moments() {
    use RuleResult::{Hold, NotApplicable as Na, Pass, Violation as No};
    let settings = settings(SETTINGS);
    for (symbol, at, expected) in [
        // Winter: New York is UTC-5. Open at the first moment, closed at the last.
        ("AAPL", "2026-11-25T14:29:59.999Z", [No, Na]),
        ("AAPL", "2026-11-25T14:30:00Z", [Pass, Na]),
        ("X.US", "2026-11-25T20:59:59.999Z", [Pass, Na]),
        ("X.US", "2026-11-25T21:00:00Z", [No, Na]),
        // Summer: UTC-4.
        ("AAPL", "2026-07-01T13:30:00Z", [Pass, Na]),
        ("AAPL", "2026-07-01T20:00:00Z", [No, Na]),
        // A holiday, an early close, a weekend.
        ("AAPL", "2026-11-26T15:00:00Z", [No, Na]),
        ("AAPL", "2026-11-27T17:59:59Z", [Pass, Na]),
        ("AAPL", "2026-11-27T18:00:00Z", [No, Na]),
        ("AAPL", "2026-11-28T15:00:00Z", [No, Na]),
        // Over midnight, Sunday evening to Friday afternoon, Chicago: UTC-6.
        ("ES-M6", "2026-11-22T22:59:59Z", [Na, Hold]),
        ("ES-M6", "2026-11-22T23:00:00Z", [Na, Pass]),
        ("ES-M6", "2026-11-23T12:00:00Z", [Na, Pass]),
        ("ES-M6", "2026-11-23T22:00:00Z", [Na, Hold]),
        ("ES-M6", "2026-11-23T23:00:00Z", [Na, Pass]),
        ("ES-M6", "2026-11-27T21:59:59Z", [Na, Pass]),
        ("ES-M6", "2026-11-27T22:00:00Z", [Na, Hold]),
        // An early close ends the session that is on; the one of the evening is held.
        ("ES-M6", "2026-11-26T17:59:59Z", [Na, Pass]),
        ("ES-M6", "2026-11-26T18:00:00Z", [Na, Hold]),
        ("ES-M6", "2026-11-26T23:00:00Z", [Na, Pass]),
        // A holiday ends the session of the evening before at midnight, and none begins on it.
        ("ES-M6", "2026-12-25T05:59:59Z", [Na, Pass]),
        ("ES-M6", "2026-12-25T06:00:00Z", [Na, Hold]),
        ("ES-M6", "2026-12-25T23:30:00Z", [Na, Hold]),
        // Round the clock.
        ("BTC-USD", "2026-12-25T00:00:00Z", [Pass, Na]),
        ("BTC-USD", "2026-12-25T23:59:59.999Z", [Pass, Na]),
        // 02:30 does not exist on 8 March 2026 in New York: it is as long after the change, 03:30 by the clock, and 03:00 is before it.
        ("DST", "2026-03-08T07:15:00Z", [No, Na]),
        ("DST", "2026-03-07T07:30:00Z", [Pass, Na]),
        ("DST", "2026-03-09T06:30:00Z", [Pass, Na]),
        // No calendar means it.
        ("DOGE-USD", "2026-11-25T15:00:00Z", [No, Na]),
    ] {
        assert_eq!(
            found(&settings, at, &buy(symbol, 0.01)),
            expected,
            "{symbol} {at}"
        );
    }
}

#[test]
fn actions_are_bound_as_the_settings_say() {
    use RuleResult::{NotApplicable as Na, Pass, Violation as No};
    let settings = settings(SETTINGS);
    let night = "2026-11-25T02:00:00Z";
    for (action, at, expected) in [
        (custom("execute", "{}"), night, [No, Na]),
        (custom("execute", "{}"), "2026-11-25T12:00:00Z", [Pass, Na]),
        (message("notes", "hello"), night, [No, Na]),
        (custom("other", "{}"), night, [Na, Na]),
        (close_position("AAPL"), night, [Na, Na]),
    ] {
        assert_eq!(found(&settings, at, &action), expected, "{action:?}");
    }
    let closing = self::settings(r#"{"actions": ["close_position"]}"#);
    assert_eq!(found(&closing, night, &close_position("AAPL")), [No, Na]);
    assert_eq!(found(&closing, night, &buy("AAPL", 0.01)), [Na, Na]);
    // Without settings every trade is denied.
    assert_eq!(
        found(&Settings::default(), night, &buy("AAPL", 0.01)),
        [No, Na]
    );
    assert_eq!(
        found(&Settings::default(), night, &message("n", "x")),
        [Na, Na]
    );
    let allowing = self::settings(r#"{"unlisted": "allow"}"#);
    assert_eq!(found(&allowing, night, &buy("AAPL", 0.01)), [Na, Na]);
    let holding = self::settings(r#"{"unlisted": "hold"}"#);
    assert_eq!(
        found(&holding, night, &buy("AAPL", 0.01)),
        [Na, RuleResult::Hold]
    );
}

#[test]
fn no_spelling_of_a_symbol_leaves_its_market() {
    use RuleResult::{Hold, NotApplicable as Na, Pass, Violation as No};
    // FX is closed on a Saturday; crypto never is; what nobody lists is allowed.
    let settings = settings(
        r#"{"calendars": [
            {"name": "fx", "symbols": ["EUR-*"], "zone": "UTC", "sessions": [{"days": ["mon", "tue", "wed", "thu", "fri"], "open": "00:00", "close": "24:00"}]},
            {"name": "gold", "symbols": ["XAU-USD"], "zone": "UTC", "outside": "hold", "sessions": [{"days": ["mon"], "open": "08:00", "close": "16:00"}]},
            {"name": "crypto", "symbols": ["*-USDT"], "zone": "UTC", "sessions": [{"open": "00:00", "close": "24:00"}]}
        ], "unlisted": "allow"}"#,
    );
    let (saturday, monday) = ("2026-11-28T15:00:00Z", "2026-11-23T12:00:00Z");
    for (symbol, at, expected) in [
        ("EUR-USD", saturday, [No, Na]),
        ("eur/usd", saturday, [No, Na]),
        ("EURUSD", saturday, [No, Na]),
        ("\u{ff25}URUSD", saturday, [No, Na]),
        // Two calendars could mean it: both have to be open.
        ("EURUSDT", saturday, [No, Na]),
        ("EUR-USDT", monday, [Pass, Na]),
        ("BTC/USDT", saturday, [Pass, Na]),
        ("XAU/USD", saturday, [Na, Hold]),
        ("xauusd", saturday, [Na, Hold]),
        ("xauusd", monday, [Na, Pass]),
        ("JPYCHF", saturday, [Na, Na]),
    ] {
        assert_eq!(
            found(&settings, at, &buy(symbol, 0.01)),
            expected,
            "{symbol} {at}"
        );
    }
}

#[test]
fn what_is_held_passes_once_it_is_approved_and_what_is_denied_does_not() {
    let settings = settings(SETTINGS);
    let saturday = "2026-11-28T15:00:00Z";
    for approval in [Approval::Operator, Approval::Human] {
        let futures = answers(&settings, saturday, &buy("ES-M6", 0.01), approval);
        assert_eq!(futures[1].answer, RuleResult::Pass);
        let equities = answers(&settings, saturday, &buy("AAPL", 0.01), approval);
        assert_eq!(equities[0].answer, RuleResult::Violation);
    }
}

#[test]
fn answers_say_when_it_opens_and_closes() {
    let settings = settings(SETTINGS);
    for (symbol, at, rule, observed, limit) in [
        (
            "AAPL",
            "2026-11-25T15:00:00Z",
            0,
            "Wed 2026-11-25 10:00 America/New_York",
            "us-equities closes Wed 2026-11-25 16:00 America/New_York",
        ),
        (
            "AAPL",
            "2026-11-25T22:00:00Z",
            0,
            "Wed 2026-11-25 17:00 America/New_York",
            "us-equities is closed (outside its sessions) and opens Fri 2026-11-27 09:30 America/New_York",
        ),
        (
            "AAPL",
            "2026-11-26T15:00:00Z",
            0,
            "Thu 2026-11-26 10:00 America/New_York",
            "us-equities is closed (a holiday) and opens Fri 2026-11-27 09:30 America/New_York",
        ),
        (
            "AAPL",
            "2026-11-27T19:00:00Z",
            0,
            "Fri 2026-11-27 14:00 America/New_York",
            "us-equities is closed (an early close) and opens Mon 2026-11-30 09:30 America/New_York",
        ),
        (
            "ES-M6",
            "2026-11-28T15:00:00Z",
            1,
            "Sat 2026-11-28 09:00 America/Chicago",
            "futures is closed (outside its sessions) and opens Sun 2026-11-29 17:00 America/Chicago",
        ),
        (
            "DOGE-USD",
            "2026-11-28T15:00:00Z",
            0,
            "DOGE-USD",
            "no calendar means it",
        ),
    ] {
        let answer = &answers(&settings, at, &buy(symbol, 0.01), Approval::None)[rule];
        assert_eq!(
            answer.observed,
            Value::Text(observed.into()),
            "{symbol} {at}"
        );
        assert_eq!(answer.limit, Value::Text(limit.into()), "{symbol} {at}");
    }
}

#[test]
fn a_moment_outside_the_calendar_is_an_error() {
    let settings = settings(SETTINGS);
    for now_ms in [u64::MAX, 253_402_207_200_000] {
        let facts = Facts {
            now_ms,
            ..Facts::default()
        };
        let answers = MarketHours::evaluate(&settings, &buy("AAPL", 0.01), &facts).answers;
        assert_ne!(answers[0].answer, RuleResult::Pass, "{now_ms}");
        assert_ne!(answers[0].answer, RuleResult::NotApplicable, "{now_ms}");
    }
}

#[test]
fn what_is_wrong_with_settings_names_its_field() {
    let calendar = |more: &str| {
        format!(
            r#"{{"calendars": [{{"name": "x", "symbols": ["*"], "zone": "UTC", "sessions": [{{"days": ["mon"], "open": "09:00", "close": "17:00"}}]{more}}}]}}"#
        )
    };
    let other = |from: &str, to: &str| calendar("").replace(from, to);
    for (text, expected) in [
        (
            r#"{"calendar": []}"#.to_owned(),
            "calendar: is not known; use one of `calendars`, `actions`, `unlisted`",
        ),
        (
            r#"{"unlisted": "maybe"}"#.to_owned(),
            "unlisted: is \"maybe\"; use one of `deny`, `hold`, `allow`",
        ),
        (
            r#"{"actions": ["Buy"]}"#.to_owned(),
            "actions[0]: is \"Buy\", which is no action type; give e.g. buy",
        ),
        (
            other("UTC", "America/Gotham"),
            "calendars[0].zone: is \"America/Gotham\", which is no time zone; give a name of IANA's",
        ),
        (
            other("\"09:00\"", "\"9:00\""),
            "calendars[0].sessions[0].open: is \"9:00\"; give a time of day from 00:00 to 24:00",
        ),
        (
            other("\"17:00\"", "\"25:00\""),
            "calendars[0].sessions[0].close: is \"25:00\"; give a time of day",
        ),
        (
            other("\"17:00\"", "17"),
            "calendars[0].sessions[0].close: is integer `17`; give a string",
        ),
        (
            other("\"09:00\"", "\"24:00\""),
            "calendars[0].sessions[0].open: is 24:00, the end of the day",
        ),
        (
            other("\"mon\"", "\"monday\""),
            "calendars[0].sessions[0].days[0]: is \"monday\"; use one of `mon`, `tue`",
        ),
        (
            other("[\"mon\"]", "[]"),
            "calendars[0].sessions[0].days: is empty",
        ),
        (
            other("[\"*\"]", "[]"),
            "calendars[0].symbols: is empty, so the calendar means nothing",
        ),
        (
            calendar(r#", "holidays": ["2026-02-30"]"#),
            "calendars[0].holidays[0]: is \"2026-02-30\"; give a date",
        ),
        (
            calendar(r#", "holidays": ["2026-02-03T00:00"]"#),
            "calendars[0].holidays[0]: is \"2026-02-03T00:00\"; give a date",
        ),
        // 2026-11-29 is a Sunday.
        (
            calendar(r#", "early_closes": [{"date": "2026-11-29", "close": "12:00"}]"#),
            "calendars[0].early_closes[0]: is 2026-11-29 12:00, when no session is open; check the date",
        ),
        (
            calendar(r#", "outside": "allow""#),
            "calendars[0].outside: is \"allow\"; use `deny` or `hold`",
        ),
        (
            r#"{"calendars": [{"name": "x"}]}"#.to_owned(),
            "calendars[0].zone: is missing; give it",
        ),
    ] {
        let problems = read_settings::<MarketHours>(&text).expect_err(&text);
        let told = problems[0].to_string();
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
    let two = calendar(r#"}, {"name": "x", "symbols": ["*"], "zone": "UTC", "sessions": []"#);
    let problems = read_settings::<MarketHours>(&two).err().map(|problems| {
        problems
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join("\n")
    });
    let told = problems.unwrap_or_default();
    for words in [
        "calendars[1].sessions: is empty",
        "calendars[1].name: is \"x\", as another's",
        "calendars[1].symbols[0]: is *, which \"x\" means before it",
    ] {
        assert!(told.contains(words), "{words}\n{told}\n{two}");
    }
}
