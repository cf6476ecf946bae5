//! The Graveyard: ARK's 26 immutable rules, as a policy.
//!
//! A verdict is a pure function of the action and the host's facts: nothing here keeps state, and the component imports nothing. Every
//! rule answers every time. What a rule fires on is written beside it; its number, severity and kind stand in [`rules::RULES`].
//!
//! Invariants: what a proposer says of itself never loosens a rule (a claim of approval is ignored and warned of); what cannot be
//! judged (a number out of its range, parameters that are no JSON) is an `error`, which denies; equal to a limit passes.
//!
//! Must not know: the host, beyond the facts it attests.

#![allow(
    clippy::unnecessary_wraps,
    reason = "all rules have one signature, so that they stand in one table"
)]

mod autonomy;
mod carried;
mod case;
mod fields;
mod files;
mod folding;
mod governance;
mod integrity;
mod naming;
mod order;
mod parameters;
mod privacy;
mod reasoning;
mod risk_management;
mod rules;
mod trading;
mod vocabulary;

use ark_guest::policy::{self, Action, Facts, Metadata, Policy, Verdict};

use case::Case;
use rules::RULES;

/// The policy.
#[derive(Debug)]
pub struct Graveyard;

impl Policy for Graveyard {
    fn metadata() -> Metadata {
        policy::describe("graveyard", env!("CARGO_PKG_VERSION"), &RULES)
    }

    fn evaluate(action: &Action, facts: &Facts) -> Verdict {
        let case = Case::new(action, facts);
        let mut verdict = policy::judge(&RULES, |rule| rules::ask(rule, &case));
        verdict.warnings = case.warnings();
        verdict
    }
}

ark_guest::export_policy!(Graveyard);
