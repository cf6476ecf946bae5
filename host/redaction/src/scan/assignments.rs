//! Names with a value beside them: `DB_PASSWORD=…`, `"apiKey": "…"`, `password: …`, `--token …`.

use std::ops::Range;

use super::values::{Style, authorization_secret, cookie_values, is_mark, is_secret};
use super::{Scanner, is_unspaced};
use crate::names::find_secret_meaning;
use crate::table::FindingKind;
use crate::vocabulary::Meaning;

/// The longest name that is looked at, in bytes; with the words before it.
const MAX_NAME: usize = 64;
const MAX_PHRASE: usize = 96;
/// How many words before a separator are asked.
const MAX_WORDS_BEFORE: usize = 3;
/// The longest value, in bytes. What goes on is taken up to here and then as the next text.
const MAX_VALUE: usize = 4096;
/// How far back the name is looked for that a member called `value` belongs to.
const MAX_PAIR: usize = 96;

/// A value in a text: its place, whether quotation marks stand around it.
pub(super) struct Value {
    pub range: Range<usize>,
    pub quoted: bool,
}

impl Scanner<'_> {
    /// Scans what stands around a `:` or `=`.
    pub(super) fn scan_separator(&mut self, at: usize) -> usize {
        let next = self.byte(at + 1);
        if self.bytes[at] == b':' {
            if self.bytes[at..].starts_with(b"://") {
                return self.scan_url(at);
            }
            if next == b':' {
                return at + 2;
            }
            // A time or a ratio.
            if self.before(at).is_ascii_digit() && next.is_ascii_digit() {
                return at + 1;
            }
        } else if next == b'=' || matches!(self.before(at), b'!' | b'<' | b'>' | b'=') {
            return at + 1;
        }
        if at < self.covered {
            return at + 1;
        }
        let after = if matches!(next, b'=' | b'>') {
            at + 2
        } else {
            at + 1
        };
        let Some((name, quote)) = self.name_before(at) else {
            return after;
        };
        let Some((meaning, is_far)) = self.meaning_of(&name) else {
            return after;
        };
        match meaning {
            Meaning::Authorization => self.take_authorization(after),
            Meaning::Cookie => self.take_cookies(after),
            Meaning::SeedPhrase => self.take_seed_phrase(after),
            Meaning::CardCode => self.take_card_code(after),
            Meaning::Secret(_) | Meaning::Pass | Meaning::BareToken => {
                let in_query = matches!(self.before(name.start), b'?' | b'&');
                if is_far {
                    return self.take_far_secret(after, meaning);
                }
                self.take_secret(after, meaning, quote, in_query)
            }
            _ => after,
        }
    }

    /// Returns the name before a separator, and the quotation mark around it.
    fn name_before(&self, at: usize) -> Option<(Range<usize>, &'static str)> {
        let mut end = at;
        while end > 0 && at - end < 4 && self.bytes[end - 1] == b' ' {
            end -= 1;
        }
        let quote = match self.before(end) {
            b'"' if self.bytes[..end].ends_with(b"\\\"") => "\\\"",
            b'"' => "\"",
            b'\'' => "'",
            _ => "",
        };
        end -= quote.len();
        if matches!(self.before(end), b'`' | b'*') {
            end -= 1;
        }
        let start = self.name_start(end);
        (start < end).then_some((start..end, quote))
    }

    /// Returns where the name that ends at `end` begins.
    fn name_start(&self, end: usize) -> usize {
        let mut start = end;
        for (offset, character) in self.text[..end].char_indices().rev() {
            let fits = if character.is_ascii() {
                character.is_ascii_alphanumeric() || "_-.".contains(character)
            } else {
                !character.is_whitespace()
            };
            if !fits || end - offset > MAX_NAME {
                break;
            }
            start = offset;
        }
        start
    }

    /// Returns what a name means, with the two words before it (`api key: …`), or as the value of a named pair.
    ///
    /// The second part says whether only a value that looks like a secret is one, since words stand between.
    fn meaning_of(&self, name: &Range<usize>) -> Option<(Meaning, bool)> {
        let text = &self.text[name.clone()];
        if text.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        if let Some(meaning) = find_secret_meaning(text) {
            return Some((meaning, false));
        }
        if matches!(text, "value" | "Value" | "val" | "default" | "content") {
            return self
                .pair_meaning(name.start)
                .map(|meaning| (meaning, false));
        }
        let mut start = name.start;
        for number in 0..MAX_WORDS_BEFORE {
            if start == 0 || self.before(start) != b' ' || name.end - start > MAX_PHRASE {
                break;
            }
            let before = self.name_start(start - 1);
            if before == start - 1 {
                break;
            }
            let joins = matches!(
                &self.text[before..start - 1],
                "for" | "of" | "für" | "to" | "para" | "для" | "от"
            );
            start = before;
            if joins {
                // `the password for staging: …`
                let end = self.text[..start].trim_end_matches(' ').len();
                let secret = find_secret_meaning(&self.text[self.name_start(end)..end]);
                return secret
                    .filter(|meaning| matches!(meaning, Meaning::Secret(FindingKind::Password)))
                    .map(|meaning| (meaning, true));
            }
            if number == 1 {
                // `first pass: 0.81` is a stage, so `pass` needs a name of its own.
                let phrase = find_secret_meaning(&self.text[start..name.end]);
                if let Some(meaning) = phrase.filter(|meaning| *meaning != Meaning::Pass) {
                    return Some((meaning, false));
                }
            }
        }
        if start == name.start {
            return None;
        }
        find_secret_meaning(&self.text[start..name.end])
            .filter(|meaning| *meaning != Meaning::Pass)
            .map(|meaning| (meaning, false))
    }

    /// Returns what the name means that a member called `value` belongs to: `name: SMTP_PASS` before `value: …`.
    fn pair_meaning(&self, start: usize) -> Option<Meaning> {
        let mut from = start.saturating_sub(MAX_PAIR);
        while !self.text.is_char_boundary(from) {
            from += 1;
        }
        let before = self.text[from..start]
            .trim_end_matches(|c: char| c.is_whitespace() || "\"'{,:-\\;([".contains(c));
        let name = self.name_start(from + before.len());
        let meaning = find_secret_meaning(&self.text[name..from + before.len()])?;
        matches!(meaning, Meaning::Secret(_) | Meaning::Pass).then_some(meaning)
    }

    /// Scans the value of a secret's name. Returns where to go on.
    pub(super) fn take_secret(
        &mut self,
        from: usize,
        meaning: Meaning,
        quote: &'static str,
        in_query: bool,
    ) -> usize {
        let kind = match meaning {
            Meaning::Secret(kind) => kind,
            Meaning::BareToken => FindingKind::AccessToken,
            _ => FindingKind::Password,
        };
        let start = self.skip_some(from, 4, |byte| matches!(byte, b' ' | b'\t'));
        if self.byte(start) == b'['
            && let Some(end) = self.list_end(start)
        {
            return self.push_quoted(kind, start..end, quote);
        }
        let Some(value) = self.value_at(start, in_query) else {
            return from;
        };
        let text = &self.text[value.range.clone()];
        let style = if value.quoted {
            Style::Quoted
        } else {
            Style::Assigned
        };
        if !is_secret(text, meaning, style) {
            return from;
        }
        // A bare value of a quoted name is a number of JSON: its mark needs quotation marks.
        let quote = if value.quoted { "" } else { quote };
        // The value is searched too: a token with a form of its own names the mark.
        let start = value.range.start;
        self.covered = value.range.end;
        self.push_quoted(kind, value.range, quote);
        start
    }

    /// Scans a value whose name is some words away.
    fn take_far_secret(&mut self, from: usize, meaning: Meaning) -> usize {
        let start = self.skip_some(from, 4, |byte| matches!(byte, b' ' | b'\t'));
        if let Some(value) = self.value_at(start, false)
            && is_secret(&self.text[value.range.clone()], meaning, Style::Spoken)
        {
            self.push(FindingKind::Password, value.range);
        }
        from
    }

    /// Returns the end of a list of texts or numbers that begins at `start`.
    fn list_end(&self, start: usize) -> Option<usize> {
        let first = self.skip_some(start + 1, 16, |byte| byte.is_ascii_whitespace());
        if !matches!(self.byte(first), b'"' | b'\'' | b'\\' | b'0'..=b'9') {
            return None;
        }
        let limit = self.clip_end(start, MAX_VALUE);
        let length = self.text[start..limit].find(']');
        Some(length.map_or(limit, |length| start + length + 1))
    }

    /// Returns the value that begins at `start`, in quotation marks or bare.
    pub(super) fn value_at(&self, start: usize, in_query: bool) -> Option<Value> {
        let limit = self.clip_end(start, MAX_VALUE);
        let rest = self.text.get(start..limit)?;
        let slashes = rest.len() - rest.trim_start_matches('\\').len();
        let close: &str = match rest[slashes..].chars().next()? {
            '"' | '\'' | '`' => &rest[..=slashes],
            '“' | '„' => "”",
            '「' => "」",
            '«' => "»",
            _ => return self.bare_value(start, limit, in_query),
        };
        let open = slashes + rest[slashes..].chars().next()?.len_utf8();
        let content = &rest[open..];
        let line = content.find('\n').unwrap_or(content.len());
        let length = match content[..line].find(close) {
            Some(length) => length,
            // An unfinished text: up to the next white space.
            None => content[..line].find(char::is_whitespace).unwrap_or(line),
        };
        let range = start + open..start + open + length;
        (!range.is_empty()).then_some(Value {
            range,
            quoted: true,
        })
    }

    fn bare_value(&self, start: usize, limit: usize, in_query: bool) -> Option<Value> {
        let rest = &self.text[start..limit];
        let is_ascii = rest.starts_with(|c: char| c.is_ascii());
        let mut end = rest.len();
        for (offset, character) in rest.char_indices() {
            let after = &rest[offset + character.len_utf8()..];
            let ends = match character {
                '"' | '<' | '>' | '`' | ';' | '|' | '，' | '。' | '；' | '、' | '）' | '」'
                | '”' | '»' => true,
                '\\' => after.starts_with(['"', 'n', 'r', 't']) && offset > 0,
                '\'' => !after.starts_with(|c: char| c.is_alphanumeric()),
                '&' => in_query || is_next_pair(after),
                ',' => {
                    after.is_empty()
                        || after.starts_with([' ', '"', '\'', '\n', '{', ']', '}'])
                        || is_next_pair(after)
                }
                '}' | ']' | ')' => {
                    after.is_empty()
                        || after.starts_with(|c: char| c.is_whitespace() || "}]),\"';.".contains(c))
                }
                _ => character.is_whitespace() || (is_ascii && is_unspaced(character)),
            };
            // A mark of redaction and `[hidden]` are one word, brackets included.
            let closes = character == ']'
                && rest[..offset]
                    .rfind('[')
                    .is_some_and(|open| open == 0 || is_mark(&rest[open..=offset]));
            if ends && !closes {
                end = offset;
                break;
            }
        }
        let value = rest[..end].trim_end_matches(['.', ',', ':', '?', '(', '[', '{']);
        let range = start..start + value.len();
        (!value.is_empty()).then_some(Value {
            range,
            quoted: false,
        })
    }

    fn take_authorization(&mut self, from: usize) -> usize {
        let limit = self.clip_end(from, MAX_VALUE);
        let rest = &self.text[from..limit];
        let lead = rest.len() - rest.trim_start_matches([' ', '"', '\'', '\\', '`']).len();
        let rest = &rest[lead..];
        let length = rest
            .find(['\n', '"', '\'', '`', '\\', '<', '|'])
            .unwrap_or(rest.len());
        let value = &rest[..length];
        // The scheme and one word after it; a sentence after them is none of it.
        let mut words = value.split(' ').filter(|word| !word.is_empty());
        let (first, second) = (words.next().unwrap_or(""), words.next().unwrap_or(""));
        let value = match second {
            "" => first,
            second => value
                .find(second)
                .map_or(first, |at| &value[..at + second.len()]),
        };
        let Some(secret) = authorization_secret(value) else {
            return from;
        };
        let is_sentence = !value[secret.clone()]
            .bytes()
            .any(|byte| byte.is_ascii_digit())
            && secret.len() < 16;
        if is_sentence {
            return from;
        }
        let start = from + lead;
        self.push(
            FindingKind::BearerToken,
            start + secret.start..start + secret.end,
        )
    }

    fn take_cookies(&mut self, from: usize) -> usize {
        let limit = self.clip_end(from, MAX_VALUE);
        let rest = &self.text[from..limit];
        let length = rest.find(['\n', '"', '\'', '`']).unwrap_or(rest.len());
        self.covered = from + length;
        let ranges: Vec<_> = cookie_values(&rest[..length]).collect();
        for range in ranges {
            self.push(
                FindingKind::AccessToken,
                from + range.start..from + range.end,
            );
        }
        from
    }

    fn take_card_code(&mut self, from: usize) -> usize {
        let start = self.skip_some(from, 4, |byte| matches!(byte, b' ' | b'"' | b'\'' | b'\\'));
        let end = self.skip_some(start, 5, |byte| byte.is_ascii_digit());
        if matches!(end - start, 3 | 4) && !self.byte(end).is_ascii_alphanumeric() {
            let is_bare = !matches!(self.before(start), b'"' | b'\'');
            let quote = if is_bare && self.bytes[..from].ends_with(b"\":") {
                "\""
            } else {
                ""
            };
            return self.push_quoted(FindingKind::PaymentCard, start..end, quote);
        }
        from
    }

    /// Scans a hyphen: the header of a key, or a flag of a command with its value.
    pub(super) fn scan_hyphen(&mut self, at: usize) -> usize {
        if self.bytes[at..].starts_with(b"-----BEGIN ") {
            return self.scan_key_block(at);
        }
        if !matches!(self.before(at), b' ' | b'\n' | b'\t' | b'`' | b'(') {
            return at + 1;
        }
        let name = self.skip_some(at, 2, |byte| byte == b'-');
        let end = self.skip_some(name, MAX_NAME, |byte| {
            byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
        });
        if end == name || self.byte(end) != b' ' || end + 1 >= self.bytes.len() {
            return at + 1;
        }
        let flag = &self.text[name..end];
        if matches!(flag, "u" | "user") {
            return self.take_user_and_password(end + 1).unwrap_or(at + 1);
        }
        if name - at != 2 || self.byte(end + 1) == b'-' {
            return at + 1;
        }
        match find_secret_meaning(flag) {
            Some(meaning @ (Meaning::Secret(_) | Meaning::BareToken)) => {
                // The value of a flag is bare more often than not; what follows it in a sentence is no value.
                let next = self.take_secret(end + 1, meaning, "", false);
                next.max(at + 1)
            }
            _ => at + 1,
        }
    }

    /// Scans `NAME:PASSWORD` after `-u`.
    fn take_user_and_password(&mut self, from: usize) -> Option<usize> {
        let value = self.value_at(from, false)?;
        let text = &self.text[value.range.clone()];
        let (user, secret) = text.split_once(':')?;
        let is_number = secret.bytes().all(|byte| byte.is_ascii_digit());
        let meaning = Meaning::Secret(FindingKind::Password);
        if user.is_empty() || is_number || !is_secret(secret, meaning, Style::Assigned) {
            return None;
        }
        Some(self.push(
            FindingKind::Password,
            value.range.end - secret.len()..value.range.end,
        ))
    }
}

/// Returns whether a text begins with another name and its separator: `b=…` after `a=…,`.
fn is_next_pair(text: &str) -> bool {
    let name = text
        .bytes()
        .take(MAX_NAME)
        .take_while(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.'))
        .count();
    name > 0 && matches!(text.as_bytes().get(name), Some(b'=' | b':'))
}
