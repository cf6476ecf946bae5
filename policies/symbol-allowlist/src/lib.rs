//! An operator policy: which symbols may be traded, by whom, and up to which size.
//!
//! # Settings
//!
//! ```json
//! {
//!   "allowed": ["BTC-*", "ETH-USD"],
//!   "denied": ["*-PERP"],
//!   "largest": [
//!     {"symbols": "BTC-*", "position": 0.05},
//!     {"symbols": "*", "position": 0.02}
//!   ],
//!   "agents": {
//!     "kyle": {"allowed": ["*"], "denied": ["DOGE-*"], "largest": [{"symbols": "*", "position": 0.01}]}
//!   }
//! }
//! ```
//!
//! * `allowed`: what may be traded. Nothing, where it is empty: so without settings every trade is denied.
//! * `denied`: what may not, whatever `allowed` says.
//! * `largest`: the largest position in a symbol, as a fraction of capital: what the trade adds to the exposure that is held already. The first
//!   entry that means the symbol counts. Where none does, this policy sets no limit.
//! * `agents`: the same for one agent. Its `allowed` and `largest`, where given, take the place of the general ones; its `denied` comes on top:
//!   what the desk has ruled out no agent's own list lets in again.
//!
//! A symbol is meant by its name, in any spelling (`BTC-USD` is `btc/usd` too), or by a pattern, in which `*` stands for any characters
//! ([`SymbolPattern`](ark_guest::policy::SymbolPattern)). A pattern of `allowed` keeps to the separators, so that `BTC-*` does not let
//! `BTCDOM-USDT` in; one of `denied` does not, so that `*-PERP` rules out `ETHPERP` as well. Of `largest`, the smaller limit counts where the
//! two ways of reading find different entries. The operator's aliases are the host's: name an instrument here by each of its names.
//!
//! # Rules
//!
//! They apply to the trade family. `close_position` reduces risk: what is held can be closed, whatever the lists say by now.
//!
//! | rule | fires when |
//! |---|---|
//! | 1 `symbol_allowed` | no pattern of `allowed` means the symbol |
//! | 2 `symbol_not_denied` | a pattern of `denied` means it |
//! | 3 `symbol_position` | the position would be larger than `largest` says; the nearest passing value is the largest `position_size_pct` that fits |

mod settings;

use ark_guest::policy::{
    self, Action, Answer, ConfigurablePolicy, Facts, Metadata, Parameters, RuleSpec,
    SettingsProblem, Severity, SymbolForms, Trade, Verdict,
};

use settings::{InForce, format_patterns};
pub use settings::{Largest, OfAgent, Settings};

/// Sizes are sums of doubles: what a rounding puts above a limit is not above it. The same as the Graveyard's.
const TOLERANCE: f64 = 1e-9;

/// The policy.
#[derive(Debug)]
pub struct SymbolAllowlist;

type Judge = fn(&InForce<'_>, &Trade, &Facts) -> Answer;

const RULES: [RuleSpec<Judge>; 3] = [
    RuleSpec {
        number: 1,
        name: "symbol_allowed",
        category: "symbols",
        severity: Severity::High,
        hold: false,
        description: "A symbol is traded only if the setting `allowed` names it.",
        judge: judge_allowed,
    },
    RuleSpec {
        number: 2,
        name: "symbol_not_denied",
        category: "symbols",
        severity: Severity::High,
        hold: false,
        description: "A symbol that the setting `denied` names is not traded.",
        judge: judge_not_denied,
    },
    RuleSpec {
        number: 3,
        name: "symbol_position",
        category: "symbols",
        severity: Severity::Medium,
        hold: false,
        description: "The position in a symbol, with what is held already, is at most what the setting `largest` says.",
        judge: judge_position,
    },
];

impl ConfigurablePolicy for SymbolAllowlist {
    type Settings = Settings;

    fn metadata() -> Metadata {
        policy::describe("symbol-allowlist", env!("CARGO_PKG_VERSION"), &RULES)
    }

    fn validate(settings: &Settings) -> Vec<SettingsProblem> {
        settings.problems()
    }

    fn evaluate(settings: &Settings, action: &Action, facts: &Facts) -> Verdict {
        let in_force = settings.for_agent(&facts.agent);
        policy::judge(&RULES, |rule| match &action.parameters {
            Parameters::Trade(trade) => (rule.judge)(&in_force, trade, facts),
            _ => Answer::not_applicable(),
        })
    }
}

fn judge_allowed(in_force: &InForce<'_>, trade: &Trade, _: &Facts) -> Answer {
    let symbol = SymbolForms::new(&trade.symbol);
    let found = in_force
        .allowed
        .iter()
        .any(|pattern| pattern.matches(&symbol));
    let limit = if in_force.allowed.is_empty() {
        "no symbol is allowed".to_owned()
    } else {
        format!("allowed: {}", format_patterns(in_force.allowed))
    };
    Answer::fires_if(!found)
        .observed(trade.symbol.as_str())
        .limit(limit)
}

fn judge_not_denied(in_force: &InForce<'_>, trade: &Trade, _: &Facts) -> Answer {
    let symbol = SymbolForms::new(&trade.symbol);
    let found = in_force
        .denied()
        .find(|pattern| pattern.could_match(&symbol));
    let answer = Answer::fires_if(found.is_some()).observed(trade.symbol.as_str());
    match found {
        Some(pattern) => answer.limit(format!("denied: {pattern}")),
        None => answer,
    }
}

fn judge_position(in_force: &InForce<'_>, trade: &Trade, facts: &Facts) -> Answer {
    let Some(largest) = in_force.largest(&SymbolForms::new(&trade.symbol)) else {
        return Answer::not_applicable();
    };
    let (size, held) = (trade.position_size_pct, facts.symbol_exposure);
    if !(size.is_finite() && held.is_finite() && size >= 0.0 && held >= 0.0) {
        return Answer::error("the size or the exposure is no number from 0");
    }
    let too_large = size + held > largest + TOLERANCE;
    let room = (held <= largest + TOLERANCE).then(|| (largest - held).max(0.0));
    Answer::fires_if(too_large)
        .observed(size + held)
        .limit(largest)
        .nearest_passing(if too_large { room } else { Some(size) })
}

ark_guest::export_configurable_policy!(SymbolAllowlist);
