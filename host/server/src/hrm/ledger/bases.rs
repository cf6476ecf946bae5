//! Bases of pairs: `BTC` of `BTC-USD`. Texts that promote name the base alone (`Buy BTC now`), and the sale is of a pair.
//!
//! Must not know: what a promotion is, or how long it counts.

use ark_model::instrument::{InstrumentAliases, InstrumentKey};

/// The longest ticker, in characters.
const LONGEST_TICKER: usize = 12;
/// What instruments are quoted in: currencies, stablecoins, the coins that others are traded against, and the mark of perpetual contracts.
const QUOTES: [&str; 24] = [
    "USD", "USDT", "USDC", "EUR", "GBP", "JPY", "CHF", "AUD", "CAD", "KRW", "TRY", "BRL", "INR",
    "SGD", "HKD", "BUSD", "FDUSD", "TUSD", "DAI", "BTC", "ETH", "BNB", "PERP", "USDTPERP",
];
/// The separators between the two parts of a currency pair.
const PAIR_SEPARATORS: [char; 7] = ['-', '/', '_', ':', ' ', '\u{ff0f}', '\u{ff0d}'];

/// Returns whether a word is written as a ticker: letters, none of them in lower case, and digits. `ONE`, `GAS` and `NEAR` are words and
/// tickers; written like this they are taken for the latter where [`knows_base`] holds.
pub(super) fn is_ticker(word: &str) -> bool {
    let mut chars = word.chars();
    (2..=LONGEST_TICKER).contains(&word.chars().count())
        && chars.all(|c| c.is_alphanumeric() && !c.is_lowercase())
        && word.contains(char::is_alphabetic)
}

/// Returns whether a word is the base of a pair that is known: `BTC`, if `BTC-USD` is.
pub(super) fn knows_base(
    word: &str,
    aliases: &InstrumentAliases,
    is_known: impl Fn(&InstrumentKey) -> bool,
) -> bool {
    QUOTES
        .iter()
        .any(|quote| is_known(&aliases.find_key(&format!("{word}-{quote}"))))
}

/// Returns the keys of the bases that an instrument may have: of a pair that is written with a separator the first part, of another symbol
/// what stands in its key before each quote that it may end with (`BTCBUSD` is `BTCB` in USD or `BTC` in BUSD). None: it is no pair.
pub(super) fn find_base_keys(
    symbol: &str,
    key: &InstrumentKey,
    aliases: &InstrumentAliases,
) -> Vec<InstrumentKey> {
    let bases: Vec<String> = match symbol.split_once(PAIR_SEPARATORS) {
        Some((base, _)) => vec![base.to_owned()],
        None => {
            let before = |quote: &&str| key.as_str().strip_suffix(*quote).map(str::to_owned);
            QUOTES.iter().filter_map(before).collect()
        }
    };
    let mut keys: Vec<InstrumentKey> = Vec::new();
    for base in bases {
        let key = aliases.find_key(&base);
        if base.chars().nth(1).is_some() && !keys.contains(&key) {
            keys.push(key);
        }
    }
    keys
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tickers_are_told_by_their_case() {
        for ticker in ["BTC", "ONE", "1INCH", "C98", "\u{ff22}\u{ff34}\u{ff23}"] {
            assert!(is_ticker(ticker), "{ticker}");
        }
        for word in [
            "Btc",
            "btc",
            "one",
            "A",
            "10",
            "BTC-USD",
            "",
            "ABCDEFGHIJKLM",
        ] {
            assert!(!is_ticker(word), "{word}");
        }
    }

    #[test]
    fn the_base_of_a_pair_is_found_in_every_spelling() {
        let aliases = InstrumentAliases::default();
        for (symbol, bases) in [
            ("BTC-USD", &["BTC"][..]),
            ("btc/usd", &["BTC"]),
            ("BTCUSD", &["BTC"]),
            ("BTCUSDT", &["BTC"]),
            ("BTCB-USD", &["BTCB"]),
            ("BTCBUSD", &["BTCB", "BTC"]),
            ("SOL-BTC", &["SOL"]),
            ("ETH-XAU", &["ETH"]),
            ("DOGE", &[]),
            ("USD", &[]),
            ("TUSD", &[]),
        ] {
            let found = find_base_keys(symbol, &aliases.find_key(symbol), &aliases);
            let found: Vec<&str> = found.iter().map(InstrumentKey::as_str).collect();
            assert_eq!(found, bases, "{symbol}");
        }
    }
}
