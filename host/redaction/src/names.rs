//! What the name of a JSON member, a variable, a header or a field says about its value.
//!
//! A name is split into words at separators and at changes of case; its last words decide: `DB_PASSWORD`, `dbPassword`, `db-password-2` and
//! `Password` mean the same, `password_policy` and `secret_name` mean nothing. Names of other scripts are compared with [`crate::vocabulary`]'s.

use std::sync::LazyLock;

use crate::table::FindingKind;
use crate::vocabulary::{
    AMOUNTS, FOREIGN, GLUED, HEADS, IDENTIFIERS, KEY_WORDS, Meaning, NEUTRAL, PASSWORDS,
    TOKEN_WORDS,
};

/// The words of a name, lower-cased, without letters beyond ASCII.
struct Words {
    buffer: [u8; Self::MAX_BYTES],
    /// Where each word ends; the next begins there.
    ends: [usize; Self::MAX_WORDS],
    count: usize,
}

impl Words {
    const MAX_BYTES: usize = 96;
    const MAX_WORDS: usize = 16;

    /// Splits the end of a name; what goes beyond the limits at its beginning is left out, since the end decides.
    fn split(name: &str) -> Self {
        let mut bytes = name.as_bytes();
        if bytes.len() > Self::MAX_BYTES {
            bytes = &bytes[bytes.len() - Self::MAX_BYTES..];
        }
        let mut words = Self {
            buffer: [0; Self::MAX_BYTES],
            ends: [0; Self::MAX_WORDS],
            count: 0,
        };
        let mut length = 0;
        let mut start = 0;
        for (index, &byte) in bytes.iter().enumerate() {
            if !byte.is_ascii_alphanumeric() {
                words.end_word(&mut start, length);
                continue;
            }
            let before = index.checked_sub(1).map(|at| bytes[at]);
            let after = bytes.get(index + 1);
            // `dbPassword` and `HTTPToken`: a new word at `P` and at `T`.
            let is_new = byte.is_ascii_uppercase()
                && before.is_some_and(|before| {
                    before.is_ascii_lowercase()
                        || before.is_ascii_digit()
                        || (before.is_ascii_uppercase()
                            && after.is_some_and(u8::is_ascii_lowercase))
                });
            if is_new {
                words.end_word(&mut start, length);
            }
            words.buffer[length] = byte.to_ascii_lowercase();
            length += 1;
        }
        words.end_word(&mut start, length);
        words
    }

    fn end_word(&mut self, start: &mut usize, length: usize) {
        if length == *start {
            return;
        }
        if self.count == Self::MAX_WORDS {
            self.ends.copy_within(1.., 0);
            self.count -= 1;
        }
        self.ends[self.count] = length;
        self.count += 1;
        *start = length;
    }

    /// Returns how many words at the end do not change what the name means: `password_2`, `api_key_old`.
    fn count_neutral(&self) -> usize {
        (0..self.count.saturating_sub(1))
            .take_while(|back| {
                let word = self.word_before_end(*back);
                NEUTRAL.contains(&word) || word.bytes().all(|byte| byte.is_ascii_digit())
            })
            .count()
    }

    /// Returns the word `back` words before the last one without digits at its end, except where they belong to it.
    fn head(&self, back: usize) -> &str {
        match self.word_before_end(back) {
            word @ ("sha256" | "sha1" | "md5" | "crc32" | "cvv2" | "cvc2") => word,
            word => word.trim_end_matches(|c: char| c.is_ascii_digit()),
        }
    }

    /// Returns the word `back` words before the last one; empty when there is none.
    fn word_before_end(&self, back: usize) -> &str {
        let Some(index) = self.count.checked_sub(back + 1) else {
            return "";
        };
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        std::str::from_utf8(&self.buffer[start..self.ends[index]]).unwrap_or("")
    }
}

/// Names of the members that describe a schema or a rule rather than hold a value.
pub(crate) fn is_descriptive(name: &str) -> bool {
    const WORDS: &[&str] = &[
        "type",
        "format",
        "description",
        "title",
        "name",
        "required",
        "pattern",
        "policy",
        "ref",
        "from",
        "env",
        "path",
        "hint",
        "length",
        "min",
        "max",
        "enum",
        "example",
        "kind",
        "label",
        "help",
        "at",
        "status",
        "algorithm",
        "alg",
        "strength",
        "enabled",
        "changed",
        "expired",
        "valid",
        "age",
        "days",
        "minimum",
        "maximum",
        "count",
    ];
    let words = Words::split(name);
    WORDS.contains(&words.word_before_end(0))
        || matches!(
            words.word_before_end(words.count.saturating_sub(1)),
            "min" | "max"
        )
}

/// Returns what a name says about its value; `None`: nothing.
pub(crate) fn find_meaning(name: &str) -> Option<Meaning> {
    find_foreign(name).or_else(|| {
        let words = Words::split(name);
        let back = words.count_neutral();
        find_compound(&words, back).or_else(|| find_number_meaning(words.head(back)))
    })
}

/// As [`find_meaning`], without identifiers and amounts.
pub(crate) fn find_secret_meaning(name: &str) -> Option<Meaning> {
    find_foreign(name).or_else(|| {
        let words = Words::split(name);
        find_compound(&words, words.count_neutral())
    })
}

fn find_foreign(name: &str) -> Option<Meaning> {
    if name.is_ascii() {
        return None;
    }
    let lower = name.trim().to_lowercase();
    FOREIGN
        .iter()
        .find(|(word, _)| lower.ends_with(word))
        .map(|(_, meaning)| *meaning)
}

