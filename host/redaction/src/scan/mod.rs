//! One pass over a text: each byte that can begin or join something telling is handed to the scanner of its kind.
//!
//! Invariant: scanners look back and ahead by bounded distances only, or to where they last stopped, so that the time is linear in the length.
//! `_` and every character beyond ASCII end a word.

mod addresses;
mod assignments;
mod blocks;
mod numbers;
mod spoken;
mod tokens;
mod values;

use std::ops::Range;

pub(crate) use values::{authorization_secret, cookie_values, is_secret_text};

use crate::context::NumberContext;
use crate::fold::Folded;
use crate::table::FindingKind;

/// What was found in a text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Match {
    /// Its place, in bytes.
    pub range: Range<usize>,
    /// Its kind.
    pub kind: FindingKind,
    /// What must stand around the mark so that a JSON text stays one: the quotation mark of the member's name, where the value had none.
    pub quote: &'static str,
}

/// Finds everything in a text. Places do not overlap and are in order. `context` is what the name of the member that holds the text says.
pub(crate) fn find_matches(text: &str, context: NumberContext) -> Vec<Match> {
    let mut matches = Scanner::scan(text, context);
    if let Some(folded) = Folded::new(text) {
        let found = Scanner::scan(&folded.text, context);
        matches.extend(found.into_iter().map(|found| Match {
            range: folded.origin(found.range.start)..folded.origin(found.range.end),
            ..found
        }));
    }
    merge_overlapping(&mut matches);
    matches
}

/// Makes one match of those that overlap; the kind that comes first names it.
fn merge_overlapping(matches: &mut Vec<Match>) {
    if matches.len() < 2 {
        return;
    }
    matches.sort_by_key(|found| found.range.start);
    matches.dedup_by(|next, kept| {
        let overlaps = next.range.start < kept.range.end;
        if overlaps {
            kept.range.end = kept.range.end.max(next.range.end);
            kept.kind = kept.kind.min(next.kind);
            if kept.quote.is_empty() {
                kept.quote = next.quote;
            }
        }
        overlaps
    });
}

struct Scanner<'a> {
    text: &'a str,
    bytes: &'a [u8],
    context: NumberContext,
    /// Up to where a value was taken: names in it have none of their own.
    covered: usize,
    found: Vec<Match>,
}

impl<'a> Scanner<'a> {
    fn scan(text: &'a str, context: NumberContext) -> Vec<Match> {
        let mut scanner = Self {
            text,
            bytes: text.as_bytes(),
            context,
            covered: 0,
            found: Vec::new(),
        };
        let mut at = 0;
        while let Some(&byte) = scanner.bytes.get(at) {
            let next = match byte {
                b'a'..=b'z' | b'A'..=b'Z' => scanner.scan_word(at),
                b'0'..=b'9' => scanner.scan_number(at),
                b':' | b'=' => scanner.scan_separator(at),
                b'@' => scanner.scan_email(at),
                b'-' => scanner.scan_hyphen(at),
                b'+' | b'(' => scanner.scan_telephone_sign(at),
                0xc0.. => scanner.scan_foreign(at),
                _ => at + 1,
            };
            debug_assert!(next > at, "a scanner stands still");
            at = next;
        }
        scanner.found
    }

    /// Records a match and returns its end.
    fn push(&mut self, kind: FindingKind, range: Range<usize>) -> usize {
        self.push_quoted(kind, range, "")
    }

    fn push_quoted(
        &mut self,
        kind: FindingKind,
        range: Range<usize>,
        quote: &'static str,
    ) -> usize {
        let end = range.end;
        self.found.push(Match { range, kind, quote });
        end
    }

    /// Returns the byte before `at`, a space at the start of the text.
    fn before(&self, at: usize) -> u8 {
        at.checked_sub(1).map_or(b' ', |at| self.bytes[at])
    }

    /// Returns the byte at `at`, a space at the end of the text.
    fn byte(&self, at: usize) -> u8 {
        self.bytes.get(at).copied().unwrap_or(b' ')
    }

    /// Returns the end of the bytes from `at` that fulfil a condition.
    fn skip_while(&self, at: usize, condition: impl Fn(u8) -> bool) -> usize {
        self.bytes[at.min(self.bytes.len())..]
            .iter()
            .position(|byte| !condition(*byte))
            .map_or(self.bytes.len(), |length| at + length)
    }

    /// As [`Scanner::skip_while`], over `most` bytes at most.
    fn skip_some(&self, at: usize, most: usize, condition: impl Fn(u8) -> bool) -> usize {
        let at = at.min(self.bytes.len());
        let end = at.saturating_add(most).min(self.bytes.len());
        self.bytes[at..end]
            .iter()
            .position(|byte| !condition(*byte))
            .map_or(end, |length| at + length)
    }

    /// Returns the first bytes from `start` up to `most` of them, shortened to the start of a character.
    fn clip_end(&self, start: usize, most: usize) -> usize {
        let mut end = start.saturating_add(most).min(self.bytes.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        end
    }
}

/// Returns whether a character belongs to a script that sets no spaces between words.
fn is_unspaced(character: char) -> bool {
    matches!(character, '\u{e00}'..='\u{eff}' | '\u{1000}'..='\u{109f}' | '\u{1100}'..='\u{11ff}' | '\u{2e80}'..='\u{d7ff}' | '\u{f900}'..='\u{faff}'
        | '\u{ff00}'..='\u{ffef}' | '\u{20000}'..='\u{3ffff}')
}
