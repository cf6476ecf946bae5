//! The form of a record without what it holds: the content of a dictionary (`packing.rs`).
//!
//! Invariants: nothing that somebody proposed is in it, no text and no number.

/// The words of a verdict that a dictionary keeps.
const WORDS: [&[u8]; 10] = [
    b"pass",
    b"not-applicable",
    b"warn",
    b"violation",
    b"hold",
    b"error",
    b"approved",
    b"held",
    b"denied",
    b"true",
];
/// The fields whose digests a dictionary keeps: policies and settings, which many records name.
const DIGEST_FIELDS: [&[u8]; 2] = [b"digest", b"settings"];

/// The form of a record: the names of its fields, of its texts the [`WORDS`] and the digests of policies, and the numbers of its verdicts. All else, above
/// all what somebody proposed, is blank.
pub(super) fn blank_values(body: &str) -> Vec<u8> {
    let bytes = body.as_bytes();
    let mut blanked = Vec::with_capacity(bytes.len());
    let mut field: &[u8] = b"";
    let mut in_verdicts = false;
    let mut at = 0;
    while at < bytes.len() {
        let byte = bytes[at];
        if byte != b'"' {
            // A number before the verdicts becomes one zero.
            let is_digit = byte.is_ascii_digit() && !in_verdicts;
            if !is_digit {
                blanked.push(byte);
            } else if blanked.last() != Some(&b'0') {
                blanked.push(b'0');
            }
            at += 1;
            continue;
        }
        let mut end = at + 1;
        while end < bytes.len() && bytes[end] != b'"' {
            end += if bytes[end] == b'\\' { 2 } else { 1 };
        }
        let text = &bytes[at + 1..end.min(bytes.len())];
        let is_field = bytes.get(end + 1) == Some(&b':') && is_field_name(text);
        if is_field {
            field = text;
            in_verdicts |= field == b"verdicts";
        }
        let is_digest = text.len() == 64 && text.iter().all(u8::is_ascii_hexdigit);
        let is_policy = in_verdicts && is_digest && DIGEST_FIELDS.contains(&field);
        blanked.push(b'"');
        if is_field || is_policy || (in_verdicts && WORDS.contains(&text)) {
            blanked.extend_from_slice(text);
        }
        blanked.push(b'"');
        at = end + 1;
    }
    blanked
}

fn is_field_name(text: &[u8]) -> bool {
    text.len() <= 32
        && text
            .iter()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || *byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dictionary_has_nothing_of_what_was_proposed() {
        let body = r#"{"action":{"symbol":"btc-usd","reasoning":"he said \"no\": 5","side":"buy","size":12.75,"list":["merger","133c455b22ccd607f400c3d2c44c765f61e8121e476ae85a7d98adce67bc3dab"]},"facts":{"exposure":{"BTC-USD":0.11}},"verdicts":[{"digest":"133c455b22ccd607f400c3d2c44c765f61e8121e476ae85a7d98adce67bc3dab","answers":[[3,"not-applicable"],[4,"violation",0.08,"btc-usd"]]}]}"#;
        let expected = r#"{"action":{"symbol":"","reasoning":"","side":"","size":0.0,"list":["",""]},"facts":{"exposure":{"":0.0}},"verdicts":[{"digest":"133c455b22ccd607f400c3d2c44c765f61e8121e476ae85a7d98adce67bc3dab","answers":[[3,"not-applicable"],[4,"violation",0.08,""]]}]}"#;
        assert_eq!(String::from_utf8(blank_values(body)).unwrap(), expected);
        // A body that breaks off is no reason to panic.
        for end in 0..body.len() {
            let _ = blank_values(&body[..end]);
        }
    }
}
