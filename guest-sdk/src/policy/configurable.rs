//! Policies that operators set up.

use serde::de::DeserializeOwned;

use super::{Action, Facts, Metadata, RuleAnswer, RuleResult, Value, Verdict};

pub use crate::configurable_policy_world::ark::policy::settings::SettingsProblem;

/// A policy with settings. Export it with [`export_configurable_policy!`](crate::export_configurable_policy).
///
/// The settings are a type of the author's: what its `Deserialize` does not read, and what [`validate`](Self::validate) finds wrong, the
/// operator is told, and nothing is judged with it. `#[serde(deny_unknown_fields)]` belongs on it and on all it holds: a misspelt name
/// would go unnoticed otherwise. `#[serde(default)]` where a field may be absent.
///
/// ```
/// use ark_guest::policy::{
///     self, Action, Answer, ConfigurablePolicy, Facts, Metadata, Parameters, RuleSpec, SettingsProblem, Severity, Verdict,
/// };
/// use serde::Deserialize;
///
/// struct SmallTrades;
///
/// #[derive(Deserialize)]
/// #[serde(deny_unknown_fields)]
/// struct Settings {
///     /// The largest trade, as a fraction of capital.
///     largest: f64,
/// }
///
/// /// Where the operator sets up nothing.
/// impl Default for Settings {
///     fn default() -> Self {
///         Self { largest: 0.01 }
///     }
/// }
///
/// const RULES: [RuleSpec<fn(&Settings, &Action) -> Answer>; 1] = [RuleSpec {
///     number: 1,
///     name: "small_trades",
///     category: "risk_management",
///     severity: Severity::Medium,
///     hold: false,
///     description: "A trade is at most as large as the setting `largest` says.",
///     judge: |settings, action| match &action.parameters {
///         Parameters::Trade(trade) => {
///             let (size, largest) = (trade.position_size_pct, settings.largest);
///             Answer::fires_if(size > largest).observed(size).limit(largest).nearest_passing(size.min(largest))
///         }
///         _ => Answer::not_applicable(),
///     },
/// }];
///
/// impl ConfigurablePolicy for SmallTrades {
///     type Settings = Settings;
///
///     fn metadata() -> Metadata {
///         policy::describe("small-trades", "1.0.0", &RULES)
///     }
///
///     fn validate(settings: &Settings) -> Vec<SettingsProblem> {
///         if (0.0..=1.0).contains(&settings.largest) {
///             return Vec::new();
///         }
///         vec![SettingsProblem::new("largest", format!("is {}", settings.largest), "give a fraction of capital, 0 to 1")]
///     }
///
///     fn evaluate(settings: &Settings, action: &Action, _facts: &Facts) -> Verdict {
///         policy::judge(&RULES, |rule| (rule.judge)(settings, action))
///     }
/// }
///
/// ark_guest::export_configurable_policy!(SmallTrades);
///
/// // What operators are told, in tests as in the host:
/// let problems = policy::read_settings::<SmallTrades>(r#"{"largest": 5}"#).err().unwrap_or_default();
/// assert_eq!(problems[0].to_string(), "largest: is 5; give a fraction of capital, 0 to 1");
/// let problems = policy::read_settings::<SmallTrades>(r#"{"largets": 0.1}"#).err().unwrap_or_default();
/// assert_eq!(problems[0].to_string(), "largets: is not known; use `largest`");
/// ```
pub trait ConfigurablePolicy {
    /// What operators set up. Its default is what is judged with where they set up nothing.
    type Settings: DeserializeOwned + Default;

    /// The policy's name, version and rules: the same whatever the settings. The host asks once, when it loads the policy.
    fn metadata() -> Metadata;

    /// All that is wrong with settings that could be read; empty: nothing is.
    fn validate(settings: &Self::Settings) -> Vec<SettingsProblem>;

    /// Judges one action under the facts. Every rule of the metadata answers, in its order. A panic is a trap, and a trap denies.
    fn evaluate(settings: &Self::Settings, action: &Action, facts: &Facts) -> Verdict;
}

/// Reads a policy's settings from the text of a JSON object, as the host has it done before they are put in force.
///
/// # Errors
/// What is wrong with them: the first thing that cannot be read, or all that the policy says.
pub fn read_settings<P: ConfigurablePolicy>(
    text: &str,
) -> Result<P::Settings, Vec<SettingsProblem>> {
    let settings = parse::<P::Settings>(text).map_err(|problem| vec![problem])?;
    let problems = P::validate(&settings);
    if problems.is_empty() {
        Ok(settings)
    } else {
        Err(problems)
    }
}

