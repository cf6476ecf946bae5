//! Which symbols an operator means.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

use crate::instrument::{
    InstrumentKey, MAX_SYMBOL_BYTES, SymbolError, check_symbol, unify_separators,
};

/// The symbol of an action, in the two forms in which patterns are compared with it. Made once for all patterns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SymbolForms {
    unified: String,
    key: InstrumentKey,
}

impl SymbolForms {
    /// The forms of a symbol.
    #[must_use]
    pub fn new(symbol: &str) -> Self {
        Self {
            unified: unify_separators(symbol),
            key: InstrumentKey::from_symbol(symbol),
        }
    }
}

/// A symbol, or several: `*` stands for any characters, also none. `BTC-USD` is one instrument in every spelling (`BTC/USD`, `btcusd`), `BTC-*` all
/// that are quoted against bitcoin, `*` every one.
///
/// What stands around a star has to be compared in two ways, since `BTCUSD` can be a spelling of what `BTC-*` means, and `BTCDOM-USD`, which
/// it does not mean, begins with the same letters. A rule that lets something through uses [`matches`](Self::matches); a rule that stops
/// something uses [`could_match`](Self::could_match); a limit has to hold in either case.
#[derive(Debug, Clone)]
pub struct SymbolPattern {
    text: String,
    form: PatternForm,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum PatternForm {
    Exact(InstrumentKey),
    Stars {
        /// With every separator as one sign.
        unified: String,
        /// Without separators.
        folded: InstrumentKey,
    },
}

impl SymbolPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right, as `problem; remedy`: it is empty, too long, or no symbol has what it is made of.
    pub fn parse(text: &str) -> Result<Self, String> {
        let form = if text.contains('*') {
            if text.len() > MAX_SYMBOL_BYTES {
                return Err(format!(
                    "is {} bytes long; give {MAX_SYMBOL_BYTES} at most",
                    text.len()
                ));
            }
            for piece in text.split('*').filter(|piece| !piece.is_empty()) {
                match check_symbol(piece) {
                    // What stands between two stars may be a separator, or begin or end with a blank.
                    Ok(()) | Err(SymbolError::NoLetter | SymbolError::OuterBlank) => {}
                    Err(SymbolError::Empty) if piece.bytes().all(|b| b == b' ') => {}
                    Err(error) => return Err(refuse_text(text, &error)),
                }
            }
            PatternForm::Stars {
                unified: unify_separators(text),
                folded: InstrumentKey::from_symbol(text),
            }
        } else {
            check_symbol(text).map_err(|error| refuse_text(text, &error))?;
            PatternForm::Exact(InstrumentKey::from_symbol(text))
        };
        Ok(Self {
            text: text.to_owned(),
            form,
        })
    }

    /// Its text, as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether a symbol is meant, for a rule that lets it through: the separators that the pattern has are where the symbol has one, of
    /// whatever kind. `BTC-*` matches `BTC/USD`, but not `BTCUSD`.
    #[must_use]
    pub fn matches(&self, symbol: &SymbolForms) -> bool {
        match &self.form {
            PatternForm::Exact(key) => *key == symbol.key,
            PatternForm::Stars { unified, .. } => matches_stars(unified, &symbol.unified),
        }
    }

    /// Whether a symbol may be meant, for a rule that stops it: separators do not count at all. `BTC-*` could match `BTCUSD`, and also
    /// `BTCDOM-USD`. It could match whatever it [`matches`](Self::matches).
    #[must_use]
    pub fn could_match(&self, symbol: &SymbolForms) -> bool {
        match &self.form {
            PatternForm::Exact(key) => *key == symbol.key,
            PatternForm::Stars { folded, .. } => {
                matches_stars(folded.as_str(), symbol.key.as_str())
            }
        }
    }
}

/// Patterns are equal when they match the same symbols, however they are spelled.
impl PartialEq for SymbolPattern {
    fn eq(&self, other: &Self) -> bool {
        self.form == other.form
    }
}

impl Eq for SymbolPattern {}

