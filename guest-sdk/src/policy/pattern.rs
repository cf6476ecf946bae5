//! Which symbols an operator means.

use std::fmt;

use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

/// A symbol, or several: `*` stands for any characters, also none. `BTC-USD` is one symbol, `BTC-*` all that are quoted against bitcoin,
/// `*` every one. Letters count as capitals, as the host writes symbols.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SymbolPattern(String);

impl SymbolPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// What is wrong with it, and what would be right, as `problem; remedy`: it is empty, longer than 64 bytes, or has characters that
    /// no symbol has.
    pub fn parse(text: &str) -> Result<Self, String> {
        let fits = (1..=64).contains(&text.len())
            && text
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-._/:*".contains(&b));
        if !fits {
            let shown: String = text.chars().take(70).collect();
            return Err(format!(
                "is {shown:?}; give 1 to 64 of A-Z, 0-9, '-', '.', '_', '/', ':', and '*' for any characters, e.g. BTC-*"
            ));
        }
        Ok(Self(text.to_ascii_uppercase()))
    }

    /// Its text, in capitals.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a symbol is meant.
    #[must_use]
    pub fn matches(&self, symbol: &str) -> bool {
        let symbol = symbol.as_bytes();
        let mut pieces = self.0.as_bytes().split(|byte| *byte == b'*');
        let same = |a: &[u8], b: &[u8]| a.eq_ignore_ascii_case(b);
        let first = pieces.next().unwrap_or_default();
        let Some(last) = pieces.next_back() else {
            return same(first, symbol);
        };
        if symbol.len() < first.len() + last.len() {
            return false;
        }
        let (start, rest) = symbol.split_at(first.len());
        let (mut rest, end) = rest.split_at(rest.len() - last.len());
        if !same(first, start) || !same(last, end) {
            return false;
        }
        // What stands between two stars is found as early as it can be, which leaves the most for those behind.
        for piece in pieces.filter(|piece| !piece.is_empty()) {
            let found = rest
                .windows(piece.len())
                .position(|window| same(window, piece));
            let Some(at) = found else { return false };
            rest = &rest[at + piece.len()..];
        }
        true
    }
}

impl fmt::Display for SymbolPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
    use super::SymbolPattern;

    #[test]
    fn a_star_is_any_characters_and_nothing_else_is_special() {
        for (pattern, symbol, expected) in [
            ("BTC-USD", "BTC-USD", true),
            ("btc-usd", "BTC-USD", true),
            ("BTC-USD", "btc-usd", true),
            ("BTC-USD", "BTC-USDT", false),
            ("BTC-USD", "XBTC-USD", false),
            ("BTC.USD", "BTC-USD", false),
            ("BTC-*", "BTC-USD", true),
            ("BTC-*", "BTC-", true),
            ("BTC-*", "BTC", false),
            ("*-PERP", "ETH-PERP", true),
            ("*-PERP", "ETH-PERP-X", false),
            ("*", "ANY", true),
            ("**", "ANY", true),
            ("A*B*C", "AXXBYYC", true),
            ("A*B*C", "ABC", true),
            ("A*B*C", "AC", false),
            ("A*BC*C", "ABCBC", true),
            ("A*BC*C", "ABC", false),
            ("*AB*", "XAABY", true),
            ("AB*BA", "ABA", false),
            ("AB*BA", "ABBA", true),
        ] {
            let parsed = SymbolPattern::parse(pattern);
            assert_eq!(
                parsed.map(|parsed| parsed.matches(symbol)),
                Ok(expected),
                "{pattern} {symbol}"
            );
        }
    }

    #[test]
    fn what_no_symbol_has_is_refused() {
        for bad in ["", "BTC USD", "BTC?", "Ä", "[A]", &"A".repeat(65)] {
            assert!(SymbolPattern::parse(bad).is_err(), "{bad:?}");
        }
    }
}
