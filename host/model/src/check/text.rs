//! Shortening of texts from outside, for messages and logs.

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
