//! Finds what begins with a known word: tokens by their prefix, bank accounts, `Bearer`.

use std::sync::LazyLock;

use super::Scanner;
use crate::checks::{has_iban_digits, iban_length};
use crate::table::{FindingKind, TOKENS, TokenCheck, TokenPattern};

/// The longest header of a JSON web token, in bytes: with a chain of certificates.
const MAX_HEADER: usize = 4096;

/// The tokens by the first byte of their prefix.
static BY_FIRST_BYTE: LazyLock<[Vec<&'static TokenPattern>; 128]> = LazyLock::new(|| {
    let mut table = std::array::from_fn(|_| Vec::new());
    for token in TOKENS {
        let first = token.prefix.as_bytes()[0];
        table[usize::from(first & 0x7f)].push(token);
    }
    table
});

impl Scanner<'_> {
    /// Scans a run of ASCII letters and digits that begins with a letter.
    pub(super) fn scan_word(&mut self, at: usize) -> usize {
        for token in &BY_FIRST_BYTE[usize::from(self.bytes[at] & 0x7f)] {
            if let Some(end) = self.match_token(token, at) {
                return self.push(token.kind, at..end);
            }
        }
        if self.byte(at + 2).is_ascii_digit()
            && let Some(end) = self.match_iban(at)
        {
            return self.push(FindingKind::Iban, at..end);
        }
        let end = self.skip_while(at, |byte| byte.is_ascii_alphanumeric());
        let next = self.byte(end);
        if next.is_ascii_whitespace() {
            self.scan_spoken(at, end);
        } else if next >= 0x80 {
            // A word such as `contraseña`.
            self.scan_foreign(at);
        }
        end
    }

    fn match_token(&self, token: &TokenPattern, at: usize) -> Option<usize> {
        let start = at + token.prefix.len();
        if self.bytes.get(at..start)? != token.prefix.as_bytes() {
            return None;
        }
        if token.check == TokenCheck::WebToken
            && self.byte(self.skip_some(start, MAX_HEADER, is_base64_url)) != b'.'
        {
            return None;
        }
        let (least, most) = token.length;
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || token.extra.contains(&byte);
        let mut end = self.skip_some(start, most.saturating_add(1), is_part);
        if end - start > most {
            return None;
        }
        // A full stop or a hyphen after a token is the sentence's.
        while end > start && matches!(self.bytes[end - 1], b'.' | b'-' | b'/') {
            end -= 1;
        }
        let body = &self.bytes[start..end];
        if body.len() < least {
            return None;
        }
        let fits = match token.check {
            TokenCheck::None => true,
            TokenCheck::Upper => body
                .iter()
                .all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit()),
            TokenCheck::Hex => body
                .iter()
                .all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')),
            TokenCheck::Digit => body.iter().any(u8::is_ascii_digit),
            TokenCheck::WebToken => is_web_token(body),
        };
        fits.then_some(end)
    }

    /// Matches an IBAN whose groups may be set apart by one space or hyphen each.
    fn match_iban(&self, at: usize) -> Option<usize> {
        let head = self.bytes.get(at..at + 4)?;
        let country = [head[0].to_ascii_uppercase(), head[1].to_ascii_uppercase()];
        if !head[3].is_ascii_digit() {
            return None;
        }
        let length = iban_length(country)?;
        let mut plain = Vec::with_capacity(length);
        let mut end = at;
        while plain.len() < length {
            let mut byte = *self.bytes.get(end)?;
            if matches!(byte, b' ' | b'-') && plain.len() >= 4 {
                end += 1;
                byte = *self.bytes.get(end)?;
            }
            if !byte.is_ascii_alphanumeric() {
                return None;
            }
            plain.push(byte.to_ascii_uppercase());
            end += 1;
        }
        (!self.byte(end).is_ascii_alphanumeric() && has_iban_digits(&plain)).then_some(end)
    }
}

fn is_base64_url(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

/// Returns whether what follows `eyJ` is the rest of a JSON web token, whole or cut off in its payload.
fn is_web_token(body: &[u8]) -> bool {
    let mut parts = body.split(|byte| *byte == b'.');
    let long = |part: &&[u8]| part.len() >= 8;
    let (Some(_), Some(payload)) = (
        parts.next().filter(|part| part.len() >= 5),
        parts.next().filter(long),
    ) else {
        return false;
    };
    match parts.next() {
        Some(signature) => long(&signature) || payload.starts_with(b"eyJ"),
        None => payload.starts_with(b"eyJ"),
    }
}
