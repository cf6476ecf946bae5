//! Text on its way to a person: on a terminal, in a log, in a file that somebody opens.
//!
//! Texts of guests, of callers and of files can hold characters that a terminal obeys (ESC, BEL, the C1 controls such as U+009B), that reorder
//! what is read (bidirectional controls), that nobody sees, or that begin a line that looks like the host's own. Whatever shows a text escapes
//! it here: [`escape_line`] for text, [`escape_json`] for JSON, whose readers get the text exactly.
//!
//! Must not know: what is printed, or where.

use std::borrow::Cow;
use std::fmt::{Display, Write};

/// Characters that are not control characters of Unicode and that nobody sees or that reorder what is read: `Default_Ignorable_Code_Point` and the
/// format characters of Unicode 17, the separators of lines and paragraphs.
const UNSEEN: [(char, char); 25] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{2028}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Returns whether a character must not be printed as it is: a control, or one that nobody sees or that reorders what is read.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || UNSEEN
            .iter()
            .any(|(first, last)| (*first..=*last).contains(&c))
}

/// Returns a count with the word for what is counted: `1 error`, `2 errors`.
#[must_use]
pub fn format_count<N: Copy + Display + PartialEq + From<u8>>(
    count: N,
    one: &str,
    many: &str,
) -> String {
    let word = if count == N::from(1) { one } else { many };
    format!("{count} {word}")
}

/// Returns the text as one line that can be printed: `\n`, `\r` and `\t` for these, `\u{9b}` for any other unprintable character. What can be
/// printed stays as it is, a backslash too.
#[must_use]
pub fn escape_line(text: &str) -> Cow<'_, str> {
    escape_text(text, |c, escaped| match c {
        '\n' => escaped.push_str("\\n"),
        '\r' => escaped.push_str("\\r"),
        '\t' => escaped.push_str("\\t"),
        _ => {
            // Writing to a string does not fail.
            let _ = write!(escaped, "\\u{{{:x}}}", u32::from(c));
        }
    })
}

/// Returns JSON with `\u009b` in the place of each unprintable character; it stands for the same value. The line breaks of indented JSON
/// stay: JSON has other control characters in none of its texts.
#[must_use]
pub fn escape_json(json: &str) -> Cow<'_, str> {
    escape_text(json, |c, escaped| {
        if c == '\n' {
            escaped.push(c);
            return;
        }
        for unit in c.encode_utf16(&mut [0; 2]) {
            // Writing to a string does not fail.
            let _ = write!(escaped, "\\u{unit:04x}");
        }
    })
}

fn escape_text(text: &str, mut push_escape: impl FnMut(char, &mut String)) -> Cow<'_, str> {
    let Some(start) = text.find(is_unprintable) else {
        return Cow::Borrowed(text);
    };
    let (clean, rest) = text.split_at(start);
    let mut escaped = String::with_capacity(text.len() + 16);
    escaped.push_str(clean);
    for c in rest.chars() {
        if is_unprintable(c) {
            push_escape(c, &mut escaped);
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::{escape_json, escape_line, format_count, is_unprintable};

    #[test]
    fn counts_of_one_are_singular() {
        assert_eq!(format_count(0_u64, "error", "errors"), "0 errors");
        assert_eq!(format_count(1_usize, "entry", "entries"), "1 entry");
        assert_eq!(format_count(2_u32, "entry", "entries"), "2 entries");
    }

    #[test]
    fn control_and_invisible_characters_are_escaped() {
        for (text, printed) in [
            (
                "plain, überall, 傾向, हिन्दी, 🙂",
                "plain, überall, 傾向, हिन्दी, 🙂",
            ),
            (r"C:\dir \u{1b}", r"C:\dir \u{1b}"),
            ("\u{1b}[31mred\u{7}", r"\u{1b}[31mred\u{7}"),
            ("a\nb\r\tc", r"a\nb\r\tc"),
            ("\u{9b}2J", r"\u{9b}2J"),
            ("\u{7f}\u{85}", r"\u{7f}\u{85}"),
            ("\u{202e}gpj.exe\u{2066}", r"\u{202e}gpj.exe\u{2066}"),
            ("a\u{200b}b\u{200d}\u{feff}", r"a\u{200b}b\u{200d}\u{feff}"),
            ("a\u{2028}b\u{2029}", r"a\u{2028}b\u{2029}"),
            ("\u{61c}\u{e0041}\u{ad}", r"\u{61c}\u{e0041}\u{ad}"),
        ] {
            assert_eq!(escape_line(text), printed);
            assert!(!escape_line(text).chars().any(is_unprintable), "{text:?}");
        }
    }

    #[test]
    fn json_stands_for_the_same_value() {
        let hostile: String = (0..0xe0fff_u32).filter_map(char::from_u32).collect();
        let value = json!({"text": hostile, "\u{202e}key": ["\u{9b}", 1.5, null]});
        for json in [
            value.to_string(),
            serde_json::to_string_pretty(&value).expect("JSON"),
        ] {
            let escaped = escape_json(&json);
            assert!(!escaped.chars().any(|c| c != '\n' && is_unprintable(c)));
            let read: Value = serde_json::from_str(&escaped).expect("JSON");
            assert_eq!(read, value);
        }
        assert_eq!(escape_json("\"\u{e0041}\""), r#""\udb40\udc41""#);
    }
}
