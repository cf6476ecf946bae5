//! The words before and after a number, which say what it is: `order 4111…` is not a card, `card 4111…` is one.

use crate::names::find_meaning;
use crate::vocabulary::Meaning;

/// How many words before a number are asked.
const WORDS_BEFORE: usize = 4;
/// How far back they are looked for, in bytes.
const BYTES_BEFORE: usize = 64;

/// What the words around a number say it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NumberContext {
    /// No word says what the number is.
    None,
    /// A payment card.
    Card,
    /// A telephone number.
    Phone,
    /// A telephone number, by a word with other uses: `call`, `reach`.
    MaybePhone,
    /// A social security number.
    Ssn,
    /// An identifier.
    Identifier,
    /// An amount, a time or a count.
    Amount,
}

impl NumberContext {
    /// Returns what the name of a member says about a number in it.
    pub(crate) fn from_meaning(meaning: Option<Meaning>) -> Self {
        match meaning {
            Some(Meaning::Card) => Self::Card,
            Some(Meaning::Phone) => Self::Phone,
            Some(Meaning::Ssn) => Self::Ssn,
            Some(Meaning::Identifier) => Self::Identifier,
            Some(Meaning::Amount) => Self::Amount,
            _ => Self::None,
        }
    }

    /// Returns whether a bare number can be a card, a telephone or a social security number at all.
    pub(crate) fn is_neutral(self) -> bool {
        !matches!(self, Self::Identifier | Self::Amount)
    }
}

/// Words in scripts that [`Words`](crate::names) does not split, each as the end of a run of letters.
const FOREIGN: &[(&str, NumberContext)] = &[
    ("карта", NumberContext::Card),
    ("карты", NumberContext::Card),
    ("карту", NumberContext::Card),
    ("κάρτα", NumberContext::Card),
    ("卡号", NumberContext::Card),
    ("卡號", NumberContext::Card),
    ("信用卡", NumberContext::Card),
    ("银行卡", NumberContext::Card),
    ("カード番号", NumberContext::Card),
    ("カード", NumberContext::Card),
    ("카드", NumberContext::Card),
    ("카드번호", NumberContext::Card),
    ("البطاقة", NumberContext::Card),
    ("بطاقة", NumberContext::Card),
    ("कार्ड", NumberContext::Card),
    ("บัตร", NumberContext::Card),
    ("телефон", NumberContext::Phone),
    ("телефона", NumberContext::Phone),
    ("тел", NumberContext::Phone),
    ("звоните", NumberContext::Phone),
    ("τηλέφωνο", NumberContext::Phone),
    ("电话", NumberContext::Phone),
    ("手机", NumberContext::Phone),
    ("電話番号", NumberContext::Phone),
    ("電話", NumberContext::Phone),
    ("전화", NumberContext::Phone),
    ("전화번호", NumberContext::Phone),
    ("휴대폰", NumberContext::Phone),
    ("هاتف", NumberContext::Phone),
    ("اتصل", NumberContext::Phone),
    ("फोन", NumberContext::Phone),
    ("मोबाइल", NumberContext::Phone),
    ("โทร", NumberContext::Phone),
    ("טלפון", NumberContext::Phone),
    ("teléfono", NumberContext::Phone),
    ("téléphone", NumberContext::Phone),
    ("móvil", NumberContext::Phone),
    ("ордер", NumberContext::Identifier),
    ("ордера", NumberContext::Identifier),
    ("заявка", NumberContext::Identifier),
    ("заявки", NumberContext::Identifier),
    ("заказ", NumberContext::Identifier),
    ("εντολή", NumberContext::Identifier),
    ("订单号", NumberContext::Identifier),
    ("订单", NumberContext::Identifier),
    ("编号", NumberContext::Identifier),
    ("注文番号", NumberContext::Identifier),
    ("주문번호", NumberContext::Identifier),
    ("الطلب", NumberContext::Identifier),
    ("ऑर्डर", NumberContext::Identifier),
    ("คำสั่งซื้อ", NumberContext::Identifier),
    ("объём", NumberContext::Amount),
    ("сумма", NumberContext::Amount),
    ("成交量", NumberContext::Amount),
    ("金额", NumberContext::Amount),
    ("出来高", NumberContext::Amount),
];

/// Returns what the nearest telling word before `start` says.
pub(crate) fn context_before(text: &str, start: usize) -> NumberContext {
    let mut from = start.saturating_sub(BYTES_BEFORE);
    while !text.is_char_boundary(from) {
        from += 1;
    }
    let mut rest = &text[from..start];
    if rest.ends_with('#') {
        return NumberContext::Identifier;
    }
    if rest.ends_with(['$', '€', '£', '¥']) {
        return NumberContext::Amount;
    }
    // The tag of a FIX field: `11=6367…`.
    if let Some(tag) = rest.strip_suffix('=')
        && tag.ends_with(|c: char| c.is_ascii_digit())
    {
        return NumberContext::Identifier;
    }
    for _ in 0..WORDS_BEFORE {
        let Some((before, word)) = split_last_word(rest) else {
            return NumberContext::None;
        };
        let context = word_context(word);
        if context != NumberContext::None {
            return context;
        }
        rest = before;
    }
    NumberContext::None
}

