//! The operator's aliases of instruments and currencies.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::key::{InstrumentKey, fold_symbol};
use crate::symbol::{SymbolError, check_symbol};

/// The most aliases of a table. Each is compared with every symbol that is judged.
pub const MAX_ALIASES: usize = 1_000;
/// The shortest alias, in characters of the key. A shorter one would match inside most symbols.
const SHORTEST_ALIAS: usize = 2;

/// Why an alias is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AliasError {
    /// The alias or what it stands for is too short.
    #[error(
        "{0:?} has fewer than {SHORTEST_ALIAS} letters, digits or signs apart from separators; give a longer name"
    )]
    TooShort(String),
    /// The alias or what it stands for is no symbol.
    #[error("{name:?} is no symbol: it {reason}")]
    NoSymbol {
        /// The alias, or what it stands for.
        name: String,
        /// What is wrong with it, and the remedy.
        reason: SymbolError,
    },
    /// Two spellings of one alias stand for different things.
    #[error("{0:?} stands for two things, in two spellings of it; keep one of them")]
    Ambiguous(String),
    /// Following the aliases from this one leads back to it.
    #[error("{0:?} stands for itself, directly or through other aliases; take it out")]
    Cycle(String),
    /// There are more than [`MAX_ALIASES`].
    #[error("there are more than {MAX_ALIASES} aliases; take some out")]
    TooMany,
}

/// The operator's aliases of instruments and currencies, e.g. `XBT` for `BTC`. Cheap to clone.
///
/// An alias is replaced where it is a whole key, the start of a key or the end of one: with `XBT = "BTC"`, `XBT-USD`, `XBTUSD` and `BTC/USD` have
/// the key `BTCUSD`. The longest name that stands at an end counts, be it an alias or what one stands for: with `USD = "USDT"`, `USDT-BTC` stays
/// `USDTBTC`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct InstrumentAliases {
    /// The longest name first.
    pub(crate) names: Arc<[KnownName]>,
}

/// An alias, or what an alias stands for, in the form of a key.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct KnownName {
    pub(crate) name: String,
    /// `None`: it stands for nothing else.
    pub(crate) meaning: Option<String>,
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
            let (from, to) = (fold_name(alias)?, fold_name(meaning)?);
            if direct
                .insert(from, to.clone())
                .is_some_and(|other| other != to)
            {
                return Err(AliasError::Ambiguous(alias.to_owned()));
            }
            if direct.len() > MAX_ALIASES {
                return Err(AliasError::TooMany);
            }
        }
        let mut names = BTreeMap::new();
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
            names.entry(meaning.clone()).or_insert(None);
            names.insert(alias.clone(), Some(meaning.clone()));
        }
        let mut names: Vec<KnownName> = names
            .into_iter()
            .map(|(name, meaning)| KnownName { name, meaning })
            .collect();
        names.sort_by(|a, b| {
            let by_length = b.name.len().cmp(&a.name.len());
            by_length.then_with(|| a.name.cmp(&b.name))
        });
        Ok(Self {
            names: names.into(),
        })
    }

    /// Returns the key of the instrument that a symbol names.
    #[must_use]
    pub fn find_key(&self, symbol: &str) -> InstrumentKey {
        let mut key = fold_symbol(symbol);
        let mut seen = Vec::new();
        while let Some(next) = self.replace_one(&key) {
            seen.push(key);
            // Aliases that overlap can lead in a circle. Its smallest text is the key then, wherever the circle was entered.
            if let Some(start) = seen.iter().position(|earlier| *earlier == next) {
                let smallest = seen.drain(start..).min();
                return InstrumentKey::from_folded(smallest.unwrap_or(next));
            }
            key = next;
        }
        InstrumentKey::from_folded(key)
    }

    /// Whether there are no aliases.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Replaces an alias at the start of a key, or else one at the end of what follows the name at the start. `None`: there is none.
    fn replace_one(&self, key: &str) -> Option<String> {
        let first = self
            .names
            .iter()
            .find(|known| key.starts_with(known.name.as_str()));
        let (start, rest) = key.split_at(first.map_or(0, |known| known.name.len()));
        if let Some(meaning) = first.and_then(|known| known.meaning.as_ref()) {
            return Some(format!("{meaning}{rest}"));
        }
        let last = self
            .names
            .iter()
            .find(|known| rest.ends_with(known.name.as_str()))?;
        let meaning = last.meaning.as_ref()?;
        let middle = &rest[..rest.len() - last.name.len()];
        Some(format!("{start}{middle}{meaning}"))
    }
}

