//! Which texts are symbols.

use std::fmt;

use unicode_normalization::UnicodeNormalization;
use unicode_normalization::char::is_combining_mark;
use unicode_script::{Script, UnicodeScript};
use unicode_security::confusable_detection::skeleton;

use crate::characters::is_forbidden;
use crate::key::fold_symbol;

/// The longest symbol, in characters. The longest in use are addresses and token ids of about 80.
pub const MAX_SYMBOL_CHARS: usize = 128;
/// The longest symbol and the longest key, in bytes.
pub const MAX_SYMBOL_BYTES: usize = 192;

/// Why a text is no symbol. As text it is a predicate of the field, then the remedy: "is empty; give ...".
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SymbolError {
    /// It is empty or white space.
    Empty,
    /// It is longer than a symbol can be.
    TooLong {
        /// Its characters.
        chars: usize,
        /// Its bytes.
        bytes: usize,
    },
    /// It begins or ends with a blank.
    OuterBlank,
    /// It has a character that cannot be seen or has no meaning.
    Forbidden(char),
    /// It has neither a letter nor a digit.
    NoLetter,
    /// It has a combining mark that no letter of its script bears.
    Mark(char),
    /// One of its words is made of letters of several scripts.
    MixedScripts(String),
    /// One of its words looks like another one in ASCII.
    LooksLike {
        /// The word.
        word: String,
        /// What it looks like.
        latin: String,
    },
}

impl std::error::Error for SymbolError {}

impl SymbolError {
    /// What is wrong, as a predicate of the field.
    #[must_use]
    pub fn problem(&self) -> String {
        match self {
            Self::Empty => "is empty".to_owned(),
            Self::TooLong { chars, bytes } => {
                format!("is {chars} characters and {bytes} bytes long")
            }
            Self::OuterBlank => "begins or ends with a blank".to_owned(),
            Self::Forbidden(c) => format!("contains U+{:04X}", u32::from(*c)),
            Self::NoLetter => "has neither a letter nor a digit".to_owned(),
            Self::Mark(c) => format!("contains the combining mark U+{:04X}", u32::from(*c)),
            Self::MixedScripts(word) => format!(
                "mixes letters of several scripts in {word:?} ({})",
                list_code_points(word)
            ),
            Self::LooksLike { word, latin } => format!(
                "contains {word:?} ({}), which looks like {latin:?}",
                list_code_points(word)
            ),
        }
    }

    /// What would be right, as a request.
    #[must_use]
    pub fn remedy(&self) -> String {
        match self {
            Self::Empty | Self::NoLetter => "name an instrument, e.g. BTC-USD".to_owned(),
            Self::TooLong { .. } => {
                format!("give {MAX_SYMBOL_CHARS} characters and {MAX_SYMBOL_BYTES} bytes at most")
            }
            Self::OuterBlank => "take the blank away".to_owned(),
            Self::Forbidden(_) => {
                "give a symbol without control, invisible or private characters; of white space only the blank".to_owned()
            }
            Self::Mark(_) => "write the letter without it".to_owned(),
            Self::MixedScripts(_) => "write each word in one script".to_owned(),
            Self::LooksLike { .. } => "write it in ASCII letters and digits".to_owned(),
        }
    }
}

impl fmt::Display for SymbolError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.problem(), self.remedy())
    }
}

/// The characters of a word outside ASCII, by number: what looks alike cannot be told apart by its look.
fn list_code_points(word: &str) -> String {
    let numbers: Vec<String> = word
        .chars()
        .filter(|c| !c.is_ascii())
        .take(4)
        .map(|c| format!("U+{:04X}", u32::from(c)))
        .collect();
    numbers.join(" ")
}

