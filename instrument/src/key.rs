//! The key of an instrument.

use std::borrow::Borrow;
use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

use crate::characters::is_separator;

/// How often a text is folded at most until nothing changes any more. Unicode's own folding is stable after three.
const MAX_PASSES: usize = 8;

/// The key that all spellings of one instrument share.
///
/// It is the symbol in Unicode normalisation form KC, in upper case, without separators (white space, `-`, `_`, `/`, `:`, `.` and all other
/// punctuation but `& = @ ^ $ # % ! *`) and without the `$` of a cash tag, with the operator's aliases resolved
/// ([`InstrumentAliases::find_key`](crate::InstrumentAliases::find_key)). The key of a key is the key itself.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstrumentKey(Arc<str>);

impl InstrumentKey {
    /// Returns the key of a symbol where no aliases are known. Every text has one; only that of a symbol names an instrument.
    #[must_use]
    pub fn from_symbol(symbol: &str) -> Self {
        Self(fold_symbol(symbol).into())
    }

    pub(crate) fn from_folded(folded: String) -> Self {
        Self(folded.into())
    }

    /// Returns the key as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for InstrumentKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Borrow<str> for InstrumentKey {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// Removes what differs between spellings: compatibility forms of characters, case, separators and the `$` of a cash tag.
pub(crate) fn fold_symbol(symbol: &str) -> String {
    if symbol.is_ascii() {
        return fold_ascii(symbol);
    }
    fold_with(symbol, |text| {
        let kept: String = text.chars().filter(|c| !is_separator(*c)).collect();
        match kept.strip_prefix('$') {
            Some(rest) => rest.trim_start_matches('$').to_owned(),
            None => kept,
        }
    })
}

/// As [`fold_symbol`], of a text of ASCII characters alone. Nearly all symbols are, and each proposal has one.
fn fold_ascii(symbol: &str) -> String {
    let mut folded = String::with_capacity(symbol.len());
    let kept = symbol.chars().filter(|c| !is_separator(*c));
    folded.extend(
        kept.skip_while(|c| *c == '$')
            .map(|c| c.to_ascii_uppercase()),
    );
    folded
}

/// Returns a symbol in Unicode normalisation form KC, in upper case, with each run of separators written as one `-`: `btc / usd` becomes
/// `BTC-USD`. Unlike the key it says where a name ends; patterns of symbols are compared in this form.
#[must_use]
pub fn unify_separators(symbol: &str) -> String {
    fold_with(symbol, |text| {
        let text = text.trim_start_matches('$');
        let mut unified = String::with_capacity(text.len());
        for c in text.chars() {
            if !is_separator(c) {
                unified.push(c);
            } else if !unified.ends_with('-') {
                unified.push('-');
            }
        }
        unified
    })
}

/// Folds a text with `fold_separators` until nothing changes any more: without a separator, what stood before and after it can combine.
fn fold_with(symbol: &str, fold_separators: impl Fn(&str) -> String) -> String {
    if symbol.is_ascii() {
        return fold_separators(&symbol.to_ascii_uppercase());
    }
    let mut folded = symbol.to_owned();
    for _ in 0..MAX_PASSES {
        let upper: String = folded.nfkc().flat_map(char::to_uppercase).collect();
        // Upper case can leave the normal form (`ß`), so the text is normalised again.
        let next = fold_separators(&upper.nfkc().collect::<String>());
        if next == folded {
            break;
        }
        folded = next;
    }
    folded
}

#[cfg(test)]
mod tests {
    use super::{fold_symbol, unify_separators};

    #[test]
    fn separators_are_one_sign_where_they_are_kept() {
        for (symbol, expected) in [
            ("btc-usd", "BTC-USD"),
            ("BTC / USD", "BTC-USD"),
            ("BTC\u{2013}USD", "BTC-USD"),
            ("BTCUSD", "BTCUSD"),
            ("$BTC", "BTC"),
            ("ES=F", "ES=F"),
            ("BTC-*", "BTC-*"),
        ] {
            assert_eq!(unify_separators(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn folding_ends_where_nothing_changes_any_more() {
        // Without the dash the accent combines with the letter before it.
        assert_eq!(fold_symbol("E-\u{301}"), "\u{c9}");
        assert_eq!(fold_symbol("-$-$btc"), "BTC");
        assert_eq!(fold_symbol("-$-$b$tc-\u{e9}"), "B$TC\u{c9}");
        assert_eq!(fold_symbol("-$-$b$tc-"), "B$TC");
        assert_eq!(fold_symbol("$$"), "");
        assert_eq!(fold_symbol("stra\u{df}e"), "STRASSE");
    }
}
