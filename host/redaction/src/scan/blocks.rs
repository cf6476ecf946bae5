//! Secrets of several words or lines: private keys in PEM, and the words of a wallet.

use super::Scanner;
use crate::table::FindingKind;

const BEGIN: &str = "-----BEGIN ";
const KEY_LABEL: &str = "PRIVATE KEY";
/// The longest label of a key.
const MAX_LABEL: usize = 48;
/// The longest key with its header, in bytes: RSA of 16384 bits takes 13 KiB.
const MAX_KEY: usize = 32 * 1024;
/// The shortest line of Base64 that is taken for a part of a key without an end mark.
const MIN_LINE: usize = 16;
/// What may stand between two lines of a key: line ends, escaped ones, quotation and comment signs, the columns of a comparison.
const MAX_BETWEEN: usize = 24;

/// The words of a wallet: how many, and how long each is (BIP 39).
const SEED_WORDS: std::ops::RangeInclusive<usize> = 12..=24;
const SEED_WORD_LENGTH: std::ops::RangeInclusive<usize> = 3..=8;

impl Scanner<'_> {
    /// Scans a PEM header at `at`. Returns where to go on.
    pub(super) fn scan_key_block(&mut self, at: usize) -> usize {
        let label = at + BEGIN.len();
        let next = label;
        let rest = &self.text[label..self.clip_end(label, MAX_LABEL)];
        let Some(length) = rest
            .find("-----")
            .filter(|length| rest[..*length].contains(KEY_LABEL))
        else {
            return next;
        };
        let body = label + length + 5;
        let limit = self.clip_end(body, MAX_KEY);
        let rest = &self.text[body..limit];
        // The next header ends the search, so that many headers do not make it quadratic.
        let rest = &rest[..rest.find(BEGIN).unwrap_or(rest.len())];
        if let Some(end) = rest.find("-----END ") {
            let tail = &rest[end + 9..];
            let tail_length = tail.find("-----").filter(|length| *length <= MAX_LABEL);
            // Both marks in one sentence are a mention.
            let is_mention = !rest[..end]
                .bytes()
                .any(|byte| byte.is_ascii_digit() || byte == b'\n' || byte == b'\\')
                && end < MIN_LINE;
            if is_mention {
                return body;
            }
            let end = body + end + 9 + tail_length.map_or(0, |length| length + 5);
            return self.push(FindingKind::PrivateKey, at..end);
        }
        match base64_end(rest) {
            0 => next,
            length => self.push(FindingKind::PrivateKey, at..body + length),
        }
    }

    /// Scans the words of a wallet after their name. Returns where to go on.
    pub(super) fn take_seed_phrase(&mut self, from: usize) -> usize {
        let start = self.skip_some(from, 8, |byte| b" :=\"'\\\n[(".contains(&byte));
        let start = if self.text[start..].starts_with("is ") {
            start + 3
        } else {
            start
        };
        let start = self.skip_some(start, 2, |byte| b"\"'".contains(&byte));
        let mut at = start;
        let mut words = 0;
        // Phrases have 12, 15, 18, 21 or 24 words: where the sentence goes on, its words are none of them.
        let mut phrase_end = start;
        while words < *SEED_WORDS.end() {
            let end = self.skip_some(at, 9, |byte| byte.is_ascii_lowercase());
            if !SEED_WORD_LENGTH.contains(&(end - at)) || self.byte(end).is_ascii_alphanumeric() {
                break;
            }
            words += 1;
            if SEED_WORDS.contains(&words) && words % 3 == 0 {
                phrase_end = end;
            }
            // `"a", "b"`
            let quote = usize::from(
                self.bytes[end..].starts_with(b"\",") || self.bytes[end..].starts_with(b"',"),
            );
            let next = self.skip_some(end + quote, 4, |byte| b" ,\n".contains(&byte));
            let next = self.skip_some(next, quote, |byte| b"\"'".contains(&byte));
            if next == end {
                break;
            }
            at = next;
        }
        if phrase_end == start {
            return from;
        }
        self.push(FindingKind::SeedPhrase, start..phrase_end)
    }
}

/// Returns where the lines of Base64 at the start of a text end; 0 when there are none.
fn base64_end(text: &str) -> usize {
    let bytes = text.as_bytes();
    let is_base64 = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=');
    let mut end = 0;
    let mut at = 0;
    let mut is_first = true;
    while at < bytes.len() {
        // An escaped line end: its letter is no Base64.
        let mut between = 0;
        loop {
            let rest = &bytes[at..];
            let step = if rest.starts_with(b"\\n") || rest.starts_with(b"\\r") {
                2
            } else if rest
                .first()
                .is_some_and(|byte| !byte.is_ascii_alphanumeric() && *byte != b'/')
            {
                1
            } else {
                break;
            };
            at += step;
            between += step;
            if between > MAX_BETWEEN {
                return end;
            }
        }
        let length = bytes[at..]
            .iter()
            .take_while(|byte| is_base64(byte))
            .count();
        if length == 0 {
            break;
        }
        let is_padded = bytes[at..at + length].ends_with(b"=");
        let is_last = length < MIN_LINE && !is_first && (is_padded || at + length == bytes.len());
        if length >= MIN_LINE || is_last {
            end = at + length;
            is_first = false;
        } else if !bytes[at..].starts_with(b"Proc-")
            && !bytes[at..].starts_with(b"DEK-")
            && !is_header_rest(bytes, at)
        {
            break;
        }
        at += length;
    }
    end
}

/// Returns whether the word at `at` belongs to a header line of an encrypted key, such as `Proc-Type: 4,ENCRYPTED`.
fn is_header_rest(bytes: &[u8], at: usize) -> bool {
    let line_start = bytes[at.saturating_sub(64)..at]
        .iter()
        .rposition(|byte| *byte == b'\n')
        .map_or(0, |offset| at.saturating_sub(64) + offset + 1);
    bytes[line_start..].starts_with(b"Proc-Type") || bytes[line_start..].starts_with(b"DEK-Info")
}