fn fold_name(name: &str) -> Result<String, AliasError> {
    check_symbol(name).map_err(|reason| AliasError::NoSymbol {
        name: name.to_owned(),
        reason,
    })?;
    let folded = fold_symbol(name);
    if folded.chars().count() < SHORTEST_ALIAS {
        return Err(AliasError::TooShort(name.to_owned()));
    }
    Ok(folded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

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
            ("BTC|USD", "BTCUSD"),
            ("BTC+USD", "BTCUSD"),
            ("BTC\u{2013}USD", "BTCUSD"),
            ("BTC\u{2215}USD", "BTCUSD"),
            ("BTC\u{b7}USD", "BTCUSD"),
            ("BTC\u{2605}USD", "BTCUSD"),
            ("\u{ff22}\u{ff34}\u{ff23}\u{ff0f}USD", "BTCUSD"),
            ("\u{1d401}\u{1d413}\u{1d402}USD", "BTCUSD"),
            ("$BTC/USD", "BTCUSD"),
            ("XBT-USD", "BTCUSD"),
            ("XBTUSD", "BTCUSD"),
            ("X-B-T/USD", "BTCUSD"),
            ("USD/XBT", "USDBTC"),
            ("XBT", "BTC"),
            ("XDGXBT", "DOGEBTC"),
            ("M&M", "M&M"),
            ("ES=F", "ES=F"),
            ("@107", "@107"),
            ("^GSPC", "^GSPC"),
            ("BRK.B", "BRKB"),
            ("BRK B", "BRKB"),
            ("\u{1f438}/USDT", "\u{1f438}USDT"),
            (
                "\u{5e01}\u{5b89}\u{4eba}\u{751f}/USDT:USDT",
                "\u{5e01}\u{5b89}\u{4eba}\u{751f}USDTUSDT",
            ),
        ] {
            assert_eq!(aliases.find_key(symbol).as_str(), key, "{symbol}");
        }
    }

    #[test]
    fn aliases_that_contain_each_other_give_one_key() {
        for (pairs, one, other) in [
            (vec![("USD", "USDT")], "USD/BTC", "USDT/BTC"),
            (vec![("USD", "USDT")], "BTC/USD", "BTC/USDT"),
            (
                vec![("USDT", "USD"), ("USDC", "USD")],
                "BTC-USDT",
                "BTC-USDC",
            ),
            (
                vec![("WBTC", "BTC"), ("BTCB", "BTC")],
                "WBTC/ETH",
                "BTCB/ETH",
            ),
            (
                vec![("WBTC", "BTC"), ("BTCB", "BTC")],
                "ETH/WBTC",
                "ETH/BTC",
            ),
            (
                vec![("XXBT", "XBT"), ("XBT", "BTC"), ("ZUSD", "USD")],
                "XXBTZUSD",
                "BTC-USD",
            ),
        ] {
            let aliases = InstrumentAliases::new(pairs.clone()).unwrap();
            let (one, other) = (aliases.find_key(one), aliases.find_key(other));
            assert_eq!(one, other, "{pairs:?}");
        }
    }

    #[test]
    fn aliases_that_cannot_be_resolved_are_refused() {
        assert_eq!(
            InstrumentAliases::new([("X", "BTC")]),
            Err(AliasError::TooShort("X".to_owned()))
        );
        for no_symbol in ["-/", "", "B\u{200b}TC", "\u{412}TC"] {
            assert!(matches!(
                InstrumentAliases::new([("XBT", no_symbol)]),
                Err(AliasError::NoSymbol { name, .. }) if name == no_symbol
            ));
        }
        assert_eq!(
            InstrumentAliases::new([("AA", "BB"), ("BB", "AA")]),
            Err(AliasError::Cycle("AA".to_owned()))
        );
        assert_eq!(
            InstrumentAliases::new([("XBT", "BTC"), ("x-bt", "ETH")]),
            Err(AliasError::Ambiguous("x-bt".to_owned()))
        );
        let many: Vec<String> = (0..=MAX_ALIASES)
            .map(|number| format!("A{number}X"))
            .collect();
        let many = many.iter().map(|alias| (alias.as_str(), "BTC"));
        assert_eq!(InstrumentAliases::new(many), Err(AliasError::TooMany));
        let chain = InstrumentAliases::new([("AA", "BB"), ("BB", "CC")]).unwrap();
        assert_eq!(chain.find_key("AA-X").as_str(), "CCX");
    }

    #[test]
    fn aliases_that_turn_in_a_circle_still_give_a_key() {
        let aliases =
            InstrumentAliases::new([("AB", "QAB"), ("BTCQ", "BTC"), ("QQ", "AB")]).unwrap();
        for symbol in ["BTCAB", "BTCQAB", "QQAB", "ABQQ"] {
            let key = aliases.find_key(symbol);
            assert_eq!(aliases.find_key(key.as_str()), key, "{symbol}");
        }
    }

    /// Tables of aliases over a small alphabet, so that they overlap.
    fn tables() -> impl Strategy<Value = Vec<(String, String)>> {
        proptest::collection::vec(("[AB]{2,4}", "[ABC]{2,4}"), 0..5)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_key_of_a_key_is_itself(pairs in tables(), symbol in "[ABC]{0,12}|\\PC{0,12}|.{0,12}") {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            if let Ok(aliases) = InstrumentAliases::new(pairs) {
                let key = aliases.find_key(&symbol);
                prop_assert_eq!(aliases.find_key(key.as_str()), key);
            }
        }

        #[test]
        fn separators_and_case_change_no_key(
            pairs in tables(),
            symbol in "[A-C&=0-9]{1,12}",
            marks in proptest::collection::vec((0_usize..13, "[-_/:. ,\u{2013}\u{2215}]{1,2}", any::<bool>()), 0..6),
        ) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(a, b)| (a.as_str(), b.as_str())).collect();
            if let Ok(aliases) = InstrumentAliases::new(pairs) {
                let mut spelling = symbol.clone();
                for (place, separators, lower) in marks {
                    let place = place.min(spelling.len());
                    if spelling.is_char_boundary(place) {
                        spelling.insert_str(place, &separators);
                    }
                    if lower {
                        spelling = spelling.to_lowercase();
                    }
                }
                prop_assert_eq!(aliases.find_key(&spelling), aliases.find_key(&symbol));
            }
        }
    }
}