/// What the exported component judges: with settings that cannot be read every rule is in error, which denies.
#[must_use]
pub fn evaluate_with<P: ConfigurablePolicy>(
    settings: &str,
    action: &Action,
    facts: &Facts,
) -> Verdict {
    // Not validated again: the host hands over what it accepted, and this is done for every action.
    match parse::<P::Settings>(settings) {
        Ok(settings) => P::evaluate(&settings, action, facts),
        Err(problem) => {
            let in_error = |rule: u16| RuleAnswer {
                rule,
                answer: RuleResult::Error,
                observed: Value::Text(format!("the settings cannot be read: {problem}")),
                limit: Value::None,
                nearest_passing: None,
            };
            let rules = P::metadata().rules;
            Verdict {
                answers: rules.iter().map(|rule| in_error(rule.number)).collect(),
                warnings: Vec::new(),
                compliance_score: 0.0,
            }
        }
    }
}

impl SettingsProblem {
    /// A new problem: where (a path from the settings' root, e.g. `calendars[0].zone`), what is wrong, what would be right.
    pub fn new(
        field: impl Into<String>,
        problem: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Self {
        Self {
            field: field.into(),
            problem: problem.into(),
            remedy: remedy.into(),
        }
    }
}

impl std::fmt::Display for SettingsProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let field = if self.field.is_empty() {
            "settings"
        } else {
            &self.field
        };
        write!(f, "{field}: {}; {}", self.problem, self.remedy)
    }
}

fn parse<S: DeserializeOwned>(text: &str) -> Result<S, SettingsProblem> {
    let mut json = serde_json::Deserializer::from_str(text);
    let settings = serde_path_to_error::deserialize(&mut json).map_err(|error| {
        let path = error.path().to_string();
        let path = if path == "." { "" } else { path.as_str() };
        let message = error.inner().to_string();
        // Settings are one line that no operator wrote: a place in it tells nothing.
        let message = message
            .rfind(" at line ")
            .map_or(message.as_str(), |at| &message[..at]);
        explain(path, message)
    })?;
    json.end()
        .map_err(|_| SettingsProblem::new("", "are more than one value", "give one JSON object"))?;
    Ok(settings)
}

/// From serde's words to a problem with a remedy.
fn explain(path: &str, message: &str) -> SettingsProblem {
    let inside = |name: &str| {
        if path.is_empty() {
            name.to_owned()
        } else {
            format!("{path}.{name}")
        }
    };
    let quoted = |text: &str| text.split('`').nth(1).map(str::to_owned);
    let expected = message
        .split_once(", expected ")
        .map(|(_, expected)| expected);
    let remedy = |verb: &str| {
        expected.map_or_else(
            || "see the policy's description of its settings".to_owned(),
            |expected| format!("{verb} {expected}"),
        )
    };
    if let Some(name) = message.strip_prefix("missing field ").and_then(quoted) {
        return SettingsProblem::new(inside(&name), "is missing", "give it");
    }
    if let Some(name) = message.strip_prefix("unknown field ").and_then(quoted) {
        // The path may end with the name already.
        let field = if path == name || path.ends_with(&format!(".{name}")) {
            path.to_owned()
        } else {
            inside(&name)
        };
        return SettingsProblem::new(field, "is not known", remedy("use"));
    }
    if let Some(name) = message.strip_prefix("unknown variant ").and_then(quoted) {
        return SettingsProblem::new(path, format!("is {name:?}"), remedy("use"));
    }
    for kind in ["invalid type: ", "invalid value: ", "invalid length "] {
        if let Some(rest) = message.strip_prefix(kind) {
            let found = rest.split(", expected ").next().unwrap_or(rest);
            return SettingsProblem::new(path, format!("is {found}"), remedy("give"));
        }
    }
    // An author's own words: `problem; remedy`.
    match message.split_once("; ") {
        Some((problem, remedy)) => SettingsProblem::new(path, problem, remedy),
        None => SettingsProblem::new(path, message, remedy("give")),
    }
}

/// Exports a [`ConfigurablePolicy`] from the component. Natively it expands to nothing, so that tests link.
#[macro_export]
macro_rules! export_configurable_policy {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::configurable_policy_world::Guest for Exported {
                fn metadata() -> $crate::policy::Metadata {
                    <$policy as $crate::policy::ConfigurablePolicy>::metadata()
                }

                fn validate_settings(
                    settings: ::std::string::String,
                ) -> ::core::result::Result<(), ::std::vec::Vec<$crate::policy::SettingsProblem>>
                {
                    $crate::policy::read_settings::<$policy>(&settings).map(drop)
                }

                fn evaluate(
                    action: $crate::policy::Action,
                    facts: $crate::policy::Facts,
                ) -> $crate::policy::Verdict {
                    let settings = ::core::default::Default::default();
                    <$policy as $crate::policy::ConfigurablePolicy>::evaluate(
                        &settings, &action, &facts,
                    )
                }

                fn evaluate_with(
                    settings: ::std::string::String,
                    action: $crate::policy::Action,
                    facts: $crate::policy::Facts,
                ) -> $crate::policy::Verdict {
                    $crate::policy::evaluate_with::<$policy>(&settings, &action, &facts)
                }
            }

    $crate::configurable_policy_world::export_configurable_policy_world!(Exported with_types_in $crate::configurable_policy_world);
        };
    };
}
