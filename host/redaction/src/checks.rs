//! Check digits and registries of forms: payment cards, bank accounts, social security numbers, telephone plans.

/// Returns whether the digits end in the check digit of ISO/IEC 7812-1, annex B. Other bytes than digits are passed over.
pub(crate) fn has_luhn_digit(digits: impl DoubleEndedIterator<Item = u8>) -> bool {
    let sum: u32 = digits
        .rev()
        .enumerate()
        .map(
            |(index, digit)| match (index % 2, u32::from(digit - b'0') * 2) {
                (0, double) => double / 2,
                (_, double) if double > 9 => double - 9,
                (_, double) => double,
            },
        )
        .sum();
    sum.is_multiple_of(10)
}

/// What the prefix and the length of a card's number say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CardForm {
    /// An issuer's prefix with a length that the issuer uses.
    Issuer,
    /// A prefix so wide that only a word for cards makes it one.
    NeedsWord,
    /// No card has it.
    None,
}

/// Compares the beginning and the length of a number with the issuers' (as in the registry of issuer identification numbers).
pub(crate) fn card_form(first_six: u32, length: usize) -> CardForm {
    let (two, three, four) = (first_six / 10_000, first_six / 1000, first_six / 100);
    let (issuer, lengths): (bool, &[usize]) = match first_six {
        _ if two / 10 == 4 => (true, &[13, 16, 19]),
        _ if (51..=55).contains(&two) || (2221..=2720).contains(&four) => (true, &[16]),
        _ if two == 34 || two == 37 => (true, &[15]),
        _ if four == 6011 || (644..=659).contains(&three) => (true, &[16, 19]),
        _ if (3528..=3589).contains(&four) => (true, &[16]),
        _ if (300..=305).contains(&three) || two == 36 || two == 38 => (true, &[14]),
        _ if two == 62 || two == 81 => (true, &[16, 17, 18, 19]),
        _ if (2200..=2204).contains(&four) => (true, &[16]),
        _ if two == 50 || (56..=58).contains(&two) || two / 10 == 6 => {
            (false, &[12, 13, 14, 15, 16, 17, 18, 19])
        }
        _ => return CardForm::None,
    };
    match (lengths.contains(&length), issuer) {
        (false, _) => CardForm::None,
        (true, true) => CardForm::Issuer,
        (true, false) => CardForm::NeedsWord,
    }
}

/// Country codes and lengths of the registry of IBANs (ISO 13616), sorted by code.
const IBAN_LENGTHS: &[(&[u8; 2], usize)] = &[
    (b"AD", 24),
    (b"AE", 23),
    (b"AL", 28),
    (b"AT", 20),
    (b"AZ", 28),
    (b"BA", 20),
    (b"BE", 16),
    (b"BG", 22),
    (b"BH", 22),
    (b"BI", 27),
    (b"BR", 29),
    (b"BY", 28),
    (b"CH", 21),
    (b"CR", 22),
    (b"CY", 28),
    (b"CZ", 24),
    (b"DE", 22),
    (b"DJ", 27),
    (b"DK", 18),
    (b"DO", 28),
    (b"EE", 20),
    (b"EG", 29),
    (b"ES", 24),
    (b"FI", 18),
    (b"FK", 18),
    (b"FO", 18),
    (b"FR", 27),
    (b"GB", 22),
    (b"GE", 22),
    (b"GI", 23),
    (b"GL", 18),
    (b"GR", 27),
    (b"GT", 28),
    (b"HN", 28),
    (b"HR", 21),
    (b"HU", 28),
    (b"IE", 22),
    (b"IL", 23),
    (b"IQ", 23),
    (b"IS", 26),
    (b"IT", 27),
    (b"JO", 30),
    (b"KW", 30),
    (b"KZ", 20),
    (b"LB", 28),
    (b"LC", 32),
    (b"LI", 21),
    (b"LT", 20),
    (b"LU", 20),
    (b"LV", 21),
    (b"LY", 25),
    (b"MC", 27),
    (b"MD", 24),
    (b"ME", 22),
    (b"MK", 19),
    (b"MN", 20),
    (b"MR", 27),
    (b"MT", 31),
    (b"MU", 30),
    (b"NI", 28),
    (b"NL", 18),
    (b"NO", 15),
    (b"OM", 23),
    (b"PK", 24),
    (b"PL", 28),
    (b"PS", 29),
    (b"PT", 25),
    (b"QA", 29),
    (b"RO", 24),
    (b"RS", 22),
    (b"RU", 33),
    (b"SA", 24),
    (b"SC", 31),
    (b"SD", 18),
    (b"SE", 24),
    (b"SI", 19),
    (b"SK", 24),
    (b"SM", 27),
    (b"SO", 23),
    (b"ST", 25),
    (b"SV", 28),
    (b"TL", 23),
    (b"TN", 24),
    (b"TR", 26),
    (b"UA", 29),
    (b"VA", 22),
    (b"VG", 24),
    (b"XK", 20),
    (b"YE", 30),
];