fn find_compound(words: &Words, back: usize) -> Option<Meaning> {
    let last = words.head(back);
    if !may_be_head(last) {
        return find_glued(last);
    }
    let (before, earlier) = (
        words.word_before_end(back + 1),
        words.word_before_end(back + 2),
    );
    Some(match last {
        "secret" if before == "api" => Meaning::Secret(FindingKind::ApiKey),
        _ if PASSWORDS.contains(&last) => Meaning::Secret(FindingKind::Password),
        "hash" | "digest" if PASSWORDS.contains(&before) => Meaning::Secret(FindingKind::Password),
        "pass" if !before.is_empty() => Meaning::Pass,
        "code" if before == "pin" || before == "pass" => Meaning::Secret(FindingKind::Password),
        "code" if before == "security" && earlier == "card" => Meaning::CardCode,
        "key" | "keys" if before == "private" || before == "priv" => {
            Meaning::Secret(FindingKind::PrivateKey)
        }
        "wif" => Meaning::Secret(FindingKind::PrivateKey),
        "key" | "keys" if KEY_WORDS.contains(&before) => Meaning::Secret(FindingKind::ApiKey),
        "token" | "tokens" if TOKEN_WORDS.contains(&before) => {
            Meaning::Secret(FindingKind::AccessToken)
        }
        "jwt" => Meaning::Secret(FindingKind::AccessToken),
        "token" => Meaning::BareToken,
        "authorization" => Meaning::Authorization,
        "cookie" => Meaning::Cookie,
        "mnemonic" => Meaning::SeedPhrase,
        "phrase" | "words" if matches!(before, "seed" | "recovery" | "backup" | "mnemonic") => {
            Meaning::SeedPhrase
        }
        "cvv" | "cvc" | "cvv2" | "cvc2" => Meaning::CardCode,
        "pan" => Meaning::Card,
        "number" | "no" | "num" => match before {
            "card" | "cc" | "debit" | "credit" => Meaning::Card,
            "phone" | "mobile" | "telephone" | "cell" | "fax" | "tel" => Meaning::Phone,
            "security" if earlier == "social" => Meaning::Ssn,
            "" => return None,
            _ => Meaning::Identifier,
        },
        "card" if matches!(before, "credit" | "debit" | "payment") => Meaning::Card,
        "phone" | "telephone" | "mobile" | "cell" | "fax" | "tel" | "msisdn" | "whatsapp" => {
            Meaning::Phone
        }
        "ssn" => Meaning::Ssn,
        // `PnL` is one word.
        "l" if before == "pn" => Meaning::Amount,
        _ => return find_glued(last),
    })
}

/// For each first letter, the lengths of the words in [`PASSWORDS`] and [`HEADS`], as bits. Most words of a text are ruled out by it.
static HEAD_LENGTHS: LazyLock<[u32; 256]> = LazyLock::new(|| {
    let mut lengths = [0; 256];
    for word in PASSWORDS.iter().chain(HEADS) {
        lengths[usize::from(word.as_bytes()[0])] |= 1 << (word.len() % 32);
    }
    lengths
});

fn may_be_head(word: &str) -> bool {
    word.bytes()
        .next()
        .is_some_and(|first| HEAD_LENGTHS[usize::from(first)] & (1 << (word.len() % 32)) != 0)
}

fn find_number_meaning(last: &str) -> Option<Meaning> {
    if IDENTIFIERS.contains(&last) || last.ends_with("orderid") {
        Some(Meaning::Identifier)
    } else if AMOUNTS.contains(&last) {
        Some(Meaning::Amount)
    } else {
        None
    }
}

fn find_glued(last: &str) -> Option<Meaning> {
    if last.len() < 6 {
        return None;
    }
    GLUED
        .iter()
        .find(|(ending, _)| last.ends_with(ending))
        .map(|(_, meaning)| *meaning)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_the_same_in_every_spelling() {
        let password = Some(Meaning::Secret(FindingKind::Password));
        let api_key = Some(Meaning::Secret(FindingKind::ApiKey));
        let token = Some(Meaning::Secret(FindingKind::AccessToken));
        for (name, expected) in [
            ("password", password),
            ("DB_PASSWORD", password),
            ("dbPassword", password),
            ("db-password-2", password),
            ("password1", password),
            ("dbpassword", password),
            ("spring.datasource.password", password),
            ("clientSecret", password),
            ("password_hash", password),
            ("PasswordConfirmation", password),
            ("SMTP_PASS", Some(Meaning::Pass)),
            ("pass", None),
            ("x-api-key", api_key),
            ("APIKey", api_key),
            ("apikey", api_key),
            ("S3_SECRET_KEY", api_key),
            ("accessToken", token),
            ("_authToken", token),
            ("idToken", token),
            ("token", Some(Meaning::BareToken)),
            ("privateKey", Some(Meaning::Secret(FindingKind::PrivateKey))),
            ("Proxy-Authorization", Some(Meaning::Authorization)),
            ("card_number", Some(Meaning::Card)),
            ("phoneNumber", Some(Meaning::Phone)),
            ("client_order_id", Some(Meaning::Identifier)),
            ("orderNo", Some(Meaning::Identifier)),
            ("daily_pnl", Some(Meaning::Amount)),
            ("数据库密码", password),
            ("password_policy", Some(Meaning::Identifier)),
            ("secret_name", None),
            ("passwordRef", Some(Meaning::Identifier)),
            ("max_tokens", None),
            ("tokenizer", None),
            ("public_key", None),
            ("idempotency_key", None),
            ("keyboard", None),
            ("", None),
            ("___", None),
        ] {
            assert_eq!(find_meaning(name), expected, "{name}");
        }
        let long = format!("{}_password", "x".repeat(500));
        assert_eq!(find_meaning(&long), password);
        assert_eq!(find_meaning(&"a_".repeat(400)), None);
    }
}
