//! What single characters mean in a symbol.

/// Characters that nobody sees, beside control characters and white space: `Default_Ignorable_Code_Point` of Unicode 17 (zero-width
/// characters, bidirectional controls, Hangul fillers, variation selectors), the braille blank, and what stands for text that was lost.
const INVISIBLE: [(char, char); 18] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    ('\u{202a}', '\u{202e}'),
    ('\u{2060}', '\u{206f}'),
    ('\u{2800}', '\u{2800}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{fe00}', '\u{fe0f}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffd}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    ('\u{e0000}', '\u{e0fff}'),
];

/// Code points to which Unicode gives no meaning: private use and noncharacters (the last two of each plane are found by their number).
const MEANINGLESS: [(char, char); 4] = [
    ('\u{e000}', '\u{f8ff}'),
    ('\u{fdd0}', '\u{fdef}'),
    ('\u{f0000}', '\u{fffff}'),
    ('\u{100000}', '\u{10ffff}'),
];

/// ASCII signs with which venues tell instruments apart: `M&M`, `ES=F`, `@107`, `^GSPC`, `ES1!`. Every other one is a separator.
const TELLING_SIGNS: [char; 9] = ['&', '=', '@', '^', '$', '#', '%', '!', '*'];

fn is_in(ranges: &[(char, char)], c: char) -> bool {
    ranges
        .iter()
        .any(|(first, last)| (*first..=*last).contains(&c))
}

/// Whether a character has no place in a symbol. Of white space, only the plain blank has.
pub(crate) fn is_forbidden(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_control();
    }
    c.is_control()
        || c.is_whitespace()
        || u32::from(c) & 0xfffe == 0xfffe
        || is_in(&INVISIBLE, c)
        || is_in(&MEANINGLESS, c)
}

/// Whether a character only parts the words of a symbol or adorns them: white space, punctuation and signs, except those that tell instruments
/// apart, currency signs and pictographs.
pub(crate) fn is_separator(c: char) -> bool {
    if c.is_ascii() {
        return !c.is_ascii_alphanumeric() && !TELLING_SIGNS.contains(&c);
    }
    let tells = matches!(c, '\u{a2}'..='\u{a5}' | '\u{20a0}'..='\u{20cf}' | '\u{1f000}'..);
    !tells && !c.is_alphanumeric() && !unicode_normalization::char::is_combining_mark(c)
}
