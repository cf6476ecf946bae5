//! The folded form of a text, in which disguises are undone: full-width and styled letters, digits of other scripts, invisible characters,
//! percent-encoding and `\u` escapes. A text is searched as it stands and folded.

use unicode_normalization::char::decompose_compatible;

/// A folded text and where each of its bytes comes from.
pub(crate) struct Folded {
    pub text: String,
    /// For each byte of the folded text, and for its end, the offset in the text it was made from.
    offsets: Vec<u32>,
}

impl Folded {
    /// Folds a text. `None` when the folded form is the text itself.
    pub(crate) fn new(text: &str) -> Option<Self> {
        if !may_fold(text) {
            return None;
        }
        let mut folded = Self {
            text: String::with_capacity(text.len()),
            offsets: Vec::with_capacity(text.len() + 1),
        };
        let mut at = 0;
        while let Some(character) = text[at..].chars().next() {
            let (result, length) = match character {
                '%' | '\\' => match decode_escape(&text[at..]) {
                    Some((decoded, length)) => (Some(decoded), length),
                    None => (Some(character), 1),
                },
                _ if character.is_ascii() => (Some(character), 1),
                _ => (fold_character(character), character.len_utf8()),
            };
            if let Some(result) = result {
                folded.push(result, at);
            }
            at += length;
        }
        folded.offsets.push(to_offset(at));
        Some(folded)
    }

    fn push(&mut self, character: char, origin: usize) {
        self.text.push(character);
        self.offsets.resize(self.text.len(), to_offset(origin));
    }

    /// Returns the offset in the original text of an offset at the start of a character of the folded one.
    pub(crate) fn origin(&self, offset: usize) -> usize {
        self.offsets.get(offset).map_or(0, |at| *at as usize)
    }
}

/// Texts are far shorter than 4 GiB; a longer one is not folded (`may_fold`).
fn to_offset(at: usize) -> u32 {
    u32::try_from(at).unwrap_or(u32::MAX)
}

/// Returns whether folding changes a text.
fn may_fold(text: &str) -> bool {
    let bytes = text.as_bytes();
    let has_escape = || {
        bytes.iter().enumerate().any(|(at, byte)| {
            matches!(byte, b'%' | b'\\')
                && bytes.get(at + 1).is_some()
                && decode_escape(&text[at..]).is_some()
        })
    };
    let has_foreign = || {
        !text.is_ascii()
            && text.chars().any(|character| {
                !character.is_ascii() && fold_character(character) != Some(character)
            })
    };
    u32::try_from(text.len()).is_ok() && (has_escape() || has_foreign())
}

/// Reads `%XX` and `\uXXXX` of printable ASCII and of line ends, and the escapes `\n`, `\r`, `\t` and `\/`. Returns the character and the bytes
/// that it took.
fn decode_escape(text: &str) -> Option<(char, usize)> {
    let bytes = text.as_bytes();
    let hex = |range: std::ops::Range<usize>| {
        let digits = text.get(range)?;
        let all_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u32::from_str_radix(digits, 16).ok().filter(|_| all_hex)
    };
    let (code, length) = match (bytes.first()?, bytes.get(1)?) {
        (b'%', _) => (hex(1..3)?, 3),
        (b'\\', b'u') => (hex(2..6)?, 6),
        (b'\\', b'x') => (hex(2..4)?, 4),
        (b'\\', b'n' | b'r') => return Some(('\n', 2)),
        (b'\\', b't') => return Some((' ', 2)),
        (b'\\', b'/') => return Some(('/', 2)),
        _ => return None,
    };
    let character = char::from_u32(code)?;
    let is_text = matches!(character, ' '..='~' | '\n' | '\r' | '\t');
    is_text.then_some((character, length))
}

/// Returns the ASCII letter, digit or sign that a character stands for, the character itself when it stands for none, and `None` for an
/// invisible one. `Ａ`, `𝐀` and `Ⓐ` stand for `A`, `٣` and `３` for `3`.
#[must_use]
pub fn fold_character(character: char) -> Option<char> {
    if character.is_ascii() {
        return Some(character);
    }
    if is_invisible(character) {
        return None;
    }
    if let Some(digit) = decimal_digit(character) {
        return Some(digit);
    }
    match character {
        '\u{2010}'..='\u{2015}' | '\u{2212}' => return Some('-'),
        '\u{a0}' | '\u{2000}'..='\u{200a}' | '\u{202f}' | '\u{205f}' | '\u{3000}' => {
            return Some(' ');
        }
        _ => {}
    }
    let mut decomposed = None;
    let mut parts = 0;
    decompose_compatible(character, |part| {
        parts += 1;
        decomposed = Some(part);
    });
    Some(match decomposed {
        Some(part) if parts == 1 && part.is_ascii() => part,
        _ => character,
    })
}

/// Returns whether a character takes no room in a text that is shown: zero-width characters, marks of direction, fillers, variation selectors,
/// tags and the soft hyphen.
#[must_use]
pub const fn is_invisible(character: char) -> bool {
    matches!(
        character,
        '\u{ad}'
            | '\u{34f}'
            | '\u{61c}'
            | '\u{115f}'
            | '\u{1160}'
            | '\u{17b4}'
            | '\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{200b}'..='\u{200f}'
            | '\u{202a}'..='\u{202e}'
            | '\u{2060}'..='\u{206f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{feff}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    )
}

/// The zero of each script's decimal digits (Unicode category Nd, those of scripts in daily use).
const ZEROS: [u32; 22] = [
    0x660, 0x6f0, 0x7c0, 0x966, 0x9e6, 0xa66, 0xae6, 0xb66, 0xbe6, 0xc66, 0xce6, 0xd66, 0xe50,
    0xed0, 0xf20, 0x1040, 0x17e0, 0x1810, 0x19d0, 0x1b50, 0xa8d0, 0xff10,
];

fn decimal_digit(character: char) -> Option<char> {
    let code = character as u32;
    let zero = ZEROS
        .iter()
        .find(|zero| (**zero..**zero + 10).contains(&code))?;
    char::from_digit(code - zero, 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn disguises_are_undone_and_traced_back() {
        for (text, expected) in [
            ("ａｌｉｃｅ＠ｘ．ｉｏ", "alice@x.io"),
            ("٤١١１", "4111"),
            ("al\u{200b}ice", "alice"),
            ("a%40b", "a@b"),
            (r"a\u0040b\nc", "a@b\nc"),
            ("密码：x", "密码:x"),
            ("𝐩𝐚𝐬𝐬", "pass"),
        ] {
            let folded = Folded::new(text).expect(text);
            assert_eq!(folded.text, expected);
            assert_eq!(folded.origin(folded.text.len()), text.len());
            for (offset, _) in folded.text.char_indices() {
                assert!(text.is_char_boundary(folded.origin(offset)), "{text}");
            }
        }
        for text in [
            "plain",
            "100% sure",
            r"C:\dir",
            "Привет",
            "%zz",
            r"\u00zz",
            "%é9",
        ] {
            assert!(Folded::new(text).is_none(), "{text}");
        }
    }
}
