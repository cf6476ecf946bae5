//! Texts from outside: whether they say anything, and how they are shortened for messages and logs.

use unicode_normalization::char::is_combining_mark;

/// The number of characters of an input that an error message quotes.
const QUOTED_CHARS: usize = 60;

/// Returns the start of an input, short enough to be quoted in an error message.
#[must_use]
pub fn clip_for_error(text: &str) -> String {
    clip_to(text, QUOTED_CHARS)
}

/// Returns the first `max_chars` characters of a text, followed by `…` when some are missing.
#[must_use]
pub fn clip_to(text: &str, max_chars: usize) -> String {
    let mut clipped: String = text.chars().take(max_chars).collect();
    if clipped.len() < text.len() {
        clipped.push('…');
    }
    clipped
}

/// Returns a guest's text in a form that is safe on a terminal: as [`clip_to`], with a blank in the place of each control character.
#[must_use]
pub fn to_printable(text: &str, max_chars: usize) -> String {
    clip_to(text, max_chars)
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect()
}

/// Returns whether a text has a letter or digit that can be seen: what the Graveyard takes for reasoning (rules 24 and 25). Letters that show
/// nothing do not count (fillers of Hangul, blanks of the Egyptian hieroglyphs, strokes that only lengthen a word), nor do marks without a letter
/// that carries them.
#[must_use]
pub fn says_something(text: &str) -> bool {
    const BLANK_LETTERS: [char; 8] = [
        '\u{115F}',
        '\u{1160}',
        '\u{3164}',
        '\u{FFA0}',
        '\u{13441}',
        '\u{13442}',
        '\u{0640}',
        '\u{07FA}',
    ];
    text.chars()
        .any(|c| c.is_alphanumeric() && !BLANK_LETTERS.contains(&c) && !is_combining_mark(c))
}

#[cfg(test)]
mod tests {
    use super::says_something;

    #[test]
    fn invisible_text_counts_as_blank() {
        for nothing in [
            "",
            " \n\t",
            "...",
            "\u{200b}\u{feff}\u{2060}",
            "\u{115f}\u{1160}\u{3164}\u{ffa0}",
            "\u{300}\u{301}\u{93e}",
            "\u{2800}\u{2800}",
            "\u{ad}\u{34f}\u{180e}\u{e0041}",
            "\u{640}\u{640}",
        ] {
            assert!(!says_something(nothing), "{nothing:?}");
        }
        for something in ["a", "7", "傾向", "тренд", "हिन्दी", "ⅳ", "\u{3164}x"]
        {
            assert!(says_something(something), "{something}");
        }
    }
}
