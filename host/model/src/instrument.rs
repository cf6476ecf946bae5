//! The identity of an instrument: one key for all spellings of a symbol.
//!
//! Venues and agents write one instrument in many ways: `BTC-USD`, `BTC/USD`, `btc_usd`, `BTCUSD`, `XBT-USD`. Whatever adds up or compares
//! instruments (exposure, time windows, lists, vetoes, reports) does so by [`InstrumentKey`]; the symbol as it was given is kept beside it for
//! showing and for executors.
//!
//! Invariant: two symbols with the same key are one instrument for every rule. A key that is too wide makes rules stricter (more exposure is added
//! up, more vetoes match), never weaker.
//!
//! Must not know: rules, lists, storage.

use std::borrow::Borrow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use unicode_normalization::UnicodeNormalization;

/// The shortest alias, in characters of the key. A shorter one would match inside most symbols.
const SHORTEST_ALIAS: usize = 2;

/// The key that all spellings of one instrument share.
///
/// It is the symbol in Unicode normalisation form KC, in upper case, without separators (`-`, `_`, `/`, `:`, `.` and white space), with the
/// operator's aliases resolved. Every other character is kept: `M&M`, `ES=F` and `@107` are keys as they stand.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct InstrumentKey(Arc<str>);

impl InstrumentKey {
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

/// Why an alias is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// The alias or what it stands for is too short.
    #[error("{0:?} has fewer than {SHORTEST_ALIAS} letters, digits or signs apart from separators")]
    TooShort(String),
    /// Following the aliases from this one leads back to it.
    #[error("{0:?} stands for itself, directly or through other aliases")]
    Cycle(String),
}

/// The operator's aliases of instruments and currencies, e.g. `XBT` for `BTC`.
///
/// An alias is replaced where it is a whole key, the start of a key or the end of one: with `XBT = "BTC"`, `XBT-USD`, `XBTUSD` and `BTC/USD` have
/// the key `BTCUSD`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstrumentAliases {
    /// Alias to what it stands for, both in the form of a key, in the order in which they are tried: the longest alias first.
    entries: Vec<(String, String)>,
}

impl InstrumentAliases {
    /// Makes the table from pairs of an alias and what it stands for.
    ///
    /// # Errors
    /// [`AliasError`] for the first pair that is refused.
    pub fn new<'a>(
        pairs: impl IntoIterator<Item = (&'a str, &'a str)>,
    ) -> Result<Self, AliasError> {
        let mut direct = BTreeMap::new();
        for (alias, meaning) in pairs {
            let (from, to) = (fold_symbol(alias), fold_symbol(meaning));
            for (folded, given) in [(&from, alias), (&to, meaning)] {
                if folded.chars().count() < SHORTEST_ALIAS {
                    return Err(AliasError::TooShort(given.to_owned()));
                }
            }
            direct.insert(from, to);
        }
        let mut entries = Vec::with_capacity(direct.len());
        for alias in direct.keys() {
            let mut meaning = &direct[alias];
            let mut steps = 0;
            while let Some(next) = direct.get(meaning) {
                steps += 1;
                if steps > direct.len() {
                    return Err(AliasError::Cycle(alias.clone()));
                }
                meaning = next;
            }
            entries.push((alias.clone(), meaning.clone()));
        }
        entries.sort_by(|(a, _), (b, _)| b.len().cmp(&a.len()).then_with(|| a.cmp(b)));
        Ok(Self { entries })
    }

    /// Returns the key of the instrument that a symbol names.
    #[must_use]
    pub fn find_key(&self, symbol: &str) -> InstrumentKey {
        let mut key = fold_symbol(symbol);
        // The start first, then the end: the same two steps for every spelling, so that spellings of one key stay one key.
        if let Some((alias, meaning)) = self
            .entries
            .iter()
            .find(|(alias, _)| key.starts_with(alias.as_str()))
        {
            key = format!("{meaning}{}", &key[alias.len()..]);
        }
        if let Some((alias, meaning)) = self
            .entries
            .iter()
            .find(|(alias, _)| key.ends_with(alias.as_str()))
        {
            key.truncate(key.len() - alias.len());
            key.push_str(meaning);
        }
        InstrumentKey(key.into())
    }
}

/// Removes what differs between spellings: compatibility forms of characters, case and separators.
fn fold_symbol(symbol: &str) -> String {
    let is_separator = |c: &char| matches!(c, '-' | '_' | '/' | ':' | '.') || c.is_whitespace();
    if symbol.is_ascii() {
        return symbol
            .chars()
            .filter(|c| !is_separator(c))
            .map(|c| c.to_ascii_uppercase())
            .collect();
    }
    // Upper case can leave the normal form (`ß`), so the text is normalised again.
    let upper: String = symbol.nfkc().flat_map(char::to_uppercase).collect();
    upper.nfkc().filter(|c| !is_separator(c)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_spellings_of_an_instrument_have_one_key() {
        let aliases = InstrumentAliases::new([("XBT", "BTC"), ("xdg", "DOGE")]).unwrap();
        for (symbol, key) in [
            ("BTC-USD", "BTCUSD"),
            ("BTC/USD", "BTCUSD"),
            ("BTC_USD", "BTCUSD"),
            ("BTCUSD", "BTCUSD"),
            ("BTC:USD", "BTCUSD"),
            ("BTC.USD", "BTCUSD"),
            ("btc-usd", "BTCUSD"),
            ("BTC USD", "BTCUSD"),
            ("\u{ff22}\u{ff34}\u{ff23}\u{ff0f}USD", "BTCUSD"),
            ("XBT-USD", "BTCUSD"),
            ("XBTUSD", "BTCUSD"),
            ("USD/XBT", "USDBTC"),
            ("XBT", "BTC"),
            ("XDGXBT", "DOGEBTC"),
            ("M&M", "M&M"),
            ("ES=F", "ES=F"),
            ("@107", "@107"),
            ("BRK.B", "BRKB"),
            (
                "\u{5e01}\u{5b89}\u{4eba}\u{751f}/USDT:USDT",
                "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDTUSDT",
            ),
        ] {
            assert_eq!(aliases.find_key(symbol).as_str(), key, "{symbol}");
        }
    }

    #[test]
    fn aliases_that_cannot_be_resolved_are_refused() {
        assert_eq!(
            InstrumentAliases::new([("X", "BTC")]),
            Err(AliasError::TooShort("X".to_owned()))
        );
        assert_eq!(
            InstrumentAliases::new([("XBT", "-/")]),
            Err(AliasError::TooShort("-/".to_owned()))
        );
        assert_eq!(
            InstrumentAliases::new([("AA", "BB"), ("BB", "AA")]),
            Err(AliasError::Cycle("AA".to_owned()))
        );
        let chain = InstrumentAliases::new([("AA", "BB"), ("BB", "CC")]).unwrap();
        assert_eq!(chain.find_key("AA-X").as_str(), "CCX");
    }
}
