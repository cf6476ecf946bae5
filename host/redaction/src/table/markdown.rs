//! The table of detectors as `docs/redaction.md` has it.

use std::fmt::Write as _;

use super::detectors::{Confidence, DETECTORS};
use super::token_patterns::TOKENS;

/// Returns the table of detectors as Markdown, for `docs/redaction.md`.
#[must_use]
pub fn detectors_markdown() -> String {
    let mut text = String::from(
        "| kind | class | prefix or form | length | check | context | confidence |\n|---|---|---|---|---|---|---|\n",
    );
    for row in TOKENS {
        let (least, most) = row.length;
        let length = if least == most {
            format!("{least} after the prefix")
        } else {
            format!("{least} to {most} after the prefix")
        };
        // Writing to a text cannot fail.
        let _ = writeln!(
            text,
            "| `{}` | {} | `{}` | {length} | {} | | {} |",
            row.kind.as_str(),
            row.kind.class().as_str(),
            row.prefix,
            row.check.as_str(),
            Confidence::High.as_str()
        );
    }
    for row in DETECTORS {
        let _ = writeln!(
            text,
            "| `{}` | {} | {} | {} | {} | {} | {} |",
            row.kind.as_str(),
            row.kind.class().as_str(),
            row.form,
            row.length,
            row.check,
            row.context,
            row.confidence.as_str()
        );
    }
    text
}
