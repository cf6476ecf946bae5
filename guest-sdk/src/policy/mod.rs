//! Writing a policy: a pure function from an action and the host's facts to a verdict.
//!
//! ```
//! use ark_guest::policy::{self, Action, Answer, Facts, Metadata, Parameters, Policy, RuleSpec, Severity, Verdict};
//!
//! struct SmallTrades;
//!
//! const RULES: [RuleSpec<fn(&Action) -> Answer>; 1] = [RuleSpec {
//!     number: 1,
//!     name: "small_trades",
//!     category: "risk_management",
//!     severity: Severity::Medium,
//!     hold: false,
//!     description: "A trade is at most 1 % of capital.",
//!     judge: |action| match &action.parameters {
//!         Parameters::Trade(trade) => {
//!             let size = trade.position_size_pct;
//!             Answer::fires_if(size > 0.01).observed(size).limit(0.01).nearest_passing(size.min(0.01))
//!         }
//!         _ => Answer::not_applicable(),
//!     },
//! }];
//!
//! impl Policy for SmallTrades {
//!     fn metadata() -> Metadata {
//!         policy::describe("small-trades", "1.0.0", &RULES)
//!     }
//!
//!     fn evaluate(action: &Action, _facts: &Facts) -> Verdict {
//!         policy::judge(&RULES, |rule| (rule.judge)(action))
//!     }
//! }
//!
//! ark_guest::export_policy!(SmallTrades);
//! ```
//!
//! The crate is a `cdylib` (and `rlib`, so that it can be tested), is built for `wasm32-unknown-unknown` and made a component. The types
//! work natively: a policy is tested with plain `cargo test`.
//!
//! A policy imports nothing: no clock, no randomness, no files. What it may know of the world is in [`Facts`]. It must keep no state
//! between evaluations: recorded decisions are replayed in fresh instances, and one that depended on an earlier evaluation is found.
//!
//! What operators should be able to set up is a policy of its own kind, `ConfigurablePolicy`: see there (feature `configurable-policy`).

mod answer;
#[cfg(feature = "configurable-policy")]
mod configurable;
mod inputs;
#[cfg(feature = "configurable-policy")]
mod pattern;
#[cfg(feature = "configurable-policy")]
pub mod sample;

#[cfg(feature = "configurable-policy")]
pub use configurable::{ConfigurablePolicy, SettingsProblem, evaluate_with, read_settings};
#[cfg(feature = "configurable-policy")]
pub use pattern::{SymbolForms, SymbolPattern};

pub use answer::{Answer, RuleSpec, compliance_score, describe, judge};

pub use crate::policy_world::ark::types::actions::{
    Action, Change, ClosePosition, Criticality, Custom, DataHandling, DataOperation, ExecuteCode,
    FileOperation, FileVerb, Message, Parameters, Sensitivity, Side, SystemChange, Trade,
};
pub use crate::policy_world::ark::types::facts::{Approval, Consent, Facts};
pub use crate::policy_world::ark::types::verdicts::{
    Metadata, Rule, RuleAnswer, RuleResult, Severity, Value, Verdict,
};

/// A policy. Export it with [`export_policy!`](crate::export_policy).
pub trait Policy {
    /// The policy's name, version and rules. The host asks once, when it loads the policy.
    fn metadata() -> Metadata;

    /// Judges one action under the facts. Every rule of the metadata answers, in its order. A panic is a trap, and a trap denies.
    fn evaluate(action: &Action, facts: &Facts) -> Verdict;
}

/// Exports a [`Policy`] from the component. Natively it expands to nothing, so that tests link.
#[macro_export]
macro_rules! export_policy {
    ($policy:ty) => {
        #[cfg(target_arch = "wasm32")]
        const _: () = {
            struct Exported;

            impl $crate::policy_world::Guest for Exported {
                fn metadata() -> $crate::policy::Metadata {
                    <$policy as $crate::policy::Policy>::metadata()
                }

                fn evaluate(
                    action: $crate::policy::Action,
                    facts: $crate::policy::Facts,
                ) -> $crate::policy::Verdict {
                    <$policy as $crate::policy::Policy>::evaluate(&action, &facts)
                }
            }

    $crate::policy_world::export_policy_world!(Exported with_types_in $crate::policy_world);
        };
    };
}
