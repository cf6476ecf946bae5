//! Finds credentials and personal data in texts and JSON, and replaces each by a mark of its kind: `[credential:password]`, `[personal:email]`.
//!
//! Reading order: [`table`] (what is found, a row for each detector), [`redactor`] (texts), [`json`] (JSON by names and values), [`names`] (what the
//! name of a member or variable says about its value), [`scan`] (one pass over a text), [`fold`] (the form in which disguised texts are read too).
//!
//! Invariants: the time is linear in the length of a text; what is redacted once stays as it is when it is redacted again; a text in which
//! nothing is found is returned as it was, byte for byte; JSON stays JSON. Marks name the kind and never hold a part of the value.
//!
//! Must not know: actions, rules, storage, logs.

mod checks;
mod context;
mod fold;
mod json;
mod names;
mod redactor;
mod scan;
mod table;
#[cfg(test)]
mod tests;
mod vocabulary;

pub use fold::{fold_character, is_invisible};
pub use redactor::{Findings, Redactor, redact_text};
pub use table::{Class, Confidence, DETECTORS, Detector, FindingKind, detectors_markdown};
