//! What an operator sets up.

use std::collections::BTreeMap;

use ark_guest::policy::{SettingsProblem, SymbolForms, SymbolPattern};
use serde::Deserialize;

/// How much of a list an answer shows.
const SHOWN: usize = 20;

/// The settings: see the crate's documentation.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// What may be traded.
    pub allowed: Vec<SymbolPattern>,
    /// What may not, whatever `allowed` says.
    pub denied: Vec<SymbolPattern>,
    /// The largest positions; the first that means a symbol counts.
    pub largest: Vec<Largest>,
    /// What is different for an agent, by its name.
    pub agents: BTreeMap<String, OfAgent>,
}

/// The largest position in some symbols.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Largest {
    /// Which symbols.
    pub symbols: SymbolPattern,
    /// As a fraction of capital.
    pub position: f64,
}

/// What is different for one agent.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OfAgent {
    /// In the place of the general list.
    pub allowed: Option<Vec<SymbolPattern>>,
    /// On top of the general list.
    pub denied: Vec<SymbolPattern>,
    /// In the place of the general list.
    pub largest: Option<Vec<Largest>>,
}

/// What counts for one agent.
pub struct InForce<'a> {
    pub allowed: &'a [SymbolPattern],
    denied: [&'a [SymbolPattern]; 2],
    largest: &'a [Largest],
}

impl Settings {
    /// What counts for an agent.
    #[must_use]
    pub fn for_agent(&self, agent: &str) -> InForce<'_> {
        let own = self.agents.get(agent);
        InForce {
            allowed: own
                .and_then(|own| own.allowed.as_deref())
                .unwrap_or(&self.allowed),
            denied: [
                &self.denied,
                own.map(|own| own.denied.as_slice()).unwrap_or_default(),
            ],
            largest: own
                .and_then(|own| own.largest.as_deref())
                .unwrap_or(&self.largest),
        }
    }

    /// What is wrong with them beyond their form.
    #[must_use]
    pub fn problems(&self) -> Vec<SettingsProblem> {
        let mut problems = Vec::new();
        check_sizes("largest", &self.largest, &mut problems);
        for (name, own) in &self.agents {
            if !is_name(name) {
                problems.push(SettingsProblem::new(
                    "agents",
                    format!("names an agent {name:?}, which none can be called"),
                    "give 1 to 64 of a-z, 0-9, '-', '_', starting with a letter",
                ));
            }
            let largest = own.largest.as_deref().unwrap_or_default();
            check_sizes(&format!("agents.{name}.largest"), largest, &mut problems);
        }
        problems
    }
}

fn check_sizes(field: &str, largest: &[Largest], problems: &mut Vec<SettingsProblem>) {
    for (index, entry) in largest.iter().enumerate() {
        if !(0.0..=1.0).contains(&entry.position) {
            problems.push(SettingsProblem::new(
                format!("{field}[{index}].position"),
                format!("is {}", entry.position),
                "give a fraction of capital, 0 to 1; 0.05 is 5 %",
            ));
        }
        // An entry that can never count is a mistake in the order, and a limit that somebody believes in.
        let before = largest[..index].iter().position(|earlier| {
            earlier.symbols == entry.symbols
                || earlier.symbols.as_str().trim_matches('*').is_empty()
        });
        if let Some(before) = before {
            problems.push(SettingsProblem::new(
                format!("{field}[{index}].symbols"),
                format!("is {}, which entry {before} means before it", entry.symbols),
                "put the more particular pattern first, or take this one off",
            ));
        }
    }
}

fn is_name(name: &str) -> bool {
    (1..=64).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'_')
}

impl<'a> InForce<'a> {
    /// What may not be traded.
    pub fn denied(&self) -> impl Iterator<Item = &'a SymbolPattern> + use<'a> {
        self.denied.into_iter().flatten()
    }

    /// The largest position in a symbol, as a fraction of capital, where there is a limit: the smaller of what the first entry that matches
    /// and the first that could match say. Without a separator in a symbol nobody knows which of them is meant.
    #[must_use]
    pub fn largest(&self, symbol: &SymbolForms) -> Option<f64> {
        let find = |means: fn(&SymbolPattern, &SymbolForms) -> bool| {
            let mut entries = self.largest.iter();
            entries
                .find(|entry| means(&entry.symbols, symbol))
                .map(|entry| entry.position)
        };
        let could_be = find(SymbolPattern::could_match);
        match (find(SymbolPattern::matches), could_be) {
            (Some(meant), Some(could_be)) => Some(meant.min(could_be)),
            (meant, could_be) => meant.or(could_be),
        }
    }
}

/// A list in words: its beginning, where it is long.
pub fn format_patterns(patterns: &[SymbolPattern]) -> String {
    let shown: Vec<&str> = patterns
        .iter()
        .take(SHOWN)
        .map(SymbolPattern::as_str)
        .collect();
    let mut text = shown.join(", ");
    if patterns.len() > SHOWN {
        text = format!("{text} and {} more", patterns.len() - SHOWN);
    }
    text
}