/// Returns the length of the IBANs of a country, by its code in upper case.
pub(crate) fn iban_length(country: [u8; 2]) -> Option<usize> {
    IBAN_LENGTHS
        .binary_search_by(|(code, _)| (*code).cmp(&country))
        .ok()
        .map(|index| IBAN_LENGTHS[index].1)
}

/// Returns whether the letters and digits of an IBAN have the remainder 1 modulo 97 once its first four are moved to the end.
pub(crate) fn has_iban_digits(plain: &[u8]) -> bool {
    let Some((head, tail)) = plain.split_at_checked(4) else {
        return false;
    };
    let value = |byte: u8| char::from(byte).to_digit(36).unwrap_or(0);
    tail.iter()
        .chain(head)
        .fold(0, |rest, byte| match value(*byte) {
            digit @ 0..=9 => (rest * 10 + digit) % 97,
            letter => (rest * 100 + letter) % 97,
        })
        == 1
}

/// Returns whether a social security number can have been issued.
pub(crate) fn is_issued_ssn(digits: &[u8]) -> bool {
    digits.len() == 9
        && !matches!(&digits[..3], b"000" | b"666")
        && digits[0] != b'9'
        && digits[3..5] != *b"00"
        && digits[5..] != *b"0000"
}

/// Country calling codes with the fewest and most digits of a national number (ITU-T E.164 and the national plans). A code that is not
/// listed is not in use.
const CALLING_CODES: &[(&str, usize, usize)] = &[
    ("1", 10, 10),
    ("7", 10, 10),
    ("20", 8, 10),
    ("27", 9, 9),
    ("30", 10, 10),
    ("31", 9, 9),
    ("32", 8, 9),
    ("33", 9, 9),
    ("34", 9, 9),
    ("36", 8, 9),
    ("39", 8, 11),
    ("40", 9, 9),
    ("41", 9, 9),
    ("43", 7, 13),
    ("44", 9, 10),
    ("45", 8, 8),
    ("46", 7, 10),
    ("47", 8, 8),
    ("48", 9, 9),
    ("49", 7, 12),
    ("51", 8, 9),
    ("52", 10, 11),
    ("53", 6, 8),
    ("54", 10, 11),
    ("55", 10, 11),
    ("56", 9, 9),
    ("57", 8, 10),
    ("58", 10, 10),
    ("60", 8, 10),
    ("61", 9, 9),
    ("62", 8, 12),
    ("63", 8, 10),
    ("64", 8, 10),
    ("65", 8, 8),
    ("66", 8, 9),
    ("81", 9, 10),
    ("82", 8, 10),
    ("84", 9, 10),
    ("86", 10, 11),
    ("90", 10, 10),
    ("91", 10, 10),
    ("92", 9, 10),
    ("93", 9, 9),
    ("94", 9, 9),
    ("95", 7, 10),
    ("98", 10, 10),
    ("211", 9, 9),
    ("212", 9, 9),
    ("213", 8, 9),
    ("216", 8, 8),
    ("218", 9, 9),
    ("220", 7, 7),
    ("221", 9, 9),
    ("222", 8, 8),
    ("223", 8, 8),
    ("224", 9, 9),
    ("225", 10, 10),
    ("226", 8, 8),
    ("227", 8, 8),
    ("228", 8, 8),
    ("229", 8, 10),
    ("230", 7, 8),
    ("231", 7, 9),
    ("232", 8, 8),
    ("233", 9, 9),
    ("234", 8, 10),
    ("235", 8, 8),
    ("236", 8, 8),
    ("237", 9, 9),
    ("238", 7, 7),
    ("239", 7, 7),
    ("240", 9, 9),
    ("241", 7, 8),
    ("242", 9, 9),
    ("243", 9, 9),
    ("244", 9, 9),
    ("245", 7, 9),
    ("248", 7, 7),
    ("249", 9, 9),
    ("250", 9, 9),
    ("251", 9, 9),
    ("252", 7, 9),
    ("253", 8, 8),
    ("254", 9, 10),
    ("255", 9, 9),
    ("256", 9, 9),
    ("257", 8, 8),
    ("258", 8, 9),
    ("260", 9, 9),
    ("261", 9, 9),
    ("262", 9, 9),
    ("263", 9, 10),
    ("264", 8, 9),
    ("265", 7, 9),
    ("266", 8, 8),
    ("267", 7, 8),
    ("268", 8, 8),
    ("269", 7, 7),
    ("290", 4, 5),
    ("291", 7, 7),
    ("297", 7, 7),
    ("298", 6, 6),
    ("299", 6, 6),
    ("350", 8, 8),
    ("351", 9, 9),
    ("352", 6, 11),
    ("353", 7, 9),
    ("354", 7, 9),
    ("355", 8, 9),
    ("356", 8, 8),
    ("357", 8, 8),
    ("358", 6, 11),
    ("359", 8, 9),
    ("370", 8, 8),
    ("371", 8, 8),
    ("372", 7, 8),
    ("373", 8, 8),
    ("374", 8, 8),
    ("375", 9, 9),
    ("376", 6, 9),
    ("377", 8, 9),
    ("378", 6, 10),
    ("380", 9, 9),
    ("381", 8, 9),
    ("382", 8, 8),
    ("383", 8, 9),
    ("385", 8, 9),
    ("386", 8, 8),
    ("387", 8, 9),
    ("389", 8, 8),
    ("420", 9, 9),
    ("421", 9, 9),
    ("423", 7, 9),
    ("500", 5, 5),
    ("501", 7, 7),
    ("502", 8, 8),
    ("503", 8, 8),
    ("504", 8, 8),
    ("505", 8, 8),
    ("506", 8, 8),
    ("507", 7, 8),
    ("508", 6, 6),
    ("509", 8, 8),
    ("590", 9, 9),
    ("591", 8, 8),
    ("592", 7, 7),
    ("593", 8, 9),
    ("594", 9, 9),
    ("595", 9, 9),
    ("596", 9, 9),
    ("597", 6, 7),
    ("598", 8, 8),
    ("599", 7, 8),
    ("670", 7, 8),
    ("672", 6, 6),
    ("673", 7, 7),
    ("674", 7, 7),
    ("675", 7, 8),
    ("676", 5, 7),
    ("677", 5, 7),
    ("678", 5, 7),
    ("679", 7, 7),
    ("680", 7, 7),
    ("682", 5, 5),
    ("683", 4, 7),
    ("685", 5, 7),
    ("686", 5, 8),
    ("687", 6, 6),
    ("688", 5, 7),
    ("689", 6, 8),
    ("691", 7, 7),
    ("692", 7, 7),
    ("850", 8, 10),
    ("852", 8, 8),
    ("853", 8, 8),
    ("855", 8, 9),
    ("856", 8, 10),
    ("880", 8, 10),
    ("886", 8, 9),
    ("960", 7, 7),
    ("961", 7, 8),
    ("962", 8, 9),
    ("963", 8, 9),
    ("964", 8, 10),
    ("965", 8, 8),
    ("966", 9, 9),
    ("967", 7, 9),
    ("968", 8, 8),
    ("970", 9, 9),
    ("971", 8, 9),
    ("972", 8, 9),
    ("973", 8, 8),
    ("974", 8, 8),
    ("975", 7, 8),
    ("976", 8, 8),
    ("977", 8, 10),
    ("992", 9, 9),
    ("993", 8, 8),
    ("994", 9, 9),
    ("995", 9, 9),
    ("996", 9, 9),
    ("998", 9, 9),
];

