//! Numbers that reading would turn into others.

use serde_json::Number;

use crate::error::{JsonProblem, QuotedNumber};

/// A number in a text that is read as another one.
pub(crate) struct AlteredNumber {
    /// Where it begins, in bytes.
    pub(crate) offset: usize,
    pub(crate) problem: JsonProblem,
}

/// Returns the first number of a valid JSON text that is read as another number.
pub(crate) fn find_altered_number(json: &[u8]) -> Option<AlteredNumber> {
    let mut at = 0;
    while at < json.len() {
        match json[at] {
            b'"' => {
                at += 1;
                while at < json.len() && json[at] != b'"' {
                    at += if json[at] == b'\\' { 2 } else { 1 };
                }
                at += 1;
            }
            b'-' | b'0'..=b'9' => {
                let rest = &json[at..];
                let end = rest
                    .iter()
                    .position(|byte| !is_number_byte(*byte))
                    .unwrap_or(rest.len());
                if let Some(problem) = find_number_problem(&rest[..end]) {
                    return Some(AlteredNumber {
                        offset: at,
                        problem,
                    });
                }
                at += end;
            }
            _ => at += 1,
        }
    }
    None
}

const fn is_number_byte(byte: u8) -> bool {
    matches!(byte, b'0'..=b'9' | b'-' | b'+' | b'.' | b'e' | b'E')
}

fn find_number_problem(number: &[u8]) -> Option<JsonProblem> {
    let text = std::str::from_utf8(number).ok()?;
    if !text.contains(['.', 'e', 'E']) {
        let fits = text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok();
        return (!fits).then(|| JsonProblem::LargeInteger(QuotedNumber::new(number)));
    }
    let (digits, _) = text.split_once(['e', 'E']).unwrap_or((text, ""));
    let is_zero = !digits.bytes().any(|digit| matches!(digit, b'1'..=b'9'));
    let rounded = !is_zero && text.parse::<f64>().is_ok_and(|double| double == 0.0);
    rounded.then(|| JsonProblem::RoundedToZero(QuotedNumber::new(number)))
}

/// Returns whether a double holds a number exactly. A number that was read from a fraction or an exponent is a double already.
#[must_use]
pub fn is_exact_double(number: &Number) -> bool {
    let magnitude = match (number.as_u64(), number.as_i64()) {
        (Some(number), _) => number,
        (None, Some(number)) => number.unsigned_abs(),
        (None, None) => return true,
    };
    // A double has 53 bits: from the first bit that is set to the last.
    let bits = 64 - magnitude.leading_zeros();
    bits.saturating_sub(magnitude.trailing_zeros()) <= f64::MANTISSA_DIGITS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_double_holds_an_integer_of_53_bits() {
        for (number, exact) in [
            (Number::from(0_u64), true),
            (Number::from(9_007_199_254_740_992_u64), true),
            (Number::from(9_007_199_254_740_993_u64), false),
            (Number::from(9_007_199_254_740_994_u64), true),
            (Number::from(-9_007_199_254_740_993_i64), false),
            (Number::from(i64::MIN), true),
            (Number::from(i64::MAX), false),
            (Number::from(u64::MAX), false),
            (Number::from_f64(0.1).unwrap(), true),
        ] {
            assert_eq!(is_exact_double(&number), exact, "{number}");
        }
    }
}
