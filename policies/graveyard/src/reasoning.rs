//! Whether a text says anything: what only looks like reasoning is none.

use unicode_normalization::char::is_combining_mark;

/// Whether there is a letter or digit in the text that can be seen. Fillers and blanks that Unicode counts as letters say nothing, nor do marks
/// without a letter that carries them.
pub fn says_something(text: Option<&str>) -> bool {
    text.is_some_and(|text| text.chars().any(is_visible_letter))
}

fn is_visible_letter(c: char) -> bool {
    if c.is_ascii() {
        return c.is_ascii_alphanumeric();
    }
    c.is_alphanumeric() && !is_blank_letter(c) && !is_combining_mark(c)
}

/// Letters by their category that show nothing: the fillers of Hangul, the blanks of the Egyptian hieroglyphs, and strokes that only lengthen a
/// word (Arabic, N'Ko).
const fn is_blank_letter(c: char) -> bool {
    matches!(
        c,
        '\u{115F}'
            | '\u{1160}'
            | '\u{3164}'
            | '\u{FFA0}'
            | '\u{13441}'
            | '\u{13442}'
            | '\u{0640}'
            | '\u{07FA}'
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_host_and_the_rules_agree_on_every_character() {
        for c in '\0'..=char::MAX {
            assert_eq!(
                is_visible_letter(c),
                ark_model::check::says_something(c.encode_utf8(&mut [0; 4])),
                "U+{:04X}",
                u32::from(c)
            );
        }
    }
}
