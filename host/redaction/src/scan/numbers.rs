//! Numbers: payment cards, social security and telephone numbers, the tokens of Telegram's bots.

use super::Scanner;
use crate::checks::{CardForm, card_form, has_luhn_digit, is_international_number, is_issued_ssn};
use crate::context::{NumberContext, context_before, is_amount_after};
use crate::table::FindingKind;

/// The most groups that are looked at as one number. What goes on is looked at as the next.
const MAX_GROUPS: usize = 24;
/// The most groups of a card's number.
const MAX_CARD_GROUPS: usize = 5;
/// Digits of a national telephone number with its area; of one with its country.
const NATIONAL_DIGITS: std::ops::RangeInclusive<usize> = 7..=12;
const MAX_TELEPHONE_DIGITS: usize = 15;
/// The parts of a bot's token.
const BOT_ID: std::ops::RangeInclusive<usize> = 8..=10;
const BOT_SECRET: usize = 35;

/// Groups of digits with one space or hyphen between.
struct Groups {
    ranges: [(usize, usize); MAX_GROUPS],
    count: usize,
}

impl Groups {
    fn lengths(&self, from: usize, count: usize) -> impl Iterator<Item = usize> + '_ {
        self.ranges[from..from + count]
            .iter()
            .map(|(start, end)| end - start)
    }

    fn end(&self) -> usize {
        self.ranges[self.count - 1].1
    }
}