/// Checks that a text is a symbol. Letters of every script are taken, and every visible sign; the spelling is kept as it is.
///
/// # Errors
/// The text is empty, too long, begins or ends with a blank, has invisible characters or neither letter nor digit; or it is not what it
/// looks like: a mark on a Latin letter, a word of several scripts (but for Latin with Chinese, Japanese or Korean), a word that looks like
/// another one in ASCII.
pub fn check_symbol(symbol: &str) -> Result<(), SymbolError> {
    let chars = symbol.chars().count();
    if chars > MAX_SYMBOL_CHARS || symbol.len() > MAX_SYMBOL_BYTES {
        return Err(SymbolError::TooLong {
            chars,
            bytes: symbol.len(),
        });
    }
    if symbol.trim().is_empty() {
        return Err(SymbolError::Empty);
    }
    if let Some(c) = symbol.chars().find(|c| is_forbidden(*c)) {
        return Err(SymbolError::Forbidden(c));
    }
    if symbol.starts_with(' ') || symbol.ends_with(' ') {
        return Err(SymbolError::OuterBlank);
    }
    if symbol.is_ascii() {
        return if symbol.bytes().any(|b| b.is_ascii_alphanumeric()) {
            Ok(())
        } else {
            Err(SymbolError::NoLetter)
        };
    }
    let normal: String = symbol.nfkc().collect();
    check_marks(&normal)?;
    for word in normal.split(|c: char| !c.is_alphanumeric() && !is_combining_mark(c)) {
        check_word(word)?;
    }
    let folded = fold_symbol(symbol);
    if !folded.chars().any(char::is_alphanumeric) {
        return Err(SymbolError::NoLetter);
    }
    if folded.len() > MAX_SYMBOL_BYTES {
        return Err(SymbolError::TooLong {
            chars: folded.chars().count(),
            bytes: folded.len(),
        });
    }
    Ok(())
}

/// Checks that each combining mark belongs to the letter before it. Normalisation has already joined those that make a letter of their own.
fn check_marks(normal: &str) -> Result<(), SymbolError> {
    let mut base = None;
    for c in normal.chars() {
        if !is_combining_mark(c) {
            base = c.is_alphabetic().then(|| c.script());
            continue;
        }
        let scripts = c.script_extension();
        let fits = base.is_some_and(|base| {
            !is_without_marks(base)
                && !scripts.is_common()
                && !scripts.is_inherited()
                && scripts.contains_script(base)
        });
        if !fits {
            return Err(SymbolError::Mark(c));
        }
    }
    Ok(())
}

/// Whether every mark that a script uses makes a letter of its own in normal form.
fn is_without_marks(script: Script) -> bool {
    matches!(
        script,
        Script::Common | Script::Inherited | Script::Latin | Script::Greek | Script::Cyrillic
    ) || is_east_asian(script)
}

fn is_east_asian(script: Script) -> bool {
    matches!(
        script,
        Script::Han | Script::Hiragana | Script::Katakana | Script::Bopomofo | Script::Hangul
    )
}