fn refuse_text(text: &str, error: &SymbolError) -> String {
    let shown: String = text.chars().take(70).collect();
    format!(
        "is {shown:?}, which {}; {}, with '*' for any characters, e.g. BTC-*",
        error.problem(),
        error.remedy()
    )
}

/// Whether a text is a pattern's, in which `*` stands for any characters. Both are in the same form.
fn matches_stars(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let first = pieces.next().unwrap_or_default();
    let Some(last) = pieces.next_back() else {
        return first == text;
    };
    let Some(rest) = text.strip_prefix(first) else {
        return false;
    };
    let Some(mut rest) = rest.strip_suffix(last) else {
        return false;
    };
    // What stands between two stars is found as early as it can be, which leaves the most for those behind.
    for piece in pieces {
        let Some(at) = rest.find(piece) else {
            return false;
        };
        rest = &rest[at + piece.len()..];
    }
    true
}

impl fmt::Display for SymbolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl<'de> Deserialize<'de> for SymbolPattern {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).map_err(D::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::{SymbolForms, SymbolPattern};

    #[test]
    fn a_star_is_any_characters_and_a_name_every_spelling() {
        // Pattern, symbol, whether it matches, whether it could.
        for (pattern, symbol, matches, could) in [
            ("BTC-USD", "BTC-USD", true, true),
            ("btc-usd", "BTC-USD", true, true),
            ("BTC-USD", "btc-usd", true, true),
            ("BTC.USD", "BTC-USD", true, true),
            ("BTC-USD", "BTCUSD", true, true),
            ("BTC-USD", "B/TCUSD", true, true),
            ("BTC-USD", "\u{ff22}TC\u{2013}USD", true, true),
            ("BTC-USD", "BTC-USDT", false, false),
            ("BTC-USD", "XBTC-USD", false, false),
            ("BTC-*", "BTC-USD", true, true),
            ("BTC-*", "btc/usd", true, true),
            ("BTC-*", "BTC / USD", true, true),
            ("BTC-*", "BTCUSD", false, true),
            ("BTC-*", "BTCDOM-USDT", false, true),
            ("BTC-*", "BTC-", true, true),
            ("BTC-*", "BTC", false, true),
            ("BTC-*", "ETH-BTC", false, false),
            ("*-PERP", "ETH-PERP", true, true),
            ("*-PERP", "ETH_perp", true, true),
            ("*-PERP", "ETHPERP", false, true),
            ("*-PERP", "ETH-PERP-X", false, false),
            ("*", "ANY", true, true),
            ("**", "ANY", true, true),
            ("*", "\u{5e01}\u{5b89}\u{4eba}\u{751f}/USDT", true, true),
            (
                "\u{5e01}*",
                "\u{5e01}\u{5b89}\u{4eba}\u{751f}/USDT",
                true,
                true,
            ),
            ("A*B*C", "AXXBYYC", true, true),
            ("A*B*C", "ABC", true, true),
            ("A*B*C", "AC", false, false),
            ("A*BC*C", "ABCBC", true, true),
            ("A*BC*C", "ABC", false, false),
            ("*AB*", "XAABY", true, true),
            ("AB*BA", "ABA", false, false),
            ("AB*BA", "ABBA", true, true),
        ] {
            let parsed = SymbolPattern::parse(pattern).expect(pattern);
            let forms = SymbolForms::new(symbol);
            let found = (parsed.matches(&forms), parsed.could_match(&forms));
            assert_eq!(found, (matches, could), "{pattern} {symbol}");
        }
    }

    #[test]
    fn patterns_are_equal_when_they_match_the_same() {
        let parse = |text: &str| SymbolPattern::parse(text).expect(text);
        assert_eq!(parse("btc-usd"), parse("BTCUSD"));
        assert_eq!(parse("BTC-*"), parse("btc/*"));
        assert_ne!(parse("BTC-*"), parse("BTC*"));
    }

    #[test]
    fn what_no_symbol_has_is_refused() {
        let long = "A".repeat(200);
        let long_star = format!("{long}*");
        for bad in [
            "",
            " ",
            "--",
            "BTC\n",
            "BTC\u{200b}*",
            "\u{412}TC-*",
            long.as_str(),
            long_star.as_str(),
        ] {
            assert!(SymbolPattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
