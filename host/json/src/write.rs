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

/// How many digits after the point a short decimal has at most.
const SHORT_DIGITS: usize = 4;
/// The parts of one that a short decimal is counted in.
const SHORT_PARTS: u32 = 10_000;

/// Appends a number; `null` for one that is not finite.
pub fn push_number(out: &mut Vec<u8>, number: f64) {
    // Most numbers of rules are whole, and most others are short. To find the shortest text of any other takes several times as long. Writing a
    // number into memory cannot fail.
    if let Some(whole) = as_whole(number) {
        let _ = serde_json::to_writer(&mut *out, &whole);
        out.extend_from_slice(b".0");
    } else if let Some(parts) = as_short_decimal(number) {
        push_short_decimal(out, parts);
    } else {
        let _ = serde_json::to_writer(out, &number);
    }
}

/// Returns a number in parts of [`SHORT_PARTS`]; `None` when it is not the double nearest to so many, they do not fit 32 bits or it is 0.
///
/// A double is nearest to one decimal of 15 digits at most, so that decimal, without the zeros at its end, is its shortest text.
fn as_short_decimal(number: f64) -> Option<i32> {
    let parts = as_whole((number * f64::from(SHORT_PARTS)).round())?;
    // Both are exact, so their quotient is the nearest double.
    let is_nearest = f64::from(parts) / f64::from(SHORT_PARTS) == number;
    (is_nearest && parts != 0).then_some(parts)
}

fn push_short_decimal(out: &mut Vec<u8>, parts: i32) {
    if parts < 0 {
        out.push(b'-');
    }
    let parts = parts.unsigned_abs();
    push_integer(out, (parts / SHORT_PARTS).into());
    let mut text = *b".0000";
    let mut rest = parts % SHORT_PARTS;
    for digit in text[1..].iter_mut().rev() {
        *digit = b"0123456789"[(rest % 10) as usize];
        rest /= 10;
    }
    let zeros = text.iter().rev().take(SHORT_DIGITS - 1);
    let zeros = zeros.take_while(|digit| **digit == b'0').count();
    out.extend_from_slice(&text[..text.len() - zeros]);
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
            0.001,
            0.0001,
            -0.0001,
            0.00001,
            0.00005,
            1.0001,
            -12.3456,
            12.345_6,
            12.345_67,
            0.3,
            0.1 + 0.2,
            0.07,
            0.05 + 0.02,
            1.0 / 3.0,
            2.5,
            100.25,
            64_000.5,
            214_748.364_7,
            214_748.364_8,
            -214_748.364_8,
            -214_748.364_9,
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
        // All short decimals of two places, and the doubles beside them.
        for hundredths in -20_000..20_000_i32 {
            let number = f64::from(hundredths) / 100.0;
            for number in [number.next_down(), number, number.next_up()] {
                let expected = serde_json::to_string(&number).unwrap();
                assert_eq!(write_text(|out| push_number(out, number)), expected);
            }
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
