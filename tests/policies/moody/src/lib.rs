//! An operator policy whose settings say how it answers: well, badly, or not at all. A copy whose name's last two digits are changed is
//! another policy.

use ark_guest::policy::{
    self, Action, Answer, ConfigurablePolicy, Facts, Metadata, Parameters, RuleSpec,
    SettingsProblem, Severity, Verdict,
};
use serde::Deserialize;

/// In the component's bytes exactly once: a test that makes copies changes the last two characters.
const NAME: &str = "policy-that-answers-as-its-settings-ask-00";

/// The policy.
#[derive(Debug)]
pub struct Moody;

/// How it answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Mood {
    /// Every rule passes.
    #[default]
    Pass,
    /// `warns` fires.
    Warn,
    /// `holds` fires.
    Hold,
    /// `denies` fires.
    Deny,
    /// It traps.
    Trap,
    /// It never returns.
    Loop,
    /// It takes all memory there is.
    Grow,
}

/// The settings.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// How it answers about trades in `symbol`.
    pub mood: Mood,
    /// Which symbol; `None`: every action.
    pub symbol: Option<String>,
}

type Judge = fn(Mood) -> Answer;

const fn rule(
    number: u16,
    name: &'static str,
    severity: Severity,
    hold: bool,
    judge: Judge,
) -> RuleSpec<Judge> {
    RuleSpec {
        number,
        name,
        category: "moods",
        severity,
        hold,
        description: "It fires when it is in the mood.",
        judge,
    }
}

const RULES: [RuleSpec<Judge>; 3] = [
    rule(1, "denies", Severity::High, false, |mood| {
        Answer::fires_if(mood == Mood::Deny)
    }),
    rule(2, "holds", Severity::High, true, |mood| {
        Answer::fires_if(mood == Mood::Hold)
    }),
    rule(3, "warns", Severity::Low, false, |mood| {
        Answer::fires_if(mood == Mood::Warn)
    }),
];

impl ConfigurablePolicy for Moody {
    type Settings = Settings;

    fn metadata() -> Metadata {
        policy::describe(NAME, env!("CARGO_PKG_VERSION"), &RULES)
    }

    fn validate(settings: &Settings) -> Vec<SettingsProblem> {
        let symbol = settings.symbol.as_deref().unwrap_or("X");
        let mut problems = Vec::new();
        if symbol.is_empty() {
            problems.push(SettingsProblem::new("symbol", "is empty", "leave it out"));
        }
        if symbol.chars().any(char::is_lowercase) {
            let remedy = "give it in upper case";
            problems.push(SettingsProblem::new(
                "symbol",
                format!("is {symbol:?}"),
                remedy,
            ));
        }
        problems
    }

    fn evaluate(settings: &Settings, action: &Action, _facts: &Facts) -> Verdict {
        let symbol = match &action.parameters {
            Parameters::Trade(trade) => Some(trade.symbol.as_str()),
            _ => None,
        };
        let meant = settings.symbol.is_none() || settings.symbol.as_deref() == symbol;
        let mood = if meant { settings.mood } else { Mood::Pass };
        match mood {
            Mood::Trap => panic!("in the mood for it"),
            Mood::Loop => loop {
                std::hint::black_box(symbol);
            },
            Mood::Grow => {
                let mut taken = Vec::new();
                loop {
                    taken.push(std::hint::black_box(vec![1_u8; 1 << 20]));
                }
            }
            mood => policy::judge(&RULES, |rule| (rule.judge)(mood)),
        }
    }
}

ark_guest::export_configurable_policy!(Moody);