/// Takes the last word off; `None` at the start and at the end of an earlier sentence or line.
fn split_last_word(text: &str) -> Option<(&str, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_' || is_mark(c);
    let end = text
        .char_indices()
        .rev()
        .find(|(_, c)| is_word(*c))
        .map(|(at, c)| at + c.len_utf8())?;
    let between = &text[end..];
    if between.contains(['\n', ';', '|', '。', '；'])
        || between.starts_with(". ") && !is_abbreviation(&text[..end])
    {
        return None;
    }
    let start = text[..end]
        .char_indices()
        .rev()
        .find(|(_, c)| !is_word(*c))
        .map_or(0, |(at, c)| at + c.len_utf8());
    Some((&text[..start], &text[start..end]))
}

/// Returns whether the text ends in a word that is written with a full stop: `Tel.`, `No.`.
fn is_abbreviation(text: &str) -> bool {
    let word = text
        .rsplit(|c: char| !c.is_alphanumeric())
        .next()
        .unwrap_or("");
    matches!(
        word.to_lowercase().as_str(),
        "tel" | "no" | "nr" | "ref" | "mob" | "ph" | "тел" | "acct" | "ext"
    )
}

/// Vowel signs and the like of Indic, Thai, Arabic and Hebrew script, which belong to words and are not letters.
fn is_mark(c: char) -> bool {
    matches!(c, '\u{300}'..='\u{36f}' | '\u{591}'..='\u{5c7}' | '\u{610}'..='\u{61a}' | '\u{64b}'..='\u{65f}'
        | '\u{900}'..='\u{903}' | '\u{93a}'..='\u{94f}' | '\u{e31}' | '\u{e34}'..='\u{e3a}' | '\u{e47}'..='\u{e4e}')
}

fn word_context(word: &str) -> NumberContext {
    if !word.is_ascii() {
        let lower = word.to_lowercase();
        return FOREIGN
            .iter()
            .filter(|(ending, _)| lower.ends_with(ending))
            .max_by_key(|(ending, _)| ending.len())
            .map_or(NumberContext::None, |(_, context)| *context);
    }
    if word.len() > 48 {
        return NumberContext::None;
    }
    match word.to_ascii_lowercase().as_str() {
        "card" | "cards" | "visa" | "mastercard" | "amex" | "maestro" | "discover" | "debit"
        | "pan" | "carte" | "karte" | "kreditkarte" | "kartennummer" | "tarjeta" | "carta"
        | "cartao" => NumberContext::Card,
        "phone" | "tel" | "telephone" | "telefon" | "telefono" | "mobile" | "mobil" | "cell"
        | "cellphone" | "fax" | "whatsapp" | "handy" | "celular" | "hotline" | "voicemail"
        | "sms" | "sip" | "telefoon" => NumberContext::Phone,
        "call" | "ring" | "dial" | "reach" | "text" => NumberContext::MaybePhone,
        "ssn" | "social" => NumberContext::Ssn,
        // In a sentence these say nothing: `reach me at …`, `call us …`.
        "at" | "up" | "down" | "us" | "net" | "cap" | "ask" | "date" | "time" | "message"
        | "case" | "event" | "member" => NumberContext::None,
        _ => NumberContext::from_meaning(find_meaning(word)),
    }
}

/// Returns whether what stands after `end` makes the number before it an amount: a currency, a unit, a percent sign.
pub(crate) fn is_amount_after(text: &str, end: usize) -> bool {
    let rest = text[end..].trim_start_matches(' ');
    if rest.starts_with(['%', '€', '$', '£', '¥', '₿']) {
        return true;
    }
    let word: &str = rest
        .split(|c: char| !c.is_ascii_alphanumeric())
        .next()
        .unwrap_or("");
    matches!(
        word,
        "USD"
            | "EUR"
            | "GBP"
            | "JPY"
            | "CHF"
            | "CNY"
            | "HKD"
            | "AUD"
            | "CAD"
            | "INR"
            | "KRW"
            | "BRL"
            | "RUB"
            | "USDT"
            | "USDC"
            | "BTC"
            | "ETH"
            | "SOL"
            | "DAI"
            | "usd"
            | "eur"
            | "usdt"
            | "btc"
            | "eth"
            | "sats"
            | "wei"
            | "gwei"
            | "shib"
            | "shares"
            | "contracts"
            | "units"
            | "lots"
            | "bytes"
            | "ms"
            | "us"
            | "ns"
            | "bp"
            | "bps"
            | "points"
            | "ticks"
            | "tokens"
            | "coins"
            | "events"
            | "rows"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_telling_word_decides() {
        for (text, expected) in [
            ("order number ", NumberContext::Identifier),
            ("my card for order is, card no. ", NumberContext::Card),
            ("client_order_id=", NumberContext::Identifier),
            ("PnL of the day: ", NumberContext::Amount),
            ("Tel. ", NumberContext::Phone),
            ("the order. ", NumberContext::None),
            ("order\n", NumberContext::None),
            ("ticket #", NumberContext::Identifier),
            ("11=", NumberContext::Identifier),
            ("客户电话", NumberContext::Phone),
            ("订单号", NumberContext::Identifier),
            ("रद्द ऑर्डर ", NumberContext::Identifier),
            ("nothing that tells ", NumberContext::None),
            ("", NumberContext::None),
        ] {
            assert_eq!(context_before(text, text.len()), expected, "{text}");
        }
        assert!(is_amount_after("5 USD", 1) && is_amount_after("5%", 1));
        assert!(!is_amount_after("5 today", 1));
    }
}