/// A number that ends in this many zeros is an amount.
const ROUND_ZEROS: usize = 5;

/// Returns whether digits after `+` are a number of a country's plan.
pub(crate) fn is_international_number(digits: &str) -> bool {
    if digits.len() > 15 || digits.bytes().rev().take_while(|b| *b == b'0').count() >= ROUND_ZEROS {
        return false;
    }
    CALLING_CODES.iter().any(|(code, least, most)| {
        digits.strip_prefix(code).is_some_and(|national| {
            (*least..=*most).contains(&national.len())
                // Italy's numbers keep their zero; those of the North American plan begin with 2 or more.
                && (!national.starts_with('0') || *code == "39")
                && (*code != "1" || !national.starts_with('1'))
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_digits_and_forms() {
        for (number, form) in [
            ("4111111111111111", CardForm::Issuer),
            ("378282246310005", CardForm::Issuer),
            ("2223003122003222", CardForm::Issuer),
            ("6304000000000000", CardForm::NeedsWord),
            ("2510789768709120005", CardForm::None),
            ("490154203237518", CardForm::None),
        ] {
            let first_six = number[..6].parse().unwrap();
            assert_eq!(card_form(first_six, number.len()), form, "{number}");
        }
        assert!(has_luhn_digit(b"4111111111111111".iter().copied()));
        assert!(!has_luhn_digit(b"4111111111111112".iter().copied()));
        assert!(has_iban_digits(b"DE89370400440532013000"));
        assert!(!has_iban_digits(b"DE89370400440532013001"));
        assert!(!has_iban_digits(b"DE8"));
        assert_eq!(iban_length(*b"NO"), Some(15));
        assert_eq!(iban_length(*b"ZZ"), None);
        assert!(IBAN_LENGTHS.is_sorted_by_key(|(code, _)| *code));
        for (digits, expected) in [
            ("14155550100", true),
            ("12500000", false),
            ("250000000", false),
            ("250788123456", true),
            ("49301234567", true),
            ("49300000000", false),
            ("0123456789", false),
        ] {
            assert_eq!(is_international_number(digits), expected, "{digits}");
        }
        assert!(is_issued_ssn(b"536221234") && !is_issued_ssn(b"000221234"));
    }
}
