//! The names in a step of a deployment, which the host takes and the commands that exchange versions are given.

use std::ops::RangeInclusive;

/// What a name may consist of, as a regular expression.
pub const NAME_PATTERN: &str = "^[A-Za-z0-9._+-]+$";
/// How many bytes it has.
pub const NAME_BYTES: RangeInclusive<usize> = 1..=128;

/// Whether a text matches [`NAME_PATTERN`], whatever its length.
#[must_use]
pub fn has_name_form(text: &str) -> bool {
    !text.is_empty()
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"._+-".contains(&byte))
}

/// Whether a host takes a text as the name of a deployment, a version or a step.
#[must_use]
pub fn is_name(text: &str) -> bool {
    NAME_BYTES.contains(&text.len()) && has_name_form(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_short_and_of_its_characters() {
        for name in ["2.0.0", "a", "ark-2.0.0+build_7", &"x".repeat(128)] {
            assert!(is_name(name), "{name}");
        }
        for name in ["", "ark:2.0.0", "a b", "a\n", "\u{e4}", &"x".repeat(129)] {
            assert!(!is_name(name), "{name}");
        }
    }
}
