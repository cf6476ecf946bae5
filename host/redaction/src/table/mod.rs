//! The table of detectors: what is found, by which form, check and context.
//!
//! `docs/redaction.md` holds [`detectors_markdown`]; a test compares them. The rows of tokens are also what the scanner reads
//! ([`TOKENS`]); the other rows describe the scanners of their names.
//!
//! Reading order: [`kinds`] (what is found), [`token_patterns`] (by a prefix), [`detectors`] (by another form, or by a name), [`markdown`] (the page).
//!
//! Must not know: how a text is scanned.

mod detectors;
mod kinds;
mod markdown;
mod token_patterns;

pub use detectors::{Confidence, DETECTORS, Detector};
pub use kinds::{Class, FindingKind};
pub use markdown::detectors_markdown;
pub(crate) use token_patterns::{TOKENS, TokenCheck, TokenPattern};