/// Checks that a word is what it looks like.
fn check_word(word: &str) -> Result<(), SymbolError> {
    if word.is_ascii() {
        return Ok(());
    }
    let mut scripts: Vec<Script> = Vec::new();
    for script in word.chars().map(|c| c.script()) {
        if !matches!(script, Script::Common | Script::Inherited) && !scripts.contains(&script) {
            scripts.push(script);
        }
    }
    let mixes = |script: &Script| *script == Script::Latin || is_east_asian(*script);
    if scripts.len() > 1 && !scripts.iter().all(mixes) {
        return Err(SymbolError::MixedScripts(word.to_owned()));
    }
    let upper: String = word.chars().flat_map(char::to_uppercase).collect();
    for form in [word, upper.as_str()] {
        let latin: String = skeleton(form).collect();
        if !form.is_ascii() && latin.is_ascii() {
            return Err(SymbolError::LooksLike {
                word: form.to_owned(),
                latin,
            });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_in_use_are_taken() {
        for symbol in [
            "BTC-USD",
            "btc-usd",
            "kPEPE",
            "M&M",
            "ES=F",
            "EURUSD=X",
            "@107",
            "@ES#",
            "ES1!",
            "BRK.B",
            "BRK B",
            "^GSPC",
            "$SPX",
            "EUR/USD",
            "1000PEPE-USDT",
            "BTC-27DEC24-100000-C",
            "AAPL  241220C00150000",
            "BTC/USDT:USDT-241227",
            "7203.T",
            "0700.HK",
            "A",
            "9",
            "xyz:TSLA",
            "0x1f9840a85d5af5bf1d1762f925bdaddc4201f984",
            "71321045679252212594626385532706912750332728571942532289631379312455583992563",
            "\u{5e01}\u{5b89}\u{4eba}\u{751f}/USDT:USDT",
            "\u{7389}\u{7c73}2501",
            "\u{65e5}\u{7d4c}225",
            "\u{c0bc}\u{c131}\u{c804}\u{c790}",
            "\u{440}\u{443}\u{431}\u{43b}\u{44c}/USDT",
            "\u{645}\u{635}\u{631}",
            "\u{930}\u{941}\u{92a}\u{92f}\u{93e}",
            "\u{e1a}\u{e32}\u{e17}\u{e48}",
            "CAF\u{c9}",
            "CAFE\u{301}",
            "\u{ff22}\u{ff34}\u{ff23}/USD",
            "\u{1f438}/USDT",
            "\u{20bf}/USD",
            "BTC\u{2013}USD",
        ] {
            assert_eq!(check_symbol(symbol), Ok(()), "{symbol}");
        }
    }

    #[test]
    fn what_is_no_symbol_is_refused_with_the_remedy() {
        let long = "A".repeat(MAX_SYMBOL_CHARS + 1);
        // One ligature of three bytes that stands for eighteen characters.
        let swelling = "\u{fdfa}".repeat(20);
        for (symbol, problem) in [
            ("", "is empty"),
            ("   ", "is empty"),
            ("\u{3000}", "is empty"),
            (long.as_str(), "is 129 characters"),
            (swelling.as_str(), "bytes long"),
            (" BTC", "begins or ends with a blank"),
            ("BTC ", "begins or ends with a blank"),
            ("BTC\n", "contains U+000A"),
            ("BTC\u{7f}", "contains U+007F"),
            ("BTC\u{0}USD", "contains U+0000"),
            ("BTC\u{a0}USD", "contains U+00A0"),
            ("BTC\u{200b}USD", "contains U+200B"),
            ("\u{202e}DSU-CTB", "contains U+202E"),
            ("BTC\u{ad}USD", "contains U+00AD"),
            ("\u{3164}", "contains U+3164"),
            ("BTC\u{fe0f}", "contains U+FE0F"),
            ("BTC\u{e0041}", "contains U+E0041"),
            ("BTC\u{e000}", "contains U+E000"),
            ("BTC\u{fffd}", "contains U+FFFD"),
            ("BTC\u{1ffff}", "contains U+1FFFF"),
            ("-/", "neither a letter nor a digit"),
            ("$$", "neither a letter nor a digit"),
            ("\u{1f438}", "neither a letter nor a digit"),
            ("BTC\u{336}", "combining mark U+0336"),
            ("B\u{489}TC", "combining mark U+0489"),
            ("\u{301}BTC", "combining mark U+0301"),
            ("\u{5e01}\u{336}", "combining mark U+0336"),
            ("\u{412}TC-USD", "several scripts"),
            ("BT\u{421}-USD", "several scripts"),
            ("\u{392}TC-USD", "several scripts"),
            ("\u{434}oge", "several scripts"),
            // Whole words that look like BTC: Cyrillic (both cases), Greek, Lisu, and a Latin letter that is not the one it looks like.
            ("\u{412}\u{422}\u{421}-USD", "looks like"),
            ("\u{432}\u{442}\u{441}", "looks like"),
            ("\u{395}\u{3a4}\u{397}", "looks like"),
            ("\u{a4d0}\u{a4d4}\u{a4da}", "looks like"),
            ("\u{131}NJ", "looks like"),
            ("\u{661}", "looks like"),
            ("BTC\u{661}", "several scripts"),
        ] {
            let error = check_symbol(symbol).expect_err(symbol);
            assert!(error.problem().contains(problem), "{symbol:?}: {error}");
            assert!(!error.remedy().is_empty());
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
    }
}
