//! Replaces what is found in texts, and keeps which kinds were found.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::context::NumberContext;
use crate::scan::{Match, find_matches};
use crate::table::{Class, FindingKind};

/// How often a text is searched again. Two marks beside each other, or a mark in a value, can make something out of what was nothing before; a
/// text that goes on like that was made to.
const MAX_ROUNDS: usize = 6;

/// The kinds of data that were found, sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Findings {
    /// Kinds of personal data, e.g. `email`.
    pub personal_data: Vec<String>,
    /// Kinds of credentials, e.g. `aws-access-key`.
    pub credentials: Vec<String>,
}

/// Redacts texts and JSON one after the other.
#[derive(Debug, Default)]
pub struct Redactor {
    found: BTreeSet<FindingKind>,
    searched_bytes: usize,
}

impl Redactor {
    /// Replaces every credential in a text by `[credential:KIND]` and every item of personal data by `[personal:KIND]`. A text that is a JSON
    /// object or array is searched by its names too. Returns whether the text was changed.
    pub fn redact_text(&mut self, text: &mut String) -> bool {
        self.count_searched(text);
        self.redact_nested(text, NumberContext::None, 0)
    }

    /// As [`Redactor::redact_text`], for a text that is an identifier: numbers in it are neither cards nor telephone numbers.
    pub fn redact_identifier(&mut self, text: &mut String) -> bool {
        self.count_searched(text);
        self.redact_plain(text, NumberContext::Identifier)
    }

    /// Returns how many bytes the texts had that were given so far.
    #[must_use]
    pub const fn searched_bytes(&self) -> usize {
        self.searched_bytes
    }

    pub(crate) const fn count_searched(&mut self, text: &str) {
        self.searched_bytes = self.searched_bytes.saturating_add(text.len());
    }

    /// Returns the kinds that were found so far.
    #[must_use]
    pub fn into_findings(self) -> Findings {
        let of_class = |class: Class| {
            let mut kinds: Vec<String> = self
                .found
                .iter()
                .filter(|kind| kind.class() == class)
                .map(|kind| kind.as_str().to_owned())
                .collect();
            kinds.sort_unstable();
            kinds
        };
        Findings {
            personal_data: of_class(Class::Personal),
            credentials: of_class(Class::Credential),
        }
    }

    pub(crate) fn note(&mut self, kind: FindingKind) {
        self.found.insert(kind);
    }

    /// Redacts a text without looking for JSON in it.
    pub(crate) fn redact_plain(&mut self, text: &mut String, context: NumberContext) -> bool {
        let mut changed = false;
        for _ in 0..MAX_ROUNDS {
            let matches = find_matches(text, context);
            if matches.is_empty() {
                return changed;
            }
            let replaced = replace_matches(text, &matches);
            for found in &matches {
                self.found.insert(found.kind);
            }
            changed = true;
            *text = replaced;
        }
        if !find_matches(text, context).is_empty() {
            self.found.insert(FindingKind::Unreadable);
            *text = FindingKind::Unreadable.mark();
        }
        changed
    }
}

/// Replaces credentials and personal data in a text as [`Redactor::redact_text`] does.
#[must_use]
pub fn redact_text(text: &str) -> String {
    let mut text = text.to_owned();
    Redactor::default().redact_text(&mut text);
    text
}

fn replace_matches(text: &str, matches: &[Match]) -> String {
    let mut replaced = String::with_capacity(text.len() + matches.len() * 16);
    let mut at = 0;
    for found in matches {
        replaced.push_str(&text[at..found.range.start]);
        replaced.push_str(found.quote);
        replaced.push_str(&found.kind.mark());
        replaced.push_str(found.quote);
        at = found.range.end;
    }
    replaced.push_str(&text[at..]);
    replaced
}
