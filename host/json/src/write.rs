//! Pieces of JSON text, written as `serde_json` writes them: for the few documents that are written for every decision and whose form is fixed.
//!
//! A derived `Serialize` costs some 40 ns for each field; a decision has three hundred.

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
    // Most numbers of rules are whole. To find the shortest text of any other takes several times as long. Writing a number into memory cannot fail.
    if let Some(whole) = as_whole(number) {
        let _ = serde_json::to_writer(&mut *out, &whole);
        out.extend_from_slice(b".0");
    } else {
        let _ = serde_json::to_writer(out, &number);
    }
}

/// Appends an integer.
pub fn push_integer(out: &mut Vec<u8>, number: u64) {
    // Writing a number into memory cannot fail.
    let _ = serde_json::to_writer(out, &number);
}

/// Returns a number as an integer; `None` when it is not whole, does not fit 32 bits or is -0.
#[must_use]
#[expect(
    clippy::cast_possible_truncation,
    reason = "the cast cuts a number that is not whole, and the comparison finds that"
)]
pub fn as_whole(number: f64) -> Option<i32> {
    let whole = number as i32;
    let is_kept = f64::from(whole) == number && (whole != 0 || number.is_sign_positive());
    is_kept.then_some(whole)
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
    fn only_whole_numbers_of_32_bits_are_integers() {
        for (number, whole) in [
            (0.0, Some(0)),
            (-0.0, None),
            (-3.0, Some(-3)),
            (0.5, None),
            (2_147_483_647.0, Some(i32::MAX)),
            (2_147_483_648.0, None),
            (-2_147_483_648.0, Some(i32::MIN)),
            (-2_147_483_649.0, None),
            (f64::NAN, None),
            (f64::INFINITY, None),
            (f64::NEG_INFINITY, None),
        ] {
            assert_eq!(as_whole(number), whole, "{number}");
        }
    }

    #[test]
    fn pieces_are_as_serde_json_writes_them() {
        for text in ["", "plain", "ü€😀", "a\"b", "a\\b", "\n\u{1f}", "\u{7f}"] {
            let expected = serde_json::to_string(text).unwrap();
            assert_eq!(write_text(|out| push_string(out, text)), expected);
        }
        for number in [
            0.0,
            -0.0,
            1.0,
            -1.0,
            0.1,
            -0.5,
            95.0,
            100.0,
            64_000.0,
            1_234_567_890.0,
            2_147_483_647.0,
            2_147_483_648.0,
            -2_147_483_648.0,
            -2_147_483_649.0,
            2_147_483_646.5,
            1e9,
            1e15,
            1e16,
            1e300,
            5e-324,
            f64::NAN,
            f64::INFINITY,
            f64::NEG_INFINITY,
        ] {
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
