//! Pieces of JSON text, written as `serde_json` writes them: for the few documents that are written for every decision and whose form is fixed.
//!
//! A derived `Serialize` costs some 40 ns for each field; a decision has three hundred.

use std::io::Write as _;

/// Appends a string in quotes.
pub fn push_string(out: &mut Vec<u8>, text: &str) {
    let is_plain = |byte: &u8| *byte >= 0x20 && *byte != b'"' && *byte != b'\\';
    if text.as_bytes().iter().all(is_plain) {
        out.push(b'"');
        out.extend_from_slice(text.as_bytes());
        out.push(b'"');
    } else {
        // Writing a string into memory cannot fail.
        let _ = serde_json::to_writer(out, text);
    }
}

/// Appends a number; `null` for one that is not finite.
pub fn push_number(out: &mut Vec<u8>, number: f64) {
    // Writing a number into memory cannot fail.
    let _ = serde_json::to_writer(out, &number);
}

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, number: u64) {
    // Writing into memory cannot fail.
    let _ = write!(out, "{number}");
}

/// Appends `true` or `false`.
pub fn push_flag(out: &mut Vec<u8>, flag: bool) {
    out.extend_from_slice(if flag { b"true" } else { b"false" });
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write_text(push: impl FnOnce(&mut Vec<u8>)) -> String {
        let mut out = Vec::new();
        push(&mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn pieces_are_as_serde_json_writes_them() {
        for text in ["", "plain", "ü€😀", "a\"b", "a\\b", "\n\u{1f}", "\u{7f}"] {
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(write_text(|out| push_string(out, text)), expected);
        }
        for number in [0.0, -0.0, 1.0, 0.1, 1e300, 5e-324, f64::NAN, f64::INFINITY] {
            let expected = serde_json::to_string(&number).unwrap();
            assert_eq!(write_text(|out| push_number(out, number)), expected);
        }
        for number in [0, 7, u64::MAX] {
            assert_eq!(
                write_text(|out| push_integer(out, number)),
                number.to_string()
            );
        }
        assert_eq!(write_text(|out| push_flag(out, true)), "true");
        assert_eq!(write_text(|out| push_flag(out, false)), "false");
    }
}
