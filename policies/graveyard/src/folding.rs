//! Folding: the same text in other letters of Unicode becomes the same plain text.

use unicode_normalization::char::{decompose_compatible, is_combining_mark};

/// Hands on the characters of a text as plain ones: wide, mathematical, circled and accented forms as the letters they are, letters that look like
/// Latin ones as those. Marks and what cannot be seen are left out. Each character becomes a few at most.
pub fn fold_text(text: &str, mut emit: impl FnMut(char)) {
    for c in text.chars() {
        if c.is_ascii() {
            emit(c);
        } else if has_plain_form(c) {
            decompose_compatible(c, |part| {
                if !is_combining_mark(part) {
                    emit(resolve_lookalike(part));
                }
            });
        } else if !is_invisible(c) && !is_combining_mark(c) {
            emit(resolve_lookalike(c));
        }
    }
}

/// Whether a character is of a block whose characters are other forms of Latin letters, digits and signs.
const fn has_plain_form(c: char) -> bool {
    matches!(c, '\u{A0}'..='\u{AC}' | '\u{AE}'..='\u{24F}' | '\u{1D2C}'..='\u{1D6A}' | '\u{1E00}'..='\u{1EFF}' | '\u{2010}'..='\u{2027}'
        | '\u{2070}'..='\u{209F}' | '\u{2100}'..='\u{218F}' | '\u{2460}'..='\u{24FF}' | '\u{FB00}'..='\u{FB06}' | '\u{FE10}'..='\u{FE1F}'
        | '\u{FE30}'..='\u{FE6B}' | '\u{FF01}'..='\u{FF5E}' | '\u{1D400}'..='\u{1D7FF}' | '\u{1F100}'..='\u{1F1FF}')
}

/// Whether a character shows nothing and separates nothing: what may stand between the letters of a word unseen.
const fn is_invisible(c: char) -> bool {
    matches!(c, '\u{AD}' | '\u{34F}' | '\u{61C}' | '\u{115F}' | '\u{1160}' | '\u{17B4}' | '\u{17B5}' | '\u{180B}'..='\u{180F}'
        | '\u{200B}'..='\u{200F}' | '\u{202A}'..='\u{202E}' | '\u{2060}'..='\u{206F}' | '\u{3164}' | '\u{FE00}'..='\u{FE0F}' | '\u{FEFF}'
        | '\u{FFA0}' | '\u{FFF0}'..='\u{FFFB}' | '\u{1BCA0}'..='\u{1BCA3}' | '\u{1D173}'..='\u{1D17A}' | '\u{E0000}'..='\u{E0FFF}')
}

/// Returns the Latin letter that a letter of another script looks like, or the letter itself.
const fn resolve_lookalike(c: char) -> char {
    match c {
        '\u{430}' | '\u{410}' | '\u{3B1}' | '\u{391}' | '\u{251}' => 'a',
        '\u{432}' | '\u{412}' | '\u{3B2}' | '\u{392}' => 'b',
        '\u{441}' | '\u{421}' => 'c',
        '\u{501}' | '\u{111}' => 'd',
        '\u{435}' | '\u{415}' | '\u{3B5}' | '\u{395}' => 'e',
        '\u{192}' => 'f',
        '\u{261}' | '\u{262}' => 'g',
        '\u{4BB}' | '\u{43D}' | '\u{41D}' | '\u{397}' => 'h',
        '\u{456}' | '\u{406}' | '\u{3B9}' | '\u{399}' | '\u{131}' | '\u{26A}' => 'i',
        '\u{458}' | '\u{408}' => 'j',
        '\u{43A}' | '\u{41A}' | '\u{3BA}' | '\u{39A}' => 'k',
        '\u{4CF}' | '\u{142}' | '\u{29F}' => 'l',
        '\u{43C}' | '\u{41C}' | '\u{3BC}' | '\u{39C}' => 'm',
        '\u{3B7}' | '\u{39D}' => 'n',
        '\u{43E}' | '\u{41E}' | '\u{3BF}' | '\u{39F}' | '\u{F8}' => 'o',
        '\u{440}' | '\u{420}' | '\u{3C1}' | '\u{3A1}' => 'p',
        '\u{51B}' => 'q',
        '\u{433}' | '\u{280}' => 'r',
        '\u{455}' | '\u{405}' => 's',
        '\u{442}' | '\u{422}' | '\u{3C4}' | '\u{3A4}' => 't',
        '\u{3C5}' => 'u',
        '\u{3BD}' => 'v',
        '\u{51D}' | '\u{3C9}' => 'w',
        '\u{445}' | '\u{425}' | '\u{3C7}' | '\u{3A7}' => 'x',
        '\u{443}' | '\u{423}' | '\u{3B3}' | '\u{3A5}' | '\u{28F}' => 'y',
        '\u{396}' => 'z',
        _ => c,
    }
}

#[cfg(test)]
mod tests {
    use super::fold_text;

    #[test]
    fn other_forms_of_a_text_become_plain() {
        for (text, plain) in [
            ("plain.txt", "plain.txt"),
            ("\u{ff41}\u{ff52}\u{ff4b}\u{ff0e}\u{ff44}\u{ff42}", "ark.db"),
            ("\u{1d400}\u{1d401}", "AB"),
            ("\u{24d0}\u{2460}", "a1"),
            ("e\u{301}\u{e9}", "ee"),
            ("\u{430}\u{200b}\u{3bf}\u{feff}", "ao"),
            ("\u{fb01}", "fi"),
            ("傾向", "傾向"),
        ] {
            let mut folded = String::new();
            fold_text(text, |c| folded.push(c));
            assert_eq!(folded, plain, "{text}");
        }
        let mut length = 0;
        fold_text(&"\u{fdfa}".repeat(10), |_| length += 1);
        assert_eq!(length, 10, "no character unfolds to many");
    }
}