impl Scanner<'_> {
    /// Scans a number that begins at `at`. Returns where to go on.
    pub(super) fn scan_number(&mut self, at: usize) -> usize {
        let first_end = self.skip_while(at, |byte| byte.is_ascii_digit());
        if let Some(end) = self.match_bot_token(at, first_end) {
            return self.push(FindingKind::ApiKey, at..end);
        }
        let before = self.before(at);
        let is_joined = before.is_ascii_alphanumeric()
            || before == b'+'
            || (before == b'.' && at > 1 && self.bytes[at - 2].is_ascii_digit());
        if is_joined
            || self.byte(first_end).is_ascii_alphanumeric()
            || self.context == NumberContext::Identifier
        {
            return self.skip_while(first_end, |byte| byte.is_ascii_alphanumeric());
        }
        let groups = self.digit_groups(at, first_end);
        let end = groups.end();
        let digits: usize = groups.lengths(0, groups.count).sum();
        if digits < 7 {
            return end;
        }
        if let Some(end) = self.match_telephone(at) {
            return self.push(FindingKind::Phone, at..end);
        }
        let mut index = 0;
        while index < groups.count {
            index += self.match_groups(&groups, index).max(1);
        }
        self.skip_while(end, |byte| byte.is_ascii_alphanumeric())
    }

    fn digit_groups(&self, at: usize, first_end: usize) -> Groups {
        let mut groups = Groups {
            ranges: [(at, first_end); MAX_GROUPS],
            count: 1,
        };
        while groups.count < MAX_GROUPS {
            let end = groups.end();
            if !matches!(self.byte(end), b' ' | b'-') || !self.byte(end + 1).is_ascii_digit() {
                break;
            }
            let next = self.skip_while(end + 1, |byte| byte.is_ascii_digit());
            groups.ranges[groups.count] = (end + 1, next);
            groups.count += 1;
        }
        groups
    }

    /// Matches a card or a social security number that begins with a group. Returns how many groups it takes; 0: none.
    fn match_groups(&mut self, groups: &Groups, index: usize) -> usize {
        let start = groups.ranges[index].0;
        if index > 0 && self.before(start) == b'-' {
            return 0;
        }
        let most = MAX_CARD_GROUPS.min(groups.count - index);
        for count in 1..=most {
            let end = groups.ranges[index + count - 1].1;
            if self.ends_number(end)
                && let Some(kind) = self
                    .match_card(groups, index, count)
                    .or_else(|| self.match_ssn(groups, index, count))
            {
                let quote = self.number_quote(start);
                self.push_quoted(kind, start..end, quote);
                return count;
            }
        }
        0
    }

    /// Returns whether a number can end here: no letter, hyphen or decimal part goes on.
    fn ends_number(&self, end: usize) -> bool {
        let next = self.byte(end);
        let goes_on = self.byte(end + 1).is_ascii_alphanumeric();
        !next.is_ascii_alphanumeric() && next != b'%' && !(matches!(next, b'-' | b'.') && goes_on)
    }

    /// Returns the quotation mark that a number of JSON in a text needs around its mark.
    fn number_quote(&self, start: usize) -> &'static str {
        let before = self.text[..start].trim_end_matches(' ');
        if before.ends_with("\\\":") {
            "\\\""
        } else if before.ends_with("\":") {
            "\""
        } else {
            ""
        }
    }

    fn match_card(&self, groups: &Groups, index: usize, count: usize) -> Option<FindingKind> {
        let length: usize = groups.lengths(index, count).sum();
        if !(12..=19).contains(&length) {
            return None;
        }
        let (start, end) = (groups.ranges[index].0, groups.ranges[index + count - 1].1);
        if count > 1 {
            let lengths: Vec<usize> = groups.lengths(index, count).collect();
            let is_fours = lengths[..count - 1].iter().all(|length| *length == 4)
                && matches!(lengths[count - 1], 3 | 4);
            let is_fours = is_fours && count >= 4;
            let separator = self.bytes[groups.ranges[index].1];
            let is_even = (index + 1..index + count - 1)
                .all(|group| self.bytes[groups.ranges[group].1] == separator);
            if !is_even || !(is_fours || matches!(lengths[..], [4, 6, 4 | 5])) {
                return None;
            }
        }
        let digits = || {
            self.bytes[start..end]
                .iter()
                .copied()
                .filter(u8::is_ascii_digit)
        };
        let first_six = digits()
            .take(6)
            .fold(0, |number, digit| number * 10 + u32::from(digit - b'0'));
        let form = card_form(first_six, length);
        if form == CardForm::None || !has_luhn_digit(digits().collect::<Vec<u8>>().into_iter()) {
            return None;
        }
        let context = self.number_context(start);
        let is_card = match (form, context) {
            (_, NumberContext::Card) => true,
            (CardForm::Issuer, NumberContext::Amount) => false,
            // An identifier is not written in the groups of a card.
            (CardForm::Issuer, NumberContext::Identifier) => count > 1,
            (CardForm::Issuer, _) => !is_amount_after(self.text, end),
            _ => false,
        };
        is_card.then_some(FindingKind::PaymentCard)
    }

    fn match_ssn(&self, groups: &Groups, index: usize, count: usize) -> Option<FindingKind> {
        if count != 1 && count != 3 {
            return None;
        }
        let (start, end) = (groups.ranges[index].0, groups.ranges[index + count - 1].1);
        let is_plain = count == 1 && end - start == 9;
        let is_grouped = count == 3 && groups.lengths(index, 3).eq([3, 2, 4]);
        if !is_plain && !is_grouped {
            return None;
        }
        let digits: Vec<u8> = self.bytes[start..end]
            .iter()
            .copied()
            .filter(u8::is_ascii_digit)
            .collect();
        if !is_issued_ssn(&digits) || matches!(self.before(start), b'.' | b'/' | b'-' | b'+') {
            return None;
        }
        let context = self.number_context(start);
        let has_hyphens = is_grouped
            && self.bytes[groups.ranges[index].1] == b'-'
            && self.bytes[groups.ranges[index + 1].1] == b'-';
        (context == NumberContext::Ssn || (has_hyphens && context.is_neutral()))
            .then_some(FindingKind::UsSsn)
    }

    fn number_context(&self, start: usize) -> NumberContext {
        if self.context == NumberContext::None {
            context_before(self.text, start)
        } else {
            self.context
        }
    }

    /// Scans a `+` or `(` that may begin a telephone number. Returns where to go on.
    pub(super) fn scan_telephone_sign(&mut self, at: usize) -> usize {
        let next = at + 1;
        if self.before(at).is_ascii_alphanumeric() || self.context == NumberContext::Identifier {
            return next;
        }
        let end = if self.bytes[at] == b'(' {
            self.match_area_in_brackets(at)
        } else if !matches!(self.byte(next), b'1'..=b'9' | b'(') {
            None
        } else {
            self.match_international(at, next)
        };
        match end {
            Some(end) => self.push(FindingKind::Phone, at..end),
            None => next,
        }
    }

    /// Matches `(AAA) BBB-CCCC`.
    fn match_area_in_brackets(&self, at: usize) -> Option<usize> {
        let digits = |from: usize, count: usize| {
            let end = self.skip_some(from, count + 1, |byte| byte.is_ascii_digit());
            (end == from + count).then_some(end)
        };
        let area = digits(at + 1, 3)?;
        if self.byte(area) != b')' || matches!(self.bytes[at + 1], b'0' | b'1') {
            return None;
        }
        let middle = self.skip_some(area + 1, 1, |byte| byte == b' ');
        let middle = digits(middle, 3)?;
        let last = self.skip_some(middle, 1, |byte| matches!(byte, b'-' | b'.' | b' '));
        let end = digits(last, 4)?;
        (last > middle && self.ends_number(end)).then_some(end)
    }

    /// Matches the digits of a country's plan from `from`; the longest of its groups that are a number.
    fn match_international(&self, at: usize, from: usize) -> Option<usize> {
        let run = self.telephone_run(from);
        let (end, _) = run.ends.iter().rev().find(|(end, count)| {
            self.ends_number(*end) && is_international_number(&run.digits[..*count])
        })?;
        let context = self.number_context(at);
        let is_amount = context == NumberContext::Amount || is_amount_after(self.text, *end);
        (!is_amount || context == NumberContext::Phone).then_some(*end)
    }

    /// Matches a telephone number without `+`: `00` and a country, or a national number after a word for telephones.
    fn match_telephone(&self, at: usize) -> Option<usize> {
        let has_exit_code = self.bytes[at..].starts_with(b"00");
        let context = self.number_context(at);
        let is_told = matches!(context, NumberContext::Phone | NumberContext::MaybePhone);
        let may_be_told = is_told || context == NumberContext::None;
        if !may_be_told || !(is_told || has_exit_code) {
            return None;
        }
        let run = self.telephone_run(at);
        if has_exit_code
            && let Some((end, _)) = run.ends.iter().rev().find(|(end, count)| {
                *count > 2
                    && self.ends_number(*end)
                    && is_international_number(&run.digits[2..*count])
            })
        {
            return (is_told || run.ends.len() > 1).then_some(*end);
        }
        if !is_told {
            return None;
        }
        let most = if self.context == NumberContext::Phone {
            MAX_TELEPHONE_DIGITS
        } else {
            *NATIONAL_DIGITS.end()
        };
        let (index, (end, count)) =
            run.ends
                .iter()
                .enumerate()
                .rev()
                .find(|(_, (end, count))| {
                    (*NATIONAL_DIGITS.start()..=most).contains(count) && self.ends_number(*end)
                })?;
        let mut before = 0;
        let lengths: Vec<usize> = run.ends[..=index]
            .iter()
            .map(|(_, count)| {
                let length = count - before;
                before = *count;
                length
            })
            .collect();
        let is_date = matches!(lengths[..], [4, 2, 2] | [2, 2, 4]);
        let is_sure = context == NumberContext::Phone
            || lengths == [3, 3, 4]
            || (run.digits.starts_with('0') && *count >= 9);
        (is_sure && !is_date && self.byte(*end) != b':').then_some(*end)
    }

    /// Reads digits with up to two of the signs between that telephone numbers are written with.
    fn telephone_run(&self, from: usize) -> TelephoneRun {
        let mut run = TelephoneRun {
            digits: String::new(),
            ends: Vec::new(),
        };
        let mut at = self.skip_some(from, 1, |byte| byte == b'(');
        loop {
            let end = self.skip_some(at, MAX_TELEPHONE_DIGITS + 3, |byte| byte.is_ascii_digit());
            if end == at || run.digits.len() + (end - at) > MAX_TELEPHONE_DIGITS + 2 {
                return run;
            }
            run.digits.push_str(&self.text[at..end]);
            run.ends.push((end, run.digits.len()));
            at = self.skip_some(end, 2, |byte| {
                matches!(byte, b' ' | b'-' | b'.' | b'/' | b'(' | b')')
            });
            if at == end {
                return run;
            }
        }
    }

    fn match_bot_token(&self, at: usize, colon: usize) -> Option<usize> {
        if !BOT_ID.contains(&(colon - at))
            || !self.bytes[colon..].starts_with(b":AA")
            || self.before(at).is_ascii_alphanumeric()
        {
            return None;
        }
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
        let end = self.skip_some(colon + 1, BOT_SECRET + 1, is_part);
        (end - colon - 1 == BOT_SECRET).then_some(end)
    }
}

/// The digits of what may be a telephone number, and where each of its groups ends, with the digits up to there.
struct TelephoneRun {
    digits: String,
    ends: Vec<(usize, usize)>,
}
