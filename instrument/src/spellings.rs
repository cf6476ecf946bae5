//! The spellings that name one instrument, for what keeps keys that do not depend on the operator's aliases.

use crate::aliases::InstrumentAliases;
use crate::key::{InstrumentKey, fold_symbol};

/// The most spellings of one instrument that are looked for.
pub const MAX_SPELLINGS: usize = 64;

impl InstrumentAliases {
    /// Returns the keys, as they are without aliases, of the spellings that name the same instrument as a symbol: its own key first. There are
    /// [`MAX_SPELLINGS`] of them at most.
    #[must_use]
    pub fn list_spellings(&self, symbol: &str) -> Vec<InstrumentKey> {
        let key = self.find_key(symbol);
        let mut found = vec![key.as_str().to_owned()];
        let mut next = 0;
        while let Some(text) = found.get(next).cloned() {
            next += 1;
            for known in self.names.iter() {
                let Some(meaning) = known.meaning.as_deref() else {
                    continue;
                };
                let starting = text.strip_prefix(meaning);
                let ending = text.strip_suffix(meaning);
                let spellings = [
                    starting.map(|rest| format!("{}{rest}", known.name)),
                    ending.map(|start| format!("{start}{}", known.name)),
                ];
                for spelling in spellings.into_iter().flatten() {
                    if found.len() < MAX_SPELLINGS
                        && !found.contains(&spelling)
                        && self.find_key(&spelling) == key
                    {
                        found.push(spelling);
                    }
                }
            }
        }
        // The symbol's own, where more than so many aliases lead to its instrument.
        let own = fold_symbol(symbol);
        if !found.contains(&own) {
            found.pop();
            found.push(own);
        }
        found.into_iter().map(InstrumentKey::from_folded).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spellings_are_those_of_one_instrument() {
        let aliases = InstrumentAliases::new([("XBT", "BTC"), ("USDT", "USD")]).unwrap();
        let list = |symbol: &str| {
            let mut keys: Vec<String> = aliases
                .list_spellings(symbol)
                .iter()
                .map(InstrumentKey::to_string)
                .collect();
            keys.sort();
            keys
        };
        let bitcoin = ["BTCUSD", "BTCUSDT", "XBTUSD", "XBTUSDT"];
        for spelling in ["btc-usd", "XBT/USDT", "XBTUSD"] {
            assert_eq!(list(spelling), bitcoin, "{spelling}");
        }
        assert_eq!(list("ETH-EUR"), ["ETHEUR"]);
        let names: Vec<String> = (0..200).map(|number| format!("N{number:03}")).collect();
        let many = InstrumentAliases::new(names.iter().map(|name| (name.as_str(), "BTC"))).unwrap();
        let keys = many.list_spellings("N199-USD");
        assert_eq!(keys.len(), MAX_SPELLINGS);
        assert!(keys.contains(&InstrumentKey::from_symbol("N199USD")));
    }
}
