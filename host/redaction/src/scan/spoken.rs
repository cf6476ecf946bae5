//! Secrets in sentences: `password is …`, `пароль …`, `密码是…`, `Bearer …`, and the words of a wallet.

use std::sync::LazyLock;

use super::values::{Style, is_secret};
use super::{Scanner, is_unspaced};
use crate::names::find_secret_meaning;
use crate::table::FindingKind;
use crate::vocabulary::{FOREIGN, Meaning};

/// Words after which a secret can follow without `:` or `=`.
const SPOKEN: &[&str] = &[
    "password",
    "passwort",
    "kennwort",
    "passwd",
    "passphrase",
    "passcode",
    "pwd",
    "pw",
    "secret",
    "contrasena",
    "senha",
    "wachtwoord",
    "parola",
    "passe",
    "key",
    "apikey",
    "token",
    "jwt",
    "phrase",
    "mnemonic",
    "words",
    "bearer",
];
/// Words between the name and the value.
const FILLERS: &[&str] = &[
    "is",
    "was",
    "are",
    "to",
    "ist",
    "lautet",
    "war",
    "est",
    "es",
    "era",
    "is:",
    "e",
    "é",
    "è",
    "это",
    "был",
    "=",
    "-",
    "–",
    "—",
    "->",
    "=>",
    "είναι",
    "है",
    "คือ",
    "は",
    "now",
];
/// The same in scripts without spaces, where they follow at once.
const JOINED_FILLERS: &[&str] = &["是", "为", "為", "は", "が", "는", "은", "คือ"];
/// How many fillers may stand between.
const MAX_FILLERS: usize = 2;
/// The fewest characters of a token after `Bearer`.
const MIN_BEARER: usize = 16;

/// For each first letter, the lengths of the words in [`SPOKEN`], as bits.
static SPOKEN_LENGTHS: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let mut lengths = [0; 256];
    for word in SPOKEN {
        lengths[usize::from(word.as_bytes()[0])] |= 1 << word.len();
    }
    lengths
});

/// The first characters of [`FOREIGN`], lower-cased, sorted.
static FOREIGN_STARTS: LazyLock<Vec<char>> = LazyLock::new(|| {
    let mut starts: Vec<char> = FOREIGN
        .iter()
        .filter_map(|(word, _)| word.chars().next())
        .collect();
    starts.sort_unstable();
    starts.dedup();
    starts
});

impl Scanner<'_> {
    /// Scans what follows a word and white space.
    pub(super) fn scan_spoken(&mut self, start: usize, end: usize) {
        let word = &self.text[start..end];
        if !(2..=10).contains(&word.len())
            || SPOKEN_LENGTHS[usize::from(word.as_bytes()[0].to_ascii_lowercase())]
                & (1 << word.len())
                == 0
            || !SPOKEN.iter().any(|known| known.eq_ignore_ascii_case(word))
        {
            return;
        }
        if word.eq_ignore_ascii_case("bearer") {
            self.take_bearer(end);
            return;
        }
        // With the words before it: `secret key …`, `seed phrase …`.
        let mut from = start.saturating_sub(32);
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        let phrase = &self.text[from..end];
        let phrase = phrase
            .rsplit_once(['\n', '.', ',', ';', '(', '"'])
            .map_or(phrase, |(_, rest)| rest);
        match find_secret_meaning(phrase) {
            Some(Meaning::SeedPhrase) => {
                self.take_seed_phrase(end);
            }
            Some(meaning @ (Meaning::Secret(_) | Meaning::BareToken)) => {
                self.take_spoken(end, meaning);
            }
            _ => {}
        }
    }

    /// Scans a name in another script that begins at `at`, and what follows it. Returns where to go on.
    pub(super) fn scan_foreign(&mut self, at: usize) -> usize {
        let Some(first) = self.text[at..].chars().next() else {
            return at + 1;
        };
        let next = at + first.len_utf8();
        let lower = first.to_lowercase().next().unwrap_or(first);
        if FOREIGN_STARTS.binary_search(&lower).is_err() {
            return next;
        }
        let longest = FOREIGN
            .iter()
            .filter_map(|(word, meaning)| Some((self.match_foreign(at, word)?, *meaning)))
            .max_by_key(|(end, _)| *end);
        let Some((end, meaning)) = longest else {
            return next;
        };
        match meaning {
            Meaning::SeedPhrase => {
                self.take_seed_phrase(end);
            }
            meaning => self.take_spoken(end, meaning),
        }
        next
    }

    fn match_foreign(&self, at: usize, word: &str) -> Option<usize> {
        let mut text = self.text[at..].char_indices();
        for expected in word.chars() {
            let (_, found) = text.next()?;
            if found != expected && !found.to_lowercase().eq([expected]) {
                return None;
            }
        }
        Some(
            text.next()
                .map_or(self.bytes.len(), |(offset, _)| at + offset),
        )
    }

    /// Scans the value after a name that ends at `end`, with nothing but white space and fillers between.
    fn take_spoken(&mut self, end: usize, meaning: Meaning) {
        let mut start = end;
        for _ in 0..=MAX_FILLERS {
            start = self.skip_some(start, 4, |byte| matches!(byte, b' ' | b'\t'));
            let rest = &self.text[start..self.clip_end(start, 32)];
            let joined = JOINED_FILLERS
                .iter()
                .find(|filler| rest.starts_with(**filler));
            let word = rest.split(char::is_whitespace).next().unwrap_or("");
            if rest.starts_with([':', '=']) && !word.is_empty() {
                // With a separator it is an assignment's.
                return;
            }
            start += match joined {
                Some(filler) => filler.len(),
                None if FILLERS.contains(&word.to_lowercase().as_str()) => word.len(),
                None => break,
            };
        }
        let is_joined = start == end;
        let begins_foreign = self.text[start..].starts_with(is_unspaced);
        if is_joined && self.byte(start).is_ascii() || begins_foreign {
            // Letters that go on are another word, unless the scripts differ: `密钥AKIA…`.
            if begins_foreign
                || !self.byte(start).is_ascii_alphanumeric()
                || self.before(start).is_ascii()
            {
                return;
            }
        }
        let Some(value) = self.value_at(start, false) else {
            return;
        };
        let text = &self.text[value.range.clone()];
        if is_secret(text, meaning, Style::Spoken) {
            let kind = match meaning {
                Meaning::Secret(kind) => kind,
                _ => FindingKind::AccessToken,
            };
            self.push(kind, value.range);
        }
    }

    fn take_bearer(&mut self, end: usize) {
        let start = self.skip_some(end, 4, |byte| byte.is_ascii_whitespace());
        let stop = self.skip_some(start, 8192, |byte| {
            byte.is_ascii_alphanumeric() || b"._~+/=-".contains(&byte)
        });
        let token = self.text[start..stop].trim_end_matches('.');
        if token.len() >= MIN_BEARER && token.bytes().any(|byte| byte.is_ascii_digit()) {
            self.push(FindingKind::BearerToken, start..start + token.len());
        }
    }
}
