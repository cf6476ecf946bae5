//! Each rule on both sides of its limit, each setting, and what is refused as settings.

use ark_guest::policy::sample::{buy, close_position, message, sell};
use ark_guest::policy::{
    Action, ConfigurablePolicy, Facts, RuleAnswer, RuleResult, Value, read_settings,
};
use ark_symbol_allowlist::{Settings, SymbolAllowlist};

const SETTINGS: &str = r#"{
    "allowed": ["BTC-*", "eth-usd"],
    "denied": ["*-PERP"],
    "largest": [{"symbols": "BTC-*", "position": 0.05}, {"symbols": "*", "position": 0.02}],
    "agents": {
        "kyle": {"allowed": ["*"], "denied": ["DOGE-*"], "largest": []},
        "joey": {"allowed": []}
    }
}"#;

fn settings(text: &str) -> Settings {
    read_settings::<SymbolAllowlist>(text).expect("settings")
}

fn answers(settings: &Settings, agent: &str, held: f64, action: &Action) -> Vec<RuleAnswer> {
    let facts = Facts {
        agent: agent.to_owned(),
        symbol_exposure: held,
        ..Facts::default()
    };
    SymbolAllowlist::evaluate(settings, action, &facts).answers
}

#[test]
fn each_rule_answers_by_the_lists_that_count_for_the_agent() {
    use RuleResult::{NotApplicable as Na, Pass, Violation as No};
    let settings = settings(SETTINGS);
    for (agent, held, action, expected) in [
        ("id", 0.0, buy("BTC-USD", 0.05), [Pass, Pass, Pass]),
        ("id", 0.0, buy("BTC-USD", 0.050_000_1), [Pass, Pass, No]),
        ("id", 0.03, buy("BTC-USD", 0.02), [Pass, Pass, Pass]),
        ("id", 0.03, sell("BTC-USD", 0.020_000_1), [Pass, Pass, No]),
        ("id", 0.0, buy("ETH-USD", 0.02), [Pass, Pass, Pass]),
        ("id", 0.0, buy("ETH-USD", 0.03), [Pass, Pass, No]),
        ("id", 0.0, buy("ETH-USDT", 0.01), [No, Pass, Pass]),
        ("id", 0.0, buy("BTC-PERP", 0.01), [Pass, No, Pass]),
        ("kyle", 0.0, buy("ETH-USDT", 0.9), [Pass, Pass, Na]),
        ("kyle", 0.0, buy("BTC-PERP", 0.01), [Pass, No, Na]),
        ("kyle", 0.0, buy("DOGE-USD", 0.01), [Pass, No, Na]),
        ("joey", 0.0, buy("BTC-USD", 0.01), [No, Pass, Pass]),
        // Other spellings: a name is every spelling; a pattern lets in only what has its separators, rules out and limits without them too.
        ("id", 0.0, buy("eth/usd", 0.02), [Pass, Pass, Pass]),
        ("id", 0.0, buy("ETHUSD", 0.02), [Pass, Pass, Pass]),
        ("id", 0.0, buy("btc_usd", 0.05), [Pass, Pass, Pass]),
        ("id", 0.0, buy("BTCUSD", 0.01), [No, Pass, Pass]),
        ("id", 0.0, buy("BTCDOM-USDT", 0.01), [No, Pass, Pass]),
        ("id", 0.0, buy("BTCDOM-USDT", 0.03), [No, Pass, No]),
        ("id", 0.0, buy("BTC/perp", 0.01), [Pass, No, Pass]),
        ("kyle", 0.0, buy("BTCPERP", 0.01), [Pass, No, Na]),
        ("kyle", 0.0, buy("DOGE_USD", 0.01), [Pass, No, Na]),
        ("kyle", 0.0, buy("\u{ff24}OGE-USD", 0.01), [Pass, No, Na]),
        ("joey", 0.0, close_position("DOGE-PERP"), [Na, Na, Na]),
        ("id", 0.0, message("notes", "BTC-PERP"), [Na, Na, Na]),
    ] {
        let answers = answers(&settings, agent, held, &action);
        let found: Vec<RuleResult> = answers.iter().map(|answer| answer.answer).collect();
        assert_eq!(found, expected, "{agent} {held} {action:?}");
    }
}

#[test]
fn answers_say_what_was_seen_and_what_would_pass() {
    let settings = settings(SETTINGS);
    let answers = answers(&settings, "id", 0.03, &buy("BTC-PERP", 0.04));
    assert_eq!(
        answers[0].limit,
        Value::Text("allowed: BTC-*, eth-usd".into())
    );
    assert_eq!(answers[1].observed, Value::Text("BTC-PERP".into()));
    assert_eq!(answers[1].limit, Value::Text("denied: *-PERP".into()));
    let nearest = answers[2].nearest_passing.expect("room");
    assert!((nearest - 0.02).abs() < 1e-12, "{nearest}");
    let full = self::answers(&settings, "id", 0.06, &buy("BTC-USD", 0.01));
    assert_eq!(full[2].nearest_passing, None);
}

#[test]
fn without_settings_nothing_is_traded() {
    let answers = answers(&Settings::default(), "id", 0.0, &buy("BTC-USD", 0.01));
    assert_eq!(answers[0].answer, RuleResult::Violation);
    assert_eq!(answers[0].limit, Value::Text("no symbol is allowed".into()));
}

#[test]
fn numbers_that_are_none_are_errors() {
    let settings = settings(SETTINGS);
    for (size, held) in [
        (f64::NAN, 0.0),
        (0.01, f64::NAN),
        (-0.01, 0.0),
        (0.01, f64::INFINITY),
    ] {
        let answers = answers(&settings, "id", held, &buy("BTC-USD", size));
        assert_eq!(answers[2].answer, RuleResult::Error, "{size} {held}");
    }
}

#[test]
fn what_is_wrong_with_settings_names_its_field() {
    for (text, expected) in [
        (
            r#"{"allow": ["BTC-USD"]}"#,
            "allow: is not known; use one of `allowed`, `denied`, `largest`, `agents`",
        ),
        (
            r#"{"allowed": "BTC-USD"}"#,
            "allowed: is string \"BTC-USD\"; give a sequence",
        ),
        (
            r#"{"allowed": ["--"]}"#,
            "allowed[0]: is \"--\", which has neither a letter nor a digit; name an instrument",
        ),
        (
            r#"{"largest": [{"symbols": "*"}]}"#,
            "largest[0].position: is missing; give it",
        ),
        (
            r#"{"largest": [{"symbols": "*", "position": 5}]}"#,
            "largest[0].position: is 5; give a fraction",
        ),
        (
            r#"{"largest": [{"symbols": "*", "position": "a"}]}"#,
            "largest[0].position: is string \"a\"; give f64",
        ),
        (
            r#"{"largest": [{"symbols": "*", "position": 0.1}, {"symbols": "BTC-*", "position": 0.2}]}"#,
            "largest[1].symbols: is BTC-*, which entry 0 means before it; put the more particular",
        ),
        (
            r#"{"largest": [{"symbols": "BTC-USD", "position": 0.1}, {"symbols": "btcusd", "position": 0.2}]}"#,
            "largest[1].symbols: is btcusd, which entry 0 means before it",
        ),
        (
            r#"{"agents": {"Kyle": {}}}"#,
            "agents: names an agent \"Kyle\"",
        ),
        (
            r#"{"agents": {"kyle": {"position": 1}}}"#,
            "agents.kyle.position: is not known; use one of",
        ),
        (
            r#"{"agents": {"kyle": {"largest": [{"symbols": "*", "position": -0.1}]}}}"#,
            "agents.kyle.largest[0].position: is -0.1",
        ),
    ] {
        let problems = read_settings::<SymbolAllowlist>(text).expect_err(text);
        let told = problems[0].to_string();
        assert!(told.starts_with(expected), "{told}\n{expected}");
    }
}

#[test]
fn a_limit_holds_for_spellings_without_separators() {
    // The smaller limit must not be evaded by leaving the separator out, nor the larger one be had by another name's start.
    let settings = settings(
        r#"{"allowed": ["*"], "largest": [{"symbols": "DOGE-*", "position": 0.01}, {"symbols": "BTC-*", "position": 0.09}, {"symbols": "*", "position": 0.05}]}"#,
    );
    for (symbol, limit) in [
        ("DOGE-USD", 0.01),
        ("DOGEUSD", 0.01),
        ("BTC/USD", 0.09),
        ("BTCUSD", 0.05),
        ("BTCDOM-USD", 0.05),
        ("ETH-USD", 0.05),
    ] {
        let answers = answers(&settings, "id", 0.0, &buy(symbol, 0.01));
        assert_eq!(answers[2].limit, Value::Number(limit), "{symbol}");
    }
}
